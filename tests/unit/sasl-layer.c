/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The security layer, byte by byte, after logins with DIGEST-MD5: in any pieces what went in comes
 * out; what was altered, cut or made up does not.
 */
#include "greet.h"

#include <string.h>

#include "core/codec.h"
#include "loop.h"

static struct greet greet;

enum { ROOM = 1 << 20 };

static const char text[] = "what is said under the rose";

static int make(void **state)
{
    (void)state;
    greet_make(&greet, ROOM);
    greet_login(&greet, greet_database(), "alice", "opensesame");
    for (int i = 0; i < 2; i++) {
        greet.party[i].sasl.secret = false;
        greet.party[i].sasl.mechanisms = "DIGEST-MD5";
    }
    greet_run(&greet);
    assert_int_equal(greet.party[GREET_CLIENT].err.code, VST_ERR_OK);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    greet_drop(&greet);
    return 0;
}

/* What the client's layer has made of the text, as it comes out below the server's. */
static struct evbuffer *packet_of(const void *bytes, size_t length)
{
    struct vst_channel *below = greet.party[GREET_SERVER].transport->lower;
    struct evbuffer *packet = evbuffer_new();
    size_t n;

    assert_int_equal(vst_test_send(greet.party[GREET_CLIENT].transport, bytes, length), VST_IO_OK);
    while (vst_channel_read(below, packet, ROOM, &n) == VST_IO_OK)
        continue;
    assert_true(evbuffer_get_length(packet) > length);
    return packet;
}

/* The server's layer, without its channel. */
static int decode(struct evbuffer *in, struct evbuffer *out, bool last, struct vst_error *err)
{
    struct vst_codec *codec =
        (struct vst_codec *)vst_channel_get_codec(greet.party[GREET_SERVER].transport, VST_READ);

    return codec->ops->step(codec, in, out, ROOM, last, err);
}

static void expect_text(struct evbuffer *out)
{
    assert_int_equal(evbuffer_get_length(out), sizeof(text));
    assert_memory_equal(evbuffer_pullup(out, -1), text, sizeof(text));
}

/* ---- tests ---- */

static void packet_hides_the_text(void **state)
{
    struct evbuffer *packet = packet_of(text, sizeof(text));

    (void)state;
    assert_null(memmem(evbuffer_pullup(packet, -1), evbuffer_get_length(packet), text, 5));
    evbuffer_free(packet);
}

static void packet_may_come_in_any_pieces(void **state)
{
    (void)state;
    for (size_t size = 1; size < 60; size++) {
        struct evbuffer *packet = packet_of(text, sizeof(text)), *in = evbuffer_new(),
                        *out = evbuffer_new();
        struct vst_error err = {0};

        while (evbuffer_get_length(packet)) {
            evbuffer_remove_buffer(packet, in, size);
            while (evbuffer_get_length(in))
                assert_int_equal(decode(in, out, false, &err), 0);
        }
        assert_int_equal(decode(in, out, true, &err), 0);
        expect_text(out);
        evbuffer_free(packet);
        evbuffer_free(in);
        evbuffer_free(out);
    }
}

static int altered(size_t at, struct vst_error *err)
{
    struct evbuffer *packet = packet_of(text, sizeof(text)), *out = evbuffer_new();
    int result = 0;

    evbuffer_pullup(packet, -1)[at] ^= 1;
    while (evbuffer_get_length(packet) && result == 0)
        result = decode(packet, out, false, err);
    if (result == 0)
        result = decode(packet, out, true, err);
    assert_int_equal(evbuffer_get_length(out), 0);
    evbuffer_free(packet);
    evbuffer_free(out);
    return result;
}

/* In the length it may look like a longer packet, of which the end is missing. */
static void every_altered_byte_is_found(void **state)
{
    struct evbuffer *packet = packet_of(text, sizeof(text));
    size_t length = evbuffer_get_length(packet);

    (void)state;
    evbuffer_free(packet);
    for (size_t at = 0; at < length; at++) {
        struct vst_error err = {0};

        drop(NULL);
        make(NULL);
        assert_int_equal(altered(at, &err), -1);
        assert_true(err.code == VST_ERR_DAMAGED || (at < 4 && err.code == VST_ERR_LOST));
    }
}

static void packet_again_is_found(void **state)
{
    struct evbuffer *packet = packet_of(text, sizeof(text)), *out = evbuffer_new();
    size_t length = evbuffer_get_length(packet);
    unsigned char copy[200];
    struct vst_error err = {0};

    (void)state;
    assert_true(length <= sizeof(copy));
    evbuffer_copyout(packet, copy, length);
    assert_int_equal(decode(packet, out, false, &err), 0);
    expect_text(out);
    evbuffer_add(packet, copy, length);
    assert_int_equal(decode(packet, out, false, &err), -1);
    assert_int_equal(err.code, VST_ERR_DAMAGED);
    evbuffer_free(packet);
    evbuffer_free(out);
}

static void end_within_a_packet_is_a_loss(void **state)
{
    struct evbuffer *packet = packet_of(text, sizeof(text));
    size_t length = evbuffer_get_length(packet);

    (void)state;
    evbuffer_free(packet);
    for (size_t cut = 1; cut < length; cut += cut < 6 ? 1 : 7) {
        struct vst_error err = {0};
        struct evbuffer *out = evbuffer_new(), *in = evbuffer_new();

        drop(NULL);
        make(NULL);
        packet = packet_of(text, sizeof(text));
        evbuffer_remove_buffer(packet, in, cut);
        assert_int_equal(decode(in, out, false, &err), 0);
        assert_int_equal(decode(in, out, true, &err), -1);
        assert_int_equal(err.code, VST_ERR_LOST);
        evbuffer_free(packet);
        evbuffer_free(in);
        evbuffer_free(out);
    }
}

static void lengths_that_cannot_be_are_damage(void **state)
{
    static const unsigned char heads[][4] = {
        {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0, 2, 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
        struct vst_error err = {0};

        drop(NULL);
        make(NULL);
        evbuffer_add(in, heads[i], sizeof(heads[i]));
        assert_int_equal(decode(in, out, false, &err), -1);
        assert_int_equal(err.code, VST_ERR_DAMAGED);
        evbuffer_free(in);
        evbuffer_free(out);
    }
}

static void damage_fails_the_channel(void **state)
{
    struct vst_channel *below = greet.party[GREET_CLIENT].transport->lower;
    char got[20];

    (void)state;
    assert_int_equal(vst_test_send(below, "\0\0\0\24this was not encoded", 24), VST_IO_OK);
    assert_int_equal(vst_test_read_text(greet.party[GREET_SERVER].transport, got, sizeof(got)),
                     VST_IO_FAIL);
    assert_int_equal(vst_channel_error(greet.party[GREET_SERVER].transport)->code, VST_ERR_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(packet_hides_the_text, make, drop),
        VST_TEST_WITH(packet_may_come_in_any_pieces, make, drop),
        VST_TEST_WITH(every_altered_byte_is_found, make, drop),
        VST_TEST_WITH(packet_again_is_found, make, drop),
        VST_TEST_WITH(end_within_a_packet_is_a_loss, make, drop),
        VST_TEST_WITH(lengths_that_cannot_be_are_damage, make, drop),
        VST_TEST_WITH(damage_fails_the_channel, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

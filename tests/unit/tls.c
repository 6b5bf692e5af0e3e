/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TLS layer between two users: bytes, ends, who the other is, and what it costs.
 */
#include "test.h"

#include <gnutls/gnutls.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "session.h"

enum { LARGE = 5 * 1000 * 1000, KIB = 1024 };

static unsigned char *data;

static int make(void **state)
{
    data = malloc(LARGE);
    vst_test_fill(data, LARGE, 3);
    return session_make(state);
}

static int drop(void **state)
{
    free(data);
    return session_drop(state);
}

static void give(int side, size_t n)
{
    evbuffer_add(session.side[side].to_send, data, n);
}

/* ---- bytes ---- */

static void bytes_pass_both_ways(void **state)
{
    (void)state;
    session_secure_well();
    give(CLIENT, LARGE);
    give(SERVER, LARGE);
    session_talk();
    assert_all_arrived(data, LARGE, data, LARGE);
}

/* Below are the descriptors of a socket pair. */
static void bytes_pass_through_sockets(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        vst_channel_free(&session.lower[i]);
        session.lower[i] = vst_channel_fd(session.base, &fds[i], NULL);
    }
    session_secure_well();
    give(CLIENT, LARGE);
    give(SERVER, LARGE);
    session_talk();
    assert_all_arrived(data, LARGE, data, LARGE);
}

static void shorten(int number)
{
    struct vst_fault fault = {.kind = VST_FAULT_SHORT, .number = number};

    for (int i = 0; i < 2; i++)
        session.lower[i] = vst_channel_fault(session.lower[i], &fault, NULL);
}

static void every_chunking_below_is_the_same(void **state)
{
    static const int chunks[] = {1, 2, 3, 4, 5, 6, 7, 21, 22, 23, 1000, 16405, 16406, 16407};
    enum { LEN = 40000 };

    (void)state;
    vst_test_seconds(60);
    for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++) {
        drop(state);
        make(state);
        shorten(chunks[i]);
        session_secure_well();
        give(CLIENT, LEN);
        give(SERVER, LEN);
        session_talk();
        assert_all_arrived(data, LEN, data, LEN);
    }
}

static void reads_of_one_byte_get_everything(void **state)
{
    struct evbuffer *into = evbuffer_new();
    enum { LEN = 20000 };
    size_t n, got = 0;

    (void)state;
    session_secure_well();
    session_open();
    give(CLIENT, LEN);
    while (evbuffer_get_length(session.side[CLIENT].to_send))
        assert_int_equal(
            vst_channel_write(session.side[CLIENT].ch, session.side[CLIENT].to_send, LEN, &n),
            VST_IO_OK);
    while (got < LEN) {
        assert_int_equal(vst_channel_read(session.side[SERVER].ch, into, 1, &n), VST_IO_OK);
        assert_int_equal(n, 1);
        got++;
        if (got < LEN)
            assert_true(vst_channel_buffered(session.side[SERVER].ch) > 0);
    }
    assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
    assert_int_equal(vst_channel_read(session.side[SERVER].ch, into, 1, &n), VST_IO_AGAIN);
    evbuffer_free(into);
}

static void write_of_many_records_leaves_as_one(void **state)
{
    struct side *client = &session.side[CLIENT];
    enum { LEN = 64 * KIB };
    size_t n, before;

    (void)state;
    session_secure_well();
    session_open();
    give(CLIENT, LEN);
    before = vst_channel_buffered(session.side[SERVER].ch->lower);
    assert_int_equal(vst_channel_write(client->ch, client->to_send, LEN, &n), VST_IO_OK);
    assert_int_equal(n, LEN);
    assert_int_equal(before, 0);
    give(SERVER, 1);
    session_talk();
    assert_all_arrived(data, LEN, data, 1);
}

/* What is below the server, as far as it has come. */
static struct evbuffer *take_below(void)
{
    struct evbuffer *got = evbuffer_new();
    size_t n;

    while (vst_channel_read(session.side[SERVER].ch->lower, got, LARGE, &n) == VST_IO_OK)
        continue;
    return got;
}

/* The length of the next record as it is on the wire. */
static size_t drain_record(struct evbuffer *from)
{
    unsigned char head[5];
    size_t length;

    assert_int_equal(evbuffer_remove(from, head, sizeof(head)), sizeof(head));
    length = (size_t)head[3] << 8 | head[4];
    evbuffer_drain(from, length);
    return length;
}

static void head_before_much_data_goes_with_it_in_a_record_of_its_own(void **state)
{
    enum { HEAD = 16, BODY = 256 * KIB, RECORD = 16 * KIB, ADDED = 17 };
    struct side *client = &session.side[CLIENT];
    struct evbuffer *got;
    size_t n;

    (void)state;
    session_secure_well();
    session_open();
    evbuffer_free(take_below());
    evbuffer_add(client->to_send, data, HEAD);
    evbuffer_add_reference(client->to_send, data, BODY, NULL, NULL);
    assert_int_equal(vst_channel_write(client->ch, client->to_send, HEAD + BODY, &n), VST_IO_OK);
    assert_int_equal(n, HEAD + BODY);
    got = take_below();
    assert_int_equal(drain_record(got), HEAD + ADDED);
    while (evbuffer_get_length(got))
        assert_int_equal(drain_record(got), RECORD + ADDED);
    evbuffer_free(got);
}

/* A hostile peer would have us keep a block for every few bytes. */
static void few_bytes_are_kept_in_little_memory(void **state)
{
    enum { FEW = 1500, TIMES = 1000 };
    struct side *server = &session.side[SERVER];
    struct evbuffer *into = evbuffer_new();
    size_t before, n;

    (void)state;
    session_secure_well();
    session_open();
    before = mallinfo2().uordblks;
    for (int i = 0; i < TIMES; i++) {
        give(CLIENT, FEW);
        assert_int_equal(
            vst_channel_write(session.side[CLIENT].ch, session.side[CLIENT].to_send, FEW, &n),
            VST_IO_OK);
        assert_int_equal(vst_channel_read(server->ch, into, LARGE, &n), VST_IO_OK);
        assert_int_equal(n, FEW);
    }
    assert_true(mallinfo2().uordblks - before < 4 * FEW * TIMES);
    evbuffer_free(into);
}

/* Whoever reads heads and bodies in turn needs few reads below. */
static void little_after_much_brings_much(void **state)
{
    enum { MUCH = 64 * KIB };
    struct side *client = &session.side[CLIENT], *server = &session.side[SERVER];
    struct vst_channel *below;
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    session_secure_well();
    session_open();
    below = server->ch->lower;
    for (int times = 0; times < 2; times++) {
        give(CLIENT, MUCH);
        assert_int_equal(vst_channel_write(client->ch, client->to_send, MUCH, &n), VST_IO_OK);
        if (!times)
            assert_int_equal(vst_channel_read(server->ch, into, 256 * KIB, &n), VST_IO_OK);
    }
    assert_true(vst_channel_buffered(server->ch) == 0);
    assert_int_equal(vst_channel_read(server->ch, into, 1, &n), VST_IO_OK);
    assert_true(vst_channel_buffered(server->ch) > MUCH / 2);
    assert_int_equal(vst_channel_read(below, into, MUCH, &n), VST_IO_AGAIN);
    evbuffer_free(into);
}

/* ---- ends ---- */

static void one_way_may_end_before_the_other(void **state)
{
    size_t n;

    (void)state;
    session_secure_well();
    session_open();
    assert_int_equal(vst_channel_finish(session.side[CLIENT].ch), VST_IO_AGAIN);
    vst_test_wait(session.side[SERVER].ch, VST_READ);
    assert_int_equal(vst_channel_read(session.side[SERVER].ch, session.side[SERVER].got, 1, &n),
                     VST_IO_EOF);
    give(SERVER, LARGE);
    session.side[SERVER].ended = true;
    session_talk();
    assert_all_arrived(NULL, 0, data, LARGE);
}

static void end_that_nobody_announced_is_lost(void **state)
{
    (void)state;
    session_secure_well();
    session_open();
    give(CLIENT, 100);
    session.side[SERVER].finished = true; /* it will not say so, but below all ends well */
    assert_int_equal(vst_channel_finish(session.side[SERVER].ch->lower), VST_IO_AGAIN);
    session_talk();
    assert_true(session.side[CLIENT].failed);
    assert_int_equal(session.side[CLIENT].err.code, VST_ERR_LOST);
    assert_non_null(strstr(session.side[CLIENT].err.text, "had not said that this is the end"));
}

static void abort_is_no_end(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_CANCELLED, .text = "no more"};

    (void)state;
    session_secure_well();
    session_open();
    vst_channel_abort(session.side[SERVER].ch, &why);
    vst_channel_free(&session.side[SERVER].ch);
    session_talk();
    assert_true(session.side[CLIENT].failed);
    assert_false(session.side[CLIENT].ended);
}

static void bytes_before_the_cut_are_given(void **state)
{
    struct side *client = &session.side[CLIENT], *server = &session.side[SERVER];
    size_t n;

    (void)state;
    session_secure_well();
    session_open();
    give(SERVER, 1000);
    assert_int_equal(vst_channel_write(server->ch, server->to_send, 1000, &n), VST_IO_OK);
    vst_channel_free(&server->ch);
    assert_int_equal(vst_channel_read(client->ch, client->got, 2000, &n), VST_IO_OK);
    assert_int_equal(n, 1000);
    assert_int_equal(vst_channel_read(client->ch, client->got, 2000, &n), VST_IO_FAIL);
}

static void writing_after_the_end_fails(void **state)
{
    size_t n;

    (void)state;
    session_secure_well();
    session_open();
    vst_channel_finish(session.side[CLIENT].ch);
    give(CLIENT, 1);
    assert_int_equal(
        vst_channel_write(session.side[CLIENT].ch, session.side[CLIENT].to_send, 1, &n),
        VST_IO_FAIL);
    assert_int_equal(vst_channel_error(session.side[CLIENT].ch)->code, VST_ERR_STATE);
}

static void free_it(void *opaque)
{
    struct side *side = opaque;

    vst_channel_free(&side->ch);
}

/* Freed by its listener in each state that announces. */
static void channel_may_be_freed_when_it_calls(void **state)
{
    for (int opened = 0; opened < 2; opened++) {
        struct side *server = &session.side[SERVER];

        session_secure_well();
        if (opened)
            session_open();
        else
            assert_int_equal(vst_channel_open(session.side[CLIENT].ch), VST_IO_AGAIN);
        give(CLIENT, 10);
        if (opened) {
            size_t n;

            vst_channel_write(session.side[CLIENT].ch, session.side[CLIENT].to_send, 10, &n);
        }
        vst_channel_listen(server->ch, VST_READ, free_it, server);
        vst_channel_listen(server->ch, VST_WRITE, free_it, server);
        vst_channel_want(server->ch, VST_READ, true);
        vst_channel_want(server->ch, VST_WRITE, true);
        while (server->ch)
            event_base_loop(session.base, EVLOOP_ONCE);
        session_drop(state);
        session_make(state);
    }
}

/* ---- who it is ---- */

static void each_knows_the_other(void **state)
{
    const struct vst_tls_peer *peer;
    unsigned char binding[2][VST_TLS_BINDING];

    (void)state;
    session_secure_well();
    session_open();
    peer = vst_tls_get_peer(session.side[SERVER].ch);
    assert_string_equal(peer->subject, "CN=alice");
    assert_string_equal(peer->uris[0], "urn:example:alice");
    assert_null(peer->uris[1]);
    assert_int_equal(strlen(peer->serial), 32);
    peer = vst_tls_get_peer(session.side[CLIENT].ch);
    assert_string_equal(peer->subject, "CN=host");
    assert_null(peer->uris[0]);
    assert_string_equal(vst_tls_get_cipher(session.side[CLIENT].ch), "TLS1.3 AES-256-GCM");
    for (int i = 0; i < 2; i++)
        assert_int_equal(vst_tls_get_binding(session.side[i].ch, binding[i], NULL), 0);
    assert_memory_equal(binding[0], binding[1], VST_TLS_BINDING);
}

static void client_without_a_certificate_is_nobody(void **state)
{
    const struct vst_tls_peer *peer;

    (void)state;
    session_secure(pki_creds(VST_TLS_CLIENT, "ca", NULL, NULL),
                   pki_creds(VST_TLS_SERVER, "ca", "host", NULL), false, 0);
    session_open();
    assert_false(session.side[SERVER].failed);
    peer = vst_tls_get_peer(session.side[SERVER].ch);
    assert_null(peer->subject);
    assert_null(peer->uris);
}

/* ---- what it costs ---- */

/* 0 where somebody else does the allocating, as valgrind and AddressSanitizer do. */
static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Both sides of a session count here: one of them is half, or less. */
static void idle_session_is_small(void **state)
{
    enum { SESSIONS = 50 };
    struct vst_channel *client[SESSIONS], *server[SESSIONS];
    struct vst_tls_creds *creds[2] = {pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL),
                                      pki_creds(VST_TLS_SERVER, "ca", "host", NULL)};
    size_t before = 0, each;

    (void)state;
    vst_test_seconds(60);
    for (int i = 0; i < SESSIONS; i++) {
        if (i == 1)
            before = in_use();
        vst_channel_free(&session.lower[0]);
        vst_channel_free(&session.lower[1]);
        assert_int_equal(vst_channel_pair(session.base, 1 << 20, session.lower, NULL), 0);
        session.side[0].open = session.side[1].open = false;
        session.side[0].waits[0] = session.side[1].waits[0] = false;
        session.side[0].waits[1] = session.side[1].waits[1] = false;
        session.side[0].finished = session.side[1].finished = false;
        session.side[0].ended = session.side[1].ended = false;
        session_secure(vst_tls_creds_ref(creds[0]), vst_tls_creds_ref(creds[1]), true, 0);
        session_open();
        client[i] = session.side[CLIENT].ch;
        server[i] = session.side[SERVER].ch;
        session.side[CLIENT].ch = session.side[SERVER].ch = NULL;
    }
    each = (in_use() - before) / (SESSIONS - 1);
    print_message("# %zu bytes for both sides of an idle session\n", each);
    assert_in_range(each, in_use() ? 1 : 0, 2 * 30 * KIB);
    for (int i = 0; i < SESSIONS; i++) {
        vst_channel_free(&client[i]);
        vst_channel_free(&server[i]);
    }
    vst_tls_creds_unref(&creds[0]);
    vst_tls_creds_unref(&creds[1]);
}

/* Its peer has sent the most that can be sent before it must prove anything, and then no more. */
static void session_before_its_hand_shake_is_small(void **state)
{
    static const unsigned char head[] = {22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xfc};
    struct side *server = &session.side[SERVER];
    struct evbuffer *flood = evbuffer_new();
    size_t before, n;

    (void)state;
    for (int i = 0; i < 8; i++) {
        evbuffer_add(flood, head, 5);
        evbuffer_add(flood, i ? (const void *)data : head + 5, i ? 16384 : 4);
        if (!i)
            evbuffer_add(flood, data, 16380);
    }
    session_secure_well();
    before = in_use();
    assert_int_equal(vst_channel_open(server->ch), VST_IO_AGAIN);
    while (evbuffer_get_length(flood) &&
           vst_channel_write(session.side[CLIENT].ch->lower, flood, 4096, &n) == VST_IO_OK &&
           vst_channel_open(server->ch) == VST_IO_AGAIN)
        assert_in_range(in_use() - before, 0, 64 * KIB);
    assert_true(server->ch->dead);
    evbuffer_free(flood);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(bytes_pass_both_ways, make, drop),
        VST_TEST_WITH(bytes_pass_through_sockets, make, drop),
        VST_TEST_WITH(every_chunking_below_is_the_same, make, drop),
        VST_TEST_WITH(reads_of_one_byte_get_everything, make, drop),
        VST_TEST_WITH(write_of_many_records_leaves_as_one, make, drop),
        VST_TEST_WITH(head_before_much_data_goes_with_it_in_a_record_of_its_own, make, drop),
        VST_TEST_WITH(few_bytes_are_kept_in_little_memory, make, drop),
        VST_TEST_WITH(little_after_much_brings_much, make, drop),
        VST_TEST_WITH(one_way_may_end_before_the_other, make, drop),
        VST_TEST_WITH(end_that_nobody_announced_is_lost, make, drop),
        VST_TEST_WITH(abort_is_no_end, make, drop),
        VST_TEST_WITH(bytes_before_the_cut_are_given, make, drop),
        VST_TEST_WITH(writing_after_the_end_fails, make, drop),
        VST_TEST_WITH(channel_may_be_freed_when_it_calls, make, drop),
        VST_TEST_WITH(each_knows_the_other, make, drop),
        VST_TEST_WITH(client_without_a_certificate_is_nobody, make, drop),
        VST_TEST_WITH(idle_session_is_small, make, drop),
        VST_TEST_WITH(session_before_its_hand_shake_is_small, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

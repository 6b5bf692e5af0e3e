/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Damaged and truncated images, restored by the qemu driver: each is refused for what it is, with a
 * sentence, and nothing is left. "make check-long" tries every bit and every length; otherwise it
 * is a sample, of the ends of each record above all.
 *
 * Images are of real guests. The small one comes at once and is refused before QEMU has taken any
 * of it; of the large one QEMU has the first part when the damage comes.
 */
#include "host.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/record-frame.h"

enum { RECORDS_MAX = 256, SEED = 20240229 };

struct image {
    unsigned char *bytes;
    size_t length;
    size_t ends[RECORDS_MAX]; /* where each record ends; the first is the preamble's end */
    size_t count;
};

static struct vst_host host;
static struct image small, large;

/* ---- making images ---- */

static void find_records(struct image *image)
{
    size_t at = VST_RECORD_PREAMBLE;

    image->ends[image->count++] = at;
    while (at < image->length) {
        assert_true(image->length - at >= VST_RECORD_HEAD && image->count < RECORDS_MAX);
        at += VST_RECORD_HEAD + vst_get_be32(image->bytes + at + 4);
        image->ends[image->count++] = at;
    }
    assert_int_equal(at, image->length);
}

static void take_image(struct image *image, const char *name)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_save_options opt = {0};
    struct vst_error err = {0};

    if (vst_host_save(&host, name, vst_host_sink(&host, into), &opt, &err) < 0)
        fail_msg("save %s: %s", name, err.text);
    image->length = evbuffer_get_length(into);
    image->bytes = malloc(image->length);
    assert_non_null(image->bytes);
    evbuffer_remove(into, image->bytes, image->length);
    evbuffer_free(into);
    find_records(image);
}

static void start(char *definition)
{
    struct vst_error err = {0};

    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
}

static int make_images(void **state)
{
    (void)state;
    vst_host_make(&host);
    start(vst_host_none("small"));
    take_image(&small, "small");
    start(vst_host_counting(&host, "large", "F"));
    vst_host_expect_counting(&host, "large", 2);
    take_image(&large, "large");
    print_message("# images of %zu and %zu bytes, %zu and %zu records\n", small.length,
                  large.length, small.count - 1, large.count - 1);
    return 0;
}

static int free_images(void **state)
{
    (void)state;
    free(small.bytes);
    free(large.bytes);
    small = large = (struct image){0};
    vst_host_clear(&host);
    return 0;
}

/* ---- giving them ---- */

/* Says AGAIN at `pause` until QEMU is loading what came before. */
struct feed {
    const struct image *image;
    size_t length;  /* of the image as given */
    size_t flipped; /* this bit; SIZE_MAX: none */
    size_t pause;   /* 0: none */
    size_t at;
    bool waits;
    struct vst_stream *stream;
    struct event *wake;
};

static enum vst_io give(void *into, size_t room, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    struct feed *feed = opaque;
    size_t until = feed->at < feed->pause ? feed->pause : feed->length;
    size_t n = until - feed->at < room ? until - feed->at : room;
    size_t damage = feed->flipped / 8;

    (void)ret_err;
    if (feed->waits)
        return VST_IO_AGAIN;
    if (feed->at >= feed->length)
        return VST_IO_EOF;
    memcpy(into, feed->image->bytes + feed->at, n);
    if (damage >= feed->at && damage < feed->at + n)
        ((unsigned char *)into)[damage - feed->at] ^= (unsigned char)(1u << feed->flipped % 8);
    feed->at += n;
    feed->waits = feed->at == feed->pause;
    *ret_n = n;
    return VST_IO_OK;
}

static void wake(evutil_socket_t fd, short what, void *opaque)
{
    struct feed *feed = opaque;

    (void)fd, (void)what;
    feed->waits = false;
    vst_stream_wake(feed->stream);
}

static void wake_when_loading(void *opaque, const char *machine, const char *to)
{
    (void)machine;
    if (strcmp(to, "RESTORE_LOADING") == 0)
        event_active(((struct feed *)opaque)->wake, 0, 0);
}

static int restore(struct feed *feed, struct vst_error *ret_err)
{
    struct vst_restore_options opt = {.stall_seconds = 10};
    struct vst_reader reader = {.read = give, .opaque = feed};
    int status;

    feed->stream = vst_stream_new(host.base, NULL);
    feed->wake = event_new(host.base, -1, 0, wake, feed);
    assert_true(feed->stream && feed->wake);
    assert_int_equal(vst_stream_set_source_reader(feed->stream, &reader), 0);
    host.edge = wake_when_loading;
    host.opaque = feed;
    status = vst_host_restore(&host, feed->stream, &opt, ret_err);
    host.edge = NULL;
    event_free(feed->wake);
    return status;
}

static void refuse(struct feed feed)
{
    struct vst_error err = {0};

    if (restore(&feed, &err) == 0)
        fail_msg("restored, with %zu bytes and bit %zu flipped", feed.length, feed.flipped);
    if (vst_code_exit(err.code) != 9 || strlen(err.text) < 20)
        fail_msg("%zu bytes, bit %zu flipped: %s: %s", feed.length, feed.flipped,
                 vst_code_name(err.code), err.text);
    if (vst_host_entries(&host, "root") != 0)
        fail_msg("%zu bytes, bit %zu flipped: something is left", feed.length, feed.flipped);
}

static void refuse_flip(const struct image *image, size_t bit, size_t pause)
{
    refuse((struct feed){image, .length = image->length, .flipped = bit, .pause = pause});
}

static void refuse_length(const struct image *image, size_t length, size_t pause)
{
    refuse((struct feed){image, .length = length, .flipped = SIZE_MAX,
                         .pause = length > pause ? pause : 0});
}

/* ---- the tests ---- */

static void expect_whole(const struct image *image, const char *name, size_t pause)
{
    struct feed feed = {image, .length = image->length, .flipped = SIZE_MAX, .pause = pause};
    struct vst_error err = {0};

    if (restore(&feed, &err) < 0)
        fail_msg("restore: %s", err.text);
    assert_int_equal(vst_host_destroy(&host, name, &err), 0);
    vst_host_expect_nothing(&host);
}

/* Without this the tests below would prove nothing. */
static void images_without_damage_are_restored(void **state)
{
    (void)state;
    expect_whole(&small, "small", 0);
    expect_whole(&large, "large", large.ends[2]);
}

/* 1 in `sample` of what lies in the data of QEMU, and all of the rest. */
static void flip_all(const struct image *image, size_t sample, size_t pause)
{
    size_t tried = 0;

    for (size_t bit = 0; bit < image->length * 8; bit++) {
        size_t at = bit / 8;
        bool data = at >= image->ends[1] + VST_RECORD_HEAD && at < image->ends[image->count - 2];

        if (data && bit % sample)
            continue;
        refuse_flip(image, bit, at >= pause ? pause : 0);
        tried++;
    }
    print_message("# %zu flips\n", tried);
}

static void flipped_bits_are_refused(void **state)
{
    (void)state;
    vst_test_seconds(vst_test_long() ? 3600 : 60);
    flip_all(&small, vst_test_long() ? 1 : 61, 0);
    vst_host_expect_nothing(&host);
}

/* Within the first record of data it is seen at once; later QEMU is started to take that. */
static void truncations_are_refused(void **state)
{
    size_t sample = vst_test_long() ? 1 : 101, tried = 0;

    (void)state;
    vst_test_seconds(vst_test_long() ? 3600 : 60);
    for (size_t length = 0; length < small.length; length++) {
        if (length >= small.ends[2] && length != small.length - 1 && length % sample)
            continue;
        refuse_length(&small, length, 0);
        tried++;
    }
    print_message("# %zu truncations\n", tried);
    vst_host_expect_nothing(&host);
}

static void truncations_at_records_are_refused_while_qemu_loads(void **state)
{
    size_t tried = 0;

    (void)state;
    vst_test_seconds(60);
    for (size_t i = 0; i < large.count; i += vst_test_long() || i < 3 ? 1 : 4) {
        for (size_t length = large.ends[i] - 1; length <= large.ends[i] + 1; length++) {
            if (length >= large.length)
                continue;
            refuse_length(&large, length, large.ends[2]);
            tried++;
        }
    }
    print_message("# %zu truncations\n", tried);
    vst_host_expect_nothing(&host);
}

static void random_flips_are_refused_while_qemu_loads(void **state)
{
    unsigned short seed[3] = {SEED & 0xffff, SEED >> 16, 0};
    int count = vst_test_long() ? 1000 : 20;

    (void)state;
    vst_test_seconds(vst_test_long() ? 3600 : 60);
    for (int i = 0; i < count; i++) {
        size_t bit = (size_t)nrand48(seed) % (large.length * 8);

        refuse_flip(&large, bit, bit / 8 >= large.ends[2] ? large.ends[2] : 0);
    }
    print_message("# %d flips\n", count);
    vst_host_expect_nothing(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(images_without_damage_are_restored),
        VST_TEST(flipped_bits_are_refused),
        VST_TEST(truncations_are_refused),
        VST_TEST(truncations_at_records_are_refused_while_qemu_loads),
        VST_TEST(random_flips_are_refused_while_qemu_loads),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, make_images, free_images);
}

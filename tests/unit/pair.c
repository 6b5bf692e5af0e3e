/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pair in memory: its bound, its ends, and when it announces.
 */
#include "loop.h"

#include <string.h>

struct pair {
    struct event_base *base;
    struct vst_channel *ends[2];
};

static struct pair pair;

enum { LIMIT = 8 };

static int make(void **state)
{
    (void)state;
    pair.base = event_base_new();
    return vst_channel_pair(pair.base, LIMIT, pair.ends, NULL);
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&pair.ends[0]);
    vst_channel_free(&pair.ends[1]);
    event_base_free(pair.base);
    return 0;
}

static void what_is_written_is_read_and_ends(void **state)
{
    char text[16];

    (void)state;
    assert_int_equal(vst_test_send(pair.ends[0], "hello", 5), VST_IO_OK);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_AGAIN);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_EOF);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_EOF);
}

static void writing_after_finish_is_refused(void **state)
{
    (void)state;
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    assert_int_equal(vst_test_send(pair.ends[0], "x", 1), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(pair.ends[0])->code, VST_ERR_STATE);
}

static void full_pair_says_again_until_read(void **state)
{
    struct evbuffer *from = evbuffer_new();
    char text[16];
    size_t n;

    (void)state;
    evbuffer_add(from, "0123456789", 10);
    assert_int_equal(vst_channel_write(pair.ends[0], from, 10, &n), VST_IO_OK);
    assert_int_equal(n, LIMIT);
    assert_int_equal(vst_channel_write(pair.ends[0], from, 2, &n), VST_IO_AGAIN);
    assert_false(vst_test_announced(pair.ends[0], VST_WRITE, 5));
    assert_int_equal(vst_test_read_text(pair.ends[1], text, 2), VST_IO_OK);
    assert_true(vst_test_announced(pair.ends[0], VST_WRITE, 1000));
    assert_int_equal(vst_channel_write(pair.ends[0], from, 2, &n), VST_IO_OK);
    assert_int_equal(n, 1);
    evbuffer_free(from);
}

static void finish_waits_for_the_reader(void **state)
{
    char text[16];

    (void)state;
    vst_test_send(pair.ends[0], "abc", 3);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, 3), VST_IO_OK);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, 3), VST_IO_OK);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, 3), VST_IO_EOF);
    assert_true(vst_test_announced(pair.ends[0], VST_WRITE, 1000));
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_OK);
}

static void end_destroyed_after_reading_all_has_taken_it(void **state)
{
    char text[16];

    (void)state;
    vst_test_send(pair.ends[0], "abc", 3);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    vst_test_read_text(pair.ends[1], text, sizeof(text));
    vst_test_read_text(pair.ends[1], text, sizeof(text));
    vst_channel_free(&pair.ends[1]);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_OK);
}

static void end_destroyed_with_bytes_unread_fails_the_writer(void **state)
{
    (void)state;
    vst_test_send(pair.ends[0], "abc", 3);
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_AGAIN);
    vst_channel_free(&pair.ends[1]);
    assert_true(vst_test_announced(pair.ends[0], VST_WRITE, 1000));
    assert_int_equal(vst_channel_finish(pair.ends[0]), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(pair.ends[0])->code, VST_ERR_LOST);
}

static void end_destroyed_without_finish_is_no_end(void **state)
{
    char text[16];

    (void)state;
    vst_test_send(pair.ends[0], "abc", 3);
    vst_channel_free(&pair.ends[0]);
    assert_true(vst_test_announced(pair.ends[1], VST_READ, 1000));
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "abc");
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(pair.ends[1])->code, VST_ERR_TRUNCATED);
    assert_int_equal(vst_test_send(pair.ends[1], "x", 1), VST_IO_FAIL);
}

static void abort_hands_its_reason_to_the_reader(void **state)
{
    struct vst_error why = {.code = VST_ERR_STALLED, .text = "nothing moved"};
    char text[16];

    (void)state;
    assert_int_equal(vst_channel_finish(pair.ends[1]), VST_IO_AGAIN);
    vst_channel_abort(pair.ends[0], &why);
    assert_int_equal(vst_test_read_text(pair.ends[1], text, sizeof(text)), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(pair.ends[1])->code, VST_ERR_STALLED);
    assert_int_equal(vst_test_send(pair.ends[0], "x", 1), VST_IO_FAIL);
    assert_int_equal(vst_test_read_text(pair.ends[0], text, sizeof(text)), VST_IO_EOF);
}

static unsigned times;

static void count(void *opaque)
{
    (void)opaque;
    times++;
}

static void announcement_comes_from_the_loop_and_lasts(void **state)
{
    (void)state;
    times = 0;
    vst_channel_listen(pair.ends[1], VST_READ, count, NULL);
    vst_channel_want(pair.ends[1], VST_READ, true);
    vst_test_send(pair.ends[0], "abc", 3);
    assert_int_equal(times, 0);
    for (int i = 0; i < 3; i++)
        event_base_loop(pair.base, EVLOOP_ONCE);
    assert_int_equal(times, 3);
    vst_channel_want(pair.ends[1], VST_READ, false);
    event_base_loop(pair.base, EVLOOP_NONBLOCK);
    assert_int_equal(times, 3);
}

static void every_chunking_carries_the_same_bytes(void **state)
{
    unsigned char bytes[200], read[200];

    (void)state;
    vst_test_fill(bytes, sizeof(bytes), 1);
    for (size_t in = 1; in <= LIMIT + 1; in++) {
        struct evbuffer *from = evbuffer_new(), *into = evbuffer_new();
        size_t n;

        evbuffer_add(from, bytes, sizeof(bytes));
        while (evbuffer_get_length(into) < sizeof(bytes)) {
            if (evbuffer_get_length(from))
                vst_channel_write(pair.ends[0], from, in, &n);
            vst_channel_read(pair.ends[1], into, LIMIT + 2 - in, &n);
        }
        evbuffer_remove(into, read, sizeof(read));
        assert_memory_equal(read, bytes, sizeof(bytes));
        evbuffer_free(from);
        evbuffer_free(into);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(what_is_written_is_read_and_ends, make, drop),
        VST_TEST_WITH(writing_after_finish_is_refused, make, drop),
        VST_TEST_WITH(full_pair_says_again_until_read, make, drop),
        VST_TEST_WITH(finish_waits_for_the_reader, make, drop),
        VST_TEST_WITH(end_destroyed_after_reading_all_has_taken_it, make, drop),
        VST_TEST_WITH(end_destroyed_with_bytes_unread_fails_the_writer, make, drop),
        VST_TEST_WITH(end_destroyed_without_finish_is_no_end, make, drop),
        VST_TEST_WITH(abort_hands_its_reason_to_the_reader, make, drop),
        VST_TEST_WITH(announcement_comes_from_the_loop_and_lasts, make, drop),
        VST_TEST_WITH(every_chunking_carries_the_same_bytes, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

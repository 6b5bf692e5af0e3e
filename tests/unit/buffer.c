/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving and walking buffers that consist of blocks of every size.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "feed.h"

enum { LEN = 100000 };

static unsigned char *data;

static int make(void **state)
{
    (void)state;
    data = feed_random(LEN, 9);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    free(data);
    return 0;
}

/* `data` in blocks of their own, 1, 2, 4, ... bytes long, again and again. */
static struct evbuffer *in_blocks(void)
{
    struct evbuffer *buf = evbuffer_new();
    size_t size = 1;

    for (size_t at = 0; at < LEN; at += size, size = size < 16384 ? 2 * size : 1)
        evbuffer_add_reference(buf, data + at, vst_least(size, LEN - at), NULL, NULL);
    return buf;
}

static void every_size_moves_and_nothing_else_changes(void **state)
{
    static const size_t sizes[] = {1, 1023, 1024, 1025, 5000, 70000, LEN};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct evbuffer *from = in_blocks(), *into = evbuffer_new();

        while (evbuffer_get_length(from)) {
            size_t n = vst_least(sizes[i], evbuffer_get_length(from));

            assert_int_equal(vst_buffer_move(from, into, n), 0);
            assert_int_equal(evbuffer_get_length(from) + evbuffer_get_length(into), LEN);
        }
        assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
        evbuffer_free(from);
        evbuffer_free(into);
    }
}

static void many_short_moves_make_few_blocks(void **state)
{
    struct evbuffer *from = in_blocks(), *into = evbuffer_new();

    (void)state;
    while (evbuffer_get_length(from))
        assert_int_equal(vst_buffer_move(from, into, 1), 0);
    assert_in_range(evbuffer_peek(into, -1, NULL, NULL, 0), 1, LEN / 500);
    assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
    evbuffer_free(from);
    evbuffer_free(into);
}

static void whole_ends_where_a_block_ends(void **state)
{
    struct evbuffer *buf = in_blocks();

    (void)state;
    assert_int_equal(vst_buffer_whole(buf, 1), 1);
    assert_int_equal(vst_buffer_whole(buf, 2), 1);
    assert_int_equal(vst_buffer_whole(buf, 3), 3);
    assert_int_equal(vst_buffer_whole(buf, 6), 3);
    assert_int_equal(vst_buffer_whole(buf, 1023), 1023);
    /* Not even one block fits: then a part of it. */
    evbuffer_drain(buf, 16383);
    assert_int_equal(vst_buffer_whole(buf, 16383), 16383);
    assert_int_equal(vst_buffer_whole(buf, 16384), 16384);
    evbuffer_drain(buf, evbuffer_get_length(buf));
    assert_int_equal(vst_buffer_whole(buf, 10), 0);
    evbuffer_free(buf);
}

struct walk {
    size_t at;
    size_t calls;
};

static void look(void *opaque, const void *bytes, size_t n)
{
    struct walk *walk = opaque;

    assert_memory_equal(bytes, data + walk->at, n);
    walk->at += n;
    walk->calls++;
}

static void walk_sees_just_these_bytes_in_place(void **state)
{
    static const size_t edges[] = {0, 1, 2, 3, 1000, 1023, 16383, 32767, 50000, LEN};
    struct evbuffer *buf = in_blocks();

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        for (size_t j = i; j < 10; j++) {
            struct walk walk = {.at = edges[i]};

            vst_buffer_walk(buf, edges[i], edges[j] - edges[i], look, &walk);
            assert_int_equal(walk.at, edges[j]);
            assert_true(j > i || walk.calls == 0);
        }
    }
    evbuffer_free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(every_size_moves_and_nothing_else_changes, make, drop),
        VST_TEST_WITH(many_short_moves_make_few_blocks, make, drop),
        VST_TEST_WITH(whole_ends_where_a_block_ends, make, drop),
        VST_TEST_WITH(walk_sees_just_these_bytes_in_place, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rate limit: the rate is kept, without a busy loop and without crumbs.
 */
#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "script.h"

static struct event_base *base;
static struct vst_channel *below;
static struct vst_channel *top;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    below = script_new(base);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&top);
    event_base_free(base);
    return 0;
}

static void limit(uint64_t bytes_per_second, size_t burst)
{
    top = vst_channel_rate(below, bytes_per_second, burst, NULL);
    assert_non_null(top);
}

static double seconds(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* Lines for reads, without an end of their own. */
static void give(size_t len)
{
    char *bytes = calloc(1, len);

    script_give(below, bytes, len);
    free(bytes);
}

static void reading_keeps_the_rate(void **state)
{
    struct evbuffer *into = evbuffer_new();
    double began = seconds(), took;

    (void)state;
    limit(100000, 10000);
    give(50000);
    script_read(below, VST_IO_EOF);
    assert_int_equal(vst_test_drain(top, into, 1000000), VST_IO_EOF);
    took = seconds() - began;
    assert_int_equal(evbuffer_get_length(into), 50000);
    /* 10,000 at once, the rest in 0.4 s; a busy machine only makes it later. */
    assert_true(took >= 0.38 && took < 3);
    evbuffer_free(into);
}

static void writing_keeps_the_rate_in_pieces_of_some_size(void **state)
{
    char *bytes = calloc(1, 50000);
    double began = seconds();

    (void)state;
    limit(100000, 0);
    assert_int_equal(vst_test_send(top, bytes, 50000), VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_true(seconds() - began >= 0.38);
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 50000);
    /* A hundred pieces a second at the most. */
    assert_in_range(script_seen(below)->writes, 1, 60);
    free(bytes);
}

static void what_is_below_is_not_watched_meanwhile(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    limit(3, 1);
    give(100);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_OK);
    assert_int_equal(n, 1);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_AGAIN);
    assert_int_equal(vst_channel_buffered(top), 0);
    vst_channel_want(top, VST_READ, true);
    assert_int_equal(below->wanted, 0);
    assert_true(vst_test_announced(top, VST_READ, 5000));
    assert_in_range(script_seen(below)->announced, 0, 1);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_OK);
    assert_int_equal(n, 1);
    evbuffer_free(into);
}

static void an_idle_time_is_saved_up_to_the_burst_only(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    limit(1000, 20);
    give(100000);
    assert_int_equal(vst_channel_read(top, into, 1000, &n), VST_IO_OK);
    assert_int_equal(n, 20);
    usleep(100 * 1000);
    assert_int_equal(vst_channel_read(top, into, 1000, &n), VST_IO_OK);
    assert_int_equal(n, 20);
    evbuffer_free(into);
}

static void directions_have_a_bucket_each(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    limit(1, 10);
    give(100);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_OK);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_AGAIN);
    assert_int_equal(vst_test_send(top, "0123456789", 10), VST_IO_OK);
    evbuffer_free(into);
}

static void nothing_is_spent_on_what_did_not_pass(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    limit(1, 10);
    for (int i = 0; i < 100; i++)
        assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_AGAIN);
    give(100);
    assert_int_equal(vst_channel_read(top, into, 100, &n), VST_IO_OK);
    assert_int_equal(n, 10);
    evbuffer_free(into);
}

static void any_rate_is_possible_but_none(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_error err = {0};
    size_t n;

    (void)state;
    assert_null(vst_channel_rate(below, 0, 0, &err));
    assert_int_equal(err.code, VST_ERR_INVALID);
    limit(UINT64_MAX, SIZE_MAX);
    give(100);
    assert_int_equal(vst_channel_read(top, into, SIZE_MAX, &n), VST_IO_OK);
    assert_int_equal(n, 100);
    evbuffer_free(into);
}

static void free_top(void *opaque)
{
    (void)opaque;
    vst_channel_free(&top);
}

static void channel_may_be_freed_by_its_timer(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    limit(3, 1);
    give(100);
    assert_int_equal(vst_channel_read(top, into, 1, &n), VST_IO_OK);
    assert_int_equal(vst_channel_read(top, into, 1, &n), VST_IO_AGAIN);
    vst_channel_listen(top, VST_READ, free_top, NULL);
    vst_channel_want(top, VST_READ, true);
    event_base_dispatch(base);
    assert_null(top);
    evbuffer_free(into);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(reading_keeps_the_rate, make, drop),
        VST_TEST_WITH(writing_keeps_the_rate_in_pieces_of_some_size, make, drop),
        VST_TEST_WITH(what_is_below_is_not_watched_meanwhile, make, drop),
        VST_TEST_WITH(an_idle_time_is_saved_up_to_the_burst_only, make, drop),
        VST_TEST_WITH(directions_have_a_bucket_each, make, drop),
        VST_TEST_WITH(nothing_is_spent_on_what_did_not_pass, make, drop),
        VST_TEST_WITH(any_rate_is_possible_but_none, make, drop),
        VST_TEST_WITH(channel_may_be_freed_by_its_timer, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

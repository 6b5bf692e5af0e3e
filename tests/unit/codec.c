/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layer that puts codecs on a channel, with the record codecs and with codecs that misbehave.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/pump.h"
#include "core/record.h"
#include "core/turn.h"
#include "feed.h"
#include "loop.h"
#include "script.h"

enum { LEN = 3000 };

static struct event_base *base;
static struct vst_channel *below; /* the script */
static struct vst_channel *top;   /* the layer on it */
static unsigned char data[LEN];

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    below = script_new(base);
    top = NULL;
    vst_test_fill(data, LEN, 7);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(top ? &top : &below);
    event_base_free(base);
    return 0;
}

static void put(struct vst_codec *reading, struct vst_codec *writing, size_t limit)
{
    top = vst_channel_codec(below, reading, writing, limit, NULL);
    assert_non_null(top);
}

static struct vst_codec *encoder(void)
{
    return vst_codec_records_encode(NULL, 0, NULL);
}

static struct vst_codec *decoder(void)
{
    return vst_codec_records_decode(NULL, NULL);
}

/* The image of `data` in records of `chunk` bytes. */
static struct evbuffer *image_of(size_t chunk)
{
    struct vst_codec *codec = encoder();
    struct evbuffer *out = evbuffer_new();

    assert_int_equal(feed(codec, (struct feed){.chunk = chunk}, data, LEN, out, NULL), 0);
    vst_codec_free(&codec);
    return out;
}

static void assert_holds(struct evbuffer *buf, const void *bytes, size_t len)
{
    assert_int_equal(evbuffer_get_length(buf), len);
    assert_memory_equal(evbuffer_pullup(buf, -1), bytes, len);
}

static void assert_is_image_of_data(struct evbuffer *image)
{
    struct vst_codec *codec = decoder();
    struct evbuffer *out = evbuffer_new();

    assert_int_equal(feed(codec, (struct feed){0}, evbuffer_pullup(image, -1),
                          evbuffer_get_length(image), out, NULL),
                     0);
    assert_holds(out, data, LEN);
    evbuffer_free(out);
    vst_codec_free(&codec);
}

/* Runs the loop while anything is left to run, but not for ever. */
static void run(void)
{
    for (int i = 0; i < 10000; i++)
        if (event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK) != 0)
            return;
}

/* Writes without waiting; returns what was taken. */
static size_t write_some(const void *bytes, size_t len, enum vst_io *ret_io)
{
    struct evbuffer *from = evbuffer_new();
    size_t n = 0;

    evbuffer_add(from, bytes, len);
    *ret_io = vst_channel_write(top, from, len, &n);
    assert_int_equal(len - evbuffer_get_length(from), *ret_io == VST_IO_OK ? n : 0);
    evbuffer_free(from);
    return n;
}

/* ---- reading ---- */

static void reads_through_the_codec_whatever_the_sizes(void **state)
{
    static const size_t sizes[] = {1, 2, 17, 1000, 100000};
    struct evbuffer *image = image_of(700);
    size_t len = evbuffer_get_length(image);

    for (size_t chunk = 0; chunk < 5; chunk++) {
        for (size_t limit = 0; limit < 5; limit++) {
            struct evbuffer *into = evbuffer_new();

            drop(state);
            make(state);
            script_give_chunks(below, evbuffer_pullup(image, -1), len, sizes[chunk]);
            script_read(below, VST_IO_EOF);
            put(decoder(), NULL, sizes[limit]);
            assert_int_equal(vst_test_drain(top, into, sizes[(chunk + limit) % 5]), VST_IO_EOF);
            assert_holds(into, data, LEN);
            evbuffer_free(into);
        }
    }
    evbuffer_free(image);
}

static void end_below_before_the_end_is_truncation(void **state)
{
    struct evbuffer *image = image_of(700), *into = evbuffer_new();

    (void)state;
    script_give(below, evbuffer_pullup(image, -1), evbuffer_get_length(image) - 1);
    script_read(below, VST_IO_EOF);
    put(decoder(), NULL, 1000);
    assert_int_equal(vst_test_drain(top, into, 1000), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->code, VST_ERR_TRUNCATED);
    evbuffer_free(image);
    evbuffer_free(into);
}

static void failure_below_is_the_failure_above(void **state)
{
    struct evbuffer *image = image_of(700), *into = evbuffer_new();

    (void)state;
    script_give(below, evbuffer_pullup(image, -1), 1000);
    script_read(below, VST_IO_AGAIN);
    script_read(below, VST_IO_FAIL);
    put(decoder(), NULL, 100000);
    assert_int_equal(vst_test_drain(top, into, 1000), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->code, SCRIPT_ERROR);
    assert_holds(into, data, 700);
    evbuffer_free(image);
    evbuffer_free(into);
}

static void encodes_what_is_there_when_below_has_no_more_for_now(void **state)
{
    struct evbuffer *into = evbuffer_new();
    size_t n = 0;

    (void)state;
    script_give(below, data, 100);
    script_give(below, data + 100, 100);
    script_read(below, VST_IO_AGAIN);
    put(encoder(), NULL, 100000);
    /* Preamble, and one record of both. */
    assert_int_equal(vst_channel_read(top, into, 100000, &n), VST_IO_OK);
    assert_int_equal(n, 24 + 16 + 200);
    assert_int_equal(vst_channel_read(top, into, 100000, &n), VST_IO_AGAIN);
    evbuffer_free(into);
}

static void tells_what_is_buffered(void **state)
{
    struct evbuffer *image = image_of(LEN), *into = evbuffer_new();
    size_t n = 0;

    (void)state;
    script_give(below, evbuffer_pullup(image, -1), evbuffer_get_length(image));
    put(decoder(), NULL, 100000);
    assert_int_equal(vst_channel_buffered(top), 0);
    assert_int_equal(vst_channel_read(top, into, 1, &n), VST_IO_OK);
    assert_true(vst_channel_buffered(top) >= LEN - 1);
    assert_int_equal(vst_channel_read(top, into, LEN, &n), VST_IO_OK);
    assert_int_equal(n, LEN - 1);
    assert_int_equal(vst_channel_read(top, into, LEN, &n), VST_IO_AGAIN);
    assert_int_equal(vst_channel_buffered(top), 0);
    evbuffer_free(image);
    evbuffer_free(into);
}

/* ---- writing ---- */

static void writes_through_the_codec_whatever_the_sizes(void **state)
{
    static const size_t sizes[] = {1, 2, 17, 1000, 100000};

    for (size_t chunk = 0; chunk < 5; chunk++) {
        for (size_t limit = 0; limit < 5; limit++) {
            drop(state);
            make(state);
            for (int i = 0; i < 50; i++) {
                script_take(below, sizes[chunk]);
                script_write(below, VST_IO_AGAIN);
            }
            script_finish(below, VST_IO_AGAIN);
            put(NULL, encoder(), sizes[limit]);
            assert_int_equal(vst_test_send(top, data, LEN), VST_IO_OK);
            assert_int_equal(vst_test_finish(top), VST_IO_OK);
            assert_int_equal(script_seen(below)->finished, 1);
            assert_is_image_of_data(script_seen(below)->written);
        }
    }
}

static void decodes_on_the_way_down(void **state)
{
    struct evbuffer *image = image_of(1);

    (void)state;
    put(NULL, decoder(), 100);
    assert_int_equal(vst_test_send(top, evbuffer_pullup(image, -1), evbuffer_get_length(image)),
                     VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_holds(script_seen(below)->written, data, LEN);
    /* Records of one byte each do not become writes of one byte each. */
    assert_in_range(script_seen(below)->writes, 1, LEN / 2);
    evbuffer_free(image);
}

static void finish_of_a_cut_image_fails_and_does_not_finish_below(void **state)
{
    struct evbuffer *image = image_of(700);

    (void)state;
    put(NULL, decoder(), 100);
    assert_int_equal(vst_test_send(top, evbuffer_pullup(image, -1), evbuffer_get_length(image) - 1),
                     VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->code, VST_ERR_TRUNCATED);
    assert_int_equal(script_seen(below)->finished, 0);
    evbuffer_free(image);
}

static void what_was_accepted_flows_without_another_write(void **state)
{
    enum vst_io io;

    (void)state;
    script_write(below, VST_IO_AGAIN);
    script_take(below, 10);
    script_write(below, VST_IO_AGAIN);
    put(NULL, encoder(), 100000);
    assert_int_equal(write_some(data, LEN, &io), LEN);
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 0);
    run();
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 24 + 16 + LEN);
    /* And then nothing is waited for any more. */
    assert_int_equal(below->wanted, 0);
    assert_int_equal(script_seen(below)->announced, 2);
}

static void input_gathers_while_below_is_full(void **state)
{
    enum vst_io io;

    (void)state;
    script_stop_writes(below, true);
    put(NULL, encoder(), 100000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write_some(data + i * 30, 30, &io), 30);
    script_stop_writes(below, false);
    run();
    /* One record of the first write, one of all others. */
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 24 + 16 + 16 + LEN);
}

static void accepts_no_more_than_its_bounds(void **state)
{
    enum { LIMIT = 500 };
    size_t accepted = 0;
    enum vst_io io = VST_IO_OK;

    (void)state;
    script_stop_writes(below, true);
    put(NULL, encoder(), LIMIT);
    while (io == VST_IO_OK)
        accepted += write_some(data, 100, &io);
    assert_int_equal(io, VST_IO_AGAIN);
    assert_in_range(accepted, LIMIT, 2 * LIMIT);
    script_stop_writes(below, false);
    vst_test_wait(top, VST_WRITE);
    assert_int_equal(write_some(data, 100, &io), 100);
}

static void failure_while_nobody_writes_is_found_by_the_next_call(void **state)
{
    enum vst_io io;

    (void)state;
    script_write(below, VST_IO_AGAIN);
    script_write(below, VST_IO_FAIL);
    put(NULL, encoder(), 100000);
    assert_int_equal(write_some(data, LEN, &io), LEN);
    run();
    assert_int_equal(below->wanted, 0);
    assert_int_equal(write_some(data, LEN, &io), 0);
    assert_int_equal(io, VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->code, SCRIPT_ERROR);
    assert_int_equal(vst_channel_finish(top), VST_IO_FAIL);
}

static void abort_writes_nothing_more(void **state)
{
    struct vst_error why = {.code = VST_ERR_CANCELLED, .text = "enough"};
    enum vst_io io;

    (void)state;
    script_take(below, 50);
    script_write(below, VST_IO_AGAIN);
    put(NULL, encoder(), 100000);
    write_some(data, LEN, &io);
    vst_channel_abort(top, &why);
    run();
    assert_int_equal(script_seen(below)->announced, 0);
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 50);
    assert_int_equal(script_seen(below)->aborted, 1);
    assert_int_equal(script_seen(below)->why, VST_ERR_CANCELLED);
    assert_int_equal(below->wanted, 0);
}

static void writing_after_finish_is_refused(void **state)
{
    enum vst_io io;

    (void)state;
    script_finish(below, VST_IO_AGAIN);
    put(NULL, encoder(), 100000);
    assert_int_equal(vst_channel_finish(top), VST_IO_AGAIN);
    write_some(data, 1, &io);
    assert_int_equal(io, VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->code, VST_ERR_INTERNAL);
}

static void direction_without_codec_is_unchanged(void **state)
{
    struct evbuffer *into = evbuffer_new();

    (void)state;
    script_give(below, data, LEN);
    script_read(below, VST_IO_EOF);
    put(NULL, encoder(), 1);
    assert_int_equal(vst_test_drain(top, into, 100), VST_IO_EOF);
    assert_holds(into, data, LEN);
    drop(state);
    make(state);
    put(decoder(), NULL, 1);
    assert_int_equal(vst_test_send(top, data, LEN), VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_holds(script_seen(below)->written, data, LEN);
    evbuffer_free(into);
}

/* ---- a codec that takes its time ---- */

enum { SLOW_MS = 2, SLOW_STEPS = 50 };

struct slow {
    struct vst_codec codec;
    bool mute; /* gives nothing out before the last byte has come */
    size_t held;
};

static int slow_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out, size_t max,
                     bool last, struct vst_error *ret_err)
{
    struct slow *slow = (struct slow *)codec;
    clock_t until = clock() + SLOW_MS * CLOCKS_PER_SEC / 1000;

    (void)max, (void)ret_err;
    if (evbuffer_get_length(in)) {
        while (clock() < until)
            continue;
        evbuffer_drain(in, 1);
        slow->held++;
    }
    if (slow->held && (!slow->mute || (last && !evbuffer_get_length(in)))) {
        evbuffer_add(out, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", slow->held);
        slow->held = 0;
    }
    return 0;
}

static void slow_destroy(struct vst_codec *codec)
{
    free(codec);
}

static const struct vst_codec_ops slow_ops = {"slow", slow_step, slow_destroy};

static struct vst_codec *slow_codec(bool mute)
{
    struct slow *slow = calloc(1, sizeof(*slow));

    slow->codec.ops = &slow_ops;
    slow->mute = mute;
    return &slow->codec;
}

/* Counts the turns of the loop beside the work. */
static unsigned turns;
static struct vst_turn beat;

static void on_beat(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
    turns++;
    vst_turn_schedule(&beat);
}

static void start_beat(void)
{
    turns = 0;
    vst_turn_init(&beat, base, on_beat, NULL);
    vst_turn_schedule(&beat);
}

static void slow_codec_leaves_the_loop_its_turns(void **state)
{
    for (int mute = 0; mute < 2; mute++) {
        struct evbuffer *into = evbuffer_new();

        drop(state);
        make(state);
        script_give(below, data, SLOW_STEPS);
        script_read(below, VST_IO_EOF);
        put(slow_codec(mute), NULL, 1000);
        start_beat();
        assert_int_equal(vst_test_drain(top, into, 1000), VST_IO_EOF);
        assert_int_equal(evbuffer_get_length(into), SLOW_STEPS);
        assert_true(turns >= SLOW_STEPS * SLOW_MS / 4 / 2);
        vst_turn_cancel(&beat);
        drop(state);

        make(state);
        put(NULL, slow_codec(mute), 1000);
        start_beat();
        assert_int_equal(vst_test_send(top, data, SLOW_STEPS), VST_IO_OK);
        assert_int_equal(vst_test_finish(top), VST_IO_OK);
        assert_int_equal(evbuffer_get_length(script_seen(below)->written), SLOW_STEPS);
        assert_true(turns >= SLOW_STEPS * SLOW_MS / 4 / 2);
        vst_turn_cancel(&beat);
        evbuffer_free(into);
    }
}

static void what_a_slow_codec_has_accepted_flows_by_itself(void **state)
{
    enum vst_io io;

    (void)state;
    put(NULL, slow_codec(false), 1000);
    assert_int_equal(write_some(data, SLOW_STEPS, &io), SLOW_STEPS);
    assert_in_range(evbuffer_get_length(script_seen(below)->written), 0, SLOW_STEPS / 2);
    run();
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), SLOW_STEPS);
}

static void free_top(void *opaque)
{
    (void)opaque;
    vst_channel_free(&top);
    below = NULL;
}

static void channel_may_be_freed_when_it_announces(void **state)
{
    struct evbuffer *into = evbuffer_new();
    enum vst_io io;
    size_t n;

    (void)state;
    /* ... because the one below did, */
    script_write(below, VST_IO_AGAIN);
    put(NULL, encoder(), 100000);
    vst_channel_listen(top, VST_WRITE, free_top, NULL);
    write_some(data, LEN, &io);
    vst_channel_want(top, VST_WRITE, true);
    run();
    assert_null(top);
    /* ... and because it has rested. */
    below = script_new(base);
    script_give(below, data, SLOW_STEPS);
    put(slow_codec(true), NULL, 1000);
    assert_int_equal(vst_channel_read(top, into, 1, &n), VST_IO_AGAIN);
    vst_channel_listen(top, VST_READ, free_top, NULL);
    vst_channel_want(top, VST_READ, true);
    run();
    assert_null(top);
    evbuffer_free(into);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(reads_through_the_codec_whatever_the_sizes, make, drop),
        VST_TEST_WITH(end_below_before_the_end_is_truncation, make, drop),
        VST_TEST_WITH(failure_below_is_the_failure_above, make, drop),
        VST_TEST_WITH(encodes_what_is_there_when_below_has_no_more_for_now, make, drop),
        VST_TEST_WITH(tells_what_is_buffered, make, drop),
        VST_TEST_WITH(writes_through_the_codec_whatever_the_sizes, make, drop),
        VST_TEST_WITH(decodes_on_the_way_down, make, drop),
        VST_TEST_WITH(finish_of_a_cut_image_fails_and_does_not_finish_below, make, drop),
        VST_TEST_WITH(what_was_accepted_flows_without_another_write, make, drop),
        VST_TEST_WITH(input_gathers_while_below_is_full, make, drop),
        VST_TEST_WITH(accepts_no_more_than_its_bounds, make, drop),
        VST_TEST_WITH(failure_while_nobody_writes_is_found_by_the_next_call, make, drop),
        VST_TEST_WITH(abort_writes_nothing_more, make, drop),
        VST_TEST_WITH(writing_after_finish_is_refused, make, drop),
        VST_TEST_WITH(direction_without_codec_is_unchanged, make, drop),
        VST_TEST_WITH(slow_codec_leaves_the_loop_its_turns, make, drop),
        VST_TEST_WITH(what_a_slow_codec_has_accepted_flows_by_itself, make, drop),
        VST_TEST_WITH(channel_may_be_freed_when_it_announces, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pump: every row of its table of ends, back-pressure, fairness, and what its owner may do at
 * which moment.
 */
#include "core/pump.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"
#include "test.h"

enum { LIMIT = 8, TURN = 256 * 1024, CALL = 4096 };

static struct {
    struct event_base *base;
    struct vst_channel *source;
    struct vst_channel *sink;
    struct vst_pump *pump;
    unsigned done;
    struct vst_error err; /* what done() was given */
    bool free_in_done;
    bool free_ends_in_done;
} t;

static void done(void *opaque, const struct vst_error *err)
{
    assert_ptr_equal(opaque, &t);
    t.done++;
    t.err = err ? *err : (struct vst_error){0};
    if (t.free_in_done)
        vst_pump_free(&t.pump);
    if (t.free_ends_in_done) {
        vst_channel_free(&t.source);
        vst_channel_free(&t.sink);
    }
}

static int make(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.base = event_base_new();
    t.source = script_new(t.base);
    t.sink = script_new(t.base);
    t.pump = vst_pump_new(t.base, LIMIT, done, &t, NULL);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_pump_free(&t.pump);
    vst_channel_free(&t.source);
    vst_channel_free(&t.sink);
    event_base_free(t.base);
    return 0;
}

static void join_ends(void)
{
    vst_pump_set_source(t.pump, t.source);
    vst_pump_set_sink(t.pump, t.sink);
}

/* Runs until nothing happens by itself any more. */
static void settle(void)
{
    event_base_dispatch(t.base);
}

static void one_pass(void)
{
    event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static const struct script_seen *sink_seen(void)
{
    return script_seen(t.sink);
}

static struct vst_pump_stats stats(void)
{
    struct vst_pump_stats now;

    vst_pump_get_stats(t.pump, &now);
    return now;
}

static void assert_sink_got(const char *text)
{
    char got[256];
    ev_ssize_t n = evbuffer_copyout(sink_seen()->written, got, sizeof(got));

    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void assert_ended_well(void)
{
    assert_int_equal(t.done, 1);
    assert_int_equal(t.err.code, VST_ERR_OK);
    assert_int_equal(sink_seen()->finished, 1);
    assert_int_equal(sink_seen()->aborted, 0);
}

static void assert_ended_badly(enum vst_code code)
{
    assert_int_equal(t.done, 1);
    assert_int_equal(t.err.code, code);
    assert_int_equal(sink_seen()->finished, 0);
    assert_int_equal(sink_seen()->aborted, 1);
    assert_int_equal(sink_seen()->why, code);
}

/* ---- the rows of the table ---- */

static void open_source_moves(void **state)
{
    (void)state;
    script_give_chunks(t.source, "hello, world", 12, 5);
    join_ends();
    settle();
    assert_sink_got("hello, world");
    assert_int_equal(t.done, 0);
    assert_int_equal(sink_seen()->finished, 0);
}

static void source_at_its_end_drains_what_is_held(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    script_stop_writes(t.sink, true);
    join_ends();
    settle();
    assert_int_equal(t.done, 0);
    assert_int_equal(stats().held, 3);
    assert_int_equal(sink_seen()->finished, 0);
    script_stop_writes(t.sink, false);
    settle();
    assert_sink_got("abc");
    assert_ended_well();
}

static void source_at_its_end_with_nothing_held_finishes_the_sink(void **state)
{
    (void)state;
    script_read(t.source, VST_IO_EOF);
    join_ends();
    settle();
    assert_ended_well();
}

static void finish_is_asked_again_until_it_is_ok(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    script_finish(t.sink, VST_IO_AGAIN);
    script_finish(t.sink, VST_IO_AGAIN);
    join_ends();
    settle();
    assert_sink_got("abc");
    assert_ended_well();
}

static void failed_source_aborts_the_sink(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_FAIL);
    join_ends();
    settle();
    assert_ended_badly(SCRIPT_ERROR);
    assert_int_equal(stats().held, 0);
}

static void failed_source_aborts_the_sink_while_it_is_full(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_FAIL);
    script_stop_writes(t.sink, true);
    join_ends();
    settle();
    assert_ended_badly(SCRIPT_ERROR);
    assert_sink_got("");
}

static void failed_sink_is_aborted_and_nothing_more_is_read(void **state)
{
    uint64_t taken;

    (void)state;
    script_give_chunks(t.source, "0123456789", 10, 2);
    script_take(t.sink, 2);
    script_write(t.sink, VST_IO_FAIL);
    join_ends();
    settle();
    assert_ended_badly(SCRIPT_ERROR);
    taken = stats().taken;
    script_give(t.source, "more", 4);
    settle();
    assert_int_equal(stats().taken, taken);
}

static void failed_sink_is_aborted_while_draining(void **state)
{
    (void)state;
    script_give(t.source, "0123", 4);
    script_read(t.source, VST_IO_EOF);
    script_take(t.sink, 1);
    script_write(t.sink, VST_IO_AGAIN);
    script_write(t.sink, VST_IO_FAIL);
    join_ends();
    settle();
    assert_ended_badly(SCRIPT_ERROR);
}

static void failed_finish_is_a_failed_sink(void **state)
{
    (void)state;
    script_read(t.source, VST_IO_EOF);
    script_finish(t.sink, VST_IO_AGAIN);
    script_finish(t.sink, VST_IO_FAIL);
    join_ends();
    settle();
    assert_ended_badly(SCRIPT_ERROR);
}

/* ---- cancel, in each state ---- */

static const struct vst_error why = {.code = VST_ERR_TIMEOUT, .text = "enough"};

static void cancelled_before_it_has_ends(void **state)
{
    (void)state;
    vst_pump_cancel(t.pump, &why);
    assert_int_equal(t.done, 0);
    settle();
    assert_int_equal(t.done, 1);
    assert_int_equal(t.err.code, VST_ERR_TIMEOUT);
}

static void cancelled_before_it_has_a_source(void **state)
{
    (void)state;
    vst_pump_set_sink(t.pump, t.sink);
    settle();
    vst_pump_cancel(t.pump, &why);
    settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_while_moving(void **state)
{
    (void)state;
    script_give(t.source, "0123456789", 10);
    join_ends();
    settle();
    vst_pump_cancel(t.pump, &why);
    settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_while_draining(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    script_stop_writes(t.sink, true);
    join_ends();
    settle();
    vst_pump_cancel(t.pump, &why);
    settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
    assert_sink_got("");
}

static void cancelled_while_finishing(void **state)
{
    (void)state;
    script_read(t.source, VST_IO_EOF);
    script_stop_writes(t.sink, true);
    for (int i = 0; i < 100; i++)
        script_finish(t.sink, VST_IO_AGAIN);
    join_ends();
    for (int i = 0; i < 5; i++)
        one_pass();
    vst_pump_cancel(t.pump, &why);
    settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_after_the_end_is_too_late(void **state)
{
    (void)state;
    script_read(t.source, VST_IO_EOF);
    join_ends();
    settle();
    vst_pump_cancel(t.pump, &why);
    settle();
    assert_ended_well();
}

static void first_reason_to_cancel_wins(void **state)
{
    static const struct vst_error later = {.code = VST_ERR_STALLED};

    (void)state;
    join_ends();
    vst_pump_cancel(t.pump, &why);
    vst_pump_cancel(t.pump, &later);
    settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void free_aborts_a_sink_that_has_not_finished(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    join_ends();
    settle();
    vst_pump_free(&t.pump);
    assert_null(t.pump);
    settle();
    assert_int_equal(t.done, 0);
    assert_int_equal(sink_seen()->aborted, 1);
    vst_pump_free(&t.pump);
}

static void free_after_the_end_leaves_the_sink_finished(void **state)
{
    (void)state;
    script_read(t.source, VST_IO_EOF);
    join_ends();
    settle();
    vst_pump_free(&t.pump);
    assert_ended_well();
}

static void done_may_free_the_pump(void **state)
{
    (void)state;
    t.free_in_done = true;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    join_ends();
    settle();
    assert_null(t.pump);
    assert_ended_well();
}

static void done_may_free_the_pump_that_failed(void **state)
{
    (void)state;
    t.free_in_done = true;
    script_give(t.source, "abc", 3);
    script_write(t.sink, VST_IO_FAIL);
    join_ends();
    settle();
    assert_null(t.pump);
    assert_ended_badly(SCRIPT_ERROR);
}

static void done_may_free_the_channels(void **state)
{
    (void)state;
    t.free_ends_in_done = true;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    join_ends();
    settle();
    assert_null(t.sink);
    assert_int_equal(t.done, 1);
    assert_int_equal(stats().delivered, 3);
}

/* ---- back-pressure ---- */

static void sink_full_pauses_source(void **state)
{
    char many[100];

    (void)state;
    memset(many, 'x', sizeof(many));
    script_give(t.source, many, sizeof(many));
    script_stop_writes(t.sink, true);
    join_ends();
    settle();
    assert_int_equal(stats().taken, LIMIT);
    assert_int_equal(stats().held, LIMIT);
    script_stop_writes(t.sink, false);
    settle();
    assert_int_equal(stats().delivered, sizeof(many));
    assert_int_equal(stats().most_held, LIMIT);
}

static void reading_begins_again_when_half_is_empty(void **state)
{
    char many[100];

    (void)state;
    memset(many, 'x', sizeof(many));
    script_give(t.source, many, sizeof(many));
    script_stop_writes(t.sink, true);
    join_ends();
    settle();
    script_take(t.sink, 3);
    settle();
    assert_int_equal(stats().held, LIMIT - 3);
    assert_int_equal(stats().taken, LIMIT);
    script_take(t.sink, 1);
    settle();
    assert_int_equal(stats().taken, LIMIT + 4);
    assert_int_equal(stats().held, LIMIT);
}

static void limit_of_one_byte_moves_everything(void **state)
{
    (void)state;
    vst_pump_free(&t.pump);
    t.pump = vst_pump_new(t.base, 1, done, &t, NULL);
    script_give_chunks(t.source, "hello, world", 12, 5);
    script_read(t.source, VST_IO_EOF);
    script_take(t.sink, 1);
    script_write(t.sink, VST_IO_AGAIN);
    join_ends();
    settle();
    assert_sink_got("hello, world");
    assert_int_equal(stats().most_held, 1);
    assert_ended_well();
}

static void paused_by_the_user_it_drains_and_reads_nothing(void **state)
{
    (void)state;
    script_give_chunks(t.source, "abcdef", 6, 3);
    vst_pump_pause(t.pump, VST_PAUSE_USER);
    join_ends();
    settle();
    assert_sink_got("");
    vst_pump_resume(t.pump, VST_PAUSE_USER);
    settle();
    assert_sink_got("abcdef");
}

static void reading_waits_for_every_reason_to_go(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    vst_pump_pause(t.pump, VST_PAUSE_USER | VST_PAUSE_CREDIT);
    join_ends();
    settle();
    vst_pump_resume(t.pump, VST_PAUSE_USER);
    settle();
    assert_sink_got("");
    vst_pump_resume(t.pump, VST_PAUSE_CREDIT);
    settle();
    assert_sink_got("abc");
}

static void nothing_is_wanted_of_a_source_that_is_not_read(void **state)
{
    (void)state;
    join_ends();
    settle();
    assert_int_equal(t.source->wanted, VST_READ);
    assert_int_equal(t.sink->wanted, 0);
    vst_pump_pause(t.pump, VST_PAUSE_USER);
    settle();
    assert_int_equal(t.source->wanted, 0);
}

static void it_knows_what_it_waits_for(void **state)
{
    (void)state;
    assert_int_equal(stats().waits, VST_WAITS_SINK);
    join_ends();
    settle();
    assert_int_equal(stats().waits, VST_WAITS_SOURCE);
    vst_pump_pause(t.pump, VST_PAUSE_USER);
    settle();
    assert_int_equal(stats().waits, VST_WAITS_USER);
    vst_pump_resume(t.pump, VST_PAUSE_USER);
    script_stop_writes(t.sink, true);
    script_give(t.source, "abc", 3);
    settle();
    assert_int_equal(stats().waits, VST_WAITS_SINK);
    script_stop_writes(t.sink, false);
    script_read(t.source, VST_IO_EOF);
    settle();
    assert_int_equal(stats().waits, VST_WAITS_NOTHING);
}

/* ---- turns ---- */

static void api_calls_move_nothing_and_call_nobody(void **state)
{
    (void)state;
    script_give(t.source, "abc", 3);
    script_read(t.source, VST_IO_EOF);
    join_ends();
    vst_pump_pause(t.pump, VST_PAUSE_USER);
    vst_pump_resume(t.pump, VST_PAUSE_USER);
    vst_pump_cancel(t.pump, &why);
    assert_int_equal(t.done, 0);
    assert_int_equal(stats().taken, 0);
    assert_int_equal(sink_seen()->aborted, 0);
}

static void a_turn_moves_a_bounded_number_of_bytes(void **state)
{
    size_t most = 4 * TURN;
    char *many = calloc(1, most);

    (void)state;
    script_give(t.source, many, most);
    vst_pump_free(&t.pump);
    t.pump = vst_pump_new(t.base, most, done, &t, NULL);
    join_ends();
    for (uint64_t before = 0; stats().delivered < most; before = stats().taken) {
        one_pass();
        assert_in_range(stats().taken - before, 0, TURN);
    }
    free(many);
}

static void a_turn_makes_a_bounded_number_of_moves(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        script_give(t.source, "x", 1);
    join_ends();
    for (uint64_t before = 0; stats().delivered < 1000; before = stats().taken) {
        one_pass();
        assert_in_range(stats().taken - before, 0, TURN / CALL);
    }
}

static void two_pumps_get_the_same_share(void **state)
{
    size_t most = 8 * TURN;
    char *many = calloc(1, most);
    struct vst_channel *source = script_new(t.base), *sink = script_new(t.base);
    struct vst_pump *other = vst_pump_new(t.base, TURN, done, &t, NULL);
    struct vst_pump_stats theirs;

    (void)state;
    script_give(t.source, many, most);
    script_give(source, many, most);
    vst_pump_set_source(other, source);
    vst_pump_set_sink(other, sink);
    vst_pump_free(&t.pump);
    t.pump = vst_pump_new(t.base, TURN, done, &t, NULL);
    join_ends();
    for (int i = 0; i < 8; i++) {
        one_pass();
        vst_pump_get_stats(other, &theirs);
        assert_in_range(stats().taken + TURN - theirs.taken, 0, 2 * TURN);
    }
    vst_pump_free(&other);
    vst_channel_free(&source);
    vst_channel_free(&sink);
    free(many);
}

/* ---- opening ---- */

/* A layer whose handshake takes `again` rounds, and then may fail. */
struct opener {
    struct vst_channel ch;
    unsigned again;
    bool fails;
    unsigned opened;
    struct event retry;
};

static enum vst_io opener_open(struct vst_channel *ch)
{
    struct opener *opener = (struct opener *)ch;
    static const struct timeval soon = {0, 1000};

    if (opener->again) {
        opener->again--;
        event_add(&opener->retry, &soon);
        return VST_IO_AGAIN;
    }
    if (opener->fails) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_AUTH, "who are you?");
        return VST_IO_FAIL;
    }
    opener->opened++;
    return VST_IO_OK;
}

static enum vst_io opener_read(struct vst_channel *ch, struct evbuffer *into, size_t max, size_t *n)
{
    assert_int_not_equal(((struct opener *)ch)->opened, 0);
    return vst_channel_read(ch->lower, into, max, n);
}

static enum vst_io opener_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *n)
{
    assert_int_not_equal(((struct opener *)ch)->opened, 0);
    return vst_channel_write(ch->lower, from, max, n);
}

static void opener_destroy(struct vst_channel *ch)
{
    event_del(&((struct opener *)ch)->retry);
    free(ch);
}

static const struct vst_channel_ops opener_ops = {
    .name = "opener",
    .read = opener_read,
    .write = opener_write,
    .destroy = opener_destroy,
    .open = opener_open,
};

static void retry(evutil_socket_t fd, short what, void *opaque)
{
    struct opener *opener = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&opener->ch, VST_READ | VST_WRITE);
}

static struct opener *put_opener(struct vst_channel **ch, unsigned again, bool fails)
{
    struct opener *opener = calloc(1, sizeof(*opener));

    vst_channel_init(&opener->ch, &opener_ops, t.base, *ch);
    opener->again = again;
    opener->fails = fails;
    event_assign(&opener->retry, t.base, -1, 0, retry, opener);
    *ch = &opener->ch;
    return opener;
}

static void nothing_moves_before_both_are_open(void **state)
{
    struct vst_channel *sink = t.sink;

    (void)state;
    put_opener(&t.source, 3, false);
    put_opener(&t.sink, 5, false);
    script_give(t.source->lower, "abc", 3);
    script_read(t.source->lower, VST_IO_EOF);
    join_ends();
    settle();
    assert_int_equal(t.done, 1);
    assert_int_equal(t.err.code, VST_ERR_OK);
    assert_int_equal(evbuffer_get_length(script_seen(sink)->written), 3);
}

static void the_end_that_is_there_is_opened_without_the_other(void **state)
{
    struct opener *opener = put_opener(&t.source, 2, false);

    (void)state;
    vst_pump_set_source(t.pump, t.source);
    settle();
    assert_int_not_equal(opener->opened, 0);
    assert_int_equal(t.done, 0);
    assert_int_equal(stats().taken, 0);
}

static void failed_open_of_the_source_aborts_the_sink(void **state)
{
    (void)state;
    put_opener(&t.source, 1, true);
    join_ends();
    settle();
    assert_ended_badly(VST_ERR_AUTH);
}

static void failed_open_of_a_lone_source_is_told(void **state)
{
    (void)state;
    put_opener(&t.source, 1, true);
    vst_pump_set_source(t.pump, t.source);
    settle();
    assert_int_equal(t.done, 1);
    assert_int_equal(t.err.code, VST_ERR_AUTH);
}

int main(void)
{
#define PUMP_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        PUMP_TEST(open_source_moves),
        PUMP_TEST(source_at_its_end_drains_what_is_held),
        PUMP_TEST(source_at_its_end_with_nothing_held_finishes_the_sink),
        PUMP_TEST(finish_is_asked_again_until_it_is_ok),
        PUMP_TEST(failed_source_aborts_the_sink),
        PUMP_TEST(failed_source_aborts_the_sink_while_it_is_full),
        PUMP_TEST(failed_sink_is_aborted_and_nothing_more_is_read),
        PUMP_TEST(failed_sink_is_aborted_while_draining),
        PUMP_TEST(failed_finish_is_a_failed_sink),
        PUMP_TEST(cancelled_before_it_has_ends),
        PUMP_TEST(cancelled_before_it_has_a_source),
        PUMP_TEST(cancelled_while_moving),
        PUMP_TEST(cancelled_while_draining),
        PUMP_TEST(cancelled_while_finishing),
        PUMP_TEST(cancelled_after_the_end_is_too_late),
        PUMP_TEST(first_reason_to_cancel_wins),
        PUMP_TEST(free_aborts_a_sink_that_has_not_finished),
        PUMP_TEST(free_after_the_end_leaves_the_sink_finished),
        PUMP_TEST(done_may_free_the_pump),
        PUMP_TEST(done_may_free_the_pump_that_failed),
        PUMP_TEST(done_may_free_the_channels),
        PUMP_TEST(sink_full_pauses_source),
        PUMP_TEST(reading_begins_again_when_half_is_empty),
        PUMP_TEST(limit_of_one_byte_moves_everything),
        PUMP_TEST(paused_by_the_user_it_drains_and_reads_nothing),
        PUMP_TEST(reading_waits_for_every_reason_to_go),
        PUMP_TEST(nothing_is_wanted_of_a_source_that_is_not_read),
        PUMP_TEST(it_knows_what_it_waits_for),
        PUMP_TEST(api_calls_move_nothing_and_call_nobody),
        PUMP_TEST(a_turn_moves_a_bounded_number_of_bytes),
        PUMP_TEST(a_turn_makes_a_bounded_number_of_moves),
        PUMP_TEST(two_pumps_get_the_same_share),
        PUMP_TEST(nothing_moves_before_both_are_open),
        PUMP_TEST(the_end_that_is_there_is_opened_without_the_other),
        PUMP_TEST(failed_open_of_the_source_aborts_the_sink),
        PUMP_TEST(failed_open_of_a_lone_source_is_told),
    };
#undef PUMP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

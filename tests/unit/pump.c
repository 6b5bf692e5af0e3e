/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pumps end: every row of the table in core/pump.h, and what an owner may do at which moment.
 */
#include <stdlib.h>
#include <string.h>

#include "pumping.h"

/* ---- the rows of the table ---- */

static void open_source_moves(void **state)
{
    (void)state;
    script_give_chunks(pumping.source, "hello, world", 12, 5);
    pumping_join();
    pumping_settle();
    assert_sink_got("hello, world");
    assert_int_equal(pumping.done, 0);
    assert_int_equal(pumping_seen()->finished, 0);
}

static void source_at_its_end_drains_what_is_held(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    script_stop_writes(pumping.sink, true);
    pumping_join();
    pumping_settle();
    assert_int_equal(pumping.done, 0);
    assert_int_equal(pumping_stats().held, 3);
    assert_int_equal(pumping_seen()->finished, 0);
    script_stop_writes(pumping.sink, false);
    pumping_settle();
    assert_sink_got("abc");
    assert_ended_well();
}

static void source_at_its_end_with_nothing_held_finishes_the_sink(void **state)
{
    (void)state;
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    assert_ended_well();
}

static void finish_is_asked_again_until_it_is_ok(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    script_finish(pumping.sink, VST_IO_AGAIN);
    script_finish(pumping.sink, VST_IO_AGAIN);
    pumping_join();
    pumping_settle();
    assert_sink_got("abc");
    assert_ended_well();
}

static void failed_source_aborts_the_sink(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_FAIL);
    pumping_join();
    pumping_settle();
    assert_ended_badly(SCRIPT_ERROR);
    assert_int_equal(pumping_stats().held, 0);
}

static void failed_source_aborts_the_sink_while_it_is_full(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_FAIL);
    script_stop_writes(pumping.sink, true);
    pumping_join();
    pumping_settle();
    assert_ended_badly(SCRIPT_ERROR);
    assert_sink_got("");
    assert_int_equal(pumping_stats().held, 0);
}

static void failed_sink_is_aborted_and_nothing_more_is_read(void **state)
{
    uint64_t taken;

    (void)state;
    script_give_chunks(pumping.source, "0123456789", 10, 2);
    script_take(pumping.sink, 2);
    script_write(pumping.sink, VST_IO_FAIL);
    pumping_join();
    pumping_settle();
    assert_ended_badly(SCRIPT_ERROR);
    taken = pumping_stats().taken;
    script_give(pumping.source, "more", 4);
    pumping_settle();
    assert_int_equal(pumping_stats().taken, taken);
}

static void failed_sink_is_aborted_while_draining(void **state)
{
    (void)state;
    script_give(pumping.source, "0123", 4);
    script_read(pumping.source, VST_IO_EOF);
    script_take(pumping.sink, 1);
    script_write(pumping.sink, VST_IO_AGAIN);
    script_write(pumping.sink, VST_IO_FAIL);
    pumping_join();
    pumping_settle();
    assert_ended_badly(SCRIPT_ERROR);
}

static void failed_finish_is_a_failed_sink(void **state)
{
    (void)state;
    script_read(pumping.source, VST_IO_EOF);
    script_finish(pumping.sink, VST_IO_AGAIN);
    script_finish(pumping.sink, VST_IO_FAIL);
    pumping_join();
    pumping_settle();
    assert_ended_badly(SCRIPT_ERROR);
}

/* ---- cancel, in each state ---- */

static const struct vst_error why = {.code = VST_ERR_TIMEOUT, .text = "enough"};

static void cancelled_before_it_has_ends(void **state)
{
    (void)state;
    vst_pump_cancel(pumping.pump, &why);
    assert_int_equal(pumping.done, 0);
    pumping_settle();
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping.err.code, VST_ERR_TIMEOUT);
}

static void cancelled_before_it_has_a_source(void **state)
{
    (void)state;
    vst_pump_set_sink(pumping.pump, pumping.sink);
    pumping_settle();
    vst_pump_cancel(pumping.pump, &why);
    pumping_settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_while_moving(void **state)
{
    (void)state;
    script_give(pumping.source, "0123456789", 10);
    pumping_join();
    pumping_settle();
    vst_pump_cancel(pumping.pump, &why);
    pumping_settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_while_draining(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    script_stop_writes(pumping.sink, true);
    pumping_join();
    pumping_settle();
    vst_pump_cancel(pumping.pump, &why);
    pumping_settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
    assert_sink_got("");
}

static void cancelled_while_finishing(void **state)
{
    (void)state;
    script_read(pumping.source, VST_IO_EOF);
    script_stop_writes(pumping.sink, true);
    for (int i = 0; i < 100; i++)
        script_finish(pumping.sink, VST_IO_AGAIN);
    pumping_join();
    for (int i = 0; i < 5; i++)
        pumping_pass();
    vst_pump_cancel(pumping.pump, &why);
    pumping_settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void cancelled_after_the_end_is_too_late(void **state)
{
    (void)state;
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    vst_pump_cancel(pumping.pump, &why);
    pumping_settle();
    assert_ended_well();
}

static void first_reason_to_cancel_wins(void **state)
{
    static const struct vst_error later = {.code = VST_ERR_STALLED};

    (void)state;
    pumping_join();
    vst_pump_cancel(pumping.pump, &why);
    vst_pump_cancel(pumping.pump, &later);
    pumping_settle();
    assert_ended_badly(VST_ERR_TIMEOUT);
}

static void free_aborts_a_sink_that_has_not_finished(void **state)
{
    (void)state;
    script_give(pumping.source, "abc", 3);
    pumping_join();
    pumping_settle();
    vst_pump_free(&pumping.pump);
    assert_null(pumping.pump);
    pumping_settle();
    assert_int_equal(pumping.done, 0);
    assert_int_equal(pumping_seen()->aborted, 1);
    vst_pump_free(&pumping.pump);
}

static void free_after_the_end_leaves_the_sink_finished(void **state)
{
    (void)state;
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    vst_pump_free(&pumping.pump);
    assert_ended_well();
}

static void done_may_free_the_pump(void **state)
{
    (void)state;
    pumping.free_in_done = true;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    assert_null(pumping.pump);
    assert_ended_well();
}

static void done_may_free_the_pump_that_failed(void **state)
{
    (void)state;
    pumping.free_in_done = true;
    script_give(pumping.source, "abc", 3);
    script_write(pumping.sink, VST_IO_FAIL);
    pumping_join();
    pumping_settle();
    assert_null(pumping.pump);
    assert_ended_badly(SCRIPT_ERROR);
}

static void done_may_free_the_channels(void **state)
{
    (void)state;
    pumping.free_ends_in_done = true;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    assert_null(pumping.sink);
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping_stats().delivered, 3);
}

int main(void)
{
#define PUMP_TEST(function) VST_TEST_WITH(function, pumping_make, pumping_drop)
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
    };
#undef PUMP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

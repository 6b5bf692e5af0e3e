/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams joined to each other, layers between application and driver, and who is blamed for a
 * stall.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "part.h"

/* ---- joining ---- */

static void joined_stream_carries_and_waits_for_the_far_outcome(void **state)
{
    struct vst_stream *to = vst_stream_new(part.base, NULL);
    struct vst_channel *far = script_new(part.base);
    struct outcome theirs = {0};
    struct vst_op *op = part_new_op(&theirs);
    struct vst_stream_user user = {.name = "far"};

    (void)state;
    part.done = true;
    assert_int_equal(vst_stream_join(part.stream, to), 0);
    assert_int_equal(vst_stream_join(part.stream, to), -1);
    assert_int_equal(vst_stream_join(to, to), -1);
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    vst_stream_claim(to, op, &user, NULL);
    assert_int_equal(vst_stream_attach(to, NULL, far, NULL), 0);
    part_run();
    assert_text(script_seen(far)->written, "hello");
    assert_int_equal(script_seen(far)->finished, 1);
    assert_string_equal(part.order, "");
    vst_op_done(op);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "down ended completed");
    vst_stream_free(&to);
}

static void joined_stream_fails_with_the_one_it_feeds(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_INCOMPATIBLE, .text = "no such machine"};
    struct vst_stream *to = vst_stream_new(part.base, NULL);
    struct outcome theirs = {0};
    struct vst_op *op = part_new_op(&theirs);
    struct vst_stream_user user = {.name = "far"};

    (void)state;
    vst_stream_join(part.stream, to);
    part_claim();
    script_give(part.source, "hello", 5);
    part_attach_down();
    vst_stream_claim(to, op, &user, NULL);
    part_run();
    vst_op_fail(op, &err);
    part_run();
    script_give(part.source, "more", 4);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_INCOMPATIBLE);
    vst_stream_free(&to);
}

static void joined_stream_that_is_freed_fails_the_other(void **state)
{
    struct vst_stream *to = vst_stream_new(part.base, NULL);

    (void)state;
    vst_stream_join(part.stream, to);
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    vst_stream_free(&to);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_CANCELLED);
}

static void stream_fails_when_the_one_that_feeds_it_does(void **state)
{
    struct vst_stream *from = vst_stream_new(part.base, NULL);

    (void)state;
    vst_stream_join(from, part.stream);
    part_claim();
    part_attach_up();
    part_run();
    vst_stream_free(&from);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_TRUNCATED);
}

/* ---- layers ---- */

static void layers_lie_between_application_and_driver(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    struct vst_layer_spec flip = {
        .kind = VST_LAYER_FAULT,
        .fault = {.kind = VST_FAULT_FLIP, .offset = 1, .bit = 5},
    };
    unsigned char before[16], after[16];

    (void)state;
    part_feed("hello", part_plain);
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, before), -1);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP, &digest), 0);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP, &digest), -1);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP, &flip), 0);
    assert_int_equal(vst_stream_push_layer(part.stream, 0, &flip), -1);
    part_claim();
    part_attach_up();
    part_run();
    assert_text(script_seen(part.sink)->written, "hEllo");
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, before), 0);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
    /* The sum outlives the layer. */
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, after), 0);
    assert_memory_equal(before, after, 16);
}

static void layer_of_both_directions_is_on_both_or_none(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    unsigned char sum[16];

    (void)state;
    assert_int_equal(vst_stream_push_layer(part.stream, VST_DOWN, &digest), 0);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP | VST_DOWN, &digest), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, sum), -1);
}

static void layers_may_lie_on_what_is_pushed(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    unsigned char sum[16];
    size_t n;

    (void)state;
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP | VST_DOWN, &digest), 0);
    assert_int_equal(vst_stream_write(part.stream, "hello", 5, &n), VST_IO_OK);
    vst_stream_finish(part.stream);
    part_claim();
    part_attach_up();
    part_run();
    assert_text(script_seen(part.sink)->written, "hello");
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, sum), 0);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

/* ---- stalls ---- */

static void assert_stalled(enum vst_side side, const char *who)
{
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_STALLED);
    assert_int_equal(part.ended.side, side);
    if (!strstr(part.ended.text, who))
        fail_msg("`%s` does not say `%s`", part.ended.text, who);
}

static void stalled_application_is_named(void **state)
{
    (void)state;
    part.user.stall_seconds = 1;
    part_feed("hello", (struct manner){.never = true, .until = 2});
    part_claim();
    part_attach_up();
    assert_stalled(VST_SIDE_APPLICATION, "the application's end gives no data");
}

static void stalled_sink_of_the_application_is_named(void **state)
{
    (void)state;
    part.user.stall_seconds = 1;
    part_drain((struct manner){.never = true, .until = 2});
    part_claim();
    script_give(part.source, "hello", 5);
    part_attach_down();
    assert_stalled(VST_SIDE_APPLICATION, "the application's end takes no data");
}

static void stalled_driver_is_named(void **state)
{
    (void)state;
    part.user.stall_seconds = 1;
    part_feed("hello", part_plain);
    script_stop_writes(part.sink, true);
    part_claim();
    part_attach_up();
    assert_stalled(VST_SIDE_HOST, "the driver takes no data");
}

static void stalled_source_of_the_driver_is_named(void **state)
{
    (void)state;
    part.user.stall_seconds = 1;
    part_drain(part_plain);
    part_claim();
    part_attach_down();
    assert_stalled(VST_SIDE_HOST, "the driver gives no data");
}

static void slow_is_not_stalled(void **state)
{
    struct timeval two = {2, 500000};

    (void)state;
    part.user.stall_seconds = 1;
    part_feed("0123456789", (struct manner){.never = true, .until = 0});
    part_claim();
    part_attach_up();
    for (unsigned i = 0; i < 5; i++) {
        two = (struct timeval){0, 500000};
        event_base_loopexit(part.base, &two);
        event_base_dispatch(part.base);
        part.source_end.manner.until++;
        vst_stream_wake(part.stream);
    }
    assert_string_equal(part.order, "");
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static void progress_is_told_and_outlives_the_method(void **state)
{
    struct vst_progress progress;

    (void)state;
    part_feed("hello", part_plain);
    vst_stream_get_progress(part.stream, &progress);
    assert_int_equal(progress.elapsed_us, 0);
    part_claim();
    vst_stream_expect(part.stream, 10);
    part_attach_up();
    part_run();
    vst_stream_get_progress(part.stream, &progress);
    assert_int_equal(progress.up_bytes, 5);
    assert_int_equal(progress.down_bytes, 0);
    assert_int_equal(progress.total, 10);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
    vst_stream_get_progress(part.stream, &progress);
    assert_int_equal(progress.up_bytes, 5);
    assert_int_equal(progress.waits_for, VST_STALLED_ON_NOTHING);
}

int main(void)
{
#define STREAM_TEST(function) VST_TEST_WITH(function, part_make, part_drop)
    const struct CMUnitTest tests[] = {
        STREAM_TEST(joined_stream_carries_and_waits_for_the_far_outcome),
        STREAM_TEST(joined_stream_fails_with_the_one_it_feeds),
        STREAM_TEST(joined_stream_that_is_freed_fails_the_other),
        STREAM_TEST(stream_fails_when_the_one_that_feeds_it_does),
        STREAM_TEST(layers_lie_between_application_and_driver),
        STREAM_TEST(layer_of_both_directions_is_on_both_or_none),
        STREAM_TEST(layers_may_lie_on_what_is_pushed),
        STREAM_TEST(stalled_application_is_named),
        STREAM_TEST(stalled_sink_of_the_application_is_named),
        STREAM_TEST(stalled_driver_is_named),
        STREAM_TEST(stalled_source_of_the_driver_is_named),
        STREAM_TEST(slow_is_not_stalled),
        STREAM_TEST(progress_is_told_and_outlives_the_method),
    };
#undef STREAM_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

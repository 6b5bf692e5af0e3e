/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How an application moves the bytes of a stream: pushing, pulling, and callbacks that are woken.
 */
#include <stdlib.h>
#include <string.h>

#include "part.h"

/* ---- pushing ---- */

static enum vst_io push(const char *text, size_t *ret_n)
{
    return vst_stream_write(part.stream, text, strlen(text), ret_n);
}

static void bytes_pushed_before_the_method_wait(void **state)
{
    size_t n;

    (void)state;
    assert_int_equal(push("hello", &n), VST_IO_OK);
    assert_int_equal(n, 5);
    part_claim();
    assert_int_equal(push(", world", &n), VST_IO_OK);
    part_attach_up();
    assert_int_equal(vst_stream_finish(part.stream), 0);
    part_run();
    assert_string_equal(part.order, "up");
    assert_text(script_seen(part.sink)->written, "hello, world");
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static void full_stream_says_again_and_then_writable(void **state)
{
    char many[1000] = {0};
    size_t n, pushed = 0;

    (void)state;
    script_stop_writes(part.sink, true);
    part_claim();
    part_attach_up();
    for (int i = 0; i < 10; i++) {
        if (vst_stream_write(part.stream, many, sizeof(many), &n) == VST_IO_OK)
            pushed += n;
        event_base_loop(part.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    part_run();
    assert_int_equal(pushed, PART_LIMIT);
    assert_int_equal(vst_stream_write(part.stream, many, 1, &n), VST_IO_AGAIN);
    assert_int_equal(n, 0);
    part.order[0] = '\0';
    script_stop_writes(part.sink, false);
    part_run();
    assert_string_equal(part.order, "writable");
    assert_int_equal(vst_stream_write(part.stream, many, 1, &n), VST_IO_OK);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static void nothing_is_pushed_after_finish(void **state)
{
    size_t n;

    (void)state;
    push("hello", &n);
    assert_int_equal(vst_stream_finish(part.stream), 0);
    assert_int_equal(vst_stream_finish(part.stream), 0);
    assert_int_equal(push("more", &n), VST_IO_FAIL);
    part_claim();
    part_attach_up();
    part_run();
    assert_string_equal(part.order, "up");
    assert_text(script_seen(part.sink)->written, "hello");
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static void nothing_pushed_is_ok(void **state)
{
    size_t n = 1;

    (void)state;
    assert_int_equal(push("", &n), VST_IO_OK);
    assert_int_equal(n, 0);
}

static void push_into_a_failed_stream_fails(void **state)
{
    size_t n;

    (void)state;
    part_claim();
    vst_stream_abort(part.stream, NULL);
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    part_run();
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    assert_int_equal(vst_stream_finish(part.stream), -1);
}

static void push_where_nothing_is_taken_fails(void **state)
{
    size_t n;

    (void)state;
    part_claim();
    part_attach_down();
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

/* ---- pulling ---- */

static void pull_all(void)
{
    size_t n;

    while (part.stream && vst_stream_read_buffer(part.stream, part.down, 3, &n) == VST_IO_OK)
        ;
}

static void readable_is_told_for_bytes_and_for_the_end(void **state)
{
    (void)state;
    part.in_readable = pull_all;
    part.done = true;
    part_claim();
    script_give(part.source, "hello", 5);
    part_attach_down();
    part_run();
    assert_string_equal(part.order, "readable");
    assert_text(part.down, "hello");
    script_read(part.source, VST_IO_EOF);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "readable readable down ended completed");
}

static void driver_is_told_only_when_the_end_was_pulled(void **state)
{
    size_t n;

    (void)state;
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    part_run();
    assert_string_equal(part.order, "readable");
    assert_int_equal(vst_stream_read_buffer(part.stream, part.down, 100, &n), VST_IO_OK);
    assert_text(part.down, "hello");
    part_run();
    assert_string_equal(part.order, "readable");
    assert_int_equal(vst_stream_read_buffer(part.stream, part.down, 100, &n), VST_IO_EOF);
    part_run();
    assert_string_equal(part.order, "readable down");
    assert_int_equal(vst_stream_read_buffer(part.stream, part.down, 100, &n), VST_IO_EOF);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
    assert_int_equal(vst_stream_read_buffer(part.stream, part.down, 100, &n), VST_IO_EOF);
}

static void nothing_pulled_holds_the_limit_and_no_more(void **state)
{
    struct vst_progress progress;
    char many[1000] = {0}, got[1000];
    size_t n, pulled = 0;

    (void)state;
    part_claim();
    script_give(part.source, many, sizeof(many));
    part_attach_down();
    part_run();
    while (vst_stream_read(part.stream, got, sizeof(got), &n) == VST_IO_OK) {
        assert_in_range(n, 1, PART_LIMIT);
        pulled += n;
        if (pulled < sizeof(many) / 2)
            part_run();
    }
    vst_stream_get_progress(part.stream, &progress);
    assert_in_range(progress.most_held, 1, PART_LIMIT);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static void pull_from_a_failed_stream_fails(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    part.in_readable = pull_all;
    part_claim();
    script_give(part.source, "hello", 5);
    script_read(part.source, VST_IO_FAIL);
    part_attach_down();
    part_run();
    part_forget_ends();
    assert_int_equal(part.ended.code, SCRIPT_ERROR);
    assert_int_equal(vst_stream_read(part.stream, got, sizeof(got), &n), VST_IO_FAIL);
}

static void pull_before_the_method_says_again(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    assert_int_equal(vst_stream_read(part.stream, got, sizeof(got), &n), VST_IO_AGAIN);
}

static void pull_where_nothing_comes_is_the_end(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    part_claim();
    part_attach_up();
    assert_int_equal(vst_stream_read(part.stream, got, sizeof(got), &n), VST_IO_EOF);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

/* ---- waking ---- */

static void reader_that_said_again_is_asked_after_a_wake_only(void **state)
{
    (void)state;
    part_feed("hello", (struct manner){.never = true, .until = 2});
    part_claim();
    part_attach_up();
    part_run();
    assert_int_equal(part.source_end.calls, 2);
    vst_stream_wake(part.stream);
    assert_int_equal(part.source_end.calls, 2);
    part_run();
    assert_int_equal(part.source_end.calls, 3);
    part.source_end.manner.never = false;
    part_run();
    assert_int_equal(part.source_end.calls, 3);
    vst_stream_wake(part.stream);
    vst_stream_wake(part.stream);
    part_run();
    assert_text(script_seen(part.sink)->written, "hello");
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

/* The pump has a turn for another reason: the one who said AGAIN is left alone. */
static void sleeping_reader_is_not_asked_when_the_sink_is_ready(void **state)
{
    (void)state;
    part_feed("hello", (struct manner){.never = true, .until = 2});
    script_stop_writes(part.sink, true);
    part_claim();
    part_attach_up();
    part_run();
    assert_int_equal(part.source_end.calls, 2);
    script_stop_writes(part.sink, false);
    part_run();
    assert_text(script_seen(part.sink)->written, "he");
    assert_int_equal(part.source_end.calls, 2);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

/* The callback wakes, and then says AGAIN: the wake counts. */
static enum vst_io wake_and_read(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                                 void *opaque)
{
    unsigned *calls = opaque;

    (void)len, (void)ret_err;
    if (++*calls > 3)
        return VST_IO_EOF;
    if (*calls % 2 == 1) {
        vst_stream_wake(part.stream);
        return VST_IO_AGAIN;
    }
    memcpy(buf, "hello", 5);
    *ret_n = 5;
    return VST_IO_OK;
}

static void wake_inside_the_callback_is_not_lost(void **state)
{
    unsigned calls = 0;
    struct vst_reader reader = {wake_and_read, &calls, NULL};

    (void)state;
    vst_stream_set_source_reader(part.stream, &reader);
    part_claim();
    part_attach_up();
    part_run();
    assert_string_equal(part.order, "up");
    assert_text(script_seen(part.sink)->written, "hello");
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
}

static enum vst_io read_too_much(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                                 void *opaque)
{
    (void)buf, (void)ret_err, (void)opaque;
    *ret_n = len + 1;
    return VST_IO_OK;
}

static void reader_that_claims_too_much_is_an_error(void **state)
{
    struct vst_reader reader = {read_too_much, NULL, NULL};

    (void)state;
    vst_stream_set_source_reader(part.stream, &reader);
    part_claim();
    part_attach_up();
    part_run();
    part_forget_ends();
    assert_int_equal(part.ended.code, VST_ERR_INVALID);
    assert_int_equal(part.ended.side, VST_SIDE_APPLICATION);
}

static enum vst_io read_and_explain(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                                    void *opaque)
{
    (void)buf, (void)len, (void)ret_n, (void)opaque;
    *ret_err = (struct vst_error){.code = VST_ERR_ACCESS, .text = "not for you"};
    return VST_IO_FAIL;
}

static void reader_may_say_why_it_failed(void **state)
{
    struct vst_reader reader = {read_and_explain, NULL, NULL};

    (void)state;
    vst_stream_set_source_reader(part.stream, &reader);
    part_claim();
    part_attach_up();
    part_run();
    part_forget_ends();
    assert_int_equal(part.ended.code, VST_ERR_ACCESS);
    assert_string_equal(part.ended.text, "not for you");
}

int main(void)
{
#define STREAM_TEST(function) VST_TEST_WITH(function, part_make, part_drop)
    const struct CMUnitTest tests[] = {
        STREAM_TEST(bytes_pushed_before_the_method_wait),
        STREAM_TEST(full_stream_says_again_and_then_writable),
        STREAM_TEST(nothing_is_pushed_after_finish),
        STREAM_TEST(nothing_pushed_is_ok),
        STREAM_TEST(push_into_a_failed_stream_fails),
        STREAM_TEST(push_where_nothing_is_taken_fails),
        STREAM_TEST(readable_is_told_for_bytes_and_for_the_end),
        STREAM_TEST(driver_is_told_only_when_the_end_was_pulled),
        STREAM_TEST(nothing_pulled_holds_the_limit_and_no_more),
        STREAM_TEST(pull_from_a_failed_stream_fails),
        STREAM_TEST(pull_before_the_method_says_again),
        STREAM_TEST(pull_where_nothing_comes_is_the_end),
        STREAM_TEST(reader_that_said_again_is_asked_after_a_wake_only),
        STREAM_TEST(sleeping_reader_is_not_asked_when_the_sink_is_ready),
        STREAM_TEST(wake_inside_the_callback_is_not_lost),
        STREAM_TEST(reader_that_claims_too_much_is_an_error),
        STREAM_TEST(reader_may_say_why_it_failed),
    };
#undef STREAM_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

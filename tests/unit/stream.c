/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: their life, who is told what and when, and that everything is told once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "part.h"

/* ---- a life ---- */

static void what_comes_down_reaches_the_application_before_it_ends(void **state)
{
    (void)state;
    part.done = true;
    part_drain(part_plain);
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    assert_string_equal(part.order, "");
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "down ended completed");
    assert_text(part.down, "hello");
    assert_int_equal(part.sink_end.finished, 1);
    assert_int_equal(part.ended.code, VST_ERR_OK);
    vst_stream_free(&part.stream);
    assert_string_equal(part.order, "down ended completed release");
}

static void what_goes_up_reaches_the_driver(void **state)
{
    (void)state;
    part_feed("hello", part_plain);
    part_claim();
    part_attach_up();
    part_run();
    assert_string_equal(part.order, "up");
    assert_text(script_seen(part.sink)->written, "hello");
    assert_int_equal(script_seen(part.sink)->finished, 1);
    vst_op_done(part.op);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "up ended completed");
    assert_int_equal(part.source_end.released, 1);
}

static void ended_and_completion_have_the_same_error(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_DRIVER, .text = "no such luck"};

    (void)state;
    part_claim();
    vst_op_fail(part.op, &err);
    part_run();
    assert_string_equal(part.order, "ended completed");
    assert_int_equal(part.ended.code, VST_ERR_DRIVER);
    assert_int_equal(part.outcome.err.code, VST_ERR_DRIVER);
    assert_string_equal(part.ended.text, part.outcome.err.text);
}

static void failed_source_of_the_application_fails_both(void **state)
{
    (void)state;
    part_feed("hello", (struct manner){.fails = true, .until = 3});
    part_claim();
    part_attach_up();
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.failed.code, VST_ERR_CANCELLED);
    assert_int_equal(part.failed.side, VST_SIDE_APPLICATION);
    assert_int_equal(part.outcome.err.code, VST_ERR_CANCELLED);
}

static void failed_sink_of_the_application_is_not_finished(void **state)
{
    (void)state;
    part_drain((struct manner){.fails = true, .until = 3});
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_text(part.down, "hel");
    assert_int_equal(part.sink_end.finished, 0);
    assert_int_equal(part.sink_end.released, 1);
}

static void failed_end_of_the_driver_fails_the_application(void **state)
{
    (void)state;
    part_drain(part_plain);
    part_claim();
    script_give(part.source, "hel", 3);
    script_read(part.source, VST_IO_FAIL);
    part_attach_down();
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, SCRIPT_ERROR);
    assert_int_equal(part.sink_end.finished, 0);
}

static void first_failure_wins_and_is_told_once(void **state)
{
    static const struct vst_error one = {.code = VST_ERR_DAMAGED}, two = {.code = VST_ERR_LOST};

    (void)state;
    part.undo = false;
    part_claim();
    vst_stream_fail(part.stream, &one);
    vst_stream_fail(part.stream, &two);
    vst_stream_abort(part.stream, "and me");
    assert_string_equal(part.order, "");
    part_run();
    assert_string_equal(part.order, "failed");
    assert_int_equal(part.failed.code, VST_ERR_DAMAGED);
    vst_op_fail(part.op, &part.failed);
    part_run();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_DAMAGED);
}

static void sinks_are_aborted_before_the_driver_is_told(void **state)
{
    (void)state;
    part.undo = false;
    part_feed("hello", (struct manner){.never = true, .until = 2});
    part_claim();
    part_attach_up();
    part_run();
    vst_stream_abort(part.stream, NULL);
    part_run();
    assert_string_equal(part.order, "failed");
    assert_int_equal(script_seen(part.sink)->aborted, 1);
    assert_int_equal(script_seen(part.sink)->why, VST_ERR_CANCELLED);
    vst_op_fail(part.op, &part.failed);
    part_run();
    part_forget_ends();
}

static void driver_that_has_decided_hears_no_more(void **state)
{
    (void)state;
    part.done = true;
    part_drain(part_plain);
    part_claim();
    part_give_and_end("x");
    part_attach_down();
    vst_op_done(part.op);
    vst_stream_abort(part.stream, "too late");
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "ended completed");
    assert_int_equal(part.ended.code, VST_ERR_OK);
}

static void driver_that_decides_as_the_stream_fails_hears_no_more(void **state)
{
    (void)state;
    part_claim();
    vst_stream_abort(part.stream, "just before");
    vst_op_done(part.op);
    part_run();
    assert_string_equal(part.order, "ended completed");
    assert_int_equal(part.ended.code, VST_ERR_OK);
}

static void cancelled_operation_fails_its_stream(void **state)
{
    (void)state;
    part_claim();
    vst_op_cancel(part.op);
    assert_string_equal(part.order, "");
    part_run();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.outcome.err.code, VST_ERR_CANCELLED);
}

static void deadline_fails_the_stream(void **state)
{
    static const struct timeval soon = {0, 2000};

    (void)state;
    part_claim();
    vst_op_set_timeout(part.op, &soon);
    part_run();
    assert_string_equal(part.order, "failed ended completed");
    assert_int_equal(part.ended.code, VST_ERR_TIMEOUT);
}

/* ---- claims ---- */

static void stream_is_for_one_method(void **state)
{
    struct outcome second = {0};
    struct vst_op *op = part_new_op(&second);
    struct vst_error err = {0};

    (void)state;
    part_claim();
    assert_int_equal(vst_stream_claim(part.stream, op, &part.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    vst_op_fail(op, &err);
    part_run();
    assert_string_equal(part.order, "");
    vst_op_done(part.op);
    part_run();
    assert_string_equal(part.order, "ended completed");
}

static void stream_that_ended_cannot_be_claimed(void **state)
{
    struct outcome second = {0};
    struct vst_op *op = part_new_op(&second);
    struct vst_error err = {0};

    (void)state;
    part_claim();
    vst_op_done(part.op);
    part_run();
    assert_int_equal(vst_stream_claim(part.stream, op, &part.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    vst_op_fail(op, &err);
    part_run();
}

static void stream_aborted_before_its_method_ends_alone(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_stream_abort(part.stream, "changed my mind");
    assert_string_equal(part.order, "");
    assert_int_equal(vst_stream_claim(part.stream, part.op, &part.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_CANCELLED);
    assert_non_null(strstr(err.text, "changed my mind"));
    part_run();
    assert_string_equal(part.order, "ended");
}

static void stream_given_to_a_method_ends_even_when_it_refuses(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_NOT_FOUND};

    (void)state;
    assert_int_equal(vst_stream_bind(part.stream, part.op, NULL), 0);
    vst_op_fail(part.op, &err);
    part_run();
    assert_string_equal(part.order, "ended completed");
    assert_int_equal(part.ended.code, VST_ERR_NOT_FOUND);
}

static void attach_to_a_failed_stream_takes_the_channels(void **state)
{
    struct vst_error err = {0};

    (void)state;
    part.undo = false;
    part_claim();
    vst_stream_abort(part.stream, NULL);
    part_run();
    assert_int_equal(vst_stream_attach(part.stream, part.source, part.sink, &err), -1);
    assert_int_equal(err.code, VST_ERR_CANCELLED);
    part_forget_ends();
    vst_op_fail(part.op, &err);
    part_run();
}

static void one_channel_may_be_both_ends(void **state)
{
    struct vst_channel *ends[2];

    (void)state;
    part_feed("ping", part_plain);
    part_drain(part_plain);
    part_claim();
    assert_int_equal(vst_channel_pair(part.base, PART_LIMIT, ends, NULL), 0);
    assert_int_equal(vst_stream_attach(part.stream, ends[0], ends[0], NULL), 0);
    part_run();
    vst_op_done(part.op);
    part_run();
    vst_channel_free(&ends[1]);
    assert_string_equal(part.order, "ended completed");
}

/* ---- ends ---- */

static void an_end_is_set_once(void **state)
{
    struct evbuffer *none = evbuffer_new();
    struct end second;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    part_feed("hello", part_plain);
    errno = 0;
    assert_int_equal(vst_stream_set_source_fd(part.stream, &fd), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_not_equal(fd, -1);
    assert_int_equal(vst_stream_set_source_file(part.stream, "/dev/null"), -1);
    end_feed(&second, part.base, part.stream, none, part_plain);
    assert_int_equal(second.released, 1);
    assert_int_equal(part.source_end.released, 0);
    assert_int_equal(vst_stream_finish(part.stream), -1);
    close(fd);
    evbuffer_free(none);
}

static void an_end_is_set_before_the_method(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct end late;

    (void)state;
    part_claim();
    assert_int_equal(vst_stream_set_sink_fd(part.stream, &fd), -1);
    end_drain(&late, part.base, part.stream, part.down, part_plain);
    assert_int_equal(late.released, 1);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP, &digest), -1);
    close(fd);
}

static void what_is_wrong_with_an_end_is_told(void **state)
{
    struct vst_layer_spec strong = {.kind = VST_LAYER_ZSTD, .zstd_level = 99};
    int fd = 100000;

    (void)state;
    assert_int_equal(vst_stream_set_source_fd(part.stream, &fd), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(fd, 100000);
    assert_int_equal(vst_stream_join(part.stream, part.stream), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_DOWN, &strong), -1);
    assert_int_equal(errno, EINVAL);
}

static void look_and_wake(void *opaque)
{
    unsigned char sum[16];

    vst_stream_wake(part.stream);
    assert_int_equal(vst_stream_get_digest(part.stream, VST_UP, sum), 0);
    (*(int *)opaque)++;
}

static void stream_may_be_used_while_an_end_is_released(void **state)
{
    int releases = 0;
    struct vst_reader reader = {.opaque = &releases, .release = look_and_wake};
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};

    (void)state;
    assert_int_equal(vst_stream_set_source_reader(part.stream, &reader), 0);
    assert_int_equal(vst_stream_push_layer(part.stream, VST_UP, &digest), 0);
    part_claim();
    vst_op_done(part.op);
    part_run();
    assert_int_equal(releases, 1);
}

static void descriptor_is_taken(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_int_equal(vst_stream_set_source_fd(part.stream, &fd), 0);
    assert_int_equal(fd, -1);
}

static void ends_are_released_when_the_stream_is_freed_unused(void **state)
{
    (void)state;
    part_feed("hello", part_plain);
    part_drain(part_plain);
    vst_stream_free(&part.stream);
    assert_null(part.stream);
    assert_int_equal(part.source_end.released, 1);
    assert_int_equal(part.sink_end.released, 1);
    assert_string_equal(part.order, "release");
}

static void callbacks_that_are_replaced_are_released(void **state)
{
    (void)state;
    vst_stream_set_callbacks(part.stream, &part_callbacks, &part);
    assert_string_equal(part.order, "release");
    vst_stream_set_callbacks(part.stream, NULL, NULL);
    assert_string_equal(part.order, "release release");
}

/* ---- freeing ---- */

static void free_it(void)
{
    vst_stream_free(&part.stream);
}

static void freed_stream_aborts_its_method_and_calls_nobody(void **state)
{
    (void)state;
    part_feed("hello", part_plain);
    part_claim();
    part_attach_up();
    vst_stream_free(&part.stream);
    assert_null(part.stream);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "failed release completed");
    assert_int_equal(part.source_end.calls, 0);
    assert_int_equal(part.source_end.released, 1);
    assert_int_equal(part.outcome.err.code, VST_ERR_CANCELLED);
}

static void stream_may_be_freed_in_ended(void **state)
{
    (void)state;
    part.in_ended = free_it;
    part_claim();
    vst_op_done(part.op);
    part_run();
    assert_string_equal(part.order, "ended release completed");
}

static void free_released(void *opaque)
{
    (void)opaque;
    part_note("reader released");
    free_it();
}

static void stream_may_be_freed_when_its_end_is_released(void **state)
{
    struct vst_reader reader = {.release = free_released};

    (void)state;
    vst_stream_set_source_reader(part.stream, &reader);
    vst_stream_abort(part.stream, NULL);
    part_run();
    assert_null(part.stream);
    assert_string_equal(part.order, "reader released release");
}

static void stream_may_be_freed_between_outcome_and_completion(void **state)
{
    (void)state;
    part_drain(part_plain);
    part_claim();
    part_attach_down();
    part_run();
    /* The bytes are on their way already. */
    part_give_and_end("hello");
    vst_op_done(part.op);
    vst_stream_free(&part.stream);
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "release completed");
    assert_int_equal(part.sink_end.calls, 0);
    assert_int_equal(part.outcome.err.code, VST_ERR_OK);
}

static void stream_may_be_freed_in_writable(void **state)
{
    char many[PART_LIMIT] = {0};
    size_t n;

    (void)state;
    part.in_writable = free_it;
    while (vst_stream_write(part.stream, many, sizeof(many), &n) == VST_IO_OK)
        ;
    part_claim();
    part_attach_up();
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "writable failed release completed");
}

static void stream_may_be_freed_in_readable(void **state)
{
    (void)state;
    part.in_readable = free_it;
    part_claim();
    part_give_and_end("hello");
    part_attach_down();
    part_run();
    part_forget_ends();
    assert_string_equal(part.order, "readable failed release completed");
}

int main(void)
{
#define STREAM_TEST(function) VST_TEST_WITH(function, part_make, part_drop)
    const struct CMUnitTest tests[] = {
        STREAM_TEST(what_comes_down_reaches_the_application_before_it_ends),
        STREAM_TEST(what_goes_up_reaches_the_driver),
        STREAM_TEST(ended_and_completion_have_the_same_error),
        STREAM_TEST(failed_source_of_the_application_fails_both),
        STREAM_TEST(failed_sink_of_the_application_is_not_finished),
        STREAM_TEST(failed_end_of_the_driver_fails_the_application),
        STREAM_TEST(first_failure_wins_and_is_told_once),
        STREAM_TEST(sinks_are_aborted_before_the_driver_is_told),
        STREAM_TEST(driver_that_has_decided_hears_no_more),
        STREAM_TEST(driver_that_decides_as_the_stream_fails_hears_no_more),
        STREAM_TEST(cancelled_operation_fails_its_stream),
        STREAM_TEST(deadline_fails_the_stream),
        STREAM_TEST(stream_is_for_one_method),
        STREAM_TEST(stream_that_ended_cannot_be_claimed),
        STREAM_TEST(stream_aborted_before_its_method_ends_alone),
        STREAM_TEST(stream_given_to_a_method_ends_even_when_it_refuses),
        STREAM_TEST(attach_to_a_failed_stream_takes_the_channels),
        STREAM_TEST(one_channel_may_be_both_ends),
        STREAM_TEST(an_end_is_set_once),
        STREAM_TEST(an_end_is_set_before_the_method),
        STREAM_TEST(what_is_wrong_with_an_end_is_told),
        STREAM_TEST(stream_may_be_used_while_an_end_is_released),
        STREAM_TEST(descriptor_is_taken),
        STREAM_TEST(ends_are_released_when_the_stream_is_freed_unused),
        STREAM_TEST(callbacks_that_are_replaced_are_released),
        STREAM_TEST(freed_stream_aborts_its_method_and_calls_nobody),
        STREAM_TEST(stream_may_be_freed_in_ended),
        STREAM_TEST(stream_may_be_freed_when_its_end_is_released),
        STREAM_TEST(stream_may_be_freed_between_outcome_and_completion),
        STREAM_TEST(stream_may_be_freed_in_writable),
        STREAM_TEST(stream_may_be_freed_in_readable),
    };
#undef STREAM_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

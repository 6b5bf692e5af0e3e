/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: their life, who is told what and when, and that everything is told once. The driver's
 * part is played here, with scripted channels; the application's ends are in memory.
 */
#include "core/stream.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "core/op.h"
#include "script.h"

enum { LIMIT = 64 };

static const struct manner plain;

/* The driver, the operation, and the application's callbacks; what they were told, in order. */
static struct {
    struct event_base *base;
    struct vst_stream *stream;
    struct vst_op *op;
    struct vst_channel *source; /* the driver's end, feeds down; the stream's once attached */
    struct vst_channel *sink;
    struct vst_stream_user user;
    struct vst_error failed;
    struct outcome outcome;
    struct vst_error ended;
    char order[256];
    bool undo; /* the driver fails its operation when it is told */
    bool done; /* ... completes it when a direction has finished */
    void (*in_writable)(void);
    void (*in_readable)(void);
    void (*in_ended)(void);
    struct evbuffer *up;   /* what the application gives */
    struct evbuffer *down; /* what it has got */
    struct end source_end;
    struct end sink_end;
} t;

static void note(const char *what)
{
    size_t used = strlen(t.order);

    snprintf(t.order + used, sizeof(t.order) - used, "%s%s", used ? " " : "", what);
}

static void on_finished(void *opaque, enum vst_direction dir)
{
    assert_ptr_equal(opaque, &t);
    note(dir == VST_UP ? "up" : "down");
    if (t.done)
        vst_op_done(t.op);
}

static void on_failed(void *opaque, const struct vst_error *err)
{
    assert_ptr_equal(opaque, &t);
    assert_true(err->code != VST_ERR_OK);
    note("failed");
    t.failed = *err;
    if (t.undo)
        vst_op_fail(t.op, err);
}

static void on_writable(struct vst_stream *stream, void *opaque)
{
    assert_ptr_equal(opaque, &t);
    assert_ptr_equal(stream, t.stream);
    note("writable");
    if (t.in_writable)
        t.in_writable();
}

static void on_readable(struct vst_stream *stream, void *opaque)
{
    assert_ptr_equal(opaque, &t);
    assert_ptr_equal(stream, t.stream);
    note("readable");
    if (t.in_readable)
        t.in_readable();
}

static void on_ended(struct vst_stream *stream, const struct vst_error *err, void *opaque)
{
    assert_ptr_equal(opaque, &t);
    assert_ptr_equal(stream, t.stream);
    note("ended");
    t.ended = err ? *err : (struct vst_error){0};
    if (t.in_ended)
        t.in_ended();
}

static void on_release(void *opaque)
{
    assert_ptr_equal(opaque, &t);
    note("release");
}

static void on_completed(void *opaque)
{
    (void)opaque;
    note("completed");
}

static const struct vst_stream_callbacks callbacks = {on_writable, on_readable, on_ended,
                                                      on_release};

static struct vst_op *new_op(struct outcome *outcome)
{
    const struct vst_done *done = outcome_done(outcome);

    return vst_op_new(t.base, NULL, vst_deliver_done,
                      (struct vst_callback){(void (*)(void))done->fn, done->opaque, done->release});
}

static int make(void **state)
{
    struct vst_stream_options opt = {.limit = LIMIT};

    (void)state;
    memset(&t, 0, sizeof(t));
    t.base = event_base_new();
    t.stream = vst_stream_new(t.base, &opt);
    t.outcome.then = on_completed;
    t.op = new_op(&t.outcome);
    t.source = script_new(t.base);
    t.sink = script_new(t.base);
    t.up = evbuffer_new();
    t.down = evbuffer_new();
    t.undo = true;
    t.user = (struct vst_stream_user){on_finished, on_failed, &t, "the driver", 0};
    vst_stream_set_callbacks(t.stream, &callbacks, &t);
    return 0;
}

static void run(void)
{
    event_base_dispatch(t.base);
}

static int drop(void **state)
{
    (void)state;
    vst_stream_free(&t.stream);
    if (!t.outcome.released)
        vst_op_done(t.op);
    run();
    vst_channel_free(&t.source);
    vst_channel_free(&t.sink);
    evbuffer_free(t.up);
    evbuffer_free(t.down);
    event_base_free(t.base);
    return 0;
}

static void claim(void)
{
    assert_int_equal(vst_stream_claim(t.stream, t.op, &t.user, NULL), 0);
}

/* Gives the stream the driver's ends; the pointers stay, for looking at. */
static void attach_up(void)
{
    assert_int_equal(vst_stream_attach(t.stream, NULL, t.sink, NULL), 0);
    vst_channel_free(&t.source);
}

static void attach_down(void)
{
    assert_int_equal(vst_stream_attach(t.stream, t.source, NULL, NULL), 0);
    vst_channel_free(&t.sink);
}

static void forget_ends(void)
{
    t.source = t.sink = NULL;
}

static void feed(const char *text, struct manner manner)
{
    evbuffer_add(t.up, text, strlen(text));
    end_feed(&t.source_end, t.base, t.stream, t.up, manner);
}

static void drain(struct manner manner)
{
    end_drain(&t.sink_end, t.base, t.stream, t.down, manner);
}

static void assert_text(struct evbuffer *buffer, const char *text)
{
    assert_int_equal(evbuffer_get_length(buffer), strlen(text));
    if (*text)
        assert_memory_equal(evbuffer_pullup(buffer, -1), text, strlen(text));
}

static void give_and_end(const char *text)
{
    script_give(t.source, text, strlen(text));
    script_read(t.source, VST_IO_EOF);
}

/* ---- a life ---- */

static void what_comes_down_reaches_the_application_before_it_ends(void **state)
{
    (void)state;
    t.done = true;
    drain(plain);
    claim();
    give_and_end("hello");
    attach_down();
    assert_string_equal(t.order, "");
    run();
    forget_ends();
    assert_string_equal(t.order, "down ended completed");
    assert_text(t.down, "hello");
    assert_int_equal(t.sink_end.finished, 1);
    assert_int_equal(t.ended.code, VST_ERR_OK);
    vst_stream_free(&t.stream);
    assert_string_equal(t.order, "down ended completed release");
}

static void what_goes_up_reaches_the_driver(void **state)
{
    (void)state;
    feed("hello", plain);
    claim();
    attach_up();
    run();
    assert_string_equal(t.order, "up");
    assert_text(script_seen(t.sink)->written, "hello");
    assert_int_equal(script_seen(t.sink)->finished, 1);
    vst_op_done(t.op);
    run();
    forget_ends();
    assert_string_equal(t.order, "up ended completed");
    assert_int_equal(t.source_end.released, 1);
}

static void ended_and_completion_have_the_same_error(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_DRIVER, .text = "no such luck"};

    (void)state;
    claim();
    vst_op_fail(t.op, &err);
    run();
    assert_string_equal(t.order, "ended completed");
    assert_int_equal(t.ended.code, VST_ERR_DRIVER);
    assert_int_equal(t.outcome.err.code, VST_ERR_DRIVER);
    assert_string_equal(t.ended.text, t.outcome.err.text);
}

static void failed_source_of_the_application_fails_both(void **state)
{
    (void)state;
    feed("hello", (struct manner){.fails = true, .until = 3});
    claim();
    attach_up();
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.failed.code, VST_ERR_CANCELLED);
    assert_int_equal(t.failed.side, VST_SIDE_APPLICATION);
    assert_int_equal(t.outcome.err.code, VST_ERR_CANCELLED);
}

static void failed_sink_of_the_application_is_not_finished(void **state)
{
    (void)state;
    drain((struct manner){.fails = true, .until = 3});
    claim();
    give_and_end("hello");
    attach_down();
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_text(t.down, "hel");
    assert_int_equal(t.sink_end.finished, 0);
    assert_int_equal(t.sink_end.released, 1);
}

static void failed_end_of_the_driver_fails_the_application(void **state)
{
    (void)state;
    drain(plain);
    claim();
    script_give(t.source, "hel", 3);
    script_read(t.source, VST_IO_FAIL);
    attach_down();
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, SCRIPT_ERROR);
    assert_int_equal(t.sink_end.finished, 0);
}

static void first_failure_wins_and_is_told_once(void **state)
{
    static const struct vst_error one = {.code = VST_ERR_DAMAGED}, two = {.code = VST_ERR_LOST};

    (void)state;
    t.undo = false;
    claim();
    vst_stream_fail(t.stream, &one);
    vst_stream_fail(t.stream, &two);
    vst_stream_abort(t.stream, "and me");
    assert_string_equal(t.order, "");
    run();
    assert_string_equal(t.order, "failed");
    assert_int_equal(t.failed.code, VST_ERR_DAMAGED);
    vst_op_fail(t.op, &t.failed);
    run();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_DAMAGED);
}

static void sinks_are_aborted_before_the_driver_is_told(void **state)
{
    (void)state;
    t.undo = false;
    feed("hello", (struct manner){.never = true, .until = 2});
    claim();
    attach_up();
    run();
    vst_stream_abort(t.stream, NULL);
    run();
    assert_string_equal(t.order, "failed");
    assert_int_equal(script_seen(t.sink)->aborted, 1);
    assert_int_equal(script_seen(t.sink)->why, VST_ERR_CANCELLED);
    vst_op_fail(t.op, &t.failed);
    run();
    forget_ends();
}

static void driver_that_has_decided_hears_no_more(void **state)
{
    (void)state;
    t.done = true;
    drain(plain);
    claim();
    give_and_end("x");
    attach_down();
    vst_op_done(t.op);
    vst_stream_abort(t.stream, "too late");
    run();
    forget_ends();
    assert_string_equal(t.order, "ended completed");
    assert_int_equal(t.ended.code, VST_ERR_OK);
}

static void cancelled_operation_fails_its_stream(void **state)
{
    (void)state;
    claim();
    vst_op_cancel(t.op);
    assert_string_equal(t.order, "");
    run();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.outcome.err.code, VST_ERR_CANCELLED);
}

static void deadline_fails_the_stream(void **state)
{
    static const struct timeval soon = {0, 2000};

    (void)state;
    claim();
    vst_op_set_timeout(t.op, &soon);
    run();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_TIMEOUT);
}

/* ---- claims ---- */

static void stream_is_for_one_method(void **state)
{
    struct outcome second = {0};
    struct vst_op *op = new_op(&second);
    struct vst_error err = {0};

    (void)state;
    claim();
    assert_int_equal(vst_stream_claim(t.stream, op, &t.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    vst_op_fail(op, &err);
    run();
    assert_string_equal(t.order, "");
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "ended completed");
}

static void stream_that_ended_cannot_be_claimed(void **state)
{
    struct outcome second = {0};
    struct vst_op *op = new_op(&second);
    struct vst_error err = {0};

    (void)state;
    claim();
    vst_op_done(t.op);
    run();
    assert_int_equal(vst_stream_claim(t.stream, op, &t.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    vst_op_fail(op, &err);
    run();
}

static void stream_aborted_before_its_method_ends_alone(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_stream_abort(t.stream, "changed my mind");
    assert_string_equal(t.order, "");
    assert_int_equal(vst_stream_claim(t.stream, t.op, &t.user, &err), -1);
    assert_int_equal(err.code, VST_ERR_CANCELLED);
    assert_non_null(strstr(err.text, "changed my mind"));
    run();
    assert_string_equal(t.order, "ended");
}

static void stream_given_to_a_method_ends_even_when_it_refuses(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_NOT_FOUND};

    (void)state;
    assert_int_equal(vst_stream_bind(t.stream, t.op, NULL), 0);
    vst_op_fail(t.op, &err);
    run();
    assert_string_equal(t.order, "ended completed");
    assert_int_equal(t.ended.code, VST_ERR_NOT_FOUND);
}

static void attach_to_a_failed_stream_takes_the_channels(void **state)
{
    struct vst_error err = {0};

    (void)state;
    t.undo = false;
    claim();
    vst_stream_abort(t.stream, NULL);
    run();
    assert_int_equal(vst_stream_attach(t.stream, t.source, t.sink, &err), -1);
    assert_int_equal(err.code, VST_ERR_CANCELLED);
    forget_ends();
    vst_op_fail(t.op, &err);
    run();
}

static void one_channel_may_be_both_ends(void **state)
{
    struct vst_channel *ends[2];

    (void)state;
    feed("ping", plain);
    drain(plain);
    claim();
    assert_int_equal(vst_channel_pair(t.base, LIMIT, ends, NULL), 0);
    assert_int_equal(vst_stream_attach(t.stream, ends[0], ends[0], NULL), 0);
    run();
    vst_op_done(t.op);
    run();
    vst_channel_free(&ends[1]);
    assert_string_equal(t.order, "ended completed");
}

/* ---- ends ---- */

static void an_end_is_set_once(void **state)
{
    struct evbuffer *none = evbuffer_new();
    struct end second;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    feed("hello", plain);
    assert_int_equal(vst_stream_set_source_fd(t.stream, &fd), -1);
    assert_int_not_equal(fd, -1);
    assert_int_equal(vst_stream_set_source_file(t.stream, "/dev/null"), -1);
    end_feed(&second, t.base, t.stream, none, plain);
    assert_int_equal(second.released, 1);
    assert_int_equal(t.source_end.released, 0);
    assert_int_equal(vst_stream_finish(t.stream), -1);
    close(fd);
    evbuffer_free(none);
}

static void an_end_is_set_before_the_method(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct end late;

    (void)state;
    claim();
    assert_int_equal(vst_stream_set_sink_fd(t.stream, &fd), -1);
    end_drain(&late, t.base, t.stream, t.down, plain);
    assert_int_equal(late.released, 1);
    assert_int_equal(vst_stream_push_layer(t.stream, VST_UP, &digest), -1);
    close(fd);
}

static void descriptor_is_taken(void **state)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_int_equal(vst_stream_set_source_fd(t.stream, &fd), 0);
    assert_int_equal(fd, -1);
}

static void ends_are_released_when_the_stream_is_freed_unused(void **state)
{
    (void)state;
    feed("hello", plain);
    drain(plain);
    vst_stream_free(&t.stream);
    assert_null(t.stream);
    assert_int_equal(t.source_end.released, 1);
    assert_int_equal(t.sink_end.released, 1);
    assert_string_equal(t.order, "release");
}

static void callbacks_that_are_replaced_are_released(void **state)
{
    (void)state;
    vst_stream_set_callbacks(t.stream, &callbacks, &t);
    assert_string_equal(t.order, "release");
    vst_stream_set_callbacks(t.stream, NULL, NULL);
    assert_string_equal(t.order, "release release");
}

/* ---- pushing ---- */

static enum vst_io push(const char *text, size_t *ret_n)
{
    return vst_stream_write(t.stream, text, strlen(text), ret_n);
}

static void bytes_pushed_before_the_method_wait(void **state)
{
    size_t n;

    (void)state;
    assert_int_equal(push("hello", &n), VST_IO_OK);
    assert_int_equal(n, 5);
    claim();
    assert_int_equal(push(", world", &n), VST_IO_OK);
    attach_up();
    assert_int_equal(vst_stream_finish(t.stream), 0);
    run();
    assert_string_equal(t.order, "up");
    assert_text(script_seen(t.sink)->written, "hello, world");
    vst_op_done(t.op);
    run();
    forget_ends();
}

static void full_stream_says_again_and_then_writable(void **state)
{
    char many[1000] = {0};
    size_t n, pushed = 0;

    (void)state;
    script_stop_writes(t.sink, true);
    claim();
    attach_up();
    for (int i = 0; i < 10; i++) {
        if (vst_stream_write(t.stream, many, sizeof(many), &n) == VST_IO_OK)
            pushed += n;
        event_base_loop(t.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    run();
    assert_int_equal(pushed, LIMIT);
    assert_int_equal(vst_stream_write(t.stream, many, 1, &n), VST_IO_AGAIN);
    assert_int_equal(n, 0);
    t.order[0] = '\0';
    script_stop_writes(t.sink, false);
    run();
    assert_string_equal(t.order, "writable");
    assert_int_equal(vst_stream_write(t.stream, many, 1, &n), VST_IO_OK);
    vst_op_done(t.op);
    run();
    forget_ends();
}

static void nothing_is_pushed_after_finish(void **state)
{
    size_t n;

    (void)state;
    push("hello", &n);
    assert_int_equal(vst_stream_finish(t.stream), 0);
    assert_int_equal(vst_stream_finish(t.stream), 0);
    assert_int_equal(push("more", &n), VST_IO_FAIL);
    claim();
    attach_up();
    run();
    assert_string_equal(t.order, "up");
    assert_text(script_seen(t.sink)->written, "hello");
    vst_op_done(t.op);
    run();
    forget_ends();
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
    claim();
    vst_stream_abort(t.stream, NULL);
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    run();
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    assert_int_equal(vst_stream_finish(t.stream), -1);
}

static void push_where_nothing_is_taken_fails(void **state)
{
    size_t n;

    (void)state;
    claim();
    attach_down();
    assert_int_equal(push("hello", &n), VST_IO_FAIL);
    vst_op_done(t.op);
    run();
    forget_ends();
}

/* ---- pulling ---- */

static void pull_all(void)
{
    size_t n;

    while (t.stream && vst_stream_read_buffer(t.stream, t.down, 3, &n) == VST_IO_OK)
        ;
}

static void readable_is_told_for_bytes_and_for_the_end(void **state)
{
    (void)state;
    t.in_readable = pull_all;
    t.done = true;
    claim();
    script_give(t.source, "hello", 5);
    attach_down();
    run();
    assert_string_equal(t.order, "readable");
    assert_text(t.down, "hello");
    script_read(t.source, VST_IO_EOF);
    run();
    forget_ends();
    assert_string_equal(t.order, "readable readable down ended completed");
}

static void driver_is_told_only_when_the_end_was_pulled(void **state)
{
    size_t n;

    (void)state;
    claim();
    give_and_end("hello");
    attach_down();
    run();
    assert_string_equal(t.order, "readable");
    assert_int_equal(vst_stream_read_buffer(t.stream, t.down, 100, &n), VST_IO_OK);
    assert_text(t.down, "hello");
    run();
    assert_string_equal(t.order, "readable");
    assert_int_equal(vst_stream_read_buffer(t.stream, t.down, 100, &n), VST_IO_EOF);
    run();
    assert_string_equal(t.order, "readable down");
    assert_int_equal(vst_stream_read_buffer(t.stream, t.down, 100, &n), VST_IO_EOF);
    vst_op_done(t.op);
    run();
    forget_ends();
    assert_int_equal(vst_stream_read_buffer(t.stream, t.down, 100, &n), VST_IO_EOF);
}

static void nothing_pulled_holds_the_limit_and_no_more(void **state)
{
    struct vst_progress progress;
    char many[1000] = {0}, got[1000];
    size_t n, pulled = 0;

    (void)state;
    claim();
    script_give(t.source, many, sizeof(many));
    attach_down();
    run();
    while (vst_stream_read(t.stream, got, sizeof(got), &n) == VST_IO_OK) {
        assert_in_range(n, 1, LIMIT);
        pulled += n;
        if (pulled < sizeof(many) / 2)
            run();
    }
    vst_stream_get_progress(t.stream, &progress);
    assert_in_range(progress.most_held, 1, LIMIT);
    vst_op_done(t.op);
    run();
    forget_ends();
}

static void pull_from_a_failed_stream_fails(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    t.in_readable = pull_all;
    claim();
    script_give(t.source, "hello", 5);
    script_read(t.source, VST_IO_FAIL);
    attach_down();
    run();
    forget_ends();
    assert_int_equal(t.ended.code, SCRIPT_ERROR);
    assert_int_equal(vst_stream_read(t.stream, got, sizeof(got), &n), VST_IO_FAIL);
}

static void pull_before_the_method_says_again(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    assert_int_equal(vst_stream_read(t.stream, got, sizeof(got), &n), VST_IO_AGAIN);
}

static void pull_where_nothing_comes_is_the_end(void **state)
{
    char got[10];
    size_t n;

    (void)state;
    claim();
    attach_up();
    assert_int_equal(vst_stream_read(t.stream, got, sizeof(got), &n), VST_IO_EOF);
    vst_op_done(t.op);
    run();
    forget_ends();
}

/* ---- waking ---- */

static void wake(void *opaque)
{
    (void)opaque;
    vst_stream_wake(t.stream);
}

static void reader_that_said_again_is_asked_after_a_wake_only(void **state)
{
    (void)state;
    feed("hello", (struct manner){.never = true, .until = 2});
    claim();
    attach_up();
    run();
    assert_int_equal(t.source_end.calls, 2);
    vst_stream_wake(t.stream);
    assert_int_equal(t.source_end.calls, 2);
    run();
    assert_int_equal(t.source_end.calls, 3);
    t.source_end.manner.never = false;
    run();
    assert_int_equal(t.source_end.calls, 3);
    vst_stream_wake(t.stream);
    vst_stream_wake(t.stream);
    run();
    assert_text(script_seen(t.sink)->written, "hello");
    vst_op_done(t.op);
    run();
    forget_ends();
}

/* The callback wakes, and then says AGAIN: the wake counts. */
static void wake_inside_the_callback_is_not_lost(void **state)
{
    (void)state;
    feed("hello", (struct manner){.again = true, .meanwhile = wake});
    claim();
    attach_up();
    run();
    assert_text(script_seen(t.sink)->written, "hello");
    vst_op_done(t.op);
    run();
    forget_ends();
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
    vst_stream_set_source_reader(t.stream, &reader);
    claim();
    attach_up();
    run();
    forget_ends();
    assert_int_equal(t.ended.code, VST_ERR_INVALID);
    assert_int_equal(t.ended.side, VST_SIDE_APPLICATION);
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
    vst_stream_set_source_reader(t.stream, &reader);
    claim();
    attach_up();
    run();
    forget_ends();
    assert_int_equal(t.ended.code, VST_ERR_ACCESS);
    assert_string_equal(t.ended.text, "not for you");
}

/* ---- freeing ---- */

static void free_it(void)
{
    vst_stream_free(&t.stream);
}

static void freed_stream_aborts_its_method_and_calls_nobody(void **state)
{
    (void)state;
    feed("hello", plain);
    claim();
    attach_up();
    vst_stream_free(&t.stream);
    assert_null(t.stream);
    run();
    forget_ends();
    assert_string_equal(t.order, "failed release completed");
    assert_int_equal(t.source_end.calls, 0);
    assert_int_equal(t.source_end.released, 1);
    assert_int_equal(t.outcome.err.code, VST_ERR_CANCELLED);
}

static void stream_may_be_freed_in_ended(void **state)
{
    (void)state;
    t.in_ended = free_it;
    claim();
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "ended release completed");
}

static void free_released(void *opaque)
{
    (void)opaque;
    note("reader released");
    free_it();
}

static void stream_may_be_freed_when_its_end_is_released(void **state)
{
    struct vst_reader reader = {.release = free_released};

    (void)state;
    vst_stream_set_source_reader(t.stream, &reader);
    vst_stream_abort(t.stream, NULL);
    run();
    assert_null(t.stream);
    assert_string_equal(t.order, "reader released release");
}

static void stream_may_be_freed_between_outcome_and_completion(void **state)
{
    (void)state;
    drain(plain);
    claim();
    give_and_end("hello");
    attach_down();
    vst_op_done(t.op);
    vst_stream_free(&t.stream);
    run();
    forget_ends();
    assert_string_equal(t.order, "release completed");
    assert_int_equal(t.sink_end.calls, 0);
    assert_int_equal(t.outcome.err.code, VST_ERR_OK);
}

static void stream_may_be_freed_in_writable(void **state)
{
    char many[LIMIT] = {0};
    size_t n;

    (void)state;
    t.in_writable = free_it;
    while (vst_stream_write(t.stream, many, sizeof(many), &n) == VST_IO_OK)
        ;
    claim();
    attach_up();
    run();
    forget_ends();
    assert_string_equal(t.order, "writable failed release completed");
}

static void stream_may_be_freed_in_readable(void **state)
{
    (void)state;
    t.in_readable = free_it;
    claim();
    give_and_end("hello");
    attach_down();
    run();
    forget_ends();
    assert_string_equal(t.order, "readable failed release completed");
}

/* ---- joining ---- */

static void joined_stream_carries_and_waits_for_the_far_outcome(void **state)
{
    struct vst_stream *to = vst_stream_new(t.base, NULL);
    struct vst_channel *far = script_new(t.base);
    struct outcome theirs = {0};
    struct vst_op *op = new_op(&theirs);
    struct vst_stream_user user = {.name = "far"};

    (void)state;
    t.done = true;
    assert_int_equal(vst_stream_join(t.stream, to), 0);
    assert_int_equal(vst_stream_join(t.stream, to), -1);
    assert_int_equal(vst_stream_join(to, to), -1);
    claim();
    give_and_end("hello");
    attach_down();
    vst_stream_claim(to, op, &user, NULL);
    assert_int_equal(vst_stream_attach(to, NULL, far, NULL), 0);
    run();
    assert_text(script_seen(far)->written, "hello");
    assert_int_equal(script_seen(far)->finished, 1);
    assert_string_equal(t.order, "");
    vst_op_done(op);
    run();
    forget_ends();
    assert_string_equal(t.order, "down ended completed");
    vst_stream_free(&to);
}

static void joined_stream_fails_with_the_one_it_feeds(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_INCOMPATIBLE, .text = "no such machine"};
    struct vst_stream *to = vst_stream_new(t.base, NULL);
    struct outcome theirs = {0};
    struct vst_op *op = new_op(&theirs);
    struct vst_stream_user user = {.name = "far"};

    (void)state;
    vst_stream_join(t.stream, to);
    claim();
    script_give(t.source, "hello", 5);
    attach_down();
    vst_stream_claim(to, op, &user, NULL);
    run();
    vst_op_fail(op, &err);
    run();
    script_give(t.source, "more", 4);
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_INCOMPATIBLE);
    vst_stream_free(&to);
}

static void joined_stream_that_is_freed_fails_the_other(void **state)
{
    struct vst_stream *to = vst_stream_new(t.base, NULL);

    (void)state;
    vst_stream_join(t.stream, to);
    claim();
    give_and_end("hello");
    attach_down();
    vst_stream_free(&to);
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_CANCELLED);
}

static void stream_fails_when_the_one_that_feeds_it_does(void **state)
{
    struct vst_stream *from = vst_stream_new(t.base, NULL);

    (void)state;
    vst_stream_join(from, t.stream);
    claim();
    attach_up();
    run();
    vst_stream_free(&from);
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_TRUNCATED);
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
    feed("hello", plain);
    assert_int_equal(vst_stream_get_digest(t.stream, VST_UP, before), -1);
    assert_int_equal(vst_stream_push_layer(t.stream, VST_UP, &digest), 0);
    assert_int_equal(vst_stream_push_layer(t.stream, VST_UP, &digest), -1);
    assert_int_equal(vst_stream_push_layer(t.stream, VST_UP, &flip), 0);
    assert_int_equal(vst_stream_push_layer(t.stream, 0, &flip), -1);
    claim();
    attach_up();
    run();
    assert_text(script_seen(t.sink)->written, "hEllo");
    assert_int_equal(vst_stream_get_digest(t.stream, VST_UP, before), 0);
    vst_op_done(t.op);
    run();
    forget_ends();
    /* The sum outlives the layer. */
    assert_int_equal(vst_stream_get_digest(t.stream, VST_UP, after), 0);
    assert_memory_equal(before, after, 16);
}

static void layers_may_lie_on_what_is_pushed(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    unsigned char sum[16];
    size_t n;

    (void)state;
    assert_int_equal(vst_stream_push_layer(t.stream, VST_UP | VST_DOWN, &digest), 0);
    assert_int_equal(push("hello", &n), VST_IO_OK);
    vst_stream_finish(t.stream);
    claim();
    attach_up();
    run();
    assert_text(script_seen(t.sink)->written, "hello");
    assert_int_equal(vst_stream_get_digest(t.stream, VST_UP, sum), 0);
    vst_op_done(t.op);
    run();
    forget_ends();
}

/* ---- stalls ---- */

static void assert_stalled(enum vst_side side, const char *who)
{
    run();
    forget_ends();
    assert_string_equal(t.order, "failed ended completed");
    assert_int_equal(t.ended.code, VST_ERR_STALLED);
    assert_int_equal(t.ended.side, side);
    if (!strstr(t.ended.text, who))
        fail_msg("`%s` does not say `%s`", t.ended.text, who);
}

static void stalled_application_is_named(void **state)
{
    (void)state;
    t.user.stall_seconds = 1;
    feed("hello", (struct manner){.never = true, .until = 2});
    claim();
    attach_up();
    assert_stalled(VST_SIDE_APPLICATION, "the application's end gives no data");
}

static void stalled_sink_of_the_application_is_named(void **state)
{
    (void)state;
    t.user.stall_seconds = 1;
    drain((struct manner){.never = true, .until = 2});
    claim();
    script_give(t.source, "hello", 5);
    attach_down();
    assert_stalled(VST_SIDE_APPLICATION, "the application's end takes no data");
}

static void stalled_driver_is_named(void **state)
{
    (void)state;
    t.user.stall_seconds = 1;
    feed("hello", plain);
    script_stop_writes(t.sink, true);
    claim();
    attach_up();
    assert_stalled(VST_SIDE_QEMU, "the driver takes no data");
}

static void stalled_source_of_the_driver_is_named(void **state)
{
    (void)state;
    t.user.stall_seconds = 1;
    drain(plain);
    claim();
    attach_down();
    assert_stalled(VST_SIDE_QEMU, "the driver gives no data");
}

static void slow_is_not_stalled(void **state)
{
    struct timeval two = {2, 500000};

    (void)state;
    t.user.stall_seconds = 1;
    feed("0123456789", (struct manner){.never = true, .until = 0});
    claim();
    attach_up();
    for (unsigned i = 0; i < 5; i++) {
        two = (struct timeval){0, 500000};
        event_base_loopexit(t.base, &two);
        event_base_dispatch(t.base);
        t.source_end.manner.until++;
        vst_stream_wake(t.stream);
    }
    assert_string_equal(t.order, "");
    vst_op_done(t.op);
    run();
    forget_ends();
}

static void progress_is_told_and_outlives_the_method(void **state)
{
    struct vst_progress progress;

    (void)state;
    feed("hello", plain);
    vst_stream_get_progress(t.stream, &progress);
    assert_int_equal(progress.elapsed_us, 0);
    claim();
    vst_stream_expect(t.stream, 10);
    attach_up();
    run();
    vst_stream_get_progress(t.stream, &progress);
    assert_int_equal(progress.up_bytes, 5);
    assert_int_equal(progress.down_bytes, 0);
    assert_int_equal(progress.total, 10);
    vst_op_done(t.op);
    run();
    forget_ends();
    vst_stream_get_progress(t.stream, &progress);
    assert_int_equal(progress.up_bytes, 5);
    assert_int_equal(progress.waits_for, VST_STALLED_ON_NOTHING);
}

int main(void)
{
#define STREAM_TEST(function) VST_TEST_WITH(function, make, drop)
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
        STREAM_TEST(descriptor_is_taken),
        STREAM_TEST(ends_are_released_when_the_stream_is_freed_unused),
        STREAM_TEST(callbacks_that_are_replaced_are_released),
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
        STREAM_TEST(wake_inside_the_callback_is_not_lost),
        STREAM_TEST(reader_that_claims_too_much_is_an_error),
        STREAM_TEST(reader_may_say_why_it_failed),
        STREAM_TEST(freed_stream_aborts_its_method_and_calls_nobody),
        STREAM_TEST(stream_may_be_freed_in_ended),
        STREAM_TEST(stream_may_be_freed_when_its_end_is_released),
        STREAM_TEST(stream_may_be_freed_between_outcome_and_completion),
        STREAM_TEST(stream_may_be_freed_in_writable),
        STREAM_TEST(stream_may_be_freed_in_readable),
        STREAM_TEST(joined_stream_carries_and_waits_for_the_far_outcome),
        STREAM_TEST(joined_stream_fails_with_the_one_it_feeds),
        STREAM_TEST(joined_stream_that_is_freed_fails_the_other),
        STREAM_TEST(stream_fails_when_the_one_that_feeds_it_does),
        STREAM_TEST(layers_lie_between_application_and_driver),
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver's part, as part.h has it.
 */
#include "part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct part part;
const struct manner part_plain;

void part_note(const char *what)
{
    size_t used = strlen(part.order);

    snprintf(part.order + used, sizeof(part.order) - used, "%s%s", used ? " " : "", what);
}

static void on_finished(void *opaque, enum vst_direction dir)
{
    assert_ptr_equal(opaque, &part);
    part_note(dir == VST_UP ? "up" : "down");
    if (part.done)
        vst_op_done(part.op);
}

static void on_failed(void *opaque, const struct vst_error *err)
{
    assert_ptr_equal(opaque, &part);
    assert_true(err->code != VST_ERR_OK);
    part_note("failed");
    part.failed = *err;
    if (part.undo)
        vst_op_fail(part.op, err);
}

static void on_writable(struct vst_stream *stream, void *opaque)
{
    assert_ptr_equal(opaque, &part);
    assert_ptr_equal(stream, part.stream);
    part_note("writable");
    if (part.in_writable)
        part.in_writable();
}

static void on_readable(struct vst_stream *stream, void *opaque)
{
    assert_ptr_equal(opaque, &part);
    assert_ptr_equal(stream, part.stream);
    part_note("readable");
    if (part.in_readable)
        part.in_readable();
}

static void on_ended(struct vst_stream *stream, const struct vst_error *err, void *opaque)
{
    assert_ptr_equal(opaque, &part);
    assert_ptr_equal(stream, part.stream);
    part_note("ended");
    part.ended = err ? *err : (struct vst_error){0};
    if (part.in_ended)
        part.in_ended();
}

static void on_release(void *opaque)
{
    assert_ptr_equal(opaque, &part);
    part_note("release");
}

static void on_completed(void *opaque)
{
    (void)opaque;
    part_note("completed");
}

const struct vst_stream_callbacks part_callbacks = {on_writable, on_readable, on_ended, on_release};

struct vst_op *part_new_op(struct outcome *outcome)
{
    const struct vst_done *done = outcome_done(outcome);

    return vst_op_new(part.base, NULL, vst_deliver_done,
                      (struct vst_callback){(void (*)(void))done->fn, done->opaque, done->release});
}

int part_make(void **state)
{
    struct vst_stream_options opt = {.limit = PART_LIMIT};

    (void)state;
    memset(&part, 0, sizeof(part));
    part.base = event_base_new();
    part.stream = vst_stream_new(part.base, &opt);
    part.outcome.then = on_completed;
    part.op = part_new_op(&part.outcome);
    part.source = script_new(part.base);
    part.sink = script_new(part.base);
    part.up = evbuffer_new();
    part.down = evbuffer_new();
    part.undo = true;
    part.user =
        (struct vst_stream_user){on_finished, on_failed, &part, "the driver", VST_SIDE_HOST, 0};
    vst_stream_set_callbacks(part.stream, &part_callbacks, &part);
    return 0;
}

void part_run(void)
{
    event_base_dispatch(part.base);
}

int part_drop(void **state)
{
    (void)state;
    vst_stream_free(&part.stream);
    if (!part.outcome.released)
        vst_op_done(part.op);
    part_run();
    vst_channel_free(&part.source);
    vst_channel_free(&part.sink);
    evbuffer_free(part.up);
    evbuffer_free(part.down);
    event_base_free(part.base);
    return 0;
}

void part_claim(void)
{
    assert_int_equal(vst_stream_claim(part.stream, part.op, &part.user, NULL), 0);
}

/* Gives the stream the driver's ends; the pointers stay, for looking at. */
void part_attach_up(void)
{
    assert_int_equal(vst_stream_attach(part.stream, NULL, part.sink, NULL), 0);
    vst_channel_free(&part.source);
}

void part_attach_down(void)
{
    assert_int_equal(vst_stream_attach(part.stream, part.source, NULL, NULL), 0);
    vst_channel_free(&part.sink);
}

void part_forget_ends(void)
{
    part.source = part.sink = NULL;
}

void part_feed(const char *text, struct manner manner)
{
    evbuffer_add(part.up, text, strlen(text));
    end_feed(&part.source_end, part.base, part.stream, part.up, manner);
}

void part_drain(struct manner manner)
{
    end_drain(&part.sink_end, part.base, part.stream, part.down, manner);
}

void assert_text(struct evbuffer *buffer, const char *text)
{
    assert_int_equal(evbuffer_get_length(buffer), strlen(text));
    if (*text)
        assert_memory_equal(evbuffer_pullup(buffer, -1), text, strlen(text));
}

void part_give_and_end(const char *text)
{
    script_give(part.source, text, strlen(text));
    script_read(part.source, VST_IO_EOF);
}

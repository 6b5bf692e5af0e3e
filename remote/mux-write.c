/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes out next: control frames, then credit, then the streams that have data, in turn, each
 * with what it has framed. As much as there is goes into one large write; nothing is put behind
 * what the transport does not take, so that a control frame never waits for more than one such
 * write.
 */
#include <stdlib.h>

#include "core/buffer.h"
#include "message.h"
#include "mux-private.h"

enum { TURN_BYTES = 512 * 1024 };

static size_t queued(const struct vst_mux *mux)
{
    return evbuffer_get_length(mux->out) + evbuffer_get_length(mux->control);
}

/* ---- into the queue ---- */

int mux_append(struct evbuffer *to, enum vst_frame_type type, uint32_t id, const void *body,
               size_t length)
{
    struct vst_frame frame = {(uint32_t)length, type, id, vst_frame_sum(body, length), false};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    if (evbuffer_add(to, head, sizeof(head)) < 0)
        return -1;
    return length ? evbuffer_add(to, body, length) : 0;
}

static int too_much(struct vst_mux *mux)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_STALLED, "the peer does not read: %zu bytes of answers wait for it",
                  queued(mux));
    mux_fail(mux, &err, false);
    return -1;
}

int mux_put(struct vst_mux *mux, enum vst_frame_type type, uint32_t id, const void *body,
            size_t length)
{
    if (mux->state == MUX_ENDED) /* nobody would read it */
        return 0;
    if (queued(mux) > MUX_QUEUE_MAX)
        return too_much(mux);
    if (mux_append(mux->control, type, id, body, length) < 0)
        return mux_no_memory(mux);
    vst_trace(VST_TRACE_WIRE, "mux %s: queued %s, id %u, %zu bytes", mux->opt.label,
              vst_frame_name(type), id, length);
    mux->stats.frames_out++;
    mux_wake(mux);
    return 0;
}

int mux_put_error(struct vst_mux *mux, enum vst_frame_type type, uint32_t id,
                  const struct vst_error *err)
{
    char body[VST_ERROR_BODY_MAX];

    return mux_put(mux, type, id, body, vst_error_print(err, body));
}

/* ---- answers that the peer causes and does not read ---- */

void mux_answering(struct vst_mux *mux, size_t n)
{
    mux->answers += n;
    mux->answers_end = queued(mux);
}

static void written(struct vst_mux *mux, size_t n)
{
    mux->written += n;
    mux->answers_end -= vst_least(mux->answers_end, n);
    if (!mux->answers_end)
        mux->answers = 0;
}

bool mux_flooded(const struct vst_mux *mux)
{
    return mux->answers > MUX_ANSWERS_MAX;
}

/* ---- out of the queue ---- */

static int put_credit(struct vst_mux *mux)
{
    struct mux_call *call = STAILQ_FIRST(&mux->debtors);
    unsigned char body[8];
    uint32_t read, granted;

    STAILQ_REMOVE_HEAD(&mux->debtors, owing);
    call->owes_credit = false;
    if (mux_call_in_over(call))
        return 0;
    vst_window_credit(&call->window, &read, &granted);
    vst_put32(read, body);
    vst_put32(granted, body + 4);
    mux->stats.frames_out++;
    return mux_append(mux->out, VST_FRAME_CREDIT, call->id, body, sizeof(body));
}

static int put_stream(struct vst_mux *mux, struct mux_call *call)
{
    size_t length = evbuffer_get_length(call->send);

    mux_leave_line(call);
    mux->clock = call->start;
    call->finish = call->start + length;
    mux->unsent -= length;
    if (evbuffer_add_buffer(mux->out, call->send) < 0)
        return -1;
    evbuffer_free(call->send);
    call->send = NULL;
    if (call->sink)
        vst_leaf_wake(&call->sink->leaf);
    mux_call_settle(call);
    return 0;
}

static int put_next(struct vst_mux *mux, bool *ret_more)
{
    *ret_more = true;
    if (evbuffer_get_length(mux->control))
        return evbuffer_add_buffer(mux->out, mux->control);
    if (!STAILQ_EMPTY(&mux->debtors))
        return put_credit(mux);
    if (!TAILQ_EMPTY(&mux->line))
        return put_stream(mux, TAILQ_FIRST(&mux->line));
    *ret_more = false;
    return 0;
}

static int gather(struct vst_mux *mux)
{
    bool more = mux_alive(mux);

    while (more && evbuffer_get_length(mux->out) < MUX_GATHER)
        if (put_next(mux, &more) < 0)
            return mux_no_memory(mux);
    return 0;
}

bool mux_has_to_write(const struct vst_mux *mux)
{
    if (!mux_alive(mux))
        return evbuffer_get_length(mux->out);
    return queued(mux) || !STAILQ_EMPTY(&mux->debtors) || !TAILQ_EMPTY(&mux->line);
}

/* The peer may have said why it reads no more; or it had said all. */
static void write_failed(struct vst_mux *mux)
{
    evbuffer_drain(mux->control, evbuffer_get_length(mux->control));
    evbuffer_drain(mux->out, evbuffer_get_length(mux->out));
    mux->answers = mux->answers_end = 0;
    if (mux->ended || !mux_alive(mux))
        mux->over = true;
    else
        mux_farewell(mux);
}

bool mux_write(struct vst_mux *mux)
{
    size_t budget = mux->state == MUX_ENDED ? 0 : vst_turn_share(&mux->turn, TURN_BYTES);

    if (mux->last_write == VST_IO_AGAIN)
        return false;
    while (budget && mux->last_write != VST_IO_FAIL) {
        size_t n = 0;

        if (gather(mux) < 0 || !evbuffer_get_length(mux->out))
            return false;
        mux->last_write =
            vst_channel_write(mux->transport, mux->out, evbuffer_get_length(mux->out), &n);
        if (mux->last_write == VST_IO_FAIL)
            write_failed(mux);
        if (mux->last_write != VST_IO_OK)
            return false;
        written(mux, n);
        budget -= vst_least(budget, n);
    }
    return mux->state != MUX_ENDED && mux->last_write != VST_IO_FAIL;
}

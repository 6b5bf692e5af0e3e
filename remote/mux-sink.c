/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a stream that sends to the peer: a leaf that only writes. What it takes is framed at
 * once and waits in the record for its turn; without credit it takes nothing, so that what cannot
 * be sent waits where it comes from.
 */
#include <stdlib.h>

#include "core/buffer.h"
#include "core/zeros.h"
#include "mux-private.h"

static struct mux_end *end_of(struct vst_channel *ch)
{
    return (struct mux_end *)ch;
}

static size_t length_of(const struct mux_call *call)
{
    return call->send ? evbuffer_get_length(call->send) : 0;
}

/* The three wire protocols are these lines. */
static bool may_send(const struct mux_call *call)
{
    if (!call->started)
        return false;
    return call->mux->opt.role == VST_MUX_SERVER || call->mux->opt.wire != VST_WIRE_ACKED ||
           !call->unacked;
}

static bool has_credit(const struct mux_call *call)
{
    return call->credit >= (call->sparse ? MUX_HOLE_COST : 1);
}

static bool takes(const struct mux_call *call)
{
    return may_send(call) && has_credit(call) && length_of(call) < MUX_SEND_LOW;
}

static unsigned ready(const struct vst_leaf *leaf)
{
    const struct mux_end *end = (const struct mux_end *)leaf;
    const struct mux_call *call = end->call;

    if (end->failed || end->through)
        return VST_WRITE;
    if (!call)
        return 0;
    if (call->finishing)
        return (call->out_ended ? call->out_taken : call->started) ? VST_WRITE : 0;
    return takes(call) ? VST_WRITE : 0;
}

void mux_leave_line(struct mux_call *call)
{
    if (call->in_line)
        TAILQ_REMOVE(&call->mux->line, call, line);
    call->in_line = false;
}

void mux_sink_drop(struct mux_call *call)
{
    mux_leave_line(call);
    call->mux->unsent -= length_of(call);
    if (call->send)
        evbuffer_free(call->send);
    call->send = NULL;
}

/*
 * Start-time fair queueing: a turn starts when the stream's last one ended, on a clock that counts
 * the bytes of each stream as if all were sent at once; or now, for one that had nothing to send.
 * So all get the same, and who sends little hardly waits.
 */
static void get_in_line(struct mux_call *call)
{
    struct vst_mux *mux = call->mux;
    struct mux_call *before = TAILQ_LAST(&mux->line, mux_line);

    mux_wake(mux);
    if (call->in_line)
        return;
    call->in_line = true;
    call->start = call->finish > mux->clock ? call->finish : mux->clock;
    while (before && before->start > call->start)
        before = TAILQ_PREV(before, mux_line, line);
    if (before)
        TAILQ_INSERT_AFTER(&mux->line, before, call, line);
    else
        TAILQ_INSERT_HEAD(&mux->line, call, line);
}

static int begin_frames(struct mux_call *call)
{
    if (!call->send)
        call->send = evbuffer_new();
    return call->send ? 0 : -1;
}

static int queue_data(struct mux_call *call, struct evbuffer *from, size_t n)
{
    struct vst_frame frame = {(uint32_t)n, VST_FRAME_DATA, call->id, 0, call->starved};
    unsigned char head[VST_FRAME_HEAD];

    if (call->mux->opt.sums && mux_sum(&call->mux->sum_out, from, n, &frame.sum) < 0)
        return -1;
    vst_frame_put(&frame, head);
    return evbuffer_add(call->send, head, sizeof(head)) < 0 ? -1
                                                            : vst_buffer_move(from, call->send, n);
}

static int queue_number(struct mux_call *call, enum vst_frame_type type, uint64_t number)
{
    unsigned char body[8];

    vst_put64(number, body);
    return mux_append(call->send, type, call->id, body, sizeof(body));
}

static enum vst_io no_memory(struct mux_call *call)
{
    struct vst_error err = {0};

    vst_error_no_memory(&err);
    mux_call_stop(call, &err);
    return VST_IO_FAIL;
}

/* The peer would end the connection. */
static enum vst_io too_long(struct mux_call *call)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_INVALID, "a stream has at most 2^63-1 bytes");
    mux_call_stop(call, &err);
    return VST_IO_FAIL;
}

/* A frame has been queued, behind `before` bytes of others. */
static void queued(struct mux_call *call, size_t before, size_t cost, uint64_t n)
{
    call->credit -= cost;
    call->unacked += cost;
    call->out_total += n;
    call->mux->unsent += length_of(call) - before;
    call->mux->stats.frames_out++;
    get_in_line(call);
}

static enum vst_io send_hole(struct mux_call *call, uint64_t n)
{
    size_t before = length_of(call);

    if (begin_frames(call) < 0 || queue_number(call, VST_FRAME_HOLE, n) < 0)
        return no_memory(call);
    queued(call, before, MUX_HOLE_COST, n);
    return VST_IO_OK;
}

static enum vst_io send_data(struct mux_call *call, struct evbuffer *from, size_t n)
{
    size_t before = length_of(call);

    if (begin_frames(call) < 0 || queue_data(call, from, n) < 0)
        return no_memory(call);
    call->mux->stats.sent += n;
    call->starved = false;
    queued(call, before, n, n);
    return VST_IO_OK;
}

/* One frame. */
static enum vst_io send_some(struct mux_call *call, struct evbuffer *from, size_t max,
                             size_t *ret_n)
{
    bool hole = false;

    *ret_n = call->sparse ? vst_zeros_run(from, NULL, max, 0, &hole) : max;
    if (hole && send_hole(call, *ret_n) != VST_IO_OK)
        return VST_IO_FAIL;
    if (hole)
        return evbuffer_drain(from, *ret_n) < 0 ? no_memory(call) : VST_IO_OK;
    *ret_n = vst_least(*ret_n, vst_least(call->credit, VST_FRAME_DATA_MAX));
    *ret_n = vst_buffer_whole(from, *ret_n);
    return send_data(call, from, *ret_n);
}

static void count_stall(struct mux_call *call)
{
    bool stalled = call->started && !has_credit(call);

    call->mux->stats.stalls += stalled && !call->stalled;
    call->stalled = stalled;
}

/* OK: something may be written now. */
static enum vst_io may_write(struct vst_channel *ch)
{
    struct mux_end *end = end_of(ch);

    if (end->failed)
        return VST_IO_FAIL;
    if (end->through || end->call->finishing) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "written to after its end");
        return VST_IO_FAIL;
    }
    count_stall(end->call);
    return takes(end->call) ? VST_IO_OK : VST_IO_AGAIN;
}

static enum vst_io sink_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    enum vst_io io = may_write(ch);

    if (io != VST_IO_OK)
        return io;
    return send_some(end_of(ch)->call, from, vst_least(max, evbuffer_get_length(from)), ret_n);
}

static enum vst_io sink_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n)
{
    enum vst_io io = may_write(ch);
    struct mux_call *call = end_of(ch)->call;

    if (io != VST_IO_OK)
        return io;
    if (n > INT64_MAX - call->out_total)
        return too_long(call);
    *ret_n = n;
    return send_hole(call, n);
}

static enum vst_io sink_finish(struct vst_channel *ch)
{
    struct mux_end *end = end_of(ch);
    struct mux_call *call = end->call;

    if (end->failed)
        return VST_IO_FAIL;
    if (end->through)
        return VST_IO_OK;
    if (call->out_taken) {
        end->through = true;
        return VST_IO_OK;
    }
    call->finishing = true;
    if (call->out_ended || !call->started)
        return VST_IO_AGAIN;
    if (begin_frames(call) < 0 || queue_number(call, VST_FRAME_END, call->out_total) < 0)
        return no_memory(call);
    call->mux->unsent += VST_FRAME_HEAD + sizeof(uint64_t);
    call->out_ended = true;
    get_in_line(call);
    return VST_IO_AGAIN;
}

static void sink_abort(struct vst_channel *ch, const struct vst_error *why)
{
    struct mux_end *end = end_of(ch);

    if (end->call && !end->through && !end->failed)
        mux_call_stop(end->call, why);
}

static enum vst_io sink_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    (void)into, (void)max, (void)ret_n;
    vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "the sink of a call gives no data");
    return VST_IO_FAIL;
}

static void sink_destroy(struct vst_channel *ch)
{
    static const struct vst_error left = {
        .code = VST_ERR_CANCELLED,
        .text = "whoever wrote this stream went away before its end",
    };
    struct mux_end *end = end_of(ch);
    struct mux_call *call = end->call;

    vst_leaf_fini(&end->leaf);
    if (call) {
        call->sink = NULL;
        if (!end->through && !end->failed)
            mux_call_stop(call, &left);
        mux_call_settle(call);
    }
    free(end);
}

#define SINK_OPS                                                                          \
    .name = "remote sink", .read = sink_read, .write = sink_write, .finish = sink_finish, \
    .abort = sink_abort, .destroy = sink_destroy, .arm = vst_leaf_arm

static const struct vst_channel_ops sink_ops = {SINK_OPS};
static const struct vst_channel_ops sparse_sink_ops = {SINK_OPS, .write_hole = sink_write_hole};

struct mux_end *mux_sink_new(struct mux_call *call)
{
    struct mux_end *end = calloc(1, sizeof(*end));

    if (!end)
        return NULL;
    vst_leaf_init(&end->leaf, call->sparse ? &sparse_sink_ops : &sink_ops, call->mux->base, ready);
    end->call = call;
    call->sink = end;
    return end;
}

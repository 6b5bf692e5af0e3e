/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes to frames. Little is read ahead; the body of DATA is read straight into what its reader
 * will read from, any other is collected as it comes, so that no length costs memory by being told.
 */
#include "core/buffer.h"
#include "mux-private.h"

enum {
    TURN_BYTES = 256 * 1024, /* the most that one turn reads before the loop gets its chance */
    CALL = 256,              /* what a step costs at least */
    DISCARD = 64 * 1024,
};

static size_t length_of(const struct vst_mux *mux)
{
    return evbuffer_get_length(mux->in);
}

/* Reads into `into`; false when there is nothing now, or ever. */
static bool fill(struct vst_mux *mux, struct evbuffer *into, size_t max, size_t *ret_n)
{
    mux->last_read = vst_channel_read(mux->transport, into, max, ret_n);
    if (mux->last_read == VST_IO_OK) {
        mux->heard = true;
        return true;
    }
    if (mux->last_read == VST_IO_EOF)
        mux_end_of_transport(mux);
    else if (mux->last_read == VST_IO_FAIL)
        mux_fail(mux, vst_channel_error(mux->transport), false);
    return false;
}

static bool begin_frame(struct vst_mux *mux)
{
    unsigned char head[VST_FRAME_HEAD];
    struct vst_error err = {0};

    evbuffer_remove(mux->in, head, sizeof(head));
    if (vst_frame_get(head, &mux->frame, &err) < 0) {
        mux_fail(mux, &err, true);
        return false;
    }
    vst_trace(VST_TRACE_WIRE, "mux %s: got %s, id %u, %u bytes", mux->opt.label,
              vst_frame_name(mux->frame.type), mux->frame.id, mux->frame.length);
    mux->stats.frames_in++;
    mux->left = mux->frame.length;
    mux->in_body = true;
    return mux_frame_begins(mux) == 0;
}

/* Where the rest of the body goes. NULL: nowhere, it is dropped. */
static struct evbuffer *destination(struct vst_mux *mux)
{
    if (mux->frame.type != VST_FRAME_DATA)
        return mux->body;
    return mux->target ? mux->target->received : NULL;
}

static bool take_ahead(struct vst_mux *mux, struct evbuffer *into, size_t n)
{
    if (into ? vst_buffer_move(mux->in, into, n) < 0 : evbuffer_drain(mux->in, n) < 0) {
        mux_no_memory(mux);
        return false;
    }
    return true;
}

/* Some of the body: what was read ahead, or else from the transport. */
static bool body_part(struct vst_mux *mux, size_t *ret_cost)
{
    struct evbuffer *into = destination(mux);
    size_t n = vst_least(length_of(mux), mux->left);

    if (n) {
        if (!take_ahead(mux, into, n))
            return false;
    } else if (into) {
        if (!fill(mux, into, mux->left, &n))
            return false;
    } else {
        return fill(mux, mux->in, vst_least(mux->left, DISCARD), ret_cost);
    }
    mux->left -= (uint32_t)n;
    *ret_cost = n;
    if (mux->target && mux->frame.sum)
        mux_sum_add(mux->sum_in, into, evbuffer_get_length(into) - n, n);
    if (mux->frame.type == VST_FRAME_DATA)
        mux_data_arrived(mux, n);
    return true;
}

static bool damaged(struct vst_mux *mux)
{
    mux_broken(mux, "%s: its body is damaged", vst_frame_name(mux->frame.type));
    return false;
}

/* Its reader may have had it already; that the stream fails is soon enough. */
static bool end_data(struct vst_mux *mux)
{
    struct mux_call *target = mux->target;

    mux->target = NULL;
    if (!target)
        return true;
    mux_source_spare(target);
    return !mux->frame.sum || mux->frame.sum == vst_frame_fold(XXH3_64bits_digest(mux->sum_in))
               ? true
               : damaged(mux);
}

static bool end_frame(struct vst_mux *mux)
{
    unsigned char *body = NULL;
    int result;

    mux->in_body = false;
    if (mux->frame.type == VST_FRAME_DATA)
        return end_data(mux);
    if (evbuffer_add(mux->body, "", 1) == 0)
        body = evbuffer_pullup(mux->body, -1);
    if (!body) {
        mux_no_memory(mux);
        return false;
    }
    if (!vst_frame_intact(&mux->frame, body))
        return damaged(mux);
    result = mux_frame_complete(mux, body);
    if (!mux->freed)
        evbuffer_drain(mux->body, evbuffer_get_length(mux->body));
    return result == 0;
}

static bool step(struct vst_mux *mux, size_t *ret_cost)
{
    if (mux->in_body && mux->left)
        return body_part(mux, ret_cost);
    if (mux->in_body)
        return end_frame(mux);
    if (length_of(mux) >= VST_FRAME_HEAD)
        return begin_frame(mux);
    return fill(mux, mux->in, MUX_READ_AHEAD, ret_cost);
}

/* Peers that have broken a rule get time to read why; what they still send is dropped. */
static bool drop(struct vst_mux *mux)
{
    size_t n = 0;

    mux->last_read = vst_channel_read(mux->transport, mux->in, DISCARD, &n);
    evbuffer_drain(mux->in, evbuffer_get_length(mux->in));
    mux->farewell += n;
    if (mux->last_read == VST_IO_EOF || mux->last_read == VST_IO_FAIL ||
        mux->farewell > MUX_LATE_MAX)
        mux_end_of_transport(mux);
    return mux->last_read == VST_IO_OK;
}

bool mux_read(struct vst_mux *mux)
{
    size_t budget = vst_turn_share(&mux->turn, TURN_BYTES);

    if (mux->last_read == VST_IO_AGAIN)
        return false;
    if (mux->state == MUX_FAILING || mux->state == MUX_FAILED)
        return drop(mux);
    while (budget && mux_alive(mux) && !mux_flooded(mux)) {
        size_t cost = 0;

        if (!step(mux, &cost))
            return false;
        budget -= vst_least(budget, cost > CALL ? cost : CALL);
    }
    return mux_alive(mux) && !mux_flooded(mux);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a stream that reads what the peer sends: a leaf that only reads. What waits for it is
 * in the record; reading it gives the peer credit.
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
    return call->received ? evbuffer_get_length(call->received) : 0;
}

static bool has_anything(const struct mux_call *call)
{
    return length_of(call) || !STAILQ_EMPTY(&call->holes);
}

static unsigned ready(const struct vst_leaf *leaf)
{
    const struct mux_end *end = (const struct mux_end *)leaf;
    const struct mux_call *call = end->call;

    if (end->failed || end->through || (call && (has_anything(call) || call->in_ended)))
        return VST_READ;
    return 0;
}

void mux_source_drop(struct mux_call *call)
{
    call->mux->received -= length_of(call);
    if (call->received)
        evbuffer_free(call->received);
    call->received = NULL;
    if (call->mux->target == call)
        call->mux->target = NULL;
    while (!STAILQ_EMPTY(&call->holes)) {
        struct mux_hole *hole = STAILQ_FIRST(&call->holes);

        STAILQ_REMOVE_HEAD(&call->holes, next);
        free(hole);
    }
}

/* Nothing is kept when nothing waits; but the rest of a frame will be read into it. */
void mux_source_spare(struct mux_call *call)
{
    if (!call->received || length_of(call) || call->mux->target == call)
        return;
    evbuffer_free(call->received);
    call->received = NULL;
}

/* More of a frame is on its way: it is cheaper to wait for it than to say so little. */
static bool all_is_read(const struct mux_call *call)
{
    return !has_anything(call) && (call->mux->target != call || !call->mux->left);
}

static void give_credit(struct mux_call *call, size_t cost)
{
    struct vst_mux *mux = call->mux;

    vst_window_read(&call->window, cost);
    mux_consumed(mux, cost);
    if (call->owes_credit || mux_call_in_over(call) ||
        !vst_window_due(&call->window, all_is_read(call)))
        return;
    call->owes_credit = true;
    STAILQ_INSERT_TAIL(&mux->debtors, call, owing);
    mux_wake(mux);
}

static enum vst_io no_memory(struct mux_call *call)
{
    struct vst_error err = {0};

    vst_error_no_memory(&err);
    mux_call_stop(call, &err);
    return VST_IO_FAIL;
}

static void took_of_hole(struct mux_call *call, uint64_t n)
{
    struct mux_hole *hole = STAILQ_FIRST(&call->holes);

    hole->left -= n;
    if (hole->left)
        return;
    STAILQ_REMOVE_HEAD(&call->holes, next);
    free(hole);
    give_credit(call, MUX_HOLE_COST);
}

static enum vst_io read_hole(struct mux_call *call, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    uint64_t left = STAILQ_FIRST(&call->holes)->left;
    size_t n = left < max ? (size_t)left : max;

    if (vst_zeros_add(into, n) < 0)
        return no_memory(call);
    took_of_hole(call, n);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io read_data(struct mux_call *call, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    size_t n = vst_buffer_whole(call->received, max);

    if (vst_buffer_move(call->received, into, n) < 0)
        return no_memory(call);
    mux_source_spare(call);
    call->in_data += n;
    call->mux->received -= n;
    give_credit(call, n);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io source_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                               size_t *ret_n)
{
    struct mux_end *end = end_of(ch);
    struct mux_call *call = end->call;
    struct mux_hole *hole;

    if (end->failed)
        return VST_IO_FAIL;
    hole = STAILQ_FIRST(&call->holes);
    if (hole && hole->at == call->in_data)
        return read_hole(call, into, max, ret_n);
    if (hole && hole->at - call->in_data < max)
        max = (size_t)(hole->at - call->in_data);
    if (length_of(call))
        return read_data(call, into, max, ret_n);
    if (!call->in_ended)
        return VST_IO_AGAIN;
    end->through = true;
    return VST_IO_EOF;
}

static uint64_t source_hole(struct vst_channel *ch)
{
    const struct mux_end *end = end_of(ch);
    const struct mux_hole *hole =
        end->failed || !end->call ? NULL : STAILQ_FIRST(&end->call->holes);

    return hole && hole->at == end->call->in_data ? hole->left : 0;
}

static void source_skip(struct vst_channel *ch, uint64_t n)
{
    took_of_hole(end_of(ch)->call, n);
}

static enum vst_io source_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *ret_n)
{
    (void)from, (void)max, (void)ret_n;
    vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "the source of a call takes no data");
    return VST_IO_FAIL;
}

static void source_abort(struct vst_channel *ch, const struct vst_error *why)
{
    struct mux_end *end = end_of(ch);

    if (end->call && !end->through && !end->failed)
        mux_call_stop(end->call, why);
}

static void source_destroy(struct vst_channel *ch)
{
    static const struct vst_error left = {
        .code = VST_ERR_CANCELLED,
        .text = "whoever read this stream went away before its end",
    };
    struct mux_end *end = end_of(ch);
    struct mux_call *call = end->call;

    vst_leaf_fini(&end->leaf);
    if (call) {
        call->source = NULL;
        if (!end->through && !end->failed)
            mux_call_stop(call, &left);
        mux_source_drop(call);
        mux_call_settle(call);
    }
    free(end);
}

static const struct vst_channel_ops source_ops = {
    .name = "remote source",
    .read = source_read,
    .write = source_write,
    .abort = source_abort,
    .destroy = source_destroy,
    .arm = vst_leaf_arm,
    .hole = source_hole,
    .skip = source_skip,
};

struct mux_end *mux_source_new(struct mux_call *call)
{
    struct mux_end *end = calloc(1, sizeof(*end));

    if (!end)
        return NULL;
    vst_leaf_init(&end->leaf, &source_ops, call->mux->base, ready);
    end->call = call;
    call->source = end;
    return end;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of a call's stream, from vst_mux_open() until nothing can come for it any more. An id
 * that was stopped or answered keeps its record, with no ends, until the peer has said END or STOP.
 */
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "mux-private.h"

/* ---- the table ---- */

/* Where `id` is, or belongs. */
static unsigned place_of(const struct vst_mux *mux, uint32_t id)
{
    unsigned from = 0, to = mux->count;

    while (from < to) {
        unsigned middle = from + (to - from) / 2;

        if (mux->calls[middle]->id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct mux_call *mux_find(const struct vst_mux *mux, uint32_t id)
{
    unsigned place = place_of(mux, id);

    return place < mux->count && mux->calls[place]->id == id ? mux->calls[place] : NULL;
}

static int make_room(struct vst_mux *mux)
{
    unsigned room = mux->room ? mux->room * 2 : 4;
    struct mux_call **calls;

    if (mux->count < mux->room)
        return 0;
    calls = realloc(mux->calls, room * sizeof(struct mux_call *));
    if (!calls)
        return -1;
    mux->calls = calls;
    mux->room = room;
    return 0;
}

/* Lets go of the ends; what they find then is their own failure, or that they are through. */
static void destroy(struct mux_call *call)
{
    if (call->source)
        call->source->call = NULL;
    if (call->sink)
        call->sink->call = NULL;
    mux_source_drop(call);
    mux_sink_drop(call);
    if (call->owes_credit)
        STAILQ_REMOVE(&call->mux->debtors, call, mux_call, owing);
    free(call);
}

static void forget(struct mux_call *call)
{
    struct vst_mux *mux = call->mux;
    unsigned place = place_of(mux, call->id);

    vst_trace(VST_TRACE_STATE, "mux %s: call %u is forgotten", mux->opt.label, call->id);
    mux->count--;
    memmove(&mux->calls[place], &mux->calls[place + 1],
            (mux->count - place) * sizeof(struct mux_call *));
    destroy(call);
    if (mux->count)
        return;
    free(mux->calls);
    mux->calls = NULL;
    mux->room = 0;
}

bool mux_calls_wait(const struct vst_mux *mux)
{
    for (unsigned i = 0; i < mux->count; i++)
        if (!mux->calls[i]->answered)
            return true;
    return false;
}

void mux_calls_free(struct vst_mux *mux)
{
    for (unsigned i = 0; i < mux->count; i++)
        destroy(mux->calls[i]);
    free(mux->calls);
    mux->calls = NULL;
    mux->count = mux->room = 0;
}

/* ---- how a record ends ---- */

/* The peer will send no more for it. */
bool mux_call_in_over(const struct mux_call *call)
{
    return !call->receives || call->in_ended || call->peer_stopped;
}

/* We shall send no more for it, and the peer knows, or will. */
static bool out_over(const struct mux_call *call)
{
    return !call->sends || call->out_ended || call->stopped;
}

void mux_call_settle(struct mux_call *call)
{
    static const struct vst_error over = {
        .code = VST_ERR_CANCELLED,
        .text = "the call is over",
    };

    if (!call->answered)
        return;
    if (!out_over(call) && (!call->source || mux_call_in_over(call)))
        mux_call_stop(call, &over);
    if (out_over(call) && mux_call_in_over(call) && !call->source && !call->sink && !call->send)
        forget(call);
}

void mux_end_fail(struct mux_end *end, const struct vst_error *why)
{
    if (!end || end->failed || end->through)
        return;
    end->failed = true;
    vst_error_copy(vst_channel_fail(&end->leaf.ch), why);
    vst_leaf_wake(&end->leaf);
}

void mux_call_fail_ends(struct mux_call *call, const struct vst_error *why)
{
    mux_end_fail(call->source, why);
    mux_end_fail(call->sink, why);
    if (!call->source || call->source->failed)
        mux_source_drop(call);
}

void mux_calls_fail(struct vst_mux *mux, const struct vst_error *why)
{
    for (unsigned i = 0; i < mux->count; i++) {
        mux_call_fail_ends(mux->calls[i], why);
        mux_sink_drop(mux->calls[i]);
    }
}

/* What follows from a STOP of ours, whoever made its body. */
static void stopped(struct mux_call *call, const struct vst_error *why)
{
    call->stopped = true;
    mux_sink_drop(call);
    mux_call_fail_ends(call, why);
}

void mux_call_stop(struct mux_call *call, const struct vst_error *why)
{
    struct vst_mux *mux = call->mux;

    if (call->stopped)
        return;
    if (mux_alive(mux))
        mux_put_error(mux, VST_FRAME_STOP, call->id, why);
    stopped(call, why);
}

void mux_call_stopped_with(struct mux_call *call, const char *body, size_t length)
{
    struct vst_error why;

    vst_error_parse(body, length, &why);
    stopped(call, &why);
}

/* Our END may not have gone out yet: it would never, so STOP takes its place. */
void mux_call_peer_stopped(struct mux_call *call, const struct vst_error *why)
{
    bool unsaid = call->sends && !call->stopped && (!call->out_ended || call->send);

    call->peer_stopped = true;
    mux_call_fail_ends(call, why);
    if (unsaid)
        mux_call_stop(call, why);
    mux_call_settle(call);
}

/* ---- what the mux's user does with it ---- */

static int check_open(const struct vst_mux *mux, uint32_t id, struct vst_error *ret_err)
{
    if (!mux_alive(mux) || mux->state != MUX_OPEN)
        return vst_error_set(ret_err, VST_ERR_LOST, "%s: the connection is closed", mux->opt.label);
    if (!id || id != mux->last_id || mux_find(mux, id))
        return vst_error_set(ret_err, VST_ERR_INTERNAL, "%s: %u is not the id of a new call",
                             mux->opt.label, id);
    if (mux->count >= mux->opt.streams)
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "%s: %u streams are open on this connection, the most allowed; wait "
                             "until one ends, or make another connection",
                             mux->opt.label, mux->count);
    return 0;
}

static struct mux_call *make(struct vst_mux *mux, uint32_t id, const struct vst_mux_ends *ends)
{
    struct mux_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->mux = mux;
    call->id = id;
    call->receives = ends->receives;
    call->sends = ends->sends;
    call->sparse = ends->sparse;
    call->started = mux->opt.role == VST_MUX_SERVER || mux->opt.wire == VST_WIRE_EAGER;
    call->credit = mux->opt.peer_window;
    STAILQ_INIT(&call->holes);
    vst_window_init(&call->window, mux->opt.window);
    return call;
}

int vst_mux_open(struct vst_mux *mux, uint32_t id, struct vst_mux_ends *ends,
                 struct vst_error *ret_err)
{
    struct mux_call *call;

    if (check_open(mux, id, ret_err) < 0)
        return -1;
    call = make_room(mux) == 0 ? make(mux, id, ends) : NULL;
    if (!call)
        return vst_error_no_memory(ret_err);
    if ((ends->receives && !mux_source_new(call)) || (ends->sends && !mux_sink_new(call))) {
        free(call->source);
        free(call);
        return vst_error_no_memory(ret_err);
    }
    mux->calls[mux->count++] = call;
    ends->ret_source = call->source ? &call->source->leaf.ch : NULL;
    ends->ret_sink = call->sink ? &call->sink->leaf.ch : NULL;
    return 0;
}

void vst_mux_taken(struct vst_mux *mux, uint32_t id)
{
    struct mux_call *call = mux_alive(mux) ? mux_find(mux, id) : NULL;

    if (!call || !call->in_ended || call->in_taken || call->stopped || call->peer_stopped)
        return;
    call->in_taken = true;
    mux_put(mux, VST_FRAME_TAKEN, id, NULL, 0);
}

bool vst_mux_has_sent(const struct vst_mux *mux, uint32_t id)
{
    const struct mux_call *call = mux_find(mux, id);

    return call && (!call->sends || (call->out_ended && !call->send));
}

void vst_mux_ended(struct vst_mux *mux, uint32_t id, const struct vst_error *err)
{
    static const struct vst_error over = {
        .code = VST_ERR_STATE,
        .side = VST_SIDE_HOST,
        .text = "the call ended before everything was sent",
    };
    struct mux_call *call = mux_find(mux, id);

    if (!call)
        return;
    call->answered = true;
    if (err) {
        mux_call_fail_ends(call, err);
    } else if (call->out_ended && call->sink) {
        call->out_taken = true;
        vst_leaf_wake(&call->sink->leaf);
    } else {
        mux_end_fail(call->sink, &over);
    }
    mux_call_settle(call);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each frame means, and when it breaks a rule. The rules are those of PROTOCOL.md, in its
 * order; tests/vectors/wire has a case for each.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "message.h"
#include "mux-private.h"

/* "DATA of call 7: " and the rule. */
static int broken(struct vst_mux *mux, const char *rule)
{
    return mux_broken(mux, "%s of call %" PRIu32 ": %s", vst_frame_name(mux->frame.type),
                      mux->frame.id, rule);
}

/* ---- what belongs to streams ---- */

/* Data for a call that was answered before its stream was opened here: an eager client could not
 * know. It had no more credit than the greeting granted. */
static int stray(struct vst_mux *mux, uint64_t cost)
{
    if (mux->frame.id > mux->last_id)
        return broken(mux, "there was no such call");
    if (cost > mux->late)
        return broken(mux, "there is no such stream");
    mux->late -= cost;
    if (mux->frame.type == VST_FRAME_DATA)
        mux->stats.dropped += mux->frame.length;
    return 0;
}

/* For DATA, HOLE, END: whether the peer may send. */
static int check_in(struct vst_mux *mux, const struct mux_call *call)
{
    if (!call->receives)
        return broken(mux, "the call has no data in this direction");
    if (call->in_ended)
        return broken(mux, "it came after END");
    if (call->peer_stopped)
        return broken(mux, "it came after STOP");
    return 0;
}

static bool wants_data(const struct mux_call *call)
{
    return call->source && !call->source->failed;
}

static int data_begins(struct vst_mux *mux)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);

    if (!call)
        return stray(mux, mux->frame.length);
    if (check_in(mux, call) < 0)
        return -1;
    if (mux->frame.starved)
        vst_window_starved(&call->window, mux_spare(mux));
    if (!vst_window_take(&call->window, mux->frame.length))
        return broken(mux, "more than there was credit for");
    call->in_total += mux->frame.length;
    if (!wants_data(call)) {
        mux->stats.dropped += mux->frame.length;
        return 0;
    }
    if (!call->received && !(call->received = evbuffer_new()))
        return mux_no_memory(mux);
    if (mux->frame.sum && mux_sum_begin(&mux->sum_in) < 0)
        return mux_no_memory(mux);
    mux->target = call;
    return 0;
}

void mux_data_arrived(struct vst_mux *mux, size_t n)
{
    mux->stats.received += n;
    if (!mux->target)
        return;
    mux->received += n;
    vst_leaf_wake(&mux->target->source->leaf);
}

static int hole_came(struct vst_mux *mux, const unsigned char *body)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);
    uint64_t zeros = vst_get64(body);
    struct mux_hole *hole;

    if (!call)
        return stray(mux, MUX_HOLE_COST);
    if (check_in(mux, call) < 0)
        return -1;
    if (!call->sparse)
        return broken(mux, "the stream is not sparse");
    if (!zeros || zeros > INT64_MAX - call->in_total)
        return broken(mux, "not a length");
    if (!vst_window_take(&call->window, MUX_HOLE_COST))
        return broken(mux, "more than there was credit for");
    call->in_total += zeros;
    if (!wants_data(call))
        return 0;
    hole = calloc(1, sizeof(*hole));
    if (!hole)
        return mux_no_memory(mux);
    hole->at = call->in_data + (call->received ? evbuffer_get_length(call->received) : 0);
    hole->left = zeros;
    STAILQ_INSERT_TAIL(&call->holes, hole, next);
    vst_leaf_wake(&call->source->leaf);
    return 0;
}

static int end_came(struct vst_mux *mux, const unsigned char *body)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);
    uint64_t total = vst_get64(body);
    struct vst_error err = {0};

    if (!call)
        return stray(mux, 0);
    if (check_in(mux, call) < 0)
        return -1;
    if (total != call->in_total) {
        vst_error_set(&err, total > call->in_total ? VST_ERR_TRUNCATED : VST_ERR_DAMAGED,
                      "the sender says that it sent %" PRIu64 " bytes, %" PRIu64 " have come",
                      total, call->in_total);
        mux_call_stop(call, &err);
    }
    call->in_ended = true;
    if (call->source)
        vst_leaf_wake(&call->source->leaf);
    mux_call_settle(call);
    return 0;
}

static int credit_came(struct vst_mux *mux, const unsigned char *body)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);
    uint32_t read = vst_get32(body), granted = vst_get32(body + 4);

    if (!call)
        return mux->frame.id > mux->last_id ? broken(mux, "there was no such call") : 0;
    if (!call->sends)
        return broken(mux, "the call has no data in this direction");
    if (!read && !granted)
        return broken(mux, "it says nothing");
    if (read > call->unacked)
        return broken(mux, "for more than was sent");
    if (granted > VST_WINDOW_MAX - call->credit)
        return broken(mux, "more than a window may be");
    /* Nothing but the want of credit kept it from sending. */
    call->starved |= call->stalled && !mux_has_to_write(mux);
    call->unacked -= read;
    call->credit += granted;
    if (call->sink)
        vst_leaf_wake(&call->sink->leaf);
    return 0;
}

static int taken_came(struct vst_mux *mux)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);

    if (!call)
        return mux->frame.id > mux->last_id ? broken(mux, "there was no such call") : 0;
    if (!call->sends || (!call->out_ended && !call->stopped))
        return broken(mux, "END had not been sent");
    if (call->out_taken && !call->answered)
        return broken(mux, "it came twice");
    call->out_taken = true;
    if (call->sink)
        vst_leaf_wake(&call->sink->leaf);
    return 0;
}

static int stop_came(struct vst_mux *mux, const unsigned char *body)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);
    uint32_t id = mux->frame.id;
    struct vst_error why;

    if (id > mux->last_id)
        return broken(mux, "there was no such call");
    if (call && call->peer_stopped)
        return broken(mux, "it came twice");
    vst_error_parse((const char *)body, mux->frame.length, &why);
    if (call)
        mux_call_peer_stopped(call, &why);
    if (mux->opt.role == VST_MUX_SERVER)
        mux->user.stopped(mux->user.opaque, id, &why);
    return 0;
}

/* ---- control ---- */

static int tell_user(struct vst_mux *mux, const unsigned char *body)
{
    mux->user.message(mux->user.opaque, &mux->frame, (const char *)body);
    return 0;
}

static int call_came(struct vst_mux *mux, const unsigned char *body)
{
    if (mux->frame.id <= mux->last_id)
        return broken(mux, "ids only grow");
    if (mux->goaway_came)
        return broken(mux, "it came after GOAWAY");
    mux->last_id = mux->frame.id;
    if (mux->state != MUX_OPEN)
        return 0;
    tell_user(mux, body);
    /* Whether it has data that is on its way already, nobody here knows. */
    if (!mux->freed && !mux_find(mux, mux->last_id))
        mux->late += mux->opt.window;
    return 0;
}

/* REPLY, STARTED, EVENT, and ERROR with an id. */
static int answer_came(struct vst_mux *mux, const unsigned char *body)
{
    struct mux_call *call = mux_find(mux, mux->frame.id);

    if (mux->frame.id > mux->last_id)
        return broken(mux, "there was no such call");
    if (mux->frame.type == VST_FRAME_STARTED && call) {
        call->started = true;
        if (call->sink)
            vst_leaf_wake(&call->sink->leaf);
    }
    return tell_user(mux, body);
}

static int error_came(struct vst_mux *mux, const unsigned char *body)
{
    struct vst_error err;

    if (mux->frame.id)
        return mux->opt.role == VST_MUX_CLIENT ? answer_came(mux, body)
                                               : broken(mux, "a client sends none");
    vst_error_parse((const char *)body, mux->frame.length, &err);
    mux_fail(mux, &err, false);
    return -1;
}

static int goaway_came(struct vst_mux *mux, const unsigned char *body)
{
    mux->goaway_came = true;
    return tell_user(mux, body);
}

static int ping_came(struct vst_mux *mux, const unsigned char *body)
{
    if (mux_put(mux, VST_FRAME_PONG, 0, body, 8) < 0)
        return -1;
    mux_answering(mux, VST_FRAME_HEAD + 8);
    return 0;
}

/* Who may get it: the wrong one breaks a rule by sending it. */
static bool for_me(const struct vst_mux *mux)
{
    switch (mux->frame.type) {
    case VST_FRAME_HELLO:
    case VST_FRAME_AUTH_START:
    case VST_FRAME_AUTH_STEP:
    case VST_FRAME_AUTH_DONE:
        return false;
    case VST_FRAME_CALL:
        return mux->opt.role == VST_MUX_SERVER;
    case VST_FRAME_REPLY:
    case VST_FRAME_STARTED:
    case VST_FRAME_EVENT:
        return mux->opt.role == VST_MUX_CLIENT;
    default:
        return true;
    }
}

int mux_frame_begins(struct vst_mux *mux)
{
    if (!for_me(mux))
        return mux_broken(mux, "%s does not belong here", vst_frame_name(mux->frame.type));
    return mux->frame.type == VST_FRAME_DATA ? data_begins(mux) : 0;
}

int mux_frame_complete(struct vst_mux *mux, unsigned char *body)
{
    switch (mux->frame.type) {
    case VST_FRAME_CALL:
        return call_came(mux, body);
    case VST_FRAME_ERROR:
        return error_came(mux, body);
    case VST_FRAME_HOLE:
        return hole_came(mux, body);
    case VST_FRAME_CREDIT:
        return credit_came(mux, body);
    case VST_FRAME_END:
        return end_came(mux, body);
    case VST_FRAME_TAKEN:
        return taken_came(mux);
    case VST_FRAME_STOP:
        return stop_came(mux, body);
    case VST_FRAME_PING:
        return ping_came(mux, body);
    case VST_FRAME_PONG:
        return mux_pong_came(mux, vst_get64(body));
    case VST_FRAME_GOAWAY:
        return goaway_came(mux, body);
    default:
        return answer_came(mux, body);
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream's life: two directions, each a pump between the application's end and the driver's; one
 * state; one outcome. It does no I/O of its own. What the application's ends are made of is
 * stream-ends.c; watching for stalls is stream-watch.c.
 */
#include "stream-private.h"

#include <stdlib.h>
#include <string.h>

static void enter(struct vst_stream *stream, enum stream_state state)
{
    vst_fsm_trace(stream, stream->user.name ? stream->user.name : "-", stream->state, state);
    stream->state = state;
}

static void half_free(struct half *half)
{
    struct vst_channel *driver = half->driver;

    if (half->digest) {
        vst_digest_get(half->digest, half->dir == VST_UP ? VST_READ : VST_WRITE, half->sum);
        half->has_sum = true;
    }
    /* Callbacks of the application are released next, and may look at the stream. */
    half->leaf = half->digest = half->driver = NULL;
    vst_channel_free(&half->app);
    vst_channel_free(&half->mailbox);
    vst_channel_free(&driver);
}

/* Both directions may end at one channel of the driver's. */
static void free_halves(struct vst_stream *stream)
{
    if (stream->up.driver == stream->down.driver)
        stream->down.driver = NULL;
    /* Pumps first: they abort sinks, and both may hold the shared channel. */
    vst_pump_free(&stream->up.pump);
    vst_pump_free(&stream->down.pump);
    half_free(&stream->up);
    half_free(&stream->down);
}

static void set_callbacks(struct vst_stream *stream, const struct vst_stream_callbacks *cb,
                          void *opaque)
{
    struct vst_stream_callbacks old = stream->cb;
    void *old_opaque = stream->opaque;

    stream->cb = cb ? *cb : (struct vst_stream_callbacks){0};
    stream->opaque = opaque;
    if (old.release)
        old.release(old_opaque);
}

static void destroy(struct vst_stream *stream)
{
    struct vst_error why = {0};

    vst_error_set(&why, VST_ERR_CANCELLED, "the stream that takes the bytes was freed");
    vst_joint_conclude(stream, &why);
    vst_turn_cancel(&stream->turn);
    vst_stream_unwatch(stream);
    free_halves(stream);
    set_callbacks(stream, NULL, NULL);
    free(stream);
}

static bool is_done(const struct vst_stream *stream)
{
    return stream->state == STREAM_ENDED || !stream->op;
}

void vst_stream_hold(struct vst_stream *stream)
{
    stream->held++;
}

void vst_stream_let_go(struct vst_stream *stream)
{
    if (--stream->held == 0 && stream->freed && is_done(stream))
        destroy(stream);
}

void vst_stream_conclude(struct vst_stream *stream, const struct vst_error *err)
{
    vst_stream_hold(stream); /* the ends' releases, and `ended`, may free it */
    stream->outcome = err ? *err : (struct vst_error){0};
    vst_joint_conclude(stream, err);
    vst_progress_freeze(stream);
    vst_stream_unwatch(stream);
    if (err && stream->down.app && !stream->down.pump)
        vst_channel_abort(stream->down.app, err);
    free_halves(stream);
    enter(stream, STREAM_ENDED);
    if (stream->cb.ended && !stream->freed)
        stream->cb.ended(stream, err ? &stream->outcome : NULL, stream->opaque);
    vst_stream_let_go(stream);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_stream *stream = opaque;

    (void)fd, (void)what;
    if (stream->state != STREAM_FAILING)
        return;
    if (!stream->op)
        vst_stream_conclude(stream, &stream->outcome);
    else if (stream->user.failed)
        stream->user.failed(stream->user.opaque, &stream->outcome);
}

struct vst_stream *vst_stream_new(struct event_base *base, const struct vst_stream_options *opt)
{
    struct vst_stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        return NULL;
    stream->base = base;
    stream->limit = opt && opt->limit ? opt->limit : VST_STREAM_LIMIT;
    if (stream->limit < VST_STREAM_LEAST)
        stream->limit = VST_STREAM_LEAST;
    stream->up = (struct half){.stream = stream, .dir = VST_UP};
    stream->down = (struct half){.stream = stream, .dir = VST_DOWN};
    vst_turn_init(&stream->turn, base, turn, stream);
    return stream;
}

void vst_stream_set_callbacks(struct vst_stream *stream, const struct vst_stream_callbacks *cb,
                              void *opaque)
{
    set_callbacks(stream, cb, opaque);
}

/* Nothing of the application's is called any more: it may be inside its callback right now. */
static void mute(struct vst_stream *stream)
{
    if (stream->up.leaf)
        vst_channel_app_mute(stream->up.leaf);
    if (stream->down.leaf)
        vst_channel_app_mute(stream->down.leaf);
}

void vst_stream_free(struct vst_stream **slot)
{
    struct vst_stream *stream = *slot;

    *slot = NULL;
    if (!stream || stream->freed)
        return;
    if (!stream->held && is_done(stream)) {
        destroy(stream);
        return;
    }
    stream->freed = true;
    mute(stream);
    vst_stream_abort(stream, "the application freed the stream");
}

/* Nothing moves any more, for the reason in `outcome`. */
static void stop(struct vst_stream *stream)
{
    mute(stream);
    if (stream->up.pump)
        vst_pump_cancel(stream->up.pump, &stream->outcome);
    if (stream->down.pump)
        vst_pump_cancel(stream->down.pump, &stream->outcome);
}

void vst_stream_fail(struct vst_stream *stream, const struct vst_error *err)
{
    if (stream->state >= STREAM_FAILING)
        return;
    vst_error_copy(&stream->outcome, err);
    vst_stream_unwatch(stream);
    stop(stream);
    enter(stream, STREAM_FAILING);
    vst_turn_schedule(&stream->turn);
}

void vst_stream_abort(struct vst_stream *stream, const char *why)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_CANCELLED, "%s", why ? why : "aborted by the application");
    vst_error_where(&err, VST_SIDE_APPLICATION, NULL);
    vst_stream_fail(stream, &err);
}

int vst_stream_bind(struct vst_stream *stream, struct vst_op *op, struct vst_error *ret_err)
{
    if (stream->op)
        return vst_error_set(ret_err, VST_ERR_STATE,
                             "a stream is for one method, and this one has been used");
    if (stream->state != STREAM_IDLE)
        return vst_error_copy(ret_err, &stream->outcome);
    stream->op = op;
    vst_op_set_stream(op, stream);
    enter(stream, STREAM_CLAIMED);
    return 0;
}

int vst_stream_claim(struct vst_stream *stream, struct vst_op *op,
                     const struct vst_stream_user *user, struct vst_error *ret_err)
{
    if (stream->op != op && vst_stream_bind(stream, op, ret_err) < 0)
        return -1;
    if (stream->state != STREAM_CLAIMED)
        return vst_error_copy(ret_err, &stream->outcome);
    stream->user = *user;
    return vst_stream_watch(stream, ret_err);
}

void vst_stream_settle(struct vst_stream *stream, const struct vst_error *err)
{
    /* What fails without the stream, fails it: no sink finishes any more. */
    if (err && stream->state < STREAM_FAILING) {
        vst_error_copy(&stream->outcome, err);
        stop(stream);
    }
    enter(stream, STREAM_DECIDED);
    vst_stream_unwatch(stream);
}

/* Names the application's end if it was that. */
static void fail_half(const struct half *half, const struct vst_error *err)
{
    struct vst_error named = *err;
    struct vst_pump_stats stats;

    vst_pump_get_stats(half->pump, &stats);
    if (stats.failed == (half->dir == VST_UP ? VST_READ : VST_WRITE)) {
        vst_error_where(&named, VST_SIDE_APPLICATION, NULL);
        /* A pipe or socket of the application's is no connection of ours. */
        if (named.code == VST_ERR_LOST && !half->ours)
            named.code = VST_ERR_SYSTEM;
    }
    vst_stream_fail(half->stream, &named);
}

static void half_done(struct half *half, const struct vst_error *err)
{
    struct vst_stream *stream = half->stream;

    if (err) {
        fail_half(half, err);
        return;
    }
    half->finished = true;
    if (stream->state == STREAM_FLOWING && stream->user.finished)
        stream->user.finished(stream->user.opaque, half->dir);
}

static void pump_done(void *opaque, const struct vst_error *err)
{
    half_done(opaque, err);
}

/* Joins the two ends of one direction. The driver's channel is the half's from here on. */
static int half_attach(struct half *half, struct vst_channel *driver, struct vst_error *ret_err)
{
    struct vst_stream *stream = half->stream;
    size_t limit = stream->limit;

    half->driver = driver;
    if (!driver)
        return 0;
    if (!half->app && vst_half_use_mailbox(half, ret_err) < 0)
        return -1;
    if (half->mailbox)
        limit -= limit / 2;
    half->pump = vst_pump_new(stream->base, limit, pump_done, half, ret_err);
    if (!half->pump)
        return -1;
    vst_pump_set_source(half->pump, half->dir == VST_UP ? half->app : driver);
    vst_pump_set_sink(half->pump, half->dir == VST_UP ? driver : half->app);
    return 0;
}

void vst_stream_on_attached(struct vst_stream *stream, struct vst_turn *attached)
{
    stream->attached = attached;
}

int vst_stream_attach(struct vst_stream *stream, struct vst_channel *source,
                      struct vst_channel *sink, struct vst_error *ret_err)
{
    int up, down;

    if (stream->state == STREAM_FAILING) {
        stream->up.driver = sink;
        stream->down.driver = source;
        return vst_error_copy(ret_err, &stream->outcome);
    }
    if (stream->attached) /* before the turns of the pumps */
        vst_turn_schedule(stream->attached);
    up = half_attach(&stream->up, sink, ret_err);
    down = half_attach(&stream->down, source, ret_err);
    if (up < 0 || down < 0)
        return -1;
    enter(stream, STREAM_FLOWING);
    return 0;
}

void vst_stream_expect(struct vst_stream *stream, uint64_t total)
{
    stream->total = total;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pump: when to move, when to wait, and how it ends. How bytes move is vst_transfer()'s.
 *
 * Everything happens in turn(). API calls only change what the next turn will find, so no channel
 * is touched and no callback runs inside them.
 */
#include "pump.h"

#include <inttypes.h>
#include <stdlib.h>

#include "buffer.h"
#include "fsm.h"
#include "turn.h"

#define PUMP_STATES(X)                                                                   \
    X(PUMP_OPENING, "both channels open", "a handshake, or a file being opened")         \
    X(PUMP_MOVING, "source readable, sink writable", "bytes move")                       \
    X(PUMP_DRAINING, "sink writable", "the source has ended, the buffer has not")        \
    X(PUMP_FINISHING, "sink finished", "the sink has every byte and makes sure of them") \
    X(PUMP_DONE, "nothing", "the sink was finished or aborted, and done() was called")
VST_FSM(pump, PUMP_STATES)

enum {
    TURN_BYTES = 256 * 1024, /* the most that one turn moves before the loop gets its chance */
};

struct vst_pump {
    struct vst_channel *source;
    struct vst_channel *sink;
    struct evbuffer *buffer;
    size_t limit;
    void (*done)(void *opaque, const struct vst_error *err);
    void *opaque;
    enum pump_state state;
    bool full;       /* the high mark was reached, and the low one not since: nothing is read */
    enum vst_io in;  /* what the source said last */
    enum vst_io out; /* what the sink said last */
    bool held;       /* its turn is running */
    bool freed;      /* let go by its owner meanwhile: memory goes when the turn ends */
    const struct vst_error *cancelled;
    struct vst_pump_stats stats;
    struct vst_turn turn;
};

static void enter(struct vst_pump *pump, enum pump_state state)
{
    vst_fsm_trace(pump, pump->sink ? pump->sink->ops->name : "-", pump->state, state);
    pump->state = state;
}

/* What it waits for is a function of its state alone; arm() makes the channels agree with it. */
static bool wants_source(const struct vst_pump *pump)
{
    if (!pump->source || pump->in != VST_IO_AGAIN)
        return false;
    return pump->state == PUMP_OPENING || (pump->state == PUMP_MOVING && !pump->full);
}

static bool wants_sink(const struct vst_pump *pump)
{
    return pump->sink && pump->out == VST_IO_AGAIN && pump->state != PUMP_DONE;
}

static void arm(struct vst_pump *pump)
{
    if (pump->source)
        vst_channel_want(pump->source, VST_READ, wants_source(pump));
    if (pump->sink)
        vst_channel_want(pump->sink, VST_WRITE, wants_sink(pump));
}

/* The channels are their owner's to free from now on. */
static void let_go(struct vst_pump *pump)
{
    arm(pump);
    if (pump->source)
        vst_channel_listen(pump->source, VST_READ, NULL, NULL);
    if (pump->sink)
        vst_channel_listen(pump->sink, VST_WRITE, NULL, NULL);
    pump->source = pump->sink = NULL;
}

static void conclude(struct vst_pump *pump, const struct vst_error *err)
{
    struct vst_error copy = {0};

    if (err) {
        copy = *err;
        if (pump->sink)
            vst_channel_abort(pump->sink, &copy);
        evbuffer_drain(pump->buffer, evbuffer_get_length(pump->buffer));
        pump->stats.held = 0;
    }
    enter(pump, PUMP_DONE);
    let_go(pump);
    pump->done(pump->opaque, err ? &copy : NULL);
}

/* Ends the pump with the error of the side that has just failed; false: neither has. */
static bool failed(struct vst_pump *pump)
{
    if (pump->in == VST_IO_FAIL)
        pump->stats.failed = VST_READ;
    else if (pump->out == VST_IO_FAIL)
        pump->stats.failed = VST_WRITE;
    else
        return false;
    conclude(pump, vst_channel_error(pump->stats.failed == VST_READ ? pump->source : pump->sink));
    return true;
}

static void turn_opening(struct vst_pump *pump)
{
    if (!pump->source || !pump->sink) {
        /* Each is opened as soon as it is there: a file need not wait for QEMU. */
        if (pump->source)
            pump->in = vst_channel_open(pump->source);
        if (pump->sink)
            pump->out = vst_channel_open(pump->sink);
        failed(pump);
        return;
    }
    pump->in = vst_channel_open(pump->source);
    pump->out = vst_channel_open(pump->sink);
    if (failed(pump) || pump->in == VST_IO_AGAIN || pump->out == VST_IO_AGAIN)
        return;
    enter(pump, PUMP_MOVING);
    vst_turn_schedule(&pump->turn);
}

/* High mark: the limit. Low mark: half of it. Between the two, reading stays as it is. */
static void apply_marks(struct vst_pump *pump)
{
    size_t held = evbuffer_get_length(pump->buffer);

    pump->stats.held = held;
    if (held > pump->stats.most_held)
        pump->stats.most_held = held;
    if (held >= pump->limit)
        pump->full = true;
    else if (held <= pump->limit / 2)
        pump->full = false;
}

static void turn_moving(struct vst_pump *pump)
{
    bool was_full = pump->full;
    bool reading = pump->state == PUMP_MOVING && !was_full;
    struct vst_transfer step = {
        .source = reading ? pump->source : NULL,
        .sink = pump->sink,
        .buffer = pump->buffer,
        .limit = pump->limit,
        .budget = vst_turn_share(&pump->turn, TURN_BYTES),
    };

    vst_transfer(&step);
    pump->in = step.in;
    pump->out = step.out;
    pump->stats.taken += step.taken;
    pump->stats.delivered += step.delivered;
    apply_marks(pump);
    vst_trace(VST_TRACE_PUMP, "pump %s: took %" PRIu64 ", delivered %" PRIu64 ", holds %zu",
              pump->sink->ops->name, step.taken, step.delivered, pump->stats.held);
    if (failed(pump))
        return;
    if (pump->in == VST_IO_EOF)
        enter(pump, pump->stats.held ? PUMP_DRAINING : PUMP_FINISHING);
    else if (pump->state == PUMP_DRAINING && !pump->stats.held)
        enter(pump, PUMP_FINISHING);
    if (pump->state == PUMP_FINISHING || !step.budget || (was_full && !pump->full))
        vst_turn_schedule(&pump->turn);
}

static void turn_finishing(struct vst_pump *pump)
{
    pump->out = vst_channel_finish(pump->sink);
    if (pump->out == VST_IO_OK)
        conclude(pump, NULL);
    else
        failed(pump);
}

static void destroy(struct vst_pump *pump)
{
    evbuffer_free(pump->buffer);
    free(pump);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_pump *pump = opaque;

    (void)fd, (void)what;
    pump->held = true;
    if (pump->state != PUMP_DONE && pump->cancelled)
        conclude(pump, pump->cancelled);
    else if (pump->state == PUMP_OPENING)
        turn_opening(pump);
    else if (pump->state == PUMP_FINISHING)
        turn_finishing(pump);
    else if (pump->state != PUMP_DONE)
        turn_moving(pump);
    pump->held = false;
    if (pump->freed)
        destroy(pump);
    else
        arm(pump);
}

static void ready(void *opaque)
{
    turn(-1, 0, opaque);
}

struct vst_pump *vst_pump_new(struct event_base *base, size_t limit,
                              void (*done)(void *opaque, const struct vst_error *err), void *opaque,
                              struct vst_error *ret_err)
{
    struct vst_pump *pump = calloc(1, sizeof(*pump));

    if (!pump || !(pump->buffer = evbuffer_new())) {
        free(pump);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    pump->limit = limit;
    pump->done = done;
    pump->opaque = opaque;
    vst_buffer_prepare();
    vst_turn_init(&pump->turn, base, turn, pump);
    return pump;
}

void vst_pump_set_source(struct vst_pump *pump, struct vst_channel *source)
{
    pump->source = source;
    vst_channel_listen(source, VST_READ, ready, pump);
    vst_turn_schedule(&pump->turn);
}

void vst_pump_set_sink(struct vst_pump *pump, struct vst_channel *sink)
{
    pump->sink = sink;
    vst_channel_listen(sink, VST_WRITE, ready, pump);
    vst_turn_schedule(&pump->turn);
}

void vst_pump_cancel(struct vst_pump *pump, const struct vst_error *why)
{
    if (!pump->cancelled)
        pump->cancelled = why;
    vst_turn_schedule(&pump->turn);
}

static enum vst_waits waits(const struct vst_pump *pump)
{
    if (pump->state == PUMP_DONE)
        return VST_WAITS_NOTHING;
    if (!pump->sink || pump->out == VST_IO_AGAIN)
        return VST_WAITS_SINK;
    return !pump->source || pump->in == VST_IO_AGAIN ? VST_WAITS_SOURCE : VST_WAITS_NOTHING;
}

void vst_pump_get_stats(const struct vst_pump *pump, struct vst_pump_stats *ret_stats)
{
    *ret_stats = pump->stats;
    ret_stats->waits = waits(pump);
}

void vst_pump_free(struct vst_pump **slot)
{
    struct vst_pump *pump = *slot;
    struct vst_error why = {VST_ERR_CANCELLED, .text = "the pump was freed"};

    if (!pump)
        return;
    *slot = NULL;
    vst_turn_cancel(&pump->turn);
    if (pump->state != PUMP_DONE && pump->sink)
        vst_channel_abort(pump->sink, &why);
    pump->state = PUMP_DONE;
    let_go(pump);
    if (pump->held)
        pump->freed = true;
    else
        destroy(pump);
}

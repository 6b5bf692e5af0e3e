/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One asynchronous call in flight: cancel, deadline, and completion exactly once, from the loop.
 * What the call does is the driver's; where the result goes is the deliver function's.
 */
#include "op.h"

#include <stdio.h>
#include <stdlib.h>

#include "fsm.h"
#include "stream.h"
#include "turn.h"

#define OP_STATES(X)                                                                          \
    X(OP_PENDING, "the driver", "in flight")                                                  \
    X(OP_ENDING, "a turn of the loop", "is to end, and the driver is not told yet")           \
    X(OP_TOLD, "the driver", "in flight, and told to end")                                    \
    X(OP_DECIDED, "a turn of the loop", "has its outcome, the application does not know yet") \
    X(OP_DELIVERED, "vst_op_wait()", "the application has been told, or is being told")
VST_FSM(op, OP_STATES)

struct vst_op {
    TAILQ_ENTRY(vst_op) link;
    struct vst_op_list *list;
    struct event_base *base;
    enum op_state state;
    vst_deliver_fn *deliver;
    struct vst_callback cb;
    struct vst_result result;
    struct vst_error error; /* why it is to end, and then the outcome */
    void (*cancel)(void *opaque, const struct vst_error *why);
    void *cancel_opaque;
    struct vst_stream *stream;
    char token[37];
    void (*has_token)(void *opaque, const char *token);
    void *token_opaque;
    bool awaited; /* vst_op_wait() frees it, not the delivery */
    void *owned;  /* the method's state */
    void (*free_owned)(void *state);
    void (*idle)(void *opaque);
    void *idle_opaque;
    struct vst_turn turn;
    struct event *deadline; /* NULL: none was ever set */
};

static void enter(struct vst_op *op, enum op_state state)
{
    vst_fsm_trace(op, "", op->state, state);
    op->state = state;
}

void vst_deliver_done(const struct vst_callback *cb, struct vst_result *result,
                      const struct vst_error *err)
{
    (void)result;
    ((void (*)(const struct vst_error *, void *))cb->fn)(err, cb->opaque);
}

static void op_free(struct vst_op *op)
{
    if (op->result.value && op->result.free)
        op->result.free(op->result.value, op->result.count);
    if (op->free_owned)
        op->free_owned(op->owned);
    vst_turn_cancel(&op->turn);
    if (op->deadline)
        event_free(op->deadline);
    free(op);
}

static void deliver(struct vst_op *op)
{
    const struct vst_error *err = vst_error_is_set(&op->error) ? &op->error : NULL;
    void (*idle)(void *opaque) = op->idle;
    void *idle_opaque = op->idle_opaque;

    enter(op, OP_DELIVERED);
    if (op->stream)
        vst_stream_conclude(op->stream, err);
    if (op->cb.fn)
        op->deliver(&op->cb, &op->result, err);
    if (op->cb.release)
        op->cb.release(op->cb.opaque);
    if (op->list)
        TAILQ_REMOVE(op->list, op, link);
    op->list = NULL;
    if (!op->awaited)
        op_free(op);
    if (idle)
        idle(idle_opaque);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_op *op = opaque;

    (void)fd, (void)what;
    if (op->state == OP_DECIDED) {
        deliver(op);
    } else if (op->state == OP_ENDING) {
        enter(op, OP_TOLD);
        if (op->stream)
            vst_stream_fail(op->stream, &op->error);
        else if (op->cancel)
            op->cancel(op->cancel_opaque, &op->error);
    }
}

static void deadline(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_op *op = opaque;
    struct vst_error why = {0};

    (void)fd, (void)what;
    vst_error_set(&why, VST_ERR_TIMEOUT, "the deadline of the operation has passed");
    vst_op_end(op, &why);
}

struct vst_op *vst_op_new(struct event_base *base, struct vst_op_list *list,
                          vst_deliver_fn *deliver_fn, struct vst_callback cb)
{
    struct vst_op *op = calloc(1, sizeof(*op));

    if (!op) {
        if (cb.release)
            cb.release(cb.opaque);
        return NULL;
    }
    op->base = base;
    op->deliver = deliver_fn;
    op->cb = cb;
    op->list = list;
    if (list)
        TAILQ_INSERT_TAIL(list, op, link);
    vst_turn_init(&op->turn, base, turn, op);
    return op;
}

void vst_op_set_cancel(struct vst_op *op, void (*cancel)(void *opaque, const struct vst_error *why),
                       void *opaque)
{
    op->cancel = cancel;
    op->cancel_opaque = opaque;
    /* The wish may be older than whoever is to hear of it. */
    if (op->state != OP_TOLD)
        return;
    enter(op, OP_ENDING);
    vst_turn_schedule(&op->turn);
}

const struct vst_error *vst_op_cancelled(const struct vst_op *op)
{
    return op->state == OP_ENDING || op->state == OP_TOLD ? &op->error : NULL;
}

void vst_op_own(struct vst_op *op, void *state, void (*free_state)(void *state))
{
    op->owned = state;
    op->free_owned = free_state;
}

void vst_op_set_token(struct vst_op *op, const char *token)
{
    snprintf(op->token, sizeof(op->token), "%s", token);
    if (op->has_token)
        op->has_token(op->token_opaque, op->token);
}

const char *vst_op_get_token(const struct vst_op *op)
{
    return op->token;
}

void vst_op_on_token(struct vst_op *op, void (*fn)(void *opaque, const char *token), void *opaque)
{
    op->has_token = fn;
    op->token_opaque = opaque;
    if (op->token[0])
        fn(opaque, op->token);
}

void vst_op_set_stream(struct vst_op *op, struct vst_stream *stream)
{
    op->stream = stream;
}

struct vst_op *vst_op_next(const struct vst_op *op)
{
    return TAILQ_NEXT(op, link);
}

void vst_op_on_idle(struct vst_op *op, void (*idle)(void *opaque), void *opaque)
{
    op->idle = idle;
    op->idle_opaque = opaque;
}

static bool is_decided(const struct vst_op *op)
{
    return op->state == OP_DECIDED || op->state == OP_DELIVERED;
}

static void decide(struct vst_op *op)
{
    enter(op, OP_DECIDED);
    if (op->deadline)
        event_del(op->deadline);
    if (op->stream)
        vst_stream_settle(op->stream, vst_error_is_set(&op->error) ? &op->error : NULL);
    vst_turn_schedule(&op->turn);
}

void vst_op_fail(struct vst_op *op, const struct vst_error *err)
{
    if (is_decided(op))
        return;
    if (err != &op->error)
        op->error = *err;
    decide(op);
}

void vst_op_succeed(struct vst_op *op, struct vst_result result)
{
    if (is_decided(op))
        return;
    op->error = (struct vst_error){0};
    op->result = result;
    decide(op);
}

void vst_op_end(struct vst_op *op, const struct vst_error *why)
{
    if (op->state != OP_PENDING)
        return;
    op->error = *why;
    enter(op, OP_ENDING);
    vst_turn_schedule(&op->turn);
}

void vst_op_cancel(struct vst_op *op)
{
    struct vst_error why = {0};

    if (!op)
        return;
    vst_error_set(&why, VST_ERR_CANCELLED, "cancelled");
    vst_op_end(op, &why);
}

int vst_op_set_timeout(struct vst_op *op, const struct timeval *timeout)
{
    if (!op)
        return -1;
    if (op->state != OP_PENDING)
        return 0;
    if (!op->deadline && timeout)
        op->deadline = event_new(op->base, -1, 0, deadline, op);
    if (!timeout)
        return op->deadline ? event_del(op->deadline) : 0;
    return op->deadline ? event_add(op->deadline, timeout) : -1;
}

int vst_op_wait(struct vst_op *op, struct vst_error *ret_err)
{
    int status;

    if (!op)
        return vst_error_no_memory(ret_err);
    op->awaited = true;
    while (op->state != OP_DELIVERED) {
        int result = event_base_loop(op->base, EVLOOP_ONCE);

        if (result) {
            op->awaited = false;
            return vst_error_set(
                ret_err, VST_ERR_STATE, "%s",
                result < 0 ? "vst_op_wait() inside a callback of the same event base"
                           : "the event base has nothing left that could end the operation");
        }
    }
    status = vst_error_is_set(&op->error) ? vst_error_copy(ret_err, &op->error) : 0;
    op_free(op);
    return status;
}

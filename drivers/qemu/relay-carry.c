/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both streams and what is between them. Each operation has hold of the whole.
 */
#include "relay-carry.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/channel.h"

enum { LIMIT = 1024 * 1024 };

static void unref(void *state)
{
    struct vst_carry *carry = ((struct vst_carry_side *)state)->carry;

    if (--carry->refs == 0)
        free(carry);
}

static void stop_waiting(struct vst_carry *carry)
{
    if (carry->waits)
        LIST_REMOVE(carry, link);
    carry->waits = false;
}

static void end_side(struct vst_carry_side *side, const struct vst_error *err)
{
    struct vst_op *op = side->op;

    side->op = NULL;
    if (op && err)
        vst_op_fail(op, err);
    else if (op)
        vst_op_done(op);
}

void vst_carry_fail(struct vst_carry *carry, const struct vst_error *err)
{
    struct vst_error why = *err;

    stop_waiting(carry);
    carry->refs++;
    end_side(&carry->near, &why);
    end_side(&carry->far, &why);
    unref(&carry->near);
}

static void failed(void *opaque, const struct vst_error *err)
{
    vst_carry_fail(((struct vst_carry_side *)opaque)->carry, err);
}

/* The client has delivered all that went to it: it says so when the destination has it loaded. */
static void finished(void *opaque, enum vst_direction dir)
{
    struct vst_carry_side *side = opaque;
    struct vst_carry *carry = side->carry;
    unsigned both = VST_UP | VST_DOWN;

    side->finished |= dir;
    if (carry->near.finished != both || carry->far.finished != both)
        return;
    carry->refs++;
    end_side(&carry->near, NULL);
    end_side(&carry->far, NULL);
    unref(side);
}

static int claim(struct vst_carry_side *side, const char *name, struct vst_stream *stream,
                 struct vst_op *op, struct vst_error *ret_err)
{
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = side,
        .name = name,
        .side = VST_SIDE_CLIENT,
    };

    if (vst_stream_claim(stream, op, &user, ret_err) < 0)
        return -1;
    side->op = op;
    side->carry->refs++;
    vst_op_own(op, side, unref);
    return 0;
}

struct vst_carry *vst_carry_new(struct event_base *base, const char *part,
                                struct vst_stream *stream, struct vst_op *op)
{
    struct vst_carry *carry = calloc(1, sizeof(*carry));
    struct vst_error err = {0};

    if (!carry)
        vst_error_no_memory(&err);
    else
        *carry = (struct vst_carry){
            .base = base, .stream = stream, .near = {.carry = carry}, .far = {.carry = carry}};
    if (carry && claim(&carry->near, "the client that relays", stream, op, &err) == 0) {
        snprintf(carry->part, sizeof(carry->part), "%s", part ? part : "");
        return carry;
    }
    free(carry);
    vst_op_fail(op, &err);
    return NULL;
}

/* The near stream has its end when the far one is there. */
static int join(struct vst_carry *carry, struct vst_stream *near, struct vst_stream *far,
                struct vst_error *ret_err)
{
    struct vst_channel *ends[2];

    if (vst_channel_pair(carry->base, LIMIT, ends, ret_err) < 0)
        return -1;
    if (vst_stream_attach(near, ends[0], ends[0], ret_err) < 0) {
        vst_channel_free(&ends[1]);
        return -1;
    }
    return vst_stream_attach(far, ends[1], ends[1], ret_err);
}

void vst_carry_join(struct vst_carry *carry, struct vst_stream *stream, struct vst_op *op)
{
    struct vst_error err = {0};

    if (claim(&carry->far, "the source", stream, op, &err) < 0) {
        vst_op_fail(op, &err);
        return;
    }
    stop_waiting(carry);
    if (join(carry, carry->stream, stream, &err) < 0)
        vst_carry_fail(carry, &err);
}

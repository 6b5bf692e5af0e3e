/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders to a departure that are QEMU's to take: other values, and post-copy. Such an order is done
 * when QEMU has taken it, and fails in QEMU's own words. It keeps nothing of the departure, which
 * may be over by then: that is looked up again by its token. What else may be ordered is the
 * hand-over machine's: order.c.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "departure.h"

#define ORDER_STATES(X)                                                 \
    X(ORDER_TELLING, "QEMU's replies", "it has been told, or is being") \
    X(ORDER_OVER, "nothing", "the operation has been completed")
VST_FSM(order, ORDER_STATES)

struct order {
    enum order_state state;
    struct vst_op *op;
    struct vst_qemu *qemu;
    unsigned char token[VST_HANDOVER_ID];
    char name[VST_NAME_MAX + 1];
    struct vst_guest *guest;
    struct vst_guest_watch watch;
    struct vst_migration_change change; /* that QEMU is told; nothing: post-copy */
    unsigned replies;                   /* that are still to come */
};

/* Before all replies are there it fails with the first refusal, whatever the others say. */
static void over(struct order *order, const struct vst_error *err)
{
    if (order->state == ORDER_OVER)
        return;
    vst_fsm_trace(order, order->name, order->state, ORDER_OVER);
    order->state = ORDER_OVER;
    vst_guest_unwatch(&order->watch);
    vst_guest_forget(order->guest, order);
    if (err)
        vst_op_fail(order->op, err);
    else
        vst_op_done(order->op);
}

static void gone(void *opaque, const struct vst_error *err)
{
    over(opaque, err);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

/* What begins from now on begins with it. */
static void keep(const struct order *order)
{
    struct vst_move *move = vst_move_find(order->qemu, order->token, VST_MIGRATION_OUT);
    struct vst_departure *departure = move ? vst_departure_of(move) : NULL;

    if (departure && order->change.bandwidth)
        departure->opt.bandwidth = order->change.bandwidth;
    if (departure && order->change.downtime_ms)
        departure->opt.downtime_ms = order->change.downtime_ms;
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct order *order = opaque;

    (void)value;
    if (err && err->code == VST_ERR_LOST) {
        return; /* the end of the guest comes, and says more */
    } else if (err) {
        over(order, err);
    } else if (--order->replies == 0) {
        keep(order);
        over(order, NULL);
    }
}

static struct order *order_new(struct vst_departure *departure, struct vst_op *op)
{
    struct order *order = calloc(1, sizeof(*order));
    struct vst_move *move = &departure->move;

    if (!order)
        return NULL;
    order->op = op;
    order->qemu = move->qemu;
    memcpy(order->token, move->machine.token, sizeof(order->token));
    snprintf(order->name, sizeof(order->name), "%s", move->name);
    order->guest = move->guest;
    order->watch = (struct vst_guest_watch){.gone = gone, .opaque = order};
    vst_guest_watch(order->guest, &order->watch);
    vst_op_own(op, order, free);
    vst_op_set_cancel(op, cancelled, order);
    return order;
}

/* ---- other values ---- */

/* Copies of disks have the bandwidth each, and memory, which follows, gets it from now on. */
static int tell_change(struct vst_departure *departure, struct order *order,
                       struct vst_error *ret_err)
{
    struct vst_qmp_reply reply = {replied, order};
    int copies = 0;

    if (departure->state == DEPARTURE_COPYING && order->change.bandwidth)
        copies = vst_departure_disks_set(departure, order->change.bandwidth, reply, ret_err);
    if (copies < 0 || vst_departure_tell_change(departure, &order->change, reply, ret_err) < 0)
        return -1;
    order->replies = (unsigned)copies + 1;
    return 0;
}

static bool moves(const struct vst_departure *departure)
{
    return departure->move.guest &&
           (departure->state == DEPARTURE_COPYING || departure->state == DEPARTURE_MOVING ||
            departure->state == DEPARTURE_SERVING);
}

void vst_departure_set(struct vst_departure *departure, const struct vst_migration_change *change,
                       struct vst_op *op)
{
    struct vst_error err = {0};
    struct order *order = NULL;

    if (!moves(departure))
        vst_error_set(&err, VST_ERR_STATE, "%s: nothing is being moved now", departure->move.name);
    else if (!(order = order_new(departure, op)))
        vst_error_no_memory(&err);
    if (!order) {
        vst_op_fail(op, &err);
        return;
    }
    order->change = *change;
    if (tell_change(departure, order, &err) < 0)
        over(order, &err);
}

/* ---- post-copy ---- */

void vst_departure_order_post_copy(struct vst_departure *departure, struct vst_op *op)
{
    struct vst_error err = {0};
    struct order *order = NULL;

    if (vst_departure_check_post_copy(departure, &err) == 0 && !(order = order_new(departure, op)))
        vst_error_no_memory(&err);
    if (!order) {
        vst_op_fail(op, &err);
        return;
    }
    order->replies = 1;
    if (vst_departure_go_post_copy(departure, (struct vst_qmp_reply){replied, order}, &err) < 0)
        over(order, &err);
}

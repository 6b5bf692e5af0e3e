/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What people order of a migration that runs, or is in doubt: whether it can be obeyed now, and by
 * which event of the hand-over; or it is QEMU's to obey, see departure-order.c.
 */
#include "order.h"

#include "departure.h"
#include "move.h"

/* These are QEMU's to take. */
static void tell_source(struct vst_move *move, enum vst_migration_order order,
                        const struct vst_migration_change *change, struct vst_op *op)
{
    struct vst_error err = {0};

    if (move->end->role != VST_MIGRATION_OUT) {
        vst_error_set(&err, VST_ERR_STATE, "only the source can change it");
        vst_op_fail(op, &err);
    } else if (order == VST_MIGRATION_GO_POST_COPY) {
        vst_departure_order_post_copy(vst_departure_of(move), op);
    } else {
        vst_departure_set(vst_departure_of(move), change, op);
    }
}

/* `otherwise`: what it means that nothing would come of it. */
static int feed(struct vst_move *move, enum vst_handover_event event, const char *otherwise,
                struct vst_error *ret_err)
{
    if (!vst_handover_would_move(&move->machine, event))
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: %s", move->name, otherwise);
    vst_move_feed(move, event, NULL);
    return 0;
}

/* Before the machine has begun there is nothing for it to give up. */
static bool give_up_early(struct vst_move *move)
{
    struct vst_error why = {0};

    if (move->end->role != VST_MIGRATION_OUT || vst_departure_of(move)->state >= DEPARTURE_DECIDED)
        return false;
    vst_error_set(&why, VST_ERR_CANCELLED, "it was cancelled");
    vst_departure_dismiss(vst_departure_of(move), &why);
    return true;
}

static int cancel(struct vst_move *move, struct vst_error *ret_err)
{
    if (give_up_early(move))
        return 0;
    return feed(move, VST_HANDOVER_CANCEL, "it cannot be cancelled any more", ret_err);
}

/* People speak for the other host: it has no more questions, or has been told. */
static int forget(struct vst_move *move, struct vst_error *ret_err)
{
    enum vst_handover_event word =
        move->end->role == VST_MIGRATION_OUT ? VST_HANDOVER_FINISHED : VST_HANDOVER_FINISH;

    if (!vst_handover_would_move(&move->machine, word) &&
        vst_handover_would_move(&move->machine, VST_HANDOVER_ABORT))
        word = VST_HANDOVER_ABORT; /* this end has given up, and the other had to hear it */
    if (!vst_handover_settled(&move->machine))
        return vst_error_set(
            ret_err, VST_ERR_STATE,
            "%s: what becomes of the guest is not known yet; it can be cancelled, or "
            "resolved if it is in doubt",
            move->name);
    if (move->over)
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: the migration is over", move->name);
    if (!vst_handover_would_move(&move->machine, word))
        return vst_error_set(ret_err, VST_ERR_STATE,
                             "%s is not forgotten: the journal of this host is still to be written "
                             "(virstream migrations)",
                             move->token);
    vst_move_feed(move, word, move->machine.peer);
    return 0;
}

static const char not_in_doubt[] = "there is nothing to resolve: the owner is known";

/* That word may be one that this host knows to be wrong: a guest cannot go on here whose QEMU is
 * gone. */
static int runs_on_source(struct vst_move *move, struct vst_error *ret_err)
{
    if (move->end->role == VST_MIGRATION_OUT && vst_handover_can_be_resolved(&move->machine) &&
        !vst_move_qemu_exists(move))
        return vst_error_set(
            ret_err, VST_ERR_STATE,
            "%s: its QEMU is gone on this host, so it cannot go on here, and what %s has may be "
            "the last copy: it is the destination's, or wait until that host answers",
            move->name, move->peer);
    return feed(move, VST_HANDOVER_RESOLVE_SOURCE, not_in_doubt, ret_err);
}

/* Nor may a guest begin here as long as its source is heard of, and may go on with it. */
static int runs_on_destination(struct vst_move *move, struct vst_error *ret_err)
{
    if (move->end->role == VST_MIGRATION_IN && vst_handover_can_be_resolved(&move->machine) &&
        !vst_move_is_in_doubt(move))
        return vst_error_set(ret_err, VST_ERR_STATE,
                             "%s: it is not in doubt, its source has it: that answers, or is given "
                             "%u seconds to do so",
                             move->name, vst_conn_patience(move->qemu->conn));
    return feed(move, VST_HANDOVER_RESOLVE_DESTINATION, not_in_doubt, ret_err);
}

void vst_move_order(struct vst_move *move, enum vst_migration_order order,
                    const struct vst_migration_change *change, struct vst_op *op)
{
    struct vst_error err = {0};
    int status = 0;

    switch (order) {
    case VST_MIGRATION_SET:
    case VST_MIGRATION_GO_POST_COPY:
        tell_source(move, order, change, op);
        return;
    case VST_MIGRATION_CANCEL:
        status = cancel(move, &err);
        break;
    case VST_MIGRATION_RUNS_ON_SOURCE:
        status = runs_on_source(move, &err);
        break;
    case VST_MIGRATION_RUNS_ON_DESTINATION:
        status = runs_on_destination(move, &err);
        break;
    case VST_MIGRATION_FORGET:
        status = forget(move, &err);
        break;
    }
    if (status < 0)
        vst_op_fail(op, &err);
    else
        vst_op_done(op);
}

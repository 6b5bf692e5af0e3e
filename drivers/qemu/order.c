/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What people order of a migration that runs, or is in doubt: whether it can be obeyed now, and by
 * which event of the hand-over.
 */
#include "order.h"

#include "departure.h"
#include "move.h"

static enum vst_handover_event event_of(enum vst_migration_order order)
{
    switch (order) {
    case VST_MIGRATION_RUNS_ON_SOURCE:
        return VST_HANDOVER_RESOLVE_SOURCE;
    case VST_MIGRATION_RUNS_ON_DESTINATION:
        return VST_HANDOVER_RESOLVE_DESTINATION;
    default:
        return VST_HANDOVER_CANCEL;
    }
}

static int set(struct vst_move *move, enum vst_migration_order order,
               const struct vst_migration_change *change, struct vst_error *ret_err)
{
    if (move->end->role != VST_MIGRATION_OUT)
        return vst_error_set(ret_err, VST_ERR_STATE, "only the source can change it");
    if (order == VST_MIGRATION_GO_POST_COPY)
        return vst_departure_go_post_copy(vst_departure_of(move), ret_err);
    return vst_departure_set(vst_departure_of(move), change, ret_err);
}

/* Before the machine has begun there is nothing for it to give up. */
static bool give_up_early(struct vst_move *move)
{
    struct vst_error why = {0};

    if (move->end->role != VST_MIGRATION_OUT || vst_departure_of(move)->state >= DEPARTURE_DECIDED)
        return false;
    vst_error_set(&why, VST_ERR_CANCELLED, "it was cancelled");
    vst_departure_refuse(vst_departure_of(move), &why);
    return true;
}

/* People speak for the other host: it has no more questions, or has been told. */
static int forget(struct vst_move *move, struct vst_error *ret_err)
{
    enum vst_handover_event word =
        move->end->role == VST_MIGRATION_OUT ? VST_HANDOVER_FINISHED : VST_HANDOVER_FINISH;

    if (!vst_handover_heeds(&move->machine, word) &&
        vst_handover_heeds(&move->machine, VST_HANDOVER_ABORT))
        word = VST_HANDOVER_ABORT; /* this end has given up, and the other had to hear it */
    if (!vst_handover_settled(&move->machine))
        return vst_error_set(
            ret_err, VST_ERR_STATE,
            "%s: what becomes of the guest is not known yet; it can be cancelled, or "
            "resolved if it is in doubt",
            move->name);
    if (move->over)
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: the migration is over", move->name);
    if (!vst_handover_heeds(&move->machine, word))
        return vst_error_set(ret_err, VST_ERR_STATE,
                             "%s is not forgotten: the journal of this host is still to be written "
                             "(virstream migrations)",
                             move->token);
    vst_move_feed(move, word, move->machine.peer);
    return 0;
}

/* A word that this host knows to be wrong: a guest cannot go on here whose QEMU is gone. */
static int check_word(const struct vst_move *move, enum vst_migration_order order,
                      struct vst_error *ret_err)
{
    if (order != VST_MIGRATION_RUNS_ON_SOURCE || move->end->role != VST_MIGRATION_OUT ||
        !vst_handover_can_be_resolved(&move->machine) || vst_move_qemu_exists(move))
        return 0;
    return vst_error_set(ret_err, VST_ERR_STATE,
                         "%s: its QEMU is gone on this host, so it cannot go on here, and what %s "
                         "has may be the last copy: it is the destination's, or wait until that "
                         "host answers",
                         move->name, move->peer);
}

int vst_move_order(struct vst_move *move, enum vst_migration_order order,
                   const struct vst_migration_change *change, struct vst_error *ret_err)
{
    unsigned state = move->machine.state;

    if (order == VST_MIGRATION_FORGET)
        return forget(move, ret_err);
    if (order == VST_MIGRATION_SET || order == VST_MIGRATION_GO_POST_COPY)
        return set(move, order, change, ret_err);
    if (order == VST_MIGRATION_CANCEL && give_up_early(move))
        return 0;
    if (check_word(move, order, ret_err) < 0)
        return -1;
    vst_move_feed(move, event_of(order), NULL);
    if (move->machine.state != state)
        return 0;
    return vst_error_set(ret_err, VST_ERR_STATE, "%s: %s", move->name,
                         vst_handover_told_text(order == VST_MIGRATION_CANCEL
                                                    ? VST_HANDOVER_TELL_TOO_LATE
                                                    : VST_HANDOVER_TELL_NOT_IN_DOUBT));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's end when the guest stays: the one way back to what it was, wherever QEMU is on the
 * way to somewhere else.
 */
#include <stdio.h>
#include <string.h>

#include "departure.h"

/* Why the migration is undone was told, or is the reason by now; this is why it takes so long. */
static void refused(struct vst_departure *departure, const struct vst_error *err)
{
    struct vst_migration_info *info = &departure->progress;

    snprintf(info->verdict, sizeof(info->verdict), "not undone yet, and tried again: %.120s",
             err->text);
    vst_move_fail(&departure->move, VST_HANDOVER_QEMU_REFUSED, err);
}

static void undone(void *opaque, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;

    vst_rescue_free(&departure->rescue);
    departure->progress.verdict[0] = '\0';
    if (err && vst_move_qemu_exists(move))
        refused(departure, err);
    else if (err)
        vst_move_fail(move, VST_HANDOVER_QEMU_GONE, err);
    else
        vst_move_feed(move, VST_HANDOVER_QEMU_RESUMED, NULL);
}

/* The word that it leaves goes from the place when the guest was let go of, whatever the journal
 * says: what it does since then, its pauses too, is none of ours. */
static bool has_stayed(struct vst_guest *guest)
{
    struct vst_place_job job = {0};

    return vst_place_get_job(vst_guest_place(guest), &job, NULL) == 0 && job.word != VST_WORD_OUT;
}

static void rescue(void *opaque, struct vst_guest *guest, const struct vst_error *got_err)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    if (departure->rescue)
        return; /* the clock was faster than the mirrors, and one is enough */
    if (got_err || (!move->guest && has_stayed(guest))) {
        undone(departure, got_err);
        return;
    }
    if (!move->guest)
        vst_move_take_guest(move, guest);
    vst_guest_forget(guest, move);
    departure->rescue = vst_rescue_start(guest, move->qemu->conn->base, &departure->spare,
                                         move->ran, undone, departure, &err);
    if (!departure->rescue)
        undone(departure, &err);
}

/* In post-copy QEMU keeps its end of the stream: it can be cancelled with it, and not without. */
void vst_departure_resume(struct vst_departure *departure)
{
    if (departure->rescue)
        return; /* it takes its time */
    vst_departure_enter(departure, DEPARTURE_UNDOING);
    if (departure->status == VST_MIGRATION_POST_COPY)
        vst_departure_abort_stream(departure, departure->stream, NULL);
    else
        vst_departure_stop_stream(departure);
    if (vst_last_answers_is_under_way(departure->answers))
        return; /* QEMU can be cancelled when it is over: the clock comes back */
    if (!vst_departure_disks_undo(departure))
        vst_departure_undo(departure);
}

void vst_departure_undo(struct vst_departure *departure)
{
    vst_move_get_guest(&departure->move, rescue);
}

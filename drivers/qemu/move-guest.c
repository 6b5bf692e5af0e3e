/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What both ends of a migration do with their guest: get hold of it, notice its end, end it. That
 * QEMU is gone is said only of a process that does not exist: a monitor that is lost proves
 * nothing.
 */
#include <stdio.h>
#include <string.h>

#include "move.h"
#include "place.h"

/* A place of this name, and of this very guest; or of one whose definition is lost. */
static bool has_place(const struct vst_move *move, bool *ret_exists)
{
    struct vst_glance glance;
    bool ours;

    *ret_exists = false;
    if (vst_place_glance(move->qemu->root, move->name, &glance, NULL) < 0)
        return false;
    ours = !glance.def || strcmp(glance.def->uuid, move->uuid) == 0;
    *ret_exists = ours && glance.exists;
    vst_definition_free(&glance.def);
    return ours;
}

/* Where the journal has not been read a migration is known by its word in the place; where it has,
 * a word that is left after the end of QEMU means nothing. */
int vst_move_check(const struct vst_qemu *qemu, const char *name, struct vst_error *ret_err)
{
    const struct vst_move *move = vst_move_of(qemu, name);
    struct vst_place_job job = {0};
    struct vst_error err = {0};

    if (!move && !qemu->journal && vst_root_get_job(qemu->root, name, &job, &err) < 0)
        return err.code == VST_ERR_NOT_FOUND ? 0 : vst_error_copy(ret_err, &err);
    if (move ? !vst_handover_holds_guest(&move->machine) : !vst_place_job_moves(&job))
        return 0;
    return vst_error_set(ret_err, VST_ERR_IN_DOUBT,
                         "domain %s is being handed over to another host, and may be the only copy "
                         "(virstream migrations)",
                         name);
}

bool vst_move_qemu_exists(const struct vst_move *move)
{
    bool exists;

    has_place(move, &exists);
    return exists;
}

static void gone(void *opaque, const struct vst_error *err)
{
    struct vst_move *move = opaque;
    bool meant = vst_guest_expects_exit(move->guest);

    move->guest = NULL;
    if (meant && vst_handover_holds_guest(&move->machine))
        vst_move_feed(move, VST_HANDOVER_QEMU_GONE, NULL); /* nothing went wrong */
    else if (vst_move_qemu_exists(move))
        vst_move_fail(move, VST_HANDOVER_QEMU_FAILED, err);
    else
        vst_move_fail(move, VST_HANDOVER_QEMU_GONE, err);
}

void vst_move_hold(struct vst_move *move, struct vst_guest *guest)
{
    move->guest = guest;
    move->watch = (struct vst_guest_watch){.gone = gone, .opaque = move};
    vst_guest_watch(guest, &move->watch);
}

void vst_move_get_guest(struct vst_move *move, void (*fn)(void *opaque, struct vst_guest *guest,
                                                          const struct vst_error *err))
{
    if (move->guest) {
        fn(move, move->guest, NULL);
        return;
    }
    vst_guest_unwait(&move->wait);
    move->wait = (struct vst_guest_wait){.fn = fn, .opaque = move};
    vst_guest_get(move->qemu, move->name, &move->wait);
}

/* The job ends, and with it the word in the place that the guest is the machine's. */
void vst_move_let_go(struct vst_move *move)
{
    struct vst_guest *guest = move->guest;

    vst_guest_unwait(&move->wait);
    vst_guest_unwatch(&move->watch);
    move->guest = NULL;
    if (!guest)
        return;
    vst_guest_forget(guest, move);
    vst_guest_end_job(guest);
}

/* ---- its end ---- */

/* What is left of a QEMU that has ended goes, too. */
static void remove_remains(struct vst_move *move)
{
    struct vst_place *place;
    bool exists, ours = has_place(move, &exists);

    if (exists)
        return; /* another one has hold of it; the clock of this state tries again */
    if (ours && vst_place_open(move->qemu->root, move->name, &place, NULL) == 0)
        vst_place_remove(&place);
    vst_move_feed(move, VST_HANDOVER_QEMU_GONE, NULL);
}

static void end_it(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_move *move = opaque;

    if (err) {
        remove_remains(move);
        return;
    }
    if (!move->guest)
        vst_move_hold(move, guest);
    vst_guest_kill(guest);
}

void vst_move_end_qemu(struct vst_move *move)
{
    if (!move->guest && !vst_move_qemu_exists(move))
        remove_remains(move);
    else
        vst_move_get_guest(move, end_it);
}

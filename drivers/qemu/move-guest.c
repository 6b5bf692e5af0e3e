/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What both ends of a migration do with their guest: get hold of it, notice its end, end it. That
 * QEMU is gone is said only of a process that does not exist: a monitor that is lost proves
 * nothing.
 */
#include <stdio.h>
#include <string.h>

#include "journal.h"
#include "move.h"
#include "place.h"

static int say_doubt(const char *name, struct vst_error *ret_err)
{
    return vst_error_set(ret_err, VST_ERR_IN_DOUBT,
                         "domain %s is being handed over to another host, and may be the only copy "
                         "(virstream migrations)",
                         name);
}

/* Until all of it is here this is no guest that could be ended, or be the last copy of one. */
static bool is_on_its_way(const struct vst_move *move)
{
    return move->end->role == VST_MIGRATION_IN &&
           vst_handover_would_move(&move->machine, VST_HANDOVER_CANCEL) &&
           !vst_handover_would_move(&move->machine, VST_HANDOVER_COMMIT);
}

/* It has given up its copy, or ended it, or was never asked for one. */
static bool has_ended(enum vst_handover_record last)
{
    return last == VST_HANDOVER_RECORD_ABORTED || last == VST_HANDOVER_RECORD_RETURNED ||
           last == VST_HANDOVER_RECORD_DISOWNED || last == VST_HANDOVER_RECORD_CLOSED ||
           last == VST_HANDOVER_RECORD_DONE;
}

/* Whether the guest may be that of another token, by the journal: after a restart not all go on
 * yet. */
static bool has_rival(const struct vst_move *move)
{
    const struct vst_journal *journal = vst_journal_known(move->qemu->journal);

    for (size_t i = 0; i < journal->count; i++) {
        const struct vst_journal_entry *entry = &journal->entries[i];

        if (strcmp(entry->guest, move->name) == 0 && !has_ended(entry->last) &&
            memcmp(entry->token, move->machine.token, VST_HANDOVER_ID) != 0)
            return true;
    }
    return false;
}

/* Not what runs here by now, whose fate is its own. */
static bool is_held(const struct vst_qemu *qemu, const struct vst_journal_entry *entry)
{
    const struct vst_move *move =
        vst_move_find(qemu, entry->token,
                      entry->role == VST_HANDOVER_SOURCE ? VST_MIGRATION_OUT : VST_MIGRATION_IN);

    if (move)
        return vst_handover_holds_guest(&move->machine);
    return !has_ended(entry->last) && entry->last != VST_HANDOVER_RECORD_RUNNING;
}

/* The journal is open: without it nothing migrates. What it says counts of those, too, which could
 * not go on for want of memory. */
int vst_move_check_name(const struct vst_qemu *qemu, const char *name, const char *token,
                        struct vst_error *ret_err)
{
    const struct vst_journal *journal = vst_journal_known(qemu->journal);
    unsigned char ours[VST_HANDOVER_ID];

    vst_uuid_parse(token, ours);
    for (size_t i = 0; i < journal->count; i++) {
        const struct vst_journal_entry *entry = &journal->entries[i];

        if (strcmp(entry->guest, name) == 0 && is_held(qemu, entry) &&
            memcmp(entry->token, ours, sizeof(ours)) != 0)
            return say_doubt(name, ret_err);
    }
    return 0;
}

const char *vst_move_leaves_as(const struct vst_qemu *qemu, const char *token)
{
    unsigned char id[VST_HANDOVER_ID];
    const struct vst_move *move =
        vst_uuid_parse(token, id) < 0 ? NULL : vst_move_find(qemu, id, VST_MIGRATION_OUT);

    return move ? move->name : NULL;
}

/*
 * A name proves nothing: a guest may have been started under it since, or have come with another
 * token. The place says whose it is. One without a token is the guest when it has come, or gone on,
 * and that is not written yet; or is of an older version.
 */
static bool is_ours(const struct vst_move *move, const struct vst_glance *glance)
{
    if (glance->def && strcmp(glance->def->uuid, move->uuid) != 0)
        return false;
    if (glance->job.token[0])
        return strcmp(glance->job.token, move->token) == 0;
    return glance->def && !has_rival(move);
}

/* A place of this very guest. To end it, it must be the migration's still. */
static bool has_place(const struct vst_move *move, bool to_end_it, bool *ret_exists)
{
    struct vst_glance glance;
    bool ours;

    *ret_exists = false;
    if (vst_place_glance(move->qemu->root, move->name, &glance, NULL) < 0)
        return false;
    ours = is_ours(move, &glance) &&
           (!to_end_it || vst_place_job_moves(&glance.job) || vst_place_job_is_stray(&glance.job));
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
    if (move && is_on_its_way(move))
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "domain %s is on its way to this host, and the other one has it: "
                             "\"virstream migration cancel\" gives that up",
                             name);
    if (qemu->journal)
        return say_doubt(name, ret_err);
    return vst_error_set(ret_err, VST_ERR_IN_DOUBT,
                         "domain %s was being handed over to another host, and may be the only "
                         "copy; \"virstream migrations\" looks into the journal, and what is over "
                         "is free then",
                         name);
}

bool vst_move_qemu_exists(const struct vst_move *move)
{
    bool exists;

    has_place(move, false, &exists);
    return exists;
}

void vst_move_note_death(struct vst_move *move, const struct vst_error *err)
{
    vst_move_fail(move, move->end->death ? move->end->death(move) : VST_HANDOVER_QEMU_GONE, err);
}

/* By the machine, or, as long as that holds the guest, by the guest itself. */
static bool is_meant(const struct vst_move *move)
{
    return vst_handover_ends_qemu(&move->machine) ||
           (vst_guest_expects_exit(move->guest) && vst_handover_holds_guest(&move->machine));
}

static void gone(void *opaque, const struct vst_error *err)
{
    struct vst_move *move = opaque;
    bool meant = is_meant(move);

    if (move->end->gone && move->end->gone(move, err))
        return;
    vst_guest_forget(move->guest, move);
    move->guest = NULL;
    if (meant)
        vst_move_feed(move, VST_HANDOVER_QEMU_GONE, NULL); /* nothing went wrong */
    else if (vst_move_qemu_exists(move))
        vst_move_fail(move, VST_HANDOVER_QEMU_FAILED, err);
    else
        vst_move_note_death(move, err);
}

void vst_move_take_guest(struct vst_move *move, struct vst_guest *guest)
{
    move->guest = guest;
    move->watch = (struct vst_guest_watch){.gone = gone, .opaque = move};
    vst_guest_watch(guest, &move->watch);
}

void vst_move_get_guest(struct vst_move *move, void (*fn)(void *opaque, struct vst_guest *guest,
                                                          const struct vst_error *err))
{
    struct vst_error err = {0};

    if (move->guest) {
        fn(move, move->guest, NULL);
        return;
    }
    vst_guest_unwait(&move->wait);
    if (!vst_move_qemu_exists(move)) {
        vst_error_set(&err, VST_ERR_NOT_FOUND, "domain %s: the QEMU of this migration is gone",
                      move->name);
        fn(move, NULL, &err);
        return;
    }
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

/* ---- its end ----
 *
 * What we do not have hold of was left by a process before us. It is ended only if its place says
 * that it is this migration's still, and then whether it can be talked to or not.
 */

/* What is left of a QEMU that has ended goes, too. */
static void remove_remains(struct vst_move *move)
{
    struct vst_place *place;

    if (vst_place_open(move->qemu->root, move->name, &place, NULL) == 0)
        vst_place_remove(&place);
}

static void ignore(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)opaque, (void)guest, (void)err;
}

/* One that is adopted can be killed before its monitor has greeted. */
static void adopt(struct vst_move *move)
{
    struct vst_guest *guest;

    vst_guest_unwait(&move->wait);
    move->wait = (struct vst_guest_wait){.fn = ignore, .opaque = move, .to_end_it = true};
    vst_guest_get(move->qemu, move->name, &move->wait);
    vst_guest_unwait(&move->wait);
    guest = vst_guest_find(move->qemu, move->name);
    if (guest)
        vst_move_take_guest(move, guest);
}

/* It cannot be adopted. With the lock, nobody else begins anything with it. */
static void kill_by_identity(struct vst_move *move)
{
    struct vst_place *place;
    struct vst_process_id id;
    bool exists;

    if (vst_place_open(move->qemu->root, move->name, &place, NULL) < 0)
        return;
    if (has_place(move, true, &exists) && vst_place_read_id(place, &id, NULL) == 0)
        vst_process_id_kill(&id);
    vst_place_close(&place);
}

bool vst_move_may_end_qemu(const struct vst_move *move)
{
    bool exists;

    has_place(move, true, &exists);
    return move->guest || exists;
}

void vst_move_end_qemu(struct vst_move *move)
{
    bool exists, ours = has_place(move, true, &exists);

    if (!move->guest && !exists) {
        if (ours)
            remove_remains(move);
        vst_move_feed(move, VST_HANDOVER_QEMU_GONE, NULL);
        return;
    }
    if (!move->guest)
        adopt(move);
    if (move->guest)
        vst_guest_kill(move->guest);
    else
        kill_by_identity(move); /* the clock of this state looks again */
}

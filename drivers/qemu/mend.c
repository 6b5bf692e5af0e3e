/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between a monitor that has greeted and a guest that is ready: does it run, and did whoever had
 * hold of it last die in the middle of a save? Then QEMU is made to end that, and with it copies of
 * disks that a migration has begun (mend-copies.c), and the guest runs on if it ran before. A save
 * that fails leaves its guest here, too: there is one way back.
 */
#include "core/json.h"
#include "guest-private.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "migration.h"

/* That many looks without progress. */
enum { LOOK_US = 50000, LOOKS = 200 };

static void failed(struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_error why = *err;

    if (err->code == VST_ERR_LOST)
        return; /* the end of the process comes, and says more */
    vst_error_prefix(&why, "qemu %s cannot be talked to", guest->def->name);
    vst_guest_end(guest, &why);
}

static bool is_live(const struct vst_guest *guest)
{
    return guest->left.word == VST_WORD_LIVE;
}

static bool is_restored(const struct vst_guest *guest)
{
    return guest->left.word == VST_WORD_RESTORE;
}

/* By people's word: it is the guest, whatever QEMU's migration came to. */
static bool is_taken_back(const struct vst_guest *guest)
{
    return guest->left.word == VST_WORD_TAKEN_BACK;
}

/* What a manager before us left undone, and what became of it. A job that has hold of the guest
 * tells its own story. */
static const char *reason_of(const struct vst_guest *guest)
{
    if (guest->broken)
        return "a live save of it was broken off, after which QEMU may not let it write to its "
               "memory; if it stands still, destroy it";
    if (guest->copied)
        return "QEMU does not let go of copies of its disks that a migration had begun; migrating "
               "it with its disks tries that again";
    if (guest->left.word == VST_WORD_NONE || guest->job.kind != VST_JOB_NONE)
        return "";
    if (vst_place_job_is_stray(&guest->left) || is_taken_back(guest))
        return guest->running ? "a migration of it, which the journal of this host does not know, "
                                "was given up; it goes on here"
                              : "a migration of it, which the journal of this host does not know, "
                                "was given up; it was paused before, too";
    if (is_restored(guest))
        return guest->running ? "a restore of it was cut off when it was whole; it was resumed"
                              : "a restore of it was cut off when it was whole; it is paused";
    if (is_live(guest))
        return guest->running ? "a live save of it was cut off; it went on meanwhile"
                              : "a live save of it was cut off; it has been paused since";
    return guest->running ? "a save of it was cut off; it was resumed"
                          : "a save of it was cut off; it was paused before, too";
}

static void mended(struct vst_guest *guest)
{
    vst_place_clear_job(guest->place);
    snprintf(guest->reason, sizeof(guest->reason), "%s", reason_of(guest));
    guest->left = (struct vst_place_job){0};
    guest->broken = guest->copied = false;
    vst_guest_become_ready(guest);
}

static void resumed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_guest *guest = opaque;

    (void)value;
    if (err) {
        failed(guest, err);
        return;
    }
    guest->running = true;
    mended(guest);
}

static void unwind(struct vst_guest *guest)
{
    static const char *const events[] = {"events", NULL};
    struct vst_error err = {0};

    vst_qmp_execute(guest->qmp, "migrate-set-capabilities", (struct vst_qmp_reply){0}, NULL,
                    "capabilities", vst_migration_capabilities(events), NULL);
    if (!guest->left.running || guest->running) {
        mended(guest);
        return;
    }
    vst_guest_enter(guest, GUEST_RESUMING);
    if (vst_qmp_execute(guest->qmp, "cont", (struct vst_qmp_reply){resumed, guest}, &err, NULL) < 0)
        failed(guest, &err);
}

/* A live save is let run to its end (drain.h), unless that does not come nearer. */
static void look_again(struct vst_guest *guest, uint64_t moved)
{
    static const struct timeval pause = {0, LOOK_US};

    if (is_live(guest) && moved != guest->moved)
        guest->polls = 0;
    guest->moved = moved;
    if (!is_live(guest) || guest->polls > LOOKS / 2)
        vst_qmp_execute(guest->qmp, "migrate_cancel", (struct vst_qmp_reply){0}, NULL, NULL);
    event_add(&guest->timer, &pause);
}

/* A stray that QEMU had still to let go of was never handed over; else it may be elsewhere. */
static bool may_have_left(const struct vst_guest *guest, enum vst_migration_status status)
{
    return vst_place_job_is_stray(&guest->left) && !guest->running &&
           (status == VST_MIGRATION_COMPLETED || status == VST_MIGRATION_POST_COPY ||
            status == VST_MIGRATION_POST_COPY_PAUSED);
}

static void looked(void *opaque, struct json_object *value, const struct vst_error *err)
{
    enum vst_migration_status status = vst_migration_status(value);
    bool under_way = status == VST_MIGRATION_ACTIVE || status == VST_MIGRATION_PRE_SWITCHOVER ||
                     status == VST_MIGRATION_POST_COPY;
    struct vst_guest *guest = opaque;

    if (err) {
        failed(guest, err);
    } else if (may_have_left(guest, status)) {
        vst_guest_become_ready(guest);
    } else if (under_way && guest->polls++ < LOOKS) {
        look_again(guest, vst_migration_moved(value));
    } else {
        guest->broken =
            is_live(guest) && status != VST_MIGRATION_COMPLETED && status != VST_MIGRATION_NONE;
        vst_guest_clear_copies(guest);
    }
}

void vst_guest_copies_cleared(struct vst_guest *guest)
{
    unwind(guest);
}

void vst_guest_mend_again(struct vst_guest *guest)
{
    struct vst_error err = {0};

    if (vst_qmp_execute(guest->qmp, "query-migrate", (struct vst_qmp_reply){looked, guest}, &err,
                        NULL) < 0)
        failed(guest, &err);
}

static void begin(struct vst_guest *guest)
{
    guest->polls = 0;
    vst_guest_enter(guest, GUEST_MENDING);
    vst_guest_mend_again(guest);
}

void vst_guest_mend(struct vst_guest *guest, enum vst_place_word word, bool ran,
                    struct vst_guest_wait *wait)
{
    LIST_INSERT_HEAD(&guest->waits, wait, link);
    wait->waiting = true;
    guest->left = (struct vst_place_job){.word = word, .running = ran};
    begin(guest);
}

/*
 * What a migration has hold of, or has left, is the business of its journal and of people. A stray
 * that runs never was handed over, nor one that was paused before and that QEMU does not say to be
 * on its way: that is its word from the switch on, whatever comes of it.
 */
static bool is_to_be_mended(const struct vst_guest *guest, const char *status)
{
    if (vst_place_job_is_stray(&guest->left) && !guest->running)
        return !guest->left.running && strcmp(status, "paused") == 0;
    return guest->left.word != VST_WORD_NONE && guest->fate != FATE_END &&
           !vst_place_job_moves(&guest->left) && !vst_place_job_is_away(&guest->left);
}

static void told_status(void *opaque, struct json_object *value, const struct vst_error *err)
{
    const char *status = vst_json_string(value, "status");
    struct vst_guest *guest = opaque;
    struct vst_error bad = {0};

    if (!err && !status) {
        vst_error_set(&bad, VST_ERR_PROTOCOL, "no answer to query-status");
        err = &bad;
    }
    if (err) {
        failed(guest, err);
        return;
    }
    guest->running = strcmp(status, "running") == 0;
    if (guest->left.word == VST_WORD_END)
        vst_guest_expect_exit(guest); /* it is shutting down */
    if (is_to_be_mended(guest, status))
        begin(guest);
    else
        vst_guest_become_ready(guest);
}

void vst_guest_take_word(struct vst_guest *guest)
{
    if (guest->job.kind != VST_JOB_NONE || vst_place_get_job(guest->place, &guest->left, NULL) < 0)
        return;
    if (guest->state == GUEST_READY)
        vst_guest_ask_status(guest);
}

void vst_guest_ask_status(struct vst_guest *guest)
{
    struct vst_error err = {0};

    vst_guest_enter(guest, GUEST_ASKING);
    vst_guest_yank_copies(guest);
    if (vst_qmp_execute(guest->qmp, "query-status", (struct vst_qmp_reply){told_status, guest},
                        &err, NULL) < 0)
        failed(guest, &err);
}

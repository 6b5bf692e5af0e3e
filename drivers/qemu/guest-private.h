/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of a guest's life share: guest.c, guest-access.c, spawn-guest.c, mend.c,
 * mend-copies.c. Methods use guest.h only.
 */
#ifndef VST_DRIVERS_QEMU_GUEST_PRIVATE_H
#define VST_DRIVERS_QEMU_GUEST_PRIVATE_H

#include "console.h"
#include "core/fsm.h"
#include "guest.h"

#define GUEST_STATES(X)                                                                  \
    X(GUEST_FILES, "the worker", "new: its disks and its log are being opened")          \
    X(GUEST_GREETING, "the monitor", "QEMU is there and its monitor is being connected") \
    X(GUEST_ASKING, "reply to query-status", "does it run?")                             \
    X(GUEST_MENDING, "QEMU's migration to end", "a save is over that left the guest")    \
    X(GUEST_CLEARING, "QEMU's mirrors to end", "copies of its disks that nobody wants")  \
    X(GUEST_RESUMING, "reply to cont", "it ran before that save")                        \
    X(GUEST_READY, "methods, events", "as it should be")                                 \
    X(GUEST_GONE, "nobody", "QEMU has ended, or we have let go")
VST_FSM(guest, GUEST_STATES)

/* What becomes of the place when QEMU ends. */
enum guest_fate {
    FATE_STAY,   /* an end is a crash: the place stays, with QEMU's last words */
    FATE_END,    /* an end is meant: nothing stays */
    FATE_REMOVE, /* not whole yet: nothing stays, and nobody but its maker is told */
    FATE_LEAVE,  /* told to run, and still its maker's: QEMU is not ended, and leaves nothing */
    FATE_SPARE,  /* whole, and still its maker's: the place stays, and nobody else is told */
};

/* Whether nobody but its maker is told of it. */
static inline bool vst_guest_is_made(enum guest_fate fate)
{
    return fate == FATE_REMOVE || fate == FATE_LEAVE || fate == FATE_SPARE;
}

/* Whether nobody but its maker may do anything with it, job or not. */
static inline bool vst_guest_is_untouchable(enum guest_fate fate)
{
    return fate == FATE_REMOVE || fate == FATE_LEAVE;
}

struct vst_guest {
    LIST_ENTRY(vst_guest) link;
    struct vst_qemu *qemu;
    enum guest_state state;
    enum guest_fate fate;
    unsigned held; /* callbacks are running: memory goes later */
    struct vst_place *place;
    struct vst_definition *def;
    struct vst_process *process;
    struct vst_qmp *qmp;
    struct vst_console_end *console;
    struct guest_files *files; /* the worker's job in GUEST_FILES */
    bool incoming;
    bool running;
    char version[32];
    char reason[256];
    int64_t since;
    struct vst_place_job left; /* what is to be mended; its word is NONE if nothing */
    unsigned polls;            /* in GUEST_MENDING, since it has moved last; in GUEST_CLEARING */
    uint64_t moved;            /* bytes, when it was looked at last */
    bool broken;               /* a live save that did not come to its end */
    unsigned copies;           /* of disks, that were found when it was looked last */
    bool copied;               /* QEMU does not let go of them, or does not tell */
    struct vst_error lost;     /* why the monitor is gone */
    struct vst_guest_job job;
    LIST_HEAD(, vst_guest_wait) waits;
    LIST_HEAD(, vst_guest_watch) watches;
    struct event timer; /* the monitor is lost; or, mending, the next look */
    struct event tidy;  /* from time to time, for the log */
};

void vst_guest_enter(struct vst_guest *guest, enum guest_state state);
struct vst_guest *vst_guest_new(struct vst_qemu *qemu);
struct vst_process_cb vst_guest_process_cb(struct vst_guest *guest);
/* Monitor and console. */
int vst_guest_connect(struct vst_guest *guest, struct vst_error *ret_err);
void vst_guest_become_ready(struct vst_guest *guest);
void vst_guest_end(struct vst_guest *guest, const struct vst_error *why);
/* Unless it is held. */
void vst_guest_destroy(struct vst_guest *guest);

/* mend.c: from the first question to the monitor to GUEST_READY. */
void vst_guest_ask_status(struct vst_guest *guest);
void vst_guest_mend_again(struct vst_guest *guest);
void vst_guest_copies_cleared(struct vst_guest *guest);

/* mend-copies.c: in GUEST_CLEARING. */
void vst_guest_clear_copies(struct vst_guest *guest);
void vst_guest_clear_copies_again(struct vst_guest *guest);
/* Of a migration whose manager has died, before anything else is said: QEMU's NBD client has lost
 * its socket, whose number our connection may have by now, and closes what has that when the guest
 * writes to its disk (departure-disks.c). */
void vst_guest_yank_copies(struct vst_guest *guest);

/* spawn-guest.c */
void vst_guest_drop_files(struct vst_guest *guest);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A move: one end of one migration in this process. It joins the hand-over machine, which decides,
 * with what is decided about: the journal, the clock, QEMU and the other host. move.c carries out
 * what the machine asks for and is the same for both ends; what an end says and does to QEMU is in
 * departure*.c and arrival*.c; the methods, and going on after a restart, are in migrate.c.
 */
#ifndef VST_DRIVERS_QEMU_MOVE_H
#define VST_DRIVERS_QEMU_MOVE_H

#include "core/journal-codec.h"
#include "core/migration.h"
#include "core/uuid.h"
#include "guest.h"

enum { VST_MOVE_EVENTS = 16 };

struct vst_move;

/* What makes a move the source's or the destination's. */
struct vst_move_end {
    enum vst_migration_role role;
    void (*send)(struct vst_move *move, enum vst_handover_event message);
    void (*qemu)(struct vst_move *move, enum vst_handover_command command);
    void (*tell)(struct vst_move *move, enum vst_handover_told told);
    /* The guest's QEMU, or our hold of it, is gone. Optional; true: the machine, which has not
     * begun, is not to hear of it, and the move is freed. */
    bool (*gone)(struct vst_move *move, const struct vst_error *err);
    /* What it is to the machine that QEMU is gone. Optional: QEMU_GONE. */
    enum vst_handover_event (*death)(const struct vst_move *move);
    /* The journal did not take what a message asked for, and whoever sent it may wait. Optional. */
    void (*unwritten)(struct vst_move *move, const struct vst_error *err);
    /* The guest is let go of, or gone; what served to move it may go. Optional; often. */
    void (*settled)(struct vst_move *move);
    /* The machine is through with it. Once; but not of one that is freed before. */
    void (*over)(struct vst_move *move);
    /* Of vst_move_free(): frees the whole of the end, whether it is over or not. */
    void (*free)(struct vst_move *move);
    /* Fills what it knows of phase, progress and verdict. */
    void (*get_info)(const struct vst_move *move, struct vst_migration_info *ret_info);
};

struct vst_move {
    LIST_ENTRY(vst_move) link;
    struct vst_qemu *qemu;
    const struct vst_move_end *end;
    struct vst_handover machine;
    char token[37];
    char name[VST_NAME_MAX + 1]; /* of the guest, on this side */
    char peer[VST_JOURNAL_URI_MAX +
              1]; /* who the other host is, for people; the source's is a URI */
    bool ran;     /* the guest did, before */
    bool over;
    unsigned writes; /* to the journal, under way: it is not freed before */
    bool recorded;   /* the journal knows of it, or has known */
    bool keep;       /* the source's copy stays, paused */
    uint64_t since;  /* in seconds since 1970 */
    char uuid[37];
    char owner[VST_JOURNAL_OWNER_MAX + 1]; /* whose it is; empty: admin's alone */
    struct vst_guest *guest;               /* NULL: we do not have hold of it */
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_error why; /* what people are told: see vst_move_note() */
    struct event timer;
    unsigned timer_ms; /* of the state; 0: it has no clock */
    struct {
        enum vst_handover_event event;
        unsigned char from[VST_HANDOVER_ID];
        bool has_from;
    } queue[VST_MOVE_EVENTS]; /* events that came while one was being dealt with */
    unsigned queued;
    bool busy;
};

/* The base of a departure or an arrival, which is calloc()ed. `token` NULL: a new one is made. */
int vst_move_init(struct vst_move *move, struct vst_qemu *qemu, const struct vst_move_end *end,
                  const unsigned char *token, struct vst_error *ret_err);
/* It is his from now on. ACCESS when he has no name by which he would be known again. */
int vst_move_own(struct vst_move *move, const struct vst_caller *caller, struct vst_error *ret_err);
/* ACCESS when it is somebody else's. */
int vst_move_check_caller(const struct vst_move *move, const struct vst_caller *caller,
                          struct vst_error *ret_err);
/* The same, where there is no move any more. */
int vst_owner_check(const char *owner, const char *token, const struct vst_caller *caller,
                    struct vst_error *ret_err);
/* Goes on where the journal ends. */
int vst_move_recover(struct vst_move *move, const struct vst_journal_entry *entry);
/* Only the memory; the machine, if it is not over, goes on after the next restart. */
void vst_move_free(struct vst_move *move);

struct vst_move *vst_move_find(const struct vst_qemu *qemu, const unsigned char *token,
                               enum vst_migration_role role);
/* Of this name, and its guest is the machine's business: not that of one which only looks whether a
 * guest may come, nor any more when it is settled. Of several the one that holds it; or NULL. */
struct vst_move *vst_move_of(const struct vst_qemu *qemu, const char *name);

/* Whether the journal will take a move that begins, besides those that have begun and are not
 * written there yet. `this` is the one, if there is one already. BUSY. */
int vst_move_check_room(const struct vst_qemu *qemu, const struct vst_move *this,
                        struct vst_error *ret_err);

/* Whether somebody else may end the guest of this name, or remove what is left of it: IN_DOUBT when
 * a migration holds it; or what keeps us from knowing. */
int vst_move_check(const struct vst_qemu *qemu, const char *name, struct vst_error *ret_err);

/* The same for the migration with this token: IN_DOUBT when another one holds the name. */
int vst_move_check_name(const struct vst_qemu *qemu, const char *name, const char *token,
                        struct vst_error *ret_err);
/* What the guest of this token is called that leaves this host by it; NULL: none does. */
const char *vst_move_leaves_as(const struct vst_qemu *qemu, const char *token);

/* One event for the machine; `from` for messages and LINK_UP. */
void vst_move_feed(struct vst_move *move, enum vst_handover_event event, const unsigned char *from);
/* The same, with what is to be told as the reason, unless something is already, or the event means
 * nothing to the machine by now. */
void vst_move_fail(struct vst_move *move, enum vst_handover_event event,
                   const struct vst_error *err);

/* What went wrong, in its own words: what came first counts, */
void vst_move_note(struct vst_move *move, const struct vst_error *err);
/* unless it is mended since; */
void vst_move_forget_why(struct vst_move *move);
/* and what became of the guest counts more than what led to it. */
void vst_move_conclude(struct vst_move *move, const struct vst_error *err);

/* Bytes move: a clock that runs for as long as nothing does begins anew. */
void vst_move_put_off(struct vst_move *move);

void vst_move_get_info(const struct vst_move *move, struct vst_migration_info *ret_info);
/* The other host decides, or has, and does not say. */
bool vst_move_is_in_doubt(const struct vst_move *move);
/* The reason, for people: what went wrong, or else the machine's. */
const char *vst_move_reason(const struct vst_move *move);

/* ---- what both ends do with their guest ---- */

/* QEMU is gone, though nobody wanted that. */
void vst_move_note_death(struct vst_move *move, const struct vst_error *err);
/* Whether a QEMU of this name exists, whatever became of its monitor. */
bool vst_move_qemu_exists(const struct vst_move *move);
/* Keeps it, and says when it is gone. */
void vst_move_take_guest(struct vst_move *move, struct vst_guest *guest);
/* The guest, if need be adopted: `fn` at once or later, with the move as its opaque. */
void vst_move_get_guest(struct vst_move *move, void (*fn)(void *opaque, struct vst_guest *guest,
                                                          const struct vst_error *err));
void vst_move_let_go(struct vst_move *move);
/* Whether there is one that is still the migration's. */
bool vst_move_may_end_qemu(const struct vst_move *move);
/* Ends QEMU: GONE comes. */
void vst_move_end_qemu(struct vst_move *move);

/* Hosts and tokens as text, 36 letters and a NUL; vst_uuid_parse() is the way back. */
void vst_id_print(const unsigned char id[VST_HANDOVER_ID], char ret_text[37]);

#endif

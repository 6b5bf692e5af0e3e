/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A departure: the source's end of a migration. departure.c has its life and its words with the
 * other host, departure-qemu.c what QEMU is told, departure-stream.c how memory goes,
 * departure-undo.c the way back when the guest stays and departure-post-copy.c that of one that
 * runs there already, departure-progress.c what people are told, departure-order.c what
 * they order, departure-sizes.c and departure-disks.c the disks that are copied.
 */
#ifndef VST_DRIVERS_QEMU_DEPARTURE_H
#define VST_DRIVERS_QEMU_DEPARTURE_H

#include "core/fsm.h"
#include "core/image.h"
#include "last-answers.h"
#include "link.h"
#include "move.h"
#include "migration.h"
#include "guest-channels.h"
#include "rescue.h"

struct json_object;

/* What comes before the hand-over machine is asked, and how its command MIGRATE is carried out. The
 * order counts: much is asked as "from this state on". */
#define DEPARTURE_STATES(X)                                                                    \
    X(DEPARTURE_WAITING, "the guest", "its monitor is being connected")                        \
    X(DEPARTURE_ASKING, "reply to query-status", "does it run, and can it be migrated?")       \
    X(DEPARTURE_ACCELERATOR, "reply to query-kvm", "does QEMU see each change of memory?")     \
    X(DEPARTURE_MACHINE, "reply to qom-get", "the exact machine type, for the offer")          \
    X(DEPARTURE_SIZES, "reply to query-named-block-nodes", "of its disks, for the offer")      \
    X(DEPARTURE_CLEARING, "the guest, and sizes again", "copies that were left are ended")     \
    X(DEPARTURE_REACHING, "the connection", "a host that is not there is to be told nothing")  \
    X(DEPARTURE_CHECKING, "the destination's answer", "only what stands in the way is wanted") \
    X(DEPARTURE_DECIDED, "the machine", "it says what is next")                                \
    X(DEPARTURE_STOPPING, "reply to stop", "offline: the guest is paused first")               \
    X(DEPARTURE_COPYING, "QEMU's mirrors", "disks travel, until both sides are the same")      \
    X(DEPARTURE_CAPABILITIES, "reply to migrate-set-capabilities", "pause before the switch")  \
    X(DEPARTURE_PARAMETERS, "reply to migrate-set-parameters", "bandwidth and downtime")       \
    X(DEPARTURE_PASSING, "reply to getfd", "QEMU gets its end of the stream")                  \
    X(DEPARTURE_MOVING, "QEMU, and the stream", "memory travels")                              \
    X(DEPARTURE_SWITCHED, "QEMU, and the stream", "post-copy, and the guest runs nowhere yet") \
    X(DEPARTURE_SERVING, "QEMU, and the stream", "post-copy: the guest runs there already")    \
    X(DEPARTURE_PAUSING, "QEMU's postcopy-paused", "its stream is broken; it gets another")    \
    X(DEPARTURE_RELEASING, "some time", "all of QEMU has to see that its stream is broken")    \
    X(DEPARTURE_REOPENING, "reply to getfd", "QEMU gets its end of another stream")            \
    X(DEPARTURE_UNDOING, "the guest", "it stays, and is made again what it was")               \
    X(DEPARTURE_OVER, "nothing", "nothing is left to do")
VST_FSM(departure, DEPARTURE_STATES)

enum { VST_DEPARTURE_LOOKS = 2 }; /* a second, at how it is doing */

struct vst_departure;
struct vst_departure_disks;

/* Between a departure and its stream's operation, each of which may end first. */
struct vst_stream_tie {
    struct vst_departure *departure;
};

struct vst_departure {
    struct vst_move move;
    enum departure_state state;
    struct vst_op *op; /* of whoever asked; NULL: nobody waits */
    struct vst_migrate_options opt;
    char there[VST_NAME_MAX + 1]; /* the guest's name there */
    bool check;
    bool one_pass; /* QEMU would lose changes in a second one: departure-qemu.c */
    char machine[128];
    char *offer; /* JSON */
    struct vst_migrate_message message;
    struct vst_link *link;
    struct vst_stream *stream;         /* NULL: none is under way */
    struct vst_stream_tie *tie;        /* to its operation */
    struct vst_channel *gate;          /* in the stream's source */
    int spare;                         /* our end of QEMU's socket once more, to break it; or -1 */
    struct vst_handshake *handshake;   /* in the stream; NULL: it is the first one */
    struct vst_last_answers *answers;  /* of the stream before; NULL: it was not needed */
    int64_t broken_us;                 /* when QEMU said that its stream is broken; 0: not here */
    struct event wait;                 /* the bound of PAUSING, the end of RELEASING */
    enum vst_migration_status status;  /* by QEMU's last word */
    struct vst_rescue *rescue;         /* NULL: none is under way */
    struct vst_disk_size **sizes;      /* of its disks, as far as QEMU tells; NULL: of none */
    struct vst_departure_disks *disks; /* NULL: none is copied */
    struct event poll;
    struct vst_migration_info progress; /* by QEMU's last word */
    int64_t begun_us;                   /* in this process */
    bool late;                          /* its time is over, and what `then` says was done */
    int64_t heard_us;                   /* when QEMU's last word was */
    bool asking;                        /* for the next */
    int64_t moved_us;                   /* when it was seen to have moved last */
    uint64_t moved;
    uint64_t taken; /* by the destination, of the stream that there is, when that was seen last */
    int64_t paused_us; /* when the guest was paused, to be moved; 0: it never was */
};

extern const struct vst_move_end vst_departure_end;

/* Who wants which guest where. */
struct vst_departure_wish {
    const char *name;
    const char *destination;
    const struct vst_migrate_options *opt;
    const struct vst_caller *caller;
    bool check;
    bool relayed; /* through a client: `op` completes as soon as there is a token */
};
/* A new one, after which `op` is its own, or a recovered one, which goes on by itself. */
void vst_departure_begin(struct vst_qemu *qemu, const struct vst_departure_wish *wish,
                         struct vst_op *op);
int vst_departure_recover(struct vst_qemu *qemu, const struct vst_journal_entry *entry,
                          struct vst_error *ret_err);

void vst_departure_enter(struct vst_departure *departure, enum departure_state state);
/* Before the machine has begun: nothing is left. `err`, if there is one, goes to whoever asked. */
void vst_departure_dismiss(struct vst_departure *departure, const struct vst_error *err);
/* The guest is known: the destination may be asked. */
void vst_departure_offer(struct vst_departure *departure);

/* What the link says, or a stream on it, as it is to be told here. */
struct vst_error vst_departure_seen_from_here(const struct vst_error *err);

/* departure-qemu.c */
void vst_departure_ask(struct vst_departure *departure);
void vst_departure_qemu(struct vst_move *move, enum vst_handover_command command);
struct vst_guest_job vst_departure_job(struct vst_departure *departure);
/* The disks are in step, or there are none: memory may move. */
void vst_departure_move(struct vst_departure *departure);
/* They are complete: the switch may go on. */
void vst_departure_switch(struct vst_departure *departure);
/* Only what changes: after a restart the rest is known to QEMU alone. */
int vst_departure_tell_change(struct vst_departure *departure,
                              const struct vst_migration_change *change, struct vst_qmp_reply reply,
                              struct vst_error *ret_err);
/* The word in the guest's place, with the token and the host that it goes to. */
int vst_departure_put_job(struct vst_move *move, struct vst_guest *guest, enum vst_place_word word,
                          bool running, struct vst_error *ret_err);

/* departure-stream.c */
/* The stream to the destination is over, one way or the other. */
void vst_departure_stop_stream(struct vst_departure *departure);
/* The destination is told why; NULL: what the migration is given up for, as far as that is known.
 * Accepts a stream that is NULL, or over. */
void vst_departure_abort_stream(struct vst_departure *departure, struct vst_stream *stream,
                                const struct vst_error *why);
/* What it is to the machine that there is none: the connection is gone, or QEMU cannot have one. */
enum vst_handover_event vst_departure_lacks_stream(const struct vst_departure *departure);
/* A new one: what `ours` brings goes there. Takes it on success. */
int vst_departure_open_stream(struct vst_departure *departure, int *ours, int zstd_level,
                              struct vst_handshake *handshake, struct vst_error *ret_err);

/* departure-undo.c */
/* RESUME. */
void vst_departure_resume(struct vst_departure *departure);
/* The disks are given up, or there are none: the guest may go on. */
void vst_departure_undo(struct vst_departure *departure);

/* departure-post-copy.c */
void vst_departure_post_copy_init(struct vst_departure *departure);
void vst_departure_post_copy_free(struct vst_departure *departure);
/* STATE: not now, or not at all. */
int vst_departure_check_post_copy(const struct vst_departure *departure, struct vst_error *ret_err);
/* The same; and if QEMU takes it, it switches as soon as it can. */
int vst_departure_go_post_copy(struct vst_departure *departure, struct vst_qmp_reply reply,
                               struct vst_error *ret_err);
/* The guest runs there, and gets what it lacks. */
void vst_departure_serve(struct vst_departure *departure);
/* QEMU has said something of its migration, in post-copy. */
void vst_departure_served(struct vst_departure *departure);
/* The stream that memory follows by is over. */
void vst_departure_unserved(struct vst_departure *departure, const struct vst_error *err);

/* departure-sizes.c: of the disks, if there are any; an offer follows. */
void vst_departure_ask_sizes(struct vst_departure *departure);
/* 0: it is not known. */
uint64_t vst_departure_size_of(const struct vst_departure *departure, const char *disk);
void vst_departure_drop_sizes(struct vst_departure *departure);

/* departure-disks.c */
/* Which disks there are, when their sizes are known. */
int vst_departure_disks_take(struct vst_departure *departure, struct vst_error *ret_err);
/* For the offer; what it points to stays. NULL: nothing is copied. To be freed. */
int vst_departure_disks_offer(struct vst_departure *departure, struct vst_disk_copy ***ret_copies,
                              struct vst_error *ret_err);
/* Each returns false when there is nothing to be done; else the above says when it is. */
bool vst_departure_disks_begin(struct vst_departure *departure);
bool vst_departure_disks_finish(struct vst_departure *departure);
bool vst_departure_disks_undo(struct vst_departure *departure);
void vst_departure_disks_event(struct vst_departure *departure, const char *name,
                               struct json_object *data);
/* From the reply to query-block-jobs, for people. */
void vst_departure_disks_look(struct vst_departure *departure, struct json_object *jobs);
/* Another bandwidth for each copy that is being made: how many replies will come of it; -1: there
 * may be some all the same. */
int vst_departure_disks_set(struct vst_departure *departure, uint64_t bandwidth,
                            struct vst_qmp_reply reply, struct vst_error *ret_err);
/* The most bytes that a mirror copies at once. */
uint64_t vst_departure_disks_piece(const struct vst_departure *departure);
/* Nothing is called any more. */
void vst_departure_disks_drop(struct vst_departure *departure);

/* departure-progress.c */
void vst_departure_watch(struct vst_departure *departure);
/* QEMU is asked once more how it is. */
void vst_departure_look(struct vst_departure *departure);
/* MIGRATION_PASS: after so many, it is to go over to post-copy. */
void vst_departure_passed(struct vst_departure *departure, struct json_object *data);
/* Between the two it runs nowhere; the destination resumes it at once. */
void vst_departure_paused(struct vst_departure *departure);
void vst_departure_handed(struct vst_departure *departure);
/* Memory begins to follow, over a new stream. */
void vst_departure_watch_serving(struct vst_departure *departure);
void vst_departure_get_info(const struct vst_move *move, struct vst_migration_info *ret_info);

/* departure-order.c: each completes `op`, when QEMU has taken it, or has not. */
void vst_departure_set(struct vst_departure *departure, const struct vst_migration_change *change,
                       struct vst_op *op);
void vst_departure_order_post_copy(struct vst_departure *departure, struct vst_op *op);

static inline bool vst_departure_serves(const struct vst_departure *departure)
{
    return departure->state >= DEPARTURE_SERVING && departure->state <= DEPARTURE_REOPENING;
}

static inline struct vst_departure *vst_departure_of(const struct vst_move *move)
{
    return (struct vst_departure *)move;
}

#endif

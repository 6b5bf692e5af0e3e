/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An arrival: the destination's end of a migration. arrival.c answers the source,
 * arrival-stream.c has how memory comes, arrival-qemu.c what QEMU is told, arrival-post-copy.c the
 * same when not all of the memory has come, arrival-disks.c the disks that are copied.
 */
#ifndef VST_DRIVERS_QEMU_ARRIVAL_H
#define VST_DRIVERS_QEMU_ARRIVAL_H

#include "check.h"
#include "core/fsm.h"
#include "core/image.h"
#include "migration.h"
#include "move.h"
#include "guest-channels.h"

struct vst_arrival_disks;

/* How far it is on the way into post-copy, and out of a break in it. The order counts: from
 * SWITCHED on it is there. */
#define ARRIVAL_POST_COPY_STATES(X)                                                            \
    X(ARRIVAL_PRE_COPY, "QEMU", "memory comes before the guest runs")                          \
    X(ARRIVAL_SWITCHING, "QEMU's state not to be inmigrate", "the device state is being read") \
    X(ARRIVAL_SWITCHED, "QEMU's completed", "only memory is to come yet")                      \
    X(ARRIVAL_PASSING, "reply to getfd", "QEMU gets its end of another stream")                \
    X(ARRIVAL_PAUSING, "QEMU's postcopy-paused", "only then it takes another stream")
VST_FSM(arrival_post_copy, ARRIVAL_POST_COPY_STATES)

struct vst_arrival {
    struct vst_move move;
    struct vst_op *asker;             /* of the source's last message; NULL: it has its answer */
    struct vst_image_header *offer;   /* NULL after a restart */
    struct vst_check *check;          /* while it looks */
    struct vst_stream *stream;        /* NULL: it has not come, or is over */
    struct vst_op *loading;           /* its operation */
    struct vst_channel *gate;         /* in what goes back */
    int spare;                        /* our end of QEMU's socket once more, to break it; or -1 */
    struct vst_handshake *handshake;  /* in the stream; NULL: it is the first one */
    unsigned finished;                /* directions of the stream: mask of vst_direction */
    bool told;                        /* QEMU was, to run the guest, or may have been */
    struct vst_arrival_disks *disks;  /* NULL: none is copied */
    enum vst_migration_status status; /* by QEMU's last word */
    struct event awaited;             /* the first stream, which is to come soon */
    struct event explained;           /* QEMU's end of a stream broke: its own end says why */
    struct vst_error broken;          /* what the stream says of that */
    enum arrival_post_copy_state post_copy;
    struct event look;
};

extern const struct vst_move_end vst_arrival_end;

/* One message of the source, for a token that is known or not; `op` gets the answer. */
void vst_arrival_hear(struct vst_qemu *qemu, const struct vst_migrate_message *message,
                      const struct vst_caller *caller, struct vst_op *op);
int vst_arrival_recover(struct vst_qemu *qemu, const struct vst_journal_entry *entry,
                        struct vst_error *ret_err);

/* arrival-qemu.c */
void vst_arrival_qemu(struct vst_move *move, enum vst_handover_command command);
/* Everything that keeps it from running here, as vst_check_start(); NULL with an error. */
struct vst_check *vst_arrival_check(struct vst_arrival *arrival,
                                    void (*fn)(void *opaque, const struct vst_error *err),
                                    struct vst_error *ret_err);
/* QEMU gets its end of what the stream will bring. */
int vst_arrival_load(struct vst_arrival *arrival, struct vst_guest_channels *ret_channels,
                     struct vst_error *ret_err);

/* The files are there, or there are to be none. */
void vst_arrival_spawn(struct vst_arrival *arrival);
/* QEMU waits for all that will come. */
void vst_arrival_ready(struct vst_arrival *arrival);
/* If the machine would move by this event, of a copy that is whole by it: no lost monitor ends
 * that. */
void vst_arrival_spare_if(struct vst_arrival *arrival, enum vst_handover_event event);
/* It has all of the guest. */
void vst_arrival_completed(struct vst_arrival *arrival);

struct vst_guest_job vst_arrival_job(struct vst_arrival *arrival);

/* arrival-stream.c */
void vst_arrival_stream_init(struct vst_arrival *arrival, struct event_base *base);
/* The stream of a token. */
void vst_arrival_take(struct vst_qemu *qemu, const unsigned char *token, struct vst_stream *stream,
                      struct vst_op *op);
/* Starts the clock for the first stream: none within the connection's patience is STREAM_FAILED,
 * since nobody reports a link that is lost before anything came on it. */
void vst_arrival_await_stream(struct vst_arrival *arrival);
void vst_arrival_stop_awaiting(struct vst_arrival *arrival);
/* The move is given up, and this is why. */
void vst_arrival_give_up_stream(struct vst_arrival *arrival);
/* The stream is over, and whoever brought it is told: NULL, all of it is loaded. The machine is not
 * told. */
void vst_arrival_end_stream(struct vst_arrival *arrival, const struct vst_error *err);
/* It is broken, for QEMU too, and over; the machine hears STREAM_FAILED. */
void vst_arrival_fail_stream(struct vst_arrival *arrival, const struct vst_error *err);
/* Whether it is QEMU that broke a stream off, which as a rule ends then and says more: what it says
 * follows as its end, or STREAM_FAILED when that does not come. */
bool vst_arrival_awaits_reason(struct vst_arrival *arrival, const struct vst_error *err);
/* An error of a stream that the source opened, as it is to be told here. */
struct vst_error vst_arrival_seen_from_here(const struct vst_error *err);

/* arrival-post-copy.c */
void vst_arrival_post_copy_init(struct vst_arrival *arrival);
/* QEMU has said something of its migration. */
void vst_arrival_post_copy_event(struct vst_arrival *arrival);
/* There is another stream; and QEMU has its end of it. */
void vst_arrival_post_copy_again(struct vst_arrival *arrival);
void vst_arrival_post_copy_incoming(struct vst_arrival *arrival);
/* Only a part of the memory is there. */
bool vst_arrival_lacks(const struct vst_arrival *arrival);
/* ADOPT and REJOIN, after a restart. */
void vst_arrival_adopt(struct vst_arrival *arrival);
void vst_arrival_rejoin(struct vst_arrival *arrival);
/* The guest runs, whether it lacks memory or not; or was to, and is being ended. */
void vst_arrival_runs(struct vst_arrival *arrival);
/* What it lacks will not come. */
void vst_arrival_cut_off(struct vst_arrival *arrival);

/* arrival-disks.c */
/* Makes the files of the offer: vst_arrival_spawn() follows, or QEMU_FAILED. */
void vst_arrival_disks_make(struct vst_arrival *arrival);
/* QEMU serves them to the source: vst_arrival_ready() follows, or QEMU_FAILED. */
void vst_arrival_disks_export(struct vst_arrival *arrival);
/* The NBD of one of them. */
void vst_arrival_disks_take(struct vst_qemu *qemu, const unsigned char *token, const char *disk,
                            struct vst_stream *stream, struct vst_op *op);
/* QEMU serves them no longer: vst_arrival_completed() follows, or QEMU_FAILED. */
void vst_arrival_disks_close(struct vst_arrival *arrival);
/* What still moves breaks off; if `remove`, the files that were made here go. */
void vst_arrival_disks_drop(struct vst_arrival *arrival, bool remove);

static inline struct vst_arrival *vst_arrival_of(const struct vst_move *move)
{
    return (struct vst_arrival *)move;
}

#endif

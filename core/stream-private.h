/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the stream share: its struct. For stream*.c only.
 */
#ifndef VST_CORE_STREAM_PRIVATE_H
#define VST_CORE_STREAM_PRIVATE_H

#include "channel-app.h"
#include "fsm.h"
#include "pump.h"
#include "stream.h"
#include "turn.h"

#define VST_STREAM_LIMIT (1024 * 1024)
#define VST_STREAM_LEAST 2 /* one byte in the pump, one with the application */

#define STREAM_STATES(X)                                                                \
    X(STREAM_IDLE, "a method", "the application says what its ends are")                \
    X(STREAM_CLAIMED, "the method's channels", "a method uses it and prepares its end") \
    X(STREAM_FLOWING, "the pumps, then the method", "both ends are there")              \
    X(STREAM_FAILING, "the method", "has failed; the method undoes what it did")        \
    X(STREAM_DECIDED, "the operation", "the method is through with it")                 \
    X(STREAM_ENDED, "vst_stream_free()", "has its outcome")
VST_FSM(stream, STREAM_STATES)

/* One direction. */
struct half {
    struct vst_stream *stream;
    enum vst_direction dir;
    struct vst_channel *app;     /* top of the application's end */
    struct vst_channel *leaf;    /* its bottom */
    struct vst_channel *digest;  /* the digest layer in it, if any */
    struct vst_channel *mailbox; /* pushing and pulling: the other end of the pair in `leaf` */
    struct vst_channel *driver;  /* the driver's end */
    struct vst_pump *pump;
    bool ours; /* the application's end is one of a connection of ours, which may be lost */
    bool finished;
    bool closed;  /* the application will push no more */
    bool has_sum; /* the digest's, once the layer is gone */
    unsigned char sum[16];
};

struct vst_stream {
    struct event_base *base;
    size_t limit;
    enum stream_state state;
    struct vst_op *op; /* decides the outcome; NULL before a method */
    unsigned held;     /* callbacks of the application run */
    bool freed;        /* the application has let go */
    struct half up;
    struct half down;
    struct vst_channel *joint; /* top of the end that another stream has joined to this one's up */
    struct vst_stream_user user;
    struct vst_stream_callbacks cb;
    void *opaque;
    struct vst_error outcome;
    struct vst_turn turn;
    struct vst_turn *attached; /* whose it is, wants to know of that; or NULL */
    /* stream-watch.c */
    struct event *tick; /* NULL: a stall is no failure, or nothing is watched yet or any more */
    uint64_t total;
    int64_t started_us;
    int64_t moved_us;    /* when a byte was last seen to have moved */
    uint64_t moved;      /* bytes then, both directions, both sides */
    uint64_t rate_bytes; /* of the main direction at the last tick */
    double rate;
    struct vst_progress last; /* what the pumps had counted when they went */
};

/* stream.c: around callbacks. A stream that was freed meanwhile goes when nobody holds it. */
void vst_stream_hold(struct vst_stream *stream);
void vst_stream_let_go(struct vst_stream *stream);

/* stream-join.c: the stream that feeds this one learns the outcome. */
void vst_joint_conclude(struct vst_stream *to, const struct vst_error *err);

/* stream-ends.c: whether the application may still say what this end is. */
bool vst_half_may_set(const struct half *half);
/* Makes the application's end of this direction one that it pushes or pulls. */
int vst_half_use_mailbox(struct half *half, struct vst_error *ret_err);

/* stream-watch.c */
int vst_stream_watch(struct vst_stream *stream, struct vst_error *ret_err);
void vst_stream_unwatch(struct vst_stream *stream);
void vst_progress_freeze(struct vst_stream *stream);

#endif

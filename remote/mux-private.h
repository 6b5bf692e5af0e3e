/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the mux share. For mux*.c only:
 *
 *   mux.c         the connection: how it begins, ends and fails
 *   mux-read.c    bytes to frames; bodies go where they belong
 *   mux-frame.c   what each frame means, and when it breaks a rule
 *   mux-write.c   what goes out next
 *   mux-sum.c     sums of DATA
 *   mux-call.c    the record of a call's stream: from open to forgotten
 *   mux-source.c  the end that reads what the peer sends
 *   mux-sink.c    the end that sends to the peer
 *   mux-ping.c    round trips, keepalive, rounds of the windows
 *   mux-stall.c   the end of waiting for a peer that takes nothing
 *
 * Everything happens in the mux's turn. API calls and calls into the ends only change what the next
 * turn will find.
 */
#ifndef VST_REMOTE_MUX_PRIVATE_H
#define VST_REMOTE_MUX_PRIVATE_H

#include <sys/queue.h>

#include "core/fsm.h"
#include "core/hash.h"
#include "core/leaf.h"
#include "core/turn.h"
#include "mux.h"
#include "window.h"

#define MUX_STATES(X)                                                                  \
    X(MUX_OPEN, "frames", "calls are made")                                            \
    X(MUX_ENDING, "the transport to take what is queued", "no more calls")             \
    X(MUX_ENDED, "the end from the peer", "all has been sent, its end included")       \
    X(MUX_FAILING, "the transport to take the error", "the peer is being told why")    \
    X(MUX_FAILED, "the end from the peer", "it has been told, so that it can read it") \
    X(MUX_OVER, "vst_mux_free()", "closed() has been called")
VST_FSM(mux, MUX_STATES)

enum {
    MUX_READ_AHEAD = 4096,       /* what is read before it is known where it belongs */
    MUX_GATHER = 256 * 1024,     /* what is collected for one write */
    MUX_SEND_LOW = 64 * 1024,    /* a sink takes no more while that much of it waits */
    MUX_ANSWERS_MAX = 64 * 1024, /* unsent answers at which reading stops */
    MUX_QUEUE_MAX = 16 << 20,    /* unsent control frames at which the peer is given up */
    MUX_HOLE_COST = 64,          /* credit */
    MUX_FAREWELL_MS = 2000,      /* how long a peer may take to end that has been given all */
    MUX_LATE_MAX = 1024 * 1024,  /* what is read from a peer that has broken a rule */
};

/* Zeros that came as a HOLE, or the END of it all, in their place among the bytes. */
struct mux_hole {
    STAILQ_ENTRY(mux_hole) next;
    uint64_t at;   /* how many bytes of DATA come before it */
    uint64_t left; /* zeros still to be read */
};

/* One end of a stream: a leaf of its own, that outlives the record if its owner wants. */
struct mux_end {
    struct vst_leaf leaf;
    struct mux_call *call; /* NULL: it has failed, or is through and the record has gone */
    bool failed;
    bool through; /* EOF was read; or finish() was OK */
};

/* The record of a call's stream. `in` is what the peer sends. */
struct mux_call {
    struct vst_mux *mux;
    uint32_t id;
    bool receives;
    bool sends;
    bool sparse;
    bool started;  /* its data may go out, as far as `wire` is concerned */
    bool stopped;  /* we have said STOP */
    bool answered; /* vst_mux_ended() */
    bool peer_stopped;
    struct mux_end *source; /* NULL: freed, or there is none */
    struct mux_end *sink;

    bool in_ended; /* END has come */
    bool in_taken; /* TAKEN has been said */
    struct evbuffer *received;
    STAILQ_HEAD(, mux_hole) holes;
    uint64_t in_total; /* arrived, zeros included */
    uint64_t in_data;  /* bytes of DATA read by the source */
    struct vst_window window;
    bool owes_credit;
    STAILQ_ENTRY(mux_call) owing;

    bool finishing;        /* finish() has been called */
    bool out_ended;        /* END is queued */
    bool out_taken;        /* TAKEN has come, or counts as come */
    bool stalled;          /* has more to send, and no credit */
    bool starved;          /* ... and the connection was idle meanwhile */
    struct evbuffer *send; /* whole frames; NULL: none */
    uint64_t out_total;
    uint64_t credit;  /* what may still be sent */
    uint64_t unacked; /* credit used, and the peer has not said that it read that */
    bool in_line;
    uint64_t start;  /* of its turn, in bytes of the virtual clock */
    uint64_t finish; /* of its last */
    TAILQ_ENTRY(mux_call) line;
};

struct mux_ping {
    STAILQ_ENTRY(mux_ping) next;
    int64_t sent_us;
    bool ends_round;
    void (*pong)(void *opaque, int64_t us); /* NULL: ours */
    void *opaque;
};

STAILQ_HEAD(mux_pings, mux_ping);
STAILQ_HEAD(mux_debtors, mux_call);
TAILQ_HEAD(mux_line, mux_call);

struct vst_mux {
    struct event_base *base;
    struct vst_channel *transport;
    struct vst_mux_options opt;
    struct vst_mux_user user;
    enum mux_state state;
    bool held;  /* its turn is running */
    bool freed; /* by its user meanwhile: memory goes when the turn ends */
    bool goaway_sent;
    bool goaway_came;
    struct vst_error *why; /* FAILING and later; NULL: out of memory */
    bool failed;
    bool ended; /* by the peer */
    bool over;  /* closed() is due */
    struct vst_turn turn;
    struct event timer; /* keepalive; then the farewell */

    struct mux_call **calls; /* by id: they only grow, so they sort themselves */
    unsigned count;
    unsigned room;
    uint32_t last_id; /* of the last CALL: made, or come */
    uint64_t late;    /* bytes that may still come for calls that have no stream here */

    /* reading */
    struct evbuffer *in;   /* read ahead */
    struct evbuffer *body; /* of a control frame, as far as it has come */
    bool in_body;
    struct vst_frame frame;
    uint32_t left;           /* of the body */
    struct mux_call *target; /* whose DATA it is; NULL: nobody's any more, or no DATA */
    XXH3_state_t *sum_in;    /* of the DATA that is coming, if it has one */
    enum vst_io last_read;
    uint64_t farewell; /* bytes that came after the connection failed */

    /* writing */
    struct evbuffer *control; /* goes before everything else */
    struct evbuffer *out;
    struct mux_debtors debtors;
    struct mux_line line; /* have data; by the start of their turns */
    uint64_t clock;       /* the start of the turn that is on */
    XXH3_state_t *sum_out;
    size_t answers;     /* unsent bytes that the peer has caused */
    size_t answers_end; /* how much goes out until the last of them has */
    enum vst_io last_write;
    uint64_t written; /* bytes that the transport took */

    /* waiting for the transport to take more */
    struct event stall;
    uint64_t stall_mark;    /* what the peer had taken when it was last looked at */
    unsigned stall_strikes; /* how often that was the same */

    /* round trips */
    struct mux_pings pings; /* in the order of their going out */
    uint64_t next_token;
    uint64_t first_token;
    bool heard; /* something, since the last tick */
    unsigned silent;
    bool in_round;
    uint64_t since_round; /* bytes read by our sources */
    int64_t rest_until_us;

    size_t received; /* bytes waiting for sources */
    size_t unsent;   /* bytes waiting in `send` */
    struct vst_mux_stats stats;
};

/* mux.c */

/* The connection fails, once. `tell`: the peer is told, because it broke a rule. */
void mux_fail(struct vst_mux *mux, const struct vst_error *err, bool tell);
/* Shorthands; always -1. */
int mux_broken(struct vst_mux *mux, const char *format, ...) __attribute__((format(printf, 2, 3)));
int mux_no_memory(struct vst_mux *mux);
void mux_end_of_transport(struct vst_mux *mux);
void mux_farewell(struct vst_mux *mux);
void mux_fail_lost(struct vst_mux *mux, const char *text);
static inline void mux_wake(struct vst_mux *mux)
{
    vst_turn_schedule(&mux->turn);
}
static inline bool mux_alive(const struct vst_mux *mux)
{
    return !mux->freed &&
           (mux->state == MUX_OPEN || mux->state == MUX_ENDING || mux->state == MUX_ENDED);
}

/* mux-read.c: true when there may be more to read at once. */
bool mux_read(struct vst_mux *mux);

/* mux-sum.c: sums of DATA, in pieces; -1: no memory */
int mux_sum_begin(XXH3_state_t **sum);
void mux_sum_add(XXH3_state_t *sum, struct evbuffer *bytes, size_t offset, size_t n);
int mux_sum(XXH3_state_t **sum, struct evbuffer *bytes, size_t n, uint32_t *ret_sum);

/* mux-frame.c; -1 when the connection has failed. */
int mux_frame_begins(struct vst_mux *mux);
int mux_frame_complete(struct vst_mux *mux, unsigned char *body);
void mux_data_arrived(struct vst_mux *mux, size_t n);

/* mux-write.c: true when there may be more to write at once. */
bool mux_write(struct vst_mux *mux);
bool mux_has_to_write(const struct vst_mux *mux);
int mux_put(struct vst_mux *mux, enum vst_frame_type type, uint32_t id, const void *body,
            size_t length);
int mux_put_error(struct vst_mux *mux, enum vst_frame_type type, uint32_t id,
                  const struct vst_error *err);
int mux_append(struct evbuffer *to, enum vst_frame_type type, uint32_t id, const void *body,
               size_t length);
void mux_count_held(struct vst_mux *mux);
void mux_answering(struct vst_mux *mux, size_t n);
bool mux_flooded(const struct vst_mux *mux);

/* mux-stall.c */
void mux_stall_init(struct vst_mux *mux);
/* After each turn. */
void mux_stall_watch(struct vst_mux *mux);
/* All has been written; whether some of that is still on its way, and is waited for. */
bool mux_stall_delivers(const struct vst_mux *mux);

/* mux-call.c */
struct mux_call *mux_find(const struct vst_mux *mux, uint32_t id);
/* Says STOP unless that has been said; what waits to be sent is dropped. */
void mux_call_stop(struct mux_call *call, const struct vst_error *why);
void mux_call_stopped_with(struct mux_call *call, const char *body, size_t length);
void mux_call_peer_stopped(struct mux_call *call, const struct vst_error *why);
void mux_call_fail_ends(struct mux_call *call, const struct vst_error *why);
/* Does what has become due: the last STOP, and to be forgotten. `call` may be gone afterwards. */
void mux_call_settle(struct mux_call *call);
void mux_calls_fail(struct vst_mux *mux, const struct vst_error *why);
/* Whether one has not been answered. */
bool mux_calls_wait(const struct vst_mux *mux);
void mux_calls_free(struct vst_mux *mux);
bool mux_call_in_over(const struct mux_call *call);
void mux_end_fail(struct mux_end *end, const struct vst_error *why);

/* mux-source.c */
struct mux_end *mux_source_new(struct mux_call *call);
void mux_source_spare(struct mux_call *call);
void mux_source_drop(struct mux_call *call); /* what it has not read */

/* mux-sink.c: its end, what waits in the record, and the line of all that have something */
struct mux_end *mux_sink_new(struct mux_call *call);
void mux_sink_drop(struct mux_call *call); /* what has not been sent */
void mux_leave_line(struct mux_call *call);

/* mux-ping.c */
uint64_t mux_spare(const struct vst_mux *mux);
void mux_consumed(struct vst_mux *mux, size_t n);
int mux_pong_came(struct vst_mux *mux, uint64_t token);
void mux_tick(struct vst_mux *mux);
void mux_pings_fail(struct vst_mux *mux);

#endif

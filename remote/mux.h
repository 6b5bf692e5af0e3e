/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mux: one connection after its greeting, carrying every call and every stream. It owns the
 * transport (a channel: descriptor, TLS on it, SASL on that), sends and receives whole control
 * messages, and gives each call's stream two channels of its own, with credit between them and the
 * far ends. It knows frames, credit and fairness; it does not know procedures, roles or drivers.
 *
 *  - Each direction of a stream has credit of its own: a slow stream stops only itself. What waits
 *    in memory for a slow reader is at most the window it was granted; windows grow when they are
 *    what holds both ends up (window.h), within `memory` for the whole connection, and shrink
 * again.
 *  - Credit goes back when a quarter of the window has been read, or all that is there: so a sender
 *    that keeps a single frame under way never waits for ever.
 *  - Control messages go first, then streams in turn, one quantum each. Pings are outside credit.
 *  - When the peer makes us answer faster than it reads, reading stops until it has caught up.
 *  - No wait is for ever: a peer that says nothing is lost (`keepalive_ms`), and so is one that
 *    takes nothing of what there is for it (`stall_ms`). One byte is something.
 *  - A frame that breaks the rules ends the connection with PROTOCOL, told to the peer as ERROR 0.
 */
#ifndef VST_REMOTE_MUX_H
#define VST_REMOTE_MUX_H

#include <stdbool.h>

#include "core/channel.h"
#include "frame.h"
#include "virstream/stream.h"

enum vst_mux_role { VST_MUX_CLIENT, VST_MUX_SERVER };

/* How a client's data waits: the three wire protocols are three values of one policy. */
enum vst_wire {
    VST_WIRE_EAGER,   /* at once, within the window that the greeting granted */
    VST_WIRE_REPLIED, /* after STARTED */
    VST_WIRE_ACKED,   /* after STARTED, and never more than one frame without its credit */
};

struct vst_mux_options {
    enum vst_mux_role role;
    const char *label;     /* for the trace; kept */
    uint64_t window;       /* what we granted for each stream in our HELLO */
    uint64_t peer_window;  /* what the peer granted in its */
    uint64_t memory;       /* the most that all windows of this connection may sum up to */
    unsigned streams;      /* the most that may be open at once */
    enum vst_wire wire;    /* client only */
    bool sums;             /* of DATA, too: the transport does not protect its bytes itself */
    unsigned keepalive_ms; /* silence after which a ping goes out; after three, LOST. 0: none */
    unsigned stall_ms; /* LOST when the peer has taken nothing for so long of what there is for it.
                          0: it may */
};

struct vst_mux_user {
    /*
     * A whole control message: CALL (server), REPLY, ERROR, STARTED (client), EVENT, GOAWAY.
     * `body` is valid during the call and ends in a NUL that `length` does not count. The user may
     * free the mux.
     */
    void (*message)(void *opaque, const struct vst_frame *frame, const char *body);
    /* A STOP has come for a call that was made: cancel it, if it still runs. Server only. Its
     * stream, if it has one, fails with the same error. */
    void (*stopped)(void *opaque, uint32_t id, const struct vst_error *why);
    /*
     * Once, last: NULL after the peer ended the connection as it should. Every channel of a stream
     * has failed with the same error. The user frees the mux.
     */
    void (*closed)(void *opaque, const struct vst_error *err);
    void *opaque;
};

struct vst_mux;

/* Takes the open transport on success. Callbacks come from the loop only. */
struct vst_mux *vst_mux_new(struct vst_channel *transport, const struct vst_mux_options *opt,
                            const struct vst_mux_user *user, struct vst_error *ret_err);

/* Whatever is still open fails; nothing more is called. Sets *mux to NULL. Accepts NULL. */
void vst_mux_free(struct vst_mux **mux);

/* Queues one control message: the client's CALLs, STOPs and GOAWAY, and everything of the server's
 * but DATA and the like. Fails when the connection has failed, without memory (then the connection
 * has failed), or when the body is longer than such a frame may have (then nothing has happened).
 */
int vst_mux_send(struct vst_mux *mux, enum vst_frame_type type, uint32_t id, const char *body,
                 size_t length);

/* The peer has broken a rule that only the user can know. It is told, and closed() comes. */
void vst_mux_fail(struct vst_mux *mux, const struct vst_error *err);

/* No new calls are accepted or made; what is queued goes out, then the transport is finished, and
 * closed() comes. */
void vst_mux_finish(struct vst_mux *mux);

/* Client: the id for the next call, or 0 when all have been used. */
uint32_t vst_mux_next_id(struct vst_mux *mux);

/*
 * The two ends of call `id`'s stream: `source` reads what the peer sends, `sink` sends to it; NULL
 * for a direction that `dirs` does not have, whatever comes in it breaks the rules. Client: before
 * its CALL is sent. Server: while message() tells of the CALL.
 *
 *  - sink finish() sends END, and is OK when the peer has said TAKEN, or vst_mux_ended() was
 * called.
 *  - source read() says EOF when END has come and counts the same bytes.
 *  - abort(), or freeing an end that is not through, sends STOP; a STOP from the peer is FAIL with
 *    the peer's error.
 *
 * `receives` and `sends` are seen from this side.
 */
struct vst_mux_ends {
    bool receives;
    bool sends;
    bool sparse; /* runs of zeros travel as HOLE */
    struct vst_channel *ret_source;
    struct vst_channel *ret_sink;
};
int vst_mux_open(struct vst_mux *mux, uint32_t id, struct vst_mux_ends *ends,
                 struct vst_error *ret_err);

/* What the source of call `id` gave has been taken, whole, and is safe where it was meant to go. */
void vst_mux_taken(struct vst_mux *mux, uint32_t id);

/* Whether the END of call `id`'s stream, if it has a direction to send in, is on its way. */
bool vst_mux_has_sent(const struct vst_mux *mux, uint32_t id);

/* The call is over: its answer was sent (server) or has come (client). Unless `err`, a sink that
 * has sent END counts as taken. What still comes for it is counted and dropped up to END or STOP.
 */
void vst_mux_ended(struct vst_mux *mux, uint32_t id, const struct vst_error *err);

/* Round trip to the peer: `pong` once, from the loop, with microseconds, or -1 when the connection
 * ended first. Fails when the connection has failed, for the same reason, or without memory. */
int vst_mux_ping(struct vst_mux *mux, void (*pong)(void *opaque, int64_t us), void *opaque,
                 struct vst_error *ret_err);

struct vst_mux_stats {
    uint64_t received, sent; /* bytes of DATA */
    uint64_t frames_in, frames_out;
    uint64_t dropped;       /* bytes that came after a stop */
    uint64_t stalls;        /* how often a stream ran out of credit */
    uint64_t windows;       /* granted now, all streams */
    size_t held, most_held; /* in our memory, now and ever, both directions */
    unsigned streams;
    int64_t round_trip_us; /* smoothed; 0 if not measured */
};
void vst_mux_get_stats(struct vst_mux *mux, struct vst_mux_stats *ret_stats);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams, from the driver's side. A method claims the stream, attaches the channels of its own end
 * when it has them, is told how each direction ends, and completes its operation, which ends the
 * stream. Drivers never copy the bytes.
 */
#ifndef VST_CORE_STREAM_H
#define VST_CORE_STREAM_H

#include "channel.h"
#include "op.h"
#include "turn.h"
#include "virstream/stream.h"

/* The method that uses a stream. All callbacks come from the loop. */
struct vst_stream_user {
    /* This direction has delivered every byte and its sink has finished. Once per attached one. */
    void (*finished)(void *opaque, enum vst_direction dir);
    /*
     * The stream has failed, whichever side it was; sinks have been aborted, nothing moves any
     * more. At most once, and possibly before anything is attached. The method undoes what it did
     * and fails its operation.
     */
    void (*failed)(void *opaque, const struct vst_error *err);
    void *opaque;
    const char *name;       /* of the driver's end, for "... takes no data": "qemu g1"; kept */
    enum vst_side side;     /* and what is to blame when that stalls */
    unsigned stall_seconds; /* 0: a stall is no failure (a console) */
};

/* For it, from what the application says: 0 there is the usual time. */
static inline unsigned vst_stall_seconds(unsigned said)
{
    return said ? said : 60;
}

/*
 * Makes `op` decide this stream's outcome; a method's caller does this before the method, so that
 * a stream given to a method always ends. Fails when the stream was given to one before, or has
 * ended.
 */
int vst_stream_bind(struct vst_stream *stream, struct vst_op *op, struct vst_error *ret_err);

/*
 * The method is going to use the stream, which is bound to `op`, or will be. First thing in a
 * method: a failure before this is not told. Fails as vst_stream_bind(), when the stream has failed
 * since, or without memory; the method then fails its operation with *ret_err.
 */
int vst_stream_claim(struct vst_stream *stream, struct vst_op *op,
                     const struct vst_stream_user *user, struct vst_error *ret_err);

/*
 * The application's ends as channels, for the server of a connection, whose application is at its
 * other side: `source` feeds up, `sink` drains down; NULL where there is nothing. Takes both, also
 * when it fails because the stream has been given to a method or has an end already.
 */
int vst_stream_set_ends(struct vst_stream *stream, struct vst_channel *source,
                        struct vst_channel *sink);

/*
 * The driver's end: `source` feeds down, `sink` takes up; NULL where there is nothing. Takes
 * both, also when it fails. May be the same channel. At most once, after claim.
 */
int vst_stream_attach(struct vst_stream *stream, struct vst_channel *source,
                      struct vst_channel *sink, struct vst_error *ret_err);

/*
 * For the server, too: schedules this turn once the driver has attached its end, before any byte
 * moves, and after the driver has said how many it expects. Before the method; the turn must not go
 * before the operation has ended.
 */
void vst_stream_on_attached(struct vst_stream *stream, struct vst_turn *turn);

/* The other way of two streams that are joined (vst_stream_join()): as that, but `from` does not
 * wait for the outcome of `to`, which waits for its own. */
int vst_stream_join_back(struct vst_stream *from, struct vst_stream *to);

/* How many bytes are expected, for progress. If it is known when the driver attaches, in the same
 * turn. */
void vst_stream_expect(struct vst_stream *stream, uint64_t total);

/* Fails it from the driver's or operation's side: failed() comes back, from the loop. */
void vst_stream_fail(struct vst_stream *stream, const struct vst_error *err);

/* For op.c only: the outcome is decided, the user is told nothing any more. */
void vst_stream_settle(struct vst_stream *stream, const struct vst_error *err);
/* For op.c only: the outcome, told to the application at once. */
void vst_stream_conclude(struct vst_stream *stream, const struct vst_error *err);

#endif

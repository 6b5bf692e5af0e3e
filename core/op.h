/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations, from the inside. An operation is created by a public call, given to a driver's
 * method, and completed by it, once, at any later moment or at once; the application hears of it
 * from the loop.
 *
 * An operation that uses a stream owns its outcome: completing the operation ends the stream
 * just before.
 */
#ifndef VST_CORE_OP_H
#define VST_CORE_OP_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "error.h"
#include "virstream/op.h"

struct vst_op;
struct vst_conn;
struct vst_stream;

TAILQ_HEAD(vst_op_list, vst_op);

/* The application's callback, with its type erased; only `deliver` knows it. */
struct vst_callback {
    void (*fn)(void);
    void *opaque;
    void (*release)(void *opaque);
};

/* A result, on its way to the application. `free` may be NULL. */
struct vst_result {
    void *value;
    size_t count;
    void (*free)(void *value, size_t count);
};

/* Calls cb->fn with the right type. May take the result by setting its value to NULL. */
typedef void vst_deliver_fn(const struct vst_callback *cb, struct vst_result *result,
                            const struct vst_error *err);

/* For operations without a result: struct vst_done. */
vst_deliver_fn vst_deliver_done;

/*
 * `list` holds the operations that the owner must see ended before it goes. NULL (and cb->release
 * called) without memory.
 */
struct vst_op *vst_op_new(struct event_base *base, struct vst_op_list *list,
                          vst_deliver_fn *deliver, struct vst_callback cb);

/*
 * How the driver hears that the operation is to end (cancel, deadline, connection closed): once,
 * from the loop, with the error to complete with. An operation that uses a stream needs
 * none: its stream fails instead.
 */
void vst_op_set_cancel(struct vst_op *op, void (*cancel)(void *opaque, const struct vst_error *why),
                       void *opaque);

/*
 * The method's own state: `free_state` is called when the operation and its stream are through with
 * everything, so that no late callback of a channel can find it gone.
 */
void vst_op_own(struct vst_op *op, void *state, void (*free_state)(void *state));

/* The reason that was given for cancelling, or NULL. */
const struct vst_error *vst_op_cancelled(const struct vst_op *op);

/* For an operation that is a migration: its token, once, before the operation completes. */
void vst_op_set_token(struct vst_op *op, const char *token);
/* Empty while there is none. */
const char *vst_op_get_token(const struct vst_op *op);
/* `fn` is called when it is set, or at once if it has been. */
void vst_op_on_token(struct vst_op *op, void (*fn)(void *opaque, const char *token), void *opaque);

/* For stream.c: the stream whose outcome this operation decides. */
void vst_op_set_stream(struct vst_op *op, struct vst_stream *stream);

/* Exactly one of the two, once; the application is told in a later turn. */
void vst_op_fail(struct vst_op *op, const struct vst_error *err);
void vst_op_succeed(struct vst_op *op, struct vst_result result);

static inline void vst_op_done(struct vst_op *op)
{
    vst_op_succeed(op, (struct vst_result){0});
}

/* Asks an operation to end for a reason other than the application's wish. */
void vst_op_end(struct vst_op *op, const struct vst_error *why);

/* The next of its list. */
struct vst_op *vst_op_next(const struct vst_op *op);

/* Called last of all, when the operation has been delivered and freed. */
void vst_op_on_idle(struct vst_op *op, void (*idle)(void *opaque), void *opaque);

#endif

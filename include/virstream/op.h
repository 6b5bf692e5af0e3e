/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations: one asynchronous call in flight.
 *
 * Every call that takes time returns a `struct vst_op *` at once and completes later through its
 * callback, exactly once, from the event loop: never inside an API call, also not when the call was
 * wrong from the start. The pointer is valid until that callback has returned; afterwards it must
 * not be used. A call returns NULL only when there is no memory for the operation itself; then
 * nothing was started, and `release` has been called.
 *
 * Of the arguments, options may be NULL: then everything in them is as if it was 0 or false. So may
 * the struct of a callback that nobody needs, but not that of vst_conn_open().
 *
 * Rules of every callback in this library:
 *  - `fn` may be NULL. `release`, if not NULL, is called exactly once, after the last `fn`.
 *  - It may call anything in the library, vst_op_cancel() and the _free() functions included,
 *    but not vst_op_wait() on the same base.
 *  - It runs on the thread that runs the event base. One base belongs to one thread.
 */
#ifndef VIRSTREAM_OP_H
#define VIRSTREAM_OP_H

#include <sys/time.h>

#include <virstream/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vst_op;

/* Completion of an operation that has no result but its outcome: err is NULL on success. */
struct vst_done {
    void (*fn)(const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

/*
 * Asks the operation to end. It completes once all the same: with VST_ERR_CANCELLED when it was
 * undone, or with its own outcome when that was decided already. Idempotent. Accepts NULL.
 */
void vst_op_cancel(struct vst_op *op);

/*
 * After `timeout` from now the operation is cancelled as above, and completes with VST_ERR_TIMEOUT.
 * NULL removes the deadline. Returns 0, or -1 when there is no memory, or `op` is NULL for that
 * reason.
 */
int vst_op_set_timeout(struct vst_op *op, const struct timeval *timeout);

/*
 * For simple programs: runs the operation's event base until it has completed (its callback
 * has been called by then). Everything else on the base runs meanwhile. Must not be called from a
 * callback. Returns 0, or -1 with *ret_err (may be NULL) filled: the operation's error, or
 * VST_ERR_NO_MEMORY when `op` is NULL; VST_ERR_STATE when it cannot be waited for, in a callback of
 * that base or with nothing on it that could end the operation, which then lives on.
 */
int vst_op_wait(struct vst_op *op, struct vst_error *ret_err);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pipe of a live save, and who reads it to its end if we do not.
 *
 * QEMU 7.2 leaves the guest's memory write-protected for ever when a background snapshot is
 * cancelled or fails: the guest stops at its next write. One that completes is cleaned up. So QEMU
 * is never told that a live save has failed, not even by our death: what is left goes nowhere.
 */
#ifndef VST_DRIVERS_QEMU_DRAIN_H
#define VST_DRIVERS_QEMU_DRAIN_H

#include <event2/event.h>

#include "core/error.h"

/* One that is being started; gone when it has been, or could not be. */
struct vst_drain;

struct vst_drain_ends {
    int ours, qemus; /* of the pipe: to read from, and for QEMU to write to */
    int leash;       /* as long as it is open, the process reads nothing */
};

/* Nothing is open. */
#define VST_DRAIN_CLOSED ((struct vst_drain_ends){-1, -1, -1})

/* Called once, from the loop, never from inside a call, and not after vst_drain_cancel(). The ends
 * are the callee's; there are none with an error. */
struct vst_drain_cb {
    void (*started)(void *opaque, struct vst_drain_ends *ends, const struct vst_error *err);
    void *opaque;
};

/*
 * A pipe for QEMU, and a process that waits at its end, started by the worker: as soon as the leash
 * is closed, by us or by the end of this process however it comes, it reads what there still is,
 * until QEMU has closed its end; and then it ends. `program` is cat(1).
 */
struct vst_drain *vst_drain_start(struct event_base *base, const char *program,
                                  const struct vst_drain_cb *cb, struct vst_error *ret_err);
/* One that is started all the same ends at once. Sets *drain to NULL. Accepts NULL. */
void vst_drain_cancel(struct vst_drain **drain);

void vst_drain_close(struct vst_drain_ends *ends);

#endif

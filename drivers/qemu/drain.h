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

#include "core/error.h"

/*
 * A pipe for QEMU, and a process that waits at its end: as soon as *ret_leash is closed, by us or
 * by the end of this process however it comes, it reads what there still is, until QEMU has closed
 * its end; and then it ends. `program` is cat(1). All three descriptors are the caller's.
 */
int vst_drain_start(const char *program, int *ret_ours, int *ret_qemus, int *ret_leash,
                    struct vst_error *ret_err);

#endif

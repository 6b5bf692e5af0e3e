/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU writes the state of a saved guest into, up to the image that goes down the stream; and
 * how that is broken off so that QEMU hears commands again, and the guest can go on. It knows
 * nothing of when.
 *
 *     QEMU ─ socket, or pipe with a drain ─ gate ─ [zstd] ─ records
 *
 * The end of QEMU's socket proves nothing (a QEMU that was killed ends it too): the gate believes
 * it only when it has been opened. QEMU writes the last part with its lock held, and hears nothing
 * until somebody reads that, or the socket is broken. A live save is not to fail, and so its pipe
 * is drained instead (see drain.h).
 */
#ifndef VST_DRIVERS_QEMU_OUTLET_H
#define VST_DRIVERS_QEMU_OUTLET_H

#include "core/image.h"
#include "drain.h"

struct vst_outlet {
    struct vst_channel *gate; /* inside the image, and valid as long as that */
    int socket;               /* our end once more, which stays when the stream's is gone; or -1 */
    int leash;                /* of the drain, instead of that, when live; or -1 */
};

/* Nothing is open. */
#define VST_OUTLET_CLOSED ((struct vst_outlet){NULL, -1, -1})

/*
 * Fills `outlet`, with what a drain gave when live; else `drain` is NULL. *ret_qemus is for QEMU,
 * *ret_image for the stream: `header`, and what QEMU writes. On failure there is nothing of them,
 * but `outlet` is still to be closed. It takes what is in `drain` in any case.
 */
int vst_outlet_open(struct vst_outlet *outlet, struct event_base *base,
                    struct vst_drain_ends *drain, const struct vst_image_header *header,
                    int zstd_level, int *ret_qemus, struct vst_channel **ret_image,
                    struct vst_error *ret_err);

/* QEMU has completed: what it has written is all. */
void vst_outlet_complete(struct vst_outlet *outlet);

/* QEMU writes in vain from now on: that fails, or goes nowhere when live. */
void vst_outlet_break(struct vst_outlet *outlet);
void vst_outlet_close(struct vst_outlet *outlet);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source's QEMU whose guest has not run on the destination, and will not: its migration is
 * brought to an end, also in post-copy, and the guest made again what it was.
 *
 * QEMU can be cancelled as long as it has a stream. One that has lost it waits for another, and
 * takes no word but that: so it gets one, to nobody. What the destination would say to begin again
 * is said here, word for word, and then it is cancelled. (Seen in QEMU 7.2: a migration that is
 * cancelled in postcopy-paused stays "cancelling" for ever.)
 */
#ifndef VST_DRIVERS_QEMU_RESCUE_H
#define VST_DRIVERS_QEMU_RESCUE_H

#include "guest.h"

struct vst_rescue;

/*
 * `*stream` is our end of QEMU's stream, or -1 when there is none; it is taken, and what QEMU still
 * sends is thrown away. `ran`: the guest is to run again. `fn` comes once, from the loop, unless
 * vst_rescue_free() came first, which it may do itself: the guest is in order, or cannot be reached
 * any more; or TIMEOUT, when QEMU obeys and its migration does not end: to be tried again. One at a
 * time: two would cancel and resume against each other.
 */
struct vst_rescue *vst_rescue_start(struct vst_guest *guest, struct event_base *base, int *stream,
                                    bool ran, void (*fn)(void *opaque, const struct vst_error *err),
                                    void *opaque, struct vst_error *ret_err);
/* Sets *rescue to NULL. Accepts NULL. */
void vst_rescue_free(struct vst_rescue **rescue);

#endif

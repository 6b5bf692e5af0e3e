/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source's QEMU whose new stream broke off before its post-copy went on: its end of the stream is
 * held until it does not wait for answers any more. See handshake.h. (The destination's hears all
 * at once, and needs no holding.)
 */
#ifndef VST_DRIVERS_QEMU_LAST_ANSWERS_H
#define VST_DRIVERS_QEMU_LAST_ANSWERS_H

#include "handshake.h"

struct vst_last_answers;

/*
 * Takes `*fd`, our end of QEMU's stream; answers what QEMU still asks, and then breaks the stream:
 * QEMU pauses. One that asks nothing for a while is left all the same, which is told in the log.
 * NULL without memory.
 */
struct vst_last_answers *vst_last_answers_start(struct event_base *base, int *fd,
                                                struct vst_handshake *handshake, const char *label,
                                                struct vst_error *ret_err);
/* Accepts NULL. */
bool vst_last_answers_is_under_way(const struct vst_last_answers *answers);
/* Breaks the stream at once, if it is under way. Sets *answers to NULL. Accepts NULL. */
void vst_last_answers_free(struct vst_last_answers **answers);

#endif

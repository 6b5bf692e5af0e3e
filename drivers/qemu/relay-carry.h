/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two streams of this process, back to back: what the source's departure moves, and what the client
 * that relays has come for. Both are driver's ends here, with a pair of channels in between, and
 * both end well or neither does.
 */
#ifndef VST_DRIVERS_QEMU_RELAY_CARRY_H
#define VST_DRIVERS_QEMU_RELAY_CARRY_H

#include <sys/queue.h>

#include "core/stream.h"

struct vst_carry {
    LIST_ENTRY(vst_carry) link; /* of those that the client has not come for */
    bool waits;                 /* it is in the list */
    uint64_t number;
    char part[64];
    /* Private. */
    struct event_base *base;
    struct vst_stream *stream; /* the source's */
    unsigned refs;
    struct vst_carry_side {
        struct vst_carry *carry;
        struct vst_op *op; /* NULL: not yet, or through */
        unsigned finished; /* mask of directions */
    } near, far;
};
LIST_HEAD(vst_carries, vst_carry);

/* The source's stream, and its operation, which has failed if it returns NULL. */
struct vst_carry *vst_carry_new(struct event_base *base, const char *part,
                                struct vst_stream *stream, struct vst_op *op);
/* The client's, which takes it out of the list. */
void vst_carry_join(struct vst_carry *carry, struct vst_stream *stream, struct vst_op *op);
/* It is called off: what waits fails. */
void vst_carry_fail(struct vst_carry *carry, const struct vst_error *err);

#endif

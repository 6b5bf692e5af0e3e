/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window of one direction of a stream, on the side that receives: what the peer may send before
 * it hears from us, when it hears, and how wide the window should be. Pure: no I/O, no clock.
 *
 * At any time the peer may have `size` bytes on their way, waiting here, or read but not yet told.
 * What has been granted cannot be taken back; a window shrinks when less is granted than was read.
 *
 * The width follows the bandwidth-delay product: a round is one round trip to the peer, and a
 * window of which more than half was read during a round may be what holds the peer up.
 */
#ifndef VST_REMOTE_WINDOW_H
#define VST_REMOTE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define VST_WINDOW_MAX (1u << 30) /* of one direction, here and at the peer */

struct vst_window {
    uint64_t size;   /* what holds now */
    uint64_t target; /* what it is going to be */
    uint64_t least;  /* what the greeting granted; it never becomes less */
    uint64_t open;   /* what the peer may still send */
    uint64_t unsaid; /* read, and the peer has not been told */
    uint64_t round;  /* read in this round */
    unsigned quiet;  /* rounds in a row that needed little of it */
};

void vst_window_init(struct vst_window *window, uint64_t size);

/* So much comes in. False, and nothing has changed, when the peer may not send that much. */
bool vst_window_take(struct vst_window *window, uint64_t n);

/* So much of it has been read. */
void vst_window_read(struct vst_window *window, uint64_t n);

/*
 * Whether the peer should be told: a quarter has been read, or `all` that is there: so a sender
 * that keeps a single frame under way never waits for ever.
 */
bool vst_window_due(const struct vst_window *window, bool all);

/* What to tell it: how much has been read, and how much more it may send. Either may be 0. */
void vst_window_credit(struct vst_window *window, uint32_t *ret_read, uint32_t *ret_granted);

/* What it takes of the connection's memory, at most: now, or when it has changed. */
uint64_t vst_window_reserved(const struct vst_window *window);

/* A round is over. The window may grow by at most `spare`. True when it will. */
bool vst_window_round(struct vst_window *window, uint64_t spare);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window of one direction of a stream, on the side that receives: what the peer may send before
 * it hears from us, when it hears, and how wide the window should be. Pure: no I/O, no clock.
 *
 * At any time the peer may have `size` bytes on their way, waiting here, or read but not yet told.
 * What has been granted cannot be taken back; a window shrinks when less is granted than was read.
 *
 * The width follows the bandwidth-delay product without a clock: the sender says when it had to
 * wait for credit while the connection was idle. If the reader here was idle, too, then it is the
 * window that holds both up, and it grows; again when all that was granted then has been used up.
 * Without such a need a window shrinks, from round to round: a round is some time and traffic.
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
    uint64_t taken;  /* all that has come */
    uint64_t grown;  /* the end of what was granted when it grew last */
    uint64_t lowest; /* of `open` in this round */
    unsigned quiet;  /* rounds in a row that needed little of it */
};

void vst_window_init(struct vst_window *window, uint64_t size);

/* So much comes in. False, and nothing has changed, when the peer may not send that much. */
bool vst_window_take(struct vst_window *window, uint64_t n);

/* What comes now had to wait for credit. True when the window is going to grow, by at most `spare`.
 */
bool vst_window_starved(struct vst_window *window, uint64_t spare);

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

/* A round is over. */
void vst_window_round(struct vst_window *window);

#endif

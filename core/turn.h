/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A turn: "run this from the loop, soon". It is how anything here defers work, so that nothing is
 * called back inside the call that caused it.
 *
 * A turn is a timer of zero, not event_active(): libevent runs what is activated during a pass in
 * the same pass, so an object that activated itself would keep the loop from polling. A timer
 * lets every descriptor be polled between two turns.
 *
 * Turns of one base run in the order in which they were scheduled.
 */
#ifndef VST_CORE_TURN_H
#define VST_CORE_TURN_H

#include <event2/event.h>
#include <event2/event_struct.h>

struct vst_turn {
    struct event ev;
    const struct timeval *delay;
};

/* `fn` has libevent's shape; the descriptor and the flags mean nothing. Cannot fail. */
void vst_turn_init(struct vst_turn *turn, struct event_base *base, event_callback_fn fn,
                   void *opaque);

/* Idempotent: one run however often it is scheduled before it runs. */
void vst_turn_schedule(struct vst_turn *turn);
void vst_turn_cancel(struct vst_turn *turn);

/*
 * For a turn that is running: how much of `most` it does now, so that a pass of the loop does not
 * become longer by each that has something to do, and what came meanwhile is heard soon. All of it
 * when it is alone in this pass; else a half, a quarter and so on, down to a sixteenth: each turn
 * has its price. It is the same for all turns of a pass, whoever is the last.
 */
size_t vst_turn_share(const struct vst_turn *turn, size_t most);

#endif

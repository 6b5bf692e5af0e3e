/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns: deferred work as timers of zero. Nothing else schedules anything.
 */
#include "turn.h"

enum { SHARES_MAX = 16 };

void vst_turn_init(struct vst_turn *turn, struct event_base *base, event_callback_fn fn,
                   void *opaque)
{
    static const struct timeval now = {0, 0};

    event_assign(&turn->ev, base, -1, 0, fn, opaque);
    /* libevent keeps timers of one duration, announced as such, in a queue instead of its heap. */
    turn->delay = event_base_init_common_timeout(base, &now);
    if (!turn->delay)
        turn->delay = &now;
}

void vst_turn_schedule(struct vst_turn *turn)
{
    if (event_pending(&turn->ev, EV_TIMEOUT, NULL))
        return;
    /* Without memory it runs out of order, but it runs. */
    if (event_add(&turn->ev, turn->delay) < 0)
        event_active(&turn->ev, EV_TIMEOUT, 1);
}

void vst_turn_cancel(struct vst_turn *turn)
{
    event_del(&turn->ev);
}

/* Of the loop that runs in this thread, when a turn last asked: who waits gets fewer in a pass with
 * each event that has run, so where there are no fewer a pass has begun. */
static _Thread_local struct {
    const struct event_base *base;
    int waiting;
    int crowd; /* who waited when the first turn of the pass asked */
} pass;

size_t vst_turn_share(const struct vst_turn *turn, size_t most)
{
    const struct event_base *base = event_get_base(&turn->ev);
    int waiting = event_base_get_num_events(event_get_base(&turn->ev), EVENT_BASE_COUNT_ACTIVE);
    size_t shares = 1;

    if (pass.base != base || waiting >= pass.waiting)
        pass.crowd = waiting;
    pass.base = base;
    pass.waiting = waiting;
    for (int crowd = pass.crowd; crowd > 0 && shares < SHARES_MAX; crowd /= 2)
        shares *= 2;
    return most / shares;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns: deferred work as timers of zero. Nothing else schedules anything.
 */
#include "turn.h"

void vst_turn_init(struct vst_turn *turn, struct event_base *base, event_callback_fn fn,
                   void *opaque)
{
    event_assign(&turn->ev, base, -1, 0, fn, opaque);
}

void vst_turn_schedule(struct vst_turn *turn)
{
    static const struct timeval now = {0, 0};

    if (!event_pending(&turn->ev, EV_TIMEOUT, NULL))
        event_add(&turn->ev, &now);
}

void vst_turn_cancel(struct vst_turn *turn)
{
    event_del(&turn->ev);
}

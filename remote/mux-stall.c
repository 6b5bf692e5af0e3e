/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of waiting for a peer that takes nothing, in every state in which there is something to
 * write. Looked at four times in the time that it has; whatever it took since the last time, a byte
 * on a slow link, gives it all of that time again. That it says nothing is in mux-ping.c.
 */
#include <stdio.h>

#include "mux-private.h"

enum { STRIKES = 4 };

bool mux_stall_delivers(const struct vst_mux *mux)
{
    uint64_t passed;

    return mux->opt.stall_ms && (mux->state == MUX_ENDED || mux->state == MUX_FAILED) &&
           vst_channel_undelivered(mux->transport, &passed);
}

static bool waits(const struct vst_mux *mux)
{
    return (mux->opt.stall_ms && mux->last_write == VST_IO_AGAIN) || mux_stall_delivers(mux);
}

/* Of what the transport took, layers and the kernel may hold much. */
static uint64_t taken(const struct vst_mux *mux)
{
    uint64_t passed;

    vst_channel_undelivered(mux->transport, &passed);
    return mux->written + passed;
}

static void begin(struct vst_mux *mux)
{
    mux->stall_mark = taken(mux);
    mux->stall_strikes = 0;
}

static void wait_on(struct vst_mux *mux)
{
    unsigned ms = mux->opt.stall_ms / STRIKES;
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

    if (event_add(&mux->stall, &tv) == 0)
        return;
    mux_no_memory(mux);
    mux->over = true; /* a farewell, too: nothing would end it */
    mux_wake(mux);
}

static void give_up(struct vst_mux *mux)
{
    char text[100];

    snprintf(text, sizeof(text), "the peer has taken nothing of what there is for it for %u ms",
             mux->opt.stall_ms);
    mux_fail_lost(mux, text);
    mux->over = true;
    mux_wake(mux);
}

static void look(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_mux *mux = opaque;

    (void)fd, (void)what;
    if (!waits(mux))
        return;
    if (taken(mux) != mux->stall_mark)
        begin(mux);
    else if (++mux->stall_strikes == STRIKES) {
        give_up(mux);
        return;
    }
    wait_on(mux);
}

void mux_stall_init(struct vst_mux *mux)
{
    event_assign(&mux->stall, mux->base, -1, 0, look, mux);
}

/* Between two looks it may have waited for nothing, and wait again. */
void mux_stall_watch(struct vst_mux *mux)
{
    if (!waits(mux) || event_pending(&mux->stall, EV_TIMEOUT, NULL))
        return;
    begin(mux);
    wait_on(mux);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Round trips: asked for by the user, against silence, and as the clock of windows. Answers come in
 * the order of the questions.
 */
#include <stdlib.h>

#include "core/clock.h"
#include "mux-private.h"

enum {
    SILENT_MAX = 3,
    ROUND_LEAST = 64 * 1024, /* what must have been read to be worth a round */
    REST_US = 20000,         /* between two rounds */
};

static int ask(struct vst_mux *mux, void (*pong)(void *opaque, int64_t us), void *opaque,
               bool ends_round)
{
    struct mux_ping *ping = calloc(1, sizeof(*ping));
    unsigned char body[8];

    if (!ping)
        return -1;
    vst_put64(mux->next_token, body);
    if (mux_put(mux, VST_FRAME_PING, 0, body, sizeof(body)) < 0) {
        free(ping);
        return -1;
    }
    mux->next_token++;
    ping->sent_us = vst_now_us();
    ping->pong = pong;
    ping->opaque = opaque;
    ping->ends_round = ends_round;
    STAILQ_INSERT_TAIL(&mux->pings, ping, next);
    return 0;
}

int vst_mux_ping(struct vst_mux *mux, void (*pong)(void *opaque, int64_t us), void *opaque,
                 struct vst_error *ret_err)
{
    if (mux_alive(mux) && ask(mux, pong, opaque, false) == 0)
        return 0;
    return mux->why ? vst_error_copy(ret_err, mux->why) : vst_error_no_memory(ret_err);
}

/* ---- rounds ---- */

/* How much the windows of all streams may still grow together. */
uint64_t mux_spare(const struct vst_mux *mux)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < mux->count; i++)
        if (!mux_call_in_over(mux->calls[i]))
            sum += vst_window_reserved(&mux->calls[i]->window);
    return mux->opt.memory > sum ? mux->opt.memory - sum : 0;
}

static void end_round(struct vst_mux *mux)
{
    for (unsigned i = 0; i < mux->count; i++)
        vst_window_round(&mux->calls[i]->window);
    mux->in_round = false;
    mux->rest_until_us = vst_now_us() + REST_US;
}

void mux_consumed(struct vst_mux *mux, size_t n)
{
    mux->since_round += n;
    if (mux->in_round || mux->since_round < ROUND_LEAST || mux->state != MUX_OPEN ||
        vst_now_us() < mux->rest_until_us)
        return;
    mux->since_round = 0;
    mux->in_round = ask(mux, NULL, NULL, true) == 0;
}

static void smooth(struct vst_mux *mux, int64_t us)
{
    int64_t old = mux->stats.round_trip_us;

    us = us > 0 ? us : 1;
    mux->stats.round_trip_us = old ? (old * 7 + us) / 8 : us;
}

int mux_pong_came(struct vst_mux *mux, uint64_t token)
{
    struct mux_ping *ping = STAILQ_FIRST(&mux->pings);
    int64_t us;

    if (!ping || token != mux->first_token)
        return mux_broken(mux, "PONG to no PING");
    mux->first_token++;
    STAILQ_REMOVE_HEAD(&mux->pings, next);
    us = vst_now_us() - ping->sent_us;
    smooth(mux, us);
    if (ping->ends_round)
        end_round(mux);
    if (ping->pong)
        ping->pong(ping->opaque, us);
    free(ping);
    return 0;
}

/* ---- silence ---- */

void mux_tick(struct vst_mux *mux)
{
    struct vst_error err = {0};

    if (mux->heard || mux_flooded(mux)) {
        mux->heard = false;
        mux->silent = 0;
        return;
    }
    if (mux->silent++ < SILENT_MAX) {
        ask(mux, NULL, NULL, false);
        return;
    }
    vst_error_set(&err, VST_ERR_LOST,
                  "the peer has said nothing for %llu ms, nor answered %d pings",
                  (unsigned long long)mux->opt.keepalive_ms * mux->silent, SILENT_MAX);
    mux_fail(mux, &err, false);
}

void mux_pings_fail(struct vst_mux *mux)
{
    struct mux_ping *ping;

    while ((ping = STAILQ_FIRST(&mux->pings))) {
        STAILQ_REMOVE_HEAD(&mux->pings, next);
        if (ping->pong && !mux->freed)
            ping->pong(ping->opaque, -1);
        free(ping);
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One step of moving bytes between two channels. This is the only place that decides how bytes
 * travel; pumps above it decide when.
 */
#include "buffer.h"
#include "pump.h"

/*
 * What one read asks for, and what is gathered for one write where the source gives less at a time:
 * large enough to be cheap, small enough to write while it is in cache.
 */
enum { CHUNK = 256 * 1024 };

/* What a call into a channel costs at least: many small moves are work too. */
enum { CALL = 4096 };

static void spend(struct vst_transfer *step, size_t n)
{
    step->budget -= vst_least(step->budget, n > CALL ? n : CALL);
}

/* A shorter one goes through the buffer, as zeros: so the bytes around it need not wait. */
static uint64_t hole_ahead(const struct vst_transfer *step)
{
    uint64_t n = 0;

    if (step->source && step->sink && step->in == VST_IO_OK && vst_channel_takes_holes(step->sink))
        n = vst_channel_hole(step->source);
    return n >= CHUNK ? n : 0;
}

static bool take(struct vst_transfer *step)
{
    size_t held = evbuffer_get_length(step->buffer);
    size_t n = 0;

    if (!step->source || step->in != VST_IO_OK || held >= step->limit || !step->budget ||
        hole_ahead(step))
        return false;
    step->in =
        vst_channel_read(step->source, step->buffer, vst_least(step->limit - held, CHUNK), &n);
    if (step->in != VST_IO_OK)
        return false;
    step->taken += n;
    spend(step, n);
    return true;
}

static bool deliver(struct vst_transfer *step)
{
    size_t held = evbuffer_get_length(step->buffer);
    size_t n = 0;

    if (!step->sink || step->out != VST_IO_OK || !held)
        return false;
    step->out = vst_channel_write(step->sink, step->buffer, held, &n);
    if (step->out != VST_IO_OK)
        return false;
    step->delivered += n;
    spend(step, 0);
    return true;
}

/* The bytes before it have to be out. */
static bool pass_hole(struct vst_transfer *step)
{
    uint64_t n = hole_ahead(step);

    if (!n || step->out != VST_IO_OK || evbuffer_get_length(step->buffer) || !step->budget)
        return false;
    step->out = vst_channel_write_hole(step->sink, n, &n);
    if (step->out != VST_IO_OK)
        return false;
    vst_channel_skip(step->source, n);
    step->taken += n;
    step->delivered += n;
    spend(step, 0);
    return true;
}

void vst_transfer(struct vst_transfer *step)
{
    bool moved;

    step->in = step->out = VST_IO_OK;
    step->taken = step->delivered = 0;
    do {
        moved = take(step);
        while (moved && evbuffer_get_length(step->buffer) < CHUNK && take(step))
            continue;
        moved |= deliver(step);
        moved |= pass_hole(step);
    } while (moved && step->budget);
}

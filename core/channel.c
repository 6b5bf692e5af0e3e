/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all channels have in common: calls go to the implementation or, when it has nothing to add,
 * to the channel below; failure and end stay; wants travel down a stack and announcements up.
 * It moves no bytes.
 */
#include "channel.h"

#include <stdlib.h>

static const struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

void vst_channel_init(struct vst_channel *ch, const struct vst_channel_ops *ops,
                      struct event_base *base, struct vst_channel *lower)
{
    *ch = (struct vst_channel){.ops = ops, .base = base, .lower = lower};
    if (lower)
        lower->upper = ch;
}

static struct vst_channel *leaf_of(struct vst_channel *ch)
{
    while (ch->lower)
        ch = ch->lower;
    return ch;
}

/* ---- errors ---- */

struct vst_error *vst_channel_fail(struct vst_channel *ch)
{
    for (struct vst_channel *at = ch->lower; at; at = at->lower)
        if (at->dead)
            return at->failed;
    if (!ch->failed && !ch->dead)
        ch->failed = calloc(1, sizeof(*ch->failed));
    return ch->failed;
}

struct vst_error *vst_channel_explain(struct vst_channel *ch)
{
    if (!ch->failed)
        ch->failed = calloc(1, sizeof(*ch->failed));
    return ch->failed;
}

const struct vst_error *vst_channel_error(const struct vst_channel *ch)
{
    for (; ch; ch = ch->lower)
        if (vst_error_is_set(ch->failed))
            return ch->failed;
    return &no_memory;
}

/* ---- calls ---- */

static enum vst_io settle(struct vst_channel *ch, unsigned dirs, enum vst_io io)
{
    if (io == VST_IO_FAIL)
        ch->dead |= dirs;
    return io;
}

static enum vst_io refuse_nothing(struct vst_channel *ch, unsigned dir)
{
    vst_error_set(vst_channel_fail(ch), VST_ERR_INTERNAL, "%s: asked to move no bytes",
                  ch->ops->name);
    return settle(ch, dir, VST_IO_FAIL);
}

enum vst_io vst_channel_open(struct vst_channel *ch)
{
    if (ch->dead)
        return VST_IO_FAIL;
    if (ch->ops->open)
        return settle(ch, VST_READ | VST_WRITE, ch->ops->open(ch));
    return ch->lower ? vst_channel_open(ch->lower) : VST_IO_OK;
}

enum vst_io vst_channel_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    enum vst_io io;

    if (ch->dead & VST_READ)
        return VST_IO_FAIL;
    if (ch->ended)
        return VST_IO_EOF;
    if (!max)
        return refuse_nothing(ch, VST_READ);
    io = ch->ops->read(ch, into, max, ret_n);
    ch->ended = io == VST_IO_EOF;
    return settle(ch, VST_READ, io);
}

enum vst_io vst_channel_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    if (ch->dead & VST_WRITE)
        return VST_IO_FAIL;
    if (!max || !evbuffer_get_length(from))
        return refuse_nothing(ch, VST_WRITE);
    return settle(ch, VST_WRITE, ch->ops->write(ch, from, max, ret_n));
}

enum vst_io vst_channel_finish(struct vst_channel *ch)
{
    if (ch->dead & VST_WRITE)
        return VST_IO_FAIL;
    if (ch->ops->finish)
        return settle(ch, VST_WRITE, ch->ops->finish(ch));
    return ch->lower ? vst_channel_finish(ch->lower) : VST_IO_OK;
}

void vst_channel_abort(struct vst_channel *ch, const struct vst_error *why)
{
    if (ch->ops->abort)
        ch->ops->abort(ch, why);
    else if (ch->lower)
        vst_channel_abort(ch->lower, why);
    vst_error_copy(vst_channel_fail(ch), why);
    ch->dead |= VST_WRITE;
}

size_t vst_channel_buffered(struct vst_channel *ch)
{
    if (ch->ops->buffered)
        return ch->ops->buffered(ch);
    return ch->lower ? vst_channel_buffered(ch->lower) : 0;
}

size_t vst_channel_undelivered(struct vst_channel *ch, uint64_t *ret_passed)
{
    ch = leaf_of(ch);
    *ret_passed = 0;
    return ch->ops->undelivered ? ch->ops->undelivered(ch, ret_passed) : 0;
}

/* ---- holes ---- */

uint64_t vst_channel_hole(struct vst_channel *ch)
{
    if ((ch->dead & VST_READ) || ch->ended || !ch->ops->hole)
        return 0;
    return ch->ops->hole(ch);
}

void vst_channel_skip(struct vst_channel *ch, uint64_t n)
{
    ch->ops->skip(ch, n);
}

bool vst_channel_takes_holes(const struct vst_channel *ch)
{
    return ch->ops->write_hole && (!ch->lower || vst_channel_takes_holes(ch->lower));
}

enum vst_io vst_channel_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n)
{
    if (ch->dead & VST_WRITE)
        return VST_IO_FAIL;
    if (!n)
        return refuse_nothing(ch, VST_WRITE);
    return settle(ch, VST_WRITE, ch->ops->write_hole(ch, n, ret_n));
}

uint64_t vst_layer_hole(struct vst_channel *ch)
{
    return vst_channel_hole(ch->lower);
}

void vst_layer_skip(struct vst_channel *ch, uint64_t n)
{
    vst_channel_skip(ch->lower, n);
}

enum vst_io vst_layer_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n)
{
    return vst_channel_write_hole(ch->lower, n, ret_n);
}

/* ---- waiting ---- */

void vst_channel_listen(struct vst_channel *ch, enum vst_dir dir, void (*fn)(void *), void *opaque)
{
    ch->listener[dir == VST_WRITE] = (struct vst_listener){fn, opaque};
}

void vst_channel_want(struct vst_channel *ch, enum vst_dir dir, bool on)
{
    unsigned wanted = on ? ch->wanted | dir : ch->wanted & ~(unsigned)dir;

    if (wanted == ch->wanted)
        return;
    ch->wanted = wanted;
    vst_channel_rearm(ch);
}

void vst_channel_rearm(struct vst_channel *ch)
{
    for (; ch->lower; ch = ch->lower) {
        unsigned below = ch->ops->wants ? ch->ops->wants(ch, ch->wanted) : ch->wanted;

        if (below == ch->lower->wanted)
            return;
        ch->lower->wanted = below;
    }
    if (ch->ops->arm)
        ch->ops->arm(ch, ch->wanted);
}

static void tell(struct vst_channel *top, unsigned dirs)
{
    for (unsigned dir = VST_READ; dir <= VST_WRITE; dir <<= 1) {
        struct vst_listener listener = top->listener[dir == VST_WRITE];

        /* Looked at each time: the first listener may have freed the channel. */
        if ((dirs & dir & top->wanted) && listener.fn)
            listener.fn(listener.opaque);
    }
}

static void destroy_from(struct vst_channel *ch)
{
    while (ch) {
        struct vst_channel *lower = ch->lower;

        free(ch->failed);
        ch->ops->destroy(ch);
        ch = lower;
    }
}

void vst_channel_announce(struct vst_channel *ch, unsigned dirs)
{
    struct vst_channel *leaf = leaf_of(ch);

    leaf->held++;
    while (ch->upper && !ch->upper->ops->ready)
        ch = ch->upper;
    if (ch->upper)
        ch->upper->ops->ready(ch->upper, dirs);
    else
        tell(ch, dirs);
    if (--leaf->held == 0 && leaf->doomed)
        destroy_from(leaf->doomed);
}

void vst_channel_free(struct vst_channel **slot)
{
    struct vst_channel *ch = *slot;
    struct vst_channel *leaf;

    if (!ch)
        return;
    *slot = NULL;
    leaf = leaf_of(ch);
    if (!leaf->held) {
        destroy_from(ch);
        return;
    }
    leaf->doomed = ch;
    ch->wanted = 0;
    vst_channel_rearm(ch);
}

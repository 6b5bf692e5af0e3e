/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Misbehaves as told: fails, ends, stalls, delays, flips a bit, moves little at a time. What it
 * does in one direction does not depend on the other. finish() counts as an operation of writing,
 * so a fault at the very end of the data is met there.
 */
#include <errno.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stdlib.h>

#include "channel.h"

/* One direction. */
struct way {
    uint64_t passed; /* bytes */
    bool waiting;    /* DELAY: the timer runs */
    bool waited;     /* DELAY: the operation at hand has had its wait */
    struct event timer;
    struct fault *fault;
    enum vst_dir dir;
};

struct fault {
    struct vst_channel base;
    struct vst_fault what;
    struct way ways[2];
};

static struct way *way_of(struct vst_channel *ch, enum vst_dir dir)
{
    return &((struct fault *)ch)->ways[dir == VST_WRITE];
}

static bool reached(const struct way *way)
{
    return way->passed >= way->fault->what.offset;
}

static bool flips(const struct way *way)
{
    return way->fault->what.kind == VST_FAULT_FLIP && way->passed == way->fault->what.offset;
}

/* ---- what becomes of an operation that begins here; OK: it goes on below ---- */

static enum vst_io fail(struct way *way, int number)
{
    vst_error_system(vst_channel_fail(&way->fault->base), number,
                     "fault at offset %" PRIu64 " while %s", way->passed,
                     way->dir == VST_READ ? "reading" : "writing");
    return VST_IO_FAIL;
}

static enum vst_io no_memory(struct way *way)
{
    vst_error_no_memory(vst_channel_fail(&way->fault->base));
    return VST_IO_FAIL;
}

static enum vst_io stall(struct way *way)
{
    vst_channel_rearm(&way->fault->base);
    return VST_IO_AGAIN;
}

static enum vst_io delay(struct way *way)
{
    unsigned us = way->fault->what.delay_us;
    struct timeval time = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

    if (way->waited)
        return VST_IO_OK;
    if (way->waiting)
        return VST_IO_AGAIN;
    if (event_add(&way->timer, &time) < 0)
        return no_memory(way);
    way->waiting = true;
    vst_channel_rearm(&way->fault->base);
    return VST_IO_AGAIN;
}

static enum vst_io judge(struct way *way)
{
    const struct vst_fault *what = &way->fault->what;

    if (!reached(way))
        return VST_IO_OK;
    switch (what->kind) {
    case VST_FAULT_FAIL:
        return fail(way, what->number);
    case VST_FAULT_CUT:
        return way->dir == VST_READ ? VST_IO_EOF : fail(way, EPIPE);
    case VST_FAULT_STALL:
        return stall(way);
    case VST_FAULT_DELAY:
        return delay(way);
    case VST_FAULT_FLIP:
    case VST_FAULT_SHORT:
        break;
    }
    return VST_IO_OK;
}

/* The offset is a border that no operation crosses. */
static size_t bounded(const struct way *way, size_t max)
{
    const struct vst_fault *what = &way->fault->what;
    uint64_t bound = UINT64_MAX;

    if (what->kind == VST_FAULT_SHORT)
        bound = (uint64_t)what->number;
    else if (!reached(way))
        bound = what->offset - way->passed;
    return bound < max ? (size_t)bound : max;
}

static void count(struct way *way, size_t n)
{
    way->passed += n;
    way->waited = false;
}

/* ---- the byte to be flipped travels alone ---- */

static int add_flipped(const struct way *way, struct evbuffer *to, unsigned char byte)
{
    byte ^= (unsigned char)(1u << way->fault->what.bit);
    return evbuffer_add(to, &byte, 1);
}

static enum vst_io read_flipped(struct way *way, struct evbuffer *into)
{
    struct evbuffer *one = evbuffer_new();
    enum vst_io io;
    unsigned char byte;
    size_t n;

    if (!one)
        return no_memory(way);
    io = vst_channel_read(way->fault->base.lower, one, 1, &n);
    if (io == VST_IO_OK && evbuffer_remove(one, &byte, 1) == 1 && add_flipped(way, into, byte) < 0)
        io = no_memory(way);
    evbuffer_free(one);
    return io;
}

static enum vst_io write_flipped(struct way *way, struct evbuffer *from)
{
    struct evbuffer *one = evbuffer_new();
    enum vst_io io;
    unsigned char byte;
    size_t n;

    if (!one)
        return no_memory(way);
    evbuffer_copyout(from, &byte, 1);
    if (add_flipped(way, one, byte) < 0)
        io = no_memory(way);
    else
        io = vst_channel_write(way->fault->base.lower, one, 1, &n);
    if (io == VST_IO_OK)
        evbuffer_drain(from, 1);
    evbuffer_free(one);
    return io;
}

/* ---- the channel ---- */

static enum vst_io fault_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    struct way *way = way_of(ch, VST_READ);
    enum vst_io io = judge(way);
    size_t n = 1;

    if (io != VST_IO_OK)
        return io;
    if (flips(way))
        io = read_flipped(way, into);
    else
        io = vst_channel_read(ch->lower, into, bounded(way, max), &n);
    if (io != VST_IO_OK)
        return io;
    count(way, n);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io fault_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                               size_t *ret_n)
{
    struct way *way = way_of(ch, VST_WRITE);
    enum vst_io io = judge(way);
    size_t n = 1;

    if (io != VST_IO_OK)
        return io;
    if (flips(way))
        io = write_flipped(way, from);
    else
        io = vst_channel_write(ch->lower, from, bounded(way, max), &n);
    if (io != VST_IO_OK)
        return io;
    count(way, n);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io fault_finish(struct vst_channel *ch)
{
    enum vst_io io = judge(way_of(ch, VST_WRITE));

    return io == VST_IO_OK ? vst_channel_finish(ch->lower) : io;
}

/* A direction that is held here must not be watched below: it would be ready all the time. */
static bool held(const struct way *way)
{
    return way->waiting || (way->fault->what.kind == VST_FAULT_STALL && reached(way));
}

static unsigned fault_wants(struct vst_channel *ch, unsigned dirs)
{
    if (held(way_of(ch, VST_READ)))
        dirs &= ~(unsigned)VST_READ;
    if (held(way_of(ch, VST_WRITE)))
        dirs &= ~(unsigned)VST_WRITE;
    return dirs;
}

static size_t fault_buffered(struct vst_channel *ch)
{
    return held(way_of(ch, VST_READ)) ? 0 : vst_channel_buffered(ch->lower);
}

static void timer_fired(evutil_socket_t fd, short what, void *opaque)
{
    struct way *way = opaque;

    (void)fd, (void)what;
    way->waiting = false;
    way->waited = true;
    vst_channel_rearm(&way->fault->base);
    vst_channel_announce(&way->fault->base, way->dir);
}

static void fault_destroy(struct vst_channel *ch)
{
    event_del(&way_of(ch, VST_READ)->timer);
    event_del(&way_of(ch, VST_WRITE)->timer);
    free(ch);
}

static const struct vst_channel_ops fault_ops = {
    .name = "fault",
    .read = fault_read,
    .write = fault_write,
    .destroy = fault_destroy,
    .finish = fault_finish,
    .wants = fault_wants,
    .buffered = fault_buffered,
};

static bool is_valid(const struct vst_fault *what)
{
    switch (what->kind) {
    case VST_FAULT_FAIL:
    case VST_FAULT_SHORT:
        return what->number >= 1;
    case VST_FAULT_FLIP:
        return what->bit <= 7;
    case VST_FAULT_CUT:
    case VST_FAULT_STALL:
    case VST_FAULT_DELAY:
        return true;
    }
    return false;
}

static void init_way(struct fault *fault, enum vst_dir dir)
{
    struct way *way = way_of(&fault->base, dir);

    way->fault = fault;
    way->dir = dir;
    event_assign(&way->timer, fault->base.base, -1, 0, timer_fired, way);
}

struct vst_channel *vst_channel_fault(struct vst_channel *lower, const struct vst_fault *what,
                                      struct vst_error *ret_err)
{
    struct fault *fault;

    if (!is_valid(what)) {
        vst_error_set(ret_err, VST_ERR_INVALID, "there is no fault of kind %d, number %d, bit %u",
                      what->kind, what->number, what->bit);
        return NULL;
    }
    fault = calloc(1, sizeof(*fault));
    if (!fault) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    fault->what = *what;
    vst_channel_init(&fault->base, &fault_ops, lower->base, lower);
    init_way(fault, VST_READ);
    init_way(fault, VST_WRITE);
    return &fault->base;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layer that puts codecs on a channel: buffers before and after each codec, and when to step.
 * It knows no format.
 *
 * Reading: takes what there is below until AGAIN or the limit, then steps, so that a codec gets its
 * input in pieces as large as they come and never waits for more. Writing: what was accepted flows
 * by itself; the user need not call again. Codecs may be slow (zstd at level 19 makes 6 MB/s), so
 * after WORK_NS of their time the layer says AGAIN and goes on in the next turn of the loop.
 */
#include "codec.h"

#include <stdlib.h>

#include "buffer.h"
#include "clock.h"
#include "fsm.h"
#include "turn.h"

#define WAY_STATES(X)                                                                \
    X(WAY_OPEN, "input", "bytes pass")                                               \
    X(WAY_LAST, "the codec's last output", "the input has ended, the codec has not") \
    X(WAY_ENDED, "nothing", "the codec has given all that there is")                 \
    X(WAY_FAILED, "nothing", "the codec refused its input, or all was aborted")
VST_FSM(way, WAY_STATES)

enum { WORK_NS = 3 * 1000 * 1000 };

/* One direction. Without a codec nothing else of it is used. */
struct way {
    struct vst_codec *codec;
    struct evbuffer *in;
    struct evbuffer *out;
    enum way_state state;
    bool more; /* the last step got on: another may, without input */
};

struct layer {
    struct vst_channel base;
    struct way reading;
    struct way writing;
    size_t limit;
    int64_t worked; /* nanoseconds since the last rest */
    bool resting;   /* until `rest`; no codec runs meanwhile */
    struct vst_turn rest;
};

static struct layer *layer_of(struct vst_channel *ch)
{
    return (struct layer *)ch;
}

static void enter(struct way *way, enum way_state state)
{
    vst_fsm_trace(way, way->codec->ops->name, way->state, state);
    way->state = state;
}

static enum vst_io out_of_memory(struct layer *layer, struct way *way)
{
    enter(way, WAY_FAILED);
    vst_error_no_memory(vst_channel_fail(&layer->base));
    return VST_IO_FAIL;
}

/* One step of the codec. True when it got on. */
static bool step(struct layer *layer, struct way *way)
{
    size_t had = evbuffer_get_length(way->in), gave = evbuffer_get_length(way->out);
    struct vst_error err = {0};
    int64_t began = vst_now_ns();
    int result;

    if (way->state > WAY_LAST || gave >= layer->limit)
        return false;
    result = way->codec->ops->step(way->codec, way->in, way->out, layer->limit - gave,
                                   way->state == WAY_LAST, &err);
    layer->worked += vst_now_ns() - began;
    if (layer->worked >= WORK_NS) {
        layer->worked = 0;
        layer->resting = true;
        vst_turn_schedule(&layer->rest);
    }
    if (result < 0) {
        enter(way, WAY_FAILED);
        vst_error_copy(vst_channel_fail(&layer->base), &err);
        return false;
    }
    way->more = evbuffer_get_length(way->in) != had || evbuffer_get_length(way->out) != gave;
    if (!way->more && way->state == WAY_LAST)
        enter(way, WAY_ENDED);
    return way->more;
}

/* ---- reading ---- */

/*
 * Takes from below what there is, up to the limit, in reads of half of it: then what a layer below
 * has in blocks of that size passes whole, also after a head of a few bytes. OK: enough to go on
 * with.
 */
static enum vst_io fill(struct layer *layer)
{
    struct way *way = &layer->reading;
    enum vst_io io = VST_IO_OK;
    size_t half = layer->limit / 2;
    size_t n;

    if (way->state != WAY_OPEN)
        return VST_IO_OK;
    while (io == VST_IO_OK && evbuffer_get_length(way->in) <= half)
        io = vst_channel_read(layer->base.lower, way->in, half ? half : 1, &n);
    if (io == VST_IO_EOF)
        enter(way, WAY_LAST);
    return io == VST_IO_EOF ? VST_IO_OK : io;
}

static enum vst_io hand_out(struct layer *layer, struct evbuffer *into, size_t max, size_t *ret_n)
{
    struct way *way = &layer->reading;
    size_t n = vst_buffer_whole(way->out, max);

    if (vst_buffer_move(way->out, into, n) < 0)
        return out_of_memory(layer, way);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io codec_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    struct layer *layer = layer_of(ch);
    struct way *way = &layer->reading;

    if (!way->codec)
        return vst_channel_read(ch->lower, into, max, ret_n);
    while (way->state != WAY_FAILED) {
        enum vst_io io;

        if (evbuffer_get_length(way->out))
            return hand_out(layer, into, max, ret_n);
        if (way->state == WAY_ENDED)
            return VST_IO_EOF;
        if (layer->resting)
            return VST_IO_AGAIN;
        io = fill(layer);
        if (io == VST_IO_FAIL)
            return VST_IO_FAIL;
        if (!step(layer, way) && way->state == WAY_OPEN)
            return VST_IO_AGAIN;
    }
    return VST_IO_FAIL;
}

/* ---- writing ---- */

static enum vst_io drain(struct layer *layer)
{
    struct way *way = &layer->writing;
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(way->out))
        io = vst_channel_write(layer->base.lower, way->out, evbuffer_get_length(way->out), &n);
    return io;
}

static void empty(struct evbuffer *buf)
{
    evbuffer_drain(buf, evbuffer_get_length(buf));
}

/* What is left must not follow: the end of it could make the whole look complete. */
static void drop(struct layer *layer)
{
    struct way *way = &layer->writing;

    empty(way->in);
    empty(way->out);
    enter(way, WAY_FAILED);
    vst_channel_rearm(&layer->base);
}

/*
 * Gets what was accepted on its way. OK: nothing is left to do. AGAIN: below is full, or the layer
 * rests. While below is full no step is made, so that input gathers for a larger one.
 */
static enum vst_io push(struct layer *layer)
{
    struct way *way = &layer->writing;
    enum vst_io io;

    for (;;) {
        io = drain(layer);
        if (io == VST_IO_OK && layer->resting)
            io = VST_IO_AGAIN;
        if (io != VST_IO_OK || !step(layer, way))
            break;
        while (!layer->resting && step(layer, way))
            continue;
    }
    if (io == VST_IO_FAIL || way->state == WAY_FAILED) {
        drop(layer);
        return VST_IO_FAIL;
    }
    vst_channel_rearm(&layer->base);
    return io;
}

static enum vst_io codec_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                               size_t *ret_n)
{
    struct layer *layer = layer_of(ch);
    struct way *way = &layer->writing;
    size_t held, n;

    if (!way->codec)
        return vst_channel_write(ch->lower, from, max, ret_n);
    if (way->state != WAY_OPEN) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_INTERNAL, "written to after finish()");
        return VST_IO_FAIL;
    }
    if (evbuffer_get_length(way->in) >= layer->limit && push(layer) == VST_IO_FAIL)
        return VST_IO_FAIL;
    held = evbuffer_get_length(way->in);
    if (held >= layer->limit)
        return VST_IO_AGAIN;
    n = vst_buffer_whole(from, vst_least(max, layer->limit - held));
    if (vst_buffer_move(from, way->in, n) < 0)
        return out_of_memory(layer, way);
    if (push(layer) == VST_IO_FAIL)
        return VST_IO_FAIL;
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io codec_finish(struct vst_channel *ch)
{
    struct layer *layer = layer_of(ch);
    struct way *way = &layer->writing;
    enum vst_io io;

    if (!way->codec)
        return vst_channel_finish(ch->lower);
    if (way->state == WAY_OPEN)
        enter(way, WAY_LAST);
    io = push(layer);
    return io == VST_IO_OK ? vst_channel_finish(ch->lower) : io;
}

static void codec_abort(struct vst_channel *ch, const struct vst_error *why)
{
    if (layer_of(ch)->writing.codec)
        drop(layer_of(ch));
    vst_channel_abort(ch->lower, why);
}

/* ---- readiness ---- */

static bool has_output(const struct way *way)
{
    return way->codec && evbuffer_get_length(way->out);
}

static unsigned codec_wants(struct vst_channel *ch, unsigned dirs)
{
    return has_output(&layer_of(ch)->writing) ? dirs | VST_WRITE : dirs;
}

static void codec_ready(struct vst_channel *ch, unsigned dirs)
{
    struct layer *layer = layer_of(ch);

    /* A failure stays, and is found by the next write. */
    if ((dirs & VST_WRITE) && has_output(&layer->writing))
        push(layer);
    vst_channel_announce(ch, dirs);
}

static void rested(evutil_socket_t fd, short what, void *opaque)
{
    struct layer *layer = opaque;

    (void)fd, (void)what;
    layer->resting = false;
    if (layer->writing.codec)
        push(layer);
    vst_channel_announce(&layer->base, VST_READ | VST_WRITE);
}

static size_t codec_buffered(struct vst_channel *ch)
{
    const struct way *way = &layer_of(ch)->reading;
    size_t below = vst_channel_buffered(ch->lower);

    if (!way->codec)
        return below;
    return evbuffer_get_length(way->out) + (way->more ? evbuffer_get_length(way->in) : 0) + below;
}

/* ---- making and destroying ---- */

static void free_buffers(struct way *way)
{
    if (way->in)
        evbuffer_free(way->in);
    if (way->out)
        evbuffer_free(way->out);
}

static void codec_destroy(struct vst_channel *ch)
{
    struct layer *layer = layer_of(ch);

    vst_turn_cancel(&layer->rest);
    vst_codec_free(&layer->reading.codec);
    vst_codec_free(&layer->writing.codec);
    free_buffers(&layer->reading);
    free_buffers(&layer->writing);
    free(layer);
}

static const struct vst_channel_ops codec_ops = {
    .name = "codec",
    .read = codec_read,
    .write = codec_write,
    .destroy = codec_destroy,
    .finish = codec_finish,
    .abort = codec_abort,
    .wants = codec_wants,
    .ready = codec_ready,
    .buffered = codec_buffered,
};

static bool make_way(struct way *way, struct vst_codec *codec)
{
    if (!codec)
        return true;
    way->codec = codec;
    way->in = evbuffer_new();
    way->out = evbuffer_new();
    return way->in && way->out;
}

struct vst_channel *vst_channel_codec(struct vst_channel *lower, struct vst_codec *reading,
                                      struct vst_codec *writing, size_t limit,
                                      struct vst_error *ret_err)
{
    struct layer *layer = calloc(1, sizeof(*layer));

    if (!layer || !make_way(&layer->reading, reading) || !make_way(&layer->writing, writing)) {
        if (layer) {
            free_buffers(&layer->reading);
            free_buffers(&layer->writing);
        }
        free(layer);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    layer->limit = limit ? limit : 1;
    vst_channel_init(&layer->base, &codec_ops, lower->base, lower);
    vst_turn_init(&layer->rest, lower->base, rested, layer);
    return &layer->base;
}

const struct vst_codec *vst_channel_get_codec(const struct vst_channel *ch, enum vst_dir dir)
{
    const struct layer *layer = (const struct layer *)ch;

    return dir == VST_READ ? layer->reading.codec : layer->writing.codec;
}

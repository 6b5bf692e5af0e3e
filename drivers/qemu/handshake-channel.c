/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channel of a handshake: between QEMU's socket and the rest. It knows none of the words.
 */
#include <stdlib.h>

#include "core/buffer.h"
#include "handshake.h"

enum { PIECE = 4096, CHUNK = 64 * 1024 };

struct layer {
    struct vst_channel base;
    struct vst_handshake *handshake;
};

static struct vst_handshake *handshake_of(struct vst_channel *ch)
{
    return ((struct layer *)ch)->handshake;
}

static void hear_last(struct vst_handshake *handshake, struct evbuffer *into, size_t n)
{
    unsigned char bytes[PIECE];
    struct evbuffer_ptr at;

    if (evbuffer_ptr_set(into, &at, evbuffer_get_length(into) - n, EVBUFFER_PTR_SET) == 0 &&
        evbuffer_copyout_from(into, &at, bytes, n) == (ev_ssize_t)n)
        vst_handshake_hear(handshake, bytes, n);
}

static enum vst_io layer_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    struct vst_handshake *handshake = handshake_of(ch);
    bool counts = vst_handshake_counts(handshake);
    enum vst_io io;

    if (vst_handshake_has_left(handshake))
        return VST_IO_AGAIN;
    io = vst_channel_read(ch->lower, into, counts ? vst_least(max, PIECE) : max, ret_n);
    if (io == VST_IO_OK && counts)
        hear_last(handshake, into, *ret_n);
    return io;
}

/* AGAIN: the rest goes when there is room. */
static enum vst_io flush(struct vst_channel *ch)
{
    struct evbuffer *out = vst_handshake_out(handshake_of(ch));
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(out))
        io = vst_channel_write(ch->lower, out, evbuffer_get_length(out), &n);
    return io;
}

static enum vst_io layer_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                               size_t *ret_n)
{
    struct vst_handshake *handshake = handshake_of(ch);
    size_t length = evbuffer_get_length(from);
    struct vst_error err = {0};
    enum vst_io io;

    if (vst_handshake_has_left(handshake))
        return VST_IO_AGAIN;
    io = flush(ch);
    if (io != VST_IO_OK)
        return io;
    if (vst_handshake_is_over(handshake))
        return vst_channel_write(ch->lower, from, max, ret_n);
    if (vst_handshake_take(handshake, from, vst_least(vst_least(max, length), CHUNK), &err) < 0) {
        vst_error_copy(vst_channel_fail(ch), &err);
        return VST_IO_FAIL;
    }
    *ret_n = length - evbuffer_get_length(from);
    io = flush(ch);
    vst_channel_rearm(ch);
    return io == VST_IO_FAIL ? VST_IO_FAIL : VST_IO_OK;
}

static enum vst_io layer_finish(struct vst_channel *ch)
{
    enum vst_io io;

    if (vst_handshake_has_left(handshake_of(ch)))
        return VST_IO_AGAIN;
    if (!vst_handshake_is_over(handshake_of(ch))) {
        vst_handshake_refuse(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    io = flush(ch);
    return io == VST_IO_OK ? vst_channel_finish(ch->lower) : io;
}

static unsigned layer_wants(struct vst_channel *ch, unsigned dirs)
{
    const struct vst_handshake *handshake = handshake_of(ch);

    if (vst_handshake_has_left(handshake))
        return 0;
    return evbuffer_get_length(vst_handshake_out(handshake)) ? dirs | VST_WRITE : dirs;
}

/* Also when nobody above has more to write. */
static void layer_ready(struct vst_channel *ch, unsigned dirs)
{
    if ((dirs & VST_WRITE) && !vst_handshake_has_left(handshake_of(ch)) &&
        flush(ch) != VST_IO_AGAIN)
        vst_channel_rearm(ch);
    vst_channel_announce(ch, dirs);
}

static void layer_destroy(struct vst_channel *ch)
{
    vst_handshake_unref(&((struct layer *)ch)->handshake);
    free(ch);
}

static const struct vst_channel_ops layer_ops = {
    .name = "handshake",
    .read = layer_read,
    .write = layer_write,
    .finish = layer_finish,
    .wants = layer_wants,
    .ready = layer_ready,
    .destroy = layer_destroy,
};

struct vst_channel *vst_channel_handshake(struct vst_channel *lower,
                                          struct vst_handshake *handshake,
                                          struct vst_error *ret_err)
{
    struct layer *layer = calloc(1, sizeof(*layer));

    if (!layer) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&layer->base, &layer_ops, lower->base, lower);
    layer->handshake = vst_handshake_ref(handshake);
    return &layer->base;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Joining two streams: what comes down one goes up the other, through a pair of channels and a
 * layer that waits for the far outcome. Without it a guest would be gone as soon as the other
 * stream had its bytes, whatever became of them there.
 */
#include <errno.h>
#include <stdlib.h>

#include "stream-private.h"

struct relay {
    struct vst_channel base;
    struct vst_stream *to; /* NULL once it has ended */
    bool good;             /* how it ended */
    bool read;             /* it has every byte */
    struct vst_turn turn;
};

static struct relay *relay_of(struct vst_channel *ch)
{
    return (struct relay *)ch;
}

static enum vst_io relay_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    return vst_channel_read(ch->lower, into, max, ret_n);
}

/* OK while nothing is against going on. */
static enum vst_io check(const struct relay *relay)
{
    return relay->to || relay->good ? VST_IO_OK : VST_IO_FAIL;
}

static enum vst_io relay_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                               size_t *ret_n)
{
    enum vst_io io = check(relay_of(ch));

    return io == VST_IO_OK ? vst_channel_write(ch->lower, from, max, ret_n) : io;
}

static enum vst_io relay_finish(struct vst_channel *ch)
{
    struct relay *relay = relay_of(ch);
    enum vst_io io = check(relay);

    if (io == VST_IO_OK)
        io = vst_channel_finish(ch->lower);
    if (io != VST_IO_OK || !relay->to)
        return io;
    relay->read = true;
    vst_channel_rearm(ch);
    return VST_IO_AGAIN;
}

/* The channel below could be written to all the time, but it is the outcome that we wait for. */
static unsigned relay_wants(struct vst_channel *ch, unsigned dirs)
{
    return relay_of(ch)->read ? dirs & ~(unsigned)VST_WRITE : dirs;
}

static void relay_destroy(struct vst_channel *ch)
{
    struct relay *relay = relay_of(ch);

    if (relay->to)
        relay->to->relay = NULL;
    vst_turn_cancel(&relay->turn);
    free(relay);
}

static const struct vst_channel_ops relay_ops = {
    .name = "relay",
    .read = relay_read,
    .write = relay_write,
    .finish = relay_finish,
    .wants = relay_wants,
    .destroy = relay_destroy,
};

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct relay *relay = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&relay->base, VST_WRITE);
}

void vst_relay_conclude(struct vst_stream *to, const struct vst_error *err)
{
    struct relay *relay = to->relay ? relay_of(to->relay) : NULL;

    if (!relay)
        return;
    to->relay = NULL;
    relay->to = NULL;
    relay->good = !err;
    if (err)
        vst_error_copy(vst_channel_fail(&relay->base), err);
    vst_turn_schedule(&relay->turn);
}

static struct vst_channel *relay_new(struct vst_channel *lower, struct vst_stream *to)
{
    struct relay *relay = calloc(1, sizeof(*relay));

    if (!relay)
        return NULL;
    vst_channel_init(&relay->base, &relay_ops, lower->base, lower);
    vst_turn_init(&relay->turn, lower->base, turn, relay);
    relay->to = to;
    return &relay->base;
}

/* A stream that waited for its own outcome would wait for ever. */
static int make_pair(struct vst_stream *from, struct vst_stream *to, struct vst_channel *ends[2])
{
    size_t limit = from->limit < to->limit ? from->limit : to->limit;

    errno = EINVAL;
    if (from == to || from->base != to->base || !vst_half_may_set(&from->down) ||
        !vst_half_may_set(&to->up))
        return -1;
    return vst_channel_pair(from->base, limit, ends, NULL);
}

int vst_stream_join_back(struct vst_stream *from, struct vst_stream *to)
{
    struct vst_channel *ends[2];

    if (make_pair(from, to, ends) < 0)
        return -1;
    from->down.app = from->down.leaf = ends[0];
    to->up.app = to->up.leaf = ends[1];
    return 0;
}

int vst_stream_join(struct vst_stream *from, struct vst_stream *to)
{
    struct vst_channel *ends[2], *relay;

    if (make_pair(from, to, ends) < 0)
        return -1;
    relay = relay_new(ends[0], to);
    if (!relay) {
        vst_channel_free(&ends[0]);
        vst_channel_free(&ends[1]);
        return -1;
    }
    from->down.app = relay;
    from->down.leaf = ends[0];
    to->up.app = to->up.leaf = ends[1];
    to->relay = relay;
    return 0;
}

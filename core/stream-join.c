/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Joining two streams: what comes down one goes up the other, through a pair of channels and a
 * layer that waits for the far outcome. Without it a guest would be gone as soon as the other
 * stream had its bytes, whatever became of them there.
 */
#include <errno.h>
#include <stdlib.h>

#include "stream-private.h"

/* The layer that waits. */
struct joint {
    struct vst_channel base;
    struct vst_stream *to; /* NULL once it has ended */
    bool good;             /* how it ended */
    bool read;             /* it has every byte */
    struct vst_turn turn;
};

static struct joint *joint_of(struct vst_channel *ch)
{
    return (struct joint *)ch;
}

static enum vst_io joint_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    return vst_channel_read(ch->lower, into, max, ret_n);
}

/* OK while nothing is against going on. */
static enum vst_io check(const struct joint *joint)
{
    return joint->to || joint->good ? VST_IO_OK : VST_IO_FAIL;
}

static enum vst_io joint_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                               size_t *ret_n)
{
    enum vst_io io = check(joint_of(ch));

    return io == VST_IO_OK ? vst_channel_write(ch->lower, from, max, ret_n) : io;
}

static enum vst_io joint_finish(struct vst_channel *ch)
{
    struct joint *joint = joint_of(ch);
    enum vst_io io = check(joint);

    if (io == VST_IO_OK)
        io = vst_channel_finish(ch->lower);
    if (io != VST_IO_OK || !joint->to)
        return io;
    joint->read = true;
    vst_channel_rearm(ch);
    return VST_IO_AGAIN;
}

/* The channel below could be written to all the time, but it is the outcome that we wait for. */
static unsigned joint_wants(struct vst_channel *ch, unsigned dirs)
{
    return joint_of(ch)->read ? dirs & ~(unsigned)VST_WRITE : dirs;
}

static void joint_destroy(struct vst_channel *ch)
{
    struct joint *joint = joint_of(ch);

    if (joint->to)
        joint->to->joint = NULL;
    vst_turn_cancel(&joint->turn);
    free(joint);
}

static const struct vst_channel_ops joint_ops = {
    .name = "joint",
    .read = joint_read,
    .write = joint_write,
    .finish = joint_finish,
    .wants = joint_wants,
    .destroy = joint_destroy,
};

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct joint *joint = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&joint->base, VST_WRITE);
}

void vst_joint_conclude(struct vst_stream *to, const struct vst_error *err)
{
    struct joint *joint = to->joint ? joint_of(to->joint) : NULL;

    if (!joint)
        return;
    to->joint = NULL;
    joint->to = NULL;
    joint->good = !err;
    if (err)
        vst_error_copy(vst_channel_fail(&joint->base), err);
    vst_turn_schedule(&joint->turn);
}

static struct vst_channel *joint_new(struct vst_channel *lower, struct vst_stream *to)
{
    struct joint *joint = calloc(1, sizeof(*joint));

    if (!joint)
        return NULL;
    vst_channel_init(&joint->base, &joint_ops, lower->base, lower);
    vst_turn_init(&joint->turn, lower->base, turn, joint);
    joint->to = to;
    return &joint->base;
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
    struct vst_channel *ends[2], *joint;

    if (make_pair(from, to, ends) < 0)
        return -1;
    joint = joint_new(ends[0], to);
    if (!joint) {
        vst_channel_free(&ends[0]);
        vst_channel_free(&ends[1]);
        return -1;
    }
    from->down.app = joint;
    from->down.leaf = ends[0];
    to->up.app = to->up.leaf = ends[1];
    to->joint = joint;
    return 0;
}

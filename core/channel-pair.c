/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two channels in memory, end to end. Bytes wait in the end that will read them. Each end lives as
 * long as its owner wants; what it has to say at its own end it leaves with the other.
 */
#include "leaf.h"

#include <stdlib.h>

#include "buffer.h"

/* What the other end has said about the bytes it writes. */
enum verdict {
    MORE_MAY_COME,
    COMPLETE,   /* it has finished: EOF after what is held */
    INCOMPLETE, /* it was aborted or destroyed: FAIL after what is held */
};

struct end {
    struct vst_leaf leaf;
    struct end *peer;      /* NULL once destroyed */
    struct evbuffer *held; /* NULL when empty, so that an idle pair is small */
    size_t limit;
    uint64_t read; /* bytes, by it */
    enum verdict verdict;
    struct vst_error *why; /* it was aborted, if INCOMPLETE; may be missing */
    bool taken;            /* it has read the end */
    bool delivered;        /* the other end had done so, and was destroyed */
};

static struct end *end_of(struct vst_channel *ch)
{
    return (struct end *)ch;
}

static size_t length_of(const struct end *end)
{
    return end->held ? evbuffer_get_length(end->held) : 0;
}

static void drop_empty(struct end *end)
{
    if (length_of(end) || !end->held)
        return;
    evbuffer_free(end->held);
    end->held = NULL;
}

static size_t room(const struct end *end)
{
    size_t held = length_of(end->peer);

    return held < end->limit ? end->limit - held : 0;
}

static bool finished(const struct end *end)
{
    return end->peer->verdict == COMPLETE;
}

static unsigned ready(const struct vst_leaf *leaf)
{
    const struct end *end = (const struct end *)leaf;
    unsigned dirs = 0;

    if (length_of(end) || end->verdict != MORE_MAY_COME)
        dirs |= VST_READ;
    if (!end->peer)
        return dirs | VST_WRITE;
    if (finished(end) ? end->peer->taken : room(end) > 0)
        dirs |= VST_WRITE;
    return dirs;
}

static enum vst_io move(struct vst_channel *ch, struct evbuffer *from, struct evbuffer *to,
                        size_t max, size_t *ret_n)
{
    size_t n = vst_least(max, evbuffer_get_length(from));

    if (vst_buffer_move(from, to, n) < 0) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io at_end(struct end *end)
{
    static const struct vst_error gone = {
        .code = VST_ERR_TRUNCATED,
        .text = "the other end of the pair went away without saying that it had finished",
    };

    if (end->verdict == MORE_MAY_COME)
        return VST_IO_AGAIN;
    if (end->verdict == COMPLETE) {
        end->taken = true;
        if (end->peer)
            vst_leaf_wake(&end->peer->leaf);
        return VST_IO_EOF;
    }
    vst_error_copy(vst_channel_fail(&end->leaf.ch), end->why ? end->why : &gone);
    return VST_IO_FAIL;
}

static enum vst_io pair_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    struct end *end = end_of(ch);
    enum vst_io io;

    if (!length_of(end))
        return at_end(end);
    io = move(ch, end->held, into, max, ret_n);
    end->read += io == VST_IO_OK ? *ret_n : 0;
    drop_empty(end);
    if (end->peer)
        vst_leaf_wake(&end->peer->leaf);
    return io;
}

static enum vst_io fail_lost(struct vst_channel *ch)
{
    vst_error_set(vst_channel_fail(ch), VST_ERR_LOST, "the other end of the pair is gone");
    return VST_IO_FAIL;
}

static enum vst_io pair_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    struct end *end = end_of(ch);
    enum vst_io io;
    size_t free_bytes;

    if (!end->peer)
        return fail_lost(ch);
    if (finished(end)) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "written to after its end");
        return VST_IO_FAIL;
    }
    free_bytes = room(end);
    if (!free_bytes)
        return VST_IO_AGAIN;
    if (!end->peer->held)
        end->peer->held = evbuffer_new();
    if (!end->peer->held) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    io = move(ch, from, end->peer->held, vst_least(max, free_bytes), ret_n);
    vst_leaf_wake(&end->peer->leaf);
    return io;
}

static enum vst_io pair_finish(struct vst_channel *ch)
{
    struct end *end = end_of(ch);

    if (end->delivered)
        return VST_IO_OK;
    if (!end->peer)
        return fail_lost(ch);
    end->peer->verdict = COMPLETE;
    vst_leaf_wake(&end->peer->leaf);
    return end->peer->taken ? VST_IO_OK : VST_IO_AGAIN;
}

/* It finishes when nothing is. */
static size_t pair_undelivered(struct vst_channel *ch, uint64_t *ret_passed)
{
    const struct end *end = end_of(ch);

    if (end->peer)
        *ret_passed = end->peer->read;
    return 0;
}

/* Tells the reader that what this end wrote is not all there should have been. */
static void pair_abort(struct vst_channel *ch, const struct vst_error *why)
{
    struct end *peer = end_of(ch)->peer;

    if (!peer || peer->verdict == INCOMPLETE)
        return;
    peer->verdict = INCOMPLETE;
    peer->why = malloc(sizeof(*peer->why));
    if (peer->why)
        *peer->why = *why;
    vst_leaf_wake(&peer->leaf);
}

static void leave(struct end *end)
{
    struct end *peer = end->peer;

    if (!peer)
        return;
    if (peer->verdict == MORE_MAY_COME)
        peer->verdict = INCOMPLETE;
    peer->delivered = end->taken;
    peer->peer = NULL;
    vst_leaf_wake(&peer->leaf);
}

static void pair_destroy(struct vst_channel *ch)
{
    struct end *end = end_of(ch);

    leave(end);
    vst_leaf_fini(&end->leaf);
    if (end->held)
        evbuffer_free(end->held);
    free(end->why);
    free(end);
}

static const struct vst_channel_ops pair_ops = {
    .name = "pair",
    .read = pair_read,
    .write = pair_write,
    .finish = pair_finish,
    .abort = pair_abort,
    .destroy = pair_destroy,
    .arm = vst_leaf_arm,
    .undelivered = pair_undelivered,
};

static void end_init(struct end *end, struct end *peer, struct event_base *base, size_t limit)
{
    vst_leaf_init(&end->leaf, &pair_ops, base, ready);
    end->peer = peer;
    end->limit = limit;
}

int vst_channel_pair(struct event_base *base, size_t limit, struct vst_channel *ret_ends[2],
                     struct vst_error *ret_err)
{
    struct end *a = calloc(1, sizeof(*a));
    struct end *b = calloc(1, sizeof(*b));

    if (!a || !b) {
        free(a);
        free(b);
        return vst_error_no_memory(ret_err);
    }
    end_init(a, b, base, limit);
    end_init(b, a, base, limit);
    ret_ends[0] = &a->leaf.ch;
    ret_ends[1] = &b->leaf.ch;
    return 0;
}

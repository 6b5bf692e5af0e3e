/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console's two parts: the end that drains QEMU's socket, for as long as the guest is ours, and
 * the viewer's channel, for as long as somebody looks. Both keep at most VST_CONSOLE_RING bytes.
 */
#include "console.h"

#include <stdlib.h>

#include "core/buffer.h"
#include "core/turn.h"

struct viewer {
    struct vst_channel base;
    struct vst_console_end *console; /* NULL when that is gone, or the viewer is to end */
    struct evbuffer *queue;          /* for the viewer to read */
    struct vst_turn turn;
};

struct vst_console_end {
    struct event_base *base;
    struct vst_channel *guest; /* the socket; NULL once it has ended */
    struct evbuffer *ring;     /* the last of what the guest printed */
    struct viewer *viewer;
};

/* Appends, and lets go of the oldest. Losing bytes without memory is no worse. */
static void keep(struct evbuffer *ring, const struct evbuffer_iovec *bytes)
{
    size_t held;

    evbuffer_add(ring, bytes->iov_base, bytes->iov_len);
    held = evbuffer_get_length(ring);
    if (held > VST_CONSOLE_RING)
        evbuffer_drain(ring, held - VST_CONSOLE_RING);
}

static void guest_ended(struct vst_console_end *console)
{
    vst_channel_free(&console->guest);
    if (console->viewer)
        vst_turn_schedule(&console->viewer->turn);
}

/* One turn takes at most one ring's worth: a guest that prints for ever does not hold the loop. */
static void drain(void *opaque)
{
    struct vst_console_end *console = opaque;
    struct evbuffer *fresh = evbuffer_new();
    struct evbuffer_iovec bytes;
    enum vst_io io;
    size_t n;

    if (!fresh)
        return; /* announced again as long as it is readable */
    io = vst_channel_read(console->guest, fresh, VST_CONSOLE_RING, &n);
    if (io == VST_IO_OK) {
        bytes.iov_len = evbuffer_get_length(fresh);
        bytes.iov_base = evbuffer_pullup(fresh, -1);
        if (bytes.iov_base) {
            keep(console->ring, &bytes);
            if (console->viewer)
                keep(console->viewer->queue, &bytes);
        }
        if (console->viewer)
            vst_turn_schedule(&console->viewer->turn);
    } else if (io != VST_IO_AGAIN) {
        guest_ended(console);
    }
    evbuffer_free(fresh);
}

struct vst_console_end *vst_console_new(struct event_base *base, int *fd, struct vst_error *ret_err)
{
    struct vst_console_end *console = calloc(1, sizeof(*console));

    if (!console || !(console->ring = evbuffer_new())) {
        free(console);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    console->base = base;
    console->guest = vst_channel_fd(base, fd, ret_err);
    if (!console->guest) {
        vst_console_free(&console);
        return NULL;
    }
    vst_channel_listen(console->guest, VST_READ, drain, console);
    vst_channel_want(console->guest, VST_READ, true);
    return console;
}

void vst_console_free(struct vst_console_end **slot)
{
    struct vst_console_end *console = *slot;

    *slot = NULL;
    if (!console)
        return;
    if (console->viewer) {
        console->viewer->console = NULL;
        vst_turn_schedule(&console->viewer->turn);
    }
    vst_channel_free(&console->guest);
    evbuffer_free(console->ring);
    free(console);
}

bool vst_console_is_viewed(const struct vst_console_end *console)
{
    return console && console->viewer;
}

/* ---- the viewer ---- */

static struct viewer *viewer_of(struct vst_channel *ch)
{
    return (struct viewer *)ch;
}

static bool has_ended(const struct viewer *viewer)
{
    return !viewer->console || !viewer->console->guest;
}

static enum vst_io viewer_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                               size_t *ret_n)
{
    struct viewer *viewer = viewer_of(ch);
    size_t n = vst_least(evbuffer_get_length(viewer->queue), max);

    if (n == 0)
        return has_ended(viewer) ? VST_IO_EOF : VST_IO_AGAIN;
    if (vst_buffer_move(viewer->queue, into, n) < 0) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io viewer_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *ret_n)
{
    struct viewer *viewer = viewer_of(ch);
    enum vst_io io = VST_IO_FAIL;

    if (!has_ended(viewer))
        io = vst_channel_write(viewer->console->guest, from, max, ret_n);
    if (io != VST_IO_FAIL)
        return io;
    /* Nobody listens any more; the reading side says how it ends. */
    *ret_n = vst_least(evbuffer_get_length(from), max);
    evbuffer_drain(from, *ret_n);
    return VST_IO_OK;
}

/* Typing is over; the guest goes on printing. */
static enum vst_io viewer_finish(struct vst_channel *ch)
{
    (void)ch;
    return VST_IO_OK;
}

static void told(evutil_socket_t fd, short what, void *opaque)
{
    struct viewer *viewer = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&viewer->base, VST_READ | VST_WRITE);
}

static void guest_writable(void *opaque)
{
    struct viewer *viewer = opaque;

    vst_channel_announce(&viewer->base, VST_WRITE);
}

static void viewer_arm(struct vst_channel *ch, unsigned dirs)
{
    struct viewer *viewer = viewer_of(ch);

    if (!has_ended(viewer))
        vst_channel_want(viewer->console->guest, VST_WRITE, dirs & VST_WRITE);
}

static void viewer_destroy(struct vst_channel *ch)
{
    struct viewer *viewer = viewer_of(ch);

    if (viewer->console) {
        viewer->console->viewer = NULL;
        if (viewer->console->guest) {
            vst_channel_want(viewer->console->guest, VST_WRITE, false);
            vst_channel_listen(viewer->console->guest, VST_WRITE, NULL, NULL);
        }
    }
    vst_turn_cancel(&viewer->turn);
    evbuffer_free(viewer->queue);
    free(viewer);
}

static const struct vst_channel_ops viewer_ops = {
    .name = "console",
    .read = viewer_read,
    .write = viewer_write,
    .finish = viewer_finish,
    .destroy = viewer_destroy,
    .arm = viewer_arm,
};

static struct evbuffer *copy_of(struct evbuffer *ring)
{
    struct evbuffer *copy = evbuffer_new();
    size_t held = evbuffer_get_length(ring);
    unsigned char *bytes = evbuffer_pullup(ring, -1);

    if (copy && (!held || (bytes && evbuffer_add(copy, bytes, held) == 0)))
        return copy;
    if (copy)
        evbuffer_free(copy);
    return NULL;
}

struct vst_channel *vst_console_view(struct vst_console_end *console, struct vst_error *ret_err)
{
    struct viewer *viewer;

    if (console->viewer) {
        vst_error_set(ret_err, VST_ERR_BUSY, "somebody looks at this console already");
        return NULL;
    }
    viewer = calloc(1, sizeof(*viewer));
    if (!viewer || !(viewer->queue = copy_of(console->ring))) {
        free(viewer);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&viewer->base, &viewer_ops, console->base, NULL);
    vst_turn_init(&viewer->turn, console->base, told, viewer);
    viewer->console = console;
    console->viewer = viewer;
    if (console->guest)
        vst_channel_listen(console->guest, VST_WRITE, guest_writable, viewer);
    return &viewer->base;
}

void vst_console_close_viewer(struct vst_channel *ch)
{
    struct viewer *viewer = viewer_of(ch);

    if (!viewer->console)
        return;
    if (viewer->console->guest) {
        vst_channel_want(viewer->console->guest, VST_WRITE, false);
        vst_channel_listen(viewer->console->guest, VST_WRITE, NULL, NULL);
    }
    viewer->console->viewer = NULL;
    viewer->console = NULL;
    vst_turn_schedule(&viewer->turn);
}

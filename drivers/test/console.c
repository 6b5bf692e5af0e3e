/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring, and the channel of its one viewer. Positions count all bytes that were ever printed.
 */
#include "console.h"

#include <stdlib.h>

#include "core/leaf.h"

struct viewer {
    struct vst_leaf leaf;
    struct vst_test_console *console;
    uint64_t seen; /* position of the next byte for the viewer */
    bool leaving;  /* nothing more will be typed */
};

struct vst_test_console {
    char ring[VST_TEST_RING];
    uint64_t printed;
    bool running;
    bool gone; /* the guest is; the viewer frees the console */
    struct viewer *viewer;
};

static struct viewer *viewer_of(struct vst_channel *ch)
{
    return (struct viewer *)ch;
}

static uint64_t oldest(const struct vst_test_console *console)
{
    return console->printed > VST_TEST_RING ? console->printed - VST_TEST_RING : 0;
}

/* How much the guest can print before the viewer loses something. */
static size_t room(const struct viewer *viewer)
{
    return VST_TEST_RING - (size_t)(viewer->console->printed - viewer->seen);
}

static unsigned ready(const struct vst_leaf *leaf)
{
    const struct viewer *viewer = (const struct viewer *)leaf;
    const struct vst_test_console *console = viewer->console;
    unsigned dirs = 0;

    if (viewer->seen < console->printed || viewer->leaving || console->gone)
        dirs |= VST_READ;
    if (console->gone || (console->running && room(viewer) > 0))
        dirs |= VST_WRITE;
    return dirs;
}

/* At most as much as there is room for. */
static void print(struct viewer *viewer, const char *bytes, size_t n)
{
    struct vst_test_console *console = viewer->console;

    for (size_t i = 0; i < n; i++)
        console->ring[console->printed++ % VST_TEST_RING] = bytes[i];
    vst_leaf_wake(&viewer->leaf);
}

void vst_test_console_run(struct vst_test_console *console, bool running)
{
    console->running = running;
    if (console->viewer)
        vst_leaf_wake(&console->viewer->leaf);
}

/* ---- the viewer ---- */

static enum vst_io viewer_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                               size_t *ret_n)
{
    struct viewer *viewer = viewer_of(ch);
    struct vst_test_console *console = viewer->console;
    size_t start = viewer->seen % VST_TEST_RING;
    size_t n = (size_t)(console->printed - viewer->seen);

    if (!n)
        return viewer->leaving || console->gone ? VST_IO_EOF : VST_IO_AGAIN;
    if (n > max)
        n = max;
    if (n > VST_TEST_RING - start)
        n = VST_TEST_RING - start;
    if (evbuffer_add(into, console->ring + start, n) < 0) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    viewer->seen += n;
    vst_leaf_wake(&viewer->leaf);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io viewer_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *ret_n)
{
    struct viewer *viewer = viewer_of(ch);
    char typed[256];
    size_t n = room(viewer);
    int got;

    if (viewer->console->gone) {
        /* Nobody listens; the reading side says how it ends. */
        *ret_n = evbuffer_get_length(from) < max ? evbuffer_get_length(from) : max;
        evbuffer_drain(from, *ret_n);
        return VST_IO_OK;
    }
    if (!viewer->console->running || !n)
        return VST_IO_AGAIN;
    n = n < sizeof(typed) ? n : sizeof(typed);
    got = evbuffer_remove(from, typed, n < max ? n : max);
    print(viewer, typed, (size_t)got);
    *ret_n = (size_t)got;
    return VST_IO_OK;
}

static enum vst_io viewer_finish(struct vst_channel *ch)
{
    struct viewer *viewer = viewer_of(ch);

    viewer->leaving = true;
    vst_leaf_wake(&viewer->leaf);
    return VST_IO_OK;
}

static void viewer_destroy(struct vst_channel *ch)
{
    struct viewer *viewer = viewer_of(ch);

    viewer->console->viewer = NULL;
    if (viewer->console->gone)
        free(viewer->console);
    vst_leaf_fini(&viewer->leaf);
    free(viewer);
}

static const struct vst_channel_ops viewer_ops = {
    .name = "test console",
    .read = viewer_read,
    .write = viewer_write,
    .finish = viewer_finish,
    .destroy = viewer_destroy,
    .arm = vst_leaf_arm,
};

struct vst_channel *vst_test_console_view(struct vst_test_console *console, struct event_base *base,
                                          struct vst_error *ret_err)
{
    struct viewer *viewer;

    if (console->viewer) {
        vst_error_set(ret_err, VST_ERR_BUSY, "somebody looks at this console already");
        return NULL;
    }
    viewer = calloc(1, sizeof(*viewer));
    if (!viewer) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    viewer->console = console;
    viewer->seen = oldest(console);
    console->viewer = viewer;
    vst_leaf_init(&viewer->leaf, &viewer_ops, base, ready);
    return &viewer->leaf.ch;
}

struct vst_test_console *vst_test_console_new(struct vst_error *ret_err)
{
    struct vst_test_console *console = calloc(1, sizeof(*console));

    if (!console)
        vst_error_no_memory(ret_err);
    return console;
}

void vst_test_console_free(struct vst_test_console *console)
{
    if (!console)
        return;
    console->gone = true;
    if (console->viewer)
        vst_leaf_wake(&console->viewer->leaf);
    else
        free(console);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy of windows.
 */
#include "window.h"

enum {
    GROWTH = 4,   /* times as wide, when it was what held both up */
    LITTLE = 8,   /* less than one part in so many was needed ... */
    PATIENCE = 8, /* ... in so many rounds: it shrinks by half */
};

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void vst_window_init(struct vst_window *window, uint64_t size)
{
    *window = (struct vst_window){
        .size = size, .target = size, .least = size, .open = size, .lowest = size};
}

bool vst_window_take(struct vst_window *window, uint64_t n)
{
    if (n > window->open)
        return false;
    window->open -= n;
    window->taken += n;
    window->lowest = least_of(window->lowest, window->open);
    return true;
}

void vst_window_read(struct vst_window *window, uint64_t n)
{
    window->unsaid += n;
}

bool vst_window_due(const struct vst_window *window, bool all)
{
    return window->unsaid && (all || window->unsaid >= window->size / 4);
}

void vst_window_credit(struct vst_window *window, uint32_t *ret_read, uint32_t *ret_granted)
{
    uint64_t granted = window->unsaid;

    if (window->target > window->size) {
        granted += window->target - window->size;
        window->size = window->target;
        window->grown = window->taken + window->open + granted;
    } else {
        uint64_t cut = least_of(granted, window->size - window->target);

        granted -= cut;
        window->size -= cut;
    }
    *ret_read = (uint32_t)window->unsaid;
    *ret_granted = (uint32_t)granted;
    window->open += granted;
    window->unsaid = 0;
}

uint64_t vst_window_reserved(const struct vst_window *window)
{
    return window->size > window->target ? window->size : window->target;
}

/* What waits for the reader, or is being read. */
static uint64_t waiting(const struct vst_window *window)
{
    return window->size - window->open - window->unsaid;
}

bool vst_window_starved(struct vst_window *window, uint64_t spare)
{
    uint64_t wanted = least_of(window->target * GROWTH, VST_WINDOW_MAX);
    uint64_t width = least_of(wanted, vst_window_reserved(window) + spare);

    if (window->target != window->size || window->taken < window->grown ||
        waiting(window) > window->size / 4 || width <= window->target)
        return false;
    window->target = width;
    window->quiet = 0;
    return true;
}

void vst_window_round(struct vst_window *window)
{
    uint64_t used = window->size - least_of(window->size, window->lowest);

    window->lowest = window->open;
    if (used >= window->size / LITTLE)
        window->quiet = 0;
    else if (++window->quiet >= PATIENCE) {
        window->quiet = 0;
        window->target /= 2;
    }
    if (window->target < window->least)
        window->target = window->least;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeros that travel as bytes: they cost no memory, because all of them are references to one block,
 * and whoever can make a hole of them finds them again by looking. So do short holes, and long ones
 * where a channel on the way does not know what a hole is. The others are numbers: core/channel.h.
 */
#ifndef VST_CORE_ZEROS_H
#define VST_CORE_ZEROS_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    VST_ZEROS_LEAST = 4096,       /* the shortest run that is worth a hole */
    VST_ZEROS_BLOCK = 256 * 1024, /* the longest that one reference stands for */
};

/* VST_ZEROS_BLOCK bytes, for reading. */
const unsigned char *vst_zeros(void);

/* Appends `n` zeros without a copy. Returns 0, or -1 when out of memory: then some may be there. */
int vst_zeros_add(struct evbuffer *into, size_t n);

/*
 * What the `max` bytes of `buf` that begin at `at` (NULL: with the first) begin with. Either a run
 * of zeros that is, with the `before` zeros that came before these bytes, VST_ZEROS_LEAST long or
 * longer: its length here, and true. Or data: how much there is before the next such run, and
 * false. The buffer has `max` bytes there, at least 1. Zeros of vst_zeros_add() are not looked at
 * one by one.
 */
size_t vst_zeros_run(struct evbuffer *buf, const struct evbuffer_ptr *at, size_t max, size_t before,
                     bool *ret_zeros);

/* With how many zeros these `n` bytes end. */
size_t vst_zeros_tail(struct evbuffer *buf, const struct evbuffer_ptr *at, size_t n);

#endif

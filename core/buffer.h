/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two things that codecs and layers need of an evbuffer and that libevent does not give: a move
 * that notices when memory runs out, and a walk over bytes in place.
 */
#ifndef VST_CORE_BUFFER_H
#define VST_CORE_BUFFER_H

#include <event2/buffer.h>
#include <stddef.h>

/*
 * Moves the first `n` bytes of `from`, which has them, to the end of `into`. Long runs travel as
 * the blocks they are in, without a copy. Returns 0, or -1 when out of memory: then bytes may be
 * lost, and what the two buffers belong to has failed.
 */
int vst_buffer_move(struct evbuffer *from, struct evbuffer *into, size_t n);

/* Calls `fn` with each piece of the `n` bytes that begin at `offset`; the buffer has them. */
void vst_buffer_walk(struct evbuffer *buf, size_t offset, size_t n,
                     void (*fn)(void *opaque, const void *bytes, size_t n), void *opaque);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What channels and codecs need of an evbuffer and libevent does not give: a move that notices when
 * memory runs out, a walk over bytes in place, and a look at just so many bytes.
 */
#ifndef VST_CORE_BUFFER_H
#define VST_CORE_BUFFER_H

#include <event2/buffer.h>
#include <stddef.h>

static inline size_t vst_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * Moves the first `n` bytes of `from`, which has them, to the end of `into`. Long runs travel as
 * the blocks they are in, without a copy. Returns 0, or -1 when out of memory: then bytes may be
 * lost, and what the two buffers belong to has failed.
 */
int vst_buffer_move(struct evbuffer *from, struct evbuffer *into, size_t n);

/*
 * To be called before many large blocks come and go. glibc gives memory at the end of the heap back
 * to the kernel as soon as 128 KiB of it are free, and takes fresh pages for the next block: that
 * costs more than all else that happens to the bytes. It learns better when it sees a block of a
 * few megabytes freed. Costs a few microseconds and no memory.
 */
void vst_buffer_prepare(void);

/*
 * How much of the first `max` bytes vst_buffer_move() can move without a copy; if nothing, all of
 * them. At least 1 unless the buffer is empty. For whoever may move less than it could.
 */
size_t vst_buffer_whole(struct evbuffer *buf, size_t max);

/* Calls `fn` with each piece of the `n` bytes that begin at `offset`; the buffer has them. */
void vst_buffer_walk(struct evbuffer *buf, size_t offset, size_t n,
                     void (*fn)(void *opaque, const void *bytes, size_t n), void *opaque);

/*
 * Where the first bytes of the buffer are, at most `n` of them and in at most `room` pieces.
 * Returns the number of pieces.
 */
int vst_buffer_pieces(struct evbuffer *buf, size_t n, struct evbuffer_iovec *ret_pieces, int room);
/* The same for those that begin at `at`. */
int vst_buffer_pieces_at(struct evbuffer *buf, struct evbuffer_ptr *at, size_t n,
                         struct evbuffer_iovec *ret_pieces, int room);

#endif

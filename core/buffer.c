/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving and walking the bytes of evbuffers. No I/O and no state.
 */
#include "buffer.h"

#include <stdlib.h>

/*
 * Below this a copy is cheaper than a block that changes hands, and it keeps memory in proportion:
 * a block takes a kilobyte, so a flood of one-byte pieces would take a thousand times its size.
 */
enum { SHORT = 1024, PIECES = 16, LARGE = 4 * 1024 * 1024 };

int vst_buffer_move(struct evbuffer *from, struct evbuffer *into, size_t n)
{
    size_t before = evbuffer_get_length(into);
    char bytes[SHORT];

    if (n <= SHORT) {
        ev_ssize_t got = evbuffer_copyout(from, bytes, n);

        if (got < 0 || (size_t)got != n || evbuffer_add(into, bytes, n) < 0)
            return -1;
        return evbuffer_drain(from, n);
    }
    /* libevent's result counts what left `from`; only the length tells what has arrived. */
    if (evbuffer_remove_buffer(from, into, n) < 0 || evbuffer_get_length(into) - before != n)
        return -1;
    return 0;
}

void vst_buffer_prepare(void)
{
    /* Volatile, or the compiler sees that nothing is done with it. See M_MMAP_THRESHOLD in
     * mallopt(3): the threshold, and that of giving back, follow what is freed. */
#ifndef __SANITIZE_ADDRESS__ /* whose allocator has no such threshold, but takes its time */
    void *volatile block = malloc(LARGE);

    free(block);
#endif
}

size_t vst_buffer_whole(struct evbuffer *buf, size_t max)
{
    struct evbuffer_iovec piece[PIECES];
    size_t all = vst_least(evbuffer_get_length(buf), max);
    int count = evbuffer_peek(buf, (ev_ssize_t)all, NULL, piece, PIECES);
    size_t whole = 0;

    for (int i = 0; i < count && i < PIECES && piece[i].iov_len <= all - whole; i++)
        whole += piece[i].iov_len;
    return whole ? whole : all;
}

void vst_buffer_walk(struct evbuffer *buf, size_t offset, size_t n,
                     void (*fn)(void *opaque, const void *bytes, size_t n), void *opaque)
{
    struct evbuffer_iovec piece[PIECES];
    struct evbuffer_ptr at;

    if (!n)
        return;
    evbuffer_ptr_set(buf, &at, offset, EVBUFFER_PTR_SET);
    while (n) {
        int count = evbuffer_peek(buf, (ev_ssize_t)n, &at, piece, PIECES);
        size_t told = 0;

        for (int i = 0; i < count && i < PIECES && n; i++) {
            size_t len = vst_least(piece[i].iov_len, n);

            fn(opaque, piece[i].iov_base, len);
            told += len;
            n -= len;
        }
        if (n)
            evbuffer_ptr_set(buf, &at, told, EVBUFFER_PTR_ADD);
    }
}

int vst_buffer_pieces_at(struct evbuffer *buf, struct evbuffer_ptr *at, size_t n,
                         struct evbuffer_iovec *ret_pieces, int room)
{
    int found = evbuffer_peek(buf, (ev_ssize_t)n, at, ret_pieces, room);
    int count = 0;

    while (count < found && count < room && n) {
        ret_pieces[count].iov_len = vst_least(ret_pieces[count].iov_len, n);
        n -= ret_pieces[count++].iov_len;
    }
    return count;
}

int vst_buffer_pieces(struct evbuffer *buf, size_t n, struct evbuffer_iovec *ret_pieces, int room)
{
    return vst_buffer_pieces_at(buf, NULL, n, ret_pieces, room);
}

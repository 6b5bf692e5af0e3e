/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of memory that bytes are read into, used again and again. Without this malloc() returns
 * each to the system and gets it back a moment later, page by page: that costs more than reading.
 *
 * Bytes leave a block without a copy, as references in an evbuffer that can go anywhere and be
 * dropped by any thread. So a store lives until it has been freed and the last block is back.
 */
#ifndef VST_CORE_BLOCKS_H
#define VST_CORE_BLOCKS_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum { VST_BLOCK = 64 * 1024 };

struct vst_block {
    struct vst_blocks *blocks;
    STAILQ_ENTRY(vst_block) next; /* of whoever holds it */
    unsigned refs;
    bool zeros;     /* stands for zeros, however many; there is nothing in `bytes` */
    uint64_t begin; /* bytes[begin..end) have been filled and not been taken */
    uint64_t end;
    unsigned char bytes[VST_BLOCK];
};

STAILQ_HEAD(vst_block_list, vst_block);

/* Keeps at most `spares` blocks that are not in use. NULL: out of memory. */
struct vst_blocks *vst_blocks_new(unsigned spares);
void vst_blocks_free(struct vst_blocks **blocks);

/* An empty block, to fill. NULL: out of memory. */
struct vst_block *vst_block_get(struct vst_blocks *blocks);
void vst_block_put(struct vst_block *block);
void vst_block_put_all(struct vst_block_list *list);

/* Moves the first bytes, at most `max`, to the end of `into`. Returns how many; 0: out of memory.
 */
size_t vst_block_take(struct vst_block *block, size_t max, struct evbuffer *into);

#endif

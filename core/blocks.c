/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store of blocks: a list and counts of references, under a lock that nobody holds for long.
 */
#include "blocks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "buffer.h"
#include "zeros.h"

/* A reference takes libevent a kilobyte: up to there a copy takes less. */
enum { SHORT = 1024 };

struct vst_blocks {
    pthread_mutex_t lock;
    struct vst_block_list spare;
    unsigned spares;
    unsigned most_spares;
    unsigned refs; /* one for the owner, one for each block in use */
};

struct vst_blocks *vst_blocks_new(unsigned spares)
{
    struct vst_blocks *blocks = calloc(1, sizeof(*blocks));

    if (!blocks)
        return NULL;
    pthread_mutex_init(&blocks->lock, NULL);
    STAILQ_INIT(&blocks->spare);
    blocks->most_spares = spares;
    blocks->refs = 1;
    return blocks;
}

/* With the lock held, which is gone afterwards; and so may the store be. */
static void unlock_and_unref(struct vst_blocks *blocks)
{
    bool last = --blocks->refs == 0;

    pthread_mutex_unlock(&blocks->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&blocks->lock);
    free(blocks);
}

static struct vst_block *pop_spare(struct vst_blocks *blocks)
{
    struct vst_block *block = STAILQ_FIRST(&blocks->spare);

    if (block) {
        STAILQ_REMOVE_HEAD(&blocks->spare, next);
        blocks->spares--;
    }
    return block;
}

void vst_blocks_free(struct vst_blocks **slot)
{
    struct vst_blocks *blocks = *slot;
    struct vst_block *block;

    *slot = NULL;
    if (!blocks)
        return;
    pthread_mutex_lock(&blocks->lock);
    blocks->most_spares = 0;
    while ((block = pop_spare(blocks)))
        free(block);
    unlock_and_unref(blocks);
}

struct vst_block *vst_block_get(struct vst_blocks *blocks)
{
    struct vst_block *block;

    pthread_mutex_lock(&blocks->lock);
    block = pop_spare(blocks);
    if (!block)
        block = malloc(sizeof(*block));
    if (block) {
        blocks->refs++;
        block->blocks = blocks;
        block->refs = 1;
        block->zeros = false;
        block->begin = block->end = 0;
    }
    pthread_mutex_unlock(&blocks->lock);
    return block;
}

void vst_block_put(struct vst_block *block)
{
    struct vst_blocks *blocks = block->blocks;

    pthread_mutex_lock(&blocks->lock);
    if (--block->refs) {
        pthread_mutex_unlock(&blocks->lock);
        return;
    }
    if (blocks->spares < blocks->most_spares) {
        STAILQ_INSERT_HEAD(&blocks->spare, block, next);
        blocks->spares++;
    } else {
        free(block);
    }
    unlock_and_unref(blocks);
}

void vst_block_put_all(struct vst_block_list *list)
{
    while (!STAILQ_EMPTY(list)) {
        struct vst_block *block = STAILQ_FIRST(list);

        STAILQ_REMOVE_HEAD(list, next);
        vst_block_put(block);
    }
}

static void dropped(const void *bytes, size_t n, void *opaque)
{
    (void)bytes, (void)n;
    vst_block_put(opaque);
}

static int refer(struct vst_block *block, size_t n, struct evbuffer *into)
{
    pthread_mutex_lock(&block->blocks->lock);
    block->refs++;
    pthread_mutex_unlock(&block->blocks->lock);
    if (evbuffer_add_reference(into, block->bytes + block->begin, n, dropped, block) == 0)
        return 0;
    vst_block_put(block);
    return -1;
}

size_t vst_block_take(struct vst_block *block, size_t max, struct evbuffer *into)
{
    uint64_t left = block->end - block->begin;
    size_t n = left < max ? (size_t)left : max;
    int result;

    if (block->zeros)
        result = vst_zeros_add(into, n);
    else if (n <= SHORT)
        result = evbuffer_add(into, block->bytes + block->begin, n);
    else
        result = refer(block, n, into);
    if (result < 0)
        return 0;
    block->begin += n;
    return n;
}

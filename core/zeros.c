/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block of zeros, and looking for zeros in bytes: of data hardly one byte in VST_ZEROS_LEAST is
 * looked at, zeros are compared with the block.
 */
#include "zeros.h"

#include <stdint.h>
#include <string.h>

#include "buffer.h"

enum { SHORT = 1024 }; /* as in blocks.c */

/* Never written, so it takes one page of memory, and stays in the processor's cache. */
static unsigned char zeros[VST_ZEROS_BLOCK];

const unsigned char *vst_zeros(void)
{
    return zeros;
}

int vst_zeros_add(struct evbuffer *into, size_t n)
{
    while (n) {
        size_t part = vst_least(n, sizeof(zeros));
        int result = part <= SHORT ? evbuffer_add(into, zeros, part)
                                   : evbuffer_add_reference(into, zeros, part, NULL, NULL);

        if (result < 0)
            return -1;
        n -= part;
    }
    return 0;
}

/* ---- in one piece of memory ---- */

static bool is_ours(const unsigned char *bytes)
{
    return (uintptr_t)bytes - (uintptr_t)zeros < sizeof(zeros);
}

/* With how many zeros it begins. */
static size_t lead(const unsigned char *bytes, size_t n)
{
    size_t at = 0;

    if (is_ours(bytes))
        return n;
    for (size_t step = VST_ZEROS_LEAST; step; step /= 8)
        while (n - at >= step && memcmp(bytes + at, zeros, step) == 0)
            at += step;
    return at;
}

static size_t tail(const unsigned char *bytes, size_t n)
{
    size_t begin = n;

    while (begin && !bytes[begin - 1])
        begin--;
    return n - begin;
}

/* How much there is before a run that is long enough, or that reaches the end. */
static size_t data(const unsigned char *bytes, size_t n)
{
    size_t at = 0;

    while (n - at >= VST_ZEROS_LEAST) {
        size_t zeros_before = tail(bytes + at, VST_ZEROS_LEAST);
        size_t begin = at + VST_ZEROS_LEAST - zeros_before;
        size_t run;

        at += VST_ZEROS_LEAST;
        if (!zeros_before)
            continue;
        run = zeros_before + lead(bytes + at, n - at);
        if (run >= VST_ZEROS_LEAST || begin + run == n)
            return begin;
        at = begin + run;
    }
    return n - tail(bytes + at, n - at);
}

/* ---- in pieces ---- */

struct look {
    size_t at;     /* how much has been seen */
    size_t run;    /* the zeros that it ends with */
    size_t before; /* zeros before the first byte */
};

/* Shows the pieces of `n` bytes until `see` says that it has seen enough. One at a time: libevent
 * counts all the pieces of what it is asked for. */
static void look_through(struct look *look, struct evbuffer *buf, const struct evbuffer_ptr *start,
                         size_t n, bool (*see)(struct look *, const unsigned char *, size_t))
{
    struct evbuffer_iovec piece;
    struct evbuffer_ptr at;

    if (start)
        at = *start;
    else
        evbuffer_ptr_set(buf, &at, 0, EVBUFFER_PTR_SET);
    while (n && evbuffer_peek(buf, 1, &at, &piece, 1) == 1) {
        size_t len = vst_least(piece.iov_len, n);

        if (see(look, piece.iov_base, len))
            return;
        n -= len;
        if (n)
            evbuffer_ptr_set(buf, &at, len, EVBUFFER_PTR_ADD);
    }
}

/* A run from the first byte on goes on from those before. */
static bool is_hole(const struct look *look)
{
    return look->run && look->run + (look->run == look->at ? look->before : 0) >= VST_ZEROS_LEAST;
}

/* Enough is the end of a hole at the beginning, or the beginning of one after data. */
static bool see_run(struct look *look, const unsigned char *bytes, size_t n)
{
    for (;;) {
        size_t run = lead(bytes, n), rest;

        look->at += run;
        look->run += run;
        if (is_hole(look) && (run < n || look->run < look->at))
            return true;
        if (run == n)
            return false;
        rest = data(bytes + run, n - run);
        look->at += rest;
        look->run = 0;
        if (run + rest == n)
            return false;
        bytes += run + rest;
        n -= run + rest;
    }
}

size_t vst_zeros_run(struct evbuffer *buf, const struct evbuffer_ptr *at, size_t max, size_t before,
                     bool *ret_zeros)
{
    struct look look = {.before = before};

    look_through(&look, buf, at, max, see_run);
    *ret_zeros = is_hole(&look) && look.run == look.at;
    return *ret_zeros || !is_hole(&look) ? look.at : look.at - look.run;
}

static bool see_tail(struct look *look, const unsigned char *bytes, size_t n)
{
    size_t run = is_ours(bytes) ? n : tail(bytes, n);

    look->run = run == n ? look->run + n : run;
    return false;
}

size_t vst_zeros_tail(struct evbuffer *buf, const struct evbuffer_ptr *at, size_t n)
{
    struct look look = {0};

    look_through(&look, buf, at, n, see_tail);
    return look.run;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * zstd (RFC 8878) as two codecs. Both work in small steps, so that no turn of the loop is long, and
 * neither holds bytes back: each step of the compressor ends in a flush. That costs nothing in size
 * with pieces of 32 KiB, and some percent when a slow source comes in pieces of a few KiB.
 *
 * What this asks for is less than what the zstd command takes for the same level: from 9 on the
 * window is 2 MiB, which costs about 1 % in size, and from 11 on the pieces are the smaller the
 * more thorough the level is, which costs 3 to 6 %. In return compressing takes at most 16 MiB of
 * memory (1.4 at level 1, 3.6 at 3), expanding 8.5 MiB; and a step at any level takes about as long
 * as one of 32 KiB at level 9, a millisecond or two, where one at level 19 would take 24.
 */
#include "codec.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "buffer.h"

enum {
    PIECE = 32 * 1024,   /* input of an expander's step */
    ROOM = 32 * 1024,    /* output of one call of the library */
    BLOCK = 128 * 1024,  /* output of an expander's step */
    WINDOW_LOG_MAX = 23, /* 8 MiB, for expanding: what the zstd command uses up to level 19 */
    LARGE_LEVEL = 9,     /* the first whose tables would be larger than these: */
    LARGE_WINDOW_LOG = 21,
    LARGE_HASH_LOG = 20,
    LEVEL_MAX = 19
};

/* Input of a compressor's step, from a level on: the slower, the smaller. */
static const struct {
    int level;
    size_t piece;
} pieces[] = {{16, 2 * 1024}, {13, 4 * 1024}, {11, 16 * 1024}, {1, PIECE}};

struct compressor {
    struct vst_codec codec;
    ZSTD_CCtx *zstd;
    size_t piece;
    bool more;  /* the library has output that did not fit */
    bool ended; /* the frame is complete */
};

struct expander {
    struct vst_codec codec;
    ZSTD_DCtx *zstd;
    bool more;  /* the library may have output that did not fit */
    bool begun; /* there was a frame */
    bool whole; /* ... and the last one is complete */
};

/* ---- compressing ---- */

/* The pieces that make a flush must lie together. Returns -1 without memory. */
static int gather(struct evbuffer *in, size_t max, ZSTD_inBuffer *ret_piece)
{
    size_t n = vst_least(evbuffer_get_length(in), max);

    *ret_piece = (ZSTD_inBuffer){.src = evbuffer_pullup(in, (ev_ssize_t)n), .size = n};
    return n && !ret_piece->src ? -1 : 0;
}

static int cannot_compress(size_t code, struct vst_error *ret_err)
{
    if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
        return vst_error_no_memory(ret_err);
    return vst_error_set(ret_err, VST_ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(code));
}

static int compress_piece(struct compressor *compressor, struct evbuffer *in, struct evbuffer *out,
                          bool last, struct vst_error *ret_err)
{
    struct evbuffer_iovec room;
    ZSTD_outBuffer to;
    ZSTD_inBuffer from;
    bool end;
    size_t left;

    if (gather(in, compressor->piece, &from) < 0 ||
        evbuffer_reserve_space(out, ROOM, &room, 1) != 1)
        return vst_error_no_memory(ret_err);
    to = (ZSTD_outBuffer){.dst = room.iov_base, .size = room.iov_len};
    end = last && from.size == evbuffer_get_length(in);
    left = ZSTD_compressStream2(compressor->zstd, &to, &from, end ? ZSTD_e_end : ZSTD_e_flush);
    if (ZSTD_isError(left))
        return cannot_compress(left, ret_err);
    compressor->more = left > 0;
    compressor->ended = end && left == 0;
    evbuffer_drain(in, from.pos);
    room.iov_len = to.pos;
    return evbuffer_commit_space(out, &room, 1);
}

static int compress_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                         size_t max, bool last, struct vst_error *ret_err)
{
    struct compressor *compressor = (struct compressor *)codec;

    (void)max;
    if (compressor->ended || !(evbuffer_get_length(in) || compressor->more || last))
        return 0;
    return compress_piece(compressor, in, out, last, ret_err);
}

static void compress_destroy(struct vst_codec *codec)
{
    ZSTD_freeCCtx(((struct compressor *)codec)->zstd);
    free(codec);
}

static const struct vst_codec_ops compress_ops = {
    .name = "zstd-compress",
    .step = compress_step,
    .destroy = compress_destroy,
};

static void set_parameters(ZSTD_CCtx *zstd, int level)
{
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    if (level < LARGE_LEVEL)
        return;
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, LARGE_WINDOW_LOG);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_chainLog, LARGE_WINDOW_LOG);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_hashLog, LARGE_HASH_LOG);
}

static size_t piece_of(int level)
{
    size_t i = 0;

    while (level < pieces[i].level)
        i++;
    return pieces[i].piece;
}

int vst_codec_zstd_check_level(int level, struct vst_error *ret_err)
{
    if (level >= 1 && level <= LEVEL_MAX)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "zstd level %d: it must be from 1 to %d", level,
                         LEVEL_MAX);
}

struct vst_codec *vst_codec_zstd_compress(int level, struct vst_error *ret_err)
{
    struct compressor *compressor;

    if (vst_codec_zstd_check_level(level, ret_err) < 0)
        return NULL;
    compressor = calloc(1, sizeof(*compressor));
    if (!compressor || !(compressor->zstd = ZSTD_createCCtx())) {
        free(compressor);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    compressor->codec.ops = &compress_ops;
    compressor->piece = piece_of(level);
    set_parameters(compressor->zstd, level);
    return &compressor->codec;
}

/* ---- expanding ---- */

static int bad_frame(size_t code, struct vst_error *ret_err)
{
    switch (ZSTD_getErrorCode(code)) {
    case ZSTD_error_memory_allocation:
        return vst_error_no_memory(ret_err);
    case ZSTD_error_prefix_unknown:
        return vst_error_set(ret_err, VST_ERR_DAMAGED,
                             "this is not zstd data, or something follows its end");
    case ZSTD_error_frameParameter_windowTooLarge:
        return vst_error_set(ret_err, VST_ERR_DAMAGED,
                             "the zstd data wants a window of more than 8 MiB: it is damaged, or "
                             "was made with --ultra or --long, which is not read here");
    default:
        return vst_error_set(ret_err, VST_ERR_DAMAGED, "the zstd data is damaged: %s",
                             ZSTD_getErrorName(code));
    }
}

/* One call of the library, with the first piece of `in` and room for at most `max` bytes. */
static int expand_piece(struct expander *expander, struct evbuffer *in, struct evbuffer *out,
                        size_t max, struct vst_error *ret_err)
{
    struct evbuffer_iovec piece = {0}, room;
    ZSTD_outBuffer to;
    ZSTD_inBuffer from;
    size_t left;

    if (evbuffer_reserve_space(out, ROOM, &room, 1) != 1)
        return vst_error_no_memory(ret_err);
    evbuffer_peek(in, 1, NULL, &piece, 1);
    from = (ZSTD_inBuffer){.src = piece.iov_base, .size = vst_least(piece.iov_len, PIECE)};
    to = (ZSTD_outBuffer){.dst = room.iov_base, .size = vst_least(room.iov_len, max)};
    left = ZSTD_decompressStream(expander->zstd, &to, &from);
    if (ZSTD_isError(left))
        return bad_frame(left, ret_err);
    expander->more = to.pos == to.size;
    if (from.pos || to.pos) {
        expander->begun = true;
        expander->whole = left == 0;
    }
    evbuffer_drain(in, from.pos);
    room.iov_len = to.pos;
    return evbuffer_commit_space(out, &room, 1);
}

static int expand_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    struct expander *expander = (struct expander *)codec;
    size_t full = evbuffer_get_length(out) + vst_least(max, BLOCK);

    /* Called without need, the library takes it for a loop and fails. */
    while ((evbuffer_get_length(in) || expander->more) && evbuffer_get_length(out) < full) {
        size_t room = full - evbuffer_get_length(out);

        if (expand_piece(expander, in, out, room, ret_err) < 0)
            return -1;
    }
    if (!last || evbuffer_get_length(in) || expander->more || expander->whole)
        return 0;
    return vst_error_set(ret_err, VST_ERR_TRUNCATED,
                         expander->begun ? "the zstd data ends within a frame; it is truncated"
                                         : "the zstd data is empty");
}

static void expand_destroy(struct vst_codec *codec)
{
    ZSTD_freeDCtx(((struct expander *)codec)->zstd);
    free(codec);
}

static const struct vst_codec_ops expand_ops = {
    .name = "zstd-expand",
    .step = expand_step,
    .destroy = expand_destroy,
};

struct vst_codec *vst_codec_zstd_expand(struct vst_error *ret_err)
{
    struct expander *expander = calloc(1, sizeof(*expander));

    if (!expander || !(expander->zstd = ZSTD_createDCtx())) {
        free(expander);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    expander->codec.ops = &expand_ops;
    ZSTD_DCtx_setParameter(expander->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    return &expander->codec;
}

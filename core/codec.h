/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A codec: bytes in, bytes out, no I/O. And the one layer that puts codecs on a channel.
 *
 * Codecs: image records (record.h), zstd, the digest. Because they are pure they can be tested with
 * every chunking, and fuzzed, without a descriptor.
 */
#ifndef VST_CORE_CODEC_H
#define VST_CORE_CODEC_H

#include "channel.h"

struct vst_codec;

struct vst_codec_ops {
    const char *name;
    /*
     * Takes from the front of `in`, appends to `out`, at most about `max` bytes (one block more is
     * allowed). `last`: nothing will be added to `in`; when `in` is empty and everything has been
     * put out, a decoder checks that it stands at its end. Returns 0, or -1 with *ret_err filled.
     * Input is left in `in` only for want of room for output: what a codec needs later it keeps
     * itself. Taking nothing and giving nothing means: needs more input (or, after `last`, has
     * ended).
     */
    int (*step)(struct vst_codec *, struct evbuffer *in, struct evbuffer *out, size_t max,
                bool last, struct vst_error *ret_err);
    void (*destroy)(struct vst_codec *);
};

struct vst_codec {
    const struct vst_codec_ops *ops;
};

static inline void vst_codec_free(struct vst_codec **codec)
{
    if (*codec)
        (*codec)->ops->destroy(*codec);
    *codec = NULL;
}

/*
 * The layer. What is read from below goes through `reading`, what is written from above through
 * `writing`; NULL passes bytes unchanged. It holds at most `limit` bytes of input and about as many
 * of output per direction. Takes `lower` and both codecs on success.
 */
struct vst_channel *vst_channel_codec(struct vst_channel *lower, struct vst_codec *reading,
                                      struct vst_codec *writing, size_t limit,
                                      struct vst_error *ret_err);
/* The codec of one direction of that layer, or NULL. */
const struct vst_codec *vst_channel_get_codec(const struct vst_channel *ch, enum vst_dir dir);

int vst_codec_zstd_check_level(int level, struct vst_error *ret_err); /* INVALID */
struct vst_codec *vst_codec_zstd_compress(int level, struct vst_error *ret_err);
/* Refuses frames that want a window over 8 MiB: memory is bounded whatever the input says. */
struct vst_codec *vst_codec_zstd_expand(struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The running XXH3-128 of what passes, as a codec that changes nothing: a channel below may take
 * less than it is offered, and a codec is asked about each byte exactly once.
 */
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "codec.h"
#include "hash.h"

enum { LIMIT = 64 * 1024 };

struct digest {
    struct vst_codec codec;
    XXH3_state_t *sum;
};

static void update(void *opaque, const void *bytes, size_t n)
{
    XXH3_128bits_update(opaque, bytes, n);
}

static int digest_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    struct digest *digest = (struct digest *)codec;
    size_t n = vst_least(evbuffer_get_length(in), max);

    (void)last;
    vst_buffer_walk(in, 0, n, update, digest->sum);
    return vst_buffer_move(in, out, n) < 0 ? vst_error_no_memory(ret_err) : 0;
}

static void digest_destroy(struct vst_codec *codec)
{
    XXH3_freeState(((struct digest *)codec)->sum);
    free(codec);
}

static const struct vst_codec_ops digest_ops = {
    .name = "digest",
    .step = digest_step,
    .destroy = digest_destroy,
};

static struct vst_codec *digest_new(struct vst_error *ret_err)
{
    struct digest *digest = calloc(1, sizeof(*digest));

    if (!digest || !(digest->sum = XXH3_createState())) {
        free(digest);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    digest->codec.ops = &digest_ops;
    XXH3_128bits_reset(digest->sum);
    return &digest->codec;
}

struct vst_channel *vst_channel_digest(struct vst_channel *lower, struct vst_error *ret_err)
{
    struct vst_codec *reading = digest_new(ret_err);
    struct vst_codec *writing = reading ? digest_new(ret_err) : NULL;
    struct vst_channel *ch = NULL;

    if (writing)
        ch = vst_channel_codec(lower, reading, writing, LIMIT, ret_err);
    if (!ch) {
        vst_codec_free(&reading);
        vst_codec_free(&writing);
    }
    return ch;
}

void vst_digest_get(const struct vst_channel *ch, enum vst_dir dir, unsigned char ret_sum[16])
{
    const struct digest *digest = (const struct digest *)vst_channel_get_codec(ch, dir);
    XXH128_canonical_t sum;

    XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(digest->sum));
    memcpy(ret_sum, sum.digest, sizeof(sum.digest));
}

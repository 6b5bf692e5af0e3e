/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout and the checks of image records, for both directions. No state machine: that is in
 * record-encode.c and record-decode.c.
 */
#include "record-frame.h"

#include "buffer.h"

/* Two hashes run over each byte of data; in slices of this size the second finds it in the cache.
 */
enum { SLICE = 16 * 1024 };

int vst_records_init(struct vst_records *records, const struct vst_codec_ops *ops,
                     struct vst_error *ret_err)
{
    records->codec.ops = ops;
    records->check = XXH3_createState();
    records->total = XXH3_createState();
    if (!records->check || !records->total) {
        vst_records_clear(records);
        return vst_error_no_memory(ret_err);
    }
    XXH3_128bits_reset(records->total);
    return 0;
}

void vst_records_clear(struct vst_records *records)
{
    XXH3_freeState(records->check);
    XXH3_freeState(records->total);
}

void vst_records_preamble(unsigned char ret_preamble[VST_RECORD_PREAMBLE])
{
    memcpy(ret_preamble, VST_RECORD_MAGIC, 8);
    vst_put_be32(ret_preamble + 8, VST_RECORD_VERSION);
    vst_put_be32(ret_preamble + 12, 0);
    vst_put_be64(ret_preamble + 16, XXH3_64bits(ret_preamble, 16));
}

/* The number of the record is in its check and not in its head: records that were left out, put in
 * or swapped are noticed, and no bit of the image escapes. */
void vst_records_begin(struct vst_records *records, uint32_t type, uint32_t length)
{
    unsigned char prefix[16];

    vst_put_be64(prefix, records->stats.records);
    vst_put_be32(prefix + 8, type);
    vst_put_be32(prefix + 12, length);
    XXH3_64bits_reset(records->check);
    XXH3_64bits_update(records->check, prefix, sizeof(prefix));
}

void vst_records_feed(struct vst_records *records, const void *bytes, size_t n)
{
    XXH3_64bits_update(records->check, bytes, n);
}

static void feed(void *opaque, const void *bytes, size_t n)
{
    vst_records_feed(opaque, bytes, n);
}

static void feed_data(void *opaque, const void *bytes, size_t n)
{
    struct vst_records *records = opaque;
    const unsigned char *at = bytes;

    while (n) {
        size_t slice = vst_least(n, SLICE);

        XXH3_64bits_update(records->check, at, slice);
        XXH3_128bits_update(records->total, at, slice);
        at += slice;
        n -= slice;
    }
}

void vst_records_feed_buffer(struct vst_records *records, struct evbuffer *payload, size_t n,
                             uint32_t type)
{
    vst_buffer_walk(payload, 0, n, type == VST_RECORD_DATA ? feed_data : feed, records);
}

uint64_t vst_records_take_check(const struct vst_records *records)
{
    return XXH3_64bits_digest(records->check);
}

void vst_records_end(const struct vst_records *records, unsigned char ret_end[VST_RECORD_END_LEN])
{
    XXH128_canonical_t sum;

    XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(records->total));
    vst_put_be64(ret_end, records->stats.data_bytes);
    vst_put_be64(ret_end + 8, records->stats.records);
    memcpy(ret_end + 16, sum.digest, sizeof(sum.digest));
}

void vst_records_get_stats(const struct vst_codec *codec, struct vst_record_stats *ret_stats)
{
    *ret_stats = ((const struct vst_records *)codec)->stats;
}

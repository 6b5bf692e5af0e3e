/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two record codecs share: the layout of docs/image-format.md, its numbers in big-endian
 * order, and the two running checks. Neither codec computes anything of the format by itself, so
 * they cannot disagree.
 */
#ifndef VST_CORE_RECORD_FRAME_H
#define VST_CORE_RECORD_FRAME_H

#include <endian.h>
#include <string.h>

#include "hash.h"
#include "record.h"

#define VST_RECORD_MAGIC "virstrm\n"
#define VST_RECORD_VERSION 1u

enum {
    VST_RECORD_PREAMBLE = 24, /* magic, version, flags, check */
    VST_RECORD_HEAD = 16,     /* type, length, check */
    VST_RECORD_END_LEN = 32,  /* bytes of data, records, sum */
    VST_RECORD_MAX = VST_RECORD_DATA_MAX,
};

enum vst_record_type { VST_RECORD_HEADER = 1, VST_RECORD_DATA = 2, VST_RECORD_END = 3 };

/* A type with this bit may be skipped by who does not know it. */
#define VST_RECORD_MAY_SKIP 0x80000000u

/* The first member of both codecs. */
struct vst_records {
    struct vst_codec codec;
    struct vst_record_stats stats;
    XXH3_state_t *check; /* of the record at hand */
    XXH3_state_t *total; /* of all data */
};

int vst_records_init(struct vst_records *records, const struct vst_codec_ops *ops,
                     struct vst_error *ret_err);
void vst_records_clear(struct vst_records *records);

void vst_records_preamble(unsigned char ret_preamble[VST_RECORD_PREAMBLE]);

/* The check of one record: begin, feed its payload piece by piece, take. */
void vst_records_begin(struct vst_records *records, uint32_t type, uint32_t length);
void vst_records_feed(struct vst_records *records, const void *bytes, size_t n);
/* The first `n` bytes of `payload`; those of a DATA record count for the sum of all data, too. */
void vst_records_feed_buffer(struct vst_records *records, struct evbuffer *payload, size_t n,
                             uint32_t type);
uint64_t vst_records_take_check(const struct vst_records *records);

/* The payload that END must have now. */
void vst_records_end(const struct vst_records *records, unsigned char ret_end[VST_RECORD_END_LEN]);

static inline void vst_put_be32(unsigned char *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void vst_put_be64(unsigned char *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
}

static inline uint32_t vst_get_be32(const unsigned char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

static inline uint64_t vst_get_be64(const unsigned char *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return be64toh(value);
}

#endif

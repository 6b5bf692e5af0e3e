/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record layer of saved images and of migration data, as two codecs. See docs/image-format.md.
 *
 * An image is: magic and version with a check, then records {type, length, XXH3-64 of sequence
 * number + type + length + payload, payload}: HEADER (JSON), DATA (at most 1 MiB each), END (count
 * of bytes and records, XXH3-128 of all data). The decoder passes no byte on that it has not
 * checked.
 */
#ifndef VST_CORE_RECORD_H
#define VST_CORE_RECORD_H

#include "codec.h"

#define VST_RECORD_DATA_MAX (1024 * 1024)
#define VST_RECORD_HEADER_MAX (1024 * 1024) /* of JSON */

/*
 * Raw bytes in, an image out. `header` (JSON text, may be NULL for migration data: no HEADER
 * record) is copied. END is written when `last` is seen.
 */
struct vst_codec *vst_codec_records_encode(const char *header, size_t header_len,
                                           struct vst_error *ret_err);

/* What the decoder tells, synchronously from step(). Refusing (-1, *ret_err) ends the decoding. */
struct vst_record_cb {
    /* The HEADER, once, before any data comes out. NULL: no header is allowed (migration). */
    int (*header)(void *opaque, const char *json, size_t len, struct vst_error *ret_err);
    void *opaque;
};

/* An image in, raw bytes out; fails with DAMAGED or TRUNCATED and the offset of the record, or with
 * INCOMPATIBLE when a newer version wrote it. Nothing but the end of the input may follow END. */
struct vst_codec *vst_codec_records_decode(const struct vst_record_cb *cb,
                                           struct vst_error *ret_err);

struct vst_record_stats {
    uint64_t records;     /* all kinds, verified so far */
    uint64_t data_bytes;  /* raw bytes verified so far */
    uint64_t image_bytes; /* bytes of the image taken so far */
    bool ended;           /* END seen and verified */
};

void vst_records_get_stats(const struct vst_codec *codec, struct vst_record_stats *ret_stats);

#endif

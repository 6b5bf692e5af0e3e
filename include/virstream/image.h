/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images of saved guests, without a guest: what they say of themselves, and whether they are whole.
 * No connection is needed.
 */
#ifndef VIRSTREAM_IMAGE_H
#define VIRSTREAM_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <virstream/error.h>
#include <virstream/op.h>
#include <virstream/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;

/* What was verified. Valid during the callback. */
struct vst_image_report {
    const char *header; /* JSON, see docs/image-format.md: who wrote it, when, and of which guest */
    uint64_t records;   /* how many, of all kinds */
    uint64_t data_bytes;  /* of the guest's state, as the image holds it: possibly compressed */
    uint64_t image_bytes; /* of the image */
    bool whole;           /* to the end; false after `header_only` */
};

/* `report` is NULL with an error: DAMAGED or TRUNCATED, and where. */
struct vst_image_report_cb {
    void (*fn)(const struct vst_image_report *report, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

struct vst_image_options {
    bool header_only;       /* completes as soon as the header is verified */
    unsigned stall_seconds; /* no byte for so long ends it with VST_ERR_STALLED; 0 for 60 */
};

/*
 * Verifies the image that comes up the stream: every record, what is compressed in them, and the
 * end. `opt` may be NULL.
 */
struct vst_op *vst_image_check(struct event_base *base, struct vst_stream *stream,
                               const struct vst_image_options *opt,
                               const struct vst_image_report_cb *cb);

#ifdef __cplusplus
}
#endif

#endif

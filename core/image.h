/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saved guests: what the HEADER of an image says, and the stacks of layers between an image and the
 * raw state of a guest. What the records are is record.h's; what the raw state is, the driver's.
 *
 *     save      raw state, read  ->  [zstd]  ->  records  ->  the stream, down
 *     restore   the stream, up   ->  records ->  slot  ->  [zstd]  ->  raw state, written
 *
 * In a restore the place of the raw state stays empty at first: only the header says what to start.
 */
#ifndef VST_CORE_IMAGE_H
#define VST_CORE_IMAGE_H

#include "channel.h"
#include "definition.h"
#include "record.h"

/* A disk that migrates with its guest, and is made anew where that goes. */
struct vst_disk_copy {
    char *disk;    /* by its name in the definition */
    uint64_t size; /* in bytes, as the guest sees it */
};

/* What a disk is where its guest is. */
struct vst_disk_size {
    char *disk;
    uint64_t size;      /* in bytes, as the guest sees it */
    uint64_t allocated; /* what its file takes; 0: nothing, or it is not known */
};

/* Strings and lists that are absent are NULL. */
struct vst_image_header {
    struct vst_definition *definition;
    char *driver;                  /* "qemu", "test": who wrote it, and can read it */
    char *qemu_version;            /* "7.2.22" */
    char *machine;                 /* the machine type in full: "pc-i440fx-7.2" */
    bool running;                  /* the guest ran when it was saved */
    uint64_t created_at;           /* in seconds since 1970 */
    char *created_by;              /* "virstream 0.1.0" */
    char *compression;             /* "none" or "zstd", of the raw state */
    struct vst_disk_copy **copies; /* of a migration only: without it disks are shared */
    char *method;                  /* of a migration only: "post-copy" if it may come to that */
    struct vst_disk_size **disks;  /* of a migration only: all whose size is known */
};

/* The JSON of a header, the caller's to free(). NULL without memory. */
char *vst_image_header_to_json(const struct vst_image_header *header, struct vst_error *ret_err);

/* NULL, with DAMAGED and the member's path, or NO_MEMORY. */
struct vst_image_header *vst_image_header_parse(const char *text, size_t length,
                                                struct vst_error *ret_err);

/* The same of an offer to a host, which may say more than is known here, and is nobody's image:
 * INVALID instead of DAMAGED. */
struct vst_image_header *vst_offer_parse(const char *text, size_t length,
                                         struct vst_error *ret_err);

/* Sets *header to NULL. Accepts NULL. */
void vst_image_header_free(struct vst_image_header **header);

/*
 * Saving: a channel from which the image can be read, for vst_stream_attach(). Its end is the end
 * of `raw`, which it takes on success. Of `header` the caller fills definition, driver, running,
 * and what a QEMU guest has; the rest is filled here. Nothing of it is needed afterwards.
 * `zstd_level` 0 is no compression.
 */
struct vst_channel *vst_image_encode(struct vst_channel *raw, const struct vst_image_header *header,
                                     int zstd_level, struct vst_error *ret_err);

/*
 * Restoring: a channel to which the image is written, for vst_stream_attach(). When the HEADER has
 * come, and is good, `header` is called, once, from the loop; it may do anything, freeing the
 * channel included. It is not called after abort(). The header is the channel's and stays as long
 * as that.
 *
 * Nothing passes before vst_image_plug(), so that it can take its time. finish() of this channel
 * is OK when the END record has been verified and `raw` has finished: to the user of a stream,
 * finished(VST_UP) means that the image was whole. FAIL is DAMAGED, TRUNCATED, or `raw`'s error.
 */
struct vst_image_cb {
    void (*header)(void *opaque, const struct vst_image_header *header);
    void *opaque;
};
struct vst_channel *vst_image_decode(struct event_base *base, const struct vst_image_cb *cb,
                                     struct vst_error *ret_err);

/* Puts `raw`, which takes the state as it was before vst_image_encode(), below the decoder, and in
 * between what undoes the compression. Once, after header(). Takes `raw` on success. */
int vst_image_plug(struct vst_channel *image, struct vst_channel *raw, struct vst_error *ret_err);

/* How far the decoder is. */
void vst_image_get_stats(const struct vst_channel *image, struct vst_record_stats *ret_stats);

#endif

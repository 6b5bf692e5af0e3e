/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes: files in pools, which are directories that have a name. What pools there are says who
 * opens the connection (`pool.NAME=DIR` in the URI), or the configuration of the daemon.
 *
 * A volume is named "POOL/NAME", where NAME is one part of a path: 1 to 255 bytes of UTF-8 without
 * `/` and control characters, not beginning with `.`. It is a regular file: links, directories and
 * devices in a pool are not volumes, and are not followed.
 *
 * Long runs of zeros travel and are stored as holes, both ways.
 */
#ifndef VIRSTREAM_VOLUME_H
#define VIRSTREAM_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <virstream/connection.h>
#include <virstream/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vst_volume_info {
    char name[320];     /* "POOL/NAME" */
    uint64_t size;      /* bytes */
    uint64_t allocated; /* bytes that it takes on the disk */
    int64_t changed;    /* in seconds since 1970 */
    /* VST_ERR_OK. Else `name` is that of a pool whose directory is not there or cannot be read:
     * why, and the errno of that. */
    enum vst_code code;
    int system;
};

/* `infos` is the library's and valid during the callback; NULL with an error. */
struct vst_volume_cb {
    void (*fn)(const struct vst_volume_info *infos, size_t count, const struct vst_error *err,
               void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

/*
 * The volumes of a pool, or of all of them when it is NULL, by pool and name. A pool that cannot be
 * looked into is an error if it alone was asked for; else it has an entry of its own, and the
 * volumes of the others are there.
 */
struct vst_op *vst_volume_list(struct vst_conn *conn, const char *pool,
                               const struct vst_volume_cb *cb);

/*
 * What comes up the stream becomes the volume. It is written under a temporary name, and put in
 * the place of one that has the name, whose owner and mode it keeps, when it is complete and on
 * disk: so there is always the old volume or the whole new one, and nothing else after a failure.
 * Of two uploads to one name at the same time the one that completes last stays.
 *
 * `in_place` instead writes into a volume that exists, from `offset` on, which is not beyond its
 * end; what lies behind what is written stays. Completes when it is on disk. This is not atomic:
 * after a failure some of it may have been written. Nobody else can read or write the volume in
 * place meanwhile (VST_ERR_BUSY).
 */
struct vst_volume_upload_options {
    bool in_place;
    uint64_t offset; /* with in_place only */
    bool has_length;
    uint64_t length; /* with has_length only: how many bytes will come; with others it fails */
    unsigned stall_seconds; /* no byte for so long ends it with VST_ERR_STALLED; 0 for 60 */
};
struct vst_op *vst_volume_upload(struct vst_conn *conn, const char *volume,
                                 struct vst_stream *stream,
                                 const struct vst_volume_upload_options *opt,
                                 const struct vst_done *done);

/*
 * The volume, or a part of it, down the stream. It is as it was at the beginning, also when an
 * upload replaces it or it is deleted meanwhile. VST_ERR_BUSY while somebody writes in place.
 */
struct vst_volume_download_options {
    uint64_t offset;
    bool has_length;
    uint64_t length;        /* with has_length only; else up to the end. A part that is not there is
                               VST_ERR_INVALID; one of no bytes is there up to the end */
    unsigned stall_seconds; /* as above */
};
struct vst_op *vst_volume_download(struct vst_conn *conn, const char *volume,
                                   struct vst_stream *stream,
                                   const struct vst_volume_download_options *opt,
                                   const struct vst_done *done);

/* Completes when the disk knows that it is gone. */
struct vst_op *vst_volume_delete(struct vst_conn *conn, const char *volume,
                                 const struct vst_done *done);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public methods of volumes, and how the driver's results reach the application.
 */
#include "virstream/volume.h"

#include <stdlib.h>

#include "dispatch.h"

static void free_volumes(void *value, size_t count)
{
    (void)count;
    free(value);
}

void vst_driver_volumes(struct vst_op *op, struct vst_volume_info *infos, size_t count)
{
    vst_op_succeed(op, (struct vst_result){infos, count, free_volumes});
}

static void deliver_volumes(const struct vst_callback *cb, struct vst_result *result,
                            const struct vst_error *err)
{
    void (*fn)(const struct vst_volume_info *, size_t, const struct vst_error *, void *) =
        (void (*)(const struct vst_volume_info *, size_t, const struct vst_error *, void *))cb->fn;

    fn(err ? NULL : result->value, err ? 0 : result->count, err, cb->opaque);
}

struct vst_op *vst_volume_list(struct vst_conn *conn, const char *pool,
                               const struct vst_volume_cb *cb)
{
    VST_DISPATCH(conn, volume_list, deliver_volumes, cb, NULL, conn, pool);
}

struct vst_op *vst_volume_upload(struct vst_conn *conn, const char *volume,
                                 struct vst_stream *stream,
                                 const struct vst_volume_upload_options *opt,
                                 const struct vst_done *done)
{
    static const struct vst_volume_upload_options defaults;

    VST_DISPATCH(conn, volume_upload, vst_deliver_done, done, stream, conn, volume, stream,
                 opt ? opt : &defaults);
}

struct vst_op *vst_volume_download(struct vst_conn *conn, const char *volume,
                                   struct vst_stream *stream,
                                   const struct vst_volume_download_options *opt,
                                   const struct vst_done *done)
{
    static const struct vst_volume_download_options defaults;

    VST_DISPATCH(conn, volume_download, vst_deliver_done, done, stream, conn, volume, stream,
                 opt ? opt : &defaults);
}

struct vst_op *vst_volume_delete(struct vst_conn *conn, const char *volume,
                                 const struct vst_done *done)
{
    VST_DISPATCH(conn, volume_delete, vst_deliver_done, done, NULL, conn, volume);
}

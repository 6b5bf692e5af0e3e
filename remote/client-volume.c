/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of volumes.
 */
#include <string.h>

#include "client-private.h"

/* The pool stays in the label, for the pages to come. */
void vst_remote_volume_list(struct vst_conn *conn, const char *pool, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_VOLUMES, op);
    struct vst_error err = {0};

    if (!call)
        return;
    if (pool && strlen(pool) >= sizeof(call->label)) {
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no pool has so long a name");
        vst_op_fail(op, &err);
        return;
    }
    snprintf(call->label, sizeof(call->label), "%s", pool ? pool : "");
    vst_remote_call_make(call, &(union vst_arguments){.list = {(char *)pool, NULL}});
}

void vst_remote_volume_delete(struct vst_conn *conn, const char *volume, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_VOLUME_DELETE, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){.name = {(char *)volume}});
}

void vst_remote_volume_upload(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                              const struct vst_volume_upload_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .upload = {(char *)volume, opt->in_place, opt->offset,
                   vst_volume_length(opt->has_length, opt->length), opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_VOLUME_UPLOAD, volume, stream, &arguments, op);
}

void vst_remote_volume_download(struct vst_conn *conn, const char *volume,
                                struct vst_stream *stream,
                                const struct vst_volume_download_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .download = {(char *)volume, opt->offset, vst_volume_length(opt->has_length, opt->length),
                     opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_VOLUME_DOWNLOAD, volume, stream, &arguments, op);
}

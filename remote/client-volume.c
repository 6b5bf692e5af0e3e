/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of volumes, and the pages that a list of them comes in.
 */
#include <stdlib.h>
#include <string.h>

#include "client-private.h"

/* Pages go up by name: so they end. */
static int check_page(const struct remote_call *call, const struct vst_volume_info *page,
                      size_t count, bool more, struct vst_error *ret_err)
{
    const char *last = call->count ? call->volumes[call->count - 1].name : "";

    for (size_t i = 0; i < count; last = page[i++].name)
        if (strcmp(last, page[i].name) >= 0)
            return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the server's list is in no order");
    if (more && !count)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the server's list never ends");
    return 0;
}

static int add_page(struct remote_call *call, const char *body, size_t length, bool *ret_more,
                    struct vst_error *ret_err)
{
    struct vst_volume_info *page, *all;
    size_t count;

    if (vst_volumes_parse(body, length, &page, &count, ret_more, ret_err) < 0)
        return -1;
    if (check_page(call, page, count, *ret_more, ret_err) < 0) {
        free(page);
        return -1;
    }
    all = realloc(call->volumes, (call->count + count + 1) * sizeof(*all));
    if (all) {
        memcpy(all + call->count, page, count * sizeof(*all));
        call->volumes = all;
        call->count += count;
    }
    free(page);
    return all ? 0 : vst_error_no_memory(ret_err);
}

int vst_remote_take_volumes(struct remote_call *call, const char *body, size_t length,
                            struct vst_error *ret_err)
{
    struct vst_volume_info *all;
    bool more;

    if (add_page(call, body, length, &more, ret_err) < 0)
        return -1;
    if (more && call->ours)
        return -1;
    if (more) {
        union vst_arguments next = {
            .volumes = {*call->label ? call->label : NULL, call->volumes[call->count - 1].name}};

        return vst_remote_call_send(call, &next, NULL, ret_err);
    }
    all = call->volumes;
    call->volumes = NULL;
    vst_driver_volumes(call->op, all, call->count);
    return 0;
}

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
    strcpy(call->label, pool ? pool : "");
    vst_remote_call_make(call, &(union vst_arguments){.volumes = {(char *)pool, NULL}});
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
        .upload = {(char *)volume, opt->in_place, opt->offset, opt->length, opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_VOLUME_UPLOAD, volume, stream, &arguments, op);
}

void vst_remote_volume_download(struct vst_conn *conn, const char *volume,
                                struct vst_stream *stream,
                                const struct vst_volume_download_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .download = {(char *)volume, opt->offset, opt->length, opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_VOLUME_DOWNLOAD, volume, stream, &arguments, op);
}

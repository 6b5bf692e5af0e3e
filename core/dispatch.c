/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The beginning of every method.
 */
#include "dispatch.h"

struct vst_op *vst_dispatch(struct vst_conn *conn, vst_deliver_fn *deliver, struct vst_callback cb,
                            bool has_method, struct vst_stream *stream, bool *ret_go)
{
    struct vst_error err = {0};
    struct vst_op *op;

    *ret_go = false;
    if (vst_conn_check(conn, &err) < 0) {
        /* Not one of the connection's: it has counted its last. */
        op = vst_op_new(conn->base, NULL, deliver, cb);
    } else {
        op = vst_conn_op(conn, deliver, cb);
        if (!has_method)
            vst_error_set(&err, VST_ERR_UNSUPPORTED, "the %s driver has no such method",
                          conn->driver->name);
    }
    if (!op)
        return NULL;
    if (stream)
        vst_stream_bind(stream, op, &err);
    if (vst_error_is_set(&err))
        vst_op_fail(op, &err);
    else
        *ret_go = true;
    return op;
}

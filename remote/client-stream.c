/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Methods that move bytes: the ends that the mux gives are the driver's ends of the stream. Nothing
 * is watched for stalls here: whatever stands still stands still for the server, too, which knows
 * why; and that the server itself is there is what keepalive finds out.
 */
#include <stdio.h>

#include "client-private.h"

static void finished(void *opaque, enum vst_direction dir)
{
    struct remote_call *call = opaque;

    if (dir != VST_DOWN || !call->remote->mux)
        return;
    call->taken = true;
    vst_mux_taken(call->remote->mux, call->id);
}

/*
 * Nothing moves any more, and the server is told so, unless an end that was aborted has done that.
 * What has come of the call it says in its answer; a reason of its own has more words there.
 */
static void failed(void *opaque, const struct vst_error *err)
{
    struct remote_call *call = opaque;
    bool ours = vst_op_cancelled(call->op) || err->side == VST_SIDE_APPLICATION;

    vst_remote_call_stop(call, err, ours);
}

void vst_remote_stream_call(struct vst_conn *conn, enum vst_procedure procedure, const char *name,
                            struct vst_stream *stream, const union vst_arguments *arguments,
                            struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, procedure, op);
    struct vst_stream_user user = {.finished = finished, .failed = failed, .opaque = call};
    struct vst_mux_ends ends = {
        .receives = vst_procedures[procedure].dirs & VST_DOWN,
        .sends = vst_procedures[procedure].dirs & VST_UP,
        .sparse = vst_procedures[procedure].sparse,
    };
    struct vst_error err = {0};

    if (!call)
        return;
    snprintf(call->label, sizeof(call->label), "%s %s", vst_procedures[procedure].name,
             name ? name : "");
    user.name = call->label;
    if (vst_stream_claim(stream, op, &user, &err) < 0 ||
        vst_remote_call_send(call, arguments, &ends, &err) < 0) {
        vst_op_fail(op, &err);
        return;
    }
    call->stream = stream;
    /* The call is under way: so this is a failure of the stream like any other. */
    if (vst_stream_attach(stream, ends.ret_source, ends.ret_sink, &err) < 0)
        vst_stream_fail(stream, &err);
}

void vst_remote_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                     const struct vst_save_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .save = {(char *)name, opt->live, opt->keep_running,
                 (uint64_t)(opt->zstd_level < 0 ? INT32_MAX : opt->zstd_level),
                 opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_SAVE, name, stream, &arguments, op);
}

void vst_remote_restore(struct vst_conn *conn, struct vst_stream *stream,
                        const struct vst_restore_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .restore = {(char *)opt->name, opt->paused, opt->no_args, opt->stall_seconds}};

    vst_remote_stream_call(conn, VST_PROCEDURE_RESTORE, opt->name, stream, &arguments, op);
}

void vst_remote_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                             struct vst_op *op)
{
    vst_remote_stream_call(conn, VST_PROCEDURE_CONSOLE, name, stream,
                           &(union vst_arguments){.name = {(char *)name}}, op);
}

void vst_remote_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op)
{
    vst_remote_stream_call(conn, VST_PROCEDURE_SCREENSHOT, name, stream,
                           &(union vst_arguments){.name = {(char *)name}}, op);
}

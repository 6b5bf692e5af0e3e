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

/* The ends have been aborted, and so the server has been told to stop; what has come of the call it
 * says in its answer. A reason of its own comes with more words there. */
static void failed(void *opaque, const struct vst_error *err)
{
    struct remote_call *call = opaque;

    call->err = *err;
    call->ours = vst_op_cancelled(call->op) || err->side == VST_SIDE_APPLICATION;
}

static void attach(struct remote_call *call, const struct vst_mux_ends *ends)
{
    struct vst_error err = {0};

    if (vst_stream_attach(call->stream, ends->ret_source, ends->ret_sink, &err) == 0)
        return;
    /* The stream keeps them until the answer is here, and no pump aborts them. */
    vst_stream_fail(call->stream, &err);
    if (ends->ret_source)
        vst_channel_abort(ends->ret_source, &err);
    if (ends->ret_sink)
        vst_channel_abort(ends->ret_sink, &err);
}

static void make(struct vst_conn *conn, enum vst_procedure procedure, const char *name,
                 struct vst_stream *stream, const union vst_arguments *arguments, struct vst_op *op)
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
    attach(call, &ends);
}

void vst_remote_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                     const struct vst_save_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .save = {(char *)name, opt->live, opt->keep_running,
                 (uint64_t)(opt->zstd_level < 0 ? INT32_MAX : opt->zstd_level),
                 opt->stall_seconds}};

    make(conn, VST_PROCEDURE_SAVE, name, stream, &arguments, op);
}

void vst_remote_restore(struct vst_conn *conn, struct vst_stream *stream,
                        const struct vst_restore_options *opt, struct vst_op *op)
{
    const union vst_arguments arguments = {
        .restore = {(char *)opt->name, opt->paused, opt->no_args, opt->stall_seconds}};

    make(conn, VST_PROCEDURE_RESTORE, opt->name, stream, &arguments, op);
}

void vst_remote_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                             struct vst_op *op)
{
    make(conn, VST_PROCEDURE_CONSOLE, name, stream, &(union vst_arguments){.name = {(char *)name}},
         op);
}

void vst_remote_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op)
{
    make(conn, VST_PROCEDURE_SCREENSHOT, name, stream,
         &(union vst_arguments){.name = {(char *)name}}, op);
}

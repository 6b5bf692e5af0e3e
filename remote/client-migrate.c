/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of migration. The first is unlike all others: it goes on without us, and when it is
 * called off only the server knows whether that was still possible.
 */
#include "client-private.h"

/* ---- migrate ---- */

/* A connection that is closed leaves it to the server; it hears of no outcome then. */
static void migrate_cancelled(void *opaque, const struct vst_error *why)
{
    struct remote_call *call = opaque;
    struct remote *remote = call->remote;

    if (vst_conn_check(remote->conn, NULL) == 0) {
        vst_remote_call_stop(call, why, false);
        return;
    }
    remote->leaves_calls = true;
    vst_remote_call_answer(call, NULL, 0, why);
}

void vst_remote_migrate(struct vst_conn *conn, const char *name, const char *destination,
                        const struct vst_migrate_options *opt, bool check, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_MIGRATE, op);
    union vst_arguments arguments;

    if (!call)
        return;
    call->goes_on = true;
    vst_migrate_arguments_set(name, destination, opt, check, &arguments.migrate);
    if (vst_remote_call_make(call, &arguments) == 0)
        vst_op_set_cancel(op, migrate_cancelled, call);
}

void vst_remote_order_migration(struct vst_conn *conn, const char *token,
                                enum vst_migration_order order,
                                const struct vst_migration_change *change, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_MIGRATION_ORDER, op);
    union vst_arguments arguments;

    if (!call)
        return;
    vst_order_arguments_set(token, order, change, &arguments.order);
    vst_remote_call_make(call, &arguments);
}

/* ---- migrations ---- */

void vst_remote_list_migrations(struct vst_conn *conn, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_MIGRATIONS, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){0});
}

/* ---- what hosts say to each other ---- */

void vst_remote_migrate_message(struct vst_conn *conn, const struct vst_migrate_message *message,
                                struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_MIGRATE_MESSAGE, op);
    union vst_arguments arguments;

    if (!call)
        return;
    vst_handover_arguments_set(message, &arguments.handover);
    vst_remote_call_make(call, &arguments);
}

void vst_remote_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                               struct vst_stream *stream, struct vst_op *op)
{
    const union vst_arguments arguments = {.incoming = {(char *)token, (char *)part}};

    vst_remote_stream_call(conn, VST_PROCEDURE_MIGRATE_STREAM, part ? part : token, stream,
                           &arguments, op);
}

/* ---- what a client that relays does ---- */

void vst_remote_relay_begin(struct vst_conn *conn, const char *name, const char *destination,
                            const struct vst_migrate_options *opt, bool check, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_RELAY_BEGIN, op);
    union vst_arguments arguments;

    if (!call)
        return;
    vst_migrate_arguments_set(name, destination, opt, check, &arguments.migrate);
    vst_remote_call_make(call, &arguments);
}

void vst_remote_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                            struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_RELAY_FETCH, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){.fetch = {(char *)token, after}});
}

void vst_remote_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                             const struct vst_migrate_message *answer, const struct vst_error *err,
                             struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_RELAY_ANSWER, op);
    char error[VST_ERROR_BODY_MAX];
    union vst_arguments arguments;

    if (!call)
        return;
    if (err)
        vst_error_print(err, error);
    vst_relay_answer_set(token, number, answer, err ? error : NULL, &arguments.relay_answer);
    vst_remote_call_make(call, &arguments);
}

void vst_remote_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                             struct vst_stream *stream, struct vst_op *op)
{
    const union vst_arguments arguments = {.incoming = {(char *)token, (char *)part}};

    vst_remote_stream_call(conn, VST_PROCEDURE_RELAY_STREAM, part ? part : token, stream,
                           &arguments, op);
}

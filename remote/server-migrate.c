/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The procedures of migration: those of users, and those that another host calls, who comes as a
 * client like any other.
 */
#include <stdio.h>

#include "core/migration.h"
#include "core/op.h"
#include "move-rules.h"
#include "server-private.h"

static const struct vst_policy *policy_of(const struct call *call)
{
    return &call->client->server->rules->is;
}

static bool may_use_args(const struct call *call)
{
    return vst_access_may_use_args(call->client->role);
}

const char *vst_call_migration(const struct call *call)
{
    switch (call->procedure) {
    case VST_PROCEDURE_MIGRATION_ORDER:
        return call->arguments.order.token;
    case VST_PROCEDURE_MIGRATE_MESSAGE:
        return call->arguments.handover.token;
    case VST_PROCEDURE_RELAY_FETCH:
        return call->arguments.fetch.token;
    case VST_PROCEDURE_RELAY_ANSWER:
        return call->arguments.relay_answer.token;
    case VST_PROCEDURE_MIGRATE_STREAM:
    case VST_PROCEDURE_RELAY_STREAM:
        return call->arguments.incoming.token;
    default:
        return NULL;
    }
}

/* ---- for users ---- */

static void tell_token(void *opaque, const char *token)
{
    const struct call *call = opaque;
    struct vst_started started = {0};
    char body[VST_STARTED_MAX];

    if (call->told)
        return;
    snprintf(started.token, sizeof(started.token), "%s", token);
    vst_started_print(&started, body);
    vst_client_send(call->client, VST_FRAME_STARTED, call->id, body);
}

void vst_run_migrate(struct call *call)
{
    const struct vst_migrate_arguments *arguments = &call->arguments.migrate;
    struct vst_migrate_options opt;
    struct vst_error err = {0};
    struct vst_op *op;

    if (vst_move_rules_check_destination(arguments->destination, may_use_args(call), &err) < 0) {
        vst_call_fail(call, &err);
        return;
    }
    vst_migrate_arguments_get(arguments, &opt);
    op = (arguments->check ? vst_domain_check_migration : vst_domain_migrate)(
        call->domain, arguments->destination, &opt, VST_CALL_DONE(call));
    if (op)
        vst_op_on_token(op, tell_token, call);
    vst_call_began(call, op);
}

static bool is_word_of_people(enum vst_migration_order order)
{
    return order == VST_MIGRATION_RUNS_ON_SOURCE || order == VST_MIGRATION_RUNS_ON_DESTINATION ||
           order == VST_MIGRATION_FORGET;
}

/* Whoever is believed may make two guests of one. */
static int check_order(const struct call *call, enum vst_migration_order order,
                       struct vst_error *ret_err)
{
    if (!is_word_of_people(order) || vst_access_may_settle(call->client->role))
        return 0;
    return vst_error_set(ret_err, VST_ERR_ACCESS, "to say %s needs the role admin, yours is %s",
                         order == VST_MIGRATION_FORGET ? "that a host is lost for good"
                                                       : "where a guest runs",
                         vst_role_name(call->client->role));
}

void vst_run_migration_order(struct call *call)
{
    struct vst_migration_change change;
    enum vst_migration_order order;
    struct vst_error err = {0};

    vst_order_arguments_get(&call->arguments.order, &order, &change);
    if (check_order(call, order, &err) < 0) {
        vst_call_fail(call, &err);
        return;
    }
    vst_call_began(call, vst_conn_order_migration(
                             call->client->backend->conn, call->arguments.order.token, order,
                             order == VST_MIGRATION_SET ? &change : NULL, VST_CALL_DONE(call)));
}

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    vst_call_list(opaque, infos, count, err);
}

void vst_run_migrations(struct call *call)
{
    struct vst_migrations_cb cb = {have_migrations, call, NULL};

    vst_call_began(call, vst_conn_list_migrations(call->client->backend->conn, &cb));
}

/* ---- for clients that relay ---- */

static void have_errand(const struct vst_errand *errand, const struct vst_error *err, void *opaque)
{
    struct call *call = opaque;
    struct vst_error failed = {0};

    call->op = NULL;
    if (err)
        vst_call_fail(call, err);
    else
        vst_call_reply(call, vst_errand_print(call->procedure, errand, &failed), &failed);
}

/* The destination is for people here: nobody connects to it but the client. */
void vst_run_relay_begin(struct call *call)
{
    const struct vst_migrate_arguments *arguments = &call->arguments.migrate;
    struct vst_errand_cb cb = {have_errand, call, NULL};
    struct vst_migrate_options opt;

    vst_migrate_arguments_get(arguments, &opt);
    vst_call_began(call, vst_conn_relay_begin(call->client->backend->conn,
                                              vst_domain_get_name(call->domain),
                                              arguments->destination, &opt, arguments->check, &cb));
}

void vst_run_relay_fetch(struct call *call)
{
    const struct vst_fetch_arguments *arguments = &call->arguments.fetch;
    struct vst_errand_cb cb = {have_errand, call, NULL};

    vst_call_began(call, vst_conn_relay_fetch(call->client->backend->conn, arguments->token,
                                              arguments->after, &cb));
}

void vst_run_relay_answer(struct call *call)
{
    struct vst_relay_answer_arguments *arguments = &call->arguments.relay_answer;
    struct vst_migrate_message answer;
    struct vst_error err = {0};

    vst_relay_answer_get(arguments, &answer, &err);
    vst_call_began(
        call, vst_conn_relay_answer(call->client->backend->conn, arguments->token,
                                    arguments->number, vst_error_is_set(&err) ? NULL : &answer,
                                    vst_error_is_set(&err) ? &err : NULL, VST_CALL_DONE(call)));
}

void vst_run_relay_stream(struct call *call)
{
    const struct vst_incoming_arguments *arguments = &call->arguments.incoming;

    vst_call_began(call, vst_conn_relay_stream(call->client->backend->conn, arguments->token,
                                               arguments->part, call->stream, VST_CALL_DONE(call)));
}

/* ---- for other hosts ---- */

/*
 * What the rules have against a guest is all that they say of it: the driver only looks what else
 * stands in its way, at nothing that may not be named, and begins nothing. So whoever asks need not
 * ask again for each reason. A host that no guest is taken from learns nothing.
 */
static int check_message(struct call *call, struct vst_migrate_message *message,
                         struct vst_error *ret_err)
{
    const struct vst_policy *policy = policy_of(call);

    if (vst_move_rules_check_source(policy->accept, &call->client->identity, ret_err) < 0)
        return -1;
    if (message->event != VST_HANDOVER_PREPARE)
        return 0;
    if (!message->offer)
        return vst_error_set(ret_err, VST_ERR_INVALID, "migrate-message: offer: missing");
    if (vst_move_rules_check_offer(message->offer, policy->allow_paths,
                                   may_use_args(call) && !message->no_args, &call->objections,
                                   ret_err) < 0)
        return -1;
    message->objections = call->objections;
    message->check |= call->objections != NULL;
    return 0;
}

/* An answer to the check has the objections in it already. */
static void refuse(struct call *call, const struct vst_migrate_message *answer,
                   const struct vst_error *err)
{
    struct vst_error refused = {0};

    if (answer && answer->event == VST_HANDOVER_REFUSED && answer->text)
        vst_error_set(&refused, VST_ERR_ACCESS, "%s", answer->text);
    else
        vst_objections_tell(call->objections, err ? err->text : NULL, &refused);
    vst_call_fail(call, &refused);
}

static void have_answer(const struct vst_migrate_message *answer, const struct vst_error *err,
                        void *opaque)
{
    struct call *call = opaque;
    struct vst_error failed = {0};

    call->op = NULL;
    if (call->objections)
        refuse(call, answer, err);
    else if (err)
        vst_call_fail(call, err);
    else
        vst_call_reply(call, vst_answer_print(answer, &failed), &failed);
}

void vst_run_migrate_message(struct call *call)
{
    struct vst_answer_cb cb = {have_answer, call, NULL};
    struct vst_migrate_message message;
    struct vst_error err = {0};

    vst_handover_arguments_get(&call->arguments.handover, &message);
    if (check_message(call, &message, &err) < 0) {
        vst_call_fail(call, &err);
        return;
    }
    vst_call_began(call, vst_conn_migrate_message(call->client->backend->conn, &message, &cb));
}

void vst_run_migrate_stream(struct call *call)
{
    const struct vst_incoming_arguments *arguments = &call->arguments.incoming;
    struct vst_error err = {0};

    if (vst_move_rules_check_source(policy_of(call)->accept, &call->client->identity, &err) < 0) {
        vst_call_fail(call, &err);
        return;
    }
    vst_call_began(call,
                   vst_conn_migrate_stream(call->client->backend->conn, arguments->token,
                                           arguments->part, call->stream, VST_CALL_DONE(call)));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call, from its frame to its answer: may the client make it, what are its arguments, which
 * domain is it about. Exactly one REPLY or ERROR goes back, unless the client has gone. What the
 * methods are is in server-methods.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/connection.h"
#include "core/op.h"
#include "core/stream.h"
#include "move-rules.h"
#include "server-private.h"

enum { STREAM_LIMIT = 256 * 1024 }; /* between the mux and the driver, which have buffers already */

static void enter(struct call *call, enum call_state state)
{
    vst_fsm_trace(call, call->label, call->state, state);
    call->state = state;
}

static void call_free(struct call *call)
{
    vst_turn_cancel(&call->started);
    vst_arguments_clear(call->procedure, &call->arguments);
    vst_stream_free(&call->stream);
    vst_domain_free(&call->domain);
    vst_objections_free(&call->objections);
    free(call);
}

/* ---- the answer ---- */

static void log_ended(const struct call *call, const struct vst_error *err, int64_t us)
{
    const struct client *client = call->client;
    char identity[160], milliseconds[24];
    struct vst_log_field fields[] = {
        {"client", client->label + strlen("client ")},
        {"identity", identity},
        {"procedure", vst_procedures[call->procedure].name},
        {"domain", *vst_call_domain(call) ? vst_call_domain(call) : NULL},
        {"volume", vst_call_volume(call)},
        {"migration", vst_call_migration(call)},
        {"code", vst_code_name(err ? err->code : VST_ERR_OK)},
        {"ms", milliseconds},
        {NULL, NULL},
    };

    vst_identity_print(&client->identity, identity, sizeof(identity));
    snprintf(milliseconds, sizeof(milliseconds), "%lld", (long long)us / 1000);
    vst_log_write(client->server->log, err ? VST_LOG_NOTICE : VST_LOG_INFO, fields, "%s: %s%s%s",
                  call->label, vst_procedures[call->procedure].name, err ? ": " : "",
                  err ? err->text : "");
}

/* Last of all. The client, and what it has of the call, may be gone by now. */
static void over(struct call *call, const struct vst_error *err)
{
    struct client *client = call->client;
    int64_t us = vst_now_us() - call->began_us;

    enter(call, CALL_ANSWERED);
    log_ended(call, err, us);
    vst_count_ended(call, err, us);
    if (client->mux)
        vst_mux_ended(client->mux, call->id, err);
    TAILQ_REMOVE(&client->calls, call, link);
    if (call->left) {
        client->server->left_calls--;
        vst_server_look(client->server);
    }
    call_free(call);
    vst_client_call_ended(client);
    vst_client_unref(client);
}

void vst_call_fail(struct call *call, const struct vst_error *err)
{
    struct vst_error copy = *err;

    vst_error_where(&copy, VST_SIDE_HOST, vst_procedures[call->procedure].name);
    if (!call->told)
        vst_client_send_error(call->client, VST_FRAME_ERROR, call->id, &copy);
    over(call, &copy);
}

void vst_call_reply(struct call *call, char *body, const struct vst_error *err)
{
    if (!body) {
        vst_call_fail(call, err);
        return;
    }
    if (!call->told)
        vst_client_send(call->client, VST_FRAME_REPLY, call->id, body);
    free(body);
    over(call, NULL);
}

/* ---- running ---- */

/* The driver's end is there: it has not failed at once, and knows how long it is. */
static void tell_started(evutil_socket_t fd, short what, void *opaque)
{
    struct call *call = opaque;
    struct vst_progress progress;
    char body[VST_STARTED_MAX];

    (void)fd, (void)what;
    vst_stream_get_progress(call->stream, &progress);
    vst_started_print(&(struct vst_started){.total = progress.total}, body);
    vst_client_send(call->client, VST_FRAME_STARTED, call->id, body);
}

/* The call, and its client, may be gone when the method returns. */
static void run(struct call *call)
{
    struct vst_conn *conn = call->client->backend->conn;
    struct vst_caller caller = {.admin = vst_access_may_settle(call->client->role)};

    vst_identity_principal(&call->client->identity, caller.name, sizeof(caller.name));
    enter(call, CALL_RUNNING);
    conn->caller = &caller;
    call->method->run(call);
    conn->caller = NULL;
}

/* Whether the call is still to be made: the lookup may have been through already when it was
 * stopped, and the rules may have changed meanwhile. */
static int check_again(const struct call *call, struct vst_error *ret_err)
{
    if (call->state == CALL_STOPPED)
        return vst_error_copy(ret_err, &call->why);
    return vst_access_check(call->client->role, call->procedure, ret_err);
}

static void have_domain(struct vst_domain *domain, const struct vst_error *lookup_err, void *opaque)
{
    struct call *call = opaque;
    struct vst_error err = {0};

    call->op = NULL;
    call->domain = domain;
    if (lookup_err)
        vst_call_fail(call, lookup_err);
    else if (check_again(call, &err) < 0)
        vst_call_fail(call, &err);
    else
        run(call);
}

static void look_up(struct call *call)
{
    struct vst_domain_cb cb = {.fn = have_domain, .opaque = call};
    struct vst_error err = {0};

    call->op = vst_conn_lookup(call->client->backend->conn, vst_call_domain(call), &cb);
    if (call->op)
        return;
    vst_error_no_memory(&err);
    vst_call_fail(call, &err);
}

/* ---- the frame ---- */

static int open_stream(struct call *call, struct vst_error *ret_err)
{
    const struct vst_procedure_row *row = &vst_procedures[call->procedure];
    struct vst_mux_ends ends = {
        .receives = row->dirs & VST_UP,
        .sends = row->dirs & VST_DOWN,
        .sparse = row->sparse,
    };

    if (!row->dirs)
        return 0;
    call->stream = vst_stream_new(call->client->server->base,
                                  &(struct vst_stream_options){.limit = STREAM_LIMIT});
    if (!call->stream)
        return vst_error_no_memory(ret_err);
    vst_stream_on_attached(call->stream, &call->started);
    if (vst_mux_open(call->client->mux, call->id, &ends, ret_err) < 0)
        return -1;
    if (vst_stream_set_ends(call->stream, ends.ret_source, ends.ret_sink) < 0)
        return vst_error_no_memory(ret_err);
    return 0;
}

/* Decoding comes after access: what a client may not call is looked at no further. */
static int prepare(struct client *client, struct call *call, const struct vst_call *message,
                   struct vst_error *ret_err)
{
    if (vst_access_check(client->role, message->procedure, ret_err) < 0)
        return -1;
    if (client->state != CLIENT_SERVED)
        return vst_error_set(ret_err, VST_ERR_CANCELLED, "the server is shutting down");
    if (client->call_count > client->greeting_opt.streams)
        return vst_error_set(ret_err, VST_ERR_BUSY, "at most %u calls at once",
                             client->greeting_opt.streams);
    if (!call->method->run)
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED, "this server has no %s",
                             vst_procedures[message->procedure].name);
    if (vst_call_get_arguments(message, &call->arguments, ret_err) < 0)
        return -1;
    return open_stream(call, ret_err);
}

static struct call *call_new(struct client *client, uint32_t id, enum vst_procedure procedure)
{
    struct call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->client = client;
    call->method = &vst_methods[procedure];
    call->id = id;
    call->procedure = procedure;
    call->began_us = vst_now_us();
    snprintf(call->label, sizeof(call->label), "%s call %u", client->label, (unsigned)id);
    vst_turn_init(&call->started, client->server->base, tell_started, call);
    TAILQ_INSERT_TAIL(&client->calls, call, link);
    client->call_count++;
    client->refs++;
    return call;
}

void vst_call_take(struct client *client, uint32_t id, const char *body, size_t length)
{
    struct vst_error err = {.side = VST_SIDE_HOST};
    struct vst_call message;
    struct call *call = NULL;

    if (vst_call_parse(body, length, &message, &err) == 0) {
        call = call_new(client, id, message.procedure);
        if (call)
            prepare(client, call, &message, &err);
        else
            vst_error_no_memory(&err);
        vst_call_clear(&message);
    }
    if (!call) {
        vst_client_send_error(client, VST_FRAME_ERROR, id, &err);
        vst_mux_ended(client->mux, id, &err);
    } else if (vst_error_is_set(&err)) {
        vst_call_fail(call, &err);
    } else if (call->method->on_domain) {
        look_up(call);
    } else {
        run(call);
    }
}

/* ---- the end before the end ---- */

static void stop(struct call *call, const struct vst_error *why)
{
    if (call->state == CALL_LOOKING) {
        call->why = *why;
        enter(call, CALL_STOPPED);
    }
    if (call->op)
        vst_op_end(call->op, why);
}

void vst_call_stop(struct client *client, uint32_t id, const struct vst_error *why)
{
    struct call *call;

    TAILQ_FOREACH(call, &client->calls, link)
        if (call->id == id) {
            stop(call, why);
            return;
        }
}

void vst_calls_leave(struct client *client)
{
    struct vst_error why = {0};
    struct call *call;

    vst_error_set(&why, VST_ERR_CANCELLED, "its client is gone");
    TAILQ_FOREACH(call, &client->calls, link)
        if (call->method->survives && call->state == CALL_RUNNING) {
            call->left = true;
            client->server->left_calls++;
        } else {
            stop(call, &why);
        }
}

static void dismiss(struct call *call, const struct vst_error *why)
{
    bool goes_on = call->method->survives && call->state == CALL_RUNNING;
    struct vst_error err = *why;

    if (call->told)
        return;
    if (call->method->dismissal) /* nobody has called off what hosts do between them */
        err.code = call->method->dismissal;
    vst_error_where(&err, VST_SIDE_HOST, vst_procedures[call->procedure].name);
    call->told = true;
    vst_turn_cancel(&call->started);
    vst_client_send_error(call->client, VST_FRAME_ERROR, call->id, &err);
    vst_mux_ended(call->client->mux, call->id, &err);
    if (!goes_on)
        stop(call, &err);
}

void vst_calls_dismiss(struct client *client, const struct vst_error *why)
{
    struct call *call;

    TAILQ_FOREACH(call, &client->calls, link)
        dismiss(call, why);
}

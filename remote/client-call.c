/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A call: sent, answered exactly once, and what its answer makes of its operation. A call that is
 * cancelled is still answered: only the server knows what has come of it.
 */
#include <stdlib.h>
#include <string.h>

#include "client-private.h"
#include "core/clock.h"

static void call_free(void *state)
{
    struct remote_call *call = state;

    free(call->entries);
    free(call);
}

struct remote_call *vst_remote_call_new(struct vst_conn *conn, enum vst_procedure procedure,
                                        struct vst_op *op)
{
    struct remote_call *call = calloc(1, sizeof(*call));
    struct vst_error err = {0};

    if (!call) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return NULL;
    }
    call->remote = conn->impl;
    call->procedure = procedure;
    call->op = op;
    vst_op_own(op, call, call_free);
    return call;
}

/* ---- sending ---- */

uint32_t vst_remote_next_id(struct remote *remote, struct vst_error *ret_err)
{
    uint32_t id = vst_mux_next_id(remote->mux);

    if (!id)
        vst_error_set(ret_err, VST_ERR_LOST,
                      "%s: this connection makes no more calls; open another",
                      remote->target.label);
    return id;
}

static int send_body(struct remote_call *call, const char *body, struct vst_mux_ends *ends,
                     struct vst_error *ret_err)
{
    struct remote *remote = call->remote;
    size_t length = strlen(body);

    if (length > VST_FRAME_CONTROL_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "%s: its arguments have %zu bytes, the most "
                             "that can be sent is %d",
                             vst_procedures[call->procedure].name, length, VST_FRAME_CONTROL_MAX);
    call->id = vst_remote_next_id(remote, ret_err);
    if (!call->id)
        return -1;
    if (ends && vst_mux_open(remote->mux, call->id, ends, ret_err) < 0)
        return -1;
    TAILQ_INSERT_TAIL(&remote->calls, call, link);
    /* If this fails so has the connection, and closed() will answer the call. */
    vst_mux_send(remote->mux, VST_FRAME_CALL, call->id, body, length);
    return 0;
}

int vst_remote_call_send(struct remote_call *call, const union vst_arguments *arguments,
                         struct vst_mux_ends *ends, struct vst_error *ret_err)
{
    char *body;
    int status;

    if (vst_error_is_set(&call->remote->refuse))
        return vst_error_copy(ret_err, &call->remote->refuse);
    body = vst_call_print(call->procedure, arguments, ret_err);
    if (!body)
        return -1;
    status = send_body(call, body, ends, ret_err);
    free(body);
    return status;
}

/* ---- calling off ---- */

static const struct remote_call *oldest_stopped(const struct remote *remote)
{
    const struct remote_call *call, *oldest = NULL;

    TAILQ_FOREACH(call, &remote->calls, link)
        if (call->stopped_us && !call->goes_on &&
            (!oldest || call->stopped_us < oldest->stopped_us))
            oldest = call;
    return oldest;
}

static void lose(struct remote *remote, struct vst_error *why)
{
    if (remote->mux)
        vst_mux_fail(remote->mux, why);
}

/* With no such call there is no timer: it would hold up the loop of an application that ends. */
static void watch_stopped(struct remote *remote)
{
    const struct remote_call *call = oldest_stopped(remote);
    struct vst_error err = {0};
    struct timeval left = {0};
    int64_t us;

    event_del(&remote->impatience);
    if (!call)
        return;
    us = call->stopped_us + (int64_t)remote->undo_ms * 1000 - vst_now_us();
    if (us > 0)
        left = (struct timeval){(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};
    if (event_add(&remote->impatience, &left) == 0)
        return;
    vst_error_no_memory(&err);
    lose(remote, &err);
}

void vst_remote_lose_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct remote *remote = opaque;
    struct vst_error err = {0};

    (void)fd, (void)what;
    vst_error_set(&err, VST_ERR_LOST, "the server has not answered STOP for %u ms",
                  remote->undo_ms);
    lose(remote, &err);
}

void vst_remote_call_stop(struct remote_call *call, const struct vst_error *why, bool ours)
{
    char body[VST_ERROR_BODY_MAX];
    size_t length = vst_error_print(why, body);

    call->err = *why;
    call->ours = ours;
    if (!call->remote->mux)
        return;
    vst_mux_send(call->remote->mux, VST_FRAME_STOP, call->id, body, length);
    if (!call->stopped_us) {
        call->stopped_us = vst_now_us();
        watch_stopped(call->remote);
    }
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    vst_remote_call_stop(opaque, why, true);
}

int vst_remote_call_make(struct remote_call *call, const union vst_arguments *arguments)
{
    struct vst_error err = {0};

    if (vst_remote_call_send(call, arguments, NULL, &err) < 0) {
        vst_op_fail(call->op, &err);
        return -1;
    }
    vst_op_set_cancel(call->op, cancelled, call);
    return 0;
}

/* ---- answers ---- */

static int take_result(struct remote_call *call, const char *body, size_t length,
                       struct vst_error *ret_err)
{
    struct remote *remote = call->remote;
    struct vst_migrate_message answer;
    struct vst_errand errand;
    union vst_results result;

    if (vst_reply_parse(call->procedure, body, length, &result, ret_err) < 0)
        return -1;
    switch (call->procedure) {
    case VST_PROCEDURE_LOOKUP:
    case VST_PROCEDURE_START:
    case VST_PROCEDURE_RESTORE:
        vst_driver_domain(remote->conn, call->op, result.domain.name, result.domain.uuid);
        break;
    case VST_PROCEDURE_STATS:
        vst_driver_stats(call->op, vst_remote_stats_print(remote, &result.stats));
        break;
    case VST_PROCEDURE_MIGRATE_MESSAGE:
        vst_answer_get(&result.answer, &answer);
        vst_driver_answer(call->op, &answer);
        break;
    case VST_PROCEDURE_RELAY_BEGIN:
    case VST_PROCEDURE_RELAY_FETCH:
        vst_errand_get(&result.errand, &errand);
        vst_driver_errand(call->op, &errand);
        break;
    default:
        vst_op_done(call->op);
        break;
    }
    vst_results_clear(call->procedure, &result);
    return 0;
}

/* A server that says it is done before either side has everything is not to be believed. */
static int take_reply(struct remote_call *call, const char *body, size_t length,
                      struct vst_error *ret_err)
{
    unsigned dirs = vst_procedures[call->procedure].dirs;

    if ((dirs == VST_DOWN && !call->taken) || (dirs == VST_UP && !call->sent)) {
        vst_error_copy(ret_err, &call->err);
        return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                             "%s: the server says that it is done, and not everything has %s",
                             vst_procedures[call->procedure].name,
                             dirs == VST_DOWN ? "come" : "gone");
    }
    switch (call->procedure) {
    case VST_PROCEDURE_LIST:
    case VST_PROCEDURE_INFO:
    case VST_PROCEDURE_VOLUMES:
    case VST_PROCEDURE_MIGRATIONS:
        return vst_remote_take_list(call, body, length, ret_err);
    default:
        return take_result(call, body, length, ret_err);
    }
}

void vst_remote_call_answer(struct remote_call *call, const char *body, size_t length,
                            const struct vst_error *err)
{
    struct remote *remote = call->remote;
    struct vst_error failure = {0};

    TAILQ_REMOVE(&remote->calls, call, link);
    if (call->stopped_us)
        watch_stopped(remote);
    if (call->stream && remote->mux) {
        call->sent = vst_mux_has_sent(remote->mux, call->id);
        vst_mux_ended(remote->mux, call->id, err);
    }
    if (!err && take_reply(call, body, length, &failure) == 0)
        return;
    if (call->ours)
        failure = call->err;
    else if (err)
        failure = *err;
    vst_op_fail(call->op, &failure);
}

/* ---- methods ---- */

void vst_remote_list(struct vst_conn *conn, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_LIST, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){0});
}

void vst_remote_get_info(struct vst_conn *conn, const char *name, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_INFO, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){.name = {(char *)name}});
}

void vst_remote_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_LOOKUP, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){.name = {(char *)name_or_uuid}});
}

void vst_remote_start(struct vst_conn *conn, const char *definition,
                      const struct vst_start_options *opt, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_START, op);

    if (call)
        vst_remote_call_make(
            call, &(union vst_arguments){.start = {(char *)definition, opt->paused, opt->no_args}});
}

void vst_remote_control(struct vst_conn *conn, const char *name, enum vst_control what,
                        struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_CONTROL, op);

    if (call)
        vst_remote_call_make(call, &(union vst_arguments){
                                       .control = {(char *)name, (char *)vst_control_name(what)}});
}

void vst_remote_get_stats(struct vst_conn *conn, struct vst_op *op)
{
    struct remote_call *call = vst_remote_call_new(conn, VST_PROCEDURE_STATS, op);

    if (call)
        vst_remote_call_make(call, NULL);
}

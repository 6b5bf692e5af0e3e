/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's connection: opening, what comes from the server, losing it, closing. Calls are
 * client-call.c's; what is here is one of each connection: its mux, its events, its pings.
 */
#include "client.h"

#include <stdlib.h>
#include <string.h>

#include "client-private.h"

/* The most that the windows of a connection may sum up to: what is in memory for slow readers. */
#define WINDOWS_MAX (UINT64_C(256) * 1024 * 1024)

enum {
    STALL_MS = 30000, /* how long the server may take nothing of what there is for it */
    UNDO_MS = 300000, /* how long it may undo a call: a disk that is slow, a QEMU that is */
};

struct remote_ping {
    TAILQ_ENTRY(remote_ping) link;
    struct remote *remote;
    struct vst_op *op; /* NULL: nobody waits for it any more */
};

static void remote_free(struct remote *remote)
{
    vst_turn_cancel(&remote->turn);
    event_del(&remote->impatience);
    vst_target_clear(&remote->target);
    free(remote->mechanism);
    free(remote);
}

static void say_where(const struct remote *remote, struct vst_error *err)
{
    vst_error_where(err, VST_SIDE_HOST, NULL);
    vst_error_prefix(err, "%s", remote->target.label);
}

/* ---- pings ---- */

/* The answer, -1 without one. */
static void ping_end(struct remote_ping *ping, int64_t us)
{
    struct remote *remote = ping->remote;

    TAILQ_REMOVE(&remote->pings, ping, link);
    if (ping->op && us >= 0)
        vst_driver_ping(ping->op, us);
    else if (ping->op)
        vst_op_fail(ping->op, &remote->refuse);
    free(ping);
}

static void pong(void *opaque, int64_t us)
{
    struct remote_ping *ping = opaque;

    /* Without an answer the connection has ended: closed() will say why. */
    if (us >= 0)
        ping_end(ping, us);
}

static void ping_cancelled(void *opaque, const struct vst_error *why)
{
    struct remote_ping *ping = opaque;
    struct vst_op *op = ping->op;

    ping->op = NULL;
    vst_op_fail(op, why);
}

static void remote_ping(struct vst_conn *conn, struct vst_op *op)
{
    struct remote *remote = conn->impl;
    struct remote_ping *ping = remote->mux ? calloc(1, sizeof(*ping)) : NULL;
    struct vst_error err = {0};

    if (!remote->mux) {
        vst_op_fail(op, &remote->refuse);
        return;
    }
    if (!ping)
        vst_error_no_memory(&err);
    else if (vst_mux_ping(remote->mux, pong, ping, &err) < 0)
        say_where(remote, &err);
    if (vst_error_is_set(&err)) {
        free(ping);
        vst_op_fail(op, &err);
        return;
    }
    ping->remote = remote;
    ping->op = op;
    TAILQ_INSERT_TAIL(&remote->pings, ping, link);
    vst_op_set_cancel(op, ping_cancelled, ping);
}

/* ---- events ---- */

static void events_lost(struct remote *remote, const struct vst_error *err)
{
    struct vst_error why = *err;

    remote->watch = 0;
    remote->unwatched = (struct vst_error){0};
    vst_driver_events_lost(remote->conn, &why);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct remote *remote = opaque;

    (void)fd, (void)what;
    if (vst_error_is_set(&remote->unwatched))
        events_lost(remote, &remote->unwatched);
}

static int ask_for_events(struct remote *remote, struct vst_error *ret_err)
{
    char *body;

    if (vst_error_is_set(&remote->refuse))
        return vst_error_copy(ret_err, &remote->refuse);
    body = vst_call_print(VST_PROCEDURE_EVENTS, NULL, ret_err);
    if (!body)
        return -1;
    remote->watch = vst_remote_next_id(remote, ret_err);
    /* If this fails so has the connection, and closed() will tell. */
    if (remote->watch)
        vst_mux_send(remote->mux, VST_FRAME_CALL, remote->watch, body, strlen(body));
    free(body);
    return remote->watch ? 0 : -1;
}

/* The application has a callback: whether events can come, it hears from the loop. */
static void remote_watch(struct vst_conn *conn)
{
    struct remote *remote = conn->impl;

    if (!remote->watch && ask_for_events(remote, &remote->unwatched) < 0)
        vst_turn_schedule(&remote->turn);
}

static void hear(struct remote *remote, const char *body, size_t length)
{
    struct vst_event_text text;
    struct vst_event event;
    struct vst_error err = {0};

    if (vst_event_parse(body, length, &text, &event, &err) == 0) {
        vst_driver_event(remote->conn, event.kind, event.name, event.uuid, event.reason);
        vst_event_text_clear(&text);
    } else if (err.code != VST_ERR_UNSUPPORTED) {
        vst_mux_fail(remote->mux, &err);
    }
}

/* ---- what the server says ---- */

static struct remote_call *find_call(const struct remote *remote, uint32_t id)
{
    struct remote_call *call;

    TAILQ_FOREACH(call, &remote->calls, link)
        if (call->id == id)
            return call;
    return NULL;
}

static void take_answer(struct remote *remote, const struct vst_frame *frame, const char *body)
{
    struct remote_call *call = find_call(remote, frame->id);
    struct vst_error err = {0};

    if (frame->type == VST_FRAME_ERROR)
        vst_error_from_server(body, frame->length, &err);
    if (call) {
        vst_remote_call_answer(call, body, frame->length,
                               frame->type == VST_FRAME_ERROR ? &err : NULL);
    } else if (frame->id == remote->watch && remote->watch) {
        if (frame->type == VST_FRAME_ERROR)
            events_lost(remote, &err);
    } else if (!remote->leaves_calls) {
        vst_error_set(&err, VST_ERR_PROTOCOL, "an answer to call %u, which waits for none",
                      (unsigned)frame->id);
        vst_mux_fail(remote->mux, &err);
    }
}

static void have_started(struct remote *remote, const struct vst_frame *frame, const char *body)
{
    struct remote_call *call = find_call(remote, frame->id);
    struct vst_error err = {0};
    struct vst_started started;

    if (vst_started_parse(body, frame->length, &started, &err) < 0)
        vst_mux_fail(remote->mux, &err);
    else if (call && call->stream)
        vst_stream_expect(call->stream, started.total);
    else if (call && call->procedure == VST_PROCEDURE_MIGRATE)
        vst_op_set_token(call->op, started.token);
}

static void leave(struct remote *remote, const char *body, size_t length)
{
    struct vst_error why;

    vst_error_from_server(body, length, &why);
    vst_error_prefix(&why, "%s takes no new calls", remote->target.label);
    vst_error_copy(&remote->refuse, &why);
}

static void message(void *opaque, const struct vst_frame *frame, const char *body)
{
    struct remote *remote = opaque;

    switch (frame->type) {
    case VST_FRAME_REPLY:
    case VST_FRAME_ERROR:
        take_answer(remote, frame, body);
        break;
    case VST_FRAME_EVENT:
        hear(remote, body, frame->length);
        break;
    case VST_FRAME_GOAWAY:
        leave(remote, body, frame->length);
        break;
    case VST_FRAME_STARTED:
        have_started(remote, frame, body);
        break;
    default:
        break;
    }
}

/* ---- the end ---- */

static void end_all(struct remote *remote)
{
    struct remote_call *call;

    while ((call = TAILQ_FIRST(&remote->calls)))
        vst_remote_call_answer(call, NULL, 0, &remote->refuse);
    while (!TAILQ_EMPTY(&remote->pings))
        ping_end(TAILQ_FIRST(&remote->pings), -1);
    if (remote->watch)
        events_lost(remote, &remote->refuse);
}

static void let_go(struct remote *remote)
{
    struct vst_conn *conn = remote->conn;

    vst_mux_free(&remote->mux);
    while (!TAILQ_EMPTY(&remote->pings))
        ping_end(TAILQ_FIRST(&remote->pings), -1);
    remote_free(remote);
    conn->impl = NULL;
    vst_conn_closed(conn);
}

static void closed(void *opaque, const struct vst_error *err)
{
    struct remote *remote = opaque;

    if (remote->closing) {
        let_go(remote);
        return;
    }
    vst_mux_free(&remote->mux);
    remote->refuse = (struct vst_error){0};
    if (err)
        vst_error_copy(&remote->refuse, err);
    else
        vst_error_set(&remote->refuse, VST_ERR_LOST, "the server has ended the connection");
    say_where(remote, &remote->refuse);
    end_all(remote);
}

static void remote_close(struct vst_conn *conn)
{
    struct remote *remote = conn->impl;

    remote->closing = true;
    if (remote->mux)
        vst_mux_finish(remote->mux);
    else
        let_go(remote);
}

/* ---- opening ---- */

static int keep_login(struct remote *remote, const char *mechanism, struct vst_error *ret_err)
{
    remote->mechanism = mechanism ? strdup(mechanism) : NULL;
    return remote->mechanism || !mechanism ? 0 : vst_error_no_memory(ret_err);
}

static int make_mux(struct remote *remote, const struct vst_greeting_result *result,
                    struct vst_error *ret_err)
{
    struct vst_mux_options options = {
        .role = VST_MUX_CLIENT,
        .label = remote->target.label,
        .window = remote->target.window,
        .peer_window = result->peer_window,
        /* A kernel that passes bytes on, TLS, and SASL change none. */
        .sums = remote->target.transport == VST_TRANSPORT_TCP && !result->transport->lower,
        .memory = WINDOWS_MAX,
        .streams = result->streams,
        .wire = remote->target.wire,
        .keepalive_ms = remote->target.keepalive_ms,
        .stall_ms = STALL_MS,
    };
    const struct vst_mux_user user = {message, NULL, closed, remote};

    if (keep_login(remote, result->mechanism, ret_err) == 0)
        remote->mux = vst_mux_new(result->transport, &options, &user, ret_err);
    return remote->mux ? 0 : -1;
}

static void connected(void *opaque, const struct vst_greeting_result *result,
                      const struct vst_error *err)
{
    struct remote *remote = opaque;
    struct vst_op *op = remote->opening;
    struct vst_error failure = {0};

    remote->opening = NULL;
    remote->connect = NULL;
    if (err)
        vst_error_copy(&failure, err);
    else if (make_mux(remote, result, &failure) < 0)
        vst_channel_free(&(struct vst_channel *){result->transport});
    if (vst_error_is_set(&failure)) {
        remote_free(remote);
        vst_op_fail(op, &failure);
        return;
    }
    remote->conn->impl = remote;
    vst_op_done(op);
}

static void opening_cancelled(void *opaque, const struct vst_error *why)
{
    struct remote *remote = opaque;

    if (remote->connect)
        vst_connect_cancel(remote->connect, why);
}

static void remote_open(struct vst_conn *conn, struct vst_op *op)
{
    struct remote *remote = calloc(1, sizeof(*remote));
    struct vst_connect_cb cb = {connected, remote};
    struct vst_error err = {0};

    if (!remote) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    remote->conn = conn;
    remote->opening = op;
    TAILQ_INIT(&remote->calls);
    TAILQ_INIT(&remote->pings);
    vst_turn_init(&remote->turn, conn->base, turn, remote);
    remote->undo_ms = UNDO_MS;
    event_assign(&remote->impatience, conn->base, -1, 0, vst_remote_lose_patience, remote);
    if (vst_target_read(conn->uri, &remote->target, &err) == 0) {
        if (conn->options.patience_seconds)
            vst_target_set_patience(&remote->target, conn->uri, conn->options.patience_seconds);
        remote->connect = vst_connect_new(conn, &remote->target, &cb, &err);
    }
    if (!remote->connect) {
        remote_free(remote);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_set_cancel(op, opening_cancelled, remote);
}

const struct vst_driver vst_remote_driver = {
    .name = "remote",
    .remote = true,
    .open = remote_open,
    .close = remote_close,
    .watch = remote_watch,
    .ping = remote_ping,
    .get_stats = vst_remote_get_stats,
    .list = vst_remote_list,
    .get_info = vst_remote_get_info,
    .lookup = vst_remote_lookup,
    .start = vst_remote_start,
    .restore = vst_remote_restore,
    .control = vst_remote_control,
    .save = vst_remote_save,
    .open_console = vst_remote_open_console,
    .screenshot = vst_remote_screenshot,
    .migrate = vst_remote_migrate,
    .order_migration = vst_remote_order_migration,
    .list_migrations = vst_remote_list_migrations,
    .migrate_message = vst_remote_migrate_message,
    .migrate_stream = vst_remote_migrate_stream,
    .relay_begin = vst_remote_relay_begin,
    .relay_fetch = vst_remote_relay_fetch,
    .relay_answer = vst_remote_relay_answer,
    .relay_stream = vst_remote_relay_stream,
    .volume_list = vst_remote_volume_list,
    .volume_upload = vst_remote_volume_upload,
    .volume_download = vst_remote_volume_download,
    .volume_delete = vst_remote_volume_delete,
};

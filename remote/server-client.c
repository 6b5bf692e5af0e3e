/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client, from accept to the end of its connection: who it is, whether it is let in, and what is
 * left of it when it has gone. What it calls is in server-call.c.
 */
#include <errno.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config.h"
#include "core/fd.h"
#include "server-private.h"

/* Of one that is sent away, to hear why and to end. */
enum { DISMISSAL_SECONDS = 2 };

static void enter(struct client *client, enum client_state state)
{
    vst_fsm_trace(client, client->label, client->state, state);
    client->state = state;
}

void vst_client_log(const struct client *client, enum vst_log_level level,
                    const struct vst_error *err, const char *text)
{
    char identity[160];
    struct vst_log_field fields[] = {
        {"client", client->label + strlen("client ")},
        {"peer", client->peer},
        {"identity", identity},
        {"code", err ? vst_code_name(err->code) : NULL},
        {NULL, NULL},
    };

    vst_identity_print(&client->identity, identity, sizeof(identity));
    vst_log_write(client->server->log, level, fields, "%s: %s%s%s", client->label, text,
                  err ? ": " : "", err ? err->text : "");
}

void vst_client_unref(struct client *client)
{
    struct vst_server *server = client->server;

    if (--client->refs)
        return;
    vst_identity_clear(&client->identity);
    free(client);
    vst_server_unref(server);
}

static void leave_list(struct client *client)
{
    struct vst_server *server = client->server;
    bool anonymous = client->state == CLIENT_GREETING;

    TAILQ_REMOVE(anonymous ? &server->anonymous : &server->clients, client, link);
    --*(anonymous ? &server->anonymous_count : &server->client_count);
    if (anonymous && client->source)
        client->source->strangers--;
}

/* Out of the lists: nothing reaches it any more but its calls, which are over soon. */
static void gone(struct client *client)
{
    struct vst_server *server = client->server;

    leave_list(client);
    enter(client, CLIENT_GONE);
    event_del(&client->deadline);
    vst_greeting_free(&client->greeting);
    vst_rules_unref(&client->rules);
    vst_calls_leave(client);
    if (client->mux)
        vst_count_client(client);
    vst_mux_free(&client->mux);
    vst_client_unsubscribe(client);
    vst_source_leave(&client->source);
    vst_server_look(server);
    vst_client_unref(client);
}

static void refused(struct client *client, const struct vst_error *err)
{
    vst_count_greeting(client->server, err);
    vst_client_log(client, VST_LOG_NOTICE, err, "not let in");
    gone(client);
}

/* Of one that only has to hang up it counts why it was not let in. */
void vst_client_drop(struct client *client, const struct vst_error *why)
{
    const struct vst_error *refusal =
        client->greeting ? vst_greeting_refusal(client->greeting) : NULL;

    if (refusal) {
        refused(client, refusal);
        return;
    }
    if (client->state == CLIENT_GREETING)
        vst_count_greeting(client->server, why);
    vst_client_log(client, VST_LOG_NOTICE, why, "dropped");
    gone(client);
}

/* ---- after the greeting ---- */

void vst_client_send(struct client *client, enum vst_frame_type type, uint32_t id, const char *body)
{
    if (client->mux)
        vst_mux_send(client->mux, type, id, body, strlen(body));
}

void vst_client_send_error(struct client *client, enum vst_frame_type type, uint32_t id,
                           const struct vst_error *err)
{
    char body[VST_ERROR_BODY_MAX];

    vst_error_print(err, body);
    vst_client_send(client, type, id, body);
}

/* A drained client leaves with the answer to its last call. */
static void leave_if_idle(struct client *client)
{
    if (client->state != CLIENT_DRAINING || client->call_count)
        return;
    enter(client, CLIENT_LEAVING);
    vst_mux_finish(client->mux);
}

void vst_client_call_ended(struct client *client)
{
    client->call_count--;
    leave_if_idle(client);
}

void vst_client_drain(struct client *client)
{
    struct vst_error why = {.side = VST_SIDE_HOST};

    if (client->state != CLIENT_SERVED)
        return;
    enter(client, CLIENT_DRAINING);
    vst_error_set(&why, VST_ERR_CANCELLED, "the server is shutting down");
    vst_client_send_error(client, VST_FRAME_GOAWAY, 0, &why);
    leave_if_idle(client);
}

static void stayed(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_error why = {.side = VST_SIDE_CLIENT};

    (void)fd, (void)what;
    vst_error_set(&why, VST_ERR_TIMEOUT, "did not end in %d seconds", DISMISSAL_SECONDS);
    vst_client_drop(opaque, &why);
}

void vst_client_dismiss(struct client *client, const struct vst_error *why)
{
    static const struct timeval patience = {DISMISSAL_SECONDS, 0};

    vst_client_drain(client);
    vst_calls_dismiss(client, why);
    if (client->state == CLIENT_DRAINING) {
        enter(client, CLIENT_LEAVING);
        vst_mux_finish(client->mux);
    }
    if (event_pending(&client->deadline, EV_TIMEOUT, NULL))
        return;
    event_assign(&client->deadline, client->server->base, -1, 0, stayed, client);
    if (event_add(&client->deadline, &patience) < 0)
        vst_client_drop(client, why);
}

void vst_client_set_role(struct client *client)
{
    enum vst_role role = vst_access_role(client->server->rules->is.access, &client->identity);
    char text[80];

    if (role == client->role)
        return;
    client->role = role;
    snprintf(text, sizeof(text), "has the role %s now", vst_role_name(role));
    vst_client_log(client, VST_LOG_NOTICE, NULL, text);
}

static void have_message(void *opaque, const struct vst_frame *frame, const char *body)
{
    struct client *client = opaque;

    if (frame->type == VST_FRAME_CALL)
        vst_call_take(client, frame->id, body, frame->length);
}

static void have_stop(void *opaque, uint32_t id, const struct vst_error *why)
{
    vst_call_stop(opaque, id, why);
}

static void closed(void *opaque, const struct vst_error *err)
{
    struct client *client = opaque;

    vst_client_log(client, VST_LOG_INFO, err, err ? "lost" : "left");
    gone(client);
}

static struct vst_mux *make_mux(struct client *client, const struct vst_greeting_result *result,
                                struct vst_error *ret_err)
{
    const struct vst_limits *limits = &client->rules->is.limits;
    struct vst_mux_options opt = {
        .role = VST_MUX_SERVER,
        .label = client->label,
        .window = client->greeting_opt.window,
        .peer_window = result->peer_window,
        /* A kernel that passes bytes on, TLS, and SASL change none. */
        .sums = client->kind == VST_LISTEN_TCP && !result->transport->lower,
        .memory = limits->memory_per_client,
        .streams = client->greeting_opt.streams,
        .keepalive_ms = (unsigned)limits->keepalive_seconds * 1000,
        .stall_ms = (unsigned)limits->keepalive_seconds * 1000,
    };
    struct vst_mux_user user = {have_message, have_stop, closed, client};

    return vst_mux_new(result->transport, &opt, &user, ret_err);
}

static void let_in(struct client *client, const struct vst_greeting_result *result)
{
    struct vst_server *server = client->server;
    char text[120];

    leave_list(client);
    TAILQ_INSERT_TAIL(&server->clients, client, link);
    server->client_count++;
    enter(client, CLIENT_SERVED);
    event_del(&client->deadline);
    vst_count_greeting(server, NULL);
    vst_client_set_role(client); /* the rules may have changed since it was admitted */
    snprintf(text, sizeof(text), "let in as %s, for %s, with %.40s", vst_role_name(client->role),
             client->backend->driver, result->mechanism ? result->mechanism : "no login");
    vst_client_log(client, VST_LOG_INFO, NULL, text);
}

/* ---- the greeting ---- */

static void greeted(void *opaque, const struct vst_greeting_result *result,
                    const struct vst_error *greeting_err)
{
    struct client *client = opaque;
    struct vst_error err = {0};
    struct vst_channel *transport;

    if (greeting_err)
        err = *greeting_err;
    if (result) {
        client->mux = make_mux(client, result, &err);
        transport = client->mux ? NULL : result->transport;
        vst_channel_free(&transport);
    }
    if (client->mux) {
        let_in(client, result);
        vst_greeting_free(&client->greeting);
        vst_rules_unref(&client->rules);
    } else {
        refused(client, &err);
    }
}

/* The limits are those of now, for whoever is let in now. */
static int admit(void *opaque, const char *driver, const char *sasl_user, struct vst_error *ret_err)
{
    struct client *client = opaque;
    struct vst_server *server = client->server;
    char identity[160];

    if (sasl_user && vst_identity_add_user(&client->identity, sasl_user, ret_err) < 0)
        return -1;
    client->role = vst_access_role(server->rules->is.access, &client->identity);
    if (client->role == VST_ROLE_NONE) {
        vst_identity_print(&client->identity, identity, sizeof(identity));
        return vst_error_set(ret_err, VST_ERR_ACCESS,
                             "%s has no role here; roles are given in the daemon's configuration, "
                             "under [access]",
                             identity);
    }
    if (server->client_count >= server->rules->is.limits.clients)
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "%llu clients are here, and no more are let in (clients)",
                             (unsigned long long)server->client_count);
    client->backend = vst_server_find_backend(server, driver, ret_err);
    return client->backend ? 0 : -1;
}

/* A login is wanted on TCP, and on TLS of whom the certificate gives no role. */
static int want_login(struct client *client, struct vst_channel *transport,
                      struct vst_error *ret_err)
{
    const struct vst_policy *policy = &client->rules->is;
    struct vst_sasl_options *opt = &client->sasl_opt;

    *opt = (struct vst_sasl_options){
        .role = VST_SASL_SERVER,
        .mechanisms = policy->mechanisms,
        .database = policy->database,
        .saslauthd = policy->saslauthd,
    };
    if (client->kind == VST_LISTEN_TLS) {
        if (vst_tls_get_binding(transport, client->binding, ret_err) < 0)
            return -1;
        opt->binding = client->binding;
        opt->secret = true;
    }
    client->greeting_opt.sasl = opt;
    return 0;
}

static int opened(void *opaque, struct vst_channel *transport, struct vst_error *ret_err)
{
    struct client *client = opaque;
    const struct vst_policy *policy = &client->rules->is;
    const struct vst_tls_peer *peer;

    if (client->kind == VST_LISTEN_UNIX)
        return 0;
    if (client->kind == VST_LISTEN_TLS) {
        peer = vst_tls_get_peer(transport);
        if (peer && peer->subject &&
            vst_identity_add_x509(&client->identity, peer->subject, peer->uris, ret_err) < 0)
            return -1;
        if (!policy->mechanisms ||
            vst_access_role(policy->access, &client->identity) != VST_ROLE_NONE)
            return 0;
    }
    return want_login(client, transport, ret_err);
}

static void too_late(evutil_socket_t fd, short what, void *opaque)
{
    struct client *client = opaque;
    struct vst_error why = {.side = VST_SIDE_CLIENT};

    (void)fd, (void)what;
    vst_error_set(&why, VST_ERR_TIMEOUT, "not through the greeting in %d seconds; it stopped at %s",
                  (int)client->rules->is.limits.handshake_seconds,
                  vst_greeting_waits_for(client->greeting));
    vst_client_drop(client, &why);
}

/* ---- accept ---- */

/* A peer that has vanished without a word is noticed by the kernel; replies do not wait behind
 * megabytes of data in its queue. */
static void tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 120000},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 256 * 1024},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof(options[i].value));
}

static int know_unix(struct client *client, int fd, struct vst_error *ret_err)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return vst_error_system(ret_err, errno, "who is at the other end of the socket");
    snprintf(client->peer, sizeof(client->peer), "pid %d", (int)peer.pid);
    client->source = vst_source_enter_user(client->server, peer.uid, ret_err);
    if (!client->source)
        return -1;
    return vst_identity_add_unix(&client->identity, peer.uid, ret_err);
}

static int know_address(struct client *client, int fd, const struct sockaddr *address,
                        struct vst_error *ret_err)
{
    const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)address;
    char host[INET6_ADDRSTRLEN];

    tune(fd);
    if (address->sa_family == AF_INET)
        snprintf(client->peer, sizeof(client->peer), "%s:%d",
                 evutil_inet_ntop(AF_INET, &ip4->sin_addr, host, sizeof(host)),
                 ntohs(ip4->sin_port));
    else
        snprintf(client->peer, sizeof(client->peer), "[%s]:%d",
                 evutil_inet_ntop(AF_INET6, &ip6->sin6_addr, host, sizeof(host)),
                 ntohs(ip6->sin6_port));
    client->source = vst_source_enter(client->server, address, ret_err);
    return client->source ? 0 : -1;
}

static struct vst_channel *make_transport(struct client *client, int *fd, struct vst_error *ret_err)
{
    const struct vst_policy *policy = &client->rules->is;
    struct vst_tls_options opt = {.role = VST_TLS_SERVER, .want_peer = policy->require_client_cert};
    struct vst_channel *socket = vst_channel_fd(client->server->base, fd, ret_err);
    struct vst_channel *tls;

    if (!socket || client->kind != VST_LISTEN_TLS)
        return socket;
    tls = vst_channel_tls(socket, policy->creds, &opt, ret_err);
    if (!tls)
        vst_channel_free(&socket);
    return tls;
}

static int greet(struct client *client, int *fd, struct vst_error *ret_err)
{
    const struct vst_limits *limits = &client->rules->is.limits;
    struct vst_greeting_cb cb = {greeted, client};
    struct timeval patience = {(time_t)limits->handshake_seconds, 0};
    struct vst_channel *transport = make_transport(client, fd, ret_err);

    if (!transport)
        return -1;
    client->greeting_opt = (struct vst_greeting_options){
        .role = VST_SASL_SERVER,
        .software = PACKAGE_STRING,
        .window = limits->window,
        .streams = (unsigned)limits->streams,
        .admit = admit,
    };
    client->greeting = vst_greeting_new(transport, &client->greeting_opt, opened, &cb, ret_err);
    if (!client->greeting) {
        vst_channel_free(&transport);
        return -1;
    }
    return event_add(&client->deadline, &patience) < 0 ? vst_error_no_memory(ret_err) : 0;
}

void vst_client_make_room(struct vst_server *server, const char *because)
{
    struct client *client = vst_source_crowding(server);
    struct vst_error why = {.side = VST_SIDE_HOST};

    if (!client)
        return;
    vst_error_set(&why, VST_ERR_BUSY, "its place was needed: %s", because);
    vst_client_drop(client, &why);
}

static int know(struct client *client, int fd, const struct sockaddr *address,
                struct vst_error *ret_err)
{
    return client->kind == VST_LISTEN_UNIX ? know_unix(client, fd, ret_err)
                                           : know_address(client, fd, address, ret_err);
}

static struct client *client_new(struct listener *listener)
{
    struct vst_server *server = listener->server;
    struct client *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    client->server = server;
    client->kind = listener->kind;
    client->refs = 1;
    client->number = ++server->last_client;
    snprintf(client->label, sizeof(client->label), "client %llu",
             (unsigned long long)client->number);
    TAILQ_INIT(&client->calls);
    event_assign(&client->deadline, server->base, -1, 0, too_late, client);
    client->rules = vst_rules_ref(server->rules);
    TAILQ_INSERT_TAIL(&server->anonymous, client, link);
    server->anonymous_count++;
    server->refs++;
    return client;
}

void vst_client_accept(struct listener *listener, int *fd, const struct sockaddr *address)
{
    struct vst_server *server = listener->server;
    struct vst_error err = {.side = VST_SIDE_HOST};
    struct client *client;

    server->past.accepted++;
    client = client_new(listener);
    if (!client) {
        vst_error_no_memory(&err);
        vst_count_greeting(server, &err);
    } else if (know(client, *fd, address, &err) < 0) {
        vst_client_drop(client, &err);
    } else {
        if (server->anonymous_count > server->rules->is.limits.anonymous)
            vst_client_make_room(server, "too many are in the greeting (anonymous)");
        if (greet(client, fd, &err) < 0)
            vst_client_drop(client, &err);
    }
    vst_close(fd);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server as a whole: its rules, the connections that it serves, and how it comes to an end.
 */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/connection.h"
#include "core/driver.h"
#include "server-private.h"

#define SERVER_STATES(X)                                                              \
    X(SERVER_SERVING, "clients", "")                                                  \
    X(SERVER_DRAINING, "the last client, or the deadline", "nobody new, nothing new") \
    X(SERVER_DRAINED, "vst_server_free()", "everybody is gone, and that was told")    \
    X(SERVER_ENDING, "its clients' calls", "freed; only the memory is left")
VST_FSM(server, SERVER_STATES)

static void enter(struct vst_server *server, enum server_state state)
{
    vst_fsm_trace(server, "-", server->state, state);
    server->state = state;
}

/* ---- rules ---- */

static void set_patience(struct vst_server *server, struct vst_conn *conn)
{
    if (server->rules->is.patience_seconds)
        vst_conn_set_patience(conn, server->rules->is.patience_seconds);
}

void vst_policy_clear(struct vst_policy *policy)
{
    vst_access_free(&policy->access);
    vst_access_free(&policy->accept);
    for (size_t i = 0; policy->allow_paths && policy->allow_paths[i]; i++)
        free(policy->allow_paths[i]);
    free(policy->allow_paths);
    vst_tls_creds_unref(&policy->creds);
    free(policy->mechanisms);
    free(policy->database);
    free(policy->saslauthd);
    *policy = (struct vst_policy){.creds = NULL};
}

static struct rules *rules_new(struct vst_policy *policy, struct vst_error *ret_err)
{
    struct rules *rules = calloc(1, sizeof(*rules));

    if (!rules) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    *rules = (struct rules){1, *policy};
    *policy = (struct vst_policy){.creds = NULL};
    return rules;
}

struct rules *vst_rules_ref(struct rules *rules)
{
    rules->refs++;
    return rules;
}

void vst_rules_unref(struct rules **slot)
{
    struct rules *rules = *slot;

    *slot = NULL;
    if (!rules || --rules->refs)
        return;
    vst_policy_clear(&rules->is);
    free(rules);
}

int vst_server_set_policy(struct vst_server *server, struct vst_policy *policy,
                          struct vst_error *ret_err)
{
    struct rules *rules = rules_new(policy, ret_err);
    struct client *client;

    if (!rules)
        return -1;
    vst_rules_unref(&server->rules);
    server->rules = rules;
    TAILQ_FOREACH(client, &server->clients, link)
        vst_client_set_role(client);
    for (size_t i = 0; i < server->backend_count; i++)
        set_patience(server, server->backends[i].conn);
    return 0;
}

/* ---- what is served ---- */

static void tell_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    (void)conn;
    vst_backend_event(opaque, event);
}

int vst_server_serve(struct vst_server *server, struct vst_conn **conn, struct vst_error *ret_err)
{
    struct backend *backend = &server->backends[server->backend_count];
    struct vst_event_cb cb = {.fn = tell_event, .opaque = backend};
    const char *driver = (*conn)->driver->name;

    if ((*conn)->driver->remote)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: only guests of this host can be served",
                             vst_conn_get_uri(*conn));
    for (size_t i = 0; i < server->backend_count; i++)
        if (strcmp(server->backends[i].driver, driver) == 0)
            return vst_error_set(ret_err, VST_ERR_EXISTS, "%s: %s serves the %s driver already",
                                 vst_conn_get_uri(*conn),
                                 vst_conn_get_uri(server->backends[i].conn), driver);
    if (server->backend_count == BACKENDS_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID, "at most %d connections can be served",
                             BACKENDS_MAX);
    *backend = (struct backend){.server = server, .conn = *conn};
    snprintf(backend->driver, sizeof(backend->driver), "%s", driver);
    vst_conn_set_event_callback(*conn, &cb);
    set_patience(server, *conn);
    server->backend_count++;
    *conn = NULL;
    return 0;
}

const struct backend *vst_server_find_backend(const struct vst_server *server, const char *driver,
                                              struct vst_error *ret_err)
{
    char served[160] = "";

    for (size_t i = 0; i < server->backend_count; i++) {
        size_t used = strlen(served);

        if (strcmp(server->backends[i].driver, driver) == 0)
            return &server->backends[i];
        snprintf(served + used, sizeof(served) - used, "%s`%s`", i ? ", " : "",
                 server->backends[i].driver);
    }
    vst_error_set(ret_err, VST_ERR_UNSUPPORTED,
                  "this server has no domains of driver `%.40s`, but of %s", driver, served);
    return NULL;
}

/* ---- the end ---- */

bool vst_server_is_draining(const struct vst_server *server)
{
    return server->state != SERVER_SERVING;
}

void vst_server_look(struct vst_server *server)
{
    if (server->state == SERVER_DRAINING && TAILQ_EMPTY(&server->clients) &&
        TAILQ_EMPTY(&server->anonymous) && (!server->left_calls || server->late))
        vst_turn_schedule(&server->turn);
}

static void drained(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_server *server = opaque;

    (void)fd, (void)what;
    if (server->state != SERVER_DRAINING)
        return;
    enter(server, SERVER_DRAINED);
    event_del(&server->deadline);
    server->drained(server->opaque);
}

static void drop_all(struct vst_server *server, struct client_list *clients,
                     const struct vst_error *why)
{
    struct client *client, *next;

    for (client = TAILQ_FIRST(clients); client; client = next) {
        next = TAILQ_NEXT(client, link);
        vst_client_drop(client, why);
    }
    vst_server_look(server);
}

static void deadline_passed(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_server *server = opaque;
    struct client *client, *next;
    struct vst_error why = {.side = VST_SIDE_HOST};

    (void)fd, (void)what;
    vst_error_set(&why, VST_ERR_CANCELLED, "the server was shut down, and waited no longer");
    server->late = true;
    for (client = TAILQ_FIRST(&server->clients); client; client = next) {
        next = TAILQ_NEXT(client, link);
        vst_client_dismiss(client, &why);
    }
    vst_server_look(server);
}

void vst_server_hurry(struct vst_server *server)
{
    if (server->state == SERVER_DRAINING)
        deadline_passed(-1, EV_TIMEOUT, server);
}

void vst_server_drain(struct vst_server *server, unsigned seconds, void (*told)(void *opaque),
                      void *opaque)
{
    struct timeval patience = {(time_t)seconds, 0};
    struct vst_error why = {.side = VST_SIDE_HOST};
    struct client *client, *next;

    server->drained = told;
    server->opaque = opaque;
    enter(server, SERVER_DRAINING);
    vst_listeners_close(server);
    vst_error_set(&why, VST_ERR_CANCELLED, "the server is shutting down");
    drop_all(server, &server->anonymous, &why);
    for (client = TAILQ_FIRST(&server->clients); client; client = next) {
        next = TAILQ_NEXT(client, link);
        vst_client_drain(client);
    }
    if (event_add(&server->deadline, &patience) < 0) /* without memory nobody is waited for */
        deadline_passed(-1, EV_TIMEOUT, server);
    vst_server_look(server);
}

void vst_server_unref(struct vst_server *server)
{
    if (--server->refs)
        return;
    vst_rules_unref(&server->rules);
    free(server);
}

void vst_server_free(struct vst_server **slot)
{
    struct vst_server *server = *slot;
    struct vst_error why = {.side = VST_SIDE_HOST};

    *slot = NULL;
    if (!server)
        return;
    enter(server, SERVER_ENDING);
    vst_listeners_close(server);
    event_del(&server->deadline);
    vst_turn_cancel(&server->turn);
    vst_error_set(&why, VST_ERR_CANCELLED, "the server was shut down");
    drop_all(server, &server->anonymous, &why);
    drop_all(server, &server->clients, &why);
    /* Its events are nobody's any more, and no call begins that is not on a domain that has been
     * looked up, which knows that its connection is closed. */
    for (size_t i = 0; i < server->backend_count; i++) {
        vst_conn_set_event_callback(server->backends[i].conn, NULL);
        vst_conn_close(&server->backends[i].conn);
    }
    vst_server_unref(server);
}

struct vst_server *vst_server_new(struct event_base *base, struct vst_log *log,
                                  struct vst_policy *policy, struct vst_error *ret_err)
{
    struct vst_server *server = calloc(1, sizeof(*server));

    if (!server) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    server->rules = rules_new(policy, ret_err);
    if (!server->rules) {
        free(server);
        return NULL;
    }
    server->base = base;
    server->log = log;
    server->refs = 1;
    server->started_us = vst_now_us();
    LIST_INIT(&server->listeners);
    TAILQ_INIT(&server->anonymous);
    TAILQ_INIT(&server->clients);
    event_assign(&server->deadline, base, -1, 0, deadline_passed, server);
    vst_turn_init(&server->turn, base, drained, server);
    return server;
}

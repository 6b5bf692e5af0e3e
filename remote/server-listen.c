/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners: libevent accepts, and a listener that has run out of descriptors pauses, so that the
 * loop does not spin on a connection that it cannot take.
 */
#include <errno.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fd.h"
#include "server-private.h"

static const struct timeval pause_for = {0, 200 * 1000};

static void accepted(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *address,
                     int length, void *opaque)
{
    (void)socket, (void)length;
    vst_client_accept(opaque, &fd, address);
}

/* Somebody who has not said who it is makes room. */
static void failed(struct evconnlistener *socket, void *opaque)
{
    struct listener *listener = opaque;
    struct vst_error why = {.side = VST_SIDE_HOST};

    vst_error_system(&why, errno, "%s: accept", listener->name);
    vst_log_write(listener->server->log, VST_LOG_WARNING, NULL, "%s; waiting a moment", why.text);
    if (event_add(&listener->pause, &pause_for) == 0)
        evconnlistener_disable(socket);
    vst_client_make_room(listener->server, why.text);
}

static void resume(evutil_socket_t fd, short what, void *opaque)
{
    struct listener *listener = opaque;

    (void)fd, (void)what;
    evconnlistener_enable(listener->socket);
}

int vst_server_listen(struct vst_server *server, enum vst_listen_kind kind, int *fd,
                      const char *name, struct vst_error *ret_err)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (!listener)
        return vst_error_no_memory(ret_err);
    listener->server = server;
    listener->kind = kind;
    snprintf(listener->name, sizeof(listener->name), "%s", name);
    /* Backlog 0: it listens already. */
    listener->socket = evconnlistener_new(server->base, accepted, listener,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, *fd);
    if (!listener->socket) {
        free(listener);
        return vst_error_no_memory(ret_err);
    }
    *fd = -1;
    evconnlistener_set_error_cb(listener->socket, failed);
    event_assign(&listener->pause, server->base, -1, 0, resume, listener);
    LIST_INSERT_HEAD(&server->listeners, listener, link);
    return 0;
}

void vst_listeners_close(struct vst_server *server)
{
    struct listener *listener;

    while ((listener = LIST_FIRST(&server->listeners))) {
        LIST_REMOVE(listener, link);
        event_del(&listener->pause);
        evconnlistener_free(listener->socket);
        free(listener);
    }
}

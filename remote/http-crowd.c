/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Libevent tells of the beginning of a connection, when it asks for a bufferevent, and of its end
 * by nothing. But what it has let go of has no callbacks any more: so each is kept a moment longer,
 * and looked at.
 */
#include "http-crowd.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/clock.h"

enum { LOOK_US = 50 * 1000 };

struct visitor {
    struct bufferevent *socket;
    int64_t came_us;
};

struct vst_http_crowd {
    struct evconnlistener *listener;
    struct event look;
    int64_t life_us;
    unsigned most;
    unsigned count;
    struct visitor visitors[];
};

static bool has_left(const struct visitor *visitor)
{
    bufferevent_event_cb failed;
    void *opaque;

    bufferevent_getcb(visitor->socket, NULL, NULL, &failed, &opaque);
    return !failed && !opaque;
}

/* The last takes its place. */
static void forget(struct vst_http_crowd *crowd, struct visitor *visitor)
{
    bufferevent_disable(visitor->socket, EV_READ | EV_WRITE);
    bufferevent_decref(visitor->socket);
    *visitor = crowd->visitors[--crowd->count];
}

static void look_again(struct vst_http_crowd *crowd)
{
    static const struct timeval soon = {0, LOOK_US};

    if (crowd->count)
        event_add(&crowd->look, &soon);
}

/* The server finds the end of one that has been here for too long, and lets go of it. */
static void look(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_http_crowd *crowd = opaque;
    int64_t now = vst_now_us();

    (void)fd, (void)what;
    for (unsigned i = crowd->count; i--;)
        if (has_left(&crowd->visitors[i]))
            forget(crowd, &crowd->visitors[i]);
        else if (now - crowd->visitors[i].came_us >= crowd->life_us)
            shutdown(bufferevent_getfd(crowd->visitors[i].socket), SHUT_RDWR);
    if (crowd->count < crowd->most)
        evconnlistener_enable(crowd->listener);
    look_again(crowd);
}

/* NULL, without memory: then libevent has one of its own, or none. */
static struct bufferevent *come(struct event_base *base, void *opaque)
{
    struct vst_http_crowd *crowd = opaque;
    struct bufferevent *socket = NULL;

    if (crowd->count < crowd->most)
        socket = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!socket)
        return NULL;
    bufferevent_incref(socket);
    crowd->visitors[crowd->count++] = (struct visitor){socket, vst_now_us()};
    if (crowd->count == crowd->most)
        evconnlistener_disable(crowd->listener);
    look_again(crowd);
    return socket;
}

struct vst_http_crowd *vst_http_crowd_new(struct event_base *base, struct evhttp *http,
                                          struct evhttp_bound_socket *bound, unsigned most,
                                          unsigned seconds)
{
    struct vst_http_crowd *crowd = calloc(1, sizeof(*crowd) + most * sizeof(*crowd->visitors));

    if (!crowd)
        return NULL;
    crowd->listener = evhttp_bound_socket_get_listener(bound);
    crowd->life_us = (int64_t)seconds * 1000000;
    crowd->most = most;
    event_assign(&crowd->look, base, -1, 0, look, crowd);
    evhttp_set_bevcb(http, come, crowd);
    return crowd;
}

void vst_http_crowd_free(struct vst_http_crowd **slot)
{
    struct vst_http_crowd *crowd = *slot;

    *slot = NULL;
    if (!crowd)
        return;
    event_del(&crowd->look);
    while (crowd->count)
        bufferevent_decref(crowd->visitors[--crowd->count].socket);
    free(crowd);
}

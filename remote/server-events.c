/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events to clients. What waits for a client that does not read is bounded: a few go out, and the
 * next ones only when the peer has answered a ping that was sent after them. What does not fit in
 * meanwhile is lost, oldest first, counted, and logged once.
 */
#include <stdlib.h>
#include <string.h>

#include "server-private.h"

enum { WAITING_MAX = 256, AT_ONCE = 32 };

struct subscription {
    struct client *client;
    bool asked;          /* a ping is under way */
    size_t first, count; /* of the ring */
    char *waiting[WAITING_MAX];
};

static void send_some(struct subscription *subscription);

static void drop_oldest(struct subscription *subscription)
{
    free(subscription->waiting[subscription->first]);
    subscription->first = (subscription->first + 1) % WAITING_MAX;
    subscription->count--;
}

static void have_pong(void *opaque, int64_t us)
{
    struct subscription *subscription = opaque;

    subscription->asked = false;
    if (us >= 0)
        send_some(subscription);
}

static void send_some(struct subscription *subscription)
{
    struct client *client = subscription->client;

    if (subscription->asked || !subscription->count)
        return;
    for (int i = 0; i < AT_ONCE && subscription->count; i++) {
        vst_client_send(client, VST_FRAME_EVENT, 0, subscription->waiting[subscription->first]);
        drop_oldest(subscription);
    }
    subscription->asked = vst_mux_ping(client->mux, have_pong, subscription, NULL) == 0;
}

int vst_client_subscribe(struct client *client, struct vst_error *ret_err)
{
    if (client->subscription)
        return 0;
    client->subscription = calloc(1, sizeof(*client->subscription));
    if (!client->subscription)
        return vst_error_no_memory(ret_err);
    client->subscription->client = client;
    return 0;
}

void vst_client_unsubscribe(struct client *client)
{
    struct subscription *subscription = client->subscription;

    client->subscription = NULL;
    if (!subscription)
        return;
    while (subscription->count)
        drop_oldest(subscription);
    free(subscription);
}

static void tell(struct client *client, const char *body)
{
    struct subscription *subscription = client->subscription;
    char *copy = strdup(body);

    if (!copy)
        return;
    if (subscription->count == WAITING_MAX) {
        drop_oldest(subscription);
        client->server->past.events_lost++;
    }
    subscription->waiting[(subscription->first + subscription->count++) % WAITING_MAX] = copy;
    send_some(subscription);
}

/* The rules may have changed since it asked. */
static bool may_see(const struct client *client)
{
    return vst_access_check(client->role, VST_PROCEDURE_EVENTS, NULL) == 0;
}

void vst_backend_event(struct backend *backend, const struct vst_event *event)
{
    char *body = vst_event_print(event, NULL);
    struct client *client;

    if (!body)
        return;
    TAILQ_FOREACH(client, &backend->server->clients, link)
        if (client->subscription && client->backend == backend && may_see(client))
            tell(client, body);
    free(body);
}

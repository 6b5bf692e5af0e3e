/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the server counts: what is over is added up, what runs is asked when somebody wants to know.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "message-private.h"
#include "server-private.h"

static enum vst_greeting_end greeting_end(const struct vst_error *err)
{
    if (!err)
        return VST_GREETING_OK;
    switch ((int)err->code) {
    case VST_ERR_TIMEOUT:
        return VST_GREETING_TIMEOUT;
    case VST_ERR_AUTH:
        return VST_GREETING_AUTH;
    case VST_ERR_ACCESS:
        return VST_GREETING_ACCESS;
    case VST_ERR_PROTOCOL:
        return VST_GREETING_PROTOCOL;
    case VST_ERR_LOST:
        return VST_GREETING_LOST;
    case VST_ERR_BUSY:
        return VST_GREETING_CROWDED;
    default:
        return VST_GREETING_OTHER;
    }
}

void vst_count_greeting(struct vst_server *server, const struct vst_error *err)
{
    server->past.greetings[greeting_end(err)]++;
}

void vst_count_ended(const struct call *call, const struct vst_error *err, int64_t us)
{
    struct vst_server *server = call->client->server;
    struct vst_ended *ended = &server->past.last[server->ended_next];
    enum vst_code code = err ? err->code : VST_ERR_OK;
    struct vst_progress progress = {0};
    char identity[256];

    if (call->stream)
        vst_stream_get_progress(call->stream, &progress);
    *ended = (struct vst_ended){
        .procedure = call->procedure,
        .code = code,
        .client = call->client->number,
        .at = time(NULL),
        .us = us,
        .up = progress.up_bytes,
        .down = progress.down_bytes,
    };
    /* As much as fits, and no half of a character: the page of metrics must be UTF-8. */
    vst_identity_print(&call->client->identity, identity, sizeof(identity));
    vst_message_clean(ended->identity, sizeof(ended->identity), identity);
    vst_message_clean(ended->domain, sizeof(ended->domain), vst_call_domain(call));
    server->past.ended[call->procedure][code]++;
    server->past.calls_ended++;
    server->ended_next = (server->ended_next + 1) % VST_ENDED_KEPT;
    if (server->past.last_count < VST_ENDED_KEPT)
        server->past.last_count++;
}

static void add_client(const struct client *client, struct vst_server_stats *stats)
{
    struct vst_mux_stats mux;

    vst_mux_get_stats(client->mux, &mux);
    stats->received += mux.received;
    stats->sent += mux.sent;
    stats->stalls += mux.stalls;
    stats->streams += mux.streams;
    stats->held += mux.held;
}

void vst_count_client(struct client *client)
{
    struct vst_server_stats *past = &client->server->past;

    add_client(client, past);
    past->streams = past->held = 0; /* these have gone with it */
}

void vst_server_get_stats(const struct vst_server *server, struct vst_server_stats *ret_stats)
{
    const struct client *client;

    *ret_stats = server->past;
    ret_stats->uptime_us = vst_now_us() - server->started_us;
    ret_stats->clients = server->client_count;
    ret_stats->anonymous = server->anonymous_count;
    TAILQ_FOREACH(client, &server->clients, link) {
        add_client(client, ret_stats);
        ret_stats->calls += client->call_count;
    }
    for (size_t i = 0; i < ret_stats->last_count; i++)
        ret_stats->last[i] =
            server->past.last[(server->ended_next + VST_ENDED_KEPT - 1 - i) % VST_ENDED_KEPT];
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page of metrics, for whoever watches hosts: GET /metrics in Prometheus' text format (version
 * 0.0.4), GET /health. On a loopback address or a UNIX socket only; libevent speaks HTTP.
 */
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "core/fd.h"
#include "daemon-private.h"
#include "http-crowd.h"

enum {
    HEADERS_MAX = 8192,
    BODY_MAX = 1024,
    PATIENCE_SECONDS = 10,
    AT_ONCE = 32,
    LIFE_SECONDS = 30
};

struct metrics {
    struct evhttp *http;
    struct vst_http_crowd *crowd;
    struct daemon *daemon;
    /* When the page was last asked for, for the rates since then. */
    int64_t uptime_us;
    uint64_t received, sent;
};

/* ---- the text ---- */

static void head(struct evbuffer *page, const char *name, const char *type, const char *help)
{
    evbuffer_add_printf(page, "# HELP virstream_%s %s\n# TYPE virstream_%s %s\n", name, help, name,
                        type);
}

static void number(struct evbuffer *page, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    head(page, name, type, help);
    evbuffer_add_printf(page, "virstream_%s %" PRIu64 "\n", name, value);
}

/* A label's value: backslash, quote and newline are escaped. */
static void label(struct evbuffer *page, const char *separator, const char *name, const char *value)
{
    evbuffer_add_printf(page, "%s%s=\"", separator, name);
    for (; *value; value++)
        if (*value == '\n')
            evbuffer_add_printf(page, "\\n");
        else
            evbuffer_add_printf(page, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    evbuffer_add_printf(page, "\"");
}

static void add_greetings(struct evbuffer *page, const struct vst_server_stats *stats)
{
    static const char *const names[] = {
#define NAME(id, text) text,
        VST_GREETINGS(NAME)
#undef NAME
    };

    head(page, "greetings_total", "counter", "Hand-shakes by result.");
    for (int i = 0; i < VST_GREETING_COUNT; i++)
        evbuffer_add_printf(page, "virstream_greetings_total{result=\"%s\"} %" PRIu64 "\n",
                            names[i], stats->greetings[i]);
}

static void add_operations(struct evbuffer *page, const struct vst_server_stats *stats)
{
    head(page, "operations_total", "counter", "Calls that have ended, by procedure and outcome.");
    for (int i = 0; i < VST_PROCEDURE_COUNT; i++)
        for (int code = 0; code < VST_CODE_COUNT; code++)
            if (stats->ended[i][code])
                evbuffer_add_printf(page,
                                    "virstream_operations_total{procedure=\"%s\",outcome=\"%s\"} "
                                    "%" PRIu64 "\n",
                                    vst_procedures[i].name, vst_code_name((enum vst_code)code),
                                    stats->ended[i][code]);
}

static void add_last(struct evbuffer *page, const struct vst_server_stats *stats)
{
    head(page, "last_operation_seconds", "gauge",
         "How long each of the last calls took, the newest first.");
    for (size_t i = 0; i < stats->last_count; i++) {
        const struct vst_ended *ended = &stats->last[i];
        char place[24];

        snprintf(place, sizeof(place), "%zu", i);
        evbuffer_add_printf(page, "virstream_last_operation_seconds{");
        label(page, "", "place", place);
        label(page, ",", "procedure", vst_procedures[ended->procedure].name);
        label(page, ",", "domain", ended->domain);
        label(page, ",", "identity", ended->identity);
        label(page, ",", "outcome", vst_code_name(ended->code));
        evbuffer_add_printf(page, "} %.6f\n", (double)ended->us / 1e6);
    }
    head(page, "last_operation_bytes", "gauge", "How many bytes each of the last calls moved.");
    for (size_t i = 0; i < stats->last_count; i++)
        evbuffer_add_printf(page, "virstream_last_operation_bytes{place=\"%zu\"} %" PRIu64 "\n", i,
                            stats->last[i].up + stats->last[i].down);
}

/* Since the page was last asked for, which whoever watches does at an even pace. */
static void add_rates(struct evbuffer *page, struct metrics *metrics,
                      const struct vst_server_stats *stats)
{
    double seconds = (double)(stats->uptime_us - metrics->uptime_us + 1) / 1e6;

    number(page, "received_bytes_per_second", "gauge", "Since the page was last asked for.",
           (uint64_t)((double)(stats->received - metrics->received) / seconds));
    number(page, "sent_bytes_per_second", "gauge", "Since the page was last asked for.",
           (uint64_t)((double)(stats->sent - metrics->sent) / seconds));
    metrics->uptime_us = stats->uptime_us;
    metrics->received = stats->received;
    metrics->sent = stats->sent;
}

static void add_all(struct evbuffer *page, const struct vst_server_stats *stats)
{
    head(page, "info", "gauge", "The version that runs.");
    evbuffer_add_printf(page, "virstream_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
    number(page, "uptime_seconds", "gauge", "Since the start.",
           (uint64_t)stats->uptime_us / 1000000);
    number(page, "accepted_total", "counter", "Connections accepted.", stats->accepted);
    number(page, "clients", "gauge", "Clients that were let in and are here.", stats->clients);
    number(page, "anonymous", "gauge", "Connections in the greeting.", stats->anonymous);
    number(page, "calls", "gauge", "Calls that run.", stats->calls);
    number(page, "streams", "gauge", "Streams that are open.", stats->streams);
    number(page, "received_bytes_total", "counter", "Bytes of streams from clients.",
           stats->received);
    number(page, "sent_bytes_total", "counter", "Bytes of streams to clients.", stats->sent);
    number(page, "credit_stalls_total", "counter", "How often a stream ran out of credit.",
           stats->stalls);
    number(page, "held_bytes", "gauge",
           "Bytes in the buffers of connections: come and not read yet, or to go and "
           "not sent yet, frames and their heads; not what pumps and files hold.",
           stats->held);
    number(page, "events_lost_total", "counter", "Events that clients did not read in time.",
           stats->events_lost);
    add_greetings(page, stats);
    add_operations(page, stats);
    add_last(page, stats);
}

/* ---- the pages ---- */

static void answer(struct evhttp_request *request, const char *type, struct evbuffer *page)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_send_reply(request, HTTP_OK, "OK", page);
}

static void tell_metrics(struct evhttp_request *request, void *opaque)
{
    struct metrics *metrics = opaque;
    struct evbuffer *page = evbuffer_new();
    struct vst_server_stats stats;

    if (!page) {
        evhttp_send_error(request, HTTP_INTERNAL, NULL);
        return;
    }
    vst_server_get_stats(metrics->daemon->server, &stats);
    add_all(page, &stats);
    add_rates(page, metrics, &stats);
    answer(request, "text/plain; version=0.0.4; charset=utf-8", page);
    evbuffer_free(page);
}

static void tell_health(struct evhttp_request *request, void *opaque)
{
    struct metrics *metrics = opaque;
    struct evbuffer *page = evbuffer_new();
    bool serves = metrics->daemon->state == DAEMON_SERVING;

    if (!page || !serves) {
        evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL);
    } else {
        evbuffer_add_printf(page, "ok\n");
        answer(request, "text/plain; charset=utf-8", page);
    }
    if (page)
        evbuffer_free(page);
}

/* ---- the socket ---- */

static int set_up(struct metrics *metrics, struct vst_error *ret_err)
{
    struct evhttp *http = metrics->http = evhttp_new(metrics->daemon->base);

    if (!http)
        return vst_error_no_memory(ret_err);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(http, HEADERS_MAX);
    evhttp_set_max_body_size(http, BODY_MAX);
    evhttp_set_timeout(http, PATIENCE_SECONDS);
    if (evhttp_set_cb(http, "/metrics", tell_metrics, metrics) < 0 ||
        evhttp_set_cb(http, "/health", tell_health, metrics) < 0)
        return vst_error_no_memory(ret_err);
    return 0;
}

/* Takes *fd. */
static int serve(struct metrics *metrics, int *fd, struct vst_error *ret_err)
{
    struct evhttp_bound_socket *bound = evhttp_accept_socket_with_handle(metrics->http, *fd);

    if (!bound)
        return vst_error_no_memory(ret_err);
    *fd = -1;
    metrics->crowd =
        vst_http_crowd_new(metrics->daemon->base, metrics->http, bound, AT_ONCE, LIFE_SECONDS);
    return metrics->crowd ? 0 : vst_error_no_memory(ret_err);
}

int vst_metrics_open(struct daemon *daemon, const char *listen, struct metrics **ret_metrics,
                     struct vst_error *ret_err)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    int fd = -1, status;

    if (!metrics)
        return vst_error_no_memory(ret_err);
    metrics->daemon = daemon;
    status = set_up(metrics, ret_err);
    if (status == 0)
        status = listen[0] == '/' ? vst_daemon_listen_unix(daemon, listen, &fd, ret_err)
                                  : vst_daemon_listen_address(listen, &fd, ret_err);
    if (status == 0)
        status = serve(metrics, &fd, ret_err);
    vst_close(&fd);
    if (status < 0) {
        vst_metrics_close(&metrics);
        return -1;
    }
    vst_log_write(daemon->log, VST_LOG_NOTICE, NULL, "metrics on %s", listen);
    *ret_metrics = metrics;
    return 0;
}

void vst_metrics_close(struct metrics **slot)
{
    struct metrics *metrics = *slot;

    *slot = NULL;
    if (!metrics)
        return;
    vst_http_crowd_free(&metrics->crowd);
    if (metrics->http)
        evhttp_free(metrics->http);
    free(metrics);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ping, stats, events: what there is to know of a connection and of what happens on its far side.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "tool.h"

/* ---- ping ---- */

enum { PINGS = 4 };

static void keep_ping(int64_t us, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(int64_t *)opaque = us;
}

static int by_time(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

static int ping_all(struct tool *tool, int64_t *times, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct vst_ping_cb cb = {.fn = keep_ping, .opaque = &times[i]};

        if (tool_wait(tool, vst_conn_ping(tool->conn, &cb)) < 0)
            return -1;
        output_done(tool, "%zu: %.3f ms", i + 1, (double)times[i] / 1e3);
    }
    return 0;
}

static int tell_pings(struct tool *tool, int64_t *times, size_t count)
{
    struct json_object *pings;
    int64_t least, median, late, most;

    qsort(times, count, sizeof(*times), by_time);
    least = times[0];
    median = times[count / 2];
    late = times[(count * 99 + 99) / 100 - 1];
    most = times[count - 1];
    if (!tool->opt.json) {
        printf("round trip of %zu: least %.3f, median %.3f, 99 %% within %.3f, most %.3f ms\n",
               count, (double)least / 1e3, (double)median / 1e3, (double)late / 1e3,
               (double)most / 1e3);
        return 0;
    }
    pings = json_object_new_object();
    put_number(pings, "count", count);
    put_number(pings, "least-us", (uint64_t)least);
    put_number(pings, "median-us", (uint64_t)median);
    put_number(pings, "99-percent-us", (uint64_t)late);
    put_number(pings, "most-us", (uint64_t)most);
    return output_json(tool, "ping", pings);
}

int command_ping(struct tool *tool)
{
    size_t count = tool->opt.count ? tool->opt.count : PINGS;
    int64_t *times = calloc(count, sizeof(*times));
    int status = -1;

    if (!times)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    if (tool_connect(tool) == 0)
        status = ping_all(tool, times, count);
    if (status == 0)
        status = tell_pings(tool, times, count);
    free(times);
    return status;
}

/* ---- stats ---- */

static void keep_stats(const char *json, const struct vst_error *err, void *opaque)
{
    (void)err;
    if (json)
        *(struct json_object **)opaque = json_tokener_parse(json);
}

/* Names and values are the server's: neither their length nor what is in them can be relied on. */
static void print_stats(struct json_object *stats, const char *prefix)
{
    json_object_object_foreach(stats, name, value) {
        bool is_group = json_object_is_type(value, json_type_object);
        char whole[128], text[512];

        snprintf(text, sizeof(text), "%s", value ? json_object_get_string(value) : "null");
        snprintf(whole, sizeof(whole), "%s%.*s%s", prefix,
                 (int)(sizeof(whole) - strlen(prefix) - 2), name, is_group ? " " : ":");
        text_clean(text);
        text_clean(whole);
        if (is_group && strlen(whole) < sizeof(whole) / 2)
            print_stats(value, whole);
        else
            printf("%-22s %s\n", whole, text);
    }
}

int command_stats(struct tool *tool)
{
    struct json_object *stats = NULL;
    struct vst_stats_cb cb = {.fn = keep_stats, .opaque = &stats};

    if (tool_connect(tool) < 0 || tool_wait(tool, vst_conn_get_stats(tool->conn, &cb)) < 0)
        return -1;
    if (tool->opt.json)
        return output_json(tool, "stats", stats);
    if (!stats)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    print_stats(stats, "");
    json_object_put(stats);
    return 0;
}

/* ---- events ---- */

static void print_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    struct tool *tool = opaque;
    char reason[256];

    (void)conn;
    snprintf(reason, sizeof(reason), "%s", event->reason);
    text_clean(reason);
    if (tool->opt.json) {
        struct json_object *object = json_object_new_object();

        put_time(object, "time", time(NULL));
        put_text(object, "kind", vst_event_kind_name(event->kind));
        put_text(object, "name", event->name);
        put_text(object, "uuid", event->uuid);
        put_text(object, "reason", reason);
        output_json(tool, "event", object);
    } else {
        printf("%s  %s  %s%s%s\n", text_time(time(NULL)).s, event->name,
               vst_event_kind_name(event->kind), *reason ? ": " : "", reason);
    }
    /* Whoever reads along wants it now; and when nobody does any more, it is time to go. */
    if (fflush(stdout) != 0)
        tool_fail_system(tool, errno, "standard output");
}

static void events_lost(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct tool *tool = opaque;

    (void)conn;
    if (tool->err.code == VST_ERR_OK)
        tool->err = *err;
}

int command_events(struct tool *tool)
{
    struct vst_event_cb cb = {.fn = print_event, .opaque = tool, .lost = events_lost};

    if (tool_connect(tool) < 0)
        return -1;
    vst_conn_set_event_callback(tool->conn, &cb);
    return tool_follow(tool);
}

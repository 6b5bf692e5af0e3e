/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * doctor: opens a connection and makes a first call, and says at each step what it found. The step
 * after the last one that worked is where to look; the error says what for.
 */
#include <stdio.h>
#include <string.h>

#include "output.h"
#include "tool.h"

static void tell(struct tool *tool, const char *step, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(struct tool *tool, const char *step, const char *format, ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    text_clean(text);
    if (tool->opt.json) {
        struct json_object *object = json_object_new_object();

        put_text(object, "name", step);
        put_text(object, "found", text);
        output_json(tool, "step", object);
    } else {
        printf("%-10s %s\n", step, text);
    }
    fflush(stdout);
}

void doctor_step(const struct vst_conn_step *step, void *opaque)
{
    tell(opaque, step->name, "%s", step->text);
}

static void keep_stats(const char *json, const struct vst_error *err, void *opaque)
{
    (void)err;
    if (json)
        *(struct json_object **)opaque = json_tokener_parse(json);
}

/* What the server says is not believed to be a text. */
static const char *text_of(struct json_object *of, const char *name)
{
    struct json_object *value;

    return json_object_object_get_ex(of, name, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : "?";
}

/* Who we are to the server, which says so to anyone who may look at all. */
static int check_access(struct tool *tool)
{
    struct json_object *stats = NULL, *server;
    struct vst_stats_cb cb = {.fn = keep_stats, .opaque = &stats};

    if (tool_wait(tool, vst_conn_get_stats(tool->conn, &cb)) < 0)
        return -1;
    if (stats && json_object_object_get_ex(stats, "server", &server))
        tell(tool, "access", "as %s, role %s", text_of(server, "identity"),
             text_of(server, "role"));
    else
        tell(tool, "access", "in this process: whatever this user may");
    json_object_put(stats);
    return 0;
}

static void keep_count(const struct vst_domain_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    (void)infos, (void)err;
    *(size_t *)opaque = count;
}

static void keep_ping(int64_t us, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(int64_t *)opaque = us;
}

static int check_calls(struct tool *tool)
{
    size_t count = 0;
    int64_t us = 0;
    struct vst_info_cb infos = {.fn = keep_count, .opaque = &count};
    struct vst_ping_cb ping = {.fn = keep_ping, .opaque = &us};

    if (tool_wait(tool, vst_conn_ping(tool->conn, &ping)) < 0)
        return -1;
    tell(tool, "ping", "%.3f ms there and back", (double)us / 1e3);
    if (tool_wait(tool, vst_conn_list(tool->conn, &infos)) < 0)
        return -1;
    tell(tool, "list", "%zu guest%s", count, count == 1 ? "" : "s");
    return 0;
}

int command_doctor(struct tool *tool)
{
    tool->opt.uri = tool->args[0];
    if (tool_connect(tool) < 0 || check_access(tool) < 0 || check_calls(tool) < 0)
        return -1;
    output_done(tool, "everything is as it should be");
    return 0;
}

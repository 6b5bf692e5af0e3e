/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image info and image check.
 */
#include <stdio.h>

#include "ends.h"
#include "output.h"
#include "progress.h"

/* A copy of what the library told; `header` is NULL without memory. */
struct finding {
    struct json_object *header;
    struct vst_image_report report;
};

static void keep(const struct vst_image_report *report, const struct vst_error *err, void *opaque)
{
    struct finding *finding = opaque;

    if (err)
        return;
    finding->report = *report;
    finding->header = json_tokener_parse(report->header);
}

static int run(struct tool *tool, bool header_only, struct finding *finding)
{
    struct vst_image_options opt = {header_only, tool->opt.stall};
    struct vst_image_report_cb cb = {keep, finding, NULL};
    struct vst_stream *stream = ends_open(tool, VST_UP, tool->args[0]);
    struct progress progress;
    int status = -1;

    if (stream && tool_watch_signals(tool) == 0) {
        progress_start(&progress, tool, stream, ends_size(tool->args[0]));
        status = tool_wait(tool, vst_image_check(tool->base, stream, &opt, &cb));
        progress_stop(&progress);
    }
    vst_stream_free(&stream);
    if (status == 0 && !finding->header)
        status = tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    return status;
}

/* ---- for people ---- */

static int64_t number_of(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) ? json_object_get_int64(member) : 0;
}

static bool flag_of(struct json_object *object, const char *name)
{
    struct json_object *member;

    return json_object_object_get_ex(object, name, &member) && json_object_get_boolean(member);
}

static void print_line(const char *name, const char *value)
{
    if (value)
        printf("%-14s%s\n", name, value);
}

/* An image may have been written by anybody: nothing of it reaches a terminal as it is. JSON writes
 * control characters as escapes; what it leaves is cleaned away. */
static void print_member(struct json_object *object, const char *name)
{
    struct json_object *member;
    char clean[256];
    int length;

    if (!json_object_object_get_ex(object, name, &member) || !member)
        return;
    length = snprintf(clean, sizeof(clean), "%s",
                      json_object_to_json_string_ext(member, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
    if (length > 0 && length < (int)sizeof(clean) && clean[0] == '"')
        clean[length - 1] = '\0';
    text_clean(clean);
    print_line(name, clean[0] == '"' ? clean + 1 : clean);
}

static void print_header(struct json_object *header)
{
    struct json_object *definition = NULL;

    json_object_object_get_ex(header, "definition", &definition);
    print_member(definition, "name");
    print_member(definition, "uuid");
    print_line("state", flag_of(header, "running") ? "running" : "paused");
    print_line("memory", text_size((uint64_t)number_of(definition, "memory-mib") << 20).s);
    print_member(definition, "vcpus");
    print_member(header, "driver");
    print_member(header, "qemu-version");
    print_member(header, "machine");
    print_line("created-at", text_time(number_of(header, "created-at")).s);
    print_member(header, "created-by");
    print_member(header, "compression");
}

/* ---- as JSON ---- */

/* Takes the header. */
static int print_json(struct tool *tool, struct finding *finding)
{
    struct json_object *json = json_object_new_object();

    if (!json || json_object_object_add(json, "header", finding->header) != 0)
        json_object_put(finding->header);
    finding->header = NULL;
    if (finding->report.whole) {
        put_number(json, "records", finding->report.records);
        put_number(json, "data-bytes", finding->report.data_bytes);
        put_number(json, "image-bytes", finding->report.image_bytes);
    }
    put_flag(json, "checked", finding->report.whole);
    return output_json(tool, "image", json);
}

int command_image_info(struct tool *tool)
{
    struct finding finding = {0};

    if (run(tool, true, &finding) < 0)
        return -1;
    if (tool->opt.json)
        return print_json(tool, &finding);
    print_header(finding.header);
    json_object_put(finding.header);
    return 0;
}

int command_image_check(struct tool *tool)
{
    struct finding finding = {0};

    if (run(tool, false, &finding) < 0)
        return -1;
    if (tool->opt.json)
        return print_json(tool, &finding);
    output_done(tool, "%s is whole: %llu records, %s", tool->args[0],
                (unsigned long long)finding.report.records,
                text_size(finding.report.image_bytes).s);
    json_object_put(finding.header);
    return 0;
}

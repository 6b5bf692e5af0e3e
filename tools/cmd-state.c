/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * save, restore, screenshot: one stream, one method, and then what to say about it.
 */
#include <stdio.h>
#include <string.h>

#include "ends.h"
#include "output.h"
#include "progress.h"
#include "tool.h"

static const char *name_of(const char *path, const char *standard)
{
    return strcmp(path, "-") == 0 ? standard : path;
}

static int print_moved(struct tool *tool, const char *member, const char *where,
                       const struct vst_progress *outcome, uint64_t bytes)
{
    struct json_object *json = json_object_new_object();

    put_text(json, "name", vst_domain_get_name(tool->domain));
    put_text(json, "uuid", vst_domain_get_uuid(tool->domain));
    put_text(json, where, tool->args[tool->command->count - 1]);
    put_number(json, "bytes", bytes);
    put_seconds(json, "elapsed", outcome->elapsed_us);
    return output_json(tool, member, json);
}

int command_save(struct tool *tool)
{
    const struct options *said = &tool->opt;
    struct vst_save_options opt = {
        .live = said->live,
        .keep_running = said->keep_running,
        .zstd_level = said->zstd_level,
        .stall_seconds = said->stall,
    };
    struct vst_stream *stream = ends_connect(tool, VST_DOWN, tool->args[1], tool_find_domain);
    struct vst_progress outcome;

    if (!stream || progress_wait(tool, &stream, 0,
                                 vst_domain_save(tool->domain, stream, &opt, NULL), &outcome) < 0)
        return -1;
    if (said->json)
        return print_moved(tool, "saved", "target", &outcome, outcome.down_bytes);
    output_done(tool, "%s is saved to %s: %s in %s; it %s", vst_domain_get_name(tool->domain),
                name_of(tool->args[1], "standard output"), text_size(outcome.down_bytes).s,
                text_seconds(outcome.elapsed_us).s,
                opt.live || opt.keep_running ? "goes on as before" : "has ended");
    return 0;
}

static void keep_state(const struct vst_domain_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    if (!err && count)
        *(const char **)opaque = vst_domain_state_name(infos->state);
}

/* It may have been paused when it was saved. Not to know is no reason to call it failed. */
static void print_restored(struct tool *tool, const struct vst_progress *outcome)
{
    const char *state = NULL;
    struct vst_info_cb cb = {keep_state, &state, NULL};

    if (tool_wait(tool, vst_domain_get_info(tool->domain, &cb)) < 0)
        tool->err = (struct vst_error){0};
    output_done(tool, "%s is restored from %s: %s in %s%s%s", vst_domain_get_name(tool->domain),
                name_of(tool->args[0], "standard input"), text_size(outcome->up_bytes).s,
                text_seconds(outcome->elapsed_us).s, state ? "; it is " : "", state ? state : "");
}

int command_restore(struct tool *tool)
{
    const struct options *said = &tool->opt;
    struct vst_restore_options opt = {
        .name = said->name,
        .paused = said->paused,
        .stall_seconds = said->stall,
    };
    struct vst_stream *stream = ends_connect(tool, VST_UP, tool->args[0], tool_connect);
    struct vst_domain_cb cb = tool_domain_cb(tool);
    struct vst_progress outcome;

    if (!stream || progress_wait(tool, &stream, ends_size(tool->args[0]),
                                 vst_domain_restore(tool->conn, stream, &opt, &cb), &outcome) < 0)
        return -1;
    if (said->json)
        return print_moved(tool, "restored", "source", &outcome, outcome.up_bytes);
    print_restored(tool, &outcome);
    return 0;
}

int command_screenshot(struct tool *tool)
{
    struct vst_stream *stream = ends_connect(tool, VST_DOWN, tool->args[1], tool_find_domain);
    struct vst_progress outcome;

    if (!stream || progress_wait(tool, &stream, 0,
                                 vst_domain_screenshot(tool->domain, stream, NULL), &outcome) < 0)
        return -1;
    if (tool->opt.json)
        return print_moved(tool, "screenshot", "target", &outcome, outcome.down_bytes);
    output_done(tool, "%s's screen is in %s: %s", vst_domain_get_name(tool->domain),
                name_of(tool->args[1], "standard output"), text_size(outcome.down_bytes).s);
    return 0;
}

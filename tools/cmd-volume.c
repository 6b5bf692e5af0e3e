/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * upload, download, volumes, volume-delete.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ends.h"
#include "output.h"
#include "progress.h"
#include "tool.h"

/* ---- upload and download ---- */

static int print_moved(struct tool *tool, const char *member, const char *where, const char *path,
                       const char *volume, uint64_t bytes, int64_t elapsed_us)
{
    struct json_object *json = json_object_new_object();

    put_text(json, "volume", volume);
    put_text(json, where, path);
    put_number(json, "bytes", bytes);
    put_seconds(json, "elapsed", elapsed_us);
    return output_json(tool, member, json);
}

int command_upload(struct tool *tool)
{
    const char *path = tool->args[0], *volume = tool->args[1];
    struct vst_volume_upload_options opt = {
        .in_place = tool->opt.offset.given,
        .offset = tool->opt.offset.bytes,
        .stall_seconds = tool->opt.stall,
    };
    struct vst_stream *stream = ends_connect(tool, VST_UP, path, tool_connect);
    struct vst_progress outcome;

    if (!stream ||
        progress_wait(tool, &stream, ends_size(path),
                      vst_volume_upload(tool->conn, volume, stream, &opt, NULL), &outcome) < 0)
        return -1;
    if (tool->opt.json)
        return print_moved(tool, "uploaded", "source", path, volume, outcome.up_bytes,
                           outcome.elapsed_us);
    output_done(tool, "%s is uploaded from %s: %s in %s", volume,
                strcmp(path, "-") == 0 ? "standard input" : path, text_size(outcome.up_bytes).s,
                text_seconds(outcome.elapsed_us).s);
    return 0;
}

int command_download(struct tool *tool)
{
    const char *volume = tool->args[0], *path = tool->args[1];
    struct vst_volume_download_options opt = {
        .offset = tool->opt.offset.bytes,
        .has_length = tool->opt.length.given,
        .length = tool->opt.length.bytes,
        .stall_seconds = tool->opt.stall,
    };
    struct vst_stream *stream = ends_connect(tool, VST_DOWN, path, tool_connect);
    struct vst_progress outcome;

    if (!stream ||
        progress_wait(tool, &stream, 0, vst_volume_download(tool->conn, volume, stream, &opt, NULL),
                      &outcome) < 0)
        return -1;
    if (tool->opt.json)
        return print_moved(tool, "downloaded", "target", path, volume, outcome.down_bytes,
                           outcome.elapsed_us);
    output_done(tool, "%s is downloaded to %s: %s in %s", volume,
                strcmp(path, "-") == 0 ? "standard output" : path, text_size(outcome.down_bytes).s,
                text_seconds(outcome.elapsed_us).s);
    return 0;
}

/* ---- volumes ---- */

/* A copy of what the library told. */
struct listing {
    struct vst_volume_info *infos;
    size_t count;
    bool no_memory;
};

static void keep(const struct vst_volume_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    struct listing *listing = opaque;

    if (err || !count)
        return;
    listing->infos = malloc(count * sizeof(*infos));
    if (!listing->infos) {
        listing->no_memory = true;
        return;
    }
    memcpy(listing->infos, infos, count * sizeof(*infos));
    listing->count = count;
}

/* Of a pool that could not be looked into. */
static const char *reason(const struct vst_volume_info *info)
{
    return info->system ? strerror(info->system) : vst_code_name(info->code);
}

static struct json_object *info_json(const struct vst_volume_info *info)
{
    struct json_object *to = json_object_new_object();

    if (info->code != VST_ERR_OK) {
        put_text(to, "pool", info->name);
        put_text(to, "error", reason(info));
        return to;
    }
    put_text(to, "name", info->name);
    put_number(to, "size", info->size);
    put_number(to, "allocated", info->allocated);
    put_time(to, "changed", info->changed);
    return to;
}

static int print_json(struct tool *tool, const struct listing *listing)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < listing->count; i++)
        if (list)
            json_object_array_add(list, info_json(&listing->infos[i]));
    return output_json(tool, "volumes", list);
}

/* The name comes last, so that its length and script do not matter. */
static void print_table(const struct listing *listing, size_t volumes)
{
    if (volumes)
        printf("%10s  %10s  %-19s  %s\n", "SIZE", "ALLOCATED", "CHANGED", "NAME");
    for (size_t i = 0; i < listing->count; i++) {
        const struct vst_volume_info *info = &listing->infos[i];

        if (info->code != VST_ERR_OK)
            continue;
        printf("%10s  %10s  %-19s  %s\n", text_size(info->size).s, text_size(info->allocated).s,
               text_time(info->changed).s, info->name);
    }
}

static void print_names(const struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        if (listing->infos[i].code == VST_ERR_OK)
            puts(listing->infos[i].name);
}

/* The volumes of the others have been told: a pool that has failed is no less an error. */
static int fail_pools(struct tool *tool, const struct listing *listing)
{
    const struct vst_volume_info *first = NULL;
    char text[600] = "";

    for (size_t i = 0; i < listing->count; i++) {
        const struct vst_volume_info *info = &listing->infos[i];
        size_t used = strlen(text);

        if (info->code == VST_ERR_OK)
            continue;
        snprintf(text + used, sizeof(text) - used, "%spool %s: %s", first ? "\n" : "", info->name,
                 reason(info));
        first = first ? first : info;
    }
    if (!first)
        return 0;
    tool_fail(tool, first->code, "%s", text);
    tool->err.system = first->system;
    tool->err.side = VST_SIDE_HOST;
    return -1;
}

static int print_listing(struct tool *tool, const struct listing *listing)
{
    size_t volumes = 0;

    for (size_t i = 0; i < listing->count; i++)
        volumes += listing->infos[i].code == VST_ERR_OK;
    if (tool->opt.json && print_json(tool, listing) < 0)
        return -1;
    if (!tool->opt.json && tool->opt.quiet)
        print_names(listing);
    else if (!tool->opt.json)
        print_table(listing, volumes);
    return fail_pools(tool, listing);
}

int command_volumes(struct tool *tool)
{
    struct listing listing = {0};
    struct vst_volume_cb cb = {keep, &listing, NULL};
    int status = -1;

    if (tool_connect(tool) == 0)
        status = tool_wait(tool, vst_volume_list(tool->conn, tool->args[0], &cb));
    if (status == 0 && listing.no_memory)
        status = tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    if (status == 0)
        status = print_listing(tool, &listing);
    free(listing.infos);
    return status;
}

int command_volume_delete(struct tool *tool)
{
    const char *volume = tool->args[0];
    struct json_object *json;

    if (tool_connect(tool) < 0 || tool_wait(tool, vst_volume_delete(tool->conn, volume, NULL)) < 0)
        return -1;
    if (!tool->opt.json) {
        output_done(tool, "%s is deleted", volume);
        return 0;
    }
    json = json_object_new_object();
    put_text(json, "volume", volume);
    return output_json(tool, "deleted", json);
}

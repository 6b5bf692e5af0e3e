/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * list and info.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "tool.h"

/* A copy of what the library told. */
struct listing {
    struct vst_domain_info *infos;
    size_t count;
    bool no_memory;
};

static void keep(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
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
    for (size_t i = 0; i < count; i++)
        text_clean(listing->infos[i].reason);
}

static int wait_for(struct tool *tool, struct vst_op *op, const struct listing *listing)
{
    if (tool_wait(tool, op) < 0)
        return -1;
    return listing->no_memory ? tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory") : 0;
}

static struct json_object *info_json(const struct vst_domain_info *info)
{
    struct json_object *to = json_object_new_object();
    struct json_object *job;

    put_text(to, "name", info->name);
    put_text(to, "uuid", info->uuid);
    put_text(to, "state", vst_domain_state_name(info->state));
    put_text(to, "reason", info->reason);
    put_number(to, "memory", info->memory);
    put_number(to, "vcpus", info->vcpus);
    put_time(to, "since", info->since);
    put_number(to, "pid", (uint64_t)info->pid);
    put_number(to, "busy-pid", (uint64_t)info->busy_pid);
    if (info->job == VST_JOB_NONE)
        return to;
    job = json_object_new_object();
    put_text(job, "kind", vst_job_kind_name(info->job));
    put_number(job, "bytes", info->progress.up_bytes + info->progress.down_bytes);
    put_total(job, info->progress.total);
    put_number(job, "rate", info->progress.rate);
    put_seconds(job, "elapsed", info->progress.elapsed_us);
    if (!to || json_object_object_add(to, "job", job) != 0)
        json_object_put(job);
    return to;
}

/* ---- the table ---- */

enum { COLUMNS = 6, CELL = 320 };

static const char *const titles[COLUMNS] = {"NAME", "STATE", "MEMORY", "SINCE", "PID", "NOTE"};

static bool has_progress(const struct vst_domain_info *info)
{
    return info->progress.up_bytes + info->progress.down_bytes != 0;
}

/* What a migration is at, and a doubt, is told as the reason. */
static void fill_job(const struct vst_domain_info *info, char cell[CELL])
{
    bool moves = info->job == VST_JOB_MIGRATE;
    uint64_t bytes = info->progress.up_bytes + info->progress.down_bytes;
    const char *what = moves && *info->reason ? info->reason : vst_job_kind_name(info->job);
    int length = snprintf(cell, CELL, "%.*s", (int)strcspn(what, "\n"), what);

    if (!moves || has_progress(info))
        snprintf(cell + length, CELL - (size_t)length, ", %s so far", text_size(bytes).s);
}

static void fill_note(const struct vst_domain_info *info, char cell[CELL])
{
    if (info->job != VST_JOB_NONE)
        fill_job(info, cell);
    else if (info->busy_pid)
        snprintf(cell, CELL, "busy: process %d is at it", info->busy_pid);
    else
        snprintf(cell, CELL, "%.*s", (int)strcspn(info->reason, "\n"), info->reason);
}

static void fill_cell(const struct vst_domain_info *info, int column, char cell[CELL])
{
    switch (column) {
    case 0:
        snprintf(cell, CELL, "%s", info->name);
        break;
    case 1:
        snprintf(cell, CELL, "%s", vst_domain_state_name(info->state));
        break;
    case 2:
        snprintf(cell, CELL, "%s", text_size(info->memory).s);
        break;
    case 3:
        snprintf(cell, CELL, "%s", text_time_short(info->since).s);
        break;
    case 4:
        snprintf(cell, CELL, info->pid ? "%d" : "-", info->pid);
        break;
    default:
        fill_note(info, cell);
        break;
    }
}

/* The widest cell of a column, or 0 if all are empty. */
static int widest(const struct listing *listing, int column)
{
    char cell[CELL];
    int width = 0;

    for (size_t i = 0; i < listing->count; i++) {
        fill_cell(&listing->infos[i], column, cell);
        if ((int)strlen(cell) > width)
            width = (int)strlen(cell);
    }
    return width;
}

/* How wide each column is. Returns how many of them there are: names and states always, the rest
 * while there is room (0: any), notes only if there are some. */
static int measure(const struct listing *listing, int room, int widths[COLUMNS])
{
    int used = 0;
    int column;

    for (column = 0; column < COLUMNS; column++) {
        int width = widest(listing, column), title = (int)strlen(titles[column]);

        widths[column] = width > title ? width : title;
        used += widths[column] + (column ? 2 : 0);
        if (column > 1 && ((room && used > room) || (column == COLUMNS - 1 && !width)))
            break;
    }
    return column;
}

static void print_cell(int column, int shown, const int widths[COLUMNS], const char *cell)
{
    bool number = column == 2 || column == 4;
    int width = column == shown - 1 && !number ? 0 : widths[column];

    printf("%s%*s", column ? "  " : "", number ? width : -width, cell);
}

static void print_table(const struct listing *listing)
{
    int widths[COLUMNS];
    int shown = measure(listing, (int)text_columns(STDOUT_FILENO), widths);
    char cell[CELL];

    for (int column = 0; column < shown; column++)
        print_cell(column, shown, widths, titles[column]);
    putchar('\n');
    for (size_t i = 0; i < listing->count; i++) {
        for (int column = 0; column < shown; column++) {
            fill_cell(&listing->infos[i], column, cell);
            print_cell(column, shown, widths, cell);
        }
        putchar('\n');
    }
}

static int print_json(struct tool *tool, const struct listing *listing)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < listing->count; i++)
        if (list)
            json_object_array_add(list, info_json(&listing->infos[i]));
    return output_json(tool, "domains", list);
}

int command_list(struct tool *tool)
{
    struct listing listing = {0};
    struct vst_info_cb cb = {keep, &listing, NULL};
    int status = -1;

    if (tool_connect(tool) == 0)
        status = wait_for(tool, vst_conn_list(tool->conn, &cb), &listing);
    if (status == 0 && tool->opt.json)
        status = print_json(tool, &listing);
    else if (status == 0 && tool->opt.quiet)
        for (size_t i = 0; i < listing.count; i++)
            puts(listing.infos[i].name);
    else if (status == 0)
        print_table(&listing);
    free(listing.infos);
    return status;
}

/* ---- info ---- */

static void print_info(const struct vst_domain_info *info)
{
    printf("name:    %s\nuuid:    %s\n", info->name, info->uuid);
    printf("state:   %s\n", vst_domain_state_name(info->state));
    if (*info->reason)
        printf("reason:  %s\n", info->reason);
    printf("memory:  %s\n", text_size(info->memory).s);
    printf("vcpus:   %u\n", info->vcpus);
    printf("since:   %s\n", text_time(info->since).s);
    if (info->pid)
        printf("pid:     %d\n", info->pid);
    if (info->busy_pid)
        printf("busy:    process %d is at it\n", info->busy_pid);
    if (info->job == VST_JOB_NONE)
        return;
    printf("job:     %s", vst_job_kind_name(info->job));
    if (info->job == VST_JOB_MIGRATE && !has_progress(info)) {
        putchar('\n');
        return;
    }
    printf(", %s so far", text_size(info->progress.up_bytes + info->progress.down_bytes).s);
    if (info->progress.total)
        printf(" of %s", text_size(info->progress.total).s);
    printf(", %s/s, %s\n", text_size(info->progress.rate).s,
           text_duration(info->progress.elapsed_us).s);
}

int command_info(struct tool *tool)
{
    struct listing listing = {0};
    struct vst_info_cb cb = {keep, &listing, NULL};
    int status = -1;

    if (tool_find_domain(tool) == 0)
        status = wait_for(tool, vst_domain_get_info(tool->domain, &cb), &listing);
    if (status == 0 && tool->opt.json)
        status = output_json(tool, "domain", info_json(&listing.infos[0]));
    else if (status == 0)
        print_info(&listing.infos[0]);
    free(listing.infos);
    return status;
}

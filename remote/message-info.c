/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of domains: struct vst_domain_info and the progress of its job, to JSON and back.
 */
#include <limits.h>
#include <stdio.h>

#include "message-table.h"

struct progress_text {
    uint64_t up, down, total, rate, held, most_held, elapsed_us, idle_us;
    char *waits_for;
};

struct vst_info_text {
    char *name;
    char *uuid;
    char *state;
    char *reason;
    uint64_t memory, vcpus, pid, since, busy_pid;
    char *job;
    struct progress_text *progress; /* NULL: no job */
};

static const char *const waits[] = {
    [VST_STALLED_ON_NOTHING] = "nothing",
    [VST_STALLED_ON_APPLICATION] = "application",
    [VST_STALLED_ON_DRIVER] = "driver",
    NULL,
};

static const struct vst_json_member progress_members[] = {
    NUMBER(progress_text, "up-bytes", up, UINT64_MAX),
    NUMBER(progress_text, "down-bytes", down, UINT64_MAX),
    NUMBER(progress_text, "total", total, UINT64_MAX),
    NUMBER(progress_text, "rate", rate, UINT64_MAX),
    NUMBER(progress_text, "held", held, SIZE_MAX),
    NUMBER(progress_text, "most-held", most_held, SIZE_MAX),
    NUMBER(progress_text, "elapsed-us", elapsed_us, INT64_MAX),
    NUMBER(progress_text, "idle-us", idle_us, INT64_MAX),
    {"waits-for", VST_JSON_STRING, .otherwise = "nothing", .choices = waits,
     .offset = offsetof(struct progress_text, waits_for)},
};

static const struct vst_json_table progress_table = {
    VST_JSON_TABLE(progress_members, progress_text), .open = true};

static const char *const states[] = {"running", "paused", "starting", "crashed", NULL};
static const char *const jobs[] = {"none", "save", "restore", "migrate", NULL};

static const struct vst_json_member info_text_members[] = {
    DOMAIN_NAME(vst_info_text, name),
    DOMAIN_UUID(vst_info_text, uuid),
    {"state", VST_JSON_STRING, .required = true, .choices = states,
     .offset = offsetof(struct vst_info_text, state)},
    {"reason", VST_JSON_STRING, .otherwise = "", .offset = offsetof(struct vst_info_text, reason)},
    NUMBER(vst_info_text, "memory", memory, UINT64_MAX),
    NUMBER(vst_info_text, "vcpus", vcpus, UINT_MAX),
    NUMBER(vst_info_text, "pid", pid, INT_MAX),
    NUMBER(vst_info_text, "since", since, INT64_MAX),
    NUMBER(vst_info_text, "busy-pid", busy_pid, INT_MAX),
    {"job", VST_JSON_STRING, .otherwise = "none", .choices = jobs,
     .offset = offsetof(struct vst_info_text, job)},
    {"progress", VST_JSON_STRUCT, .table = &progress_table,
     .offset = offsetof(struct vst_info_text, progress)},
};

const struct vst_json_table vst_info_text_table = TABLE(info_text);

/* ---- to text; nothing is copied ---- */

struct shown { /* the text first */
    struct vst_info_text text;
    struct progress_text progress;
};

static uint64_t not_negative(int64_t number)
{
    return number < 0 ? 0 : (uint64_t)number;
}

static void show(const void *entry, void *ret_text)
{
    const struct vst_domain_info *info = entry;
    const struct vst_progress *progress = &info->progress;
    struct shown *shown = ret_text;

    shown->text = (struct vst_info_text){
        .name = (char *)info->name,
        .uuid = (char *)info->uuid,
        .state = (char *)vst_domain_state_name(info->state),
        .reason = (char *)info->reason,
        .memory = info->memory,
        .vcpus = info->vcpus,
        .pid = not_negative(info->pid),
        .since = not_negative(info->since),
        .busy_pid = not_negative(info->busy_pid),
        .job = (char *)vst_job_kind_name(info->job),
        .progress = info->job == VST_JOB_NONE ? NULL : &shown->progress,
    };
    shown->progress = (struct progress_text){
        .up = progress->up_bytes,
        .down = progress->down_bytes,
        .total = progress->total,
        .rate = progress->rate,
        .held = progress->held,
        .most_held = progress->most_held,
        .elapsed_us = not_negative(progress->elapsed_us),
        .idle_us = not_negative(progress->idle_us),
        .waits_for = (char *)waits[progress->waits_for],
    };
}

/* ---- from text ---- */

static void read_progress(const struct progress_text *text, struct vst_progress *ret_progress)
{
    *ret_progress = (struct vst_progress){
        .up_bytes = text->up,
        .down_bytes = text->down,
        .total = text->total,
        .rate = text->rate,
        .held = (size_t)text->held,
        .most_held = (size_t)text->most_held,
        .elapsed_us = (int64_t)text->elapsed_us,
        .idle_us = (int64_t)text->idle_us,
        .waits_for = (enum vst_stalled_on)vst_message_find(text->waits_for, waits),
    };
}

static int read_info(const void *from, void *ret_entry, struct vst_error *ret_err)
{
    const struct vst_info_text *text = from;
    struct vst_domain_info *info = ret_entry;

    (void)ret_err;
    *info = (struct vst_domain_info){
        .state = (enum vst_domain_state)vst_message_find(text->state, states),
        .memory = text->memory,
        .vcpus = (unsigned)text->vcpus,
        .pid = (int)text->pid,
        .since = (int64_t)text->since,
        .busy_pid = (int)text->busy_pid,
        .job = (enum vst_job_kind)vst_message_find(text->job, jobs),
    };
    snprintf(info->name, sizeof(info->name), "%s", text->name);
    snprintf(info->uuid, sizeof(info->uuid), "%s", text->uuid);
    vst_message_clean(info->reason, sizeof(info->reason), text->reason);
    if (text->progress)
        read_progress(text->progress, &info->progress);
    return 0;
}

const struct vst_listing vst_domain_listing = {
    .size = sizeof(struct vst_domain_info),
    .room = sizeof(struct shown),
    .show = show,
    .read = read_info,
};

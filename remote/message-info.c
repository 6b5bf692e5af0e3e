/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of domains: struct vst_domain_info and the progress of its job, to JSON and back,
 * and lists in pages.
 */
#include "message-private.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#define NUMBER(kind, name, member, most)                                              \
    {                                                                                 \
        name, VST_JSON_NUMBER, .offset = offsetof(struct kind, member), .max = (most) \
    }

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

static const struct vst_json_member info_members[] = {
    {"name", VST_JSON_STRING, .required = true, .check = vst_message_check_name,
     .offset = offsetof(struct vst_info_text, name)},
    {"uuid", VST_JSON_STRING, .required = true, .check = vst_message_check_uuid,
     .offset = offsetof(struct vst_info_text, uuid)},
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

const struct vst_json_table vst_info_text_table = {VST_JSON_TABLE(info_members, vst_info_text),
                                                   .open = true};

/* ---- to text; nothing is copied ---- */

struct shown {
    struct vst_info_text text;
    struct progress_text progress;
};

static uint64_t not_negative(int64_t number)
{
    return number < 0 ? 0 : (uint64_t)number;
}

static void show(const struct vst_domain_info *info, struct shown *ret_shown)
{
    const struct vst_progress *progress = &info->progress;

    ret_shown->text = (struct vst_info_text){
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
        .progress = info->job == VST_JOB_NONE ? NULL : &ret_shown->progress,
    };
    ret_shown->progress = (struct progress_text){
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

static char *print(enum vst_procedure procedure, const struct vst_domain_info *infos, size_t count,
                   bool more, struct vst_error *ret_err)
{
    struct shown *shown = calloc(count + 1, sizeof(*shown));
    struct vst_info_text **list = calloc(count + 1, sizeof(struct vst_info_text *));
    char *body = NULL;

    for (size_t i = 0; shown && list && i < count; i++) {
        show(&infos[i], &shown[i]);
        list[i] = &shown[i].text;
    }
    if (shown && list)
        body = vst_reply_print(procedure, &(union vst_results){.infos = {list, more}}, ret_err);
    else
        vst_error_no_memory(ret_err);
    free(shown);
    free(list);
    return body;
}

char *vst_info_print(const struct vst_domain_info *info, struct vst_error *ret_err)
{
    return print(VST_PROCEDURE_INFO, info, 1, false, ret_err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vst_domain_info *)a)->name,
                  ((const struct vst_domain_info *)b)->name);
}

char *vst_page_print(struct vst_domain_info *infos, size_t count, const char *after,
                     struct vst_error *ret_err)
{
    size_t first = 0, size;

    qsort(infos, count, sizeof(*infos), by_name);
    while (after && first < count && strcmp(infos[first].name, after) <= 0)
        first++;
    size = count - first < VST_PAGE ? count - first : VST_PAGE;
    return print(VST_PROCEDURE_LIST, infos + first, size, first + size < count, ret_err);
}

/* ---- from text ---- */

static int find(const char *name, const char *const *list)
{
    int i = 0;

    while (list[i + 1] && strcmp(list[i], name) != 0)
        i++;
    return i;
}

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
        .waits_for = (enum vst_stalled_on)find(text->waits_for, waits),
    };
}

static void read_info(const struct vst_info_text *text, struct vst_domain_info *ret_info)
{
    struct vst_domain_info info = {
        .state = (enum vst_domain_state)find(text->state, states),
        .memory = text->memory,
        .vcpus = (unsigned)text->vcpus,
        .pid = (int)text->pid,
        .since = (int64_t)text->since,
        .busy_pid = (int)text->busy_pid,
        .job = (enum vst_job_kind)find(text->job, jobs),
    };

    snprintf(info.name, sizeof(info.name), "%s", text->name);
    snprintf(info.uuid, sizeof(info.uuid), "%s", text->uuid);
    vst_message_clean(info.reason, sizeof(info.reason), text->reason);
    if (text->progress)
        read_progress(text->progress, &info.progress);
    *ret_info = info;
}

static int read_infos(struct vst_info_text *const *list, struct vst_domain_info **ret_infos,
                      size_t *ret_count, struct vst_error *ret_err)
{
    struct vst_domain_info *infos;
    size_t count = 0;

    while (list && list[count])
        count++;
    infos = calloc(count + 1, sizeof(*infos));
    if (!infos)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < count; i++)
        read_info(list[i], &infos[i]);
    *ret_infos = infos;
    *ret_count = count;
    return 0;
}

int vst_infos_parse(enum vst_procedure procedure, const char *body, size_t length,
                    struct vst_domain_info **ret_infos, size_t *ret_count, bool *ret_more,
                    struct vst_error *ret_err)
{
    union vst_results result;
    int status;

    if (vst_reply_parse(procedure, body, length, &result, ret_err) < 0)
        return -1;
    status = read_infos(result.infos.domains, ret_infos, ret_count, ret_err);
    if (status == 0)
        *ret_more = result.infos.more;
    vst_results_clear(procedure, &result);
    return status;
}

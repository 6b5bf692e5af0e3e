/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking after migrations that somebody, somewhere, has begun: list, watch, cancel, change,
 * resolve, forget.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "moving.h"

/* ---- migrations ---- */

static int widest_name(const struct moving_list *list)
{
    size_t width = strlen("GUEST");

    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->infos[i].name) > width)
            width = strlen(list->infos[i].name);
    return (int)width;
}

static void print_table(const struct moving_list *list)
{
    int width = widest_name(list);
    char line[MOVING_LINE];

    printf("%-36s  %-*s  WAY  %-10s  %-19s  PEER\n", "TOKEN", width, "GUEST", "PHASE", "SINCE");
    for (size_t i = 0; i < list->count; i++) {
        const struct vst_migration_info *info = &list->infos[i];

        printf("%s  %-*s  %-3s  %-10s  %-19s  %s\n", info->token, width, info->name,
               info->role == VST_MIGRATION_OUT ? "out" : "in",
               vst_migration_phase_name(info->phase), text_time(info->since).s, info->peer);
        moving_describe(info, line);
        if (*line)
            printf("    %s\n", line);
    }
}

static int print_list(struct tool *tool, const struct moving_list *list)
{
    struct json_object *array;

    if (tool->opt.quiet) {
        for (size_t i = 0; i < list->count; i++)
            puts(list->infos[i].token);
        return 0;
    }
    if (!tool->opt.json) {
        print_table(list);
        return 0;
    }
    array = json_object_new_array();
    for (size_t i = 0; array && i < list->count; i++)
        json_object_array_add(array, moving_json(&list->infos[i]));
    return output_json(tool, "migrations", array);
}

/* Kept until the last question that it asks is answered, which may be after the command. */
struct watch {
    struct tool *tool; /* NULL: nobody looks any more */
    struct moving_list list;
    unsigned refs;
};

static void watch_unref(void *opaque)
{
    struct watch *watch = opaque;

    if (--watch->refs)
        return;
    moving_list_clear(&watch->list);
    free(watch);
}

static void show_again(const struct vst_migration_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    struct watch *watch = opaque;
    struct tool *tool = watch->tool;

    moving_list_cb(&watch->list).fn(infos, count, err, &watch->list);
    if (!tool || tool->err.code != VST_ERR_OK)
        return;
    if (err)
        tool->err = *err;
    else if (watch->list.no_memory)
        tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    if (err || watch->list.no_memory)
        return;
    if (isatty(STDOUT_FILENO) && !tool->opt.json)
        fputs("\033[H\033[J", stdout);
    print_list(tool, &watch->list);
    if (fflush(stdout) != 0)
        tool_fail_system(tool, errno, "standard output");
}

static void ask_again(evutil_socket_t fd, short what, void *opaque)
{
    struct watch *watch = opaque;
    struct vst_migrations_cb cb = {show_again, watch, watch_unref};

    (void)fd, (void)what;
    if (watch->refs > 1)
        return;
    watch->refs++;
    vst_conn_list_migrations(watch->tool->conn, &cb);
}

static int watch(struct tool *tool)
{
    static const struct timeval second = {1, 0};
    struct watch *watch = calloc(1, sizeof(*watch));
    struct event *timer = watch ? event_new(tool->base, -1, EV_PERSIST, ask_again, watch) : NULL;
    int status = -1;

    if (watch)
        *watch = (struct watch){.tool = tool, .refs = 1};
    if (!timer || event_add(timer, &second) < 0) {
        tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    } else {
        ask_again(-1, 0, watch);
        status = tool_follow(tool);
    }
    if (timer)
        event_free(timer);
    if (watch) {
        watch->tool = NULL;
        watch_unref(watch);
    }
    return status;
}

int command_migrations(struct tool *tool)
{
    struct moving_list list = {0};
    int status;

    if (tool_connect(tool) < 0)
        return -1;
    if (tool->opt.watch)
        return watch(tool);
    status = moving_list_get(tool, &list);
    if (status == 0)
        status = print_list(tool, &list);
    moving_list_clear(&list);
    return status;
}

/* ---- one of them ---- */

/* The guest is free: the hosts have only words left for each other. */
static bool is_in_clean_up(const struct vst_migration_info *info)
{
    return info->phase == VST_MIGRATION_PHASE_CLEAN_UP;
}

static bool is_meant(const struct vst_migration_info *info, const char *word,
                     enum moving_names names)
{
    if (strncmp(info->token, word, strlen(word)) == 0)
        return true;
    return !info->over && is_in_clean_up(info) == (names == MOVING_NAMES_CLEAN_UP) &&
           strcmp(info->name, word) == 0;
}

/* Both ends of a migration, on one host: its source counts, but when that is through with it. */
static bool is_other_end(const struct vst_migration_info *one, const struct vst_migration_info *two)
{
    return strcmp(one->token, two->token) == 0 && one->role != two->role;
}

static bool counts_more(const struct vst_migration_info *one, const struct vst_migration_info *two)
{
    return one->role == VST_MIGRATION_OUT ? !one->over : two->over;
}

static size_t count_meant(const struct moving_list *list, const char *word, enum moving_names names,
                          struct vst_migration_info *ret_info)
{
    size_t found = 0;

    for (size_t i = 0; i < list->count; i++) {
        const struct vst_migration_info *info = &list->infos[i];

        if (!is_meant(info, word, names))
            continue;
        if (!found || !is_other_end(info, ret_info))
            found++;
        else if (!counts_more(info, ret_info))
            continue;
        *ret_info = *info;
    }
    return found;
}

/* A guest that migrates is not that of a name which other migrations only have words left for; but
 * where there is no other, one of these is meant. */
static int find_in(struct tool *tool, const struct moving_list *list, enum moving_names names,
                   struct vst_migration_info *ret_info)
{
    const char *word = tool->args[0];
    size_t found = count_meant(list, word, names, ret_info);

    if (!found)
        found = count_meant(
            list, word, names == MOVING_NAMES_GUEST ? MOVING_NAMES_CLEAN_UP : MOVING_NAMES_GUEST,
            ret_info);
    if (!found) {
        tool->err.side = VST_SIDE_CLIENT; /* it is no guest that is missing */
        return tool_fail(tool, VST_ERR_NOT_FOUND,
                         "no such migration here: `%s`; `virstream migrations` lists them", word);
    }
    if (found > 1)
        return tool_fail(tool, VST_ERR_INVALID,
                         "`%s` may be %zu migrations; `virstream migrations` lists them", word,
                         found);
    return 0;
}

int moving_find(struct tool *tool, enum moving_names names, struct vst_migration_info *ret_info)
{
    struct moving_list list = {0};
    int status = *tool->args[0] ? 0 : tool_usage(tool, "the token is empty");

    if (status == 0)
        status = tool_connect(tool);
    if (status == 0)
        status = moving_list_get(tool, &list);
    if (status == 0)
        status = find_in(tool, &list, names, ret_info);
    moving_list_clear(&list);
    return status;
}

/* A word is believed, but not before what is known here has been said to whoever gives it. */
static int confirm(struct tool *tool, enum vst_migration_order what,
                   const struct vst_migration_info *info)
{
    if (what != VST_MIGRATION_RUNS_ON_SOURCE || info->role != VST_MIGRATION_OUT ||
        info->outcome != VST_MIGRATION_MIGRATED || is_in_clean_up(info) || info->over ||
        tool->opt.host_is_lost)
        return 0;
    return tool_usage(
        tool,
        "%s has run at %s; what it did there, to its disks and to others, has been done, and here "
        "it would go on as it was before; make sure that it never runs there again, and say so: "
        "--other-host-is-lost",
        info->name, info->peer);
}

/* `at_destination`: what came of it where the guest was to come; NULL: the same. */
static int order_at(struct tool *tool, enum vst_migration_order what,
                    const struct vst_migration_change *change, const char *outcome,
                    const char *at_destination)
{
    enum moving_names names =
        what == VST_MIGRATION_FORGET ? MOVING_NAMES_CLEAN_UP : MOVING_NAMES_GUEST;
    struct vst_migration_info info = {0};
    struct json_object *json;

    if (moving_find(tool, names, &info) < 0 || confirm(tool, what, &info) < 0 ||
        tool_wait(tool, vst_conn_order_migration(tool->conn, info.token, what, change, NULL)) < 0)
        return -1;
    if (!tool->opt.json) {
        output_done(tool, "%s (%s): %s", info.name, info.token,
                    info.role == VST_MIGRATION_IN && at_destination ? at_destination : outcome);
        return 0;
    }
    json = json_object_new_object();
    put_text(json, "token", info.token);
    put_text(json, "name", info.name);
    return output_json(tool, "migration", json);
}

static int order(struct tool *tool, enum vst_migration_order what,
                 const struct vst_migration_change *change, const char *outcome)
{
    return order_at(tool, what, change, outcome, NULL);
}

int command_migration_cancel(struct tool *tool)
{
    return order_at(tool, VST_MIGRATION_CANCEL, NULL, "is given up; the guest stays on the source",
                    "is given up, and what is here of the guest is ended; it is wherever the "
                    "source has it");
}

int command_migration_post_copy(struct tool *tool)
{
    return order(tool, VST_MIGRATION_GO_POST_COPY, NULL,
                 "goes over to post-copy; \"virstream migrations\" tells when the guest "
                 "is the destination's");
}

int command_migration_set(struct tool *tool)
{
    const struct vst_migration_change change = {tool->opt.rate, tool->opt.downtime};

    if (!change.bandwidth && !change.downtime_ms)
        return tool_usage(tool, "set what? --bandwidth, --downtime, or both");
    return order(tool, VST_MIGRATION_SET, &change, "is changed");
}

int command_migration_resolve(struct tool *tool)
{
    switch (tool->opt.owner) {
    case VST_MIGRATION_RUNS_ON_SOURCE:
        return order_at(tool, VST_MIGRATION_RUNS_ON_SOURCE, NULL,
                        "by your word the guest is the source's: it goes on here; what the "
                        "destination has of it is ended when that host hears of it",
                        "by your word the guest is the source's: what is here of it is ended; the "
                        "source goes on with it when that host hears of it");
    case VST_MIGRATION_RUNS_ON_DESTINATION:
        return order_at(tool, VST_MIGRATION_RUNS_ON_DESTINATION, NULL,
                        "by your word the guest is the destination's: what is here serves what "
                        "memory it lacks, if it does, and is ended then; the destination lets it "
                        "run, if it does not yet, when that host hears of it",
                        "by your word the guest is the destination's: it goes on here, if its QEMU "
                        "is there; what the source has of it is ended when that host hears of it");
    default:
        return tool_usage(tool, "whose is the guest? --guest-runs-on=source, or destination; make "
                                "sure that it does not run on the other side");
    }
}

int command_migration_forget(struct tool *tool)
{
    if (!tool->opt.host_is_lost)
        return tool_usage(tool,
                          "make sure that the other host never asks about it again, and say so: "
                          "--other-host-is-lost");
    return order(tool, VST_MIGRATION_FORGET, NULL, "is forgotten; the guest stays as it is");
}

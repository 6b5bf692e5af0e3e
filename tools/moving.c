/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What migrate and the commands that look after migrations have in common.
 */
#include "moving.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

static int by_age(const void *a, const void *b)
{
    const struct vst_migration_info *one = a, *other = b;

    if (one->since != other->since)
        return one->since < other->since ? -1 : 1;
    return strcmp(one->token, other->token);
}

static void keep(const struct vst_migration_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    struct moving_list *list = opaque;

    if (err)
        return;
    moving_list_clear(list);
    list->infos = malloc((count + 1) * sizeof(*infos));
    list->no_memory = !list->infos;
    if (!list->infos || !count)
        return;
    memcpy(list->infos, infos, count * sizeof(*infos));
    list->count = count;
    for (size_t i = 0; i < count; i++) {
        text_clean(list->infos[i].name);
        text_clean(list->infos[i].peer);
        text_clean(list->infos[i].reason);
        text_clean(list->infos[i].verdict);
    }
    qsort(list->infos, count, sizeof(*infos), by_age);
}

struct vst_migrations_cb moving_list_cb(struct moving_list *list)
{
    return (struct vst_migrations_cb){.fn = keep, .opaque = list};
}

void moving_list_clear(struct moving_list *list)
{
    free(list->infos);
    *list = (struct moving_list){0};
}

int moving_list_get(struct tool *tool, struct moving_list *list)
{
    struct vst_migrations_cb cb = moving_list_cb(list);

    if (tool_wait(tool, vst_conn_list_migrations(tool->conn, &cb)) < 0)
        return -1;
    return list->no_memory ? tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory") : 0;
}

/* ---- one ---- */

struct json_object *moving_json(const struct vst_migration_info *info)
{
    const char *outcome = vst_migration_outcome_name(info->outcome);
    struct json_object *to = json_object_new_object();

    put_text(to, "token", info->token);
    put_text(to, "name", info->name);
    put_text(to, "way", info->role == VST_MIGRATION_OUT ? "out" : "in");
    put_text(to, "peer", info->peer);
    put_text(to, "phase", vst_migration_phase_name(info->phase));
    put_flag(to, "in-doubt", info->in_doubt);
    put_flag(to, "over", info->over);
    put_text(to, "outcome", *outcome ? outcome : NULL);
    put_text(to, "reason", info->reason);
    put_time(to, "since", info->since);
    put_number(to, "pass", info->pass);
    put_total(to, info->total);
    put_number(to, "sent", info->sent);
    put_number(to, "left", info->left);
    put_number(to, "rate", info->rate);
    put_number(to, "dirty-rate", info->dirty_rate);
    put_number(to, "downtime-ms", info->downtime_ms);
    put_text(to, "verdict", info->verdict);
    return to;
}

__attribute__((format(printf, 2, 3))) static void add(char line[MOVING_LINE], const char *format,
                                                      ...)
{
    size_t used = strlen(line);
    va_list args;

    va_start(args, format);
    vsnprintf(line + used, MOVING_LINE - used, format, args);
    va_end(args);
}

/* That it has migrated is what was meant, and goes without saying. A destination knows only whose
 * the guest is, and not whether it still runs there. */
static const char *words_for(const struct vst_migration_info *info)
{
    switch (info->outcome) {
    case VST_MIGRATION_STAYED:
        return info->role == VST_MIGRATION_OUT
                   ? "the guest stayed on the source"
                   : "it was given up; the guest is the source's, if it lives";
    case VST_MIGRATION_DIED:
        return "the guest has died";
    case VST_MIGRATION_CONFLICT:
        return "the guest may run on both sides, on one of them by an operator's word";
    default:
        return "";
    }
}

static void describe_end(const struct vst_migration_info *info, char line[MOVING_LINE])
{
    const char *words = words_for(info);

    add(line, "%s", words);
    if (info->sent)
        add(line, "%s%s sent", *words ? "; " : "", text_size(info->sent).s);
    if (info->sent && info->pass)
        add(line, " in %u pass%s", info->pass, info->pass > 1 ? "es" : "");
    if (info->sent && info->downtime_ms)
        add(line, "; stood still for %u ms", info->downtime_ms);
}

/* What matters most comes first: a narrow terminal shows no more. */
static void describe_progress(const struct vst_migration_info *info, char line[MOVING_LINE])
{
    add(line, "pass %u: %s left, %s/s", info->pass, text_size(info->left).s,
        text_size(info->rate).s);
    if (info->dirty_rate)
        add(line, ", dirties %s/s", text_size(info->dirty_rate).s);
    if (info->downtime_ms)
        add(line, ", downtime %u ms", info->downtime_ms);
    if (*info->verdict)
        add(line, "; %s", info->verdict);
    add(line, "; %s sent", text_size(info->sent).s);
    if (info->total)
        add(line, ", memory %s", text_size(info->total).s);
}

void moving_describe(const struct vst_migration_info *info, char ret_line[MOVING_LINE])
{
    *ret_line = '\0';
    if (info->over ||
        info->phase == VST_MIGRATION_PHASE_CLEAN_UP) /* but for words between the hosts */
        describe_end(info, ret_line);
    else if (info->pass && !info->in_doubt)
        describe_progress(info, ret_line);
    if (*info->reason)
        add(ret_line, "%s%s%s", *ret_line ? "; " : "", info->in_doubt ? "in doubt: " : "",
            info->reason);
    for (char *at = ret_line; (at = strchr(at, '\n'));)
        *at = ' ';
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate: one operation, and meanwhile again and again the question how it is, because it is the
 * hosts that move the guest, not we; not even when it goes through us.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "moving.h"
#include "progress.h"

enum { OFTEN_US = 250000, PER_SECOND = 4 };

/*
 * What is followed. Both operations have hold of it: the one that asks may still be under way when
 * the other one has ended, and, detached, the other way round.
 */
struct follow {
    struct tool *tool; /* NULL: nobody looks any more */
    unsigned refs;
    enum progress_kind kind;
    bool drawn;
    bool ended;                     /* the migration's operation */
    bool asking;                    /* the question's */
    struct vst_error err;           /* how it ended */
    char name[64];                  /* of the guest */
    bool taken_up;                  /* another client has begun it */
    int64_t since;                  /* in seconds since 1970 */
    struct vst_migration_info info; /* the last that was heard; no token: nothing */
    struct event *timer;
    unsigned skipped; /* how often nothing was printed */
};

static void unref(void *opaque)
{
    struct follow *follow = opaque;

    if (!--follow->refs)
        free(follow);
}

/* ---- how it is ---- */

static void draw(struct follow *follow)
{
    unsigned columns = text_columns(STDERR_FILENO);
    char line[MOVING_LINE], whole[MOVING_LINE + 40];

    moving_describe(&follow->info, line);
    snprintf(whole, sizeof(whole), "%s  %s", vst_migration_phase_name(follow->info.phase), line);
    fprintf(stderr, "\r%.*s\033[K", (int)(columns ? columns : 80) - 1, whole);
    fflush(stderr);
    follow->drawn = true;
}

/* Lines of JSON, which stay, come once a second, and with each change. */
static void show(struct follow *follow, const struct vst_migration_info *before)
{
    const struct vst_migration_info *now = &follow->info;
    bool same = now->phase == before->phase && now->pass == before->pass &&
                now->over == before->over && now->in_doubt == before->in_doubt;

    if (!follow->tool)
        return;
    if (follow->kind == PROGRESS_BAR) {
        draw(follow);
    } else if (follow->kind == PROGRESS_JSON && (!same || ++follow->skipped == PER_SECOND)) {
        follow->skipped = 0;
        progress_print(moving_json(&follow->info));
    }
}

/* What is known of it by its token alone, which never lists another one's. */
static void learn_token(struct follow *follow)
{
    struct vst_migration_info *info = &follow->info;
    const struct tool *tool = follow->tool;
    const char *token = tool && tool->op ? vst_migration_token(tool->op) : "";

    if (*info->token || !*token)
        return;
    snprintf(info->token, sizeof(info->token), "%s", token);
    snprintf(info->name, sizeof(info->name), "%s", follow->name);
    snprintf(info->peer, sizeof(info->peer), "%s", tool->args[1]);
    info->phase =
        VST_MIGRATION_PHASE_PREPARE; /* the source has taken it up, and no more is known */
    info->since = follow->since;
}

/* Both of its ends may be here. */
static bool is_ours(const struct follow *follow, const struct vst_migration_info *info)
{
    return *follow->info.token && info->role == VST_MIGRATION_OUT &&
           strcmp(info->token, follow->info.token) == 0;
}

static void have_list(const struct vst_migration_info *infos, size_t count,
                      const struct vst_error *err, void *opaque)
{
    struct follow *follow = opaque;
    struct vst_migration_info before;
    struct moving_list list = {0};

    follow->asking = false;
    learn_token(follow);
    moving_list_cb(&list).fn(infos, count, err, &list);
    for (size_t i = list.count; i > 0; i--)
        if (is_ours(follow, &list.infos[i - 1])) {
            before = follow->info;
            follow->info = list.infos[i - 1];
            show(follow, &before);
            break;
        }
    moving_list_clear(&list);
}

static void ask(evutil_socket_t fd, short what, void *opaque)
{
    struct follow *follow = opaque;
    struct vst_migrations_cb cb = {have_list, follow, unref};

    (void)fd, (void)what;
    if (follow->asking)
        return;
    follow->asking = true;
    follow->refs++;
    vst_conn_list_migrations(follow->tool->conn, &cb);
}

/* ---- until it has ended, or need not be waited for ---- */

static void ended(const struct vst_error *err, void *opaque)
{
    struct follow *follow = opaque;

    follow->ended = true;
    learn_token(follow);
    if (err)
        follow->err = *err;
    if (follow->tool)
        follow->tool->op = NULL;
}

static bool has_begun(const struct follow *follow)
{
    enum vst_migration_phase phase = follow->info.phase;

    return *follow->info.token && phase != VST_MIGRATION_PHASE_ASK &&
           phase != VST_MIGRATION_PHASE_PREPARE;
}

static bool is_enough(const struct follow *follow)
{
    return follow->ended ||
           (follow->tool->opt.detach && !follow->tool->interrupts && has_begun(follow));
}

/* The last that is to be heard of it: how long it stood still, and what became of it. */
static int hear_the_rest(struct follow *follow)
{
    int status;
    struct tool *tool = follow->tool;
    struct vst_error before = tool->err;
    struct vst_migrations_cb cb = {have_list, follow, unref};

    if (!*follow->info.token)
        return -1;
    if (follow->kind == PROGRESS_BAR)
        follow->kind = PROGRESS_NONE;
    follow->refs++;
    status = tool_wait(tool, vst_conn_list_migrations(tool->conn, &cb));
    if (status < 0)
        tool->err = before;
    return status;
}

/* Our own connection is lost, not one of the hosts' between them: who could be asked would know.
 * Through us they cannot go on. */
static bool is_left_alone(const struct follow *follow, bool heard)
{
    return follow->err.code == VST_ERR_LOST && *follow->info.token && !heard &&
           !follow->tool->other;
}

/* The link that was lost is that of the client before us. */
static bool was_given_up_before(const struct follow *follow)
{
    return follow->err.code == VST_ERR_LOST && follow->taken_up &&
           follow->info.outcome == VST_MIGRATION_STAYED;
}

/* For us it is over when we know how it ended: what the hosts still have to say to each other
 * concerns nobody. */
static void conclude(struct follow *follow)
{
    bool well = follow->err.code == VST_ERR_OK, heard = hear_the_rest(follow) == 0;
    struct vst_migration_info *info = &follow->info;

    if (well && info->outcome == VST_MIGRATION_OPEN)
        info->outcome = VST_MIGRATION_MIGRATED;
    if (well || (heard && follow->err.code != VST_ERR_IN_DOUBT))
        info->over |= info->outcome != VST_MIGRATION_OPEN;
    if (was_given_up_before(follow))
        follow->tool->hint = "it was given up before this client came; the guest is on the source";
    if (is_left_alone(follow, heard))
        follow->tool->hint = "the hosts go on without us; `virstream migrations` tells how it is";
    if (follow->kind == PROGRESS_JSON && *info->token)
        progress_print(moving_json(info));
}

static int wait_for(struct follow *follow)
{
    struct tool *tool = follow->tool;

    while (!is_enough(follow))
        if (event_base_loop(tool->base, EVLOOP_ONCE) != 0)
            return tool_fail(tool, VST_ERR_INTERNAL, "the loop has failed");
    if (follow->drawn)
        fputs("\r\033[K", stderr);
    if (follow->err.code == VST_ERR_OK)
        return 0;
    tool->err = follow->err;
    return -1;
}

/* What is to be followed; `opt` NULL: it has been begun before. */
static struct vst_op *begin(struct follow *follow, const struct vst_migrate_options *opt)
{
    struct tool *tool = follow->tool;
    struct vst_done done = {ended, follow, unref};

    follow->refs++;
    if (!opt)
        return vst_conn_relay_migration(tool->conn, follow->info.token, tool->other, &done);
    if (tool->opt.relay)
        return vst_domain_migrate_through(tool->domain, tool->other, opt, &done);
    return vst_domain_migrate(tool->domain, tool->args[1], opt, &done);
}

static int follow_op(struct follow *follow, const struct vst_migrate_options *opt)
{
    static const struct timeval often = {0, OFTEN_US};
    struct tool *tool = follow->tool;
    int status;

    follow->kind = progress_choose(&tool->opt);
    follow->timer = event_new(tool->base, -1, EV_PERSIST, ask, follow);
    if (!follow->timer || event_add(follow->timer, &often) < 0)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    tool->op = begin(follow, opt);
    if (!tool->op)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    if (tool->interrupts)
        vst_op_cancel(tool->op);
    status = wait_for(follow);
    if (follow->ended)
        conclude(follow);
    return status;
}

/* ---- what to say in the end ---- */

static int say(struct follow *follow)
{
    struct tool *tool = follow->tool;
    bool left = !follow->ended;
    char line[MOVING_LINE];

    if (tool->opt.json)
        return output_json(tool, left ? "migrating" : "migrated", moving_json(&follow->info));
    if (tool->opt.detach) { /* whether it is over already or not */
        output_done(tool, "%s", follow->info.token);
        return 0;
    }
    moving_describe(&follow->info, line);
    output_done(tool, "%s is at %s%s%s", follow->name, tool->args[1], *line ? ": " : "", line);
    return 0;
}

/* One that is about to begin, or, with `info`, one that has. */
static int migrate(struct tool *tool, const struct vst_migrate_options *opt,
                   const struct vst_migration_info *info)
{
    struct follow *follow = calloc(1, sizeof(*follow));
    int status;

    if (!follow)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    *follow = (struct follow){.tool = tool, .refs = 1, .since = time(NULL)};
    follow->taken_up = info != NULL;
    if (info)
        follow->info = *info;
    snprintf(follow->name, sizeof(follow->name), "%s",
             info ? info->name : vst_domain_get_name(tool->domain));
    status = follow_op(follow, opt);
    if (status == 0)
        status = say(follow);
    if (follow->timer)
        event_free(follow->timer);
    tool->op = NULL;
    follow->tool = NULL;
    unref(follow);
    return status;
}

static int check(struct tool *tool, const struct vst_migrate_options *opt)
{
    struct json_object *json;
    struct vst_op *op;

    if (tool->opt.relay)
        op = vst_domain_check_migration_through(tool->domain, tool->other, opt, NULL);
    else
        op = vst_domain_check_migration(tool->domain, tool->args[1], opt, NULL);
    if (tool_wait(tool, op) < 0)
        return -1;
    if (!tool->opt.json) {
        output_done(tool, "%s can go to %s", vst_domain_get_name(tool->domain), tool->args[1]);
        return 0;
    }
    json = json_object_new_object();
    put_text(json, "name", vst_domain_get_name(tool->domain));
    put_text(json, "destination", tool->args[1]);
    return output_json(tool, "possible", json);
}

static int check_usage(struct tool *tool)
{
    const struct options *said = &tool->opt;

    if (said->then != VST_MIGRATE_THEN_ABORT && !said->timeout)
        return tool_usage(tool, "--then: when? It goes with --timeout");
    if (said->then == VST_MIGRATE_THEN_POST_COPY && !said->post_copy && !said->post_copy_after)
        return tool_usage(tool, "--then post-copy goes with --post-copy");
    if (said->check && said->detach)
        return tool_usage(tool, "--check starts nothing that could go on: it has no --detach");
    if (said->relay && said->detach)
        return tool_usage(tool, "--relay goes through this command: it has no --detach");
    return 0;
}

/* In this process alone nobody would go on. */
static int check_detached(struct tool *tool)
{
    const char *uri = vst_conn_get_uri(tool->conn);
    const char *plus = strchr(uri, '+'), *colon = strchr(uri, ':');

    if (!tool->opt.detach || (plus && plus < colon))
        return 0;
    return tool_usage(tool, "--detach: %s is this process alone; a server would go on", uri);
}

int command_migrate(struct tool *tool)
{
    const struct options *said = &tool->opt;
    struct vst_migrate_options opt = {
        .name = said->name,
        .offline = said->offline,
        .keep_source = said->keep_source,
        .auto_converge = said->auto_converge,
        .post_copy = said->post_copy || said->post_copy_after,
        .copy_disks = said->copy_disks,
        .post_copy_after = said->post_copy_after,
        .downtime_ms = said->downtime,
        .timeout_seconds = said->timeout,
        .then = said->then,
        .zstd_level = said->zstd_level,
        .stall_seconds = said->stall,
        .bandwidth = said->rate,
    };

    if (check_usage(tool) < 0)
        return -1;
    tool->opt.timeout = 0; /* the hosts' now */
    if (tool_find_domain(tool) < 0 || check_detached(tool) < 0 ||
        (said->relay && tool_connect_other(tool, tool->args[1]) < 0))
        return -1;
    return said->check ? check(tool, &opt) : migrate(tool, &opt, NULL);
}

int command_migration_relay(struct tool *tool)
{
    struct vst_migration_info info;

    if (moving_find(tool, MOVING_NAMES_GUEST, &info) < 0 ||
        tool_connect_other(tool, tool->args[1]) < 0)
        return -1;
    return migrate(tool, NULL, &info);
}

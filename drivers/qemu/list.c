/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * List, look up, info: what can be told of guests. A guest that this connection does not have is
 * adopted for the question and let go again; one that another process has is told as far as can be
 * seen from outside. Each QEMU is asked whether it still answers, however long we have had it.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/fsm.h"
#include "move.h"
#include "stray.h"

#define LIST_STATES(X)                                                               \
    X(LIST_ASKING, "answers, some of which come at once", "one guest after another") \
    X(LIST_WAITING, "the guest, or the end of patience", "its monitor is connected") \
    X(LIST_HEARING, "a reply, or the end of patience", "does its QEMU answer?")      \
    X(LIST_OVER, "nothing", "the operation has been completed")
VST_FSM(list, LIST_STATES)

enum { ANSWER_SECONDS = 3 }; /* for each guest */

struct list {
    struct vst_qemu *qemu;
    struct vst_guest_wait wait;
    struct vst_guest *guest; /* in HEARING */
    struct vst_guest_watch watch;
    struct vst_op *op;
    struct event patience;
    char **names; /* ends in NULL */
    size_t next;  /* the one that is being asked for */
    bool release; /* it was not ours before */
    bool one;     /* info of one domain: its absence is an error */
    enum list_state state;
    struct vst_domain_info *infos;
    size_t count;
};

static void list_free(void *opaque)
{
    struct list *list = opaque;

    for (size_t i = 0; list->names && list->names[i]; i++)
        free(list->names[i]);
    free(list->names);
    free(list->infos);
    free(list);
}

static void enter(struct list *list, enum list_state state)
{
    vst_fsm_trace(list, list->names[list->next] ? list->names[list->next] : "-", list->state,
                  state);
    list->state = state;
}

static void wait_no_more(struct list *list)
{
    event_del(&list->patience);
    vst_guest_unwait(&list->wait);
    vst_guest_unwatch(&list->watch);
    if (list->guest)
        vst_guest_forget(list->guest, list);
    list->guest = NULL;
}

static void over(struct list *list, const struct vst_error *err)
{
    if (list->state == LIST_OVER)
        return;
    enter(list, LIST_OVER);
    wait_no_more(list);
    if (err)
        vst_op_fail(list->op, err);
    else
        vst_driver_infos(list->op, list->infos, list->count);
}

/* Of a guest whose definition is lost; people and the daemon want one. */
static const char no_uuid[] = "00000000-0000-0000-0000-000000000000";

static bool is_one_of(const char *kind, const char *const *kinds)
{
    while (*kinds && strcmp(kind, *kinds) != 0)
        kinds++;
    return *kinds;
}

/* By the job of whoever has hold of it: most saves pause the guest, and the others leave it as it
 * was before. A copy that was left behind never runs. */
static bool is_paused(const struct vst_glance *glance)
{
    static const char *const pausing[] = {"save", "keep", "stray", NULL};
    static const char *const leaving[] = {"live", "restore", "out", NULL};
    const char *kind = glance->job.kind;

    if (vst_place_job_is_away(&glance->job))
        return true;
    return glance->holder &&
           (is_one_of(kind, pausing) || (!glance->job.running && is_one_of(kind, leaving)));
}

static enum vst_domain_state state_of(const struct vst_glance *glance)
{
    /* What arrives waits, until it is somebody's here. */
    if (vst_place_job_makes(&glance->job) ||
        (strcmp(glance->job.kind, "in") == 0 && glance->exists))
        return VST_DOMAIN_STARTING;
    if (!glance->exists)
        return VST_DOMAIN_CRASHED;
    return is_paused(glance) ? VST_DOMAIN_PAUSED : VST_DOMAIN_RUNNING;
}

static void describe(const char *name, const struct vst_glance *glance, const struct vst_error *err,
                     struct vst_domain_info *ret_info)
{
    const struct vst_definition *def = glance->def;
    /* QEMU's words fit with their end, which says why; that of `err` is cut off. */
    bool crashed = !glance->exists && glance->last_words[0];
    const char *reason = crashed ? glance->last_words : err->text;

    *ret_info = (struct vst_domain_info){
        .state = state_of(glance),
        .memory = def ? def->memory_mib * 1024 * 1024 : 0,
        .vcpus = def ? (unsigned)def->vcpus : 0,
        .pid = glance->exists ? glance->id.pid : 0,
        .since = glance->since,
        .busy_pid = glance->holder,
    };
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", name);
    snprintf(ret_info->uuid, sizeof(ret_info->uuid), "%s", def ? def->uuid : no_uuid);
    snprintf(ret_info->reason, sizeof(ret_info->reason), "%.*s", (int)sizeof(ret_info->reason) - 1,
             reason);
}

static void tell_away(const struct vst_place_job *job, struct vst_domain_info *info)
{
    snprintf(info->reason, sizeof(info->reason),
             "it has migrated%s%s; this copy was kept, and never runs again: destroy it when it is "
             "not needed any more",
             job->to[0] ? " to " : "", job->to);
}

/* What moves it is no stream of the guest's own. */
static struct vst_progress progress_of(const struct vst_migration_info *now)
{
    struct vst_progress progress = {.total = now->total, .rate = now->rate};
    int64_t seconds = time(NULL) - now->since;

    *(now->role == VST_MIGRATION_OUT ? &progress.down_bytes : &progress.up_bytes) = now->sent;
    progress.elapsed_us = seconds > 0 ? seconds * 1000000 : 0;
    return progress;
}

/* A copy that arrives is nobody's to be adopted, and was seen from outside. */
static void tell_move(const struct vst_move *move, struct vst_domain_info *info)
{
    struct vst_migration_info now;

    vst_move_get_info(move, &now);
    if (info->state == VST_DOMAIN_STARTING)
        info->reason[0] = '\0';
    info->busy_pid = 0; /* it is this process */
    info->job = VST_JOB_MIGRATE;
    if (!now.in_doubt) /* then nothing moves, and other things matter */
        info->progress = progress_of(&now);
    if (now.in_doubt)
        snprintf(info->reason, sizeof(info->reason), "in doubt, it may run at %.100s: %.120s",
                 now.peer, vst_move_reason(move));
    else if (!info->reason[0])
        snprintf(info->reason, sizeof(info->reason), "%s %.150s (%s)",
                 now.role == VST_MIGRATION_OUT ? "migrates to" : "comes from", now.peer, now.phase);
}

/* Why it is as it is, or not to be resumed, and who may know more. */
static void tell_whereabouts(const struct vst_qemu *qemu, struct vst_domain_info *info)
{
    const struct vst_move *move = vst_move_of(qemu, info->name);
    struct vst_place_job job = {0};

    if (move) {
        tell_move(move, info);
        return;
    }
    if (vst_root_get_job(qemu->root, info->name, &job, NULL) < 0)
        return;
    if (vst_place_job_is_away(&job))
        tell_away(&job, info);
    else if (vst_place_job_is_stray(&job))
        vst_stray_tell(&job, info->reason, sizeof(info->reason));
    else if (qemu->journal && strcmp(job.kind, "in") == 0)
        snprintf(info->reason, sizeof(info->reason),
                 "it may be the whole copy of a guest that migrated here, but the journal of this "
                 "host knows nothing of that: destroy it if the guest runs elsewhere");
}

/* `err`: it is there, but deaf. */
static void tell(struct list *list, struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_domain_info *info = &list->infos[list->count++];

    vst_guest_get_info(guest, info);
    if (err)
        snprintf(info->reason, sizeof(info->reason), "%.*s", (int)sizeof(info->reason) - 1,
                 err->text);
    if (list->release)
        vst_guest_release(guest);
}

/* It cannot be asked; 1: but it can be seen; 0: it is not there any more. */
static int see(struct list *list, const struct vst_error *err)
{
    const char *name = list->names[list->next];
    struct vst_glance glance;

    if (vst_place_glance(list->qemu->root, name, &glance, NULL) < 0)
        return 0;
    describe(name, &glance, err, &list->infos[list->count++]);
    vst_definition_free(&glance.def);
    return 1;
}

static void take(struct list *list, struct vst_guest *guest, const struct vst_error *err)
{
    size_t known = list->count;

    if (guest) {
        tell(list, guest, err);
    } else if (see(list, err) == 0 && list->one) {
        over(list, err);
    }
    if (list->count > known)
        tell_whereabouts(list->qemu, &list->infos[known]);
    list->next++;
}

static void ask(struct list *list);

static void answered(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    struct list *list = opaque;
    bool waited = list->state != LIST_ASKING;

    wait_no_more(list);
    if (waited)
        enter(list, LIST_ASKING);
    take(list, guest, err);
    if (waited)
        ask(list);
}

/* A refusal is an answer, too. */
static void heard(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct list *list = opaque;

    (void)value;
    if (!err || err->code != VST_ERR_LOST) /* then gone() comes, and knows more */
        answered(list, list->guest, NULL);
}

static void gone(void *opaque, const struct vst_error *err)
{
    answered(opaque, NULL, err);
}

/* What has hold of a guest talks to its QEMU itself, which may well be deaf until then: it writes
 * the last part of an image with its lock held. */
static bool is_at_work(const struct vst_guest *guest)
{
    struct vst_domain_info info;

    vst_guest_get_info(guest, &info);
    return info.job != VST_JOB_NONE;
}

static void there(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct list *list = opaque;
    struct vst_error err = {0};

    if (!guest || is_at_work(guest)) {
        answered(list, guest, wait_err);
    } else if (vst_qmp_execute(vst_guest_qmp(guest), "query-status",
                               (struct vst_qmp_reply){heard, list}, &err, NULL) < 0) {
        answered(list, guest, &err);
    } else {
        list->guest = guest;
        vst_guest_watch(guest, &list->watch);
        enter(list, LIST_HEARING);
    }
}

/* Stopped, swapped out, or hung: what can be seen from outside is told of it. */
static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct list *list = opaque;
    struct vst_guest *guest = vst_guest_find(list->qemu, list->names[list->next]);
    struct vst_error err = {.side = VST_SIDE_QEMU};

    (void)fd, (void)what;
    if (guest && vst_guest_is_mending(guest))
        vst_error_set(&err, VST_ERR_TIMEOUT,
                      "a save of it was cut off, and QEMU still has to do with it");
    else
        vst_error_set(&err, VST_ERR_TIMEOUT, "QEMU does not answer");
    vst_guest_unwait(&list->wait);
    if (guest && !list->guest && list->release)
        vst_guest_release(guest);
    answered(list, list->guest, &err);
}

/* A loop, as some answers come at once: however many there are, the stack stays as it is. */
static void ask(struct list *list)
{
    static const struct timeval patience = {ANSWER_SECONDS, 0};

    while (list->state == LIST_ASKING && list->names[list->next]) {
        const char *name = list->names[list->next];

        list->release = !vst_guest_find(list->qemu, name);
        list->wait = (struct vst_guest_wait){.fn = there, .opaque = list, .at_once = true};
        list->watch = (struct vst_guest_watch){.gone = gone, .opaque = list};
        vst_guest_get(list->qemu, name, &list->wait);
        if (list->wait.waiting)
            enter(list, LIST_WAITING);
        if (list->state == LIST_WAITING || list->state == LIST_HEARING)
            event_add(&list->patience, &patience);
    }
    if (list->state == LIST_ASKING)
        over(list, NULL);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

/* Takes `names`; NULL is for lack of memory. */
static void begin(struct vst_conn *conn, char **names, bool one, struct vst_op *op)
{
    struct list *list = calloc(1, sizeof(*list));
    struct vst_error err = {0};
    size_t count = 0;

    while (names && names[count])
        count++;
    if (list)
        list->infos = calloc(count + 1, sizeof(*list->infos));
    if (!list || !list->infos || !names) {
        vst_error_no_memory(&err);
        for (size_t i = 0; i < count; i++)
            free(names[i]);
        free(names);
        if (list)
            free(list->infos);
        free(list);
        vst_op_fail(op, &err);
        return;
    }
    event_assign(&list->patience, conn->base, -1, 0, out_of_patience, list);
    list->qemu = conn->impl;
    list->op = op;
    list->names = names;
    list->one = one;
    vst_op_own(op, list, list_free);
    vst_op_set_cancel(op, cancelled, list);
    ask(list);
}

void vst_qemu_list(struct vst_conn *conn, struct vst_op *op)
{
    struct vst_qemu *qemu = conn->impl;
    struct vst_error err = {0};
    char **names = vst_root_list(qemu->root, &err);

    if (names)
        begin(conn, names, false, op);
    else
        vst_op_fail(op, &err);
}

void vst_qemu_get_info(struct vst_conn *conn, const char *name, struct vst_op *op)
{
    char **names = calloc(2, sizeof(*names));

    if (names && !(names[0] = strdup(name))) {
        free(names);
        names = NULL;
    }
    begin(conn, names, true, op);
}

/* ---- look up ---- */

static bool is_called(struct vst_root *root, const char *name, const char *wanted,
                      char ret_uuid[37])
{
    struct vst_glance glance;
    bool called;

    if (vst_place_glance(root, name, &glance, NULL) < 0)
        return false;
    called = strcmp(name, wanted) == 0 || (glance.def && strcasecmp(glance.def->uuid, wanted) == 0);
    snprintf(ret_uuid, 37, "%s", glance.def ? glance.def->uuid : no_uuid);
    vst_definition_free(&glance.def);
    return called;
}

void vst_qemu_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op)
{
    struct vst_qemu *qemu = conn->impl;
    struct vst_error err = {0};
    char **names = vst_root_list(qemu->root, &err);
    bool found = false;
    char uuid[37];

    for (size_t i = 0; names && names[i]; i++) {
        if (!found && is_called(qemu->root, names[i], name_or_uuid, uuid)) {
            vst_driver_domain(conn, op, names[i], uuid);
            found = true;
        }
        free(names[i]);
    }
    if (names && !found)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no domain named %s", name_or_uuid);
    free(names);
    if (!found)
        vst_op_fail(op, &err);
}

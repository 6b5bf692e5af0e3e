/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a stray stands in its place: the token and the host of the migration, and
 * whether it ran before. So it is listed and resolved as any migration in doubt, but that nobody
 * asks the other host: a host without its journal is another host, whom no answer is meant for.
 */
#include "stray.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "move.h"

/* Then it has been decided whose the guest is, and only its word was left. */
static bool is_known(const struct vst_qemu *qemu, const struct vst_place_job *job)
{
    unsigned char token[VST_HANDOVER_ID];

    return vst_uuid_parse(job->token, token) == 0 &&
           vst_journal_find(vst_journal_known(qemu->journal), token, VST_HANDOVER_SOURCE);
}

void vst_stray_mark(struct vst_qemu *qemu, struct vst_place *place, const struct vst_place_job *job)
{
    struct vst_place_job stray = *job;

    if (is_known(qemu, job)) {
        vst_place_set_job(place, VST_WORD_SAVE, false,
                          NULL); /* whoever has hold of it next mends it */
        return;
    }
    stray.word = VST_WORD_STRAY;
    vst_place_put_job(place, &stray, NULL);
}

/* ---- the first look ---- */

struct vst_stray_look {
    LIST_ENTRY(vst_stray_look) link;
    struct vst_guest_wait wait;
};

static void look_free(struct vst_stray_look *look)
{
    vst_guest_unwait(&look->wait);
    LIST_REMOVE(look, link);
    free(look);
}

/* What it is has been seen by now (mend.c). */
static void looked(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)guest, (void)err;
    look_free(opaque);
}

void vst_stray_look(struct vst_qemu *qemu, const char *name)
{
    struct vst_stray_look *look = calloc(1, sizeof(*look));

    if (!look)
        return; /* whoever asks for it will see */
    LIST_INSERT_HEAD(&qemu->looks, look, link);
    look->wait = (struct vst_guest_wait){.fn = looked, .opaque = look, .at_once = true};
    vst_guest_get(qemu, name, &look->wait);
}

void vst_strays_close(struct vst_qemu *qemu)
{
    struct vst_stray_look *look;

    while ((look = LIST_FIRST(&qemu->looks)))
        look_free(look);
}

/* ---- what is not done with it ---- */

int vst_stray_check(const struct vst_qemu *qemu, const char *name, struct vst_error *ret_err)
{
    struct vst_place_job job;

    if (vst_root_get_job(qemu->root, name, &job, NULL) < 0 || !vst_place_job_is_stray(&job))
        return 0;
    return vst_stray_refuse(&job, name, ret_err);
}

int vst_stray_refuse(const struct vst_place_job *job, const char *name, struct vst_error *ret_err)
{
    char why[256];

    vst_stray_tell(job, why, sizeof(why));
    return vst_error_set(ret_err, VST_ERR_IN_DOUBT, "domain %s: %s", name, why);
}

void vst_stray_tell(const struct vst_place_job *job, char *ret_text, size_t room)
{
    snprintf(ret_text, room,
             "it was migrating%s%s and may run there, but the journal of this host does not know "
             "(virstream migrations)",
             job->to[0] ? " to " : "", job->to);
}

/* ---- the list ---- */

static void describe(const struct vst_place_job *job, const char *name, int64_t since,
                     struct vst_migration_info *ret_info)
{
    *ret_info = (struct vst_migration_info){.role = VST_MIGRATION_OUT,
                                            .in_doubt = true,
                                            .since = since,
                                            .phase = VST_MIGRATION_PHASE_HAND_OVER};
    snprintf(ret_info->token, sizeof(ret_info->token), "%s", job->token);
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", name);
    snprintf(ret_info->peer, sizeof(ret_info->peer), "%s", job->to[0] ? job->to : "?");
    snprintf(ret_info->reason, sizeof(ret_info->reason),
             "the journal of this host does not know it, so nobody asks; see where the guest runs, "
             "and say so: virstream migration resolve --guest-runs-on=source|destination %s",
             job->token);
}

size_t vst_strays_list(const struct vst_qemu *qemu, struct vst_migration_info *infos, size_t room)
{
    char **names = vst_root_list(qemu->root, NULL);
    size_t count = 0;

    for (char **name = names; name && *name; name++) {
        struct vst_glance glance;

        if (vst_place_glance(qemu->root, *name, &glance, NULL) == 0) {
            vst_definition_free(&glance.def);
            if (vst_place_job_is_stray(&glance.job) && (!infos || count < room)) {
                if (infos)
                    describe(&glance.job, *name, glance.since, &infos[count]);
                count++;
            }
        }
        free(*name);
    }
    free(names);
    return count;
}

/* ---- people's word ---- */

struct stray {
    struct vst_guest_wait wait;
    struct vst_op *op;
};

static void over(struct stray *stray, const struct vst_error *err)
{
    vst_guest_unwait(&stray->wait);
    if (err)
        vst_op_fail(stray->op, err);
    else
        vst_op_done(stray->op);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

static void mended(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)guest;
    over(opaque, err);
}

/* Whatever has become of it meanwhile: only a stray is meant. */
static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct stray *stray = opaque;
    struct vst_error err = {0};
    struct vst_place_job job;

    if (wait_err) {
        over(stray, wait_err);
    } else if (vst_place_get_job(vst_guest_place(guest), &job, &err) < 0) {
        over(stray, &err);
    } else if (!vst_place_job_is_stray(&job)) {
        over(stray, NULL); /* it was found running */
    } else {
        stray->wait = (struct vst_guest_wait){.fn = mended, .opaque = stray};
        vst_guest_mend(guest, VST_WORD_TAKEN_BACK, job.running, &stray->wait);
    }
}

static void take_back(struct vst_qemu *qemu, const char *name, struct vst_op *op)
{
    struct stray *stray = calloc(1, sizeof(*stray));
    struct vst_error err = {0};

    if (!stray) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, stray, free);
    vst_op_set_cancel(op, cancelled, stray);
    stray->op = op;
    stray->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = stray};
    vst_guest_get(qemu, name, &stray->wait);
}

/* Its name, or an empty one. */
static void find(const struct vst_qemu *qemu, const char *token, char ret_name[VST_NAME_MAX + 1])
{
    char **names = vst_root_list(qemu->root, NULL);

    ret_name[0] = '\0';
    for (char **name = names; name && *name; name++) {
        struct vst_place_job job;

        if (vst_root_get_job(qemu->root, *name, &job, NULL) == 0 && vst_place_job_is_stray(&job) &&
            job.token[0] && strcmp(job.token, token) == 0)
            snprintf(ret_name, VST_NAME_MAX + 1, "%s", *name);
        free(*name);
    }
    free(names);
}

bool vst_stray_order(struct vst_qemu *qemu, const char *token, enum vst_migration_order order,
                     const struct vst_caller *caller, struct vst_op *op)
{
    char name[VST_NAME_MAX + 1];
    struct vst_error err = {0};

    find(qemu, token, name);
    if (!name[0])
        return false;
    if (vst_owner_check("", token, caller, &err) < 0) {
        vst_op_fail(op, &err);
    } else if (order == VST_MIGRATION_RUNS_ON_SOURCE) {
        take_back(qemu, name, op);
    } else if (order == VST_MIGRATION_RUNS_ON_DESTINATION) {
        vst_qemu_control(qemu->conn, name, VST_DESTROY, op);
    } else {
        vst_error_set(&err, VST_ERR_STATE,
                      "%s: the journal of this host does not know the migration, so it can be "
                      "resolved, and no more than that",
                      name);
        vst_op_fail(op, &err);
    }
    return true;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of a guest; see describe.h. Nothing here asks QEMU, or waits.
 */
#include "describe.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "move.h"
#include "stray.h"

const char *vst_describe_uuid(const struct vst_definition *def)
{
    return def ? def->uuid : "00000000-0000-0000-0000-000000000000";
}

/* By the job of whoever has hold of it: most saves pause the guest, and the others leave it as it
 * was before. A copy that was left behind never runs. */
static bool is_paused(const struct vst_glance *glance)
{
    switch (glance->job.word) {
    case VST_WORD_AWAY:
        return true;
    case VST_WORD_SAVE:
    case VST_WORD_KEEP:
    case VST_WORD_STRAY:
        return glance->holder;
    case VST_WORD_LIVE:
    case VST_WORD_RESTORE:
    case VST_WORD_OUT:
        return glance->holder && !glance->job.running;
    default:
        return false;
    }
}

static enum vst_domain_state state_of(const struct vst_glance *glance)
{
    /* What arrives waits, until it is somebody's here. */
    if (vst_place_job_makes(&glance->job) || (glance->job.word == VST_WORD_IN && glance->exists))
        return VST_DOMAIN_STARTING;
    if (!glance->exists)
        return VST_DOMAIN_CRASHED;
    return is_paused(glance) ? VST_DOMAIN_PAUSED : VST_DOMAIN_RUNNING;
}

static void tell_seen(const char *name, const struct vst_glance *glance,
                      const struct vst_error *err, struct vst_domain_info *ret_info)
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
    snprintf(ret_info->uuid, sizeof(ret_info->uuid), "%s", vst_describe_uuid(def));
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
                 now.role == VST_MIGRATION_OUT ? "migrates to" : "comes from", now.peer,
                 vst_migration_phase_name(now.phase));
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
    else if (qemu->journal && job.word == VST_WORD_IN)
        snprintf(info->reason, sizeof(info->reason),
                 "it may be the whole copy of a guest that migrated here, but the journal of this "
                 "host knows nothing of that: destroy it if the guest runs elsewhere");
}

void vst_describe_guest(const struct vst_qemu *qemu, const struct vst_guest *guest,
                        const struct vst_error *err, struct vst_domain_info *ret_info)
{
    vst_guest_get_info(guest, ret_info);
    if (err)
        snprintf(ret_info->reason, sizeof(ret_info->reason), "%.*s",
                 (int)sizeof(ret_info->reason) - 1, err->text);
    tell_whereabouts(qemu, ret_info);
}

int vst_describe_place(const struct vst_qemu *qemu, const char *name, const struct vst_error *err,
                       struct vst_domain_info *ret_info)
{
    struct vst_glance glance;

    if (vst_place_glance(qemu->root, name, &glance, NULL) < 0)
        return -1;
    tell_seen(name, &glance, err, ret_info);
    vst_definition_free(&glance.def);
    tell_whereabouts(qemu, ret_info);
    return 0;
}

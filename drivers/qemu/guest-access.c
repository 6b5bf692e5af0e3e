/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What methods ask of a guest, and the rule that one job at a time has hold of it.
 */
#include "guest-private.h"

#include <stdio.h>
#include <string.h>

#include "stray.h"

int vst_guest_check_idle(const struct vst_guest *guest, struct vst_error *ret_err)
{
    if (vst_guest_is_untouchable(guest->fate))
        return vst_error_set(ret_err, VST_ERR_BUSY, "domain %s is being made", guest->def->name);
    if (vst_place_job_is_away(&guest->left))
        return vst_error_set(ret_err, VST_ERR_STATE,
                             "domain %s has migrated%s%s; the copy that was kept here never runs "
                             "again: destroy it when it is not needed any more",
                             guest->def->name, guest->left.to[0] ? " to " : "", guest->left.to);
    if (vst_place_job_is_stray(&guest->left) && guest->job.kind == VST_JOB_NONE)
        return vst_stray_refuse(&guest->left, guest->def->name, ret_err);
    if (vst_place_job_moves(&guest->left) && guest->job.kind == VST_JOB_NONE)
        return vst_error_set(ret_err, VST_ERR_IN_DOUBT,
                             "domain %s is being migrated, and only that may resume or end it "
                             "(virstream migrations)",
                             guest->def->name);
    if (guest->job.kind == VST_JOB_NONE)
        return 0;
    return vst_error_set(
        ret_err, VST_ERR_BUSY, "domain %s is busy: a %s is under way", guest->def->name,
        guest->job.kind == VST_JOB_MIGRATE ? "migration" : vst_job_kind_name(guest->job.kind));
}

int vst_guest_begin_job(struct vst_guest *guest, const struct vst_guest_job *job,
                        struct vst_error *ret_err)
{
    if (vst_guest_check_idle(guest, ret_err) < 0)
        return -1;
    guest->job = *job;
    return 0;
}

void vst_guest_go_on(struct vst_guest *guest, const struct vst_guest_job *job)
{
    guest->job = *job;
}

void vst_guest_end_job(struct vst_guest *guest)
{
    guest->job = (struct vst_guest_job){0};
    guest->left = (struct vst_place_job){0};
    if (guest->state == GUEST_READY && guest->fate != FATE_REMOVE)
        vst_place_clear_job(guest->place);
}

void vst_guest_leave(struct vst_guest *guest)
{
    guest->job = (struct vst_guest_job){0};
    vst_place_get_job(guest->place, &guest->left, NULL);
}

int vst_guest_take_name(struct vst_guest *guest, struct vst_error *ret_err)
{
    return vst_place_take_name(guest->place, ret_err);
}

void vst_guest_spare(struct vst_guest *guest)
{
    if (guest->fate == FATE_REMOVE)
        guest->fate = FATE_SPARE;
}

void vst_guest_let_run(struct vst_guest *guest)
{
    if (guest->fate == FATE_REMOVE)
        guest->fate = FATE_LEAVE;
}

void vst_guest_keep(struct vst_guest *guest)
{
    guest->fate = FATE_STAY;
}

struct vst_qmp *vst_guest_qmp(struct vst_guest *guest)
{
    return guest->qmp;
}

void vst_guest_forget(struct vst_guest *guest, const void *opaque)
{
    if (guest->qmp)
        vst_qmp_forget(guest->qmp, opaque);
}

struct vst_place *vst_guest_place(struct vst_guest *guest)
{
    return guest->place;
}

struct vst_console_end *vst_guest_console(struct vst_guest *guest)
{
    return guest->console;
}

const struct vst_definition *vst_guest_definition(const struct vst_guest *guest)
{
    return guest->def;
}

const char *vst_guest_version(const struct vst_guest *guest)
{
    return guest->version;
}

bool vst_guest_is_running(const struct vst_guest *guest)
{
    return guest->running;
}

bool vst_guest_expects_exit(const struct vst_guest *guest)
{
    return guest->fate == FATE_END;
}

bool vst_guest_is_mending(const struct vst_guest *guest)
{
    return guest->state >= GUEST_MENDING && guest->state <= GUEST_RESUMING;
}

bool vst_guest_lives(const struct vst_guest *guest)
{
    return guest->process && vst_process_id_exists(vst_process_get_id(guest->process));
}

void vst_guest_set_reason(struct vst_guest *guest, const char *reason)
{
    snprintf(guest->reason, sizeof(guest->reason), "%s", reason);
}

static enum vst_domain_state domain_state(const struct vst_guest *guest)
{
    if (vst_guest_is_made(guest->fate) || guest->state != GUEST_READY)
        return VST_DOMAIN_STARTING;
    return guest->running ? VST_DOMAIN_RUNNING : VST_DOMAIN_PAUSED;
}

void vst_guest_get_info(const struct vst_guest *guest, struct vst_domain_info *ret_info)
{
    const struct vst_definition *def = guest->def;

    *ret_info = (struct vst_domain_info){
        .state = domain_state(guest),
        .memory = def->memory_mib * 1024 * 1024,
        .vcpus = (unsigned)def->vcpus,
        .pid = guest->process ? vst_process_get_id(guest->process)->pid : 0,
        .since = guest->since,
        .job = guest->job.kind,
    };
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", def->name);
    snprintf(ret_info->uuid, sizeof(ret_info->uuid), "%s", def->uuid);
    snprintf(ret_info->reason, sizeof(ret_info->reason), "%s", guest->reason);
    if (guest->job.stream)
        vst_stream_get_progress(guest->job.stream, &ret_info->progress);
}

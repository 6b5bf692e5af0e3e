/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests: made, found, changed, described. What takes time is elsewhere.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MIB = 1024 * 1024 };

static void identify(struct vst_test_identity *identity, const struct vst_definition *def)
{
    snprintf(identity->name, sizeof(identity->name), "%s", def->name);
    snprintf(identity->uuid, sizeof(identity->uuid), "%s", def->uuid);
    identity->size = def->memory_mib * MIB;
}

int vst_test_guest_check_free(struct vst_test_host *host, const char *name, const char *uuid,
                              struct vst_error *ret_err)
{
    const struct vst_test_guest *guest;

    TAILQ_FOREACH(guest, &host->guests, link) {
        if (strcmp(guest->def->name, name) == 0)
            return vst_error_set(ret_err, VST_ERR_EXISTS, "there is a domain %s already", name);
        if (uuid && strcmp(guest->def->uuid, uuid) == 0)
            return vst_error_set(ret_err, VST_ERR_EXISTS, "%s: its UUID %s is that of %s", name,
                                 uuid, guest->def->name);
    }
    return 0;
}

struct vst_test_guest *vst_test_guest_new(struct vst_test_host *host, struct vst_definition **def,
                                          struct vst_error *ret_err)
{
    if (vst_test_guest_check_free(host, (*def)->name, (*def)->uuid, ret_err) < 0)
        return NULL;
    return vst_test_guest_add(host, def, ret_err);
}

struct vst_test_guest *vst_test_guest_add(struct vst_test_host *host, struct vst_definition **def,
                                          struct vst_error *ret_err)
{
    struct vst_test_guest *guest = calloc(1, sizeof(*guest));

    if (!guest) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    guest->console = vst_test_console_new(ret_err);
    if (!guest->console) {
        free(guest);
        return NULL;
    }
    identify(&guest->identity, *def);
    guest->def = *def;
    *def = NULL;
    guest->state = VST_DOMAIN_PAUSED;
    guest->since = (int64_t)time(NULL);
    TAILQ_INSERT_TAIL(&host->guests, guest, link);
    return guest;
}

void vst_test_guest_free(struct vst_test_host *host, struct vst_test_guest *guest)
{
    struct vst_test_watch *watch;

    while ((watch = LIST_FIRST(&guest->watches))) {
        LIST_REMOVE(watch, link);
        watch->gone(watch->opaque);
    }
    TAILQ_REMOVE(&host->guests, guest, link);
    vst_test_console_free(guest->console);
    vst_definition_free(&guest->def);
    free(guest);
}

void vst_test_guest_watch(struct vst_test_guest *guest, struct vst_test_watch *watch)
{
    LIST_INSERT_HEAD(&guest->watches, watch, link);
}

struct vst_test_guest *vst_test_guest_find(struct vst_test_host *host, const char *name_or_uuid,
                                           struct vst_error *ret_err)
{
    struct vst_test_guest *guest;

    TAILQ_FOREACH(guest, &host->guests, link)
        if (strcmp(guest->def->name, name_or_uuid) == 0)
            return guest;
    TAILQ_FOREACH(guest, &host->guests, link)
        if (strcasecmp(guest->def->uuid, name_or_uuid) == 0)
            return guest;
    vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain named %s", name_or_uuid);
    return NULL;
}

struct vst_test_guest *vst_test_guest_find_idle(struct vst_test_host *host, const char *name,
                                                struct vst_error *ret_err)
{
    struct vst_test_guest *guest = vst_test_guest_find(host, name, ret_err);

    if (!guest || guest->job == VST_JOB_NONE)
        return guest;
    vst_error_set(ret_err, VST_ERR_BUSY, "domain %s is busy: a %s is under way", name,
                  vst_job_kind_name(guest->job));
    return NULL;
}

void vst_test_guest_set_job(struct vst_test_guest *guest, enum vst_job_kind job,
                            struct vst_stream *stream)
{
    guest->job = job;
    guest->stream = stream;
}

void vst_test_guest_set_state(struct vst_test_guest *guest, enum vst_domain_state state)
{
    guest->state = state;
    vst_test_console_run(guest->console, state == VST_DOMAIN_RUNNING);
}

void vst_test_guest_tell(struct vst_test_host *host, const struct vst_test_guest *guest,
                         enum vst_event_kind kind, const char *reason)
{
    vst_driver_event(host->conn, kind, guest->identity.name, guest->identity.uuid, reason);
}

void vst_test_guest_run(struct vst_test_host *host, struct vst_test_guest *guest, bool running)
{
    enum vst_domain_state state = running ? VST_DOMAIN_RUNNING : VST_DOMAIN_PAUSED;

    if (guest->state == state)
        return;
    vst_test_guest_set_state(guest, state);
    vst_test_guest_tell(host, guest, running ? VST_EVENT_RESUMED : VST_EVENT_SUSPENDED, "");
    if (running && guest->powerdown)
        vst_test_guest_end(host, guest);
}

void vst_test_guest_end(struct vst_test_host *host, struct vst_test_guest *guest)
{
    vst_test_guest_tell(host, guest, VST_EVENT_STOPPED, "");
    vst_test_guest_free(host, guest);
}

void vst_test_guest_get_info(const struct vst_test_guest *guest, struct vst_domain_info *ret_info)
{
    *ret_info = (struct vst_domain_info){
        .state = guest->state,
        .memory = guest->identity.size,
        .vcpus = (unsigned)guest->def->vcpus,
        .since = guest->since,
        .job = guest->job,
    };
    memcpy(ret_info->name, guest->identity.name, sizeof(ret_info->name));
    memcpy(ret_info->uuid, guest->identity.uuid, sizeof(ret_info->uuid));
    if (guest->stream)
        vst_stream_get_progress(guest->stream, &ret_info->progress);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking QEMU what it knows. The process is bounded in time, and gone when the answer is there.
 */
#include "probe.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/fsm.h"
#include "core/json.h"
#include "migration.h"

#define PROBE_STATES(X)                                                              \
    X(PROBE_ASKING, "reply to query-machines", "a QEMU without a machine is asked")  \
    X(PROBE_DEVICES, "reply to qom-list-types", "and for its devices")               \
    X(PROBE_POST_COPY, "reply to migrate-set-capabilities", "and whether it is let") \
    X(PROBE_ANSWERED, "nothing", "the answers are there")                            \
    X(PROBE_FAILED, "somebody who asks again", "this QEMU cannot be asked; the error says why")
VST_FSM(probe, PROBE_STATES)

struct vst_probe {
    struct vst_qemu *qemu;
    enum probe_state state;
    struct vst_process *process;
    struct vst_qmp *qmp;
    int leash; /* while it is open the process waits for a migration; else it ends */
    char version[32];
    struct json_object *machines; /* as QEMU listed them */
    struct json_object *devices;
    struct vst_error post_copy; /* why it is not possible here; or not set */
    struct vst_error error;
    LIST_HEAD(, vst_probe_wait) waits;
    struct vst_turn turn;
};

static void enter(struct vst_probe *probe, enum probe_state state)
{
    vst_fsm_trace(probe, "qemu", probe->state, state);
    probe->state = state;
}

void vst_probe_unwait(struct vst_probe_wait *wait)
{
    if (wait->waiting)
        LIST_REMOVE(wait, link);
    wait->waiting = false;
}

static bool is_asking(const struct vst_probe *probe)
{
    return probe->state <= PROBE_POST_COPY;
}

/* Tells everybody who waits; each may ask again, or go. */
static void tell(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_probe *probe = opaque;
    bool failed = probe->state == PROBE_FAILED;
    struct vst_probe_wait *wait;

    (void)fd, (void)what;
    while (!is_asking(probe) && (wait = LIST_FIRST(&probe->waits))) {
        vst_probe_unwait(wait);
        wait->fn(wait->opaque, failed ? NULL : probe, failed ? &probe->error : NULL);
    }
}

static void stop_qemu(struct vst_probe *probe)
{
    if (probe->qmp)
        vst_qmp_forget(probe->qmp, probe);
    vst_qmp_free(&probe->qmp);
    vst_close(&probe->leash);
    if (probe->process)
        vst_process_kill(probe->process, SIGKILL, NULL);
    vst_process_free(&probe->process);
}

static void finish(struct vst_probe *probe, const struct vst_error *err)
{
    if (!is_asking(probe))
        return;
    stop_qemu(probe);
    if (err) {
        vst_error_copy(&probe->error, err);
        vst_error_prefix(&probe->error, "QEMU cannot be asked what it supports");
    }
    enter(probe, err ? PROBE_FAILED : PROBE_ANSWERED);
    vst_turn_schedule(&probe->turn);
}

/* A QEMU that waits for a migration tries whether the kernel lets it. */
static void tried_post_copy(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_probe *probe = opaque;

    (void)value;
    if (err && err->code == VST_ERR_LOST)
        return; /* closed() comes */
    if (err)
        probe->post_copy = *err;
    finish(probe, NULL);
}

static void try_post_copy(struct vst_probe *probe)
{
    static const char *const on[] = {"postcopy-ram", NULL};
    struct vst_error err = {0};

    enter(probe, PROBE_POST_COPY);
    if (vst_qmp_execute(probe->qmp, "migrate-set-capabilities",
                        (struct vst_qmp_reply){tried_post_copy, probe}, &err, "capabilities",
                        vst_migration_capabilities(on), NULL) < 0)
        finish(probe, &err);
}

/* Keeps a list; false: there is none, and the probe may have failed. */
static bool take_list(struct vst_probe *probe, const char *command, struct json_object *value,
                      const struct vst_error *err, struct json_object **ret_list)
{
    struct vst_error bad = {0};

    if (err && err->code == VST_ERR_LOST)
        return false; /* closed() comes */
    if (!err && !json_object_is_type(value, json_type_array)) {
        vst_error_set(&bad, VST_ERR_PROTOCOL, "%s gave no list", command);
        err = &bad;
    }
    if (err)
        finish(probe, err);
    else
        *ret_list = json_object_get(value);
    return !err;
}

static void have_devices(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_probe *probe = opaque;

    if (take_list(probe, "qom-list-types", value, err, &probe->devices))
        try_post_copy(probe);
}

static void have_machines(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_probe *probe = opaque;
    struct vst_error failed = {0};

    if (!take_list(probe, "query-machines", value, err, &probe->machines))
        return;
    enter(probe, PROBE_DEVICES);
    if (vst_qmp_execute(probe->qmp, "qom-list-types", (struct vst_qmp_reply){have_devices, probe},
                        &failed, "implements", json_object_new_string("device"), "abstract",
                        json_object_new_boolean(false), NULL) < 0)
        finish(probe, &failed);
}

static void ready(void *opaque, const char *version)
{
    struct vst_probe *probe = opaque;
    struct vst_error err = {0};

    snprintf(probe->version, sizeof(probe->version), "%s", version);
    if (vst_qmp_execute(probe->qmp, "query-machines", (struct vst_qmp_reply){have_machines, probe},
                        &err, NULL) < 0)
        finish(probe, &err);
}

/* A QEMU that closes its monitor is about to end, and its end says why. */
static void closed(void *opaque, const struct vst_error *err)
{
    struct vst_probe *probe = opaque;

    if (err->code == VST_ERR_DRIVER)
        vst_process_kill(probe->process, SIGKILL, NULL);
    else
        finish(probe, err);
}

static void gone(void *opaque, const struct vst_error *err)
{
    finish(opaque, err);
}

/* QEMU's words and its identity go into memory: nobody adopts a probe. If we are killed it ends,
 * as an incoming migration does that breaks off before its first byte. */
static int spawn(struct vst_probe *probe, const int fds[2], struct vst_error *ret_err)
{
    static const char *const words[] = {
        "qemu-probe",
        "-M",
        "none",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-S",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-chardev",
        "socket,id=monitor,fd=3",
        "-mon",
        "chardev=monitor,mode=control",
        "-incoming",
        "fd:4",
        NULL,
    };
    struct vst_process_cb cb = {gone, probe};
    struct vst_spawn how = {
        .program = probe->qemu->program,
        .words = (char **)words,
        .fds = fds,
        .fd_count = 2,
        .log_fd = memfd_create("probe-log", MFD_CLOEXEC),
        .id_fd = memfd_create("probe-id", MFD_CLOEXEC),
        .user = probe->qemu->user,
    };

    if (how.log_fd < 0 || how.id_fd < 0)
        vst_error_system(ret_err, errno, "a file in memory");
    else
        probe->process = vst_process_spawn(probe->qemu->conn->base, "probe", &how, &cb, ret_err);
    vst_close(&how.log_fd);
    vst_close(&how.id_fd);
    return probe->process ? 0 : -1;
}

static int start_qemu(struct vst_probe *probe, struct vst_error *ret_err)
{
    static const struct vst_qmp_cb cb = {.ready = ready, .closed = closed};
    int ours = -1, theirs[2] = {-1, -1}, status = -1;

    if (vst_migration_sockets(&ours, &theirs[0], ret_err) == 0 &&
        vst_migration_sockets(&probe->leash, &theirs[1], ret_err) == 0)
        status = spawn(probe, theirs, ret_err);
    vst_close(&theirs[0]);
    vst_close(&theirs[1]);
    if (status == 0) {
        probe->qmp = vst_qmp_new(probe->qemu->conn->base, &ours, &cb, probe, ret_err);
        status = probe->qmp ? 0 : -1;
    }
    vst_close(&ours);
    return status;
}

static struct vst_probe *probe_new(struct vst_qemu *qemu)
{
    struct vst_probe *probe = calloc(1, sizeof(*probe));

    if (!probe)
        return NULL;
    probe->qemu = qemu;
    probe->leash = -1;
    probe->state = PROBE_FAILED; /* until it asks */
    vst_turn_init(&probe->turn, qemu->conn->base, tell, probe);
    return probe;
}

static void forget_answers(struct vst_probe *probe)
{
    json_object_put(probe->machines);
    json_object_put(probe->devices);
    probe->machines = probe->devices = NULL;
    probe->post_copy = probe->error = (struct vst_error){0};
}

int vst_probe_get(struct vst_qemu *qemu, struct vst_probe_wait *wait, struct vst_error *ret_err)
{
    struct vst_probe *probe = qemu->probe ? qemu->probe : (qemu->probe = probe_new(qemu));
    struct vst_error err = {0};

    if (!probe)
        return vst_error_no_memory(ret_err);
    LIST_INSERT_HEAD(&probe->waits, wait, link);
    wait->waiting = true;
    if (probe->state == PROBE_FAILED) {
        forget_answers(probe);
        enter(probe, PROBE_ASKING);
        if (start_qemu(probe, &err) < 0)
            finish(probe, &err);
    } else if (probe->state == PROBE_ANSWERED) {
        vst_turn_schedule(&probe->turn);
    }
    return 0;
}

void vst_probe_free(struct vst_probe **slot)
{
    struct vst_probe *probe = *slot;

    *slot = NULL;
    if (!probe)
        return;
    stop_qemu(probe);
    vst_turn_cancel(&probe->turn);
    forget_answers(probe);
    free(probe);
}

/* ---- the answers ---- */

static struct json_object *find_machine(const struct vst_probe *probe, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(probe->machines); i++) {
        struct json_object *machine = json_object_array_get_idx(probe->machines, i);

        if (vst_json_says(machine, "name", name) || vst_json_says(machine, "alias", name))
            return machine;
    }
    return NULL;
}

bool vst_probe_knows_machine(const struct vst_probe *probe, const char *name)
{
    return find_machine(probe, name) != NULL;
}

int64_t vst_probe_most_cpus(const struct vst_probe *probe, const char *name)
{
    struct json_object *machine = find_machine(probe, name), *most;

    if (!machine || !json_object_object_get_ex(machine, "cpu-max", &most))
        return 0;
    return json_object_get_int64(most);
}

static bool is_type(const struct vst_probe *probe, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(probe->devices); i++) {
        struct json_object *type = json_object_array_get_idx(probe->devices, i);

        if (vst_json_says(type, "name", name))
            return true;
    }
    return false;
}

bool vst_probe_knows_cpu(const struct vst_probe *probe, const char *cpu)
{
    char type[80];

    snprintf(type, sizeof(type), "%.*s-x86_64-cpu", (int)strcspn(cpu, ","), cpu);
    return is_type(probe, type);
}

/* Names for `-device` that QEMU has besides those of the types: softmmu/qdev-monitor.c. */
static bool is_alias(const char *name)
{
    static const char *const aliases[] = {"ac97", "ahci", "e1000-82540em", "es1370", "lsi", NULL};

    for (const char *const *alias = aliases; *alias; alias++)
        if (strcmp(*alias, name) == 0)
            return true;
    return strncmp(name, "virtio-", strlen("virtio-")) == 0;
}

bool vst_probe_knows_device(const struct vst_probe *probe, const char *name)
{
    return is_type(probe, name) || is_alias(name);
}

const struct vst_error *vst_probe_post_copy(const struct vst_probe *probe)
{
    return vst_error_is_set(&probe->post_copy) ? &probe->post_copy : NULL;
}

const char *vst_probe_version(const struct vst_probe *probe)
{
    return probe->version;
}

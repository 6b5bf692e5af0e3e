/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's probe answers first, and if need be QEMU says where it keeps firmware; then a job of the
 * worker looks at the files and the memory; the loop adds what it knows itself.
 */
#include "check.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "core/json.h"
#include "core/reasons.h"
#include "core/worker.h"
#include "firmware.h"
#include "probe.h"

#define CHECK_STATES(X)                                             \
    X(CHECK_PROBING, "the probe", "what QEMU can do")               \
    X(CHECK_ASKING, "the end of a QEMU", "where firmware is found") \
    X(CHECK_LOOKING, "the worker", "whether files and memory are there")
VST_FSM(check, CHECK_STATES)

struct vst_check {
    struct vst_job job; /* from here to `worker` the thread's, while it looks */
    struct vst_definition *def;
    enum vst_disks disks;
    struct vst_disk_fact *facts; /* of its disks; NULL: nothing is known */
    char *folders;               /* of QEMU, for firmware; NULL: it was not asked */
    struct vst_reasons reasons;
    bool restores;  /* and so takes the name last: see restore.c */
    bool post_copy; /* is to be possible */
    struct vst_worker *worker;
    struct vst_qemu *qemu;
    enum check_state state;
    struct vst_firmware_question *question;
    const struct vst_probe *probe; /* NULL: it has not answered yet, or cannot */
    struct vst_error unknown;      /* why it cannot */
    struct vst_probe_wait wait;
    void (*fn)(void *opaque, const struct vst_error *err);
    void *opaque;
};

/* ---- on the thread ---- */

#define block(check, ...) vst_reasons_add(&(check)->reasons, __VA_ARGS__)

static void block_file(void *opaque, const struct vst_error *err)
{
    struct vst_check *check = opaque;

    block(check, "%s", err->text);
}

/* MemAvailable of /proc/meminfo, in MiB; 0 if it cannot be told. */
static uint64_t memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    fclose(file);
    return kib / 1024;
}

static void look(struct vst_job *job)
{
    struct vst_check *check = (struct vst_check *)job;
    uint64_t available = memory_available();

    if (available && check->def->memory_mib > available)
        block(check, "the guest needs %" PRIu64 " MiB of memory, %" PRIu64 " are available",
              check->def->memory_mib, available);
    vst_files_check(check->def, check->disks, block_file, check);
    if (check->folders)
        vst_firmware_check(check->def, check->folders, block_file, check);
    if (check->facts)
        vst_disks_check(check->def, check->facts, check->disks, block_file, check);
}

static void dispose(struct vst_job *job)
{
    struct vst_check *check = (struct vst_check *)job;

    vst_definition_free(&check->def);
    free(check->facts);
    free(check->folders);
    free(check);
}

/* ---- on the loop ----
 *
 * An image may come straight from where it is being made: by the time the new guest runs, that one
 * has let go of its name and of its disks.
 */

/* The check is gone before anybody is told. */
static void tell(struct vst_check *check, const struct vst_error *err)
{
    void (*fn)(void *opaque, const struct vst_error *err) = check->fn;
    void *opaque = check->opaque;

    vst_worker_put(&check->worker);
    dispose(&check->job);
    fn(opaque, err);
}

/* QEMU itself says what else is wrong with raw arguments, but only when it is started. */
static void check_device(struct vst_check *check, const char *value)
{
    static const char key[] = "driver=";
    struct json_object *json = *value == '{' ? json_tokener_parse(value) : NULL;
    const char *name = value;
    char word[64];

    if (strncmp(name, key, strlen(key)) == 0)
        name += strlen(key);
    if (json)
        name = vst_json_string(json, "driver");
    if (!name)
        name = "";
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(name, ","), name);
    if (*word && *word != '{' && !vst_probe_knows_device(check->probe, word))
        block(check, "QEMU %s of this host has no device %s", vst_probe_version(check->probe),
              word);
    json_object_put(json);
}

static void check_cpus(struct vst_check *check)
{
    const struct vst_definition *def = check->def;
    int64_t most = vst_probe_most_cpus(check->probe, def->machine);

    if (most && (int64_t)def->vcpus > most)
        block(check, "the guest has %" PRIu64 " CPUs, and the machine type %s %" PRId64 " at most",
              (uint64_t)def->vcpus, def->machine, most);
    if (def->cpu && !vst_probe_knows_cpu(check->probe, def->cpu))
        block(check, "QEMU %s of this host has no CPU model %.*s", vst_probe_version(check->probe),
              (int)strcspn(def->cpu, ","), def->cpu);
}

static void check_devices(struct vst_check *check)
{
    for (char **arg = check->def->args; arg && arg[0] && arg[1]; arg++)
        if (strcmp(arg[0], "-device") == 0)
            check_device(check, arg[1]);
}

static void check_qemu(struct vst_check *check)
{
    if (!vst_probe_knows_machine(check->probe, check->def->machine))
        block(check, "QEMU %s of this host has no machine type %s", vst_probe_version(check->probe),
              check->def->machine);
    check_cpus(check);
    check_devices(check);
    if (check->post_copy && vst_probe_post_copy(check->probe))
        block(check,
              "post-copy is not possible on this host, for want of userfaultfd (%s; see the sysctl "
              "vm.unprivileged_userfaultfd)",
              vst_probe_post_copy(check->probe)->text);
}

static enum vst_code code_of(const struct vst_check *check, bool taken)
{
    if (check->reasons.count > 1)
        return VST_ERR_INCOMPATIBLE;
    if (vst_error_is_set(&check->unknown))
        return check->unknown.code;
    return taken ? VST_ERR_EXISTS : VST_ERR_INCOMPATIBLE;
}

static void looked(struct vst_job *job)
{
    struct vst_check *check = (struct vst_check *)job;
    struct vst_root *root = check->qemu->root;
    bool leaving = check->restores && vst_root_is_leaving(root, check->def);
    bool taken = !leaving && vst_root_has(root, check->def->name);
    struct vst_error err = {0};

    if (taken) {
        block(check, "a domain named %s is there already", check->def->name);
    } else if (check->restores && vst_root_check_uuid(root, check->def, NULL, &err) < 0) {
        block(check, "%s", err.text);
        taken = err.code == VST_ERR_EXISTS;
        err = (struct vst_error){0};
    }
    if (check->probe)
        check_qemu(check);
    else
        block(check, "%s", check->unknown.text);
    vst_reasons_tell(&check->reasons, code_of(check, taken), &err);
    tell(check, check->reasons.count ? &err : NULL);
}

static void enter(struct vst_check *check, enum check_state state)
{
    vst_fsm_trace(check, check->def->name, check->state, state);
    check->state = state;
}

static void begin_to_look(struct vst_check *check)
{
    enter(check, CHECK_LOOKING);
    vst_worker_submit(check->worker, &check->job);
}

static void told_folders(void *opaque, const char *folders)
{
    struct vst_check *check = opaque;

    check->folders = strdup(folders); /* without memory as if it had not been asked */
    vst_firmware_question_free(&check->question);
    begin_to_look(check);
}

static void probed(void *opaque, const struct vst_probe *probe, const struct vst_error *err)
{
    struct vst_check *check = opaque;

    check->probe = probe;
    if (err)
        check->unknown = *err;
    else if (vst_firmware_is_named(check->def))
        check->question = vst_firmware_ask(check->qemu, told_folders, check, NULL);
    if (check->question)
        enter(check, CHECK_ASKING);
    else
        begin_to_look(check);
}

struct vst_check *vst_check_start(struct vst_qemu *qemu, const struct vst_definition *saved,
                                  const struct vst_definition *def, enum vst_disks disks,
                                  void (*fn)(void *opaque, const struct vst_error *err),
                                  void *opaque, struct vst_error *ret_err)
{
    struct vst_check *check = calloc(1, sizeof(*check));

    if (!check) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    check->job = (struct vst_job){.work = look, .done = looked, .dispose = dispose};
    check->restores = saved;
    check->disks = saved && vst_root_is_leaving(qemu->root, saved) ? VST_DISKS_SHARED : disks;
    check->qemu = qemu;
    check->fn = fn;
    check->opaque = opaque;
    check->def = vst_definition_copy(def, ret_err);
    check->worker = check->def ? vst_worker_get(qemu->conn->base, ret_err) : NULL;
    check->wait = (struct vst_probe_wait){.fn = probed, .opaque = check};
    if (check->worker && vst_probe_get(qemu, &check->wait, ret_err) == 0)
        return check;
    vst_worker_put(&check->worker);
    dispose(&check->job);
    return NULL;
}

void vst_check_post_copy(struct vst_check *check)
{
    check->post_copy = true;
}

void vst_check_add(struct vst_check *check, const struct vst_error *err)
{
    block(check, "%s", err->text);
}

int vst_check_sizes(struct vst_check *check, struct vst_disk_size *const *sizes,
                    struct vst_error *ret_err)
{
    check->facts = vst_disk_facts(check->def, sizes);
    return check->facts ? 0 : vst_error_no_memory(ret_err);
}

static void leave_out(char **path, const char *file)
{
    if (!*path || strcmp(*path, file) != 0)
        return;
    free(*path);
    *path = NULL;
}

/* Nobody learns by us whether it is there. */
static void leave_file_out(struct vst_definition *def, const char *file)
{
    leave_out(&def->firmware, file);
    leave_out(&def->kernel, file);
    leave_out(&def->initrd, file);
    if (def->console)
        leave_out(&def->console->log, file);
    for (struct vst_disk **disk = def->disks; disk && *disk; disk++)
        leave_out(&(*disk)->file, file);
}

void vst_check_object(struct vst_check *check, const struct vst_objection *objections)
{
    for (; objections && objections->text; objections++) {
        block(check, "%s", objections->text);
        if (objections->file)
            leave_file_out(check->def, objections->file);
    }
}

void vst_check_cancel(struct vst_check **slot)
{
    struct vst_check *check = *slot;
    struct vst_worker *worker;

    *slot = NULL;
    if (!check)
        return;
    worker = check->worker;
    vst_probe_unwait(&check->wait);
    vst_firmware_question_free(&check->question);
    if (check->state == CHECK_LOOKING)
        vst_job_abandon(&check->job);
    else
        dispose(&check->job);
    vst_worker_put(&worker);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest from nothing: a place, its disks and logs opened by the worker, sockets for monitor and
 * console, and a QEMU that is held. From the greeting on it is like an adopted one.
 */
#include "guest-private.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "command-line.h"
#include "core/worker.h"
#include "files.h"
#include "move.h"
#include "stray.h"

/* Opens what the definition names, on a thread. It has a definition of its own, so that the guest
 * need not wait for a dead disk in order to go. */
struct guest_files {
    struct vst_job job;
    struct vst_guest *guest; /* NULL: nobody waits any more */
    struct vst_worker *worker;
    struct vst_definition *def;
    struct vst_files *files;
    struct vst_error error;
};

static void files_open(struct vst_job *job)
{
    struct guest_files *files = (struct guest_files *)job;

    files->files = vst_files_open(files->def, &files->error);
}

static void files_dispose(struct vst_job *job)
{
    struct guest_files *files = (struct guest_files *)job;

    vst_files_free(&files->files);
    vst_definition_free(&files->def);
    free(files);
}

void vst_guest_drop_files(struct vst_guest *guest)
{
    struct guest_files *files = guest->files;
    struct vst_worker *worker;

    guest->files = NULL;
    if (!files)
        return;
    worker = files->worker;
    vst_job_abandon(&files->job);
    vst_worker_put(&worker);
}

/* QEMU opens these by itself, as the user that it runs as. */
static void list_must_read(const struct vst_definition *def, const char *ret_list[4])
{
    size_t n = 0;

    if (def->kernel)
        ret_list[n++] = def->kernel;
    if (def->initrd)
        ret_list[n++] = def->initrd;
    if (def->firmware && def->firmware[0] == '/')
        ret_list[n++] = def->firmware;
    ret_list[n] = NULL;
}

static int add_socket(struct vst_guest *guest, struct vst_files *files, const char *name,
                      enum vst_qemu_fd number, struct vst_error *ret_err)
{
    int fd = vst_place_listen(guest->place, name, ret_err);

    if (fd < 0)
        return -1;
    vst_files_set(files, number, &fd);
    return 0;
}

static int spawn(struct vst_guest *guest, struct vst_files *files, struct vst_error *ret_err)
{
    struct vst_process_cb cb = vst_guest_process_cb(guest);
    struct vst_qemu *qemu = guest->qemu;
    const char *must_read[4];
    struct vst_spawn how = {
        .program = qemu->program,
        .words = vst_command_line(guest->def, qemu->program, guest->incoming, ret_err),
        .fds = files->fds,
        .fd_count = files->count,
        .log_fd = vst_place_new_log(guest->place, ret_err),
        .id_fd = vst_place_new_id(guest->place, ret_err),
        .must_read = must_read,
        .user = qemu->user,
    };

    list_must_read(guest->def, must_read);
    /* The sockets listen already. When it is being started nothing else is left to go wrong. */
    if (how.words && how.log_fd >= 0 && how.id_fd >= 0 && vst_guest_connect(guest, ret_err) == 0)
        guest->process = vst_process_spawn(qemu->conn->base, guest->def->name, &how, &cb, ret_err);
    vst_command_line_free(&how.words);
    vst_close(&how.log_fd);
    vst_close(&how.id_fd);
    return guest->process ? 0 : -1;
}

static int start_qemu(struct vst_guest *guest, struct vst_files *files, struct vst_error *ret_err)
{
    if (add_socket(guest, files, "monitor", VST_QEMU_FD_MONITOR, ret_err) < 0)
        return -1;
    if (guest->def->console &&
        add_socket(guest, files, "console", VST_QEMU_FD_CONSOLE, ret_err) < 0)
        return -1;
    guest->since = time(NULL);
    vst_guest_enter(guest, GUEST_GREETING);
    return spawn(guest, files, ret_err);
}

static void files_opened(struct vst_job *job)
{
    struct guest_files *files = (struct guest_files *)job;
    struct vst_guest *guest = files->guest;
    struct vst_error err = files->error;

    guest->files = NULL;
    if (files->files && start_qemu(guest, files->files, &err) == 0)
        err = (struct vst_error){0};
    vst_worker_put(&files->worker);
    files_dispose(job);
    if (!vst_error_is_set(&err))
        return;
    vst_guest_end(guest, &err);
}

static int open_files(struct vst_guest *guest, struct vst_error *ret_err)
{
    struct guest_files *files = calloc(1, sizeof(*files));

    if (!files)
        return vst_error_no_memory(ret_err);
    files->job =
        (struct vst_job){.work = files_open, .done = files_opened, .dispose = files_dispose};
    files->guest = guest;
    files->def = vst_definition_copy(guest->def, ret_err);
    files->worker = files->def ? vst_worker_get(guest->qemu->conn->base, ret_err) : NULL;
    if (!files->worker) {
        files_dispose(&files->job);
        return -1;
    }
    guest->files = files;
    vst_worker_submit(files->worker, &files->job);
    return 0;
}

static enum vst_place_word word_of(enum vst_job_kind kind)
{
    if (kind == VST_JOB_MIGRATE)
        return VST_WORD_IN;
    return kind == VST_JOB_RESTORE ? VST_WORD_RESTORE : VST_WORD_START;
}

/* What is left of a guest makes way for another; but not that of one which may run elsewhere. */
static int check_remains(struct vst_guest *guest, struct vst_error *ret_err)
{
    const char *name = guest->def->name;
    bool arrives = guest->job.kind == VST_JOB_MIGRATE;

    if (arrives && vst_move_check_name(guest->qemu, name, guest->job.token, ret_err) < 0)
        return -1; /* another migration may hold it, this one does */
    if (vst_root_has(guest->qemu->root, name))
        return 0; /* it is not only what is left */
    if (!arrives && vst_move_check(guest->qemu, name, ret_err) < 0)
        return -1;
    return vst_stray_check(guest->qemu, name, ret_err);
}

/* A guest that migrates to its own host under another name has its UUID twice, for that long. */
static int check_uuid(struct vst_guest *guest, struct vst_error *ret_err)
{
    const char *but = guest->job.kind == VST_JOB_MIGRATE
                          ? vst_move_leaves_as(guest->qemu, guest->job.token)
                          : NULL;

    return vst_root_check_uuid(guest->qemu->root, guest->def, but, ret_err);
}

/*
 * A restore takes the name last: the guest that the image is made of may still have it. The UUID is
 * looked at before anything makes way, and again when others can see whose it is now.
 */
static int make_place(struct vst_guest *guest, struct vst_error *ret_err)
{
    bool restored = guest->job.kind == VST_JOB_RESTORE;

    if (check_remains(guest, ret_err) < 0 || check_uuid(guest, ret_err) < 0 ||
        (restored ? vst_place_make : vst_place_create)(guest->qemu->root, guest->def, &guest->place,
                                                       ret_err) < 0 ||
        check_uuid(guest, ret_err) < 0)
        return -1;
    return vst_place_set_move(guest->place, word_of(guest->job.kind), guest->job.token, false,
                              ret_err);
}

int vst_guest_spawn(struct vst_qemu *qemu, struct vst_definition **def, bool incoming,
                    const struct vst_guest_job *job, struct vst_guest_wait *wait,
                    struct vst_guest **ret_guest, struct vst_error *ret_err)
{
    struct vst_guest *guest = vst_guest_new(qemu);

    if (!guest)
        return vst_error_no_memory(ret_err);
    guest->def = *def;
    guest->incoming = incoming;
    guest->fate = FATE_REMOVE;
    guest->job = *job;
    if (make_place(guest, ret_err) < 0 || open_files(guest, ret_err) < 0) {
        guest->def = NULL; /* still the caller's */
        vst_place_remove(&guest->place);
        vst_guest_destroy(guest);
        return -1;
    }
    *def = NULL;
    LIST_INSERT_HEAD(&qemu->guests, guest, link);
    LIST_INSERT_HEAD(&guest->waits, wait, link);
    wait->waiting = true;
    *ret_guest = guest;
    return 0;
}

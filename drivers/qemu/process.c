/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Having one process started by the worker, watching it, and saying why it ended.
 */
#include "process.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/trace.h"
#include "core/worker.h"
#include "last-words.h"

/* Starts it, on a thread; from here to `error` that thread's, while it does. */
struct birth {
    struct vst_job job;
    struct vst_spawn *spawn;
    struct vst_process_id id;
    int pidfd;
    struct vst_error error;
    /* The loop's. */
    struct vst_process *process;
    struct vst_worker *worker;
    int signal; /* for the process, as soon as it is there; 0: none */
};

struct vst_process {
    struct event_base *base;
    struct birth *birth; /* NULL: it has been started */
    char *name;
    struct vst_process_id id;
    struct vst_process_cb cb;
    int pidfd; /* readable when it has ended */
    int log_fd;
    struct event ended;
};

/* "qemu NAME: " is still to come before it. */
static void blame(const struct vst_process *process, enum vst_code code, struct vst_error *ret_err)
{
    char words[sizeof(ret_err->text)];

    vst_last_words(process->log_fd, words,
                   sizeof(words) - strlen(process->name) - sizeof("qemu : "));
    vst_error_set(ret_err, code, "%s",
                  words[0] ? words : "ended without a word (killed, or crashed)");
    vst_error_where(ret_err, VST_SIDE_QEMU, NULL);
}

static void on_ended(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_process *process = opaque;
    struct vst_error why = {0};

    (void)fd;
    (void)what;
    blame(process, VST_ERR_DRIVER, &why);
    vst_error_prefix(&why, "qemu %s", process->name);
    vst_trace(VST_TRACE_PROCESS, "process %d ended: %s", (int)process->id.pid, why.text);
    process->cb.gone(process->cb.opaque, &why);
}

/* ---- making and freeing ---- */

static struct vst_process *new_process(const char *name, int log_fd,
                                       const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = calloc(1, sizeof(*process));

    if (!process) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    process->cb = *cb;
    process->pidfd = -1;
    process->name = strdup(name);
    process->log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 0);
    if (process->name && process->log_fd >= 0)
        return process;
    if (!process->name)
        vst_error_no_memory(ret_err);
    else
        vst_error_system(ret_err, errno, "log of %s", name);
    vst_process_free(&process);
    return NULL;
}

static int watch(struct vst_process *process, struct event_base *base, struct vst_error *ret_err)
{
    event_assign(&process->ended, base, process->pidfd, EV_READ, on_ended, process);
    return event_add(&process->ended, NULL) < 0 ? vst_error_no_memory(ret_err) : 0;
}

/* The descriptor comes first: from then on the number stands for one process, and we look which. */
static int find(struct vst_process *process, struct vst_error *ret_err)
{
    process->pidfd = pidfd_open(process->id.pid, PIDFD_NONBLOCK);
    if (process->pidfd < 0 && errno != ESRCH)
        return vst_error_system(ret_err, errno, "process %d", (int)process->id.pid);
    if (process->pidfd >= 0 && vst_process_id_exists(&process->id))
        return 0;
    blame(process, VST_ERR_NOT_FOUND, ret_err);
    return -1;
}

struct vst_process *vst_process_adopt(struct event_base *base, const char *name,
                                      const struct vst_process_id *id, int log_fd,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = new_process(name, log_fd, cb, ret_err);

    if (!process)
        return NULL;
    process->id = *id;
    if (find(process, ret_err) < 0 || watch(process, base, ret_err) < 0) {
        vst_error_prefix(ret_err, "qemu %s", name);
        vst_process_free(&process);
        return NULL;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d adopted as %s", (int)id->pid, name);
    return process;
}

/* ---- being started ---- */

static void give_birth(struct vst_job *job)
{
    struct birth *birth = (struct birth *)job;

    vst_spawn(birth->spawn, &birth->id, &birth->pidfd, &birth->error);
}

/* Also on a thread, when nobody waits any more. */
static void dispose(struct vst_job *job)
{
    struct birth *birth = (struct birth *)job;

    if (birth->pidfd >= 0 && birth->signal)
        pidfd_send_signal(birth->pidfd, birth->signal, NULL, 0);
    vst_close(&birth->pidfd);
    vst_spawn_free(&birth->spawn);
    free(birth);
}

static void fail(struct vst_process *process, struct vst_error *err)
{
    vst_error_prefix(err, "qemu %s", process->name);
    vst_error_where(err, VST_SIDE_HOST, "start");
    process->cb.gone(process->cb.opaque, err);
}

static void born(struct vst_job *job)
{
    struct birth *birth = (struct birth *)job;
    struct vst_process *process = birth->process;
    struct vst_error err = birth->error;
    int number = birth->signal;

    process->birth = NULL;
    process->id = birth->id;
    process->pidfd = birth->pidfd;
    birth->pidfd = -1;
    vst_worker_put(&birth->worker);
    dispose(job);
    if (process->pidfd < 0) {
        fail(process, &err);
        return;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d started as %s", (int)process->id.pid, process->name);
    if (watch(process, process->base, &err) < 0) {
        vst_process_kill(process, SIGKILL, NULL);
        fail(process, &err);
    } else if (number) {
        vst_process_kill(process, number, NULL);
    }
}

static int begin(struct vst_process *process, const struct vst_spawn *spawn,
                 struct vst_error *ret_err)
{
    struct birth *birth = calloc(1, sizeof(*birth));

    if (!birth)
        return vst_error_no_memory(ret_err);
    birth->job = (struct vst_job){.work = give_birth, .done = born, .dispose = dispose};
    birth->pidfd = -1;
    birth->process = process;
    birth->spawn = vst_spawn_copy(spawn, ret_err);
    if (birth->spawn)
        birth->worker = vst_worker_get_pool(process->base, VST_POOL_STARTS, ret_err);
    if (!birth->worker) {
        dispose(&birth->job);
        return -1;
    }
    process->birth = birth;
    vst_worker_submit(birth->worker, &birth->job);
    return 0;
}

struct vst_process *vst_process_spawn(struct event_base *base, const char *name,
                                      const struct vst_spawn *spawn,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = new_process(name, spawn->log_fd, cb, ret_err);

    if (!process)
        return NULL;
    process->base = base;
    if (begin(process, spawn, ret_err) < 0) {
        vst_error_prefix(ret_err, "qemu %s", name);
        vst_error_where(ret_err, VST_SIDE_HOST, "start");
        vst_process_free(&process);
    }
    return process;
}

/* The thread goes on by itself. */
static void abandon(struct birth *birth)
{
    struct vst_worker *worker = birth->worker;

    vst_job_abandon(&birth->job);
    vst_worker_put(&worker);
}

/* ---- what is done with it ---- */

const struct vst_process_id *vst_process_get_id(const struct vst_process *process)
{
    return &process->id;
}

int vst_process_kill(struct vst_process *process, int number, struct vst_error *ret_err)
{
    if (process->birth) {
        process->birth->signal = number;
        return 0;
    }
    if (process->pidfd >= 0 && pidfd_send_signal(process->pidfd, number, NULL, 0) < 0 &&
        errno != ESRCH)
        return vst_error_system(ret_err, errno, "qemu %s: signal %d to process %d", process->name,
                                number, (int)process->id.pid);
    return 0;
}

void vst_process_free(struct vst_process **process)
{
    struct vst_process *p = *process;

    *process = NULL;
    if (!p)
        return;
    if (p->birth)
        abandon(p->birth);
    if (event_initialized(&p->ended))
        event_del(&p->ended);
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->log_fd >= 0)
        close(p->log_fd);
    free(p->name);
    free(p);
}

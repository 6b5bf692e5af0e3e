/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watching one process, and saying why it ended.
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

#include "core/trace.h"
#include "last-words.h"

struct vst_process {
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

struct vst_process *vst_process_spawn(struct event_base *base, const char *name,
                                      const struct vst_spawn *spawn,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = new_process(name, spawn->log_fd, cb, ret_err);

    if (!process)
        return NULL;
    if (vst_spawn(spawn, &process->id, &process->pidfd, ret_err) < 0) {
        vst_error_prefix(ret_err, "qemu %s", name);
        vst_error_where(ret_err, VST_SIDE_HOST, "start");
        vst_process_free(&process);
        return NULL;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d started as %s", (int)process->id.pid, name);
    if (watch(process, base, ret_err) < 0) {
        vst_process_kill(process, SIGKILL, NULL);
        vst_process_free(&process);
    }
    return process;
}

const struct vst_process_id *vst_process_get_id(const struct vst_process *process)
{
    return &process->id;
}

int vst_process_kill(struct vst_process *process, int number, struct vst_error *ret_err)
{
    if (pidfd_send_signal(process->pidfd, number, NULL, 0) < 0 && errno != ESRCH)
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
    if (event_initialized(&p->ended))
        event_del(&p->ended);
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->log_fd >= 0)
        close(p->log_fd);
    free(p->name);
    free(p);
}

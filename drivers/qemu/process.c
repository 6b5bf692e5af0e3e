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

#include "core/fsm.h"
#include "last-words.h"

/*
 *  STARTING -> RUNNING -> GONE        spawned, executed, ended
 *  STARTING -> GONE                   what came before the exec failed
 *              RUNNING -> GONE        adopted
 */
#define PROCESS_STATES(X)                                                          \
    X(PROCESS_STARTING, "end of the link", "forked, the program not yet executed") \
    X(PROCESS_RUNNING, "the pidfd", "the program has been executed")               \
    X(PROCESS_GONE, "being freed", "ended, and its owner has been told")
VST_FSM(process, PROCESS_STATES)

struct vst_process {
    enum process_state state;
    char *name;
    struct vst_process_id id;
    struct vst_process_cb cb;
    struct vst_error failure; /* of what comes before the exec */
    int pidfd;
    int link; /* -1 except in STARTING */
    int log_fd;
    struct event ended;
    struct event executed;
};

static void enter(struct vst_process *process, enum process_state state)
{
    vst_fsm_trace(process, process->name, process->state, state);
    process->state = state;
}

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

/* ---- events ---- */

static void stop_watching(struct vst_process *process)
{
    if (process->link >= 0) {
        event_del(&process->executed);
        close(process->link);
        process->link = -1;
    }
    if (process->pidfd >= 0)
        event_del(&process->ended);
}

/* A failure is kept: the process is about to end because of it. */
static enum vst_io look_at_failure(struct vst_process *process)
{
    enum vst_io io = vst_spawn_read_failure(process->link, &process->failure);

    if (io == VST_IO_OK)
        vst_error_where(&process->failure, VST_SIDE_HOST, "start");
    return io;
}

static void on_executed(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_process *process = opaque;

    (void)fd;
    (void)what;
    if (look_at_failure(process) != VST_IO_EOF)
        return;
    event_del(&process->executed);
    close(process->link);
    process->link = -1;
    if (!vst_error_is_set(&process->failure))
        enter(process, PROCESS_RUNNING);
}

static void on_ended(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_process *process = opaque;
    struct vst_error why;

    (void)fd;
    (void)what;
    if (process->link >= 0)
        look_at_failure(process);
    why = process->failure;
    if (!vst_error_is_set(&why))
        blame(process, VST_ERR_DRIVER, &why);
    vst_error_prefix(&why, "qemu %s", process->name);
    vst_trace(VST_TRACE_PROCESS, "process %d ended: %s", (int)process->id.pid, why.text);
    stop_watching(process);
    enter(process, PROCESS_GONE);
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
    process->pidfd = process->link = -1;
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

/* The descriptor comes first: from then on the number stands for one process, and we look which. */
static int watch(struct vst_process *process, struct event_base *base, struct vst_error *ret_err)
{
    int number;

    process->pidfd = pidfd_open(process->id.pid, PIDFD_NONBLOCK);
    number = errno;
    if (process->pidfd < 0 && number != ESRCH)
        return vst_error_system(ret_err, number, "process %d", (int)process->id.pid);
    event_assign(&process->ended, base, process->pidfd, EV_READ, on_ended, process);
    if (process->pidfd < 0 || !vst_process_id_exists(&process->id)) {
        blame(process, VST_ERR_NOT_FOUND, ret_err);
        return -1;
    }
    if (event_add(&process->ended, NULL) < 0)
        return vst_error_no_memory(ret_err);
    return 0;
}

struct vst_process *vst_process_adopt(struct event_base *base, const char *name,
                                      const struct vst_process_id *id, int log_fd,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = new_process(name, log_fd, cb, ret_err);

    if (!process)
        return NULL;
    process->id = *id;
    process->state = PROCESS_RUNNING;
    if (watch(process, base, ret_err) < 0) {
        vst_error_prefix(ret_err, "qemu %s", name);
        vst_process_free(&process);
        return NULL;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d adopted as %s", (int)id->pid, name);
    return process;
}

static int start(struct vst_process *process, struct event_base *base,
                 const struct vst_spawn *spawn, struct vst_error *ret_err)
{
    if (vst_spawn(spawn, &process->id, &process->link, ret_err) < 0)
        return -1;
    event_assign(&process->executed, base, process->link, EV_READ | EV_PERSIST, on_executed,
                 process);
    if (event_add(&process->executed, NULL) < 0)
        return vst_error_no_memory(ret_err);
    if (watch(process, base, ret_err) < 0)
        return -1;
    return vst_spawn_go(process->link, ret_err);
}

struct vst_process *vst_process_spawn(struct event_base *base, const char *name,
                                      const struct vst_spawn *spawn,
                                      const struct vst_process_cb *cb, struct vst_error *ret_err)
{
    struct vst_process *process = new_process(name, spawn->log_fd, cb, ret_err);

    if (!process)
        return NULL;
    process->state = PROCESS_STARTING;
    if (start(process, base, spawn, ret_err) < 0) {
        vst_error_prefix(ret_err, "qemu %s", name);
        vst_process_free(&process); /* closes the link: what waits for go ends */
        return NULL;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d started as %s", (int)process->id.pid, name);
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
    stop_watching(p);
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->log_fd >= 0)
        close(p->log_fd);
    free(p->name);
    free(p);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `cat LEASH PIPE > /dev/null`: nothing is ever written to the leash, so cat(1) is kept at it until
 * its other end is closed; then it comes to the pipe. It opens both anew, through /proc, and so
 * reads without O_NONBLOCK whatever we have set. That works with pipes, and not with sockets.
 */
#include "drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/trace.h"
#include "core/worker.h"
#include "spawn.h"

enum { PIPE_SIZE = 1024 * 1024 };

/* From the submitting to done() the thread's, but for the last part. */
struct vst_drain {
    struct vst_job job;
    struct vst_spawn *spawn;
    struct vst_process_id id;
    struct vst_error error;
    struct vst_drain_ends ends;
    /* The loop's. */
    struct vst_drain_cb cb;
    struct vst_worker *worker;
};

void vst_drain_close(struct vst_drain_ends *ends)
{
    vst_close(&ends->ours);
    vst_close(&ends->qemus);
    vst_close(&ends->leash);
}

/* ---- being started ---- */

static void start(struct vst_job *job)
{
    struct vst_drain *drain = (struct vst_drain *)job;
    int pidfd = -1;

    vst_spawn(drain->spawn, &drain->id, &pidfd, &drain->error);
    vst_close(&pidfd);
}

/* Also on a thread, when nobody waits any more: the process then finds that all have hung up. */
static void dispose(struct vst_job *job)
{
    struct vst_drain *drain = (struct vst_drain *)job;

    vst_spawn_free(&drain->spawn);
    vst_drain_close(&drain->ends);
    free(drain);
}

static void started(struct vst_job *job)
{
    struct vst_drain *drain = (struct vst_drain *)job;
    struct vst_drain_ends ends = drain->ends;
    struct vst_drain_cb cb = drain->cb;
    struct vst_error err = drain->error;
    int pid = (int)drain->id.pid;

    drain->ends = VST_DRAIN_CLOSED;
    vst_worker_put(&drain->worker);
    dispose(job);
    if (vst_error_is_set(&err)) {
        vst_drain_close(&ends);
        cb.started(cb.opaque, NULL, &err);
        return;
    }
    vst_trace(VST_TRACE_PROCESS, "process %d started as drain", pid);
    cb.started(cb.opaque, &ends, NULL);
}

/* ---- having it started ---- */

/* With descriptors of its own: what the process gets of the leash is nobody else's. */
static int describe(struct vst_drain *drain, const char *program, const int fds[2],
                    struct vst_error *ret_err)
{
    static const char *const words[] = {"cat", "/proc/self/fd/3", "/proc/self/fd/4", NULL};
    struct vst_spawn how = {
        .program = program,
        .words = (char **)words,
        .fds = fds,
        .fd_count = 2,
        .log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC),
        .id_fd = memfd_create("drain-id", MFD_CLOEXEC),
    };

    if (how.log_fd < 0 || how.id_fd < 0)
        vst_error_system(ret_err, errno, "starting %s", program);
    else
        drain->spawn = vst_spawn_copy(&how, ret_err);
    vst_close(&how.log_fd);
    vst_close(&how.id_fd);
    return drain->spawn ? 0 : -1;
}

static int prepare(struct vst_drain *drain, const char *program, struct vst_error *ret_err)
{
    int leash[2] = {-1, -1}, data[2] = {-1, -1}, result = -1;

    if (pipe2(leash, O_CLOEXEC) < 0 || pipe2(data, O_CLOEXEC | O_NONBLOCK) < 0)
        vst_error_system(ret_err, errno, "a pipe for QEMU");
    else
        result = describe(drain, program, (const int[]){leash[0], data[0]}, ret_err);
    if (data[0] >= 0)
        (void)fcntl(data[0], F_SETPIPE_SZ, PIPE_SIZE); /* only speed depends on it */
    vst_close(&leash[0]);
    drain->ends = (struct vst_drain_ends){data[0], data[1], leash[1]};
    return result;
}

struct vst_drain *vst_drain_start(struct event_base *base, const char *program,
                                  const struct vst_drain_cb *cb, struct vst_error *ret_err)
{
    struct vst_drain *drain;

    if (!program) {
        vst_error_set(ret_err, VST_ERR_UNSUPPORTED,
                      "a live save needs cat(1), which is not in PATH");
        return NULL;
    }
    drain = calloc(1, sizeof(*drain));
    if (!drain) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    drain->job = (struct vst_job){.work = start, .done = started, .dispose = dispose};
    drain->cb = *cb;
    if (prepare(drain, program, ret_err) == 0)
        drain->worker = vst_worker_get_pool(base, VST_POOL_STARTS, ret_err);
    if (!drain->worker) {
        dispose(&drain->job);
        return NULL;
    }
    vst_worker_submit(drain->worker, &drain->job);
    return drain;
}

void vst_drain_cancel(struct vst_drain **slot)
{
    struct vst_drain *drain = *slot;
    struct vst_worker *worker;

    *slot = NULL;
    if (!drain)
        return;
    worker = drain->worker;
    vst_job_abandon(&drain->job);
    vst_worker_put(&worker);
}

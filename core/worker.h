/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker: the only threads of the library. What cannot be polled (disk I/O, fsync, open,
 * rename, steps of the SASL library) is a job that runs there and completes on the loop.
 *
 * A pool per event base and kind of job, found by these, kept while anybody uses it: jobs of one
 * kind never wait for another kind's. It has so many threads, started by need, and at least one,
 * so that submitting cannot fail.
 * No lock is held while a job runs. A job that is stuck in the kernel delays neither the loop nor
 * the end of its owner: it is abandoned, and cleaned up by the thread when the kernel lets it go.
 * Neither getting nor putting a pool, nor submitting, waits for a job.
 */
#ifndef VST_CORE_WORKER_H
#define VST_CORE_WORKER_H

#include <event2/event.h>

#include "error.h"

/* kind, most threads, meaning */
#define VST_POOLS(X)                                                             \
    X(FILES, 4, "disk I/O")                                                      \
    X(LOGINS, 2, "logins that only compute, some milliseconds each")             \
    X(SERVICES, 8, "logins that ask another service, which may not answer soon") \
    X(STARTS, 1, "starting programs, one after the other")

enum vst_pool {
#define VST_POOL_ENUM(name, threads, meaning) VST_POOL_##name,
    VST_POOLS(VST_POOL_ENUM)
#undef VST_POOL_ENUM
};

#define VST_WORKER_THREADS 4 /* of VST_POOL_FILES */

struct vst_file_calls; /* file.h */
struct vst_worker;

struct vst_job {
    void (*work)(struct vst_job *);    /* on a thread; touches nothing but the job */
    void (*done)(struct vst_job *);    /* on the loop; the job is the owner's again */
    void (*dispose)(struct vst_job *); /* on a thread, in place of done() */
    /* The worker's own. */
    struct vst_worker *worker;
    struct vst_job *next;
    int state;
};

/* A pool of this base, started if need be. Every get needs a put; a put never waits. */
struct vst_worker *vst_worker_get_pool(struct event_base *base, enum vst_pool pool,
                                       struct vst_error *ret_err);
/* VST_POOL_FILES. */
struct vst_worker *vst_worker_get(struct event_base *base, struct vst_error *ret_err);
/* Sets *worker to NULL. Accepts NULL. */
void vst_worker_put(struct vst_worker **worker);

/* Queues a job whose three functions are set. Cannot fail. The job must not be in use. */
void vst_worker_submit(struct vst_worker *worker, struct vst_job *job);

/*
 * For a job that was submitted and is not done: done() will not be called; dispose() will, exactly
 * once, when the thread has let go of it. A job that has not begun is not begun any more.
 */
void vst_job_abandon(struct vst_job *job);

/* For a job that is not in use: only dispose(), on a thread. */
void vst_worker_dispose(struct vst_worker *worker, struct vst_job *job);

/* For tests: every file that a pool opens from now on works through these calls. NULL: the real. */
void vst_worker_set_file_calls(struct vst_worker *worker, const struct vst_file_calls *calls);
const struct vst_file_calls *vst_worker_file_calls(const struct vst_worker *worker);

#endif

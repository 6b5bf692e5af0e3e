/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools of threads, per event base and kind, and the way of a job through them. What the jobs do is
 * not known here. The registry of pools is, with the hook of the trace, all the state that the
 * library has per process.
 */
#include "worker.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum job_state {
    JOB_IDLE,      /* the owner's */
    JOB_QUEUED,    /* waits for a thread */
    JOB_RUNNING,   /* a thread's */
    JOB_DONE,      /* waits for the loop */
    JOB_ABANDONED, /* queued or running, to be disposed of by the thread */
};

struct jobs {
    struct vst_job *first;
    struct vst_job **end;
    unsigned count;
};

struct vst_worker {
    /* Of the registry, under its lock. */
    struct vst_worker *next;
    struct event_base *base;
    enum vst_pool pool;
    unsigned users;
    /* Of the loop. */
    const struct vst_file_calls *file_calls;
    struct event ev;
    int wake; /* eventfd: `done` is not empty */
    /* Under this lock. */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct jobs queue;
    struct jobs done;
    unsigned threads;
    unsigned busy; /* threads that have a job; one that is starting is not */
    unsigned refs; /* one for each thread, for all users, for a delivery under way */
    bool closing;  /* the last user has put it */
};

static struct {
    pthread_mutex_t lock;
    struct vst_worker *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const unsigned most_threads[] = {
#define MOST_THREADS(name, threads, meaning) [VST_POOL_##name] = (threads),
    VST_POOLS(MOST_THREADS)
#undef MOST_THREADS
};

enum { SPARE_SECONDS = 10 }; /* how long a thread that is not the only one waits for a job */

/* ---- lists ---- */

static void jobs_init(struct jobs *jobs)
{
    *jobs = (struct jobs){.end = &jobs->first};
}

static void jobs_push(struct jobs *jobs, struct vst_job *job)
{
    job->next = NULL;
    *jobs->end = job;
    jobs->end = &job->next;
    jobs->count++;
}

static struct vst_job *jobs_pop(struct jobs *jobs)
{
    struct vst_job *job = jobs->first;

    jobs->first = job->next;
    if (!jobs->first)
        jobs->end = &jobs->first;
    jobs->count--;
    return job;
}

static void jobs_remove(struct jobs *jobs, struct vst_job *job)
{
    struct vst_job **at = &jobs->first;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (!*at)
        jobs->end = at;
    jobs->count--;
}

/* ---- threads ---- */

/* With the lock held, which is gone afterwards; and so may the pool be. */
static void unlock_and_unref(struct vst_worker *worker)
{
    bool last = --worker->refs == 0;

    pthread_mutex_unlock(&worker->lock);
    if (!last)
        return;
    pthread_cond_destroy(&worker->more);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

/* Waits for a job; NULL when this thread is not needed any more. */
static struct vst_job *next_job(struct vst_worker *worker)
{
    int result = 0;

    while (!worker->queue.count) {
        struct timespec until;

        if (worker->closing || (result == ETIMEDOUT && worker->threads > 1))
            return NULL;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += SPARE_SECONDS;
        if (worker->threads > 1)
            result = pthread_cond_timedwait(&worker->more, &worker->lock, &until);
        else
            pthread_cond_wait(&worker->more, &worker->lock);
    }
    return jobs_pop(&worker->queue);
}

static void finish_job(struct vst_worker *worker, struct vst_job *job)
{
    if (job->state == JOB_ABANDONED) {
        pthread_mutex_unlock(&worker->lock);
        job->dispose(job);
        pthread_mutex_lock(&worker->lock);
        return;
    }
    job->state = JOB_DONE;
    if (!worker->done.count)
        eventfd_write(worker->wake, 1);
    jobs_push(&worker->done, job);
}

static void *thread_main(void *opaque)
{
    struct vst_worker *worker = opaque;
    struct vst_job *job;

    pthread_setname_np(pthread_self(), "virstream");
    pthread_mutex_lock(&worker->lock);
    while ((job = next_job(worker))) {
        worker->busy++;
        if (job->state == JOB_QUEUED) {
            job->state = JOB_RUNNING;
            pthread_mutex_unlock(&worker->lock);
            job->work(job);
            pthread_mutex_lock(&worker->lock);
        }
        finish_job(worker, job);
        worker->busy--;
    }
    worker->threads--;
    unlock_and_unref(worker);
    return NULL;
}

/* Signals are the application's: its own threads get them. */
static int create_thread(struct vst_worker *worker)
{
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_t thread;
    int number = pthread_attr_init(&attr);

    if (number)
        return number;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    number = pthread_create(&thread, &attr, thread_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return number;
}

/* With the lock held: one more thread. Returns 0 or an errno. */
static int start_thread(struct vst_worker *worker)
{
    int number = create_thread(worker);

    if (number == 0) {
        worker->threads++;
        worker->refs++;
    }
    return number;
}

/*
 * Unlocks. When no further thread can be started, the job waits for one of those there are. Who is
 * woken with the lock held only goes to sleep again: for the lock.
 */
static void enqueue_and_unlock(struct vst_worker *worker, struct vst_job *job)
{
    jobs_push(&worker->queue, job);
    if (worker->queue.count > worker->threads - worker->busy &&
        worker->threads < most_threads[worker->pool])
        start_thread(worker);
    pthread_mutex_unlock(&worker->lock);
    pthread_cond_signal(&worker->more);
}

/* ---- jobs ---- */

static void take(struct vst_worker *worker, struct vst_job *job, enum job_state state)
{
    pthread_mutex_lock(&worker->lock);
    job->worker = worker;
    job->state = state;
    enqueue_and_unlock(worker, job);
}

void vst_worker_submit(struct vst_worker *worker, struct vst_job *job)
{
    take(worker, job, JOB_QUEUED);
}

void vst_worker_dispose(struct vst_worker *worker, struct vst_job *job)
{
    take(worker, job, JOB_ABANDONED);
}

void vst_job_abandon(struct vst_job *job)
{
    struct vst_worker *worker = job->worker;
    int before;

    pthread_mutex_lock(&worker->lock);
    before = job->state;
    job->state = JOB_ABANDONED;
    if (before == JOB_DONE) {
        jobs_remove(&worker->done, job);
        enqueue_and_unlock(worker, job);
    } else {
        pthread_mutex_unlock(&worker->lock);
    }
}

/* Those that are done when it begins; done() may submit, abandon, and put the pool. */
static void deliver(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_worker *worker = opaque;
    eventfd_t value;
    unsigned left;

    (void)what;
    eventfd_read(fd, &value);
    pthread_mutex_lock(&worker->lock);
    worker->refs++;
    for (left = worker->done.count; left && worker->done.count && !worker->closing; left--) {
        struct vst_job *job = jobs_pop(&worker->done);

        job->state = JOB_IDLE;
        pthread_mutex_unlock(&worker->lock);
        job->done(job);
        pthread_mutex_lock(&worker->lock);
    }
    if (worker->done.count && !worker->closing)
        eventfd_write(worker->wake, 1);
    unlock_and_unref(worker);
}

/* ---- pools ---- */

static int start_pool(struct vst_worker *worker, struct vst_error *ret_err)
{
    int number;

    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->wake < 0)
        return vst_error_system(ret_err, errno, "eventfd");
    event_assign(&worker->ev, worker->base, worker->wake, EV_READ | EV_PERSIST, deliver, worker);
    if (event_add(&worker->ev, NULL) < 0) {
        vst_error_set(ret_err, VST_ERR_SYSTEM, "the event loop cannot watch the worker");
        close(worker->wake);
        return -1;
    }
    pthread_mutex_lock(&worker->lock);
    number = start_thread(worker);
    pthread_mutex_unlock(&worker->lock);
    if (number == 0)
        return 0;
    event_del(&worker->ev);
    close(worker->wake);
    return vst_error_system(ret_err, number, "starting a thread");
}

static void init_locks(struct vst_worker *worker)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&worker->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->more, &attr);
    pthread_condattr_destroy(&attr);
}

static struct vst_worker *pool_new(struct event_base *base, enum vst_pool pool,
                                   struct vst_error *ret_err)
{
    struct vst_worker *worker = calloc(1, sizeof(*worker));

    if (!worker) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    init_locks(worker);
    worker->base = base;
    worker->pool = pool;
    worker->refs = 1;
    jobs_init(&worker->queue);
    jobs_init(&worker->done);
    if (start_pool(worker, ret_err) == 0)
        return worker;
    pthread_mutex_lock(&worker->lock);
    unlock_and_unref(worker);
    return NULL;
}

struct vst_worker *vst_worker_get_pool(struct event_base *base, enum vst_pool pool,
                                       struct vst_error *ret_err)
{
    struct vst_worker *worker;

    pthread_mutex_lock(&registry.lock);
    for (worker = registry.first; worker; worker = worker->next)
        if (worker->base == base && worker->pool == pool)
            break;
    if (!worker && (worker = pool_new(base, pool, ret_err))) {
        worker->next = registry.first;
        registry.first = worker;
    }
    if (worker)
        worker->users++;
    pthread_mutex_unlock(&registry.lock);
    return worker;
}

struct vst_worker *vst_worker_get(struct event_base *base, struct vst_error *ret_err)
{
    return vst_worker_get_pool(base, VST_POOL_FILES, ret_err);
}

static bool drop_user(struct vst_worker *worker)
{
    struct vst_worker **at = &registry.first;
    bool last;

    pthread_mutex_lock(&registry.lock);
    last = --worker->users == 0;
    while (last && *at != worker)
        at = &(*at)->next;
    if (last)
        *at = worker->next;
    pthread_mutex_unlock(&registry.lock);
    return last;
}

/* Threads still dispose of what was abandoned; the last one out frees the pool. */
void vst_worker_put(struct vst_worker **slot)
{
    struct vst_worker *worker = *slot;

    *slot = NULL;
    if (!worker || !drop_user(worker))
        return;
    event_del(&worker->ev);
    pthread_mutex_lock(&worker->lock);
    worker->closing = true;
    close(worker->wake);
    pthread_cond_broadcast(&worker->more);
    unlock_and_unref(worker);
}

void vst_worker_set_file_calls(struct vst_worker *worker, const struct vst_file_calls *calls)
{
    worker->file_calls = calls;
}

const struct vst_file_calls *vst_worker_file_calls(const struct vst_worker *worker)
{
    return worker->file_calls;
}

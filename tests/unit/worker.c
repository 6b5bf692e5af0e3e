/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker: jobs run on threads and complete on the loop, and nobody waits for one that is stuck.
 */
#include "core/worker.h"
#include "loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct work {
    struct vst_job job; /* first */
    struct event_base *base;
    sem_t *gate; /* work() waits for it, if set */
    atomic_int worked;
    atomic_int disposed;
    int done;
    pthread_t thread;
    bool signals_blocked;
    char name[16];
    struct vst_job *victim;  /* abandoned in done() */
    struct vst_worker **put; /* put in done() */
};

static struct event_base *base;

static void do_work(struct vst_job *job)
{
    struct work *work = (struct work *)job;
    sigset_t mask;

    if (work->gate)
        sem_wait(work->gate);
    work->thread = pthread_self();
    pthread_getname_np(pthread_self(), work->name, sizeof(work->name));
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    work->signals_blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGPIPE);
    work->worked++;
}

static void do_done(struct vst_job *job)
{
    struct work *work = (struct work *)job;

    work->done++;
    if (work->victim)
        vst_job_abandon(work->victim);
    if (work->put)
        vst_worker_put(work->put);
}

static void do_dispose(struct vst_job *job)
{
    struct work *work = (struct work *)job;

    work->disposed++;
}

static struct work *work_new(sem_t *gate)
{
    struct work *work = calloc(1, sizeof(*work));

    work->job = (struct vst_job){.work = do_work, .done = do_done, .dispose = do_dispose};
    work->gate = gate;
    return work;
}

static void run_until(const int *value, int wanted)
{
    while (*value < wanted)
        event_base_loop(base, EVLOOP_ONCE);
}

static void wait_for(atomic_int *value, int wanted)
{
    while (atomic_load(value) < wanted)
        usleep(1000);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A thread counts once it has taken its name, a moment after it was started. */
static void settle_at(unsigned threads)
{
    while (vst_test_threads() < threads)
        usleep(1000);
    usleep(20 * 1000);
    assert_int_equal(vst_test_threads(), threads);
}

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    return 0;
}

/* Every test ends with all threads gone: whatever was stuck has been let go. */
static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    vst_test_threads_end();
    return 0;
}

static void job_runs_on_a_thread_and_is_done_on_the_loop(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *work = work_new(NULL);

    (void)state;
    vst_worker_submit(worker, &work->job);
    wait_for(&work->worked, 1);
    assert_int_equal(work->done, 0);
    run_until(&work->done, 1);
    assert_false(pthread_equal(work->thread, pthread_self()));
    assert_true(work->signals_blocked);
    assert_string_equal(work->name, "virstream");
    vst_worker_submit(worker, &work->job);
    run_until(&work->done, 2);
    assert_int_equal(work->disposed, 0);
    vst_worker_put(&worker);
    assert_null(worker);
    free(work);
}

static void put_of_none_is_nothing(void **state)
{
    struct vst_worker *worker = NULL;

    (void)state;
    vst_worker_put(&worker);
}

static void one_pool_for_one_base(void **state)
{
    struct event_base *other = event_base_new();
    struct vst_worker *a = vst_worker_get(base, NULL), *b = vst_worker_get(base, NULL);
    struct vst_worker *c = vst_worker_get(other, NULL);

    (void)state;
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    vst_worker_put(&a);
    vst_worker_put(&b);
    vst_worker_put(&c);
    event_base_free(other);
}

static void never_more_threads_than_the_limit(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *work[3 * VST_WORKER_THREADS];
    sem_t gate;
    int count = (int)(sizeof(work) / sizeof(work[0]));

    (void)state;
    sem_init(&gate, 0, 0);
    for (int i = 0; i < count; i++) {
        work[i] = work_new(&gate);
        vst_worker_submit(worker, &work[i]->job);
    }
    settle_at(VST_WORKER_THREADS);
    for (int i = 0; i < count; i++)
        sem_post(&gate);
    for (int i = 0; i < count; i++)
        run_until(&work[i]->done, 1);
    for (int i = 0; i < count; i++)
        free(work[i]);
    vst_worker_put(&worker);
    sem_destroy(&gate);
}

static void stuck_job_holds_up_neither_others_nor_abandon_nor_put(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *stuck, *other = work_new(NULL);
    double begin = now();
    sem_t gate;

    (void)state;
    sem_init(&gate, 0, 0);
    stuck = work_new(&gate);
    vst_worker_submit(worker, &stuck->job);
    vst_worker_submit(worker, &other->job);
    run_until(&other->done, 1);
    vst_job_abandon(&stuck->job);
    vst_worker_put(&worker);
    assert_true(now() - begin < 1);
    assert_int_equal(stuck->disposed, 0);
    sem_post(&gate);
    wait_for(&stuck->disposed, 1);
    assert_int_equal(stuck->done, 0);
    free(stuck);
    free(other);
    sem_destroy(&gate);
}

static void full_pool_holds_up_no_other_of_its_base(void **state)
{
    struct vst_worker *full = vst_worker_get_pool(base, VST_POOL_LOGINS, NULL);
    struct vst_worker *free_one = vst_worker_get(base, NULL);
    struct work *stuck[4], *other = work_new(NULL);
    sem_t gate;

    (void)state;
    assert_ptr_not_equal(full, free_one);
    sem_init(&gate, 0, 0);
    for (int i = 0; i < 4; i++) {
        stuck[i] = work_new(&gate);
        vst_worker_submit(full, &stuck[i]->job);
    }
    vst_worker_submit(free_one, &other->job);
    run_until(&other->done, 1);
    settle_at(2 + 1);
    for (int i = 0; i < 4; i++)
        sem_post(&gate);
    for (int i = 0; i < 4; i++) {
        run_until(&stuck[i]->done, 1);
        free(stuck[i]);
    }
    free(other);
    vst_worker_put(&full);
    vst_worker_put(&free_one);
    sem_destroy(&gate);
}

static void job_abandoned_before_it_began_is_only_disposed_of(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *stuck[VST_WORKER_THREADS], *late = work_new(NULL);
    sem_t gate;

    (void)state;
    sem_init(&gate, 0, 0);
    for (int i = 0; i < VST_WORKER_THREADS; i++) {
        stuck[i] = work_new(&gate);
        vst_worker_submit(worker, &stuck[i]->job);
    }
    vst_worker_submit(worker, &late->job);
    vst_job_abandon(&late->job);
    for (int i = 0; i < VST_WORKER_THREADS; i++)
        vst_job_abandon(&stuck[i]->job);
    vst_worker_put(&worker);
    for (int i = 0; i < VST_WORKER_THREADS; i++)
        sem_post(&gate);
    wait_for(&late->disposed, 1);
    assert_int_equal(late->worked, 0);
    for (int i = 0; i < VST_WORKER_THREADS; i++) {
        wait_for(&stuck[i]->disposed, 1);
        free(stuck[i]);
    }
    free(late);
    sem_destroy(&gate);
}

static void job_abandoned_when_done_is_disposed_of_and_not_told(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *a = work_new(NULL), *b = work_new(NULL);

    (void)state;
    a->victim = &b->job;
    vst_worker_submit(worker, &a->job);
    wait_for(&a->worked, 1);
    usleep(10000);
    vst_worker_submit(worker, &b->job);
    wait_for(&b->worked, 1);
    usleep(10000);
    run_until(&a->done, 1);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(b->done, 0);
    wait_for(&b->disposed, 1);
    vst_worker_put(&worker);
    free(a);
    free(b);
}

static void dispose_alone_runs_on_a_thread(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *work = work_new(NULL);

    (void)state;
    vst_worker_dispose(worker, &work->job);
    vst_worker_put(&worker);
    wait_for(&work->disposed, 1);
    assert_int_equal(work->worked, 0);
    free(work);
}

static void pool_put_in_done_goes_away(void **state)
{
    struct vst_worker *worker = vst_worker_get(base, NULL);
    struct work *work = work_new(NULL);

    (void)state;
    work->put = &worker;
    vst_worker_submit(worker, &work->job);
    run_until(&work->done, 1);
    assert_null(worker);
    free(work);
}

static void *loop_of_its_own(void *opaque)
{
    struct event_base *own = event_base_new();
    int *ret_done = opaque;

    for (int round = 0; round < 50; round++) {
        struct vst_worker *worker = vst_worker_get(own, NULL);
        struct work *work = work_new(NULL);

        vst_worker_submit(worker, &work->job);
        while (!work->done)
            event_base_loop(own, EVLOOP_ONCE);
        *ret_done += work->done;
        vst_worker_put(&worker);
        free(work);
    }
    event_base_free(own);
    return NULL;
}

static void two_loops_in_two_threads_do_not_meet(void **state)
{
    pthread_t threads[2];
    int done[2] = {0, 0};

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, loop_of_its_own, &done[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(done[0], 50);
    assert_int_equal(done[1], 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(job_runs_on_a_thread_and_is_done_on_the_loop, make, drop),
        VST_TEST_WITH(put_of_none_is_nothing, make, drop),
        VST_TEST_WITH(one_pool_for_one_base, make, drop),
        VST_TEST_WITH(never_more_threads_than_the_limit, make, drop),
        VST_TEST_WITH(stuck_job_holds_up_neither_others_nor_abandon_nor_put, make, drop),
        VST_TEST_WITH(full_pool_holds_up_no_other_of_its_base, make, drop),
        VST_TEST_WITH(job_abandoned_before_it_began_is_only_disposed_of, make, drop),
        VST_TEST_WITH(job_abandoned_when_done_is_disposed_of_and_not_told, make, drop),
        VST_TEST_WITH(dispose_alone_runs_on_a_thread, make, drop),
        VST_TEST_WITH(pool_put_in_done_goes_away, make, drop),
        VST_TEST_WITH(two_loops_in_two_threads_do_not_meet, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

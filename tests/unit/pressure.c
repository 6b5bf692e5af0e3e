/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Back-pressure from end to end, counted; a stuck disk that nobody else notices; and ten thousand
 * streams on one base.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "core/file.h"
#include "core/leaf.h"
#include "core/op.h"
#include "core/stream.h"

enum { LIMIT = 64 * 1024 };

static struct event_base *base;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

/* ---- ends that count ---- */

/* Gives `total` bytes, `piece` at a time; or takes whatever comes, with an AGAIN now and then. */
struct counter {
    struct vst_leaf leaf;
    uint64_t total;
    uint64_t moved;
    size_t piece;
    unsigned again_every; /* calls; 0: never */
    bool stuck;
    unsigned calls;
    bool waited;
    struct counter *from; /* the source of what this takes */
    uint64_t most_between;
};

static struct counter *counter_of(struct vst_channel *ch)
{
    return (struct counter *)ch;
}

static bool hesitates(struct counter *counter)
{
    if (counter->stuck)
        return true;
    if (!counter->again_every || counter->waited || ++counter->calls % counter->again_every)
        return false;
    return true;
}

static unsigned counter_ready(const struct vst_leaf *leaf)
{
    struct counter *counter = (struct counter *)(uintptr_t)leaf;

    counter->waited = true;
    return counter->stuck ? 0 : VST_READ | VST_WRITE;
}

static enum vst_io counter_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                                size_t *ret_n)
{
    struct counter *counter = counter_of(ch);
    struct evbuffer_iovec room;
    size_t n = counter->piece && counter->piece < max ? counter->piece : max;

    if (counter->moved == counter->total)
        return VST_IO_EOF;
    if (hesitates(counter))
        return VST_IO_AGAIN;
    counter->waited = false;
    if (n > counter->total - counter->moved)
        n = (size_t)(counter->total - counter->moved);
    assert_int_equal(evbuffer_reserve_space(into, (ev_ssize_t)n, &room, 1), 1);
    room.iov_len = n;
    memset(room.iov_base, 'x', n);
    evbuffer_commit_space(into, &room, 1);
    counter->moved += n;
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io counter_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                 size_t *ret_n)
{
    struct counter *counter = counter_of(ch);
    size_t n = evbuffer_get_length(from) < max ? evbuffer_get_length(from) : max;

    if (counter->from && counter->from->moved - counter->moved > counter->most_between)
        counter->most_between = counter->from->moved - counter->moved;
    if (hesitates(counter))
        return VST_IO_AGAIN;
    counter->waited = false;
    if (counter->piece && counter->piece < n)
        n = counter->piece;
    evbuffer_drain(from, n);
    counter->moved += n;
    *ret_n = n;
    return VST_IO_OK;
}

static void counter_destroy(struct vst_channel *ch)
{
    vst_leaf_fini(&counter_of(ch)->leaf);
}

static const struct vst_channel_ops counter_ops = {
    .name = "counter",
    .read = counter_read,
    .write = counter_write,
    .destroy = counter_destroy,
    .arm = vst_leaf_arm,
};

/* It lives where the test puts it; the stream only lets go of it. */
static struct vst_channel *counter_init(struct counter *counter)
{
    vst_leaf_init(&counter->leaf, &counter_ops, base, counter_ready);
    return &counter->leaf.ch;
}

/* ---- a method that does nothing but attach ---- */

struct method {
    struct vst_stream *stream;
    struct vst_op *op;
    struct outcome outcome;
};

static void method_finished(void *opaque, enum vst_direction dir)
{
    (void)dir;
    vst_op_done(((struct method *)opaque)->op);
}

static void method_failed(void *opaque, const struct vst_error *err)
{
    vst_op_fail(((struct method *)opaque)->op, err);
}

static void method_new(struct method *method)
{
    struct vst_stream_options opt = {.limit = LIMIT};
    const struct vst_done *done = outcome_done(&method->outcome);

    memset(method, 0, sizeof(*method));
    method->stream = vst_stream_new(base, &opt);
    method->op =
        vst_op_new(base, NULL, vst_deliver_done,
                   (struct vst_callback){(void (*)(void))done->fn, done->opaque, done->release});
}

static void method_begin(struct method *method, struct vst_channel *source,
                         struct vst_channel *sink)
{
    struct vst_stream_user user = {method_finished, method_failed, method,
                                   "the driver",    VST_SIDE_HOST, 0};

    assert_int_equal(vst_stream_claim(method->stream, method->op, &user, NULL), 0);
    assert_int_equal(vst_stream_attach(method->stream, source, sink, NULL), 0);
}

static void method_end(struct method *method)
{
    while (!method->outcome.released)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    vst_stream_free(&method->stream);
}

static struct vst_progress progress_of(const struct method *method)
{
    struct vst_progress progress;

    vst_stream_get_progress(method->stream, &progress);
    return progress;
}

/* ---- counting ---- */

static enum vst_io read_counter(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                                void *opaque)
{
    struct counter *counter = opaque;

    (void)buf, (void)ret_err;
    if (counter->moved == counter->total)
        return VST_IO_EOF;
    *ret_n = len;
    if (len > counter->total - counter->moved)
        *ret_n = (size_t)(counter->total - counter->moved);
    counter->moved += *ret_n;
    return VST_IO_OK;
}

static void a_gibibyte_passes_through_64_kib_and_no_more_is_ever_held(void **state)
{
    struct counter source = {.total = UINT64_C(1) << 30};
    struct counter sink = {.again_every = 7, .piece = 50000, .from = &source};
    struct vst_reader reader = {read_counter, &source, NULL};
    struct method method;

    (void)state;
    vst_test_seconds(60);
    method_new(&method);
    vst_stream_set_source_reader(method.stream, &reader);
    method_begin(&method, NULL, counter_init(&sink));
    method_end(&method);
    assert_int_equal(method.outcome.err.code, VST_ERR_OK);
    assert_true(sink.moved == source.total);
    assert_int_equal(sink.most_between, LIMIT);
}

static void pushing_is_held_back_at_the_limit(void **state)
{
    struct counter sink = {.stuck = true};
    struct method method;
    static char many[LIMIT];
    size_t n, pushed = 0;

    (void)state;
    method_new(&method);
    method_begin(&method, NULL, counter_init(&sink));
    for (int i = 0; i < 100; i++) {
        vst_stream_write(method.stream, many, sizeof(many), &n);
        pushed += n;
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    assert_int_equal(pushed, LIMIT);
    vst_stream_abort(method.stream, NULL);
    method_end(&method);
}

static void stalled_sink_stops_the_source_within_one_buffer(void **state)
{
    struct counter source = {.total = UINT64_C(1) << 40};
    struct method method;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    method_new(&method);
    vst_stream_set_sink_fd(method.stream, &fds[1]);
    method_begin(&method, counter_init(&source), NULL);
    for (int i = 0; i < 100; i++)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    /* What the pipe itself holds has left us. */
    assert_int_equal(source.moved - progress_of(&method).down_bytes, LIMIT);
    vst_stream_abort(method.stream, NULL);
    method_end(&method);
    close(fds[0]);
}

/* ---- a stuck disk ---- */

static struct {
    sem_t gate;
    atomic_int stuck;
} disk;

static ssize_t disk_readv(int fd, const struct iovec *into, int count)
{
    disk.stuck++;
    sem_wait(&disk.gate);
    return readv(fd, into, count);
}

static ssize_t disk_writev(int fd, const struct iovec *from, int count)
{
    disk.stuck++;
    sem_wait(&disk.gate);
    return writev(fd, from, count);
}

/* A descriptor of an empty file without a name; and all files on a disk that is stuck. */
static int open_on_stuck_disk(struct vst_worker **ret_worker)
{
    static struct vst_file_calls calls;

    calls = vst_file_calls_real;
    calls.readv = disk_readv;
    calls.writev = disk_writev;
    sem_init(&disk.gate, 0, 0);
    disk.stuck = 0;
    *ret_worker = vst_worker_get(base, NULL);
    assert_non_null(*ret_worker);
    vst_worker_set_file_calls(*ret_worker, &calls);
    return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static double now_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

/* Of 200 turns; and the best of a few tries, because others use this machine too. */
static double longest_turn(void)
{
    double best = 1e9;

    for (int attempt = 0; attempt < 10 && best >= 10; attempt++) {
        double longest = 0;

        for (int i = 0; i < 200; i++) {
            double began = now_ms(), took;

            event_base_loop(base, EVLOOP_NONBLOCK);
            took = now_ms() - began;
            longest = took > longest ? took : longest;
            usleep(100);
        }
        best = longest < best ? longest : best;
    }
    return best;
}

static void open_gate(struct vst_worker **worker)
{
    for (int i = 0; i < 100; i++)
        sem_post(&disk.gate);
    vst_worker_put(worker);
}

static void save_to_a_stuck_disk_leaves_the_loop_free(void **state)
{
    struct counter source = {.total = UINT64_C(1) << 40};
    struct vst_worker *worker;
    struct method method;
    int fd = open_on_stuck_disk(&worker);
    double longest;

    (void)state;
    method_new(&method);
    assert_int_equal(vst_stream_set_sink_fd(method.stream, &fd), 0);
    method_begin(&method, counter_init(&source), NULL);
    longest = longest_turn();
    print_message("# longest turn of the loop, disk stuck in a write: %.3f ms\n", longest);
    assert_int_equal(disk.stuck, 1);
    assert_true(longest < 10);
    /* Our limit, and what waits for the worker. */
    assert_in_range(source.moved, LIMIT, LIMIT + VST_FILE_BUFFER);
    vst_stream_abort(method.stream, NULL);
    method_end(&method);
    open_gate(&worker);
}

static void restore_from_a_stuck_disk_leaves_the_loop_free(void **state)
{
    struct counter sink = {0};
    struct vst_worker *worker;
    struct method method;
    int fd = open_on_stuck_disk(&worker);
    double longest;

    (void)state;
    method_new(&method);
    assert_int_equal(vst_stream_set_source_fd(method.stream, &fd), 0);
    method_begin(&method, NULL, counter_init(&sink));
    longest = longest_turn();
    print_message("# longest turn of the loop, disk stuck in a read: %.3f ms\n", longest);
    assert_int_equal(disk.stuck, 1);
    assert_true(longest < 10);
    vst_stream_abort(method.stream, NULL);
    method_end(&method);
    open_gate(&worker);
}

static atomic_llong read_ahead;

static ssize_t counting_readv(int fd, const struct iovec *into, int count)
{
    ssize_t n = readv(fd, into, count);

    read_ahead += n > 0 ? n : 0;
    return n;
}

static void turn_a_while(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
    usleep(1000);
}

static void file_is_read_ahead_by_one_buffer_of_the_worker(void **state)
{
    struct counter sink = {.stuck = true};
    struct vst_file_calls calls = vst_file_calls_real;
    struct vst_worker *worker = vst_worker_get(base, NULL);
    static char bytes[VST_FILE_BUFFER];
    struct method method;
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    (void)state;
    memset(bytes, 'x', sizeof(bytes)); /* zeros would pass as a hole */
    for (int i = 0; i < 8; i++)
        assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    lseek(fd, 0, SEEK_SET);
    calls.readv = counting_readv;
    vst_worker_set_file_calls(worker, &calls);
    read_ahead = 0;
    method_new(&method);
    assert_int_equal(vst_stream_set_source_fd(method.stream, &fd), 0);
    method_begin(&method, NULL, counter_init(&sink));
    while (read_ahead < LIMIT + VST_FILE_JOB)
        turn_a_while();
    for (int i = 0; i < 200; i++)
        turn_a_while();
    assert_in_range(read_ahead, LIMIT, LIMIT + VST_FILE_BUFFER);
    vst_stream_abort(method.stream, NULL);
    method_end(&method);
    vst_worker_put(&worker);
}

/* ---- ten thousand ---- */

enum { MANY = 10000, PIECE = 256, PASSES = 5 };

static enum vst_io count_bytes(const void *buf, size_t len, size_t *ret_n,
                               struct vst_error *ret_err, void *opaque)
{
    (void)buf, (void)ret_err;
    *(uint64_t *)opaque += len;
    *ret_n = len;
    return VST_IO_OK;
}

static void ten_thousand_streams_get_the_same_share(void **state)
{
    struct method *methods = calloc(MANY, sizeof(*methods));
    struct counter *sources = calloc(MANY, sizeof(*sources));
    uint64_t *moved = calloc(MANY, sizeof(*moved));
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    vst_test_seconds(120);
    for (int i = 0; i < MANY; i++) {
        struct vst_writer writer = {count_bytes, NULL, &moved[i], NULL};

        sources[i] = (struct counter){.total = UINT64_MAX, .piece = PIECE};
        method_new(&methods[i]);
        vst_stream_set_sink_writer(methods[i].stream, &writer);
        method_begin(&methods[i], counter_init(&sources[i]), NULL);
    }
    for (int i = 0; i < PASSES; i++)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    for (int i = 0; i < MANY; i++) {
        least = moved[i] < least ? moved[i] : least;
        most = moved[i] > most ? moved[i] : most;
    }
    print_message("# %d streams after %d passes: %ju to %ju bytes each\n", MANY, PASSES,
                  (uintmax_t)least, (uintmax_t)most);
    assert_true(least > 0);
    assert_true(most - least <= most / PASSES + PIECE);
    for (int i = 0; i < MANY; i++)
        vst_stream_abort(methods[i].stream, NULL);
    for (int i = 0; i < MANY; i++)
        method_end(&methods[i]);
    free(methods);
    free(sources);
    free(moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_gibibyte_passes_through_64_kib_and_no_more_is_ever_held, make, drop),
        VST_TEST_WITH(pushing_is_held_back_at_the_limit, make, drop),
        VST_TEST_WITH(stalled_sink_stops_the_source_within_one_buffer, make, drop),
        VST_TEST_WITH(save_to_a_stuck_disk_leaves_the_loop_free, make, drop),
        VST_TEST_WITH(restore_from_a_stuck_disk_leaves_the_loop_free, make, drop),
        VST_TEST_WITH(file_is_read_ahead_by_one_buffer_of_the_worker, make, drop),
        VST_TEST_WITH(ten_thousand_streams_get_the_same_share, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the engine costs: a file through a stream to nowhere against cat(1), the memory of a stream
 * that does nothing, and how long a pass of the loop takes with a thousand that are busy. All
 * ratios are of one run.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/op.h"
#include "core/stream.h"

enum {
    MIB = 1024 * 1024,
    FILE_MIB = 512,
    ROUNDS = 5,
    IDLE = 10000,
    IDLE_LIMIT = 4096, /* bytes of memory that an idle stream may take */
    BUSY = 1000,
    PASSES = 50,
};

static struct event_base *base;
static char path[] = "/tmp/bench-stream-XXXXXX";

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void must(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    unlink(path);
    exit(1);
}

/* ---- a method that only attaches ---- */

struct method {
    struct vst_stream *stream;
    struct vst_op *op;
};

static void finished(void *opaque, enum vst_direction dir)
{
    (void)dir;
    vst_op_done(((struct method *)opaque)->op);
}

static void failed(void *opaque, const struct vst_error *err)
{
    vst_op_fail(((struct method *)opaque)->op, err);
}

static void begin(struct method *method, struct vst_channel *source, struct vst_channel *sink)
{
    struct vst_stream_user user = {finished, failed, method, "nobody", VST_SIDE_NONE, 0};

    method->op = vst_op_new(base, NULL, vst_deliver_done, (struct vst_callback){0});
    must(method->op && vst_stream_claim(method->stream, method->op, &user, NULL) == 0 &&
             vst_stream_attach(method->stream, source, sink, NULL) == 0,
         "stream");
}

/* ---- a file to nowhere ---- */

static void make_file(void)
{
    int fd = mkstemp(path);
    char *bytes = malloc(MIB);

    must(fd >= 0 && bytes, path);
    for (size_t i = 0; i < MIB; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    for (int i = 0; i < FILE_MIB; i++)
        must(write(fd, bytes, MIB) == MIB, path);
    close(fd);
    free(bytes);
}

static double run_cat(void)
{
    double began = now();
    pid_t child = fork();
    int status;

    must(child >= 0, "fork");
    if (child == 0) {
        must(freopen("/dev/null", "w", stdout) != NULL, "/dev/null");
        execlp("cat", "cat", path, (char *)NULL);
        _exit(127);
    }
    must(waitpid(child, &status, 0) == child && status == 0, "cat");
    return now() - began;
}

static double run_stream(void)
{
    struct method method = {.stream = vst_stream_new(base, NULL)};
    double began = now();

    must(method.stream && vst_stream_set_source_file(method.stream, path) == 0, path);
    begin(&method, NULL, vst_channel_null(base, NULL));
    must(vst_op_wait(method.op, NULL) == 0, path);
    vst_stream_free(&method.stream);
    return now() - began;
}

static void bench_file(void)
{
    double cat = 1e9, stream = 1e9;

    make_file();
    for (int i = 0; i < ROUNDS; i++) {
        double took = run_cat();

        cat = took < cat ? took : cat;
        took = run_stream();
        stream = took < stream ? took : stream;
    }
    unlink(path);
    printf("%d MiB from a file to nowhere: cat %.0f MiB/s, stream %.0f MiB/s, ratio %.2f\n",
           FILE_MIB, FILE_MIB / cat, FILE_MIB / stream, cat / stream);
}

/* ---- idle streams ---- */

static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Runs what is scheduled, so that all of them come to rest. */
static void rest(void)
{
    for (int i = 0; i < 10; i++)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void free_all(struct method *methods, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vst_stream_free(&methods[i].stream);
    rest();
}

/* A few bytes up and a few down, so that what the first of them allocate is there. */
static void use_once(struct vst_stream *stream, struct vst_channel *far)
{
    struct evbuffer *some = evbuffer_new();
    char bytes[16] = {0};
    size_t n;

    must(some && evbuffer_add(some, bytes, sizeof(bytes)) == 0, "memory");
    must(vst_channel_write(far, some, sizeof(bytes), &n) == VST_IO_OK, "driver");
    must(vst_stream_write(stream, bytes, sizeof(bytes), &n) == VST_IO_OK, "push");
    rest();
    must(vst_stream_read(stream, bytes, sizeof(bytes), &n) == VST_IO_OK, "pull");
    must(vst_channel_read(far, some, sizeof(bytes), &n) == VST_IO_OK, "driver");
    evbuffer_free(some);
    rest();
}

/* Both ways: the driver's end is one of a pair, and the application pushes and pulls. */
static void bench_idle(void)
{
    struct method *methods = calloc(IDLE, sizeof(*methods));
    struct vst_channel *(*ends)[2] = calloc(IDLE, sizeof(*ends));
    size_t before, made, waiting;

    must(methods && ends, "memory");
    for (int i = 0; i < IDLE; i++)
        must(vst_channel_pair(base, 4096, ends[i], NULL) == 0, "pair");
    before = in_use();
    for (int i = 0; i < IDLE; i++)
        methods[i].stream = vst_stream_new(base, NULL);
    made = (in_use() - before) / IDLE;
    for (int i = 0; i < IDLE; i++)
        begin(&methods[i], ends[i][0], ends[i][0]);
    rest();
    for (int i = 0; i < IDLE; i++)
        use_once(methods[i].stream, ends[i][1]);
    waiting = (in_use() - before) / IDLE;
    printf("an idle stream: %zu bytes as made; with its operation, used and waiting both ways: "
           "%zu (at most %d)\n",
           made, waiting, IDLE_LIMIT);
    free_all(methods, IDLE);
    for (int i = 0; i < IDLE; i++)
        vst_channel_free(&ends[i][1]);
    free(ends);
    free(methods);
    if (waiting > IDLE_LIMIT)
        exit(1);
}

/* ---- busy streams ---- */

static enum vst_io give(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    static const char bytes[256 * 1024];

    (void)ret_err, (void)opaque;
    *ret_n = len < sizeof(bytes) ? len : sizeof(bytes);
    memcpy(buf, bytes, *ret_n);
    return VST_IO_OK;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static uint64_t moved_by(const struct method *methods)
{
    struct vst_progress progress;
    uint64_t moved = 0;

    for (int i = 0; i < BUSY; i++) {
        vst_stream_get_progress(methods[i].stream, &progress);
        moved += progress.up_bytes;
    }
    return moved;
}

static void bench_busy(void)
{
    struct method *methods = calloc(BUSY, sizeof(*methods));
    struct vst_reader endless = {give, NULL, NULL};
    double took[PASSES];
    uint64_t moved;

    must(methods != NULL, "memory");
    for (int i = 0; i < BUSY; i++) {
        methods[i].stream = vst_stream_new(base, NULL);
        must(vst_stream_set_source_reader(methods[i].stream, &endless) == 0, "reader");
        begin(&methods[i], NULL, vst_channel_null(base, NULL));
    }
    rest();
    moved = moved_by(methods);
    for (int i = 0; i < PASSES; i++) {
        double began = now();

        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        took[i] = now() - began;
    }
    moved = moved_by(methods) - moved;
    qsort(took, PASSES, sizeof(*took), compare);
    printf("a pass with %d busy streams: %.2f ms in the middle, %.2f ms at most, %.1f us and "
           "%ju KiB each\n",
           BUSY, took[PASSES / 2] * 1e3, took[PASSES - 1] * 1e3, took[PASSES / 2] * 1e6 / BUSY,
           (uintmax_t)(moved / PASSES / BUSY / 1024));
    free_all(methods, BUSY);
    free(methods);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    base = event_base_new();
    must(base != NULL, "event base");
    bench_file();
    bench_idle();
    bench_busy();
    event_base_free(base);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to a virstreamd, shared: 64 saves without an end, then the same with one whose
 * reader has stalled; pings all the while. What each stream gets, how long pings take, and how much
 * data comes before their answers, which is what a busy machine cannot make worse; how much memory
 * both processes have had. Then a client that stops reading, for what that costs the
 * daemon, and a daemon that stops, for what that costs the client.
 *
 *     share [SECONDS]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/app.h"

enum { STREAMS = 64, MIB = 1024 * 1024, PINGS_MAX = 100000, PING_US = 2000 };

static char dir[] = "/tmp/virstream-bench-XXXXXX";
static char daemon_path[512];
static unsigned seconds = 5;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Of a process, in KiB: `what` as in /proc/PID/status. */
static double memory_of(pid_t pid, const char *what)
{
    char path[64], line[256];
    double kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, what, strlen(what)) == 0)
            kib = strtod(line + strlen(what) + 1, NULL);
    if (file)
        fclose(file);
    return kib / 1024;
}

/* ---- the daemon ---- */

static void configure(const char *path)
{
    FILE *file = fopen(path, "we");

    if (!file)
        die(path);
    fprintf(file,
            "[daemon]\nserve = test:///?domains=%d&memory=1T\n"
            "[listen]\nunix = %s/socket\n[access]\nadmin = unix:%d\n[limits]\nstreams = %d\n",
            STREAMS, dir, (int)getuid(), STREAMS + 1);
    fclose(file);
}

static pid_t start_daemon(void)
{
    char conf[64], socket[64], log[64];
    pid_t pid;

    snprintf(conf, sizeof(conf), "%s/conf", dir);
    snprintf(socket, sizeof(socket), "%s/socket", dir);
    snprintf(log, sizeof(log), "%s/log", dir);
    configure(conf);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen(log, "w", stderr))
            _exit(1);
        execl(daemon_path, "virstreamd", "--config", conf, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000 && access(socket, F_OK) < 0; i++)
        usleep(10000);
    return pid;
}

static void end_daemon(pid_t pid)
{
    static const char *const names[] = {"conf", "socket", "log"};
    char path[64];

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
}

/* ---- the client ---- */

struct taker {
    struct vst_domain *domain;
    struct vst_stream *stream;
    struct outcome outcome;
    uint64_t taken;
    bool stalls;
};

static struct app app;
static struct taker takers[STREAMS];

static enum vst_io take(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    struct taker *taker = opaque;

    (void)buf, (void)ret_err;
    if (taker->stalls)
        return VST_IO_AGAIN;
    taker->taken += len;
    *ret_n = len;
    return VST_IO_OK;
}

static void open_connection(void)
{
    struct outcome opened = {0};
    char uri[128];

    app = (struct app){.base = event_base_new()};
    snprintf(uri, sizeof(uri), "test+unix://%s/socket", dir);
    vst_conn_open(app.base, uri, NULL, outcome_conn(&opened));
    outcome_await(app.base, &opened);
    app.conn = opened.conn;
    if (!app.conn) {
        fprintf(stderr, "%s\n", opened.err.text);
        exit(1);
    }
}

static void begin_save(int number)
{
    struct taker *taker = &takers[number];
    struct vst_writer writer = {.write = take, .opaque = taker};
    struct outcome found = {0};
    char name[16];

    snprintf(name, sizeof(name), "test%d", number + 1);
    vst_conn_lookup(app.conn, name, outcome_domain(&found));
    outcome_await(app.base, &found);
    *taker = (struct taker){.domain = found.domain, .stream = vst_stream_new(app.base, NULL)};
    vst_stream_set_sink_writer(taker->stream, &writer);
    vst_domain_save(taker->domain, taker->stream, NULL, outcome_done(&taker->outcome));
}

/* ---- pings ---- */

static int64_t pings[PINGS_MAX];
static int64_t between[PINGS_MAX]; /* bytes that came between a ping and its answer */
static uint64_t taken_before;
static size_t ping_count;

static uint64_t taken_in_all(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < STREAMS; i++)
        sum += takers[i].taken;
    return sum;
}

static void pong(int64_t us, const struct vst_error *err, void *opaque)
{
    struct event *timer = opaque;
    struct timeval soon = {0, PING_US};

    if (err || ping_count == PINGS_MAX)
        return;
    between[ping_count] = (int64_t)(taken_in_all() - taken_before);
    pings[ping_count++] = us;
    event_add(timer, &soon);
}

static struct event *ping_timer;

static void ping(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_ping_cb cb = {pong, ping_timer, NULL};

    (void)fd, (void)what, (void)opaque;
    taken_before = taken_in_all();
    vst_conn_ping(app.conn, &cb);
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* ---- measuring ---- */

static void run(unsigned milliseconds)
{
    struct timeval tv = {milliseconds / 1000, (suseconds_t)(milliseconds % 1000) * 1000};

    event_base_loopexit(app.base, &tv);
    event_base_dispatch(app.base);
}

static void share(const char *name, pid_t daemon)
{
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    size_t middle, late;

    for (int i = 0; i < STREAMS; i++)
        takers[i].taken = 0;
    ping_count = 0;
    ping(-1, 0, NULL);
    run(seconds * 1000);
    for (int i = 0; i < STREAMS; i++) {
        sum += takers[i].taken;
        if (takers[i].stalls)
            continue;
        least = takers[i].taken < least ? takers[i].taken : least;
        most = takers[i].taken > most ? takers[i].taken : most;
    }
    qsort(pings, ping_count, sizeof(*pings), by_size);
    qsort(between, ping_count, sizeof(*between), by_size);
    middle = ping_count / 2;
    late = ping_count * 99 / 100;
    printf("%-22s %6.0f MiB/s, each %.1f to %.1f; ping %.2f ms, 99 %% within %.2f ms (aim: 5) and "
           "%.2f MiB of data; most memory: daemon %.0f MiB, client %.0f MiB\n",
           name, (double)sum / MIB / seconds, (double)least / MIB / seconds,
           (double)most / MIB / seconds, (double)pings[middle] / 1e3, (double)pings[late] / 1e3,
           (double)between[late] / MIB, memory_of(daemon, "VmHWM"), memory_of(getpid(), "VmHWM"));
    event_del(ping_timer);
    run(200);
}

/* Endless. */
static enum vst_io give(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    (void)ret_err, (void)opaque;
    memset(buf, 'x', len);
    *ret_n = len;
    return VST_IO_OK;
}

/* The client's own uploads, to a daemon that is stopped. */
static void upload_to_nobody(pid_t daemon)
{
    static struct outcome outcomes[STREAMS];
    struct vst_reader reader = {give, NULL, NULL};

    kill(daemon, SIGSTOP);
    for (int i = 0; i < STREAMS; i++) {
        struct vst_stream *stream = vst_stream_new(app.base, NULL);

        vst_stream_set_source_reader(stream, &reader);
        vst_volume_upload(app.conn, "p/volume", stream, NULL, outcome_done(&outcomes[i]));
    }
    run(2000);
    printf("%-22s client %.0f MiB\n", "daemon that is stopped", memory_of(getpid(), "VmRSS"));
}

static void in_child(void (*part)(pid_t), pid_t daemon)
{
    pid_t pid = fork();

    if (pid == 0) {
        part(daemon);
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void share_with_stall(pid_t daemon)
{
    open_connection();
    ping_timer = evtimer_new(app.base, ping, NULL);
    for (int i = 0; i < STREAMS; i++)
        begin_save(i);
    share("64 streams", daemon);
    takers[0].stalls = true;
    share("63, and one stalled", daemon);
}

/* All of them under way when the client stops. */
static void read_no_more(pid_t daemon)
{
    double before = memory_of(daemon, "VmRSS");

    open_connection();
    for (int i = 0; i < STREAMS; i++)
        begin_save(i);
    sleep(2);
    printf("%-22s daemon %.0f MiB, %.0f before\n", "client that stops", memory_of(daemon, "VmRSS"),
           before);
}

static void upload(pid_t daemon)
{
    open_connection();
    upload_to_nobody(daemon);
}

int main(int argc, char **argv)
{
    static void (*const parts[])(pid_t) = {share_with_stall, read_no_more, upload};
    const char *slash = strrchr(argv[0], '/');

    seconds = argc > 1 ? (unsigned)atoi(argv[1]) : seconds;
    if (!seconds || !mkdtemp(dir))
        return 2;
    snprintf(daemon_path, sizeof(daemon_path), "%.*s/../../virstreamd",
             slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        pid_t daemon = start_daemon();

        in_child(parts[i], daemon);
        end_daemon(daemon);
    }
    rmdir(dir);
    return 0;
}

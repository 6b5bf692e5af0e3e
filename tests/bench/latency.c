/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What distance costs: uploads of a volume through a link with a delay, for each way to send. How
 * many round trips pass before the first byte of data is there, and what is left of the throughput
 * against the initial window per round trip; then whether a window that grows fills a link of
 * 1 Gbit/s at 100 ms each way. Server, link and client are processes of their own.
 *
 *     latency [MIB]        of each upload in the table; 64 without it
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remote/greeting.h"
#include "tests/unit/app.h"
#include "tests/unit/served.h"

enum { MIB = 1024 * 1024, GIGABIT = 125000000, FILL_MIB = 1024, FILL_DELAY = 100 };

static const char *const wires[] = {"acked", "replied", "eager"};
static const unsigned delays[] = {20, 50, 100}; /* ms each way */
enum { WIRES = sizeof(wires) / sizeof(*wires), DELAYS = sizeof(delays) / sizeof(*delays) };

/* One upload: what is to be measured, and what was. Times in seconds. */
struct run {
    const char *wire;
    unsigned delay_ms;
    uint64_t rate; /* of the link; 0: unlimited */
    size_t bytes;
    bool over;     /* the server is to go */
    double called; /* when the client began */
    double first;  /* when the server had the first byte */
    double half;   /* ... half of them */
    double whole;  /* ... all */
    double done;   /* when the client knew */
};

static char relay[512];
static char dir[64];

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static pid_t start(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* ---- the server, which knows when bytes come ---- */

static void note_progress(struct run *run, const struct served *served)
{
    uint64_t received = served_stats(served).received;

    if (!run->first && received)
        run->first = now();
    if (!run->half && received >= run->bytes / 2)
        run->half = now();
    if (!run->whole && received >= run->bytes)
        run->whole = now();
}

static _Noreturn void serve(struct run *run, int ready)
{
    struct served served;
    char uri[128];

    snprintf(uri, sizeof(uri), "test:///?domains=0&pool.p=%s", dir);
    served_start(&served, uri, VST_ROLE_ADMIN, NULL);
    if (write(ready, served.path, sizeof(served.path)) != sizeof(served.path))
        die("pipe");
    while (!run->over) {
        event_base_loop(served.base, EVLOOP_ONCE);
        note_progress(run, &served);
    }
    served_stop(&served);
    exit(0);
}

static pid_t start_server(struct run *run, char *ret_path, size_t room)
{
    int ready[2];
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) < 0)
        die("pipe");
    pid = start();
    if (pid == 0)
        serve(run, ready[1]);
    if (read(ready[0], ret_path, room) != (ssize_t)room)
        die("the server has not started");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

/* ---- the link ---- */

static _Noreturn void become_relay(const struct run *run, const char *from, const char *to,
                                   const int words[2], const int said[2])
{
    char delay[16], rate[32];

    snprintf(delay, sizeof(delay), "%u", run->delay_ms);
    snprintf(rate, sizeof(rate), "%ju", (uintmax_t)run->rate);
    dup2(words[0], STDIN_FILENO);
    dup2(said[1], STDOUT_FILENO);
    execl(relay, "relay", from, to, "--delay", delay, "--rate", rate, (char *)NULL);
    die(relay);
    _exit(1);
}

/* Returns what ends it when it is closed. */
static int start_link(const struct run *run, const char *from, const char *to)
{
    int words[2], said[2];
    char byte;

    if (pipe2(words, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
        die("pipe");
    if (start() == 0)
        become_relay(run, from, to, words, said);
    close(words[0]);
    close(said[1]);
    if (read(said[0], &byte, 1) != 1)
        die("the link has not started");
    return words[1];
}

/* ---- the client ---- */

/* Noise: there is nothing to be spared. */
static int make_file(size_t bytes)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    static uint64_t words[MIB / sizeof(uint64_t)];
    uint64_t x = 1;

    for (size_t i = 0; i < MIB / sizeof(*words); i++)
        words[i] = x = x * 6364136223846793005u + 1442695040888963407u;
    for (size_t made = 0; made < bytes; made += MIB)
        if (write(fd, words, MIB) != MIB)
            die("memfd");
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void upload(struct run *run, const char *link)
{
    struct app app = {.base = event_base_new()};
    struct outcome opened = {0}, outcome = {0};
    int file = make_file(run->bytes);
    char uri[256], volume[64];
    struct vst_stream *stream;

    snprintf(uri, sizeof(uri), "test+unix://%s?wire=%s", link, run->wire);
    snprintf(volume, sizeof(volume), "p/%s-%u", run->wire, run->delay_ms);
    vst_conn_open(app.base, uri, NULL, outcome_conn(&opened));
    outcome_await(app.base, &opened);
    app.conn = opened.conn;
    if (!app.conn)
        fprintf(stderr, "%s\n", opened.err.text);
    stream = vst_stream_new(app.base, NULL);
    vst_stream_set_source_fd(stream, &file);
    run->called = now();
    vst_volume_upload(app.conn, volume, stream, NULL, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    run->done = now();
    if (outcome.err.code)
        fprintf(stderr, "%s, %u ms: %s\n", run->wire, run->delay_ms, outcome.err.text);
    vst_stream_free(&stream);
    run->over = true;
    app_stop(&app);
    snprintf(uri, sizeof(uri), "%s/%s", dir, volume + 2);
    unlink(uri);
}

/* Never returns to who called fork(). */
static void measure(struct run *run)
{
    char path[sizeof(((struct served *)0)->path)], link[sizeof(path) + 8];
    pid_t server = start_server(run, path, sizeof(path));
    int words;

    snprintf(link, sizeof(link), "%s.far", path);
    words = start_link(run, link, path);
    upload(run, link);
    close(words);
    waitpid(server, NULL, 0);
    while (wait(NULL) > 0)
        continue;
    unlink(link);
    path[strlen(path) - strlen("/socket")] = '\0';
    rmdir(path);
    exit(0);
}

static void measure_all(struct run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (start() == 0)
            measure(&runs[i]);
    for (size_t i = 0; i < count; i++) {
        int status;

        if (wait(&status) < 0 || status != 0)
            die("an upload failed");
    }
}

/* ---- telling ---- */

static void tell(const struct run *run)
{
    double trip = 2e-3 * run->delay_ms, rate = (double)run->bytes / (run->done - run->called);
    /* The first byte itself is under way for half a trip. */
    double trips = (run->first - run->called) / trip - 0.5;

    printf("%-8s %4u ms   %5.2f   %7.2f s  %7.1f MB/s   %6.2f\n", run->wire, run->delay_ms, trips,
           run->done - run->called, rate / 1e6, rate / (VST_WINDOW_INITIAL / trip));
}

static void tell_table(struct run *runs, size_t bytes)
{
    printf("%zu MiB, a delay each way:\n", bytes / MIB);
    printf("wire      delay   trips before     time   throughput   of %u KiB\n",
           VST_WINDOW_INITIAL / 1024);
    printf("                the first byte                         a round trip\n");
    for (size_t w = 0; w < WIRES; w++) {
        for (size_t d = 0; d < DELAYS; d++)
            runs[d] = (struct run){.wire = wires[w], .delay_ms = delays[d], .bytes = bytes};
        measure_all(runs, DELAYS);
        for (size_t d = 0; d < DELAYS; d++)
            tell(&runs[d]);
    }
}

static void tell_filling(struct run *run)
{
    double rate;

    *run = (struct run){
        .wire = "eager", .delay_ms = FILL_DELAY, .rate = GIGABIT, .bytes = (size_t)FILL_MIB * MIB};
    measure_all(run, 1);
    rate = (double)run->bytes / 2 / (run->whole - run->half);
    printf("eager, %d ms each way, 1 Gbit/s: %.1f MB/s in the second half of %d MiB, %.2f of the "
           "link (aim: 0.90)\n",
           FILL_DELAY, rate / 1e6, FILL_MIB, rate / GIGABIT);
}

/* Where files cost nothing, if there is such a place. */
static void make_dir(void)
{
    snprintf(dir, sizeof(dir), "%s/virstream-bench-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir))
        die(dir);
}

int main(int argc, char **argv)
{
    struct run *runs = mmap(NULL, sizeof(*runs) * DELAYS, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    const char *slash = strrchr(argv[0], '/');

    if (runs == MAP_FAILED || !mib)
        return 2;
    snprintf(relay, sizeof(relay), "%.*s/../e2e/relay", slash ? (int)(slash - argv[0]) : 1,
             slash ? argv[0] : ".");
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_dir();
    tell_table(runs, mib * MIB);
    tell_filling(runs);
    rmdir(dir);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations of one guest with its memory full of noise, in turn: ours, through TLS and two
 * daemons; QEMU's own from process to process over TCP; the same with QEMU's own TLS. And
 * libvirt's, tunnelled from peer to peer, where that is installed. Then what compression costs and
 * gains.
 *
 *     migrate [MIB [ROUNDS]]       without them VIRSTREAM_BENCH_MIB or 512, and 5
 *
 * A migration begins when it is asked for, and ends when the guest runs there and its QEMU here has
 * gone; the start of the QEMU there counts, for all. Each has a guest of its own, which is moved to
 * and fro and does hardly anything. The downtime is seen from outside: how long the guest, that
 * counts a hundred times a second, did not. Compression is measured with the guest paused, so that
 * one that has stamped all of its pages, and else is full of zeros, can be moved as well.
 */
#include "migrate.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/pki.h"

enum { ROUNDS_MAX = 50, MEBIBYTE = 1024 * 1024, LEVEL = 1 };

char dir[] = "/tmp/virstream-bench-XXXXXX";
char kernel[PATH_MAX];
char build[PATH_MAX];
unsigned memory_mib = 512;
static int rounds = 5;
static pid_t parent;

double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

void die(const char *what, const char *why)
{
    fprintf(stderr, "migrate: %s: %s\n", what, why);
    if (getpid() == parent)
        hosts_end();
    _exit(1);
}

pid_t start_process(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork", "failed");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

double processor_of(pid_t pid)
{
    unsigned long user = 0, system = 0;
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file || fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                        &user, &system) != 2)
        die(path, "cannot be read");
    fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &length) < 0)
        die("loopback", "no port");
    close(fd);
    return ntohs(at.sin_port);
}

static off_t log_size(const char *name)
{
    char path[PATH_ROOM];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s.log", dir, name);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

void wait_for_count(const char *name)
{
    for (int i = 0; i < 3000; i++) {
        if (log_size(name) > 20)
            return;
        usleep(100000);
    }
    die(name, "does not count");
}

/* ---- downtime ---- */

/* Written by a process that watches, so that nobody is late. */
static volatile double *longest_silence;
static pid_t watcher;

static _Noreturn void watch(const char *name)
{
    double since = now();
    off_t size = log_size(name);

    for (;;) {
        off_t grown = log_size(name);

        if (now() - since > *longest_silence)
            *longest_silence = now() - since;
        if (grown != size)
            since = now();
        size = grown;
        usleep(1000);
    }
}

static void begin_watching(const char *name)
{
    *longest_silence = 0;
    watcher = start_process();
    if (watcher == 0)
        watch(name);
}

/* The guest must have counted once more. */
static double end_watching(const char *name)
{
    off_t size = log_size(name);

    while (log_size(name) < size + 20)
        usleep(10000);
    kill(watcher, SIGKILL);
    waitpid(watcher, NULL, 0);
    return *longest_silence;
}

/* ---- racers ---- */

struct racer {
    const char *name;
    const char *guest; /* NULL: not here, so that its downtime is not seen */
    void (*move)(struct racer *racer);
    struct qemu_guest qemu;
    double seconds[ROUNDS_MAX];
    double downtime[ROUNDS_MAX];
};

static double daemons_had[2]; /* of the processor, in all migrations of ours */

static void move_ours(struct racer *racer)
{
    hosts_move(racer->guest, 0, false);
}

static void move_by_qemu(struct racer *racer)
{
    qemu_move(&racer->qemu);
}

static void run(struct racer *racer, int round)
{
    double before[2], after[2], began;

    begin_watching(racer->guest);
    hosts_processor(before);
    began = now();
    racer->move(racer);
    racer->seconds[round] = now() - began;
    hosts_processor(after);
    racer->downtime[round] = end_watching(racer->guest);
    for (int i = 0; racer->move == move_ours && i < 2; i++)
        daemons_had[(i + round) % 2] += after[i] - before[i]; /* source, destination */
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *numbers)
{
    double sorted[ROUNDS_MAX];

    memcpy(sorted, numbers, sizeof(*numbers) * (size_t)rounds);
    qsort(sorted, (size_t)rounds, sizeof(*sorted), compare);
    return sorted[rounds / 2];
}

static void tell(const struct racer *racer)
{
    double least = racer->seconds[0], most = least;

    for (int i = 1; i < rounds; i++) {
        least = racer->seconds[i] < least ? racer->seconds[i] : least;
        most = racer->seconds[i] > most ? racer->seconds[i] : most;
    }
    printf("%-24s %6.2f s (%.2f to %.2f), %5.0f MiB/s", racer->name, median(racer->seconds), least,
           most, memory_mib / median(racer->seconds));
    if (racer->guest)
        printf("; downtime %4.0f ms", median(racer->downtime) * 1e3);
    printf("\n");
}

/* Of migrations in a row, which a busy machine hampers alike. */
static void tell_ratio(const struct racer *ours, const struct racer *other, const char *aim)
{
    double ratio[ROUNDS_MAX];

    for (int i = 0; i < rounds; i++)
        ratio[i] = other->seconds[i] / ours->seconds[i];
    printf("speed against %-24s %5.2f   (aim: %s)\n", other->name, median(ratio), aim);
}

/* ---- libvirt ---- */

/* It moves no guest to its own host: so a guest, with as much noise in its memory as ours, and two
 * hosts are to be named, if there are any. */
static bool has_libvirt(void)
{
    if (system("command -v virsh >/dev/null") != 0)
        printf("libvirt is not compared with: virsh is not installed\n");
    else if (!getenv("VIRSTREAM_BENCH_LIBVIRT"))
        printf("libvirt is not compared with: VIRSTREAM_BENCH_LIBVIRT is not set to GUEST HERE "
               "THERE, where HERE and THERE are URIs of two hosts\n");
    else
        return true;
    return false;
}

#define VIRSH_MIGRATE(from, to)                                                               \
    "set -- $VIRSTREAM_BENCH_LIBVIRT; virsh -q -c " from " migrate --live --p2p --tunnelled " \
    "--bandwidth 100000 $1 " to

/* In MiB/s: no limit, as for the others. */
static void move_by_libvirt(int round)
{
    static const char *const commands[] = {VIRSH_MIGRATE("$2", "$3"), VIRSH_MIGRATE("$3", "$2")};

    if (system(commands[round % 2]) != 0)
        die("virsh", "has not migrated the guest");
}

static void race_libvirt(const struct racer *ours)
{
    struct racer libvirt = {.name = "libvirt, tunnelled"};

    if (!has_libvirt())
        return;
    for (int round = 0; round < rounds; round++) {
        double began = now();

        move_by_libvirt(round);
        libvirt.seconds[round] = now() - began;
    }
    tell(&libvirt);
    tell_ratio(ours, &libvirt, "3");
}

/* ---- the race ---- */

static void race(void)
{
    static struct racer racers[] = {
        {.name = "virstream, TLS", .guest = "ours", .move = move_ours},
        {.name = "QEMU, TCP", .guest = "tcp", .move = move_by_qemu},
        {.name = "QEMU, TLS", .guest = "tls", .move = move_by_qemu},
    };
    enum { COUNT = sizeof(racers) / sizeof(*racers) };

    hosts_start_guest(racers[0].guest, "F");
    qemu_start_guest(&racers[1].qemu, racers[1].guest, false);
    qemu_start_guest(&racers[2].qemu, racers[2].guest, true);
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < COUNT; i++)
            run(&racers[i], round);
    qemu_end(&racers[1].qemu);
    qemu_end(&racers[2].qemu);
    for (size_t i = 0; i < COUNT; i++)
        tell(&racers[i]);
    printf("the daemons' processors: source %.2f s, destination %.2f s\n", daemons_had[0] / rounds,
           daemons_had[1] / rounds);
    tell_ratio(&racers[0], &racers[1], "0.90");
    tell_ratio(&racers[0], &racers[2], "over 1");
    race_libvirt(&racers[0]);
}

/* ---- compression ---- */

static void tell_compression(const char *what, const char *guest)
{
    static const int levels[] = {0, LEVEL};

    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
        double began = now(), seconds;
        uint64_t bytes = hosts_move(guest, levels[i], true);

        seconds = now() - began;
        printf("%-24s %-10s %6.2f s, %7.1f MiB on the way\n", what, levels[i] ? "zstd:1" : "plain",
               seconds, (double)bytes / MEBIBYTE);
    }
}

static void compress(void)
{
    hosts_start_guest("stamped", "D");
    tell_compression("paused, noise", "ours");
    tell_compression("paused, stamped zeros", "stamped");
}

static void find_files(const char *self)
{
    const char *slash = strrchr(self, '/');
    const char *guest = getenv("VIRSTREAM_GUEST");
    char path[PATH_MAX + 32];

    snprintf(path, sizeof(path), "%.*s/../..", slash ? (int)(slash - self) : 1, slash ? self : ".");
    if (!realpath(path, build))
        die(path, "is not there");
    snprintf(path, sizeof(path), "%s/tests/guest/guest.elf", build);
    if (!realpath(guest ? guest : path, kernel) || !mkdtemp(dir))
        die(path, "is not there");
}

int main(int argc, char **argv)
{
    const char *mib = argc > 1 ? argv[1] : getenv("VIRSTREAM_BENCH_MIB");

    memory_mib = mib ? (unsigned)atoi(mib) : memory_mib;
    rounds = argc > 2 ? atoi(argv[2]) : rounds;
    if (memory_mib < 16 || rounds < 1 || rounds > ROUNDS_MAX)
        return 2;
    parent = getpid();
    signal(SIGPIPE, SIG_IGN); /* whoever reads what is printed may go; the guests must not stay */
    setvbuf(stdout, NULL, _IOLBF, 0);
    longest_silence = mmap(NULL, sizeof(*longest_silence), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    find_files(argv[0]);
    pki_begin(NULL);
    hosts_begin();
    printf("a guest of %u MiB of noise, medians of %d migrations:\n", memory_mib, rounds);
    race();
    compress();
    hosts_end();
    pki_end(NULL);
    return 0;
}

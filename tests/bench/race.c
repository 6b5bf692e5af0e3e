/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The races that race.h promises.
 */
#include "race.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/pki.h"

enum { MIB = 1024 * 1024, GATHER = 256 * 1024, RECORD = 16384 };

struct race race;

void race_die(const char *what)
{
    perror(what);
    exit(1);
}

static void need(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, gnutls_strerror(status));
    exit(1);
}

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static int make_file(void)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    unsigned char *piece = malloc(MIB);
    uint64_t x = 1;

    for (size_t i = 0; i < MIB; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        piece[i] = (unsigned char)(x >> 56);
    }
    for (size_t done = 0; done < race.bytes; done += MIB)
        if (write(fd, piece, MIB) != MIB)
            race_die("memfd");
    free(piece);
    return fd;
}

/* The two ends of a TCP connection. */
static void connect_pair(int ret_fds[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &length) < 0 ||
        connect(ret_fds[0], (struct sockaddr *)&at, sizeof(at)) < 0)
        race_die("loopback");
    ret_fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < 2; i++)
        setsockopt(ret_fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    close(listener);
}

/* ---- GnuTLS alone ---- */

struct bare {
    gnutls_certificate_credentials_t certificates;
    gnutls_session_t session;
    int fd;
    unsigned char out[GATHER + 2 * RECORD];
    size_t filled; /* of out */
    unsigned char in[GATHER];
    size_t from, to; /* of in */
};

static struct bare bare;

static void flush(void)
{
    for (size_t done = 0; done < bare.filled;) {
        ssize_t n = write(bare.fd, bare.out + done, bare.filled - done);

        if (n < 0)
            race_die("write");
        done += (size_t)n;
    }
    bare.filled = 0;
}

static ssize_t bare_push(gnutls_transport_ptr_t opaque, const void *piece, size_t n)
{
    (void)opaque;
    memcpy(bare.out + bare.filled, piece, n);
    bare.filled += n;
    if (bare.filled >= GATHER)
        flush();
    return (ssize_t)n;
}

static ssize_t bare_pull(gnutls_transport_ptr_t opaque, void *into, size_t n)
{
    (void)opaque;
    if (bare.from == bare.to) {
        ssize_t got;

        flush();
        got = read(bare.fd, bare.in, sizeof(bare.in));
        if (got <= 0)
            return got;
        bare.from = 0;
        bare.to = (size_t)got;
    }
    if (n > bare.to - bare.from)
        n = bare.to - bare.from;
    memcpy(into, bare.in + bare.from, n);
    bare.from += n;
    return (ssize_t)n;
}

static void bare_open(unsigned flags, const char *cert, const char *key, int fd)
{
    bare.fd = fd;
    need(gnutls_certificate_allocate_credentials(&bare.certificates), "credentials");
    need(gnutls_certificate_set_x509_key_file(bare.certificates, pki_path(cert), pki_path(key),
                                              GNUTLS_X509_FMT_PEM),
         cert);
    need(gnutls_init(&bare.session, flags | GNUTLS_NO_TICKETS), "session");
    need(gnutls_priority_set_direct(bare.session, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL),
         "priority");
    need(gnutls_credentials_set(bare.session, GNUTLS_CRD_CERTIFICATE, bare.certificates), "set");
    gnutls_transport_set_push_function(bare.session, bare_push);
    gnutls_transport_set_pull_function(bare.session, bare_pull);
    need(gnutls_handshake(bare.session), "hand-shake");
    flush();
}

static void bare_close(void)
{
    gnutls_deinit(bare.session);
    gnutls_certificate_free_credentials(bare.certificates);
    close(bare.fd);
}

void race_send_gnutls(int fd)
{
    static unsigned char piece[GATHER];
    ssize_t n;

    bare_open(GNUTLS_CLIENT, "alice-cert.pem", "alice-key.pem", fd);
    while ((n = read(race.file, piece, sizeof(piece))) > 0)
        for (ssize_t done = 0; done < n;) {
            ssize_t sent = gnutls_record_send(bare.session, piece + done, (size_t)(n - done));

            need((int)sent, "send");
            done += sent;
        }
    need(gnutls_bye(bare.session, GNUTLS_SHUT_WR), "bye");
    flush();
    bare_close();
}

void race_take_gnutls(int fd)
{
    static unsigned char piece[RECORD];
    size_t got = 0;
    ssize_t n;

    bare_open(GNUTLS_SERVER, "host-cert.pem", "host-key.pem", fd);
    while ((n = gnutls_record_recv(bare.session, piece, sizeof(piece))) > 0)
        got += (size_t)n;
    need((int)n, "receive");
    if (got != race.bytes)
        race_die("not all has arrived");
    bare_close();
}

/* ---- measuring ---- */

static double cpu_of(const struct rusage *use)
{
    return (double)use->ru_utime.tv_sec + (double)use->ru_stime.tv_sec +
           1e-6 * (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec);
}

static double wait_for(pid_t pid, const char *name)
{
    struct rusage use;
    int status;

    if (wait4(pid, &status, 0, &use) != pid || status != 0) {
        fprintf(stderr, "%s: a process failed\n", name);
        exit(1);
    }
    return cpu_of(&use);
}

static pid_t start(void (*side)(int), int fd, int other)
{
    pid_t pid = fork();

    if (pid < 0)
        race_die("fork");
    if (pid)
        return pid;
    close(other);
    side(fd);
    exit(0);
}

static struct race_cost run(const struct racer *racer)
{
    struct race_cost cost;
    double began = now();
    pid_t sender, taker;
    int fds[2];

    connect_pair(fds);
    lseek(race.file, 0, SEEK_SET);
    sender = start(racer->sends, fds[0], fds[1]);
    taker = start(racer->takes, fds[1], fds[0]);
    close(fds[0]);
    close(fds[1]);
    cost.sender = wait_for(sender, racer->name);
    cost.taker = wait_for(taker, racer->name);
    cost.seconds = now() - began;
    return cost;
}

static int by_seconds(const void *a, const void *b)
{
    double left = ((const struct race_cost *)a)->seconds;
    double right = ((const struct race_cost *)b)->seconds;

    return left < right ? -1 : left > right;
}

static void tell(struct racer *racer)
{
    struct race_cost costs[RACE_ROUNDS_MAX];
    const struct race_cost *median = &costs[race.rounds / 2];
    double mib = (double)race.bytes / MIB;

    memcpy(costs, racer->costs, sizeof(costs));
    qsort(costs, (size_t)race.rounds, sizeof(*costs), by_seconds);
    printf("%-24s %6.0f MiB/s   (%.0f to %.0f)   processor: sender %.2f s, receiver %.2f s\n",
           racer->name, mib / median->seconds, mib / costs[race.rounds - 1].seconds,
           mib / costs[0].seconds, median->sender, median->taker);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median_of(double *numbers)
{
    qsort(numbers, (size_t)race.rounds, sizeof(*numbers), by_size);
    return numbers[race.rounds / 2];
}

void race_compare(const struct racer *ours, const struct racer *other, const char *aim)
{
    double speed[RACE_ROUNDS_MAX], processor[RACE_ROUNDS_MAX];

    for (int i = 0; i < race.rounds; i++) {
        const struct race_cost *our = &ours->costs[i], *their = &other->costs[i];

        speed[i] = their->seconds / our->seconds;
        processor[i] = (their->sender + their->taker) / (our->sender + our->taker);
    }
    printf("%s against %s: speed %.2f, by the processor's time %.2f   (aim: %s)\n", ours->name,
           other->name, median_of(speed), median_of(processor), aim);
}

void race_run(struct racer *racers, size_t count)
{
    for (int round = 0; round < race.rounds; round++)
        for (size_t i = 0; i < count; i++) {
            struct racer *racer = &racers[round % 2 ? count - 1 - i : i];

            racer->costs[round] = run(racer);
        }
    for (size_t i = 0; i < count; i++)
        tell(&racers[i]);
}

void race_begin(int argc, char **argv, size_t mib)
{
    race.bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : mib) * MIB;
    race.rounds = argc > 2 ? atoi(argv[2]) : 5;
    if (race.rounds < 1 || race.rounds > RACE_ROUNDS_MAX || !race.bytes)
        exit(2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    race.file = make_file();
    pki_begin(NULL);
}

void race_end(void)
{
    close(race.file);
    pki_end(NULL);
}

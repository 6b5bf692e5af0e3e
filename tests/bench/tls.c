/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file through TLS into nothing, between two processes on one TCP connection: by the TLS layer
 * and a pump on either side, and by GnuTLS alone with blocking calls that gather 256 KiB for each
 * write and read as much. Both in turn, several times; the ratio is of the medians.
 *
 *     tls [MIB [ROUNDS]]
 */
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

#include "core/pump.h"
#include "tests/unit/pki.h"

enum { MIB = 1024 * 1024, GATHER = 256 * 1024, RECORD = 16384, ROUNDS_MAX = 15 };

static size_t bytes = (size_t)1024 * MIB;
static int file;

static void die(const char *what)
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
    for (size_t done = 0; done < bytes; done += MIB)
        if (write(fd, piece, MIB) != MIB)
            die("memfd");
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
        die("loopback");
    ret_fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < 2; i++)
        setsockopt(ret_fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    close(listener);
}

/* ---- ours ---- */

static struct event_base *base;

static void moved(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    if (err) {
        fprintf(stderr, "pump: %s\n", err->text);
        exit(1);
    }
    event_base_loopbreak(base);
}

static struct vst_channel *make_tls(enum vst_tls_role role, int fd)
{
    struct vst_tls_options opt = {.role = role, .want_peer = true};
    bool client = role == VST_TLS_CLIENT;
    struct vst_tls_creds *creds = pki_creds(role, "ca", client ? "alice" : "host", NULL);
    struct vst_channel *tls;

    opt.host = client ? "127.0.0.1" : NULL;
    tls = vst_channel_tls(vst_channel_fd(base, &fd, NULL), creds, &opt, NULL);
    vst_tls_creds_unref(&creds);
    return tls;
}

static void opened(void *opaque)
{
    (void)opaque;
    event_base_loopbreak(base);
}

static void open_now(struct vst_channel *tls)
{
    enum vst_io io;

    vst_channel_listen(tls, VST_READ, opened, NULL);
    vst_channel_want(tls, VST_READ, true);
    while ((io = vst_channel_open(tls)) == VST_IO_AGAIN)
        event_base_dispatch(base);
    if (io != VST_IO_OK)
        moved(NULL, vst_channel_error(tls));
    vst_channel_want(tls, VST_READ, false);
}

static void pump(struct vst_channel *source, struct vst_channel *sink)
{
    struct vst_pump *moving = vst_pump_new(base, MIB, moved, NULL, NULL);
    struct vst_pump_stats stats;

    vst_pump_set_source(moving, source);
    vst_pump_set_sink(moving, sink);
    event_base_dispatch(base);
    vst_pump_get_stats(moving, &stats);
    if (stats.delivered != bytes)
        die("not all has arrived");
    vst_pump_free(&moving);
}

static void send_ours(int fd)
{
    struct vst_channel *tls, *source;

    base = event_base_new();
    tls = make_tls(VST_TLS_CLIENT, fd);
    open_now(tls);
    source = vst_channel_any_fd(base, &file, NULL);
    pump(source, tls);
    vst_channel_free(&source);
    vst_channel_free(&tls);
    event_base_free(base);
}

static void take_ours(int fd)
{
    struct vst_channel *tls, *sink;

    base = event_base_new();
    tls = make_tls(VST_TLS_SERVER, fd);
    open_now(tls);
    sink = vst_channel_null(base, NULL);
    pump(tls, sink);
    vst_channel_free(&sink);
    vst_channel_free(&tls);
    event_base_free(base);
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
            die("write");
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

static void send_bare(int fd)
{
    static unsigned char piece[GATHER];
    ssize_t n;

    bare_open(GNUTLS_CLIENT, "alice-cert.pem", "alice-key.pem", fd);
    while ((n = read(file, piece, sizeof(piece))) > 0)
        for (ssize_t done = 0; done < n;) {
            ssize_t sent = gnutls_record_send(bare.session, piece + done, (size_t)(n - done));

            need((int)sent, "send");
            done += sent;
        }
    need(gnutls_bye(bare.session, GNUTLS_SHUT_WR), "bye");
    flush();
    bare_close();
}

static void take_bare(int fd)
{
    static unsigned char piece[RECORD];
    size_t got = 0;
    ssize_t n;

    bare_open(GNUTLS_SERVER, "host-cert.pem", "host-key.pem", fd);
    while ((n = gnutls_record_recv(bare.session, piece, sizeof(piece))) > 0)
        got += (size_t)n;
    need((int)n, "receive");
    if (got != bytes)
        die("not all has arrived");
    bare_close();
}

/* ---- measuring ---- */

struct cost {
    double seconds;
    double sender; /* processor time */
    double taker;
};

static double cpu_of(const struct rusage *use)
{
    return (double)use->ru_utime.tv_sec + (double)use->ru_stime.tv_sec +
           1e-6 * (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec);
}

static double wait_for(pid_t pid)
{
    struct rusage use;
    int status;

    if (wait4(pid, &status, 0, &use) != pid || status != 0)
        die("a process failed");
    return cpu_of(&use);
}

static pid_t start(void (*part)(int), int fd, int other)
{
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid)
        return pid;
    close(other);
    part(fd);
    exit(0);
}

static struct cost run(void (*sends)(int), void (*takes)(int))
{
    struct cost cost;
    double began = now();
    pid_t sender, taker;
    int fds[2];

    connect_pair(fds);
    lseek(file, 0, SEEK_SET);
    sender = start(sends, fds[0], fds[1]);
    taker = start(takes, fds[1], fds[0]);
    close(fds[0]);
    close(fds[1]);
    cost.sender = wait_for(sender);
    cost.taker = wait_for(taker);
    cost.seconds = now() - began;
    return cost;
}

static int by_seconds(const void *a, const void *b)
{
    double left = ((const struct cost *)a)->seconds, right = ((const struct cost *)b)->seconds;

    return left < right ? -1 : left > right;
}

static double tell(const char *name, struct cost *costs, int rounds)
{
    const struct cost *median = &costs[rounds / 2];
    double rate;

    qsort(costs, (size_t)rounds, sizeof(*costs), by_seconds);
    rate = (double)bytes / MIB / median->seconds;
    printf("%-14s %6.0f MiB/s   (%.0f to %.0f)   processor: sender %.2f s, receiver %.2f s\n", name,
           rate, (double)bytes / MIB / costs[rounds - 1].seconds,
           (double)bytes / MIB / costs[0].seconds, median->sender, median->taker);
    return rate;
}

int main(int argc, char **argv)
{
    struct cost ours[ROUNDS_MAX], others[ROUNDS_MAX];
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    double ratio;

    if (argc > 1)
        bytes = strtoul(argv[1], NULL, 10) * MIB;
    if (rounds < 1 || rounds > ROUNDS_MAX || !bytes)
        return 2;
    file = make_file();
    pki_begin(NULL);
    for (int i = 0; i < rounds; i++) {
        ours[i] = run(send_ours, take_ours);
        others[i] = run(send_bare, take_bare);
    }
    ratio = tell("channels", ours, rounds);
    ratio /= tell("GnuTLS alone", others, rounds);
    printf("%-14s %6.2f\n", "ratio", ratio);
    pki_end(NULL);
    return 0;
}

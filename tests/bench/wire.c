/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file into nothing through all of it: an upload on the public API, client and server in two
 * processes, over a UNIX socket and over TLS with certificates. The server's volume is a file that
 * takes every write and keeps none. In the same run GnuTLS alone, and what else is installed.
 *
 *     wire [MIB [ROUNDS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "race.h"
#include "tests/unit/app.h"
#include "tests/unit/pki.h"
#include "tests/unit/served.h"

enum { RACERS_MAX = 8, URI_MAX = 512 };

/* ---- ours ---- */

static ssize_t keep_nothing(int fd, const struct iovec *from, int count)
{
    ssize_t n = 0;

    (void)fd;
    for (int i = 0; i < count; i++)
        n += (ssize_t)from[i].iov_len;
    return n;
}

static int sync_nothing(int fd)
{
    (void)fd;
    return 0;
}

/* It is there as long as the server. */
static void write_to_nowhere(struct served *served)
{
    static struct vst_file_calls calls;
    static struct vst_worker *worker;

    calls = vst_file_calls_real;
    calls.writev = keep_nothing;
    calls.fsync = sync_nothing;
    worker = vst_worker_get(served->base, NULL);
    vst_worker_set_file_calls(worker, &calls);
}

static void listen_with_tls(struct served *served)
{
    struct vst_policy policy = served_policy(VST_ROLE_ADMIN, NULL);

    policy.creds = pki_creds(VST_TLS_SERVER, "ca", "host", NULL);
    vst_access_add(policy.access, VST_ROLE_ADMIN, "x509:*", NULL);
    served_set_policy(served, &policy);
    served_listen_tcp(served, VST_LISTEN_TLS);
}

static void print_uri(const struct served *served, bool tls, char uri[URI_MAX])
{
    if (tls)
        snprintf(uri, URI_MAX, "test+tls://127.0.0.1:%d/?ca=%s&cert=%s&key=%s", served->port,
                 pki_path("ca-cert.pem"), pki_path("alice-cert.pem"), pki_path("alice-key.pem"));
    else
        snprintf(uri, URI_MAX, "test+unix://%s", served->path);
}

/* The connection of the race is how the client learns the URI, and the server that it has gone. */
static void serve(int fd, bool tls)
{
    struct served served;
    char pool[] = "/tmp/virstream-bench-XXXXXX", uri[URI_MAX];

    if (!mkdtemp(pool))
        race_die(pool);
    snprintf(uri, URI_MAX, "test:///?domains=0&pool.p=%s", pool);
    served_start(&served, uri, VST_ROLE_ADMIN, NULL);
    write_to_nowhere(&served);
    if (tls)
        listen_with_tls(&served);
    print_uri(&served, tls, uri);
    if (write(fd, uri, URI_MAX) != URI_MAX)
        race_die("the client");
    while (!served_stats(&served).calls_ended || served_stats(&served).clients)
        event_base_loop(served.base, EVLOOP_ONCE);
    if (served_stats(&served).received != race.bytes) {
        fprintf(stderr, "not all has arrived\n");
        exit(1);
    }
    unlink(served.path);
    rmdir(served.dir);
    snprintf(uri, URI_MAX, "%s/volume", pool);
    unlink(uri);
    rmdir(pool);
}

static void take_unix(int fd)
{
    serve(fd, false);
}

static void take_tls(int fd)
{
    serve(fd, true);
}

static void check(const struct outcome *outcome)
{
    if (!vst_error_is_set(&outcome->err))
        return;
    fprintf(stderr, "%s\n", outcome->err.text);
    exit(1);
}

static void upload(int fd)
{
    struct app app = {.base = event_base_new()};
    struct outcome opened = {0}, outcome = {0};
    struct vst_stream *stream;
    char uri[URI_MAX];

    for (size_t n = 0; n < URI_MAX;) {
        ssize_t got = read(fd, uri + n, URI_MAX - n);

        if (got <= 0)
            exit(1);
        n += (size_t)got;
    }
    vst_conn_open(app.base, uri, NULL, outcome_conn(&opened));
    outcome_await(app.base, &opened);
    check(&opened);
    app.conn = opened.conn;
    stream = vst_stream_new(app.base, NULL);
    vst_stream_set_source_fd(stream, &race.file);
    vst_volume_upload(app.conn, "p/volume", stream, NULL, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    check(&outcome);
    vst_stream_free(&stream);
    app_stop(&app);
}

/* ---- others ---- */

static _Noreturn void become(const char *command)
{
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    race_die(command);
}

/* Descriptor 3 is the connection, standard input the file. */
static void send_by(int fd, const char *command)
{
    dup2(race.file, STDIN_FILENO);
    dup2(fd, 3);
    become(command);
}

static void send_by_socat(int fd)
{
    send_by(fd, "exec socat -u -b 262144 FD:0 FD:3");
}

static void take_by_socat(int fd)
{
    dup2(fd, 3);
    become("exec socat -u -b 262144 FD:3 OPEN:/dev/null");
}

/* A server of its own, with a key of its own, that ssh starts; no port, no user's files. */
#define SSH                                                                             \
    "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "   \
    "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentityFile=$BENCH_DIR/key " \
    "-o ProxyCommand=\"$(PATH=$PATH:/usr/sbin command -v sshd) -i -f /dev/null "        \
    "-h $BENCH_DIR/key -o AuthorizedKeysFile=$BENCH_DIR/key.pub -o StrictModes=no\" "   \
    "localhost "

static void send_by_ssh(int fd)
{
    send_by(fd, SSH "'cat >/dev/null'");
}

static void send_by_virsh(int fd)
{
    send_by(fd, "exec virsh -q vol-upload --pool default virstream-bench /dev/stdin");
}

static void is_another(int fd)
{
    (void)fd;
}

static const struct {
    struct racer racer;
    const char *needs; /* to succeed */
    const char *after;
} others[] = {
    {{.name = "socat, TCP", .sends = send_by_socat, .takes = take_by_socat},
     "command -v socat",
     "true"},
    {{.name = "ssh", .sends = send_by_ssh, .takes = is_another},
     "ssh-keygen -q -t ed25519 -N '' -f $BENCH_DIR/key && " SSH "true",
     "true"},
    {{.name = "virsh vol-upload", .sends = send_by_virsh, .takes = is_another},
     "virsh -q vol-create-as default virstream-bench 1",
     "virsh -q vol-delete --pool default virstream-bench"},
};

enum { OTHERS = sizeof(others) / sizeof(*others) };

static bool works(const char *command)
{
    char line[1024];

    snprintf(line, sizeof(line), "{ %s; } >/dev/null 2>&1", command);
    return system(line) == 0;
}

static size_t add_others(struct racer *racers, size_t count)
{
    for (size_t i = 0; i < OTHERS; i++) {
        if (works(others[i].needs))
            racers[count++] = others[i].racer;
        else
            printf("%-24s not here\n", others[i].racer.name);
    }
    return count;
}

int main(int argc, char **argv)
{
    struct racer racers[RACERS_MAX] = {
        {.name = "virstream, UNIX socket", .sends = upload, .takes = take_unix},
        {.name = "virstream, TLS", .sends = upload, .takes = take_tls},
        {.name = "GnuTLS alone", .sends = race_send_gnutls, .takes = race_take_gnutls},
    };
    char dir[] = "/tmp/virstream-bench-XXXXXX";
    size_t count;

    race_begin(argc, argv, 1024);
    if (!mkdtemp(dir) || setenv("BENCH_DIR", dir, true) < 0)
        race_die(dir);
    count = add_others(racers, 3);
    race_run(racers, count);
    race_compare(&racers[1], &racers[2], "0.90");
    for (size_t i = 0; i < OTHERS; i++)
        works(others[i].after);
    works("rm -r $BENCH_DIR");
    race_end();
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ours: two virstreamds with roots of their own, which reach each other over TLS with certificates,
 * and an application that asks the one that has the guest to move it to the other.
 */
#include "migrate.h"

#include <ftw.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/pki.h"
#include "virstream/virstream.h"

struct host {
    char name; /* 'a', 'b' */
    pid_t daemon;
    int port;
    struct vst_conn *conn;
};

static struct host hosts[2] = {{.name = 'a'}, {.name = 'b'}};
static struct event_base *base;
static char guests[4][16]; /* their names, for the end */

static const char *path_of(const struct host *host, const char *what)
{
    static char path[PATH_ROOM];

    snprintf(path, sizeof(path), "%s/%c/%s", dir, host->name, what);
    return path;
}

/* ---- daemons ---- */

static void configure(const struct host *host)
{
    FILE *file = fopen(path_of(host, "conf"), "we");

    if (!file)
        die(path_of(host, "conf"), "cannot be written");
    /* It does not see that die() never returns. */
    // cppcheck-suppress nullPointerRedundantCheck
    fprintf(file,
            "[daemon]\nroot = %s/%c/root\n[listen]\nunix = %s/%c/socket\ntls = 127.0.0.1:%d\n"
            "[tls]\nca = %s\ncert = %s\nkey = %s\n"
            "[access]\nadmin = unix:%d\ntransfer = x509:CN=host\n",
            dir, host->name, dir, host->name, host->port, pki_path("ca-cert.pem"),
            pki_path("host-cert.pem"), pki_path("host-key.pem"), (int)getuid());
    // cppcheck-suppress nullPointerRedundantCheck
    fclose(file);
}

static _Noreturn void become_daemon(const struct host *host)
{
    char program[PATH_MAX + 16];

    snprintf(program, sizeof(program), "%s/virstreamd", build);
    if (!freopen(path_of(host, "log"), "w", stderr))
        _exit(1);
    execl(program, "virstreamd", "--config", path_of(host, "conf"), (char *)NULL);
    _exit(127);
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_conn **)opaque = conn;
}

/* Its socket is there a moment before it listens. */
static void connect_to(struct host *host)
{
    struct vst_conn_cb cb = {opened, &host->conn, NULL};
    struct vst_error err = {0};
    char uri[PATH_ROOM + 32];

    snprintf(uri, sizeof(uri), "qemu+unix://%s", path_of(host, "socket"));
    for (int i = 0; i < 2000; i++) {
        err = (struct vst_error){0};
        if (vst_op_wait(vst_conn_open(base, uri, NULL, &cb), &err) == 0)
            return;
        usleep(10000);
    }
    die(uri, err.text);
}

static void begin_host(struct host *host)
{
    mkdir(path_of(host, ""), 0700);
    host->port = free_port();
    configure(host);
    host->daemon = start_process();
    if (host->daemon == 0)
        become_daemon(host);
    connect_to(host);
}

void hosts_begin(void)
{
    base = event_base_new();
    for (int i = 0; i < 2; i++)
        begin_host(&hosts[i]);
}

void hosts_processor(double ret_seconds[2])
{
    for (int i = 0; i < 2; i++)
        ret_seconds[i] = processor_of(hosts[i].daemon);
}

/* ---- guests ---- */

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(struct vst_domain **)opaque = domain;
}

/* NULL: not there. */
static struct vst_domain *look_up(const struct host *host, const char *name)
{
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_error err = {0};

    if (!host->conn || vst_op_wait(vst_conn_lookup(host->conn, name, &cb), &err) < 0)
        return NULL;
    return domain;
}

static void remember(const char *name)
{
    size_t i = 0;

    while (guests[i][0])
        i++;
    snprintf(guests[i], sizeof(guests[i]), "%s", name);
}

void hosts_start_guest(const char *name, const char *mode)
{
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {found, &domain, NULL};
    struct vst_error err = {0};
    char definition[PATH_MAX + PATH_ROOM];

    remember(name);
    snprintf(definition, sizeof(definition),
             "{\"name\":\"%s\",\"machine\":\"pc\",\"accel\":\"tcg\",\"memory-mib\":%u,"
             "\"vcpus\":1,\"kernel\":\"%s\",\"append\":\"mode=%s\",\"console\":{\"log\":"
             "\"%s/%s.log\"}}",
             name, memory_mib, kernel, mode, dir, name);
    if (vst_op_wait(vst_domain_start(hosts[0].conn, definition, NULL, &cb), &err) < 0)
        die(name, err.text);
    vst_domain_free(&domain);
    wait_for_count(name);
}

/* What a daemon has received in streams of all its clients. */
static void keep_received(const char *json, const struct vst_error *err, void *opaque)
{
    struct json_object *stats = err ? NULL : json_tokener_parse(json), *server, *received;

    if (json_object_object_get_ex(stats, "server", &server) &&
        json_object_object_get_ex(server, "received", &received))
        *(uint64_t *)opaque = json_object_get_uint64(received);
    json_object_put(stats);
}

static uint64_t received_by(const struct host *host)
{
    uint64_t received = 0;
    struct vst_stats_cb cb = {keep_received, &received, NULL};
    struct vst_error err = {0};

    if (vst_op_wait(vst_conn_get_stats(host->conn, &cb), &err) < 0)
        die("stats", err.text);
    return received;
}

uint64_t hosts_move(const char *name, int zstd_level, bool offline)
{
    struct vst_domain *domain = look_up(&hosts[0], name);
    struct host *there = domain ? &hosts[1] : &hosts[0];
    struct vst_migrate_options options = {
        .zstd_level = zstd_level, .offline = offline, .downtime_ms = DOWNTIME_MS};
    struct vst_error err = {0};
    uint64_t before = received_by(there);
    char uri[64];

    if (!domain && !(domain = look_up(&hosts[1], name)))
        die(name, "is on neither host");
    snprintf(uri, sizeof(uri), "qemu+tls://127.0.0.1:%d/", there->port);
    if (vst_op_wait(vst_domain_migrate(domain, uri, &options, NULL), &err) < 0)
        die(name, err.text);
    vst_domain_free(&domain);
    return received_by(there) - before;
}

/* ---- the end ---- */

static void destroy(const struct host *host, const char *name)
{
    struct vst_domain *domain = look_up(host, name);
    struct vst_error err = {0};

    if (!domain)
        return;
    if (vst_op_wait(vst_domain_destroy(domain, NULL), &err) < 0)
        fprintf(stderr, "migrate: %s is left: %s\n", name, err.text);
    vst_domain_free(&domain);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void hosts_end(void)
{
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < sizeof(guests) / sizeof(*guests); j++)
            if (guests[j][0])
                destroy(&hosts[i], guests[j]);
        vst_conn_close(&hosts[i].conn);
        if (hosts[i].daemon > 0) {
            kill(hosts[i].daemon, SIGKILL);
            waitpid(hosts[i].daemon, NULL, 0);
        }
    }
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

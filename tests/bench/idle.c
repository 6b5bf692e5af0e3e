/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What clients cost that were let in and do nothing: memory of the server for each, and its
 * processor time. They are in another process; fewer than asked for where descriptors are short.
 *
 *     idle [CLIENTS]
 */
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remote/greeting.h"
#include "tests/unit/pki.h"
#include "tests/unit/served.h"

enum { KIB = 1024, SPARE = 200, SECONDS = 5, UNIX_LIMIT = 12, TLS_LIMIT = 40 };

static struct served served;
static size_t clients = 10000;

/* ---- the clients ---- */

struct joining {
    bool done;
    struct vst_channel *transport;
};

static void greeted(void *opaque, const struct vst_greeting_result *result,
                    const struct vst_error *err)
{
    struct joining *joining = opaque;

    if (err) {
        fprintf(stderr, "a client was not let in: %s\n", err->text);
        _exit(1);
    }
    joining->done = true;
    joining->transport = result->transport;
}

static struct vst_channel *connect_to_server(struct event_base *base, struct vst_tls_creds *creds)
{
    struct vst_tls_options opt = {.role = VST_TLS_CLIENT, .host = "127.0.0.1"};
    int fd = creds ? served_connect_tcp(&served) : served_connect(&served);
    struct vst_channel *socket = vst_channel_fd(base, &fd, NULL);

    return creds ? vst_channel_tls(socket, creds, &opt, NULL) : socket;
}

static void join(struct event_base *base, struct vst_tls_creds *creds)
{
    struct vst_greeting_options opt = {
        .role = VST_SASL_CLIENT,
        .software = "idle",
        .driver = "test",
        .window = VST_WINDOW_INITIAL,
    };
    struct joining joining = {.done = false};
    struct vst_greeting_cb cb = {greeted, &joining};
    struct vst_greeting *greeting =
        vst_greeting_new(connect_to_server(base, creds), &opt, NULL, &cb, NULL);

    while (!joining.done)
        event_base_loop(base, EVLOOP_ONCE);
    vst_greeting_free(&greeting);
}

static pid_t begin_clients(struct vst_tls_creds *creds)
{
    pid_t pid = fork();
    struct event_base *base;

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    base = event_base_new();
    for (size_t i = 0; i < clients; i++)
        join(base, creds);
    for (;;)
        pause();
}

/* ---- the server ---- */

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* In whole pages of the process: what the kernel gave, not what was asked for. */
static double resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    long pages = 0;

    if (!file || fscanf(file, "%*d %ld", &pages) != 1)
        exit(1);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / KIB;
}

static bool measure(const char *name, struct vst_tls_creds *creds, double limit)
{
    size_t before = mallinfo2().uordblks;
    double resident = resident_kib(), each, cpu;
    pid_t pid = begin_clients(creds);

    while (served_stats(&served).clients < clients && waitpid(pid, NULL, WNOHANG) == 0)
        served_run(&served, 20);
    served_run(&served, 1000);
    each = (double)(mallinfo2().uordblks - before) / KIB / (double)clients;
    resident = (resident_kib() - resident) / (double)clients;
    cpu = cpu_seconds();
    served_run(&served, SECONDS * 1000);
    cpu = (cpu_seconds() - cpu) / SECONDS * 100;
    printf("%-5s %zu idle clients: %5.1f KiB each (at most %.0f), %5.1f KiB resident, %.2f %% of a "
           "processor\n",
           name, clients, each, limit, resident, cpu);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (served_stats(&served).clients)
        served_run(&served, 20);
    return each <= limit && cpu < 1;
}

static void begin_server(void)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    struct vst_policy policy;

    limits.clients = limits.per_source = clients + 1;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    policy = served_policy(VST_ROLE_ADMIN, &limits);
    policy.creds = pki_creds(VST_TLS_SERVER, "ca", "host", NULL);
    vst_access_add(policy.access, VST_ROLE_ADMIN, "x509:*", NULL);
    served_set_policy(&served, &policy);
    served_listen_tcp(&served, VST_LISTEN_TLS);
}

int main(int argc, char **argv)
{
    struct vst_tls_creds *creds;
    struct rlimit files;
    bool good;

    if (argc > 1)
        clients = strtoul(argv[1], NULL, 10);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (clients + SPARE > files.rlim_cur)
        clients = files.rlim_cur - SPARE;
    pki_begin(NULL);
    begin_server();
    creds = pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL);
    good = measure("unix", NULL, UNIX_LIMIT);
    good &= measure("tls", creds, TLS_LIMIT);
    vst_tls_creds_unref(&creds);
    served_stop(&served);
    pki_end(NULL);
    return good ? 0 : 1;
}

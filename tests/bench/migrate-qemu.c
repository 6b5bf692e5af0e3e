/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's own migration: from process to process over TCP, plain or with its own TLS. The monitors
 * are spoken to by hand. It has what ours has: no limit of bandwidth, the same downtime,
 * certificates on both sides.
 */
#include "migrate.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/pki.h"

/* Waits for a word from QEMU, which may be in the middle of anything. */
static void expect(const struct qemu_guest *guest, const char *word)
{
    static char seen[64 * 1024];
    size_t used = 0;
    ssize_t n;

    while (used < sizeof(seen) - 1 &&
           (n = read(guest->monitor, seen + used, sizeof(seen) - 1 - used)) > 0) {
        used += (size_t)n;
        seen[used] = '\0';
        if (strstr(seen, "\"error\"") || strstr(seen, "\"failed\""))
            die("QEMU", seen);
        if (strstr(seen, word))
            return;
    }
    die("QEMU has not said", word);
}

static void tell(const struct qemu_guest *guest, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(const struct qemu_guest *guest, const char *format, ...)
{
    char line[1024];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (write(guest->monitor, line, (size_t)n) != n)
        die("QEMU", "its monitor is closed");
}

/* QEMU wants names of its own for the files. */
static const char *credentials(void)
{
    static const char *const names[][2] = {
        {"ca-cert.pem", "ca-cert.pem"},     {"host-cert.pem", "server-cert.pem"},
        {"host-key.pem", "server-key.pem"}, {"host-cert.pem", "client-cert.pem"},
        {"host-key.pem", "client-key.pem"},
    };
    static char path[PATH_ROOM];
    char name[PATH_ROOM + 32];

    snprintf(path, sizeof(path), "%s/tls", dir);
    if (mkdir(path, 0700) < 0)
        return path; /* it is there */
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(name, sizeof(name), "%s/%s", path, names[i][1]);
        if (symlink(pki_path(names[i][0]), name) < 0)
            die(name, "link");
    }
    return path;
}

/* The devices are those that our driver gives such a guest. */
static _Noreturn void become_qemu(const struct qemu_guest *guest, int monitor, bool incoming)
{
    char memory[32], chardev[64], log[PATH_ROOM], append[] = "mode=F", tls[2][PATH_ROOM + 128];
    static const char *const ends[] = {"server", "client"};

    fcntl(monitor, F_SETFD, 0);
    snprintf(memory, sizeof(memory), "%uM", memory_mib);
    snprintf(chardev, sizeof(chardev), "socket,id=monitor,fd=%d", monitor);
    snprintf(log, sizeof(log), "file,id=console,path=%s/%s.log,append=on", dir, guest->name);
    for (int i = 0; i < 2; i++)
        snprintf(tls[i], sizeof(tls[i]), "tls-creds-x509,id=%s,dir=%s,endpoint=%s,verify-peer=on",
                 ends[i], credentials(), ends[i]);
    execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-m",
           memory, "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-vga",
           "none", "-kernel", kernel, "-append", append, "-chardev", chardev, "-mon",
           "chardev=monitor,mode=control", "-chardev", log, "-serial", "chardev:console", "-object",
           tls[0], "-object", tls[1], incoming ? "-incoming" : (char *)NULL, "defer", (char *)NULL);
    die("qemu-system-x86_64", "exec");
}

static void start_qemu(struct qemu_guest *guest, bool incoming)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair", "failed");
    guest->pid = start_process();
    if (guest->pid == 0)
        become_qemu(guest, ends[1], incoming);
    close(ends[1]);
    guest->monitor = ends[0];
    expect(guest, "QMP");
    tell(guest, "{\"execute\":\"qmp_capabilities\"}");
    expect(guest, "return");
    tell(guest, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
                "[{\"capability\":\"events\",\"state\":true}]}}");
    expect(guest, "return");
}

static void set_parameters(const struct qemu_guest *guest, const char *end)
{
    tell(guest,
         "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":"
         "9223372036854775807,\"downtime-limit\":%d,\"tls-creds\":\"%s\",\"tls-hostname\":"
         "\"%s\"}}",
         DOWNTIME_MS, guest->tls ? end : "", guest->tls ? "host.example" : "");
    expect(guest, "return");
}

void qemu_start_guest(struct qemu_guest *guest, const char *name, bool tls)
{
    snprintf(guest->name, sizeof(guest->name), "%s", name);
    guest->tls = tls;
    start_qemu(guest, false);
    wait_for_count(name);
}

void qemu_end(struct qemu_guest *guest)
{
    close(guest->monitor);
    kill(guest->pid, SIGKILL);
    waitpid(guest->pid, NULL, 0);
}

void qemu_move(struct qemu_guest *guest)
{
    struct qemu_guest there = *guest;
    int port = free_port();

    start_qemu(&there, true);
    set_parameters(&there, "server");
    tell(&there, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:%d\"}}",
         port);
    expect(&there, "return");
    set_parameters(guest, "client");
    tell(guest, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:%d\"}}", port);
    expect(&there, "RESUME");
    expect(guest, "completed");
    qemu_end(guest);
    *guest = there;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon as a service: what it tells systemd in the course of its life, and the sockets that it
 * gets from there.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pki.h"
#include "remote/daemon.h"
#include "test.h"
#include "virstream/trace.h"

static char dir[] = "/tmp/virstream-service-XXXXXX";
static char program[4096];
static int systemd; /* its end */

static const char *in_dir(const char *name)
{
    static char path[80];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void write_configuration(void)
{
    FILE *file = fopen(in_dir("conf"), "we");

    assert_non_null(file);
    fprintf(file, "[daemon]\nserve = test:///?domains=1\n[listen]\nunix = %s\n", in_dir("sock"));
    fprintf(file, "[access]\nadmin = unix:*\n");
    assert_int_equal(fclose(file), 0);
}

static int make(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)state;
    snprintf(program, sizeof(program), "%s/virstreamd", getenv("VIRSTREAM_BUILD"));
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(dir));
    write_configuration();
    systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", in_dir("notify"));
    return bind(systemd, (struct sockaddr *)&address, sizeof(address));
}

static int drop(void **state)
{
    (void)state;
    close(systemd);
    unlink(in_dir("conf"));
    unlink(in_dir("notify"));
    return rmdir(dir);
}

/* What systemd does for a socket unit: descriptors from 3 on, and their names. */
static void pass(const int *sockets, int count, const char *names)
{
    char number[24];

    for (int i = 0; i < count; i++)
        dup2(sockets[i], VST_LISTEN_FDS_FIRST + i);
    snprintf(number, sizeof(number), "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    snprintf(number, sizeof(number), "%d", count);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static pid_t begin(const int *sockets, int count, const char *names)
{
    pid_t pid = vst_test_fork();

    if (pid)
        return pid;
    if (count)
        pass(sockets, count, names);
    setenv("NOTIFY_SOCKET", in_dir("notify"), 1);
    setenv("WATCHDOG_USEC", "200000", 1);
    unsetenv("WATCHDOG_PID");
    (void)!freopen("/dev/null", "w", stderr);
    execl(program, program, "--config", in_dir("conf"), NULL);
    _exit(127);
}

/* Everything up to a message that begins so. */
static void await(const char *text)
{
    char message[600];
    ssize_t n;

    do {
        n = recv(systemd, message, sizeof(message) - 1, 0);
        assert_true(n > 0);
        message[n] = '\0';
    } while (strncmp(message, text, strlen(text)) != 0);
}

static void systemd_is_told_of_a_whole_life(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (!getenv("VIRSTREAM_BUILD"))
        return;
    pid = begin(NULL, 0, NULL);
    await("READY=1");
    await("STATUS=0 clients, 0 calls, 0 streams");
    await("WATCHDOG=1");
    await("WATCHDOG=1");
    kill(pid, SIGHUP);
    await("RELOADING=1\nMONOTONIC_USEC=");
    await("READY=1");
    assert_int_equal(access(in_dir("sock"), F_OK), 0);
    kill(pid, SIGTERM);
    await("STOPPING=1");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(access(in_dir("sock"), F_OK), -1);
}

/* When the connection is open, and the daemon is about to hear of that. */
static void terminate_once(unsigned category, const char *line, void *opaque)
{
    static bool done;

    (void)category, (void)opaque;
    if (done || !strstr(line, "-> OP_DECIDED"))
        return;
    done = true;
    raise(SIGTERM);
}

static int life_that_ends_while_it_begins(void)
{
    static const struct vst_trace trace = {VST_TRACE_STATE, terminate_once, NULL};
    struct vst_daemon_start start = {0};
    struct vst_error err = {0};

    setenv("NOTIFY_SOCKET", in_dir("notify"), 1);
    if (vst_notify_open(&start.notify, &err) < 0)
        return 127;
    start.file = in_dir("conf");
    start.config = vst_daemon_read(start.file, NULL, NULL, NULL);
    if (!start.config)
        return 127;
    vst_trace_set(&trace);
    return vst_daemon_run(&start);
}

static void daemon_that_is_ended_while_it_starts_does_not_go_on(void **state)
{
    char message[600];
    int status;
    ssize_t n;
    pid_t pid = vst_test_fork();

    (void)state;
    if (!pid)
        _exit(life_that_ends_while_it_begins());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    while ((n = recv(systemd, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
        message[n] = '\0';
        assert_null(strstr(message, "READY=1"));
    }
}

/* systemd reads when it likes; what counts is not lost meanwhile. */
static void what_systemd_has_no_room_for_is_told_later(void **state)
{
    struct vst_notify notify;
    struct vst_error err = {0};
    char message[600];

    (void)state;
    setenv("NOTIFY_SOCKET", in_dir("notify"), 1);
    setenv("WATCHDOG_USEC", "200000", 1);
    assert_int_equal(vst_notify_open(&notify, &err), 0);
    while (!notify.waiting_count)
        vst_notify_send(&notify, "X");
    vst_notify_send(&notify, "RELOADING=1");
    vst_notify_send(&notify, "READY=1");
    vst_notify_live(&notify); /* no room: this one is lost */
    assert_int_equal(notify.waiting_count, 3);
    while (recv(systemd, message, sizeof(message), MSG_DONTWAIT) == 1)
        continue;
    vst_notify_live(&notify);
    await("X");
    await("RELOADING=1");
    await("READY=1");
    await("WATCHDOG=1");
    assert_int_equal(recv(systemd, message, sizeof(message), MSG_DONTWAIT), -1);
    while (notify.waiting_count < VST_NOTIFY_MESSAGES)
        vst_notify_send(&notify, "X");
    vst_notify_send(&notify, "READY=1"); /* it is not systemd that makes us grow */
    assert_int_equal(notify.waiting_count, VST_NOTIFY_MESSAGES);
    vst_notify_close(&notify);
}

static int listen_on(int family, struct sockaddr *address, socklen_t length)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), high;

    assert_int_equal(bind(fd, address, length), 0);
    assert_int_equal(listen(fd, 5), 0);
    high = fcntl(fd, F_DUPFD_CLOEXEC, 20); /* away from where the daemon's will be */
    close(fd);
    return high;
}

static void write_tls_configuration(void)
{
    FILE *file = fopen(in_dir("conf"), "we");

    assert_non_null(file);
    fprintf(file, "[daemon]\nserve = test:///?domains=1\n[access]\nadmin = unix:*\n[tls]\n");
    fprintf(file, "ca = %s\n", pki_path("ca-cert.pem"));
    fprintf(file, "cert = %s\n", pki_path("host-cert.pem"));
    fprintf(file, "key = %s\n", pki_path("host-key.pem"));
    assert_int_equal(fclose(file), 0);
}

/* The certificates of a TLS socket that is not the first are loaded again, and not forgotten. */
static void tls_socket_of_systemd_outlives_a_reload(void **state)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET};
    socklen_t length = sizeof(port);
    int sockets[2], status, fd;
    pid_t pid;

    if (!getenv("VIRSTREAM_BUILD"))
        return;
    pki_begin(state);
    write_tls_configuration();
    snprintf(path.sun_path, sizeof(path.sun_path), "%s", in_dir("sock"));
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockets[0] = listen_on(AF_UNIX, (struct sockaddr *)&path, sizeof(path));
    sockets[1] = listen_on(AF_INET, (struct sockaddr *)&port, sizeof(port));
    getsockname(sockets[1], (struct sockaddr *)&port, &length);
    pid = begin(sockets, 2, "virstreamd.socket:tls");
    await("READY=1");
    kill(pid, SIGHUP);
    await("RELOADING=1");
    await("READY=1");
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&port, length), 0);
    await("WATCHDOG=1");
    await("WATCHDOG=1");
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(fd);
    close(sockets[0]);
    close(sockets[1]);
    unlink(in_dir("sock"));
    pki_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(systemd_is_told_of_a_whole_life, make, drop),
        VST_TEST_WITH(daemon_that_is_ended_while_it_starts_does_not_go_on, make, drop),
        VST_TEST_WITH(what_systemd_has_no_room_for_is_told_later, make, drop),
        VST_TEST_WITH(tls_socket_of_systemd_outlives_a_reload, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

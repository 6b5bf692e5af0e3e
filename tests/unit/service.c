/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon as a service: what it tells systemd in the course of its life.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

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

static pid_t begin(void)
{
    pid_t pid = fork();

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
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
    pid = begin();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(systemd_is_told_of_a_whole_life, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client against QEMU itself, without a machine: that what the fake server imitates is so.
 */
#include "qmp-talk.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char program[] = "qemu-system-x86_64";

/* QEMU with its monitor on this socket, which is closed here. */
static pid_t spawn(int monitor, const char *options)
{
    char chardev[64];
    pid_t pid;

    snprintf(chardev, sizeof(chardev), "socket,id=m0,fd=%d%s", monitor, options);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fcntl(monitor, F_SETFD, 0);
        execlp(program, program, "-M", "none", "-nodefaults", "-display", "none", "-S", "-chardev",
               chardev, "-mon", "chardev=m0,mode=control", (char *)NULL);
        _exit(127);
    }
    close(monitor);
    return pid;
}

static void wait_until_ready(struct vst_talk *talk)
{
    vst_talk_until(talk, ")"); /* or closed */
    assert_int_equal(strncmp(talk->log, "ready(", 6), 0);
    assert_in_range(talk->log[6], '1', '9');
    talk->log[0] = '\0';
}

/* A conversation that has begun, and QEMU's process. */
static pid_t begin(struct vst_talk *talk)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid = spawn(ends[1], "");
    vst_talk_begin_on(talk, ends[0]);
    wait_until_ready(talk);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void quit(struct vst_talk *talk, pid_t pid)
{
    talk->log[0] = '\0';
    vst_talk_ask(talk, "quit");
    vst_talk_until(talk, "closed(driver)");
    assert_non_null(strstr(talk->log, "quit={}")); /* before or after the event */
    assert_non_null(strstr(talk->log, "SHUTDOWN"));
    assert_int_equal(wait_for(pid), 0);
    vst_talk_end(talk);
}

static void questions_are_answered(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);
    struct vst_talk_ask *status = vst_talk_ask(&talk, "query-status");
    struct vst_talk_ask *machines = vst_talk_ask(&talk, "query-machines");
    struct vst_talk_ask *schema = vst_talk_ask(&talk, "query-qmp-schema");

    (void)state;
    vst_talk_until(&talk, "query-machines=... query-qmp-schema=...");
    assert_int_equal(status->err.code, VST_ERR_OK);
    assert_non_null(strstr(talk.log, "query-status={\"status\":\"prelaunch\""));
    assert_true(json_object_array_length(machines->value) > 10);
    assert_true(json_object_array_length(schema->value) > 500);
    quit(&talk, pid);
}

static void refusals_come_in_the_words_of_qemu(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);
    struct vst_talk_ask *unknown = vst_talk_ask(&talk, "no-such-command");
    struct vst_talk_ask *wrong = vst_talk_ask(&talk, "closefd");

    (void)state;
    vst_talk_until(&talk, "closefd=driver");
    assert_string_equal(unknown->err.text, "no-such-command: The command no-such-command has not "
                                           "been found (CommandNotFound)");
    assert_string_equal(wrong->err.text, "closefd: Parameter 'fdname' is missing");
    quit(&talk, pid);
}

static void send_fdname(struct vst_talk *talk, const char *command, const char *name, int *fd)
{
    struct vst_qmp_reply reply = vst_talk_reply(talk, command);
    struct json_object *arguments = json_object_new_object();
    struct vst_error err = {0};

    json_object_object_add(arguments, "fdname", json_object_new_string(name));
    assert_int_equal(vst_qmp_send(talk->qmp, command, arguments, fd, VST_QMP_SECONDS, reply, &err),
                     0);
}

static void a_descriptor_arrives(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);
    struct vst_talk_ask *without;
    int ends[2];
    char byte;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    without = &talk.asks[talk.asked];
    send_fdname(&talk, "getfd", "a", NULL);
    send_fdname(&talk, "getfd", "a", &ends[1]);
    send_fdname(&talk, "closefd", "a", NULL);
    send_fdname(&talk, "closefd", "a", NULL);
    vst_talk_until(&talk, "closefd=driver");
    assert_string_equal(talk.log, "getfd=driver getfd={} closefd={} closefd=driver");
    assert_string_equal(without->err.text, "getfd: No file descriptor supplied via SCM_RIGHTS");
    assert_int_equal(read(ends[0], &byte, 1), 0); /* QEMU's copy was the last */
    close(ends[0]);
    quit(&talk, pid);
}

static void a_burst_of_commands_is_answered_in_order(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);

    (void)state;
    for (int i = 1; i < VST_QMP_PENDING_MAX; i++)
        vst_talk_ask(&talk, "query-name");
    vst_talk_ask(&talk, "query-kvm");
    vst_talk_until(&talk, "}");
    while (!strstr(talk.log, "query-kvm={"))
        event_base_loop(talk.base, EVLOOP_ONCE);
    for (int i = 0; i < VST_QMP_PENDING_MAX; i++)
        assert_int_equal(talk.asks[i].err.code, VST_ERR_OK);
    quit(&talk, pid);
}

static void a_qemu_that_is_killed_has_closed_its_monitor(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);

    (void)state;
    kill(pid, SIGSTOP);
    vst_talk_ask(&talk, "query-status");
    vst_talk_settle(&talk);
    kill(pid, SIGKILL);
    vst_talk_until(&talk, "closed(driver)");
    assert_string_equal(talk.log, "query-status=lost closed(driver)");
    assert_true(WIFSIGNALED(wait_for(pid)));
    vst_talk_end(&talk);
}

static void a_qemu_that_hangs_is_a_timeout_and_goes_on_later(void **state)
{
    struct vst_talk talk;
    pid_t pid = begin(&talk);

    (void)state;
    kill(pid, SIGSTOP);
    vst_talk_ask_within(&talk, "query-status", 0.1);
    vst_talk_until(&talk, "query-status=timeout");
    kill(pid, SIGCONT);
    vst_talk_ask(&talk, "query-name");
    vst_talk_until(&talk, "query-name={}");
    quit(&talk, pid);
}

/* A socket to listen at, under a name that the kernel gives. */
static int listen_anywhere(struct sockaddr_un *ret_name, socklen_t *ret_length)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *ret_name = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_length = sizeof(*ret_name);
    assert_int_equal(bind(fd, (struct sockaddr *)ret_name, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_name, ret_length), 0);
    return fd;
}

static int connect_to(const struct sockaddr_un *name, socklen_t length)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)name, length), 0);
    return fd;
}

/* Leaves after the greeting with commands under way. */
static void die_amid_commands(int fd)
{
    static const char commands[] = "{\"execute\": \"qmp_capabilities\", \"id\": 1}\n"
                                   "{\"execute\": \"query-qmp-schema\", \"id\": 2}\n"
                                   "{\"execute\": \"query-machines\", \"id\": 3}\n";
    char greeting[512];

    assert_true(read(fd, greeting, sizeof(greeting)) > 0);
    assert_int_equal(write(fd, commands, sizeof(commands) - 1), sizeof(commands) - 1);
    close(fd);
}

static void what_a_dead_client_asked_does_not_disturb_the_next(void **state)
{
    struct vst_talk talk;
    struct sockaddr_un name;
    socklen_t length;
    pid_t pid = spawn(listen_anywhere(&name, &length), ",server=on,wait=off");

    (void)state;
    for (int round = 0; round < 20; round++) {
        die_amid_commands(connect_to(&name, length));
        vst_talk_begin_on(&talk, connect_to(&name, length));
        wait_until_ready(&talk);
        vst_talk_ask(&talk, "query-name");
        vst_talk_until(&talk, "query-name={}");
        if (round < 19)
            vst_talk_end(&talk);
    }
    quit(&talk, pid);
}

static int is_installed(void)
{
    char command[64];

    snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
    return system(command) == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(questions_are_answered),
        VST_TEST(refusals_come_in_the_words_of_qemu),
        VST_TEST(a_descriptor_arrives),
        VST_TEST(a_burst_of_commands_is_answered_in_order),
        VST_TEST(a_qemu_that_is_killed_has_closed_its_monitor),
        VST_TEST(a_qemu_that_hangs_is_a_timeout_and_goes_on_later),
        VST_TEST(what_a_dead_client_asked_does_not_disturb_the_next),
    };

    if (!is_installed()) {
        printf("1..0 # SKIP %s is not in PATH\n", program);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

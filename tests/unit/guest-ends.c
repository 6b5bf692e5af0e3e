/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the end of a guest is told that nobody has watched: by what QEMU left in its log. A guest
 * that powers off is not taken for one that has crashed, and old words not for last ones.
 */
#include "host.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct vst_host host;

static int begin(void **state)
{
    char *definition;
    struct vst_error err = {0};

    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    definition = vst_host_counting(&host, "g", "P");
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    vst_host_expect_counting(&host, "g", 2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_host_clear(&host);
    return 0;
}

static const struct vst_host_process *qemu(void)
{
    return &host.started->processes[host.started->count - 1];
}

static void wait_for_the_end(void)
{
    for (int tries = 0; vst_host_is_alive(qemu()); tries++) {
        assert_true(tries < 1000);
        usleep(10000);
    }
}

static void expect_crashed(const char *reason)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    vst_host_run(&host, 50); /* for a connection that has hold of it */
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), 0);
    assert_int_equal(info.state, VST_DOMAIN_CRASHED);
    assert_non_null(strstr(info.reason, reason));
    assert_int_equal(vst_host_destroy(&host, "g", &err), 0);
}

/* `q` makes it power off. */
static void press_q(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/g/console", host.dir);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(write(fd, "q", 1), 1);
    wait_for_the_end();
    close(fd);
}

static void a_guest_that_powers_off_while_nobody_looks_has_shut_down(void **state)
{
    struct vst_domain_info info;
    struct vst_error err = {0};

    (void)state;
    vst_host_disconnect(&host);
    press_q();
    vst_host_connect(&host);
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_int_equal(vst_host_entries(&host, "root"), 0);
}

/* QEMU says so to the monitor, and both its words and its end are seen later. */
static void a_guest_that_is_ended_in_order_while_the_loop_stands_has_shut_down(void **state)
{
    struct vst_domain_info info;
    struct vst_error err = {0};

    (void)state;
    kill(qemu()->pid, SIGTERM);
    wait_for_the_end();
    vst_host_run(&host, 50);
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_int_equal(vst_host_entries(&host, "root"), 0);
}

static void a_guest_that_is_killed_while_nobody_looks_has_crashed(void **state)
{
    (void)state;
    vst_host_disconnect(&host);
    kill(qemu()->pid, SIGKILL);
    wait_for_the_end();
    vst_host_connect(&host);
    expect_crashed("ended without a word");
}

static void kill_it(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
    kill(qemu()->pid, SIGKILL);
}

/* As of a QEMU that is being killed and has closed its sockets already. */
static void let_the_monitor_refuse(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/root/g/monitor", host.dir);
    assert_int_equal(unlink(address.sun_path), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void a_guest_that_is_killed_while_it_is_opened_has_crashed(void **state)
{
    static const struct timeval soon = {0, 200000};
    struct vst_error err = {0};

    (void)state;
    vst_host_disconnect(&host);
    let_the_monitor_refuse();
    vst_host_connect(&host);
    assert_int_equal(event_base_once(host.base, -1, EV_TIMEOUT, kill_it, NULL, &soon), 0);
    assert_int_equal(vst_host_suspend(&host, "g", &err), -1);
    assert_int_equal(err.code, VST_ERR_DRIVER);
    assert_non_null(strstr(err.text, "qemu g: ended without a word"));
    wait_for_the_end();
    expect_crashed("ended without a word");
}

static void say_in_the_log(const char *words)
{
    char path[100];
    FILE *log;

    snprintf(path, sizeof(path), "%s/root/g/log", host.dir);
    log = fopen(path, "ae");
    assert_non_null(log);
    fputs(words, log);
    fclose(log);
}

/* Lines without an end, as of a device that complains of everything. */
static void say_much_in_the_log(void)
{
    static char words[1024 * 1024];
    char path[100];
    int fd;

    memset(words, 'x', sizeof(words));
    for (size_t i = 99; i < sizeof(words); i += 100)
        words[i] = '\n';
    snprintf(path, sizeof(path), "%s/root/g/log", host.dir);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(write(fd, words, sizeof(words)), sizeof(words));
    close(fd);
}

static off_t log_takes(void)
{
    char path[100];
    struct stat st;

    snprintf(path, sizeof(path), "%s/root/g/log", host.dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_blocks * 512;
}

static void a_log_that_has_grown_loses_its_beginning_and_not_its_end(void **state)
{
    struct vst_domain_info info;
    struct vst_error err = {0};

    (void)state;
    /* By whoever has hold of the guest, in time, */
    say_much_in_the_log();
    assert_true(log_takes() >= 4 * 1024 * 1024);
    for (int i = 0; log_takes() > 1024 * 1024; i++) {
        assert_true(i < 1000);
        vst_host_run(&host, 50);
    }
    /* ... and by whoever gets hold of it. */
    vst_host_disconnect(&host);
    say_much_in_the_log();
    say_in_the_log("qemu-system-x86_64: the disk is on fire\n");
    vst_host_connect(&host);
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), 0);
    assert_in_range(log_takes(), 1, 128 * 1024);
    kill(qemu()->pid, SIGKILL);
    wait_for_the_end();
    expect_crashed("the disk is on fire");
}

static void words_from_before_a_save_are_not_the_last_ones(void **state)
{
    struct vst_save_options keep = {.keep_running = true};
    struct vst_error err = {0};
    char image[100];

    (void)state;
    snprintf(image, sizeof(image), "%s/image", host.dir);
    say_in_the_log("qemu-system-x86_64: warning: long ago\n");
    assert_int_equal(vst_host_save(&host, "g", vst_host_sink_file(&host, image), &keep, &err), 0);
    kill(qemu()->pid, SIGKILL);
    wait_for_the_end();
    expect_crashed("ended without a word");
}

static void words_from_after_a_save_are(void **state)
{
    struct vst_save_options keep = {.keep_running = true};
    struct vst_error err = {0};
    char image[100];

    (void)state;
    snprintf(image, sizeof(image), "%s/image", host.dir);
    assert_int_equal(vst_host_save(&host, "g", vst_host_sink_file(&host, image), &keep, &err), 0);
    say_in_the_log("qemu-system-x86_64: the disk is on fire\n");
    kill(qemu()->pid, SIGKILL);
    wait_for_the_end();
    expect_crashed("the disk is on fire");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_guest_that_powers_off_while_nobody_looks_has_shut_down, begin, end),
        VST_TEST_WITH(a_guest_that_is_ended_in_order_while_the_loop_stands_has_shut_down, begin,
                      end),
        VST_TEST_WITH(a_guest_that_is_killed_while_nobody_looks_has_crashed, begin, end),
        VST_TEST_WITH(a_guest_that_is_killed_while_it_is_opened_has_crashed, begin, end),
        VST_TEST_WITH(a_log_that_has_grown_loses_its_beginning_and_not_its_end, begin, end),
        VST_TEST_WITH(words_from_before_a_save_are_not_the_last_ones, begin, end),
        VST_TEST_WITH(words_from_after_a_save_are, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

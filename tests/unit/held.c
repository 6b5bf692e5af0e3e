/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests, and what is left of guests, that somebody else has hold of: for a moment, as whoever asks
 * how they are, and for ever. The lock is of a descriptor, so this test can have it like another
 * process.
 */
#include "host.h"

#include <event2/buffer.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vst_host host;
static int lock_fd = -1;
static const struct timeval a_moment = {0, 300000};

static void let_go(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
    if (lock_fd >= 0)
        close(lock_fd);
    lock_fd = -1;
}

static void let_go_in_a_moment(void)
{
    assert_int_equal(event_base_once(host.base, -1, EV_TIMEOUT, let_go, NULL, &a_moment), 0);
}

static bool is_held(void)
{
    return lock_fd >= 0;
}

static void take_hold(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[100];

    snprintf(path, sizeof(path), "%s/root/g/lock", host.dir);
    lock_fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(lock_fd >= 0);
    assert_int_equal(fcntl(lock_fd, F_OFD_SETLK, &lock), 0);
}

static void take_hold_for_a_moment(void)
{
    take_hold();
    let_go_in_a_moment();
}

static void start(void)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
}

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    start();
    return 0;
}

static int end(void **state)
{
    (void)state;
    let_go(-1, 0, NULL);
    host.edge = NULL;
    vst_host_clear(&host);
    return 0;
}

static void let_it_be_nobodys(void)
{
    vst_host_disconnect(&host);
    vst_host_connect(&host);
}

/* Of it only the directory is left, and nobody has hold of that. */
static void let_it_crash(void)
{
    const struct vst_host_process *qemu = &host.started->processes[host.started->count - 1];

    vst_host_disconnect(&host);
    assert_int_equal(kill(qemu->pid, SIGKILL), 0);
    for (int tries = 0; vst_host_is_alive(qemu); tries++) {
        assert_true(tries < 1000);
        usleep(10000);
    }
    vst_host_connect(&host);
}

static void a_guest_that_is_held_for_a_moment_is_waited_for(void **state)
{
    struct vst_error err = {0};

    (void)state;
    let_it_be_nobodys();
    take_hold_for_a_moment();
    if (vst_host_suspend(&host, "g", &err) < 0)
        fail_msg("suspend: %s", err.text);
    assert_false(is_held());
}

static void a_guest_that_is_held_for_ever_is_busy(void **state)
{
    struct vst_error err = {0};

    (void)state;
    let_it_be_nobodys();
    take_hold();
    assert_int_equal(vst_host_suspend(&host, "g", &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
    assert_non_null(strstr(err.text, "has hold of domain g"));
    let_go(-1, 0, NULL);
    assert_int_equal(vst_host_suspend(&host, "g", &err), 0);
}

static void suspend(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    bool *asked = opaque;

    (void)err;
    *asked = domain && vst_domain_suspend(domain, NULL);
    vst_domain_free(&domain);
}

static void a_connection_may_go_while_a_guest_is_waited_for(void **state)
{
    bool asked = false;
    struct vst_domain_cb cb = {suspend, &asked, NULL};
    struct vst_error err = {0};

    (void)state;
    let_it_be_nobodys();
    take_hold();
    assert_int_equal(vst_op_wait(vst_conn_lookup(host.conn, "g", &cb), &err), 0);
    assert_true(asked);
    vst_host_run(&host, 100);
    vst_host_disconnect(&host);
    let_go(-1, 0, NULL);
    vst_host_connect(&host);
    assert_int_equal(vst_host_suspend(&host, "g", &err), 0);
}

static void whoever_asks_how_it_is_does_not_wait(void **state)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    (void)state;
    let_it_be_nobodys();
    take_hold_for_a_moment();
    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), 0);
    assert_true(is_held());
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    assert_int_not_equal(info.busy_pid, 0);
}

static void a_start_waits_for_what_has_its_name(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    let_it_be_nobodys();
    take_hold_for_a_moment();
    assert_int_equal(vst_host_start(&host, definition, &err), -1);
    assert_int_equal(err.code, VST_ERR_EXISTS);
    assert_false(is_held());
    let_it_crash();
    take_hold_for_a_moment();
    assert_int_equal(vst_host_start(&host, definition, &err), 0);
    assert_false(is_held());
    let_it_crash();
    take_hold();
    err = (struct vst_error){0};
    assert_int_equal(vst_host_start(&host, definition, &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
    free(definition);
}

/* From when it wants the name, the remains that have it are held for a moment. */
static void hold_from_naming_on(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    if (strcmp(machine, "restore") == 0 && strncmp(to, "RESTORE_NAMING", 14) == 0)
        let_go_in_a_moment();
}

static void a_restore_waits_for_what_has_its_name(void **state)
{
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};

    (void)state;
    assert_non_null(image);
    if (vst_host_save(&host, "g", vst_host_sink(&host, image), NULL, &err) < 0)
        fail_msg("save: %s", err.text);
    start();
    let_it_crash();
    take_hold();
    host.edge = hold_from_naming_on;
    if (vst_host_restore(&host, vst_host_source(&host, image), NULL, &err) < 0)
        fail_msg("restore: %s", err.text);
    assert_false(is_held());
    evbuffer_free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_guest_that_is_held_for_a_moment_is_waited_for, begin, end),
        VST_TEST_WITH(a_guest_that_is_held_for_ever_is_busy, begin, end),
        VST_TEST_WITH(a_connection_may_go_while_a_guest_is_waited_for, begin, end),
        VST_TEST_WITH(whoever_asks_how_it_is_does_not_wait, begin, end),
        VST_TEST_WITH(a_start_waits_for_what_has_its_name, begin, end),
        VST_TEST_WITH(a_restore_waits_for_what_has_its_name, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

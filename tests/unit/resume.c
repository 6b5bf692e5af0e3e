/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A restore that somebody wants to end when QEMU has been told to let the guest run: too late, it
 * may run. QEMU is this program, too (fake-qemu.h), and is stopped just before it hears of it.
 */
#include "fake-qemu.h"
#include "host.h"

#include <event2/buffer.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    struct vst_host host;
    struct evbuffer *image;
    struct vst_stream *stream;
    struct vst_op *op;
    bool resuming;
    unsigned ends; /* of the operation */
    struct vst_error err;
} t;

static pid_t qemu(void)
{
    return t.host.started->processes[t.host.started->count - 1].pid;
}

static void stop_before_resuming(void *opaque, const char *machine, const char *to)
{
    (void)opaque, (void)machine;
    if (strcmp(to, "RESTORE_RESUMING") != 0 && strcmp(to, "START_RESUMING") != 0)
        return;
    t.resuming = true;
    kill(qemu(), SIGSTOP);
}

static void restored(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    t.ends++;
    if (err)
        t.err = *err;
    vst_domain_free(&domain);
}

static const char *define(const char *name, const char *order)
{
    static char definition[300];

    snprintf(definition, sizeof(definition),
             "{\"name\": \"%s\", \"machine\": \"fake\", \"accel\": \"tcg\", \"memory-mib\": 1, "
             "\"vcpus\": 1, \"args\": [\"-misbehave\", \"%s\"]}",
             name, order);
    return definition;
}

/* The image has in it how QEMU answers. */
static void make_image(const char *order)
{
    struct vst_save_options opt = {0};
    const char *definition = define("g", order);
    struct vst_error err = {0};

    if (vst_host_start(&t.host, definition, &err) < 0 ||
        vst_host_save(&t.host, "g", vst_host_sink(&t.host, t.image), &opt, &err) < 0)
        fail_msg("making an image: %s", err.text);
}

/* Until QEMU is about to be told, and does not hear it. */
static void restore_until_resuming(const char *order)
{
    static const struct vst_domain_cb cb = {.fn = restored};

    make_image(order);
    t.host.edge = stop_before_resuming;
    t.stream = vst_host_source(&t.host, t.image);
    t.op = vst_domain_restore(t.host.conn, t.stream, NULL, &cb);
    while (!t.resuming && !t.ends)
        event_base_loop(t.host.base, EVLOOP_ONCE);
    assert_true(t.resuming);
}

static void start_until_resuming(void)
{
    static const struct vst_domain_cb cb = {.fn = restored};

    t.host.edge = stop_before_resuming;
    t.op = vst_domain_start(t.host.conn, define("g", "none=none"), NULL, &cb);
    while (!t.resuming && !t.ends)
        event_base_loop(t.host.base, EVLOOP_ONCE);
    assert_true(t.resuming);
}

/* More turns than anything takes that does not wait for QEMU. */
static void let_all_hear_of_it(void)
{
    for (int i = 0; i < 100; i++)
        event_base_loop(t.host.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.ends, 0);
    kill(qemu(), SIGCONT);
    while (!t.ends)
        event_base_loop(t.host.base, EVLOOP_ONCE);
    assert_int_equal(t.ends, 1);
}

static void expect_running(void)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    if (vst_error_is_set(&t.err))
        fail_msg("restore: %s", t.err.text);
    assert_int_equal(vst_host_get_info(&t.host, "g", &info, NULL), 0);
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    assert_int_equal(vst_host_destroy(&t.host, "g", &err), 0);
}

static int make(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    vst_test_seconds(60);
    vst_host_make_with(&t.host, vst_fake_qemu_put_in_path);
    t.image = evbuffer_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_stream_free(&t.stream);
    evbuffer_free(t.image);
    vst_host_expect_nothing(&t.host);
    vst_host_clear(&t.host);
    return 0;
}

static void guest_that_was_told_to_run_outlives_a_cancel(void **state)
{
    (void)state;
    restore_until_resuming("none=none");
    vst_op_cancel(t.op);
    let_all_hear_of_it();
    expect_running();
}

static void guest_that_was_told_to_run_outlives_its_deadline(void **state)
{
    static const struct timeval now = {0, 1};

    (void)state;
    restore_until_resuming("none=none");
    assert_int_equal(vst_op_set_timeout(t.op, &now), 0);
    vst_host_run(&t.host, 20); /* the clock is a coarse one */
    let_all_hear_of_it();
    expect_running();
}

static void guest_that_was_told_to_run_outlives_the_stream(void **state)
{
    (void)state;
    restore_until_resuming("none=none");
    vst_stream_abort(t.stream, "not any more");
    let_all_hear_of_it();
    expect_running();
}

static void guest_that_was_told_to_start_outlives_a_cancel(void **state)
{
    (void)state;
    start_until_resuming();
    vst_op_cancel(t.op);
    let_all_hear_of_it();
    expect_running();
}

static void expect_kept(const char *name)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    assert_int_equal(vst_host_get_info(&t.host, name, &info, NULL), 0);
    assert_true(info.pid > 0);
    assert_int_equal(vst_host_destroy(&t.host, name, &err), 0);
}

/* For half a minute this does nothing but wait. */
static void guest_of_a_qemu_that_is_silent_then_is_kept(void **state)
{
    static const struct vst_domain_cb cb = {.fn = restored};

    (void)state;
    vst_test_seconds(180);
    make_image("in:cont=silence");
    t.stream = vst_host_source(&t.host, t.image);
    vst_domain_restore(t.host.conn, t.stream, NULL, &cb);
    vst_domain_start(t.host.conn, define("h", "cont=silence"), NULL, &cb);
    while (t.ends < 2) {
        event_base_loop(t.host.base, EVLOOP_ONCE);
        if (t.ends == 0)
            continue;
        assert_int_equal(t.err.code, VST_ERR_TIMEOUT);
        assert_non_null(strstr(t.err.text, "was told to run the guest, and does not answer"));
    }
    expect_kept("g");
    expect_kept("h");
}

static void restore_it(void)
{
    static const struct vst_domain_cb cb = {.fn = restored};

    t.stream = vst_host_source(&t.host, t.image);
    t.op = vst_domain_restore(t.host.conn, t.stream, NULL, &cb);
    while (t.ends < 1)
        event_base_loop(t.host.base, EVLOOP_ONCE);
}

static void start_with(const char *order)
{
    static const struct vst_domain_cb cb = {.fn = restored};

    vst_domain_start(t.host.conn, define("h", order), NULL, &cb);
    while (t.ends < 1)
        event_base_loop(t.host.base, EVLOOP_ONCE);
}

static void expect_told_as_left(void)
{
    assert_true(vst_error_is_set(&t.err));
    if (!strstr(t.err.text, "was told to run the guest, and is left as it is"))
        fail_msg("%s", t.err.text);
}

static void guest_that_was_told_to_start_outlives_its_monitor(void **state)
{
    (void)state;
    start_with("cont=hang-up");
    expect_told_as_left();
    expect_kept("h");
}

static void guest_that_was_told_to_run_outlives_its_monitor(void **state)
{
    (void)state;
    make_image("in:cont=hang-up");
    restore_it();
    expect_told_as_left();
    expect_kept("g");
}

static void nothing_is_left_of_a_qemu_that_dies_when_told_to_run(void **state)
{
    (void)state;
    start_with("cont=die");
    assert_non_null(strstr(t.err.text, "this is the end"));
    vst_host_expect_nothing(&t.host);
}

/* It stands still, and has never run: nothing is left. */
static void restore_fails_when_qemu_does_not_let_the_guest_run(void **state)
{
    (void)state;
    restore_until_resuming("in:cont=refuse");
    vst_op_cancel(t.op);
    let_all_hear_of_it();
    assert_int_equal(t.err.code, VST_ERR_DRIVER);
    assert_non_null(strstr(t.err.text, "the fake does not like it"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(guest_that_was_told_to_run_outlives_a_cancel, make, drop),
        VST_TEST_WITH(guest_that_was_told_to_run_outlives_its_deadline, make, drop),
        VST_TEST_WITH(guest_that_was_told_to_run_outlives_the_stream, make, drop),
        VST_TEST_WITH(guest_that_was_told_to_start_outlives_a_cancel, make, drop),
        VST_TEST_WITH(guest_of_a_qemu_that_is_silent_then_is_kept, make, drop),
        VST_TEST_WITH(guest_that_was_told_to_start_outlives_its_monitor, make, drop),
        VST_TEST_WITH(guest_that_was_told_to_run_outlives_its_monitor, make, drop),
        VST_TEST_WITH(nothing_is_left_of_a_qemu_that_dies_when_told_to_run, make, drop),
        VST_TEST_WITH(restore_fails_when_qemu_does_not_let_the_guest_run, make, drop),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

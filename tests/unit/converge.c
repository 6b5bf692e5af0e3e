/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that changes its memory faster than it is sent: what people are told, and what becomes of
 * it when the time is over. QEMU is made up (fake-qemu.h): a real one without KVM passes over the
 * memory once, and how many passes another needs is up to the machine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake-qemu.h"
#include "host.h"

static struct vst_host host;
static time_t set_forward; /* the host's clock, in seconds */

/* In place of the C library's. */
time_t time(time_t *ret_now)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now)
        *ret_now = now.tv_sec + set_forward;
    return now.tv_sec + set_forward;
}

static char there[128]; /* URI */
static struct vst_conn *far;
static char *self;

/* Our own path, under QEMU's name, comes first in PATH. */
static void put_fake_in_path(const struct vst_host *made)
{
    char path[200], file[100];

    snprintf(file, sizeof(file), "%s/qemu-system-x86_64", made->dir);
    assert_int_equal(symlink(self, file), 0);
    snprintf(path, sizeof(path), "%s:/usr/bin:/bin", made->dir);
    setenv("PATH", path, 1);
}

static void have_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err)
        fail_msg("there: %s", err->text);
    far = conn;
}

/* With a guest whose QEMU misbehaves in that way. */
static void begin_with(const char *how)
{
    struct vst_conn_cb cb = {.fn = have_conn};
    struct vst_error err = {0};
    char definition[200];

    snprintf(definition, sizeof(definition),
             "{\"name\": \"g\", \"machine\": \"fake\", \"accel\": \"tcg\", \"memory-mib\": 1, "
             "\"vcpus\": 1, \"args\": [\"-misbehave\", \"%s\"]}",
             how);
    vst_test_seconds(60);
    vst_host_make_with(&host, put_fake_in_path);
    snprintf(there, sizeof(there), "qemu:///?root=%s/there", host.dir);
    vst_op_wait(vst_conn_open(host.base, there, NULL, &cb), NULL);
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
}

/* It never comes to rest. */
static int begin(void **state)
{
    (void)state;
    begin_with("migrate=restless");
    return 0;
}

static int begin_endless(void **state)
{
    (void)state;
    begin_with("migrate=endless");
    return 0;
}

/* Its monitor goes when the guest is brought back, and is there again later. */
static int begin_deaf(void **state)
{
    (void)state;
    begin_with("query-named-block-nodes=hang-up");
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_conn_close(&far);
    vst_host_run(&host, 10);
    vst_host_clear(&host);
    return 0;
}

static struct vst_domain *found;

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err, (void)opaque;
    found = domain;
}

static struct vst_domain *look_up(struct vst_conn *conn)
{
    struct vst_domain_cb cb = {.fn = have_domain};

    found = NULL;
    vst_op_wait(vst_conn_lookup(conn, "g", &cb), NULL);
    return found;
}

static enum vst_domain_state state_seen;

static void have_info(const struct vst_domain_info *infos, size_t count,
                      const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (!err && count == 1)
        state_seen = infos[0].state;
}

static bool runs(struct vst_conn *conn)
{
    struct vst_domain *domain = look_up(conn);
    struct vst_info_cb cb = {.fn = have_info};

    state_seen = VST_DOMAIN_PAUSED;
    if (domain)
        vst_op_wait(vst_domain_get_info(domain, &cb), NULL);
    vst_domain_free(&domain);
    return state_seen == VST_DOMAIN_RUNNING;
}

/* ---- migrations ---- */

static struct {
    bool done;
    struct vst_error err;
} outcome;

static void over(const struct vst_error *err, void *opaque)
{
    (void)opaque;
    outcome.done = true;
    if (err)
        outcome.err = *err;
}

static struct vst_op *begin_moving(const struct vst_migrate_options *opt)
{
    struct vst_domain *domain = look_up(host.conn);
    struct vst_op *op;

    assert_non_null(domain);
    memset(&outcome, 0, sizeof(outcome));
    op = vst_domain_migrate(domain, there, opt, &(struct vst_done){.fn = over});
    vst_domain_free(&domain);
    return op;
}

static void await_outcome(void)
{
    while (!outcome.done)
        event_base_loop(host.base, EVLOOP_ONCE);
}

static struct vst_migration_info seen;

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (!err && count > 0)
        seen = infos[0];
}

static void look(void)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
}

static void await_verdict(const char *beginning)
{
    memset(&seen, 0, sizeof(seen));
    while (strncmp(seen.verdict, beginning, strlen(beginning)) != 0) {
        if (outcome.done)
            fail_msg("it is over: %s; the last verdict was `%s`", outcome.err.text, seen.verdict);
        vst_host_run(&host, 20);
        look();
    }
}

#define HOPELESS                                                                         \
    "not converging: 64 MiB/s dirtied, 8 MiB/s sent; allow more bandwidth or downtime, " \
    "auto-converge, or post-copy"

static void people_are_told_that_it_does_not_converge_and_what_would_help(void **state)
{
    (void)state;
    begin_moving(NULL);
    await_verdict("first pass");
    await_verdict("not converging");
    assert_string_equal(seen.verdict, HOPELESS);
    assert_true(seen.pass > 2);
    assert_string_equal(seen.phase, "memory");
    assert_false(seen.over);
    assert_int_equal(vst_op_wait(vst_conn_order_migration(host.conn, seen.token,
                                                          VST_MIGRATION_CANCEL, NULL, NULL),
                                 NULL),
                     0);
    await_outcome();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    look();
    assert_true(seen.pass > 2); /* what was sent stays known, but nothing is left to be */
    assert_int_equal(seen.left, 0);
    assert_int_equal(seen.rate, 0);
    assert_int_equal(seen.dirty_rate, 0);
    assert_true(runs(host.conn));
    assert_false(runs(far));
}

static void when_the_time_is_over_it_is_given_up_with_that_verdict(void **state)
{
    (void)state;
    begin_moving(&(struct vst_migrate_options){.timeout_seconds = 4});
    await_outcome();
    assert_int_equal(outcome.err.code, VST_ERR_TIMEOUT);
    if (!strstr(outcome.err.text, "it was not over in 4 seconds; " HOPELESS))
        fail_msg("%s", outcome.err.text);
    assert_true(runs(host.conn));
    assert_false(runs(far));
}

static void when_the_time_is_over_the_guest_can_be_paused_and_comes_to_an_end(void **state)
{
    (void)state;
    begin_moving(
        &(struct vst_migrate_options){.timeout_seconds = 4, .then = VST_MIGRATE_THEN_SUSPEND});
    await_verdict("not converging");
    await_outcome();
    if (vst_error_is_set(&outcome.err))
        fail_msg("%s", outcome.err.text);
    assert_false(runs(host.conn));
    assert_true(runs(far));
    look();
    assert_true(seen.downtime_ms >= VST_FAKE_CALM_MS); /* it stood still for all of that */
}

static void clock_that_is_set_forward_ends_nothing(void **state)
{
    unsigned pass;

    (void)state;
    begin_moving(&(struct vst_migrate_options){.timeout_seconds = 3000});
    await_verdict("not converging");
    set_forward = 3600;
    for (pass = seen.pass; !outcome.done && seen.pass < pass + 6; look())
        vst_host_run(&host, 20);
    set_forward = 0;
    assert_false(outcome.done);
    vst_op_wait(vst_conn_order_migration(host.conn, seen.token, VST_MIGRATION_CANCEL, NULL, NULL),
                NULL);
    await_outcome();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
}

static unsigned downtimes, bandwidths; /* that QEMU was told */

static void hear_line(void *opaque, const char *line)
{
    (void)opaque;
    if (!strstr(line, "migrate-set-parameters"))
        return;
    downtimes += strstr(line, "downtime-limit") != NULL;
    bandwidths += strstr(line, "max-bandwidth") != NULL;
}

static void change(struct vst_migration_change new_values)
{
    downtimes = bandwidths = 0;
    assert_int_equal(vst_op_wait(vst_conn_order_migration(host.conn, seen.token, VST_MIGRATION_SET,
                                                          &new_values, NULL),
                                 NULL),
                     0);
    vst_host_run(&host, 20);
}

static void qemu_is_told_only_what_changes(void **state)
{
    (void)state;
    begin_moving(NULL);
    await_verdict("first pass");
    host.line = hear_line;
    change((struct vst_migration_change){.downtime_ms = 7});
    assert_int_equal(downtimes, 1);
    assert_int_equal(bandwidths, 0);
    change((struct vst_migration_change){.bandwidth = 7000});
    assert_int_equal(downtimes, 0);
    assert_int_equal(bandwidths, 1);
    change((struct vst_migration_change){.bandwidth = 7000, .downtime_ms = 7});
    assert_int_equal(downtimes, 1);
    assert_int_equal(bandwidths, 1);
    host.line = NULL;
}

static struct {
    bool begun, moving, mending, back;
    unsigned rescues;
} edges;

static bool is_edge(const char *to, const char *state)
{
    return strncmp(to, state, strlen(state)) == 0;
}

static void hear_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque, (void)machine;
    edges.begun |= is_edge(to, "DEPARTURE_CAPABILITIES");
    edges.moving |= is_edge(to, "DEPARTURE_MOVING");
    edges.mending |= is_edge(to, "GUEST_MENDING");
    edges.rescues += is_edge(to, "RESCUE_OVER");
    edges.back |= is_edge(to, "SOURCE_TELLING");
}

/* The clock of the machine asks again and again meanwhile. */
static void guest_that_takes_long_to_be_mended_is_mended_once(void **state)
{
    (void)state;
    memset(&edges, 0, sizeof(edges));
    host.edge = hear_edge;
    begin_moving(NULL);
    while (!edges.moving)
        event_base_loop(host.base, EVLOOP_ONCE);
    look();
    vst_op_wait(vst_conn_order_migration(host.conn, seen.token, VST_MIGRATION_CANCEL, NULL, NULL),
                NULL);
    while (!edges.back)
        event_base_loop(host.base, EVLOOP_ONCE);
    assert_true(edges.mending);
    assert_int_equal(edges.rescues, 1);
    await_outcome();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    assert_true(runs(host.conn));
}

/* Nobody waits for a QEMU that may never answer; it is brought back all the same. */
static void cancelled_one_that_qemu_does_not_give_back_is_told_at_once(void **state)
{
    struct vst_op *op;

    (void)state;
    memset(&edges, 0, sizeof(edges));
    host.edge = hear_edge;
    op = begin_moving(NULL);
    while (!edges.begun) /* long before it would be too late */
        event_base_loop(host.base, EVLOOP_ONCE);
    vst_op_cancel(op);
    await_outcome();
    assert_false(edges.back);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_non_null(strstr(outcome.err.text, "QEMU does not let it go on"));
    while (!edges.back)
        event_base_loop(host.base, EVLOOP_ONCE);
    assert_true(runs(host.conn));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(people_are_told_that_it_does_not_converge_and_what_would_help, begin, end),
        VST_TEST_WITH(when_the_time_is_over_it_is_given_up_with_that_verdict, begin, end),
        VST_TEST_WITH(when_the_time_is_over_the_guest_can_be_paused_and_comes_to_an_end, begin,
                      end),
        VST_TEST_WITH(qemu_is_told_only_what_changes, begin, end),
        VST_TEST_WITH(clock_that_is_set_forward_ends_nothing, begin, end),
        VST_TEST_WITH(cancelled_one_that_qemu_does_not_give_back_is_told_at_once, begin_deaf, end),
        VST_TEST_WITH(guest_that_takes_long_to_be_mended_is_mended_once, begin_endless, end),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    self = realpath("/proc/self/exe", NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

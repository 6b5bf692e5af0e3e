/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that changes its memory faster than it is sent: what people are told, and what becomes of
 * it when the time is over. QEMU is made up (fake-qemu.h): a real one without KVM passes over the
 * memory once, and how many passes another needs is up to the machine.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "restless.h"

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

/* It never comes to rest. */
static int begin(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "");
    return 0;
}

static int begin_endless(void **state)
{
    (void)state;
    restless_begin("migrate=endless", "");
    return 0;
}

/* Its monitor goes when the guest is brought back, and is there again later. */
static int begin_deaf(void **state)
{
    (void)state;
    restless_begin("query-named-block-nodes=hang-up", "");
    return 0;
}

static int begin_restless_and_deaf(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "query-named-block-nodes=hang-up");
    return 0;
}

#define HOPELESS                                                                         \
    "not converging: 64 MiB/s dirtied, 8 MiB/s sent; allow more bandwidth or downtime, " \
    "auto-converge, or post-copy"

static void people_are_told_that_it_does_not_converge_and_what_would_help(void **state)
{
    (void)state;
    restless_move(NULL);
    restless_await_verdict("first pass");
    restless_await_verdict("not converging");
    assert_string_equal(seen.verdict, HOPELESS);
    assert_true(seen.pass > 2);
    assert_int_equal(seen.phase, VST_MIGRATION_PHASE_MEMORY);
    assert_false(seen.over);
    assert_int_equal(vst_op_wait(vst_conn_order_migration(source.conn, seen.token,
                                                          VST_MIGRATION_CANCEL, NULL, NULL),
                                 NULL),
                     0);
    restless_await();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    restless_look();
    assert_true(seen.pass > 2); /* what was sent stays known, but nothing is left to be */
    assert_int_equal(seen.left, 0);
    assert_int_equal(seen.rate, 0);
    assert_int_equal(seen.dirty_rate, 0);
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
}

static void when_the_time_is_over_it_is_given_up_with_that_verdict(void **state)
{
    (void)state;
    restless_move(&(struct vst_migrate_options){.timeout_seconds = 4});
    restless_await();
    assert_int_equal(outcome.err.code, VST_ERR_TIMEOUT);
    if (!strstr(outcome.err.text, "it was not over in 4 seconds; " HOPELESS))
        fail_msg("%s", outcome.err.text);
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
}

static void when_the_time_is_over_the_guest_can_be_paused_and_comes_to_an_end(void **state)
{
    (void)state;
    restless_move(
        &(struct vst_migrate_options){.timeout_seconds = 4, .then = VST_MIGRATE_THEN_SUSPEND});
    restless_await_verdict("not converging");
    restless_await();
    if (vst_error_is_set(&outcome.err))
        fail_msg("%s", outcome.err.text);
    assert_false(far_runs(source.conn, "g"));
    assert_true(far_runs(destination, "g"));
    restless_look();
    assert_true(seen.downtime_ms >= VST_FAKE_CALM_MS); /* it stood still for all of that */
}

static void clock_that_is_set_forward_ends_nothing(void **state)
{
    unsigned pass;

    (void)state;
    restless_move(&(struct vst_migrate_options){.timeout_seconds = 3000});
    restless_await_verdict("not converging");
    set_forward = 3600;
    for (pass = seen.pass; !outcome.done && seen.pass < pass + 6; restless_look())
        vst_host_run(&source, 20);
    set_forward = 0;
    assert_false(outcome.done);
    vst_op_wait(vst_conn_order_migration(source.conn, seen.token, VST_MIGRATION_CANCEL, NULL, NULL),
                NULL);
    restless_await();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
}

static struct {
    bool begun, moving, undoing, mending, back;
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
    edges.undoing |= is_edge(to, "DEPARTURE_UNDOING");
    edges.mending |= is_edge(to, "GUEST_MENDING");
    edges.rescues += is_edge(to, "RESCUE_OVER");
    edges.back |= is_edge(to, "SOURCE_TELLING");
}

/* The clock of the machine asks again and again meanwhile. */
static void guest_that_takes_long_to_be_mended_is_mended_once(void **state)
{
    (void)state;
    memset(&edges, 0, sizeof(edges));
    source.edge = hear_edge;
    restless_move(NULL);
    while (!edges.moving)
        event_base_loop(source.base, EVLOOP_ONCE);
    restless_look();
    vst_op_wait(vst_conn_order_migration(source.conn, seen.token, VST_MIGRATION_CANCEL, NULL, NULL),
                NULL);
    while (!edges.back)
        event_base_loop(source.base, EVLOOP_ONCE);
    assert_true(edges.mending);
    assert_int_equal(edges.rescues, 1);
    restless_await();
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    assert_true(far_runs(source.conn, "g"));
}

/* Nobody waits for a QEMU that may never answer; it is brought back all the same. */
static void cancelled_one_that_qemu_does_not_give_back_is_told_at_once(void **state)
{
    struct vst_op *op;

    (void)state;
    memset(&edges, 0, sizeof(edges));
    source.edge = hear_edge;
    op = restless_move(NULL);
    while (!edges.begun) /* long before it would be too late */
        event_base_loop(source.base, EVLOOP_ONCE);
    vst_op_cancel(op);
    restless_await();
    assert_false(edges.back);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_non_null(strstr(outcome.err.text, "QEMU does not let it go on"));
    while (!edges.back)
        event_base_loop(source.base, EVLOOP_ONCE);
    assert_true(far_runs(source.conn, "g"));
}

/* Nor is it too late for that when it is given up anyway: nobody goes on with it. */
static void one_that_is_given_up_already_and_not_given_back_may_be_cancelled(void **state)
{
    struct vst_op *op;

    (void)state;
    memset(&edges, 0, sizeof(edges));
    source.edge = hear_edge;
    op = restless_move(&(struct vst_migrate_options){.timeout_seconds = 1});
    while (!edges.undoing)
        event_base_loop(source.base, EVLOOP_ONCE);
    vst_op_cancel(op);
    restless_await();
    assert_false(edges.back);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_non_null(strstr(outcome.err.text, "QEMU does not let it go on"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(people_are_told_that_it_does_not_converge_and_what_would_help, begin,
                      restless_end),
        VST_TEST_WITH(when_the_time_is_over_it_is_given_up_with_that_verdict, begin, restless_end),
        VST_TEST_WITH(when_the_time_is_over_the_guest_can_be_paused_and_comes_to_an_end, begin,
                      restless_end),
        VST_TEST_WITH(clock_that_is_set_forward_ends_nothing, begin, restless_end),
        VST_TEST_WITH(cancelled_one_that_qemu_does_not_give_back_is_told_at_once, begin_deaf,
                      restless_end),
        VST_TEST_WITH(one_that_is_given_up_already_and_not_given_back_may_be_cancelled,
                      begin_restless_and_deaf, restless_end),
        VST_TEST_WITH(guest_that_takes_long_to_be_mended_is_mended_once, begin_endless,
                      restless_end),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

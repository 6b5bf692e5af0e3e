/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration between two roots of one process, with real guests: what must come out when nothing
 * goes wrong, and when it is refused, cancelled, or one of the QEMUs is killed. The guest counts
 * into one log from both sides, so a gap, a repeat or two that run show in it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "far.h"

static struct vst_host host;
static char there[128]; /* URI */
static struct vst_conn *far;

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    far_make_uri(&host, there);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return 0;
}

static int end(void **state)
{
    (void)state;
    far_disconnect(&host, &far);
    vst_host_clear(&host);
    return 0;
}

/* ---- guests ---- */

static struct vst_domain_info seen;

static void end_there(const char *name)
{
    struct vst_domain *domain = far_look_up(far, name);
    struct vst_error err = {0};

    assert_non_null(domain);
    if (vst_op_wait(vst_domain_destroy(domain, NULL), &err) < 0)
        fail_msg("destroy: %s", err.text);
    vst_domain_free(&domain);
}

/* ---- migrations ---- */

static int migrate_to(struct vst_conn *from, const char *uri, const struct vst_migrate_options *opt,
                      struct vst_error *ret_err)
{
    struct vst_domain *domain = far_look_up(from, "g");
    int status;

    assert_non_null(domain);
    status = vst_op_wait(vst_domain_migrate(domain, uri, opt, NULL), ret_err);
    vst_domain_free(&domain);
    return status;
}

static void migrate_well(const struct vst_migrate_options *opt)
{
    struct vst_error err = {0};

    if (migrate_to(host.conn, there, opt, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_run(&host, 200); /* the way there is closed, and with it its hold of the guest */
}

static void running_guest_goes_on_there(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    migrate_well(NULL);
    assert_false(far_look(host.conn, "g", &seen));
    assert_true(far_runs(far, "g"));
    vst_host_expect_counting(&host, "g", 5);
    end_there("g");
    vst_host_expect_gapless(&host, "g");
}

static void guest_that_dirties_its_memory_goes_on_there(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "D", 3);
    migrate_well(&(struct vst_migrate_options){.downtime_ms = 2000});
    assert_true(far_runs(far, "g"));
    vst_host_expect_counting(&host, "g", 2);
    end_there("g");
    vst_host_expect_gapless(&host, "g");
}

/* A QEMU that passes over memory a second time, and does not look again what the guest changes, has
 * ample time for it here. */
static void memory_that_changes_on_a_slow_way_arrives_as_it_is(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    migrate_well(&(struct vst_migrate_options){.bandwidth = 400 * 1000, .downtime_ms = 10});
    assert_true(far_runs(far, "g"));
    vst_host_expect_counting(&host, "g", 5);
    end_there("g");
    vst_host_expect_gapless(&host, "g");
}

static void paused_guest_stays_paused(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    assert_int_equal(vst_host_suspend(&host, "g", NULL), 0);
    migrate_well(NULL);
    assert_true(far_look(far, "g", &seen));
    assert_int_equal(seen.state, VST_DOMAIN_PAUSED);
    end_there("g");
}

static void migrated_guest_migrates_on(void **state)
{
    struct vst_error err = {0};
    struct vst_conn *second = far;
    char third[128];

    (void)state;
    snprintf(third, sizeof(third), "qemu:///?root=%s/third", host.dir);
    vst_host_start_counting(&host, "g", "P", 3);
    migrate_well(NULL);
    vst_host_expect_counting(&host, "g", 2);
    if (migrate_to(second, third, NULL, &err) < 0)
        fail_msg("on: %s", err.text);
    vst_host_run(&host, 200);
    far = far_connect(host.base, third);
    assert_non_null(far);
    assert_true(far_runs(far, "g"));
    assert_false(far_look(second, "g", &seen));
    vst_host_expect_counting(&host, "g", 2);
    end_there("g");
    vst_conn_close(&second);
    vst_host_expect_gapless(&host, "g");
}

static void compressed_and_renamed(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    migrate_well(&(struct vst_migrate_options){.zstd_level = 1, .name = "other"});
    assert_true(far_runs(far, "other"));
    vst_host_expect_counting(&host, "g", 3);
    end_there("other");
    vst_host_expect_gapless(&host, "g");
}

static void copy_that_is_kept_never_runs_again(void **state)
{
    struct vst_error err = {0};
    struct vst_domain *domain;

    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    migrate_well(&(struct vst_migrate_options){.keep_source = true});
    assert_true(far_runs(far, "g"));
    assert_true(far_look(host.conn, "g", &seen));
    assert_int_equal(seen.state, VST_DOMAIN_PAUSED);
    domain = far_look_up(host.conn, "g");
    assert_int_equal(vst_op_wait(vst_domain_resume(domain, NULL), &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    assert_int_equal(vst_op_wait(vst_domain_destroy(domain, NULL), NULL), 0);
    vst_domain_free(&domain);
    end_there("g");
    vst_host_expect_gapless(&host, "g");
}

static void name_that_is_taken_is_a_blocker(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    assert_int_equal(vst_op_wait(vst_domain_start(far, definition, NULL, NULL), NULL), 0);
    free(definition);
    assert_int_equal(migrate_to(host.conn, there, NULL, &err), -1);
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.text, "there already"));
    assert_int_equal(err.side, VST_SIDE_DESTINATION);
    assert_true(far_runs(host.conn, "g"));
    vst_host_expect_counting(&host, "g", 3);
    end_there("g");
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_gapless(&host, "g");
}

static void check_starts_nothing(void **state)
{
    struct vst_error err = {0};
    struct vst_domain *domain;

    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    domain = far_look_up(host.conn, "g");
    if (vst_op_wait(vst_domain_check_migration(domain, there, NULL, NULL), &err) < 0)
        fail_msg("check: %s", err.text);
    vst_domain_free(&domain);
    assert_false(far_look(far, "g", &seen));
    assert_true(far_runs(host.conn, "g"));
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
}

static void unreachable_destination_leaves_the_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    assert_int_equal(migrate_to(host.conn, "qemu+unix:///nowhere", NULL, &err), -1);
    assert_int_equal(err.code, VST_ERR_CONNECT);
    assert_true(far_runs(host.conn, "g"));
    vst_host_expect_counting(&host, "g", 3);
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_gapless(&host, "g");
}

/* ---- something dies, or somebody changes their mind, at each step ---- */

static const char *wanted_machine, *wanted_state;
static bool reached;

static void note_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    reached |=
        wanted_machine && strcmp(machine, wanted_machine) == 0 && strcmp(to, wanted_state) == 0;
}

struct outcome {
    bool done;
    struct vst_error err;
};

static void over(const struct vst_error *err, void *opaque)
{
    struct outcome *outcome = opaque;

    outcome->done = true;
    if (err)
        outcome->err = *err;
}

static void await(bool *what)
{
    while (!*what)
        event_base_loop(host.base, EVLOOP_ONCE);
}

/* One migration, stopped at one edge by `act`; then one side has the guest, and it counts. */
static void break_at(const char *machine, const char *state_name, void (*act)(struct vst_op *op))
{
    struct outcome outcome = {0};
    struct vst_done done = {over, &outcome, NULL};
    struct vst_domain *domain = far_look_up(host.conn, "g");
    struct vst_op *op;

    assert_non_null(domain);
    host.edge = note_edge;
    wanted_machine = machine;
    wanted_state = state_name;
    reached = false;
    op = vst_domain_migrate(domain, there, NULL, &done);
    while (!reached && !outcome.done)
        event_base_loop(host.base, EVLOOP_ONCE);
    if (!reached)
        fail_msg("%s is never entered: %s", state_name, outcome.err.text);
    act(outcome.done ? NULL : op);
    await(&outcome.done);
    host.edge = NULL;
    vst_domain_free(&domain);
    vst_host_run(&host, 300);
}

static void cancel(struct vst_op *op)
{
    vst_op_cancel(op);
}

/* After a break exactly one of them runs. */
static void expect_one_runs(const char *step)
{
    bool here = far_runs(host.conn, "g"), gone = far_runs(far, "g");

    if (here == gone)
        fail_msg("%s: runs here: %d, runs there: %d", step, here, gone);
    vst_host_expect_counting(&host, "g", 3);
    if (here)
        assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    else
        end_there("g");
    vst_host_expect_gapless(&host, "g");
}

static bool all_over;
static unsigned stayed, moved; /* of them */

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    all_over = !err;
    stayed = moved = 0;
    for (size_t i = 0; i < count; i++) {
        all_over = all_over && infos[i].over;
        stayed += infos[i].outcome == VST_MIGRATION_STAYED;
        moved += infos[i].outcome == VST_MIGRATION_MIGRATED;
        if (infos[i].over && !infos[i].reason[0] != (infos[i].outcome == VST_MIGRATION_MIGRATED))
            fail_msg("%s: the reason is `%s`", vst_migration_outcome_name(infos[i].outcome),
                     infos[i].reason);
    }
}

/* The hosts have told each other everything, and only what failed has a reason. Their journals have
 * one user at a time, and here a process is both hosts. */
static void expect_all_over(void)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    do {
        vst_host_run(&host, 20);
        vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
    } while (!all_over);
}

static void cancelled_at_each_step_one_guest_runs(void **state)
{
    static const char *const steps[] = {"SOURCE_BEGINNING", "SOURCE_PREPARING", "SOURCE_MOVING",
                                        "SOURCE_SWITCHING", "SOURCE_DRAINING",  "SOURCE_HANDING",
                                        "SOURCE_COMMITTING"};

    (void)state;
    vst_test_seconds(120);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        vst_host_start_counting(&host, "g", "P", 3);
        break_at("source", steps[i], cancel);
        expect_one_runs(steps[i]);
        expect_all_over();
    }
    assert_true(stayed && moved); /* by then cancelling came too late */
    assert_int_equal(stayed + moved, sizeof(steps) / sizeof(steps[0]));
}

static void kill_when_it_is_undone(void *opaque, const char *machine, const char *to)
{
    note_edge(opaque, machine, to);
    if (strcmp(machine, "source") == 0 && strcmp(to, "SOURCE_RESUMING") == 0)
        kill(host.started->processes[0].pid, SIGKILL);
}

static char last_reason[sizeof(((struct vst_migration_info *)0)->reason)];

static void have_reason(const struct vst_migration_info *infos, size_t count,
                        const struct vst_error *err, void *opaque)
{
    (void)opaque;
    assert_true(!err && count == 1);
    assert_int_equal(infos[0].outcome, VST_MIGRATION_DIED);
    snprintf(last_reason, sizeof(last_reason), "%s", infos[0].reason);
}

/* Nobody may take it for a guest that is here as before. */
static void guest_that_dies_while_it_is_given_up_is_told_dead(void **state)
{
    struct vst_migrations_cb cb = {.fn = have_reason};
    struct outcome outcome = {0};
    struct vst_done done = {over, &outcome, NULL};
    struct vst_domain *domain;
    struct vst_op *op;

    (void)state;
    vst_host_start_counting(&host, "g", "P", 3);
    domain = far_look_up(host.conn, "g");
    assert_non_null(domain);
    wanted_machine = "source";
    wanted_state = "SOURCE_MOVING";
    reached = false;
    host.edge = kill_when_it_is_undone;
    op = vst_domain_migrate(domain, there, NULL, &done);
    await(&reached);
    vst_op_cancel(op);
    await(&outcome.done);
    host.edge = NULL;
    vst_domain_free(&domain);
    if (outcome.err.code != VST_ERR_DRIVER || !strstr(outcome.err.text, "the guest is gone") ||
        !strstr(outcome.err.text, "cancelled"))
        fail_msg("%s: %s", vst_code_name(outcome.err.code), outcome.err.text);
    vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
    assert_string_equal(last_reason, outcome.err.text);
    assert_false(far_runs(host.conn, "g") || far_runs(far, "g"));
}

/* The destination still has to be told; the guest does not wait for that. */
static void given_up_the_guest_may_go_again_at_once(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_test_seconds(60);
    vst_host_start_counting(&host, "g", "P", 3);
    assert_int_equal(migrate_to(host.conn, "qemu+unix:///nowhere", NULL, &err), -1);
    if (migrate_to(host.conn, there, NULL, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_run(&host, 200);
    assert_true(far_runs(far, "g"));
    end_there("g");
    vst_host_expect_gapless(&host, "g");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(running_guest_goes_on_there, begin, end),
        cmocka_unit_test_setup_teardown(guest_that_dirties_its_memory_goes_on_there, begin, end),
        cmocka_unit_test_setup_teardown(memory_that_changes_on_a_slow_way_arrives_as_it_is, begin,
                                        end),
        cmocka_unit_test_setup_teardown(paused_guest_stays_paused, begin, end),
        cmocka_unit_test_setup_teardown(migrated_guest_migrates_on, begin, end),
        cmocka_unit_test_setup_teardown(compressed_and_renamed, begin, end),
        cmocka_unit_test_setup_teardown(copy_that_is_kept_never_runs_again, begin, end),
        cmocka_unit_test_setup_teardown(name_that_is_taken_is_a_blocker, begin, end),
        cmocka_unit_test_setup_teardown(check_starts_nothing, begin, end),
        cmocka_unit_test_setup_teardown(unreachable_destination_leaves_the_guest, begin, end),
        cmocka_unit_test_setup_teardown(given_up_the_guest_may_go_again_at_once, begin, end),
        cmocka_unit_test_setup_teardown(cancelled_at_each_step_one_guest_runs, begin, end),
        cmocka_unit_test_setup_teardown(guest_that_dies_while_it_is_given_up_is_told_dead, begin,
                                        end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

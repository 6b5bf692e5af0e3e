/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a restart finds of migrations that its journal does not know: what may run elsewhere is left
 * to people, and what cannot is the guest.
 */
#include "left.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "core/fd.h"

static void copy_that_the_journal_does_not_know_is_left_to_people(void **state)
{
    struct outcome info = {0}, destroyed = {0};
    struct vst_domain *domain;

    (void)state;
    left_set_job("in", TOKEN);
    left_make_journal(NULL, 0);
    assert_int_equal(left_restart().count, 0);
    assert_true(left_is_alive() && left_has_place());
    domain = left_look_up();
    vst_domain_get_info(domain, outcome_infos(&info));
    left_greet();
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    outcome_await(left.app.base, &info);
    assert_non_null(strstr(info.info.reason, "the journal of this host knows nothing of that"));
    vst_close(&left.listening);
    vst_domain_destroy(domain, outcome_done(&destroyed));
    outcome_await(left.app.base, &destroyed);
    assert_int_equal(destroyed.err.code, VST_ERR_OK);
    assert_false(left_is_alive() || left_has_place());
    vst_domain_free(&domain);
}

static void remains_that_the_journal_does_not_know_are_removed(void **state)
{
    (void)state;
    left_set_job("in", TOKEN);
    left_kill();
    left_make_journal(NULL, 0);
    assert_int_equal(left_restart().count, 0);
    assert_false(left_has_place());
}

/* It may have been handed over: it is a stray, as which it is listed. */
static struct vst_domain *find_stray(const char *status)
{
    struct outcome resumed = {0};
    struct vst_domain *domain;
    struct left_found found;
    char answer[64];

    left_set_job("out", TOKEN);
    left_make_journal(NULL, 0);
    found = left_restart();
    assert_int_equal(found.count, 1);
    assert_true(found.info.in_doubt);
    assert_string_equal(found.info.token, TOKEN);
    snprintf(answer, sizeof(answer), "{\"status\": \"%s\", \"running\": false}", status);
    left_greet();
    left_expect("query-status", answer);
    domain = left_look_up();
    vst_domain_resume(domain, outcome_done(&resumed));
    left_expect_refusal(&resumed, VST_ERR_IN_DOUBT, "may run there");
    return domain;
}

static void resolve(enum vst_migration_order order, struct outcome *outcome)
{
    vst_conn_order_migration(left.app.conn, TOKEN, order, NULL, outcome_done(outcome));
}

static void paused_guest_of_an_unknown_migration_is_not_resumed(void **state)
{
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("postmigrate");
    left_hear_reason(domain, "the journal of this host does not know");
    left_destroy(domain);
    assert_int_equal(left_look().count, 0);
    vst_domain_free(&domain);
}

static void stray_that_people_say_runs_here_goes_on(void **state)
{
    struct outcome resolved = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("postmigrate");
    resolve(VST_MIGRATION_RUNS_ON_SOURCE, &resolved);
    left_expect("query-migrate", "{\"status\": \"completed\"}");
    left_expect("query-block-jobs", "[{\"type\": \"mirror\", \"device\": \"copy-0123abcd-0\"}, "
                                    "{\"type\": \"mirror\", \"device\": \"copy-0123abcd-x\"}, "
                                    "{\"type\": \"commit\", \"device\": \"copy-0123abcd-1\"}]");
    left_expect("yank", "{}");
    left_expect("block-job-cancel", "{}");
    left_expect("query-named-block-nodes",
                "[{\"drv\": \"nbd\", \"node-name\": \"copy-0123abcd-0\"}, "
                "{\"drv\": \"nbd\", \"node-name\": \"copy-0123abc-0\"}, "
                "{\"drv\": \"raw\", \"node-name\": \"copy-0123abcd-1\"}]");
    left_expect("yank", "{}");
    left_expect("blockdev-del", "{}");
    left_expect("query-block-jobs", "[]"); /* until none is left */
    left_expect("query-named-block-nodes", "[]");
    left_expect("migrate-set-capabilities", "{}");
    left_expect("cont", "{}");
    outcome_await(left.app.base, &resolved);
    assert_int_equal(resolved.err.code, VST_ERR_OK);
    assert_int_equal(access(left_path_of("job"), F_OK), -1);
    assert_int_equal(left_look().count, 0);
    vst_domain_free(&domain);
}

static void stray_that_people_say_runs_elsewhere_is_ended(void **state)
{
    struct outcome resolved = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("paused");
    resolve(VST_MIGRATION_RUNS_ON_DESTINATION, &resolved);
    left_expect("quit", "{}");
    pidfd_send_signal(left.pidfd, SIGKILL, NULL, 0);
    outcome_await(left.app.base, &resolved);
    assert_int_equal(resolved.err.code, VST_ERR_OK);
    assert_false(left_is_alive() || left_has_place());
    vst_domain_free(&domain);
}

static void stray_cannot_be_cancelled(void **state)
{
    struct outcome cancelled = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("paused");
    resolve(VST_MIGRATION_CANCEL, &cancelled);
    left_expect_refusal(&cancelled, VST_ERR_STATE, "no more than that");
    assert_int_equal(left_look().count, 1);
    vst_domain_free(&domain);
}

/* What is left of it is still the word that it may run elsewhere. */
static void nobody_takes_the_name_of_a_stray_that_is_dead(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    left_set_job("out", TOKEN);
    left_kill();
    left_make_journal(NULL, 0);
    assert_int_equal(left_restart().count, 1);
    vst_domain_start(left.app.conn,
                     "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":16,"
                     "\"vcpus\":1}",
                     NULL, outcome_domain(&outcome));
    left_expect_refusal(&outcome, VST_ERR_IN_DOUBT, "may run there");
    assert_true(left_has_place());
}

/* Before it is handed over a guest is nobody else's. Nobody has to ask for that to be seen. */
static void guest_that_runs_is_no_stray(void **state)
{
    (void)state;
    left_set_job("out", TOKEN);
    left_make_journal(NULL, 0);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"running\", \"running\": true}");
    left_expect("query-migrate", "{\"status\": \"cancelled\"}");
    left_expect("query-block-jobs", "[]");
    left_expect("query-named-block-nodes", "[]");
    left_expect("migrate-set-capabilities", "{}");
    while (left_look().count)
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
    assert_int_equal(access(left_path_of("job"), F_OK), -1);
    assert_true(left_is_alive() && left_has_place());
}

/* It was paused before, and is paused: QEMU tells that it has never come to the switch. */
static void paused_guest_that_never_came_to_the_switch_is_no_stray(void **state)
{
    (void)state;
    left_set_paused_job("out", TOKEN);
    left_make_journal(NULL, 0);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    left_expect("query-migrate", "{\"status\": \"failed\"}");
    left_expect("query-block-jobs", "[]");
    left_expect("query-named-block-nodes", "[]");
    left_expect("migrate-set-capabilities", "{}");
    while (left_look().count)
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
    assert_null(strstr(left.heard, "cont"));
    assert_int_equal(access(left_path_of("job"), F_OK), -1);
    assert_true(left_is_alive() && left_has_place());
}

static void expect_stray(const char *status, const char *migration)
{
    char answer[64];

    left_set_paused_job("out", TOKEN);
    left_make_journal(NULL, 0);
    left_restart();
    left_greet();
    snprintf(answer, sizeof(answer), "{\"status\": \"%s\", \"running\": false}", status);
    left_expect("query-status", answer);
    if (migration)
        left_expect("query-migrate", migration);
    left_run(100);
    assert_int_equal(left_look().count, 1);
    assert_null(strstr(left.heard, "cont"));
}

static void paused_guest_that_has_come_to_the_switch_is_a_stray(void **state)
{
    (void)state;
    expect_stray("postmigrate", NULL);
}

static void paused_guest_that_has_left_while_it_was_looked_at_is_a_stray(void **state)
{
    (void)state;
    expect_stray("paused", "{\"status\": \"completed\"}");
}

/* Whoever asks how it is does not open the journal. */
static void stray_that_was_found_before_the_journal_was_open_is_listed(void **state)
{
    struct outcome info = {0}, resumed = {0};
    struct vst_domain *domain;

    (void)state;
    left_set_job("out", TOKEN);
    left_make_journal(NULL, 0);
    left_connect();
    domain = left_look_up();
    vst_domain_resume(domain, outcome_done(&resumed));
    left_greet();
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    left_expect_refusal(&resumed, VST_ERR_IN_DOUBT, "is being migrated");
    assert_int_equal(left_look().count, 1);
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    resumed = (struct outcome){0};
    vst_domain_resume(domain, outcome_done(&resumed));
    left_expect_refusal(&resumed, VST_ERR_IN_DOUBT, "may run there");
    vst_domain_get_info(domain, outcome_infos(&info));
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    outcome_await(left.app.base, &info);
    vst_domain_free(&domain);
}

/* Its NBD client may close whatever has the number of its socket, which may be our connection. */
static void copies_of_a_migration_whose_manager_died_are_broken_off_first(void **state)
{
    (void)state;
    left_set_job("out", TOKEN);
    left_make_journal(NULL, 0);
    left_restart();
    left_greet();
    left_expect("\"yank\"", "{}");
    left_expect("query-status", "{\"status\": \"running\", \"running\": true}");
    left_expect("query-migrate", "{\"status\": \"failed\"}");
    left_expect("closefd", "{}");
    left_expect("query-block-jobs", "[]");
    left_expect("query-named-block-nodes", "[]");
    left_expect("migrate-set-capabilities", "{}");
    while (left_look().count)
        event_base_loop(left.app.base, EVLOOP_NONBLOCK);
}

/* It died here before it was handed over, and that is known. */
static void guest_that_has_died_of_a_known_migration_is_no_stray(void **state)
{
    (void)state;
    left_set_job("out", TOKEN);
    left_kill();
    left_make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_SWITCHING, false);
    assert_false(left_restart().info.in_doubt);
    assert_int_equal(left_look().count, 1);
}

/* Only the word was left. */
static void guest_that_has_returned_is_no_stray(void **state)
{
    (void)state;
    left_set_job("out", TOKEN);
    left_make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_RETURNED, false);
    assert_false(left_restart().info.in_doubt);
    assert_int_equal(left_look().count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(copy_that_the_journal_does_not_know_is_left_to_people, left_make, left_drop),
        VST_TEST_WITH(remains_that_the_journal_does_not_know_are_removed, left_make, left_drop),
        VST_TEST_WITH(paused_guest_of_an_unknown_migration_is_not_resumed, left_make, left_drop),
        VST_TEST_WITH(stray_that_people_say_runs_here_goes_on, left_make, left_drop),
        VST_TEST_WITH(stray_that_people_say_runs_elsewhere_is_ended, left_make, left_drop),
        VST_TEST_WITH(stray_cannot_be_cancelled, left_make, left_drop),
        VST_TEST_WITH(nobody_takes_the_name_of_a_stray_that_is_dead, left_make, left_drop),
        VST_TEST_WITH(guest_that_runs_is_no_stray, left_make, left_drop),
        VST_TEST_WITH(paused_guest_that_never_came_to_the_switch_is_no_stray, left_make, left_drop),
        VST_TEST_WITH(paused_guest_that_has_come_to_the_switch_is_a_stray, left_make, left_drop),
        VST_TEST_WITH(paused_guest_that_has_left_while_it_was_looked_at_is_a_stray, left_make,
                      left_drop),
        VST_TEST_WITH(stray_that_was_found_before_the_journal_was_open_is_listed, left_make,
                      left_drop),
        VST_TEST_WITH(copies_of_a_migration_whose_manager_died_are_broken_off_first,
                      left_make_with_disk, left_drop),
        VST_TEST_WITH(guest_that_has_died_of_a_known_migration_is_no_stray, left_make, left_drop),
        VST_TEST_WITH(guest_that_has_returned_is_no_stray, left_make, left_drop),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

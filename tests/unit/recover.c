/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a journal does, after a restart, to a QEMU that it finds: only what is of the same guest and
 * the same token is touched, and such a QEMU need not answer to be ended.
 */
#include "left.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/migration.h"

/* ---- what is ended ---- */

static void copy_that_was_given_up_is_ended_though_it_is_deaf(void **state)
{
    (void)state;
    left_set_job("in", TOKEN);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    left_restart(); /* its monitor is connected, and never greets */
    left_wait_for_the_end();
}

static void copy_that_was_given_up_is_ended_though_nobody_can_adopt_it(void **state)
{
    (void)state;
    left_set_job("in", TOKEN);
    assert_int_equal(unlink(left_path_of("definition.json")), 0);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    left_restart();
    left_wait_for_the_end();
}

static void copy_of_an_older_version_that_was_given_up_is_ended(void **state)
{
    (void)state;
    left_set_job("in", NULL);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    left_restart();
    left_wait_for_the_end();
}

/* ---- what is not ---- */

static void guest_that_came_later_outlives_a_token_that_was_given_up(void **state)
{
    (void)state;
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    left_restart();
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
    assert_true(left_is_alive() && left_has_place());
}

static void copy_of_another_token_outlives_one_that_was_given_up(void **state)
{
    (void)state;
    left_set_job("in", OTHER_TOKEN);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    left_restart();
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
    assert_true(left_is_alive() && left_has_place());
}

/* The one that is loaded comes later in the journal. */
static void copy_of_an_older_version_that_may_be_anothers_is_not_ended(void **state)
{
    static const struct left_line lines[] = {
        {VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, 0x11, false},
        {VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_LOADED, 0x22, false}};

    (void)state;
    left_set_job("in", NULL);
    left_make_journal(lines, 2);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"inmigrate\", \"running\": false}");
    left_expect("query-migrate", "{\"status\": \"completed\"}");
    assert_true(left_is_alive() && left_has_place());
}

static void source_that_is_handed_over_does_not_end_a_stranger(void **state)
{
    (void)state;
    left_make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, false);
    left_restart();
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
    assert_true(left_is_alive() && left_has_place());
}

/* ---- who is the guest ---- */

static void stranger_that_runs_is_not_taken_for_the_guest(void **state)
{
    struct left_found found;

    (void)state;
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    found = left_restart();
    assert_int_equal(found.count, 1);
    assert_true(found.info.in_doubt);
    assert_true(left_is_alive() && left_has_place());
}

static void copy_of_another_token_is_not_taken_for_the_guest(void **state)
{
    struct left_found found;

    (void)state;
    left_set_job("in", OTHER_TOKEN);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    found = left_restart();
    assert_true(found.info.in_doubt);
    assert_true(left_is_alive() && left_has_place());
}

/* It ran, and only the last record is missing. */
static void guest_that_came_is_known_again_without_a_job(void **state)
{
    (void)state;
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"running\", \"running\": true}");
    left_expect("query-migrate", "{\"status\": \"completed\"}");
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
}

static void nobody_takes_the_name_of_a_guest_that_is_lost(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    left_set_job("in", TOKEN);
    left_kill();
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    left_restart();
    vst_domain_start(left.app.conn,
                     "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":16,"
                     "\"vcpus\":1}",
                     NULL, outcome_domain(&outcome));
    outcome_await(left.app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
}

/* ---- one that dies before it was told to run ---- */

struct answer {
    bool there; /* more than that the question was asked again */
    enum vst_handover_event event;
};

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    struct answer *answer = opaque;

    if (err && err->code == VST_ERR_BUSY)
        return;
    answer->there = true;
    answer->event = err ? VST_HANDOVER_NONE : message->event;
}

static void commit(struct answer *answer)
{
    struct vst_migrate_message message = {.event = VST_HANDOVER_COMMIT, .token = TOKEN};
    struct vst_answer_cb cb = {have_answer, answer, NULL};

    memset(message.host, '7', 36);
    for (int i = 8; i <= 23; i += 5)
        message.host[i] = '-';
    vst_conn_migrate_message(left.app.conn, &message, &cb);
}

static bool adopting;

static void hear(unsigned category, const char *line, void *opaque)
{
    (void)category, (void)opaque;
    adopting |= strstr(line, "-> DESTINATION_ADOPTING") != NULL;
}

/* All of a guest is here, and then nobody hears its QEMU any more. */
static void lose_monitor_of_a_whole_copy(struct answer *answer)
{
    left_set_job("in", TOKEN);
    left_make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_LOADED, false);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    left_expect("query-migrate", "{\"status\": \"completed\"}");
    left_run(100);
    vst_close(&left.listening);
    vst_close(&left.monitor);
    left_run(100);
    commit(answer);
}

/* As a source does, which asks again and again. */
static void expect_given_back(struct answer *answer)
{
    pidfd_send_signal(left.pidfd, SIGKILL, NULL, 0);
    while (!answer->there) {
        left_run(200);
        commit(answer);
    }
    assert_int_equal(answer->event, VST_HANDOVER_ABORTED);
    assert_false(left_is_alive() || left_has_place());
}

static void copy_that_dies_without_a_monitor_before_it_ran_is_given_back(void **state)
{
    static struct answer answer;

    (void)state;
    answer = (struct answer){0};
    lose_monitor_of_a_whole_copy(&answer);
    left_run(100);
    assert_false(answer.there);
    expect_given_back(&answer);
}

/* The same, when its monitor has been tried again. */
static void copy_that_dies_deaf_before_it_ran_is_given_back(void **state)
{
    static const struct vst_trace trace = {VST_TRACE_STATE, hear, NULL};
    static struct answer answer;

    (void)state;
    answer = (struct answer){0};
    adopting = false;
    vst_trace_set(&trace);
    lose_monitor_of_a_whole_copy(&answer);
    while (!adopting)
        left_run(10);
    vst_trace_set(NULL);
    expect_given_back(&answer);
}

/* ---- a copy that is to stay ---- */

static void expect_away(void)
{
    char text[128] = "";
    FILE *from = fopen(left_path_of("job"), "re");

    assert_non_null(from);
    assert_non_null(fgets(text, sizeof(text), from));
    fclose(from);
    assert_non_null(strstr(text, "\"away\""));
}

static void sources_copy_that_is_kept_stays_after_a_restart(void **state)
{
    (void)state;
    left_set_job("out", TOKEN);
    left_make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, true);
    left_restart();
    left_greet();
    left_expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
    assert_true(left_is_alive() && left_has_place());
    expect_away();
}

static void sources_copy_that_was_kept_stays_after_another_restart(void **state)
{
    (void)state;
    left_set_job("away", NULL);
    left_make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, true);
    left_restart();
    left_wait_for_phase(VST_MIGRATION_PHASE_CLEAN_UP);
    assert_true(left_is_alive() && left_has_place());
    expect_away();
}

/* Nor has the journal to be read for that. */
static void copy_that_was_kept_never_runs_whoever_takes_hold_of_it(void **state)
{
    struct outcome outcome[3] = {0};
    struct vst_domain *domain;

    (void)state;
    left_set_job("away", TOKEN);
    left_connect();
    domain = left_look_up();
    vst_domain_resume(domain, outcome_done(&outcome[0]));
    left_greet();
    left_expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    left_expect_refusal(&outcome[0], VST_ERR_STATE, "has migrated");
    vst_domain_shutdown(domain, outcome_done(&outcome[1]));
    left_expect_refusal(&outcome[1], VST_ERR_STATE, "never runs again");
    vst_domain_migrate(domain, "qemu+tcp://127.0.0.1:1/", NULL, outcome_done(&outcome[2]));
    left_expect_refusal(&outcome[2], VST_ERR_STATE, "never runs again");
    left_hear_reason(domain, "it has migrated; this copy was kept, and never runs again");
    expect_away();
    left_destroy(domain);
    vst_domain_free(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(copy_that_was_given_up_is_ended_though_it_is_deaf, left_make, left_drop),
        VST_TEST_WITH(copy_that_was_given_up_is_ended_though_nobody_can_adopt_it, left_make,
                      left_drop),
        VST_TEST_WITH(copy_of_an_older_version_that_was_given_up_is_ended, left_make, left_drop),
        VST_TEST_WITH(guest_that_came_later_outlives_a_token_that_was_given_up, left_make,
                      left_drop),
        VST_TEST_WITH(copy_of_another_token_outlives_one_that_was_given_up, left_make, left_drop),
        VST_TEST_WITH(copy_of_an_older_version_that_may_be_anothers_is_not_ended, left_make,
                      left_drop),
        VST_TEST_WITH(source_that_is_handed_over_does_not_end_a_stranger, left_make_stranger,
                      left_drop),
        VST_TEST_WITH(stranger_that_runs_is_not_taken_for_the_guest, left_make_stranger, left_drop),
        VST_TEST_WITH(copy_of_another_token_is_not_taken_for_the_guest, left_make, left_drop),
        VST_TEST_WITH(guest_that_came_is_known_again_without_a_job, left_make, left_drop),
        VST_TEST_WITH(nobody_takes_the_name_of_a_guest_that_is_lost, left_make, left_drop),
        VST_TEST_WITH(copy_that_dies_without_a_monitor_before_it_ran_is_given_back, left_make,
                      left_drop),
        VST_TEST_WITH(copy_that_dies_deaf_before_it_ran_is_given_back, left_make, left_drop),
        VST_TEST_WITH(sources_copy_that_is_kept_stays_after_a_restart, left_make, left_drop),
        VST_TEST_WITH(sources_copy_that_was_kept_stays_after_another_restart, left_make, left_drop),
        VST_TEST_WITH(copy_that_was_kept_never_runs_whoever_takes_hold_of_it, left_make, left_drop),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

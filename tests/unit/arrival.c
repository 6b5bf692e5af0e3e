/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a destination does with an offer when nothing follows, and what its journal, or a guest in
 * doubt, has to do with it. What stands in the way of a guest is in arrival-check.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/journal-codec.h"
#include "core/migration.h"
#include "offered.h"

/* ---- what follows, or does not ---- */

static struct vst_migration_info seen;

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    assert_null(err);
    assert_int_equal(count, 1);
    seen = infos[0];
}

static void look(void)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    vst_op_wait(vst_conn_list_migrations(offered_host.conn, &cb), NULL);
}

static void source_that_never_sends_is_given_up(void **state)
{
    (void)state;
    vst_conn_set_patience(offered_host.conn, 1);
    offered_say(VST_HANDOVER_PREPARE, false, offered_make_offer("none", ", \"memory-mib\": 1"));
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    look();
    assert_int_equal(seen.phase, VST_MIGRATION_PHASE_PREPARE);
    while (seen.phase == VST_MIGRATION_PHASE_PREPARE) {
        vst_host_run(&offered_host, 50);
        look();
    }
    assert_string_equal(seen.reason, "g: the source has sent nothing for 1 seconds");
    while (seen.phase != VST_MIGRATION_PHASE_CLEAN_UP) {
        vst_host_run(&offered_host, 50);
        look();
    }
    assert_int_equal(vst_host_entries(&offered_host, "root"), 1); /* the journal */
    offered_say(VST_HANDOVER_COMMIT, false, NULL);
    assert_int_equal(answer.event, VST_HANDOVER_ABORTED);
    offered_say(VST_HANDOVER_ABORT, false, NULL);
    look();
    assert_int_equal(seen.phase, VST_MIGRATION_PHASE_OVER);
}

/* ---- what the journal knows ---- */

static FILE *make_journal(const struct vst_host *made)
{
    unsigned char record[VST_JOURNAL_RECORD];
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/root", made->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/root/.state", made->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/root/.state/journal", made->dir);
    file = fopen(path, "we");
    assert_non_null(file);
    vst_journal_encode_host((const unsigned char *)"some host's id.", 1, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    return file;
}

/* Of guests that came once, and whose sources have not said that they know. */
static void fill_journal(const struct vst_host *made)
{
    unsigned char record[VST_JOURNAL_RECORD];
    FILE *file = make_journal(made);

    for (unsigned i = 0; i < VST_JOURNAL_TOKENS; i++) {
        struct vst_journal_entry entry = {.role = VST_HANDOVER_DESTINATION,
                                          .last = VST_HANDOVER_RECORD_RUNNING,
                                          .guest = "elsewhere"};

        memcpy(entry.token, &i, sizeof(i));
        vst_journal_encode(&entry, 2 + i, record);
        assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    }
    assert_int_equal(fclose(file), 0);
}

/* Of a guest that was handed over, to a host that is not there. */
static void fill_with_doubt(const struct vst_host *made)
{
    struct vst_journal_entry entry = {.role = VST_HANDOVER_SOURCE,
                                      .last = VST_HANDOVER_RECORD_HANDED_OVER,
                                      .token = "another token",
                                      .peer = "another host",
                                      .runs = true,
                                      .guest = "g",
                                      .uri = "qemu+unix:///nowhere"};
    FILE *file = make_journal(made);
    unsigned char record[VST_JOURNAL_RECORD];

    vst_journal_encode(&entry, 2, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static int begin_in_doubt(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make_with(&offered_host, fill_with_doubt);
    return 0;
}

static void name_of_a_guest_in_doubt_is_taken(void **state)
{
    (void)state;
    for (int check = 1; check >= 0; check--) {
        offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("none", ", \"memory-mib\": 1"));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        offered_said("domain g is being handed over to another host");
        offered_nothing_began();
    }
}

/* ---- what is only looked at is nobody's migration ----
 *
 * Each of these is asked while the checks of such a guest are under way, and so is answered first.
 */

static void no_answer_yet(const struct vst_migrate_message *message, const struct vst_error *err,
                          void *opaque)
{
    (void)message, (void)err, (void)opaque;
}

static void begin_to_say(bool check)
{
    char *offer = offered_make_offer("none", ", \"memory-mib\": 1");
    struct vst_migrate_message message = {.token = OFFERED_TOKEN,
                                          .host = OFFERED_SOURCE,
                                          .event = VST_HANDOVER_PREPARE,
                                          .check = check,
                                          .offer = offer};
    struct vst_answer_cb cb = {no_answer_yet, NULL, NULL};

    vst_conn_migrate_message(offered_host.conn, &message, &cb);
    free(offer);
}

/* The journal goes on only after that, so there is a guest to be in doubt about. */
static void start_in_doubt(void)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    assert_int_equal(vst_host_start(&offered_host, definition, &err), 0);
    free(definition);
    look();
    while (!seen.in_doubt) {
        vst_host_run(&offered_host, 20);
        look();
    }
}

static void look_at_the_name_lets_nobody_end_a_guest_in_doubt(void **state)
{
    struct vst_domain_info info;
    struct vst_error err = {0};

    (void)state;
    start_in_doubt();
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        begin_to_say(check);
        assert_int_equal(vst_host_destroy(&offered_host, "g", &err), -1);
        assert_int_equal(err.code, VST_ERR_IN_DOUBT);
        vst_host_run(&offered_host, 100);
    }
    assert_int_equal(vst_host_get_info(&offered_host, "g", &info, &err), 0);
}

static void look_at_the_name_does_not_hide_that_a_guest_is_in_doubt(void **state)
{
    struct vst_domain_info info;

    (void)state;
    start_in_doubt();
    begin_to_say(true);
    assert_int_equal(vst_host_get_info(&offered_host, "g", &info, NULL), 0);
    if (!strstr(info.reason, "in doubt, it may run at qemu+unix:///nowhere"))
        fail_msg("`%s` says nothing of the doubt", info.reason);
}

/* After a restart nothing of a departure is known but what the journal says. */
static void departure_in_doubt_is_in_the_phase_of_the_hand_over(void **state)
{
    (void)state;
    start_in_doubt();
    assert_int_equal(seen.phase, VST_MIGRATION_PHASE_HAND_OVER);
}

static void look_at_the_name_lets_nobody_start_a_guest_in_doubt(void **state)
{
    char *definition = vst_host_none("g");
    struct vst_error err;

    (void)state;
    look();
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        begin_to_say(check);
        assert_int_equal(vst_host_start(&offered_host, definition, &err), -1);
        assert_int_equal(err.code, VST_ERR_IN_DOUBT);
        vst_host_run(&offered_host, 100);
    }
    free(definition);
}

static int begin_full(void **state)
{
    (void)state;
    vst_test_seconds(120);
    vst_host_make_with(&offered_host, fill_journal);
    return 0;
}

static off_t journal_size(void)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/root/.state/journal", offered_host.dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void full_journal_takes_no_guest_and_disowns_none(void **state)
{
    off_t size = journal_size();

    (void)state;
    /* Whoever has handed a guest over stays in doubt: it is not said to be his again. */
    for (int i = 0; i < 3; i++) {
        offered_say(VST_HANDOVER_COMMIT, false, NULL);
        assert_int_equal(answer.code, VST_ERR_BUSY);
        offered_said("holds 4096 migrations that have no end");
    }
    for (int check = 1; check >= 0; check--) {
        offered_say(VST_HANDOVER_PREPARE, check, offered_make_offer("none", ", \"memory-mib\": 1"));
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        offered_said("holds 4096 migrations that have no end");
        offered_nothing_began();
    }
    offered_say(VST_HANDOVER_ABORT, false, NULL);
    assert_int_equal(answer.event, VST_HANDOVER_FINISHED);
    vst_host_run(&offered_host, 100);
    assert_int_equal(journal_size(), size);
}

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    assert_null(err);
    *(struct vst_domain **)opaque = domain;
}

static void look_at_the_name_keeps_no_guest_from_leaving(void **state)
{
    struct vst_migrate_options opt = {0};
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {have_domain, &domain, NULL};
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_op_wait(vst_domain_start(offered_host.conn, definition, NULL, &cb), &err),
                     0);
    free(definition);
    offered_say(VST_HANDOVER_ABORT, false, NULL); /* which opens the journal */
    begin_to_say(true);
    vst_op_wait(vst_domain_check_migration(domain, "qemu+unix:///nowhere", &opt, NULL), &err);
    assert_int_equal(err.code, VST_ERR_CONNECT); /* nobody listens there */
    vst_domain_free(&domain);
    vst_host_destroy(&offered_host, "g", &err);
}

static void full_journal_lets_no_guest_begin_to_leave(void **state)
{
    struct vst_migrate_options opt = {0};
    struct vst_domain *domain = NULL;
    struct vst_domain_cb cb = {have_domain, &domain, NULL};
    char *definition = vst_host_none("g");
    struct vst_error err = {0};
    off_t size = journal_size();

    (void)state;
    assert_int_equal(vst_op_wait(vst_domain_start(offered_host.conn, definition, NULL, &cb), &err),
                     0);
    free(definition);
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        vst_op_wait((check ? vst_domain_check_migration
                           : vst_domain_migrate)(domain, "qemu:///?root=/nowhere", &opt, NULL),
                    &err);
        assert_int_equal(err.code, VST_ERR_BUSY);
        assert_non_null(strstr(err.text, "holds 4096 migrations that have no end"));
    }
    assert_int_equal(journal_size(), size);
    vst_domain_free(&domain);
    vst_host_destroy(&offered_host, "g", &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(source_that_never_sends_is_given_up, offered_begin, offered_end),
        VST_TEST_WITH(name_of_a_guest_in_doubt_is_taken, begin_in_doubt, offered_end),
        VST_TEST_WITH(look_at_the_name_lets_nobody_end_a_guest_in_doubt, begin_in_doubt,
                      offered_end),
        VST_TEST_WITH(look_at_the_name_does_not_hide_that_a_guest_is_in_doubt, begin_in_doubt,
                      offered_end),
        VST_TEST_WITH(departure_in_doubt_is_in_the_phase_of_the_hand_over, begin_in_doubt,
                      offered_end),
        VST_TEST_WITH(look_at_the_name_lets_nobody_start_a_guest_in_doubt, begin_in_doubt,
                      offered_end),
        VST_TEST_WITH(look_at_the_name_keeps_no_guest_from_leaving, offered_begin, offered_end),
        VST_TEST_WITH(full_journal_takes_no_guest_and_disowns_none, begin_full, offered_end),
        VST_TEST_WITH(full_journal_lets_no_guest_begin_to_leave, begin_full, offered_end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

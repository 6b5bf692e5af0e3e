/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration over a connection, on a host where it is made up: what a user wishes and is told, that
 * it goes on without him. What another host may do: migrate-peer.c.
 */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "mover.h"
#include "served.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"

static struct served served;
static struct mover mover;
static struct app app;
static struct caller caller;

static int make(void **state)
{
    (void)state;
    served_start(&served, "test:///?domains=1&memory=64K", VST_ROLE_TRANSFER, NULL);
    mover_begin(&mover, served.conn, 5);
    served_join(&served, "", &app);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    served_leave(&app);
    mover_end(&mover);
    served_stop(&served);
    return 0;
}

static struct vst_op *begin(struct app *at, const char *destination, struct outcome *outcome)
{
    return vst_domain_migrate(at->domain, destination, NULL, outcome_done(outcome));
}

static struct vst_error migrate(const char *destination)
{
    struct outcome outcome = {0};

    begin(&app, destination, &outcome);
    outcome_await(app.base, &outcome);
    return outcome.err;
}

static void await_moves(size_t count)
{
    while (mover.count < count)
        event_base_loop(served.base, EVLOOP_ONCE);
}

/* ---- users ---- */

static void guest_is_migrated(void **state)
{
    (void)state;
    assert_int_equal(migrate("test+tls://b/").code, VST_ERR_OK);
    assert_int_equal(mover.count, 1);
    assert_string_equal(mover.moves[0].info.name, "test1");
    assert_string_equal(mover.moves[0].info.peer, "test+tls://b/");
    assert_true(mover.moves[0].info.over);
}

static void token_is_known_while_it_goes_on(void **state)
{
    struct outcome outcome = {0};
    struct vst_op *op = begin(&app, "test+tls://slow/", &outcome);

    (void)state;
    assert_string_equal(vst_migration_token(op), "");
    while (!*vst_migration_token(op))
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_string_equal(vst_migration_token(op), mover.moves[0].info.token);
    assert_int_equal(outcome.calls, 0);
    vst_op_cancel(op);
    outcome_await(app.base, &outcome);
}

static struct vst_op *asked;
static char told_token[37];

static void note_token(void *opaque)
{
    (void)opaque;
    snprintf(told_token, sizeof(told_token), "%s", vst_migration_token(asked));
}

static void token_of_one_that_is_over_at_once_is_known(void **state)
{
    struct outcome outcome = {.then = note_token};

    (void)state;
    asked = begin(&app, "test+tls://quick/", &outcome);
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_string_equal(told_token, mover.moves[0].info.token);
    outcome = (struct outcome){.then = note_token};
    asked = begin(&app, "test+tls://full/", &outcome);
    outcome_await(app.base, &outcome);
    assert_string_equal(told_token, "");
}

static void wishes_come_to_the_driver(void **state)
{
    const struct vst_migrate_options opt = {.name = "other",
                                            .post_copy = true,
                                            .then = VST_MIGRATE_THEN_SUSPEND,
                                            .timeout_seconds = 9,
                                            .bandwidth = 1 << 20};
    struct outcome outcome = {0};

    (void)state;
    vst_domain_check_migration(app.domain, "test+tls://b/", &opt, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_int_equal(mover.checks, 1);
    assert_int_equal(mover.count, 0);
    assert_string_equal(mover.new_name, "other");
    assert_true(mover.opt.post_copy);
    assert_int_equal(mover.opt.then, VST_MIGRATE_THEN_SUSPEND);
    assert_int_equal(mover.opt.timeout_seconds, 9);
    assert_int_equal(mover.opt.bandwidth, 1 << 20);
}

static void expect_invalid(const struct vst_migrate_options *opt, const char *words)
{
    for (int way = 0; way < 3; way++) {
        struct outcome outcome = {0};
        const struct vst_done *done = outcome_done(&outcome);

        if (way == 0)
            vst_domain_migrate(app.domain, "test+tls://b/", opt, done);
        else if (way == 1)
            vst_domain_check_migration(app.domain, "test+tls://b/", opt, done);
        else
            vst_domain_migrate_through(app.domain, served.conn, opt, done);
        outcome_await(app.base, &outcome);
        assert_int_equal(outcome.err.code, VST_ERR_INVALID);
        assert_non_null(strstr(outcome.err.text, words));
    }
}

/* Nor does it reach another host. */
static void wish_that_makes_no_sense_does_not_come_to_the_driver(void **state)
{
    const struct vst_migrate_options then = {.then = (enum vst_migrate_then)99};
    const struct vst_migrate_options level = {.zstd_level = 20}, less = {.zstd_level = -1};

    (void)state;
    expect_invalid(&then, "then: there is no such way: 99");
    expect_invalid(&level, "zstd level 20: it must be from 1 to 19");
    expect_invalid(&less, "zstd level -1: it must be from 1 to 19");
    assert_int_equal(mover.count, 0);
    assert_int_equal(mover.checks, 0);
}

static void number_that_is_no_order_does_not_come_to_the_driver(void **state)
{
    struct vst_conn *const conns[] = {app.conn, served.conn};

    (void)state;
    mover.order = VST_MIGRATION_FORGET;
    mover_add(&mover, "g");
    for (int i = 0; i < 2; i++) {
        struct outcome outcome = {0};

        vst_conn_order_migration(conns[i], mover.moves[0].info.token, (enum vst_migration_order)99,
                                 NULL, outcome_done(&outcome));
        outcome_await(served.base, &outcome);
        assert_int_equal(outcome.err.code, VST_ERR_INVALID);
        assert_string_equal(outcome.err.text, "there is no such order: 99");
    }
    assert_int_equal(mover.order, VST_MIGRATION_FORGET);
}

static void every_blocker_is_told(void **state)
{
    struct vst_error err = migrate("test+tls://full/");

    (void)state;
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    assert_string_equal(err.text, "no room for its memory\nthe name is taken");
    assert_int_equal(err.side, VST_SIDE_DESTINATION);
}

static void done_but_for_the_clean_up_is_told(void **state)
{
    (void)state;
    assert_int_equal(migrate("test+tls://left/").code, VST_ERR_CLEANUP);
}

static void destination_that_may_not_be_is_refused_before_the_driver(void **state)
{
    (void)state;
    assert_int_equal(migrate("test:///").code, VST_ERR_INVALID);
    assert_int_equal(migrate("test+tls://b/?password-file=/etc/shadow").code, VST_ERR_ACCESS);
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(migrate("test+tls://b/?ca=/ca").code, VST_ERR_OK);
    assert_int_equal(mover.count, 1);
}

static void cancelling_gives_it_up(void **state)
{
    struct outcome outcome = {0};
    struct vst_op *op = begin(&app, "test+tls://slow/", &outcome);

    (void)state;
    await_moves(1);
    vst_op_cancel(op);
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    assert_true(mover.moves[0].info.over);
}

static void only_the_hosts_know_what_cancelling_came_to(void **state)
{
    struct outcome outcome = {0};
    struct vst_op *op = begin(&app, "test+tls://doubt/", &outcome);

    (void)state;
    await_moves(1);
    vst_op_cancel(op);
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_string_equal(outcome.err.text, "nobody answers");
}

static enum vst_code give_order(const char *token, enum vst_migration_order what,
                                const struct vst_migration_change *change)
{
    struct outcome outcome = {0};

    vst_conn_order_migration(app.conn, token, what, change, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    return outcome.err.code;
}

static void orders_come_to_the_driver(void **state)
{
    const struct vst_migration_change change = {7 << 20, 250};
    struct outcome outcome = {0};
    const char *token = mover.moves[0].info.token;

    (void)state;
    begin(&app, "test+tls://doubt/", &outcome);
    await_moves(1);
    assert_int_equal(give_order(token, VST_MIGRATION_SET, &change), VST_ERR_OK);
    assert_int_equal(mover.change.bandwidth, 7 << 20);
    assert_int_equal(mover.change.downtime_ms, 250);
    assert_int_equal(give_order(token, VST_MIGRATION_RUNS_ON_SOURCE, NULL), VST_ERR_ACCESS);
    assert_int_equal(mover.order, VST_MIGRATION_SET);
    assert_int_equal(give_order(token, VST_MIGRATION_GO_POST_COPY, NULL), VST_ERR_OK);
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_int_equal(give_order(token, VST_MIGRATION_CANCEL, NULL), VST_ERR_STATE);
    assert_int_equal(give_order(TOKEN, VST_MIGRATION_CANCEL, NULL), VST_ERR_NOT_FOUND);
}

static void only_admin_says_that_a_host_is_lost(void **state)
{
    struct outcome outcome = {0};
    const char *token = mover.moves[0].info.token;

    (void)state;
    begin(&app, "test+tls://b/", &outcome);
    outcome_await(app.base, &outcome);
    assert_int_equal(give_order(token, VST_MIGRATION_FORGET, NULL), VST_ERR_ACCESS);
    assert_int_not_equal(mover.order, VST_MIGRATION_FORGET);
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(give_order(token, VST_MIGRATION_FORGET, NULL), VST_ERR_STATE);
    assert_int_equal(mover.order, VST_MIGRATION_FORGET);
}

static void only_admin_says_where_a_guest_runs(void **state)
{
    struct outcome outcome = {0};
    const char *token = mover.moves[0].info.token;
    struct vst_op *op = begin(&app, "test+tls://doubt/", &outcome);

    (void)state;
    await_moves(1);
    vst_op_cancel(op);
    outcome_await(app.base, &outcome);
    assert_int_equal(give_order(token, VST_MIGRATION_RUNS_ON_SOURCE, NULL), VST_ERR_ACCESS);
    assert_int_equal(give_order(token, VST_MIGRATION_RUNS_ON_DESTINATION, NULL), VST_ERR_ACCESS);
    assert_true(mover.moves[0].info.in_doubt);
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(give_order(token, VST_MIGRATION_RUNS_ON_SOURCE, NULL), VST_ERR_OK);
    assert_true(mover.moves[0].info.over);
}

struct heard {
    unsigned calls;
    size_t count;
    struct vst_error err;
    struct vst_migration_info first;
};

static void hear(const struct vst_migration_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    struct heard *heard = opaque;

    heard->calls++;
    heard->count = count;
    if (err)
        heard->err = *err;
    if (count)
        heard->first = infos[0];
}

static struct heard list(struct vst_conn *conn)
{
    struct heard heard = {0};
    struct vst_migrations_cb cb = {hear, &heard, NULL};

    vst_conn_list_migrations(conn, &cb);
    while (!heard.calls)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_int_equal(heard.err.code, VST_ERR_OK);
    return heard;
}

static void hundreds_are_listed(void **state)
{
    (void)state;
    assert_int_equal(list(app.conn).count, 0);
    while (mover.count < 2 * VST_PAGE)
        mover_add(&mover, "g");
    assert_int_equal(list(app.conn).count, 2 * VST_PAGE);
    mover_add(&mover, "g");
    assert_int_equal(list(app.conn).count, 2 * VST_PAGE + 1);
}

/* As of a guest that was sent to its own host. */
static void both_ends_on_one_host_are_listed(void **state)
{
    const unsigned count = 2 * VST_PAGE + 1;

    (void)state;
    while (mover.count < count)
        mover_add(&mover, "g");
    for (unsigned first = 0; first < 2; first++) {
        for (unsigned i = 0; i < count; i++)
            snprintf(mover.moves[i].info.token, sizeof(mover.moves[i].info.token),
                     "00000000-0000-4000-8000-%012u", (i + first) / 2);
        assert_int_equal(list(app.conn).count, count);
    }
}

/* ---- it goes on ---- */

static void assert_goes_on(void)
{
    struct app other;
    struct heard heard;

    served_settle(&served);
    assert_false(mover.moves[0].info.over);
    served_join(&served, "", &other);
    heard = list(other.conn);
    assert_int_equal(heard.count, 1);
    assert_false(heard.first.over);
    assert_int_equal(heard.first.phase, VST_MIGRATION_PHASE_MEMORY);
    served_leave(&other);
}

static void closing_the_connection_lets_it_go_on(void **state)
{
    struct outcome outcome = {0};
    struct app other;

    (void)state;
    served_join(&served, "", &other);
    begin(&other, "test+tls://slow/", &outcome);
    await_moves(1);
    served_leave(&other);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    assert_goes_on();
    assert_int_equal(give_order(mover.moves[0].info.token, VST_MIGRATION_CANCEL, NULL), VST_ERR_OK);
}

static void client_that_is_lost_lets_it_go_on(void **state)
{
    (void)state;
    assert_int_equal(caller_join(&caller, &served, "test"), 0);
    caller_begin(&caller, "migrate", "{\"name\":\"test1\",\"destination\":\"test+tls://slow/\"}",
                 NULL);
    await_moves(1);
    caller_leave(&caller);
    assert_goes_on();
    mover.moves[0].slow = false;
    while (!mover.moves[0].info.over)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_null(mover.moves[0].op);
}

static void what_has_not_begun_goes_with_its_client(void **state)
{
    (void)state;
    assert_int_equal(caller_join(&caller, &served, "test"), 0);
    caller_begin(&caller, "migrate", "{\"name\":\"nobody\",\"destination\":\"test+tls://b/\"}",
                 NULL);
    caller_leave(&caller);
    served_settle(&served);
    assert_int_equal(mover.count, 0);
}

static void drain_waits_for_what_was_left_until_the_deadline(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    begin(&app, "test+tls://slow/", &outcome);
    await_moves(1);
    served_leave(&app);
    outcome_await(served.base, &outcome);
    served_drain(&served, 1);
    served_run(&served, 300);
    assert_false(served.drained);
    while (!served.drained)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_false(mover.moves[0].info.over);
}

static void drain_ends_with_what_was_left(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    begin(&app, "test+tls://slow/", &outcome);
    await_moves(1);
    served_leave(&app);
    outcome_await(served.base, &outcome);
    served_drain(&served, 60);
    served_run(&served, 100);
    assert_false(served.drained);
    mover.moves[0].slow = false;
    while (!served.drained)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_true(mover.moves[0].info.over);
}

static void end_of_the_server_gives_nothing_up(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    begin(&app, "test+tls://slow/", &outcome);
    await_moves(1);
    served_leave(&app);
    outcome_await(served.base, &outcome);
    mover_end(&mover);
    served_stop(&served);
    assert_int_equal(mover.closed, 1);
    assert_false(mover.moves[0].info.over);
    make(state);
}

#define MIGRATE_TEST(function) VST_TEST_WITH(function, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MIGRATE_TEST(guest_is_migrated),
        MIGRATE_TEST(token_is_known_while_it_goes_on),
        MIGRATE_TEST(token_of_one_that_is_over_at_once_is_known),
        MIGRATE_TEST(wishes_come_to_the_driver),
        MIGRATE_TEST(wish_that_makes_no_sense_does_not_come_to_the_driver),
        MIGRATE_TEST(number_that_is_no_order_does_not_come_to_the_driver),
        MIGRATE_TEST(every_blocker_is_told),
        MIGRATE_TEST(done_but_for_the_clean_up_is_told),
        MIGRATE_TEST(destination_that_may_not_be_is_refused_before_the_driver),
        MIGRATE_TEST(cancelling_gives_it_up),
        MIGRATE_TEST(only_the_hosts_know_what_cancelling_came_to),
        MIGRATE_TEST(orders_come_to_the_driver),
        MIGRATE_TEST(only_admin_says_that_a_host_is_lost),
        MIGRATE_TEST(only_admin_says_where_a_guest_runs),
        MIGRATE_TEST(hundreds_are_listed),
        MIGRATE_TEST(both_ends_on_one_host_are_listed),
        MIGRATE_TEST(closing_the_connection_lets_it_go_on),
        MIGRATE_TEST(client_that_is_lost_lets_it_go_on),
        MIGRATE_TEST(what_has_not_begun_goes_with_its_client),
        MIGRATE_TEST(drain_waits_for_what_was_left_until_the_deadline),
        MIGRATE_TEST(drain_ends_with_what_was_left),
        MIGRATE_TEST(end_of_the_server_gives_nothing_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

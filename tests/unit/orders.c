/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders to a migration that are QEMU's to take: they are done when QEMU has taken them, and not
 * before; and what was ordered at the beginning, and is due, likewise.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "restless.h"

static int begin(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "");
    return 0;
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
    assert_int_equal(vst_op_wait(vst_conn_order_migration(source.conn, seen.token,
                                                          VST_MIGRATION_SET, &new_values, NULL),
                                 NULL),
                     0);
    vst_host_run(&source, 20);
}

static void qemu_is_told_only_what_changes(void **state)
{
    (void)state;
    restless_move(NULL);
    restless_await_verdict("first pass");
    source.line = hear_line;
    change((struct vst_migration_change){.downtime_ms = 7});
    assert_int_equal(downtimes, 1);
    assert_int_equal(bandwidths, 0);
    change((struct vst_migration_change){.bandwidth = 7000});
    assert_int_equal(downtimes, 0);
    assert_int_equal(bandwidths, 1);
    change((struct vst_migration_change){.bandwidth = 7000, .downtime_ms = 7});
    assert_int_equal(downtimes, 1);
    assert_int_equal(bandwidths, 1);
    source.line = NULL;
}

/* ---- a QEMU that does not obey ---- */

static const struct vst_migration_change less = {.downtime_ms = 7};

static int begin_refusing_values(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "migrate-set-parameters#2=refuse");
    return 0;
}

static int begin_dying_of_values(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "migrate-set-parameters#2=die");
    return 0;
}

static int begin_silent_at_values(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "migrate-set-parameters#2=silence");
    return 0;
}

static int begin_refusing_post_copy(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "migrate-start-postcopy=refuse");
    return 0;
}

static int begin_refusing_to_stop(void **state)
{
    (void)state;
    restless_begin("migrate=restless", "stop=refuse");
    return 0;
}

static struct vst_op *order(enum vst_migration_order what, const struct vst_done *done)
{
    return vst_conn_order_migration(source.conn, seen.token, what,
                                    what == VST_MIGRATION_SET ? &less : NULL, done);
}

static void expect_words(const struct vst_error *err, enum vst_code code, const char *words)
{
    if (err->code != code || !strstr(err->text, words))
        fail_msg("%d: %s", (int)err->code, err->text);
}

static void order_that_qemu_refuses_fails_in_its_words(void **state)
{
    struct vst_error err = {0};

    (void)state;
    restless_move(NULL);
    restless_await_verdict("first pass");
    assert_int_equal(vst_op_wait(order(VST_MIGRATION_SET, NULL), &err), -1);
    expect_words(&err, VST_ERR_DRIVER, "the fake does not like it");
    assert_int_equal(vst_op_wait(order(VST_MIGRATION_SET, NULL), NULL), 0); /* it goes on */
    vst_op_wait(order(VST_MIGRATION_CANCEL, NULL), NULL);
    restless_await();
}

static void order_ends_with_the_qemu_that_was_to_take_it(void **state)
{
    struct vst_error err = {0};

    (void)state;
    restless_move(NULL);
    restless_await_verdict("first pass");
    assert_int_equal(vst_op_wait(order(VST_MIGRATION_SET, NULL), &err), -1);
    expect_words(&err, VST_ERR_DRIVER, "this is the end");
    restless_await();
    assert_int_equal(outcome.err.code, VST_ERR_DRIVER);
}

static struct vst_error ordered; /* what came of it */

static void have_ordered(const struct vst_error *err, void *opaque)
{
    (void)opaque;
    vst_error_set(&ordered, VST_ERR_OK, "done");
    ordered.code = err ? err->code : VST_ERR_OK;
}

static struct vst_op *begin_order_that_is_not_answered(void)
{
    struct vst_op *op;

    memset(&ordered, 0, sizeof(ordered));
    restless_move(NULL);
    restless_await_verdict("first pass");
    downtimes = 0;
    source.line = hear_line;
    op = order(VST_MIGRATION_SET, &(struct vst_done){.fn = have_ordered});
    while (!downtimes)
        event_base_loop(source.base, EVLOOP_ONCE);
    source.line = NULL;
    assert_string_equal(ordered.text, "");
    return op;
}

static void await_order(void)
{
    while (!ordered.text[0])
        event_base_loop(source.base, EVLOOP_ONCE);
}

static void kill_qemu(void)
{
    struct vst_domain_info info;

    assert_int_equal(vst_host_get_info(&source, "g", &info, NULL), 0);
    assert_int_equal(kill(info.pid, SIGKILL), 0);
}

static void order_that_qemu_does_not_answer_can_be_cancelled(void **state)
{
    (void)state;
    vst_op_cancel(begin_order_that_is_not_answered());
    await_order();
    assert_int_equal(ordered.code, VST_ERR_CANCELLED);
    assert_false(outcome.done);
    kill_qemu(); /* else it takes long to be given up */
    restless_await();
}

static void order_that_qemu_does_not_answer_ends_with_qemu(void **state)
{
    (void)state;
    begin_order_that_is_not_answered();
    kill_qemu();
    await_order();
    assert_int_equal(ordered.code, VST_ERR_DRIVER);
    restless_await();
}

static void order_to_go_post_copy_that_qemu_refuses_fails_in_its_words(void **state)
{
    struct vst_error err = {0};

    (void)state;
    restless_move(&(struct vst_migrate_options){.post_copy = true});
    restless_await_verdict("first pass");
    assert_int_equal(vst_op_wait(order(VST_MIGRATION_GO_POST_COPY, NULL), &err), -1);
    expect_words(&err, VST_ERR_DRIVER, "the fake does not like it");
    vst_op_wait(order(VST_MIGRATION_CANCEL, NULL), NULL);
    restless_await();
}

static void when_qemu_refuses_to_go_post_copy_after_some_passes_it_is_given_up(void **state)
{
    (void)state;
    restless_move(&(struct vst_migrate_options){.post_copy = true, .post_copy_after = 2});
    restless_await();
    expect_words(&outcome.err, VST_ERR_DRIVER, "the fake does not like it");
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
}

static void when_qemu_refuses_to_go_post_copy_in_time_it_is_given_up(void **state)
{
    (void)state;
    restless_move(&(struct vst_migrate_options){
        .post_copy = true, .timeout_seconds = 1, .then = VST_MIGRATE_THEN_POST_COPY});
    restless_await();
    expect_words(&outcome.err, VST_ERR_TIMEOUT, "it was not over in 1 seconds; ");
    expect_words(&outcome.err, VST_ERR_TIMEOUT, "the fake does not like it");
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
}

static void when_qemu_refuses_to_pause_the_guest_in_time_it_is_given_up(void **state)
{
    (void)state;
    restless_move(
        &(struct vst_migrate_options){.timeout_seconds = 1, .then = VST_MIGRATE_THEN_SUSPEND});
    restless_await();
    expect_words(&outcome.err, VST_ERR_TIMEOUT, "it was not over in 1 seconds; ");
    expect_words(&outcome.err, VST_ERR_TIMEOUT, "the fake does not like it");
    assert_true(far_runs(source.conn, "g"));
    assert_false(far_runs(destination, "g"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(qemu_is_told_only_what_changes, begin, restless_end),
        VST_TEST_WITH(order_that_qemu_refuses_fails_in_its_words, begin_refusing_values,
                      restless_end),
        VST_TEST_WITH(order_ends_with_the_qemu_that_was_to_take_it, begin_dying_of_values,
                      restless_end),
        VST_TEST_WITH(order_that_qemu_does_not_answer_can_be_cancelled, begin_silent_at_values,
                      restless_end),
        VST_TEST_WITH(order_that_qemu_does_not_answer_ends_with_qemu, begin_silent_at_values,
                      restless_end),
        VST_TEST_WITH(order_to_go_post_copy_that_qemu_refuses_fails_in_its_words,
                      begin_refusing_post_copy, restless_end),
        VST_TEST_WITH(when_qemu_refuses_to_go_post_copy_after_some_passes_it_is_given_up,
                      begin_refusing_post_copy, restless_end),
        VST_TEST_WITH(when_qemu_refuses_to_go_post_copy_in_time_it_is_given_up,
                      begin_refusing_post_copy, restless_end),
        VST_TEST_WITH(when_qemu_refuses_to_pause_the_guest_in_time_it_is_given_up,
                      begin_refusing_to_stop, restless_end),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

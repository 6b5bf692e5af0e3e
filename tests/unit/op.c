/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations: completion exactly once, last, and from the loop; cancel; deadlines; waiting. The
 * driver's part is played here; no connection is needed.
 */
#include "core/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

/* The application's callback, and the driver's. In the order in which they were called. */
static struct {
    struct event_base *base;
    char order[256];
    struct vst_error err;
    struct vst_error why; /* what the driver was told */
    struct vst_op *op;
    unsigned freed; /* results */
} t;

static void note(const char *what)
{
    size_t used = strlen(t.order);

    snprintf(t.order + used, sizeof(t.order) - used, "%s%s", used ? " " : "", what);
}

static void on_done(const struct vst_error *err, void *opaque)
{
    assert_ptr_equal(opaque, &t);
    t.err = err ? *err : (struct vst_error){0};
    note("done");
}

static void on_release(void *opaque)
{
    assert_ptr_equal(opaque, &t);
    note("release");
}

static void on_idle(void *opaque)
{
    assert_ptr_equal(opaque, &t);
    note("idle");
}

static void on_cancel(void *opaque, const struct vst_error *why)
{
    assert_ptr_equal(opaque, &t);
    t.why = *why;
    note("cancel");
}

static void fail_when_cancelled(void *opaque, const struct vst_error *why)
{
    on_cancel(opaque, why);
    vst_op_fail(t.op, why);
}

static struct vst_op *new_op_of(void (*fn)(const struct vst_error *, void *))
{
    return vst_op_new(t.base, NULL, vst_deliver_done,
                      (struct vst_callback){(void (*)(void))fn, &t, on_release});
}

static int make(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.base = event_base_new();
    t.op = new_op_of(on_done);
    vst_op_on_idle(t.op, on_idle, &t);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(t.base);
    return 0;
}

static void run(void)
{
    event_base_dispatch(t.base);
}

static void run_for(unsigned milliseconds)
{
    struct timeval limit = {0, milliseconds * 1000};

    event_base_loopexit(t.base, &limit);
    event_base_dispatch(t.base);
}

/* ---- completion ---- */

static void completion_comes_from_the_loop_and_last(void **state)
{
    (void)state;
    vst_op_done(t.op);
    assert_string_equal(t.order, "");
    run();
    assert_string_equal(t.order, "done release idle");
    assert_int_equal(t.err.code, VST_ERR_OK);
}

static void failure_is_told_with_its_error(void **state)
{
    static const struct vst_error err = {.code = VST_ERR_DRIVER, .text = "it broke"};

    (void)state;
    vst_op_fail(t.op, &err);
    run();
    assert_string_equal(t.order, "done release idle");
    assert_int_equal(t.err.code, VST_ERR_DRIVER);
    assert_string_equal(t.err.text, "it broke");
}

static void callback_may_be_missing(void **state)
{
    struct vst_op *op;

    (void)state;
    vst_op_done(t.op);
    op = vst_op_new(t.base, NULL, vst_deliver_done, (struct vst_callback){0});
    vst_op_done(op);
    op = new_op_of(NULL);
    vst_op_done(op);
    run();
    assert_string_equal(t.order, "done release idle release");
}

static void free_number(void *value, size_t count)
{
    assert_int_equal(*(int *)value, 42);
    assert_int_equal(count, 7);
    free(value);
    t.freed++;
}

static struct vst_result number(void)
{
    int *value = malloc(sizeof(*value));

    *value = 42;
    return (struct vst_result){value, 7, free_number};
}

static void result_that_nobody_takes_is_freed(void **state)
{
    (void)state;
    vst_op_succeed(t.op, number());
    run();
    assert_int_equal(t.freed, 1);
}

static void deliver_and_take(const struct vst_callback *cb, struct vst_result *result,
                             const struct vst_error *err)
{
    assert_null(err);
    free(result->value);
    result->value = NULL;
    vst_deliver_done(cb, result, err);
}

static void result_may_be_taken(void **state)
{
    struct vst_op *op;

    (void)state;
    vst_op_done(t.op);
    op = vst_op_new(t.base, NULL, deliver_and_take,
                    (struct vst_callback){(void (*)(void))on_done, &t, NULL});
    vst_op_succeed(op, number());
    run();
    assert_int_equal(t.freed, 0);
}

static void list_holds_it_until_it_was_told(void **state)
{
    struct vst_op_list list = TAILQ_HEAD_INITIALIZER(list);
    struct vst_op *op;

    (void)state;
    vst_op_done(t.op);
    op = vst_op_new(t.base, &list, vst_deliver_done, (struct vst_callback){0});
    assert_ptr_equal(TAILQ_FIRST(&list), op);
    assert_null(vst_op_next(op));
    vst_op_done(op);
    assert_false(TAILQ_EMPTY(&list));
    run();
    assert_true(TAILQ_EMPTY(&list));
}

/* ---- cancel ---- */

static void cancel_is_told_to_the_driver_once_and_from_the_loop(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, on_cancel, &t);
    vst_op_cancel(t.op);
    vst_op_cancel(t.op);
    assert_string_equal(t.order, "");
    run();
    vst_op_cancel(t.op);
    run();
    assert_string_equal(t.order, "cancel");
    assert_int_equal(t.why.code, VST_ERR_CANCELLED);
    assert_int_equal(vst_op_cancelled(t.op)->code, VST_ERR_CANCELLED);
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "cancel done release idle");
}

static void cancelled_operation_completes_as_the_driver_says(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, fail_when_cancelled, &t);
    vst_op_cancel(t.op);
    run();
    assert_string_equal(t.order, "cancel done release idle");
    assert_int_equal(t.err.code, VST_ERR_CANCELLED);
}

static void cancel_comes_too_late_for_what_is_decided(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, on_cancel, &t);
    vst_op_done(t.op);
    vst_op_cancel(t.op);
    assert_null(vst_op_cancelled(t.op));
    run();
    assert_string_equal(t.order, "done release idle");
    assert_int_equal(t.err.code, VST_ERR_OK);
}

static void outcome_that_races_with_cancel_stands(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, on_cancel, &t);
    vst_op_cancel(t.op);
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "done release idle");
    assert_int_equal(t.err.code, VST_ERR_OK);
}

static void driver_that_comes_later_hears_of_an_older_cancel(void **state)
{
    (void)state;
    vst_op_cancel(t.op);
    run();
    assert_string_equal(t.order, "");
    vst_op_set_cancel(t.op, fail_when_cancelled, &t);
    run();
    assert_string_equal(t.order, "cancel done release idle");
}

static void cancel_itself(const struct vst_error *err, void *opaque)
{
    on_done(err, opaque);
    vst_op_cancel(t.op);
}

static void callback_may_cancel_its_own_operation(void **state)
{
    (void)state;
    vst_op_done(t.op);
    t.op = new_op_of(cancel_itself);
    vst_op_set_cancel(t.op, on_cancel, &t);
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "done release idle done release");
}

static void cancel_of_nothing_is_nothing(void **state)
{
    (void)state;
    vst_op_cancel(NULL);
    vst_op_done(t.op);
    run();
}

/* ---- deadlines ---- */

static const struct timeval soon = {0, 5000}, now = {0, 0};

static void deadline_cancels_with_timeout(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, fail_when_cancelled, &t);
    assert_int_equal(vst_op_set_timeout(t.op, &soon), 0);
    run();
    assert_string_equal(t.order, "cancel done release idle");
    assert_int_equal(t.err.code, VST_ERR_TIMEOUT);
}

static void deadline_can_be_removed(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, fail_when_cancelled, &t);
    vst_op_set_timeout(t.op, &now);
    assert_int_equal(vst_op_set_timeout(NULL, &now), -1);
    vst_op_set_timeout(t.op, NULL);
    run_for(20);
    assert_string_equal(t.order, "");
    vst_op_done(t.op);
    run();
}

static void deadline_can_be_moved(void **state)
{
    static const struct timeval later = {1000, 0};

    (void)state;
    vst_op_set_cancel(t.op, fail_when_cancelled, &t);
    vst_op_set_timeout(t.op, &later);
    vst_op_set_timeout(t.op, &soon);
    run();
    assert_int_equal(t.err.code, VST_ERR_TIMEOUT);
}

static void deadline_of_what_is_decided_is_off(void **state)
{
    (void)state;
    vst_op_set_timeout(t.op, &now);
    vst_op_done(t.op);
    vst_op_set_timeout(t.op, &now);
    run();
    assert_string_equal(t.order, "done release idle");
    assert_int_equal(t.err.code, VST_ERR_OK);
}

static void first_reason_to_end_wins(void **state)
{
    (void)state;
    vst_op_set_cancel(t.op, on_cancel, &t);
    vst_op_set_timeout(t.op, &now);
    vst_op_cancel(t.op);
    run();
    assert_int_equal(t.why.code, VST_ERR_CANCELLED);
    vst_op_done(t.op);
    run();
}

/* ---- waiting ---- */

static void end_it(evutil_socket_t fd, short what, void *opaque)
{
    static const struct vst_error err = {.code = VST_ERR_DAMAGED};

    (void)fd, (void)what;
    if (opaque)
        vst_op_fail(t.op, &err);
    else
        vst_op_done(t.op);
}

static void wait_runs_the_loop_until_the_end(void **state)
{
    (void)state;
    event_base_once(t.base, -1, EV_TIMEOUT, end_it, NULL, &soon);
    assert_int_equal(vst_op_wait(t.op, NULL), 0);
    assert_string_equal(t.order, "done release idle");
}

static void wait_gives_the_error(void **state)
{
    struct vst_error err = {0};

    (void)state;
    event_base_once(t.base, -1, EV_TIMEOUT, end_it, &t, &soon);
    assert_int_equal(vst_op_wait(t.op, &err), -1);
    assert_int_equal(err.code, VST_ERR_DAMAGED);
}

static void wait_for_nothing_means_there_was_no_memory(void **state)
{
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_op_wait(NULL, &err), -1);
    assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    assert_int_equal(vst_op_wait(NULL, NULL), -1);
    vst_op_done(t.op);
    run();
}

static void wait_inside(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_error err = {0};

    (void)fd, (void)what, (void)opaque;
    assert_int_equal(vst_op_wait(t.op, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    note("refused");
    vst_op_done(t.op);
}

static void wait_inside_a_callback_is_refused_and_harmless(void **state)
{
    (void)state;
    event_base_once(t.base, -1, EV_TIMEOUT, wait_inside, NULL, &now);
    run();
    assert_string_equal(t.order, "refused done release idle");
}

static void wait_for_what_nothing_can_end_says_so(void **state)
{
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_op_wait(t.op, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    vst_op_done(t.op);
    run();
    assert_string_equal(t.order, "done release idle");
}

int main(void)
{
#define OP_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        OP_TEST(completion_comes_from_the_loop_and_last),
        OP_TEST(failure_is_told_with_its_error),
        OP_TEST(callback_may_be_missing),
        OP_TEST(result_that_nobody_takes_is_freed),
        OP_TEST(result_may_be_taken),
        OP_TEST(list_holds_it_until_it_was_told),
        OP_TEST(cancel_is_told_to_the_driver_once_and_from_the_loop),
        OP_TEST(cancelled_operation_completes_as_the_driver_says),
        OP_TEST(cancel_comes_too_late_for_what_is_decided),
        OP_TEST(outcome_that_races_with_cancel_stands),
        OP_TEST(driver_that_comes_later_hears_of_an_older_cancel),
        OP_TEST(callback_may_cancel_its_own_operation),
        OP_TEST(cancel_of_nothing_is_nothing),
        OP_TEST(deadline_cancels_with_timeout),
        OP_TEST(deadline_can_be_removed),
        OP_TEST(deadline_can_be_moved),
        OP_TEST(deadline_of_what_is_decided_is_off),
        OP_TEST(first_reason_to_end_wins),
        OP_TEST(wait_runs_the_loop_until_the_end),
        OP_TEST(wait_gives_the_error),
        OP_TEST(wait_for_nothing_means_there_was_no_memory),
        OP_TEST(wait_inside_a_callback_is_refused_and_harmless),
        OP_TEST(wait_for_what_nothing_can_end_says_so),
    };
#undef OP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

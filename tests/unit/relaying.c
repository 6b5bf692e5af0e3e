/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relaying for a source that is made up: what its errands come to when they make no sense, or
 * memory runs out.
 */
#include "app.h"
#include "core/migration.h"
#include "shortage.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"

static struct vst_driver made_up;
static struct vst_errand errands[2]; /* the next ones; NONE: none any more */
static struct vst_op *waits;         /* for an errand */
static unsigned streams;             /* that either host was given */

static void gone(void *opaque, const struct vst_error *why)
{
    (void)opaque;
    vst_op_fail(waits, why);
    waits = NULL;
}

static void relay_fetch(struct vst_conn *conn, const char *token, uint64_t after, struct vst_op *op)
{
    (void)conn, (void)token;
    if (after < 2 && errands[after].kind) {
        errands[after].number = after + 1;
        vst_driver_errand(op, &errands[after]);
        return;
    }
    waits = op;
    vst_op_set_cancel(op, gone, NULL);
}

static void take_stream(struct vst_conn *conn, const char *token, const char *part,
                        struct vst_stream *stream, struct vst_op *op)
{
    struct vst_error err = {0};

    (void)conn, (void)token, (void)part, (void)stream;
    streams++;
    vst_error_set(&err, VST_ERR_CANCELLED, "this is all there is of it");
    vst_op_fail(op, &err);
}

static void begin(struct app *app)
{
    app_start(app, "test:///");
    made_up = *app->conn->driver;
    made_up.relay_fetch = relay_fetch;
    made_up.relay_stream = made_up.migrate_stream = take_stream;
    app->conn->driver = &made_up;
    errands[0] = errands[1] = (struct vst_errand){.kind = VST_ERRAND_NONE};
    waits = NULL;
    streams = 0;
}

static void source_that_says_no_more_than_that_it_is_over_is_not_believed(void **state)
{
    struct outcome outcome = {0};
    struct app app;

    (void)state;
    begin(&app);
    errands[0].kind = VST_ERRAND_OVER;
    vst_conn_relay_migration(app.conn, TOKEN, app.conn, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_PROTOCOL);
    app_stop(&app);
}

static void source_that_says_how_it_went_is_believed(void **state)
{
    struct outcome outcome = {0};
    struct app app;

    (void)state;
    begin(&app);
    errands[0].kind = VST_ERRAND_TOLD;
    errands[1].kind = VST_ERRAND_OVER;
    vst_conn_relay_migration(app.conn, TOKEN, app.conn, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    app_stop(&app);
}

/* Whether the allocation after the next `after` ones was there to fail. Nobody waits for ever for a
 * stream that nobody carries: both hosts have it, or it is over. */
static bool carry_short_of_memory(long after)
{
    struct outcome outcome = {0};
    struct app app;
    bool failed;

    begin(&app);
    errands[0].kind = VST_ERRAND_CARRY;
    shortage_make_room(app.base);
    shortage_begin(after);
    if (!vst_conn_relay_migration(app.conn, TOKEN, app.conn, outcome_done(&outcome))) {
        failed = shortage_end();
        app_stop(&app);
        return failed;
    }
    while (!outcome.calls && !(streams == 2 && waits))
        event_base_loop(app.base, EVLOOP_ONCE);
    failed = shortage_end();
    if (outcome.calls)
        assert_int_equal(outcome.err.code, VST_ERR_NO_MEMORY);
    app_stop(&app);
    return failed;
}

static void stream_that_cannot_be_carried_is_the_end(void **state)
{
    long after = 0;

    (void)state;
    while (carry_short_of_memory(after))
        after++;
    assert_true(after > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(source_that_says_no_more_than_that_it_is_over_is_not_believed),
        VST_TEST(source_that_says_how_it_went_is_believed),
        VST_TEST(stream_that_cannot_be_carried_is_the_end),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

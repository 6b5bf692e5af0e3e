/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an application calls off at a client of a server, at each moment of it: it ends once, and
 * has been done or not, on both sides.
 */
#include <stdio.h>

#include "app.h"
#include "served.h"

static struct served served;
static struct app app;
static struct evbuffer *image;

static int make(void **state)
{
    (void)state;
    served_start(&served, "test:///?domains=2&memory=64K", VST_ROLE_ADMIN, NULL);
    served_join(&served, "", &app);
    image = evbuffer_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    served_leave(&app);
    served_stop(&served);
    evbuffer_free(image);
    return 0;
}

static enum vst_code destroy(void)
{
    struct outcome outcome = {0};

    vst_domain_destroy(app.domain, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    return outcome.err.code;
}

/* One pass of the loop, or two milliseconds without anything to do. */
static void step(void)
{
    struct timeval tv = {0, 2000};

    event_base_loopexit(app.base, &tv);
    event_base_loop(app.base, EVLOOP_ONCE);
}

/* Calls it off at that moment, and waits for its end; whether it was through before. */
static bool cancel_at(unsigned moment, struct vst_op *op, struct outcome *outcome)
{
    bool done;

    for (unsigned i = 0; i < moment && !outcome->released; i++)
        step();
    done = outcome->released;
    if (!done)
        vst_op_cancel(op);
    while (!outcome->released)
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
    assert_int_equal(outcome->calls, 1);
    if (outcome->err.code)
        assert_int_equal(outcome->err.code, VST_ERR_CANCELLED);
    return done;
}

static void settle(void)
{
    for (int i = 0; i < 1000 && served_stats(&served).streams; i++)
        step();
    assert_int_equal(served_stats(&served).streams, 0);
}

static void save_is_cancelled_at_each_moment(void **state)
{
    bool done = false;

    (void)state;
    vst_test_seconds(60);
    for (unsigned moment = 0; !done; moment++) {
        struct vst_stream *stream = app_stream(&app);
        struct end end = {0};
        struct outcome outcome = {0};
        struct vst_op *op;

        evbuffer_drain(image, evbuffer_get_length(image));
        end_drain(&end, app.base, stream, image, (struct manner){.chunk = 20000});
        op = app_begin_save(&app, stream, &outcome);
        done = cancel_at(moment, op, &outcome);
        vst_stream_free(&stream);
        settle();
        assert_int_equal(served_domain_state(&served, "test1"),
                         outcome.err.code ? VST_DOMAIN_RUNNING : -1);
        if (!outcome.err.code)
            assert_int_equal(app_restore(&app, NULL, image, (struct manner){0}, NULL), VST_ERR_OK);
    }
}

static void restore_is_cancelled_at_each_moment(void **state)
{
    bool done = false;

    (void)state;
    vst_test_seconds(60);
    assert_int_equal(app_save(&app, NULL, NULL, image, (struct manner){0}), VST_ERR_OK);
    for (unsigned moment = 0; !done; moment++) {
        struct vst_stream *stream = app_stream(&app);
        struct evbuffer *bytes = copy_of(image);
        struct end end = {0};
        struct outcome outcome = {0};
        struct vst_op *op;

        end_feed(&end, app.base, stream, bytes, (struct manner){.chunk = 20000});
        op = app_begin_restore(&app, stream, &outcome);
        done = cancel_at(moment, op, &outcome);
        vst_stream_free(&stream);
        evbuffer_free(bytes);
        settle();
        assert_int_equal(served_domain_state(&served, "test1"),
                         outcome.err.code ? -1 : VST_DOMAIN_RUNNING);
        if (!outcome.err.code)
            assert_int_equal(destroy(), VST_ERR_OK);
    }
}

static void lookup_is_cancelled_at_each_moment(void **state)
{
    bool done = false;

    (void)state;
    for (unsigned moment = 0; !done; moment++) {
        struct outcome outcome = {0};
        struct vst_op *op = vst_conn_lookup(app.conn, "test1", outcome_domain(&outcome));

        done = cancel_at(moment, op, &outcome);
        vst_domain_free(&outcome.domain);
    }
}

static void opening_is_cancelled_at_each_moment(void **state)
{
    bool done = false;
    char uri[200];

    (void)state;
    snprintf(uri, sizeof(uri), "test+unix://%s", served.path);
    for (unsigned moment = 0; !done; moment++) {
        struct outcome outcome = {0};
        struct vst_op *op = vst_conn_open(app.base, uri, NULL, outcome_conn(&outcome));

        done = cancel_at(moment, op, &outcome);
        vst_conn_close(&outcome.conn);
    }
}

int main(void)
{
#define CANCEL_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        CANCEL_TEST(save_is_cancelled_at_each_moment),
        CANCEL_TEST(restore_is_cancelled_at_each_moment),
        CANCEL_TEST(lookup_is_cancelled_at_each_moment),
        CANCEL_TEST(opening_is_cancelled_at_each_moment),
    };
#undef CANCEL_TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}

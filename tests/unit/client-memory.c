/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation of a session fails once, on whichever side of the connection it is: every
 * operation still ends once, both sides let go of everything, and the guest is there or not.
 */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "memory.h"
#include "served.h"

enum { MOST = 50000 }; /* allocations of a session; far more than there are */

static struct served served;
static struct evbuffer *image;

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

/* What fails is told, and it is told that it was for want of memory, here or there. */
static bool worked(struct outcome *outcome)
{
    while (!outcome->released)
        assert_int_equal(event_base_loop(served.base, EVLOOP_ONCE), 0);
    assert_int_equal(outcome->released, 1);
    assert_in_range(outcome->calls, 0, 1);
    if (outcome->err.code && outcome->err.code != VST_ERR_NO_MEMORY &&
        outcome->err.code != VST_ERR_LOST)
        fail_msg("%s: %s", vst_code_name(outcome->err.code), outcome->err.text);
    return outcome->calls && !outcome->err.code;
}

static struct vst_conn *open_it(void)
{
    struct outcome outcome = {0};
    char uri[128];

    snprintf(uri, sizeof(uri), "test+unix://%s", served.path);
    vst_conn_open(served.base, uri, NULL, outcome_conn(&outcome));
    return worked(&outcome) ? outcome.conn : NULL;
}

static struct vst_domain *look_up(struct vst_conn *conn)
{
    struct outcome outcome = {0};

    vst_conn_lookup(conn, "test1", outcome_domain(&outcome));
    return worked(&outcome) ? outcome.domain : NULL;
}

static void list(struct vst_conn *conn)
{
    struct outcome outcome = {0};

    vst_conn_list(conn, outcome_infos(&outcome));
    worked(&outcome);
}

static void save(struct vst_domain *domain)
{
    struct vst_save_options keep = {.keep_running = true};
    struct vst_stream *stream = vst_stream_new(served.base, NULL);
    struct end end = {0};
    struct outcome outcome = {0};

    if (!stream)
        return;
    evbuffer_drain(image, evbuffer_get_length(image));
    if (end_drain(&end, served.base, stream, image, (struct manner){0}) == 0) {
        vst_domain_save(domain, stream, &keep, outcome_done(&outcome));
        worked(&outcome);
    }
    vst_stream_free(&stream);
}

static void restore(struct vst_conn *conn)
{
    struct vst_restore_options other = {.name = "again"};
    struct vst_stream *stream = vst_stream_new(served.base, NULL);
    struct end end = {0};
    struct outcome outcome = {0};

    if (!stream)
        return;
    if (end_feed(&end, served.base, stream, image, (struct manner){0}) == 0) {
        vst_domain_restore(conn, stream, &other, outcome_domain(&outcome));
        worked(&outcome);
        vst_domain_free(&outcome.domain);
    }
    vst_stream_free(&stream);
}

static void session(void)
{
    struct vst_conn *conn = open_it();
    struct vst_domain *domain = conn ? look_up(conn) : NULL;

    if (domain) {
        list(conn);
        save(domain);
        /* What is not whole would be damaged, and rightly so. */
        if (evbuffer_get_length(image) > 600)
            restore(conn);
    }
    vst_domain_free(&domain);
    vst_conn_close(&conn);
}

static void expect_peace(void)
{
    struct app app = {.base = served.base, .conn = served.conn};
    struct outcome found = {0}, gone = {0};

    served_settle(&served);
    assert_int_equal(served_stats(&served).clients, 0);
    assert_int_equal(served_stats(&served).streams, 0);
    for (int i = 0; i < 500 && app_domain_state(&app, "test1") != VST_DOMAIN_RUNNING; i++)
        served_run(&served, 1); /* a save is being undone */
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
    if (app_domain_state(&app, "again") < 0)
        return;
    vst_conn_lookup(served.conn, "again", outcome_domain(&found));
    outcome_await(served.base, &found);
    vst_domain_destroy(found.domain, outcome_done(&gone));
    outcome_await(served.base, &gone);
    vst_domain_free(&found.domain);
}

static int make(void **state)
{
    (void)state;
    event_set_log_callback(discard);
    served_start(&served, "test:///?memory=600", VST_ROLE_ADMIN, NULL);
    image = evbuffer_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    evbuffer_free(image);
    served_stop(&served);
    return 0;
}

static void each_allocation_of_a_session_fails_once(void **state)
{
    unsigned stride = vst_test_long() ? 1 : 3;
    bool failed = true;

    (void)state;
    vst_test_seconds(vst_test_long() ? 3000 : 120);
    session();
    expect_peace();
    for (unsigned after = 0; failed && after < MOST; after += stride) {
        memory_fail_once(after);
        session();
        failed = memory_stop_failing();
        expect_peace();
    }
    assert_false(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_allocation_of_a_session_fails_once, make, drop),
    };

    if (!memory_can_fail()) {
        puts("1..0 # SKIP malloc() is not ours, and cannot fail when we want it to");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

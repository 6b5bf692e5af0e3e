/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections and domains, on the public API with the test driver: opening, closing while anything
 * is under way, life-cycle events, and what outlives what.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "core/uri.h"

#define DEFINITION                                                                          \
    "{\"name\":\"%s\",\"machine\":\"test\",\"accel\":\"tcg\",\"memory-mib\":1,\"vcpus\":2," \
    "\"console\":{}}"

static struct app app;

static int make(void **state)
{
    (void)state;
    app_start(&app, "test:///?domains=2&memory=64K");
    return 0;
}

static int drop(void **state)
{
    (void)state;
    app_stop(&app);
    return 0;
}

static void run(void)
{
    event_base_dispatch(app.base);
}

/* ---- opening ---- */

static struct vst_error open_fails(const char *uri)
{
    struct event_base *base = event_base_new();
    struct outcome opened = {0};

    vst_conn_open(base, uri, NULL, outcome_conn(&opened));
    outcome_await(base, &opened);
    assert_null(opened.conn);
    event_base_free(base);
    return opened.err;
}

static void assert_refused(const char *uri, const char *names)
{
    struct vst_error err = open_fails(uri);

    assert_int_equal(err.code, VST_ERR_INVALID);
    if (!strstr(err.text, names))
        fail_msg("`%s` does not name `%s`", err.text, names);
}

static void what_is_wrong_with_a_uri_is_named(void **state)
{
    (void)state;
    assert_refused("no uri at all", "no uri at all");
    assert_refused("test:", "test:");
    assert_refused("tset:///", "tset");
    assert_refused("remote:///", "remote");
    assert_refused("test:///?domain=2", "domain");
    assert_refused("test:///?domains=two", "domains=two");
    assert_refused("test:///?domains=1000000", "domains");
    assert_refused("test:///?memory=1kB", "memory=1kB");
    assert_refused("test:///?memory=2T", "memory");
    assert_refused("test:///?domains", "?");
    assert_refused("test:///?domains=%zz%00", "?");
    assert_refused("test:///?domains=1&memory=4K&domains=2", "domains is given twice");
    assert_refused("test:///?pool.a=/p#1", "%23");
    assert_refused("test+:///", "test+:///");
    assert_refused("test://host/", "test://host/");
    assert_refused("test:///path", "test:///path");
    assert_refused("://", "://");
}

static void letters_of_a_file_name_are_what_they_are(void **state)
{
    struct vst_uri *uri;

    (void)state;
    assert_int_equal(vst_uri_parse("qemu:///?root=/a+b%20c%2bd=e&user=x%26y", &uri, NULL), 0);
    assert_string_equal(vst_uri_get(uri, "root"), "/a+b c+d=e");
    assert_string_equal(vst_uri_get(uri, "user"), "x&y");
    vst_uri_free(&uri);
}

static void uri_of_the_environment_is_the_default(void **state)
{
    struct app other;

    (void)state;
    setenv("VIRSTREAM_DEFAULT_URI", "test:///?domains=1", 1);
    app_start(&other, NULL);
    assert_string_equal(vst_conn_get_uri(other.conn), "test:///?domains=1");
    app_stop(&other);
    app_start(&other, "");
    app_stop(&other);
    unsetenv("VIRSTREAM_DEFAULT_URI");
}

static void connection_that_nobody_asked_for_closes_itself(void **state)
{
    struct vst_conn_cb cb = {0};

    (void)state;
    assert_non_null(vst_conn_open(app.base, "test:///", NULL, &cb));
    run();
}

static void close_conn(void *opaque)
{
    struct outcome *opened = opaque;

    vst_conn_close(&opened->conn);
}

static void connection_may_be_closed_as_it_opens(void **state)
{
    struct outcome opened = {.then = close_conn, .opaque = &opened};

    (void)state;
    vst_conn_open(app.base, "test:///", NULL, outcome_conn(&opened));
    outcome_await(app.base, &opened);
    assert_null(opened.conn);
    run();
}

static void close_of_nothing_is_nothing(void **state)
{
    struct vst_conn *none = NULL;
    struct vst_domain *nobody = NULL;

    (void)state;
    vst_conn_close(&none);
    vst_domain_free(&nobody);
}

/* ---- finding ---- */

static void domains_are_found_by_name_and_by_uuid(void **state)
{
    struct outcome found = {0}, listed = {0}, info = {0};

    (void)state;
    assert_string_equal(vst_domain_get_name(app.domain), "test1");
    vst_conn_lookup(app.conn, vst_domain_get_uuid(app.domain), outcome_domain(&found));
    outcome_await(app.base, &found);
    assert_string_equal(vst_domain_get_name(found.domain), "test1");
    vst_domain_get_info(found.domain, outcome_infos(&info));
    outcome_await(app.base, &info);
    assert_int_equal(info.count, 1);
    assert_int_equal(info.info.memory, 64 * 1024);
    assert_int_equal(info.info.state, VST_DOMAIN_RUNNING);
    assert_int_equal(info.info.job, VST_JOB_NONE);
    vst_conn_list(app.conn, outcome_infos(&listed));
    outcome_await(app.base, &listed);
    assert_int_equal(listed.count, 2);
    vst_domain_free(&found.domain);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct outcome found = {0};

    (void)state;
    vst_conn_lookup(app.conn, "nobody", outcome_domain(&found));
    outcome_await(app.base, &found);
    assert_int_equal(found.err.code, VST_ERR_NOT_FOUND);
    assert_non_null(strstr(found.err.text, "nobody"));
}

static void nobody_needs_to_listen(void **state)
{
    (void)state;
    assert_non_null(vst_conn_list(app.conn, NULL));
    assert_non_null(vst_conn_lookup(app.conn, "test1", NULL));
    assert_non_null(vst_domain_get_info(app.domain, NULL));
    assert_non_null(vst_domain_suspend(app.domain, NULL));
    run();
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_PAUSED);
}

/* ---- life-cycle ---- */

static char told[512];

static void on_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    static const char *const kinds[] = {"started", "suspended", "resumed", "stopped", "crashed"};
    size_t used = strlen(told);

    (void)opaque;
    assert_ptr_equal(conn, app.conn);
    assert_non_null(event->uuid);
    snprintf(told + used, sizeof(told) - used, "%s%s %s(%s)", used ? ", " : "", event->name,
             kinds[event->kind], event->reason);
}

static void count_release(void *opaque)
{
    ++*(unsigned *)opaque;
}

static enum vst_code await_control(struct vst_op *(*method)(struct vst_domain *,
                                                            const struct vst_done *),
                                   struct vst_domain *domain)
{
    struct outcome outcome = {0};

    assert_non_null(method(domain, outcome_done(&outcome)));
    assert_int_equal(outcome.calls, 0);
    outcome_await(app.base, &outcome);
    return outcome.err.code;
}

static struct vst_domain *start(const char *name, bool paused, enum vst_code expected)
{
    struct vst_start_options opt = {.paused = paused};
    struct outcome started = {0};
    char text[256];

    snprintf(text, sizeof(text), DEFINITION, name);
    vst_domain_start(app.conn, text, &opt, outcome_domain(&started));
    outcome_await(app.base, &started);
    assert_int_equal(started.err.code, expected);
    return started.domain;
}

static void life_of_a_guest_is_told(void **state)
{
    unsigned released = 0;
    struct vst_event_cb cb = {on_event, &released, count_release, NULL};
    struct vst_domain *domain;

    (void)state;
    told[0] = '\0';
    vst_conn_set_event_callback(app.conn, &cb);
    domain = start("g1", false, VST_ERR_OK);
    assert_int_equal(await_control(vst_domain_suspend, domain), VST_ERR_OK);
    assert_int_equal(await_control(vst_domain_suspend, domain), VST_ERR_OK);
    assert_int_equal(app_domain_state(&app, "g1"), VST_DOMAIN_PAUSED);
    assert_int_equal(await_control(vst_domain_resume, domain), VST_ERR_OK);
    assert_int_equal(await_control(vst_domain_resume, domain), VST_ERR_OK);
    assert_int_equal(await_control(vst_domain_shutdown, domain), VST_ERR_OK);
    assert_int_equal(app_domain_state(&app, "g1"), -1);
    assert_int_equal(await_control(vst_domain_resume, domain), VST_ERR_NOT_FOUND);
    assert_int_equal(await_control(vst_domain_destroy, app.domain), VST_ERR_OK);
    assert_string_equal(told, "g1 started(), g1 suspended(), g1 resumed(), g1 stopped(), "
                              "test1 stopped()");
    vst_conn_set_event_callback(app.conn, NULL);
    assert_int_equal(released, 1);
    vst_domain_free(&domain);
}

static void paused_guest_shuts_down_when_it_hears_of_it(void **state)
{
    struct outcome first = {0}, second = {0};
    struct vst_op *op;

    (void)state;
    assert_int_equal(await_control(vst_domain_suspend, app.domain), VST_ERR_OK);
    op = vst_domain_shutdown(app.domain, outcome_done(&first));
    vst_domain_shutdown(app.domain, outcome_done(&second));
    run();
    assert_int_equal(first.calls + second.calls, 0);
    vst_op_cancel(op);
    run();
    assert_int_equal(first.err.code, VST_ERR_CANCELLED);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_PAUSED);
    assert_int_equal(await_control(vst_domain_resume, app.domain), VST_ERR_OK);
    run();
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.err.code, VST_ERR_OK);
    assert_int_equal(app_domain_state(&app, "test1"), -1);
}

static void guest_may_start_paused(void **state)
{
    struct vst_domain *domain = start("g1", true, VST_ERR_OK);

    (void)state;
    assert_int_equal(app_domain_state(&app, "g1"), VST_DOMAIN_PAUSED);
    vst_domain_free(&domain);
}

static void name_that_is_taken_is_refused(void **state)
{
    (void)state;
    assert_null(start("test2", false, VST_ERR_EXISTS));
}

static void definition_that_is_wrong_is_refused(void **state)
{
    struct outcome started = {0};

    (void)state;
    vst_domain_start(app.conn, "{\"name\":\"g1\"}", NULL, outcome_domain(&started));
    outcome_await(app.base, &started);
    assert_int_equal(started.err.code, VST_ERR_INVALID);
}

static struct outcome destroyed;

static void destroy_and_close(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    (void)conn, (void)opaque;
    if (event->kind == VST_EVENT_SUSPENDED) {
        vst_domain_destroy(app.domain, outcome_done(&destroyed));
        return;
    }
    vst_conn_set_event_callback(app.conn, NULL);
    vst_conn_close(&app.conn);
}

static void event_callback_may_do_anything(void **state)
{
    unsigned released = 0;
    struct vst_event_cb cb = {destroy_and_close, &released, count_release, NULL};

    (void)state;
    destroyed = (struct outcome){0};
    vst_conn_set_event_callback(app.conn, &cb);
    vst_domain_suspend(app.domain, NULL);
    outcome_await(app.base, &destroyed);
    run();
    assert_null(app.conn);
    assert_int_equal(released, 1);
}

/* ---- closing ---- */

static void close_completes_what_is_pending_as_cancelled(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct outcome saved = {0}, restored = {0}, watched = {0};
    struct vst_stream *up = vst_stream_new(app.base, NULL);
    struct vst_stream *console = vst_stream_new(app.base, NULL);

    (void)state;
    /* All three wait: nobody reads, writes, or types. */
    vst_domain_save(app.domain, stream, NULL, outcome_done(&saved));
    vst_domain_restore(app.conn, up, NULL, outcome_domain(&restored));
    vst_domain_open_console(app.domain, console, outcome_done(&watched));
    for (int i = 0; i < 10; i++)
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(saved.calls + restored.calls + watched.calls, 0);
    vst_conn_close(&app.conn);
    assert_null(app.conn);
    assert_int_equal(saved.calls + restored.calls + watched.calls, 0);
    run();
    assert_int_equal(saved.released + restored.released + watched.released, 3);
    assert_int_equal(saved.err.code, VST_ERR_CANCELLED);
    assert_int_equal(restored.err.code, VST_ERR_CANCELLED);
    assert_int_equal(watched.err.code, VST_ERR_CANCELLED);
    vst_stream_free(&stream);
    vst_stream_free(&up);
    vst_stream_free(&console);
}

static void domain_outlives_its_connection(void **state)
{
    struct outcome outcome = {0}, saved = {0};
    struct vst_stream *stream = vst_stream_new(app.base, NULL);

    (void)state;
    vst_conn_close(&app.conn);
    vst_domain_suspend(app.domain, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    run();
    vst_domain_save(app.domain, stream, NULL, outcome_done(&saved));
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_CANCELLED);
    assert_string_equal(vst_domain_get_name(app.domain), "test1");
    vst_stream_free(&stream);
}

static void close_app(void *opaque)
{
    (void)opaque;
    vst_conn_close(&app.conn);
}

static void connection_may_be_closed_in_a_completion(void **state)
{
    struct outcome first = {.then = close_app}, second = {0};

    (void)state;
    vst_domain_suspend(app.domain, outcome_done(&first));
    vst_domain_resume(app.domain, outcome_done(&second));
    outcome_await(app.base, &first);
    while (!second.released)
        event_base_loop(app.base, EVLOOP_ONCE);
    run();
    assert_null(app.conn);
    assert_int_equal(second.calls, 1);
}

static void free_domain(void *opaque)
{
    (void)opaque;
    vst_domain_free(&app.domain);
    vst_conn_close(&app.conn);
}

static void domain_may_be_freed_in_its_own_completion(void **state)
{
    struct outcome outcome = {.then = free_domain};

    (void)state;
    vst_domain_destroy(app.domain, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    run();
}

static void deadline_is_for_every_method(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    const struct timeval soon = {0, 1000};
    struct outcome saved = {0};

    (void)state;
    vst_op_set_timeout(vst_domain_save(app.domain, stream, NULL, outcome_done(&saved)), &soon);
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_TIMEOUT);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
    vst_stream_free(&stream);
}

/* ---- what every connection tells of itself ---- */

static void keep_ping(int64_t us, const struct vst_error *err, void *opaque)
{
    assert_null(err);
    *(int64_t *)opaque = us;
}

static void keep_stats(const char *json, const struct vst_error *err, void *opaque)
{
    assert_null(err);
    snprintf(opaque, 200, "%s", json);
}

static void driver_of_this_process_answers_pings_at_once(void **state)
{
    int64_t us = -1;
    char json[200];
    struct vst_ping_cb ping = {.fn = keep_ping, .opaque = &us};
    struct vst_stats_cb stats = {.fn = keep_stats, .opaque = json};

    (void)state;
    assert_int_equal(vst_op_wait(vst_conn_ping(app.conn, &ping), NULL), 0);
    assert_int_equal(us, 0);
    assert_int_equal(vst_op_wait(vst_conn_get_stats(app.conn, &stats), NULL), 0);
    assert_non_null(strstr(json, "\"driver\":\"test\""));
}

int main(void)
{
#define APP_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        VST_TEST(what_is_wrong_with_a_uri_is_named),
        VST_TEST(letters_of_a_file_name_are_what_they_are),
        VST_TEST(uri_of_the_environment_is_the_default),
        APP_TEST(connection_that_nobody_asked_for_closes_itself),
        APP_TEST(connection_may_be_closed_as_it_opens),
        VST_TEST(close_of_nothing_is_nothing),
        APP_TEST(domains_are_found_by_name_and_by_uuid),
        APP_TEST(what_is_not_there_is_not_found),
        APP_TEST(nobody_needs_to_listen),
        APP_TEST(life_of_a_guest_is_told),
        APP_TEST(paused_guest_shuts_down_when_it_hears_of_it),
        APP_TEST(guest_may_start_paused),
        APP_TEST(name_that_is_taken_is_refused),
        APP_TEST(definition_that_is_wrong_is_refused),
        APP_TEST(event_callback_may_do_anything),
        APP_TEST(driver_of_this_process_answers_pings_at_once),
        APP_TEST(close_completes_what_is_pending_as_cancelled),
        APP_TEST(domain_outlives_its_connection),
        APP_TEST(connection_may_be_closed_in_a_completion),
        APP_TEST(domain_may_be_freed_in_its_own_completion),
        APP_TEST(deadline_is_for_every_method),
    };
#undef APP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

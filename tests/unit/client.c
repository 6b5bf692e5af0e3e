/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The remote driver on the public API, through a real UNIX socket, with its server in the same
 * loop: whatever a driver of this process does, it does as well; and when anything ends in the
 * middle, every operation ends once, and the server is as it was.
 */
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "served.h"

static struct served served;
static struct app app;
static struct evbuffer *image;
static const struct manner plain;

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

static enum vst_code await(struct vst_op *(*method)(struct vst_domain *, const struct vst_done *))
{
    struct outcome outcome = {0};

    method(app.domain, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    return outcome.err.code;
}

static int state_of(const char *name)
{
    return app_domain_state(&app, name);
}

/* ---- methods ---- */

static void guests_are_listed_and_told_of(void **state)
{
    struct outcome list = {0}, info = {0}, nobody = {0};

    (void)state;
    vst_conn_list(app.conn, outcome_infos(&list));
    outcome_await(app.base, &list);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.info.name, "test1");
    vst_domain_get_info(app.domain, outcome_infos(&info));
    outcome_await(app.base, &info);
    assert_int_equal(info.count, 1);
    assert_int_equal(info.info.state, VST_DOMAIN_RUNNING);
    vst_conn_lookup(app.conn, "nobody", outcome_domain(&nobody));
    outcome_await(app.base, &nobody);
    assert_int_equal(nobody.err.code, VST_ERR_NOT_FOUND);
}

static void a_thousand_guests_come_in_pages(void **state)
{
    struct outcome list = {0};

    (void)state;
    served_start(&served, "test:///?domains=1000&memory=1", VST_ROLE_ADMIN, NULL);
    served_join(&served, "", &app);
    vst_conn_list(app.conn, outcome_infos(&list));
    outcome_await(app.base, &list);
    assert_int_equal(list.count, 1000);
    served_leave(&app);
    served_stop(&served);
}

static void guests_are_controlled(void **state)
{
    (void)state;
    assert_int_equal(await(vst_domain_suspend), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_PAUSED);
    assert_int_equal(await(vst_domain_resume), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(await(vst_domain_shutdown), VST_ERR_OK);
    assert_int_equal(state_of("test1"), -1);
    assert_int_equal(await(vst_domain_destroy), VST_ERR_NOT_FOUND);
}

static void a_guest_is_started_from_its_definition(void **state)
{
    const char *good = "{\"name\":\"g1\",\"machine\":\"test\",\"accel\":\"tcg\","
                       "\"memory-mib\":1,\"vcpus\":1}";
    struct vst_start_options paused = {.paused = true};
    struct outcome started = {0}, refused = {0};

    (void)state;
    vst_domain_start(app.conn, good, &paused, outcome_domain(&started));
    outcome_await(app.base, &started);
    assert_string_equal(vst_domain_get_name(started.domain), "g1");
    assert_int_equal(state_of("g1"), VST_DOMAIN_PAUSED);
    vst_domain_free(&started.domain);
    vst_domain_start(app.conn, "{\"name\":\n7}", NULL, outcome_domain(&refused));
    outcome_await(app.base, &refused);
    assert_int_equal(refused.err.code, VST_ERR_INVALID);
    assert_non_null(strstr(refused.err.text, "name"));
}

static void there_and_back(void)
{
    assert_int_equal(app_save(&app, NULL, NULL, image, plain), VST_ERR_OK);
    assert_int_equal(state_of("test1"), -1);
    assert_int_equal(app_restore(&app, NULL, image, plain, NULL), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
}

static void what_is_saved_is_restored(void **state)
{
    (void)state;
    there_and_back();
}

static void every_wire_moves_state(void **state)
{
    static const char *const parameters[] = {"?wire=eager", "?wire=replied", "?wire=acked",
                                             "?wire=acked&window=64K"};

    (void)state;
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
        served_leave(&app);
        served_join(&served, parameters[i], &app);
        evbuffer_drain(image, evbuffer_get_length(image));
        there_and_back();
    }
}

static void total_is_known_where_the_driver_knows_it(void **state)
{
    struct vst_stream *stream = app_stream(&app);
    struct vst_progress progress = {0};
    struct outcome outcome = {0};

    (void)state;
    app_begin_save(&app, stream, &outcome);
    while (!progress.total) {
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
        vst_stream_get_progress(stream, &progress);
    }
    assert_true(progress.total >= 64 * 1024);
    vst_stream_free(&stream);
    outcome_await(app.base, &outcome);
}

static void image_that_is_damaged_leaves_no_guest(void **state)
{
    (void)state;
    assert_int_equal(app_save(&app, NULL, NULL, image, plain), VST_ERR_OK);
    evbuffer_pullup(image, -1)[40000] ^= 1;
    assert_int_equal(app_restore(&app, NULL, image, plain, NULL), VST_ERR_DAMAGED);
    assert_int_equal(state_of("test1"), -1);
    evbuffer_pullup(image, -1)[40000] ^= 1;
    assert_int_equal(app_restore(&app, NULL, image, plain, NULL), VST_ERR_OK);
}

static void sink_that_fails_keeps_the_guest(void **state)
{
    struct manner fails = {.fails = true, .until = 30000};

    (void)state;
    assert_int_not_equal(app_save(&app, NULL, NULL, image, fails), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
}

static void name_that_is_taken_is_told_of(void **state)
{
    struct vst_save_options keep = {.keep_running = true};

    (void)state;
    assert_int_equal(app_save(&app, NULL, &keep, image, plain), VST_ERR_OK);
    assert_int_equal(app_restore(&app, NULL, image, plain, NULL), VST_ERR_EXISTS);
}

static void console_answers_and_ends_with_its_source(void **state)
{
    struct vst_stream *stream = app_stream(&app);
    struct outcome outcome = {0};
    char said[16] = "";
    size_t n = 0, used = 0;

    (void)state;
    assert_int_equal(vst_stream_write(stream, "hello", 5, &n), VST_IO_OK);
    vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
    assert_int_equal(vst_stream_finish(stream), 0);
    while (!outcome.released) {
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
        if (!outcome.calls &&
            vst_stream_read(stream, said + used, sizeof(said) - 1 - used, &n) == VST_IO_OK)
            used += n;
    }
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_string_equal(said, "hello");
    vst_stream_free(&stream);
}

static void screenshot_comes_whole(void **state)
{
    struct vst_stream *stream = app_stream(&app);
    struct end end = {0};
    struct outcome outcome = {0};

    (void)state;
    end_drain(&end, app.base, stream, image, plain);
    vst_domain_screenshot(app.domain, stream, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_memory_equal(evbuffer_pullup(image, 4), "\211PNG", 4);
    vst_stream_free(&stream);
}

/* ---- what belongs to the connection ---- */

static void keep_ping(int64_t us, const struct vst_error *err, void *opaque)
{
    *(int64_t *)opaque = err ? -2 : us;
}

static void keep_stats(const char *json, const struct vst_error *err, void *opaque)
{
    assert_null(err);
    snprintf(opaque, 1000, "%s", json);
}

static void pings_and_stats_are_answered(void **state)
{
    int64_t us = -1;
    char json[1000];
    struct vst_ping_cb ping = {.fn = keep_ping, .opaque = &us};
    struct vst_stats_cb stats = {.fn = keep_stats, .opaque = json};

    (void)state;
    assert_int_equal(vst_op_wait(vst_conn_ping(app.conn, &ping), NULL), 0);
    assert_in_range(us, 1, 10 * 1000 * 1000);
    assert_int_equal(vst_op_wait(vst_conn_get_stats(app.conn, &stats), NULL), 0);
    assert_non_null(strstr(json, "\"role\":\"admin\""));
    assert_non_null(strstr(json, "\"uri\":\"test+unix://"));
}

static void cancelled_ping_ends_at_once(void **state)
{
    int64_t us = -1;
    struct vst_ping_cb cb = {.fn = keep_ping, .opaque = &us};
    struct vst_op *op = vst_conn_ping(app.conn, &cb);

    (void)state;
    vst_op_cancel(op);
    assert_int_equal(vst_op_wait(op, NULL), -1);
    assert_int_equal(us, -2);
}

struct heard {
    unsigned events;
    enum vst_event_kind last;
    unsigned lost;
    struct vst_error why;
};

static void on_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    struct heard *heard = opaque;

    (void)conn;
    heard->events++;
    heard->last = event->kind;
}

static void on_lost(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct heard *heard = opaque;

    (void)conn;
    heard->lost++;
    heard->why = *err;
}

static void listen_for(struct heard *heard)
{
    struct vst_event_cb cb = {.fn = on_event, .opaque = heard, .lost = on_lost};

    *heard = (struct heard){0};
    vst_conn_set_event_callback(app.conn, &cb);
    served_run(&served, 50);
}

static void events_are_heard(void **state)
{
    struct heard heard;

    (void)state;
    listen_for(&heard);
    listen_for(&heard); /* another callback, the same events */
    assert_int_equal(await(vst_domain_suspend), VST_ERR_OK);
    served_run(&served, 50);
    assert_int_equal(heard.events, 1);
    assert_int_equal(heard.last, VST_EVENT_SUSPENDED);
    assert_int_equal(heard.lost, 0);
}

static void lost_connection_is_told_to_who_listens(void **state)
{
    struct heard heard;

    (void)state;
    listen_for(&heard);
    vst_server_free(&served.server);
    served_run(&served, 100);
    assert_int_equal(heard.lost, 1);
    assert_int_equal(heard.why.code, VST_ERR_LOST);
    listen_for(&heard); /* and to who begins to listen after that */
    assert_int_equal(heard.lost, 1);
}

/* ---- the end in the middle ---- */

/* Everything under way at once: of each, one outcome. */
static void lost_connection_ends_everything_once(void **state)
{
    struct outcome list = {0}, save = {0}, restore = {0}, console = {0}, after = {0};
    struct vst_stream *saving = app_stream(&app), *restoring = app_stream(&app);
    struct vst_stream *talking = app_stream(&app);
    int64_t us = 0;
    struct vst_ping_cb ping = {.fn = keep_ping, .opaque = &us};

    (void)state;
    app_begin_save(&app, saving, &save);
    app_begin_restore(&app, restoring, &restore);
    vst_domain_open_console(app.domain, talking, outcome_done(&console));
    for (int i = 0; i < 5; i++)
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    vst_server_free(&served.server);
    vst_conn_list(app.conn, outcome_infos(&list));
    vst_conn_ping(app.conn, &ping);
    outcome_await(app.base, &list);
    outcome_await_both(app.base, &save, &restore);
    while (!console.released)
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
    assert_int_equal(list.err.code, VST_ERR_LOST);
    assert_int_equal(save.err.code, VST_ERR_LOST);
    assert_int_equal(restore.err.code, VST_ERR_LOST);
    assert_int_equal(us, -2);
    vst_conn_list(app.conn, outcome_infos(&after));
    outcome_await(app.base, &after);
    assert_int_equal(after.err.code, VST_ERR_LOST);
    vst_stream_free(&saving);
    vst_stream_free(&restoring);
    vst_stream_free(&talking);
}

static void closing_in_the_middle_ends_everything_once(void **state)
{
    struct outcome list = {0}, save = {0};
    struct vst_stream *stream = app_stream(&app);

    (void)state;
    app_begin_save(&app, stream, &save);
    vst_conn_list(app.conn, outcome_infos(&list));
    vst_conn_close(&app.conn);
    outcome_await_both(app.base, &save, &list);
    assert_int_equal(save.err.code, VST_ERR_CANCELLED);
    vst_stream_free(&stream);
    served_run(&served, 100);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(served_stats(&served).clients, 0);
}

/* Nobody reads what comes, so the save is under way for as long as we like. */
static void server_that_leaves_takes_no_new_calls(void **state)
{
    struct outcome save = {0}, list = {0};
    struct vst_stream *stream = app_stream(&app);
    size_t n;

    (void)state;
    app_begin_save(&app, stream, &save);
    served_run(&served, 50);
    served_drain(&served, 10);
    served_run(&served, 50);
    vst_conn_list(app.conn, outcome_infos(&list));
    outcome_await(app.base, &list);
    assert_int_not_equal(list.err.code, VST_ERR_OK);
    assert_non_null(strstr(list.err.text, "no new calls"));
    while (!save.released) {
        while (!save.calls && vst_stream_read_buffer(stream, image, SIZE_MAX, &n) == VST_IO_OK)
            ;
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
    }
    assert_int_equal(save.err.code, VST_ERR_OK);
    vst_stream_free(&stream);
}

/* ---- access ---- */

static void role_that_is_too_small_is_told(void **state)
{
    struct heard heard;

    (void)state;
    served_set_role(&served, VST_ROLE_OBSERVE);
    assert_int_equal(await(vst_domain_suspend), VST_ERR_ACCESS);
    assert_int_equal(app_save(&app, NULL, NULL, image, plain), VST_ERR_ACCESS);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    served_set_role(&served, VST_ROLE_NONE);
    listen_for(&heard);
    assert_int_equal(heard.lost, 1);
    assert_int_equal(heard.why.code, VST_ERR_ACCESS);
}

#define CLIENT_TEST(function) VST_TEST_WITH(function, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLIENT_TEST(guests_are_listed_and_told_of),
        VST_TEST(a_thousand_guests_come_in_pages),
        CLIENT_TEST(guests_are_controlled),
        CLIENT_TEST(a_guest_is_started_from_its_definition),
        CLIENT_TEST(what_is_saved_is_restored),
        CLIENT_TEST(every_wire_moves_state),
        CLIENT_TEST(total_is_known_where_the_driver_knows_it),
        CLIENT_TEST(image_that_is_damaged_leaves_no_guest),
        CLIENT_TEST(sink_that_fails_keeps_the_guest),
        CLIENT_TEST(name_that_is_taken_is_told_of),
        CLIENT_TEST(console_answers_and_ends_with_its_source),
        CLIENT_TEST(screenshot_comes_whole),
        CLIENT_TEST(pings_and_stats_are_answered),
        CLIENT_TEST(cancelled_ping_ends_at_once),
        CLIENT_TEST(events_are_heard),
        CLIENT_TEST(lost_connection_is_told_to_who_listens),
        CLIENT_TEST(lost_connection_ends_everything_once),
        CLIENT_TEST(closing_in_the_middle_ends_everything_once),
        CLIENT_TEST(server_that_leaves_takes_no_new_calls),
        CLIENT_TEST(role_that_is_too_small_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

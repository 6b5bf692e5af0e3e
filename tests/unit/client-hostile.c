/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client and a server that means harm: it answers early, twice, or never, or it does not read.
 * Every operation ends once, never with success that is none, and what is left of the connection
 * refuses everything. What it says that nobody may say: client-frames.c.
 */
#include "remote/client-private.h"
#include "remote/mux-private.h"
#include "villain.h"

#include <string.h>

enum { MIB = 1024 * 1024 };

/* ---- answers ---- */

static void answer_at_once(uint32_t id)
{
    villain_say_text(VST_FRAME_REPLY, id, "{\"result\":{}}");
}

static void answer_in_the_middle(uint32_t id)
{
    villain_say_text(VST_FRAME_DATA, id, "the beginning of an image");
    villain_say_text(VST_FRAME_REPLY, id, "{\"result\":{}}");
}

static void end_without_a_word(uint32_t id)
{
    villain_say(VST_FRAME_END, id, "\0\0\0\0\0\0\0\1", 8);
}

static struct outcome save_with(void (*called)(uint32_t id))
{
    struct vst_stream *stream;
    struct evbuffer *image = evbuffer_new();
    struct outcome outcome = {0};
    struct end end = {0};

    villain_begin("");
    villain.called = called;
    stream = app_stream(&villain.app);
    end_drain(&end, villain.app.base, stream, image, (struct manner){0});
    app_begin_save(&villain.app, stream, &outcome);
    outcome_await(villain.app.base, &outcome);
    assert_int_equal(end.finished, 0);
    vst_stream_free(&stream);
    evbuffer_free(image);
    return outcome;
}

static void save_that_is_done_before_it_has_come_is_none(void **state)
{
    (void)state;
    assert_int_equal(save_with(answer_at_once).err.code, VST_ERR_PROTOCOL);
    villain_leave();
    assert_int_equal(save_with(answer_in_the_middle).err.code, VST_ERR_PROTOCOL);
}

static void end_that_tells_of_more_than_came_is_none(void **state)
{
    (void)state;
    assert_int_equal(save_with(end_without_a_word).err.code, VST_ERR_TRUNCATED);
}

/* It may say so, but what has not been taken has not. */
static void restore_that_is_done_early_stops_the_source(void **state)
{
    struct evbuffer *image = evbuffer_new();
    struct outcome outcome = {0};
    struct vst_stream *stream;
    struct end end = {0};

    (void)state;
    villain_begin("");
    villain.called = villain_answer_lookup; /* a domain, as for any restore */
    stream = app_stream(&villain.app);
    end_feed(&end, villain.app.base, stream, image, (struct manner){.never = true});
    app_begin_restore(&villain.app, stream, &outcome);
    outcome_await(villain.app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_PROTOCOL);
    vst_stream_free(&stream);
    evbuffer_free(image);
}

static void answer_twice(uint32_t id)
{
    villain_answer_lookup(id);
    villain_answer_lookup(id);
}

static void second_answer_ends_the_connection(void **state)
{
    struct outcome found = {0};

    (void)state;
    villain_join("");
    villain.called = answer_twice;
    vst_conn_lookup(villain.app.conn, "test1", outcome_domain(&found));
    outcome_await(villain.app.base, &found);
    assert_int_equal(found.err.code, VST_ERR_OK);
    vst_domain_free(&found.domain);
    villain.called = NULL;
    villain_expect_over("REPLY twice");
}

static struct vst_mux *mux(void)
{
    return ((struct remote *)villain.app.conn->impl)->mux;
}

static void no_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    (void)conn, (void)event, (void)opaque;
    fail();
}

static void on_lost(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct outcome *outcome = opaque;

    (void)conn;
    outcome->calls++;
    outcome->err = *err;
}

/* Whoever listens for events is told once that none can come; and why. */
static enum vst_code expect_no_events(void)
{
    struct outcome lost = {0};
    struct vst_event_cb cb = {.fn = no_event, .opaque = &lost, .lost = on_lost};

    vst_conn_set_event_callback(villain.app.conn, &cb);
    while (!lost.calls)
        event_base_loop(villain.app.base, EVLOOP_ONCE);
    event_base_loop(villain.app.base, EVLOOP_NONBLOCK);
    assert_int_equal(lost.calls, 1);
    return lost.err.code;
}

static void answer_twice_and_stay(uint32_t id)
{
    answer_twice(id);
    villain.reads = false; /* nor does it hear that it has to leave */
}

/* Its error is on its way, and it has not ended yet, unless this host is very slow. */
static void failing_connection_says_why_it_fails(void **state)
{
    struct outcome found = {0};
    struct vst_error err = {0};
    struct vst_ping_cb ping = {0};
    enum vst_code code;

    (void)state;
    villain_join("");
    villain.called = answer_twice_and_stay;
    vst_conn_lookup(villain.app.conn, "test1", outcome_domain(&found));
    outcome_await(villain.app.base, &found);
    vst_domain_free(&found.domain);
    while (mux() && mux_alive(mux()))
        event_base_loop(villain.app.base, EVLOOP_ONCE);
    assert_int_equal(vst_op_wait(vst_conn_ping(villain.app.conn, &ping), &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    code = expect_no_events();
    assert_true(code == VST_ERR_LOST || code == VST_ERR_PROTOCOL);
    villain.reads = true;
}

static void connection_without_ids_makes_no_more_calls_and_stays(void **state)
{
    struct outcome outcome;

    (void)state;
    villain_join("");
    mux()->last_id = UINT32_MAX;
    assert_int_equal(expect_no_events(), VST_ERR_LOST);
    assert_int_equal(villain_list(&outcome), VST_ERR_LOST);
    assert_true(mux_alive(mux()));
    assert_int_equal(villain.calls, 0);
}

/* ---- not reading ---- */

static void be_deaf(uint32_t id)
{
    (void)id;
    villain.reads = false;
    bufferevent_disable(villain.peer, EV_READ);
}

/* It keeps what it was asked to send, and no more than that; and gives up. */
static void server_that_never_reads_is_given_up(void **state)
{
    static char much[256 * 1024];
    struct evbuffer *image = evbuffer_new();
    struct outcome outcome = {0};
    struct vst_stream *stream;
    struct end end = {0};
    size_t most;

    (void)state;
    vst_test_seconds(60);
    evbuffer_expand(image, 32 * MIB);
    while (evbuffer_get_length(image) < 32 * MIB)
        evbuffer_add(image, much, sizeof(much));
    villain_begin("?keepalive=1&wire=eager");
    villain.called = be_deaf;
    stream = app_stream(&villain.app);
    end_feed(&end, villain.app.base, stream, image, (struct manner){0});
    app_begin_restore(&villain.app, stream, &outcome);
    outcome_await(villain.app.base, &outcome);
    most = end.moved;
    assert_int_equal(outcome.err.code, VST_ERR_LOST);
    assert_true(most < 4 * MIB);
    vst_stream_free(&stream);
    evbuffer_free(image);
}

/* ---- not answering ---- */

static void call_off_in_vain(struct outcome *ret_outcome)
{
    struct vst_op *op = vst_conn_list(villain.app.conn, outcome_infos(ret_outcome));

    villain.is_mute = true;
    vst_op_cancel(op);
}

/* It is there, as its PONGs say, and that is all. */
static void server_that_answers_no_stop_is_given_up(void **state)
{
    struct outcome outcome = {0}, other = {0};
    struct remote *remote;

    (void)state;
    villain_join("?keepalive=1");
    remote = villain.app.conn->impl;
    assert_true(remote->undo_ms > 60000);
    remote->undo_ms = 2500;
    vst_conn_list(villain.app.conn, outcome_infos(&other));
    call_off_in_vain(&outcome);
    outcome_await_both(villain.app.base, &outcome, &other);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    assert_int_equal(other.err.code, VST_ERR_LOST);
    assert_non_null(strstr(other.err.text, "has not answered STOP for 2500 ms"));
    assert_true(villain.pings > 0);
}

/* The one that is left over keeps its own time, and the answer of the other takes none of it. */
static void answer_to_one_stop_is_none_to_another(void **state)
{
    struct outcome first = {0}, second = {0};
    struct remote *remote;

    (void)state;
    villain_join("");
    remote = villain.app.conn->impl;
    remote->undo_ms = 1000;
    call_off_in_vain(&first);
    call_off_in_vain(&second);
    while (villain.calls < 2)
        event_base_loop(villain.app.base, EVLOOP_ONCE);
    villain_say_text(VST_FRAME_ERROR, 1, "{\"code\":\"cancelled\",\"text\":\"\"}");
    outcome_await(villain.app.base, &first);
    assert_non_null(remote->mux);
    outcome_await(villain.app.base, &second);
    assert_int_equal(villain_list(&first), VST_ERR_LOST);
    assert_non_null(strstr(first.err.text, "has not answered STOP"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VILLAIN_TEST(save_that_is_done_before_it_has_come_is_none),
        VILLAIN_TEST(end_that_tells_of_more_than_came_is_none),
        VILLAIN_TEST(restore_that_is_done_early_stops_the_source),
        VILLAIN_TEST(second_answer_ends_the_connection),
        VILLAIN_TEST(failing_connection_says_why_it_fails),
        VILLAIN_TEST(connection_without_ids_makes_no_more_calls_and_stays),
        VILLAIN_TEST(server_that_never_reads_is_given_up),
        VILLAIN_TEST(server_that_answers_no_stop_is_given_up),
        VILLAIN_TEST(answer_to_one_stop_is_none_to_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

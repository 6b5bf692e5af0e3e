/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client and a server that means harm: it answers early, twice, for ever, or what nobody asked,
 * or it does not read. Every operation ends once, never with success that is none; what is left of
 * the connection refuses everything; and memory has a bound.
 *
 * The server is bytes: it greets like a good one, then says what the test wants at each call.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/listener.h>

#include "app.h"
#include "core/connection.h"
#include "remote/client-private.h"
#include "remote/mux-private.h"

enum { PAGE = 500, MIB = 1024 * 1024 };

static struct villain {
    struct evconnlistener *listener;
    char dir[64];
    char path[96];
    struct bufferevent *peer;
    void (*called)(uint32_t id); /* by the client, the greeting included: then the id is 0 */
    bool reads;
    bool is_mute; /* of its answers, not of its PONGs */
    unsigned calls, pings;
} villain;

static struct app app;

/* ---- the server ---- */

static void say(enum vst_frame_type type, uint32_t id, const void *body, size_t length)
{
    struct vst_frame frame = {.length = (uint32_t)length, .type = type, .id = id};
    unsigned char head[VST_FRAME_HEAD];

    if (type != VST_FRAME_DATA && length)
        frame.sum = vst_frame_sum(body, length);
    vst_frame_put(&frame, head);
    bufferevent_write(villain.peer, head, sizeof(head));
    bufferevent_write(villain.peer, body, length);
}

static void say_text(enum vst_frame_type type, uint32_t id, const char *body)
{
    say(type, id, body, strlen(body));
}

static void greet(void)
{
    say_text(VST_FRAME_HELLO, 0,
             "{\"version\":1,\"software\":\"v\",\"window\":1048576,\"streams\":64}");
    say_text(VST_FRAME_AUTH_DONE, 0, "{\"user\":\"unix:0\"}");
}

static void hear(struct bufferevent *peer, void *opaque)
{
    struct evbuffer *in = bufferevent_get_input(peer);
    unsigned char head[VST_FRAME_HEAD];
    struct vst_frame frame;
    unsigned char *body;

    (void)opaque;
    while (villain.reads && evbuffer_copyout(in, head, sizeof(head)) == VST_FRAME_HEAD) {
        assert_int_equal(vst_frame_get(head, &frame, NULL), 0);
        if (evbuffer_get_length(in) < VST_FRAME_HEAD + frame.length)
            return;
        evbuffer_drain(in, VST_FRAME_HEAD);
        body = evbuffer_pullup(in, frame.length);
        if (frame.type == VST_FRAME_PING)
            say(VST_FRAME_PONG, 0, body, frame.length);
        evbuffer_drain(in, frame.length);
        if (frame.type == VST_FRAME_HELLO)
            greet();
        else if (frame.type == VST_FRAME_PING)
            villain.pings++;
        else if (frame.type == VST_FRAME_STOP && !villain.is_mute)
            say_text(VST_FRAME_REPLY, frame.id, "{\"result\":{}}"); /* it is done, so it says */
        else if (frame.type == VST_FRAME_ERROR)                     /* that was the door */
            shutdown(bufferevent_getfd(peer), SHUT_RDWR);
        else if (frame.type == VST_FRAME_CALL && ++villain.calls && villain.called)
            villain.called(frame.id);
    }
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                     int length, void *opaque)
{
    (void)listener, (void)from, (void)length, (void)opaque;
    assert_null(villain.peer);
    evutil_make_socket_nonblocking(fd);
    villain.peer = bufferevent_socket_new(app.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(villain.peer, hear, NULL, NULL, NULL);
    bufferevent_enable(villain.peer, EV_READ | EV_WRITE);
}

static void listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    villain.listener = evconnlistener_new_bind(app.base, accepted, NULL,
                                               LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4,
                                               (struct sockaddr *)&address, sizeof(address));
    assert_non_null(villain.listener);
}

/* ---- the application ---- */

static void join(const char *parameters)
{
    struct outcome opened = {0};
    char uri[200];

    villain.reads = true;
    snprintf(uri, sizeof(uri), "test+unix://%s%s", villain.path, parameters);
    vst_conn_open(app.base, uri, NULL, outcome_conn(&opened));
    outcome_await(app.base, &opened);
    assert_int_equal(opened.err.code, VST_ERR_OK);
    app.conn = opened.conn;
}

static void answer_lookup(uint32_t id)
{
    say_text(VST_FRAME_REPLY, id,
             "{\"result\":{\"name\":\"test1\",\"uuid\":\"11111111-1111-4111-8111-111111111111\"}}");
}

static void look_up(void)
{
    struct outcome found = {0};

    villain.called = answer_lookup;
    vst_conn_lookup(app.conn, "test1", outcome_domain(&found));
    outcome_await(app.base, &found);
    assert_int_equal(found.err.code, VST_ERR_OK);
    app.domain = found.domain;
    villain.called = NULL;
}

static void begin(const char *parameters)
{
    join(parameters);
    look_up();
}

static void leave(void)
{
    vst_domain_free(&app.domain);
    vst_conn_close(&app.conn);
    if (villain.peer)
        bufferevent_free(villain.peer);
    villain.peer = NULL;
    villain.called = NULL;
    while (event_base_loop(app.base, EVLOOP_NONBLOCK) == 0 &&
           event_base_get_num_events(app.base, EVENT_BASE_COUNT_ACTIVE))
        ;
}

static int make(void **state)
{
    (void)state;
    app = (struct app){.base = event_base_new()};
    villain = (struct villain){.dir = "/tmp/vst-villain-XXXXXX"};
    assert_non_null(mkdtemp(villain.dir));
    snprintf(villain.path, sizeof(villain.path), "%s/socket", villain.dir);
    listen_at(villain.path);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    leave();
    evconnlistener_free(villain.listener);
    event_base_dispatch(app.base);
    event_base_free(app.base);
    unlink(villain.path);
    return rmdir(villain.dir);
}

static enum vst_code list(struct outcome *ret_outcome)
{
    *ret_outcome = (struct outcome){0};
    vst_conn_list(app.conn, outcome_infos(ret_outcome));
    outcome_await(app.base, ret_outcome);
    return ret_outcome->err.code;
}

/* The server has been shown the door, and everybody is told so from now on. */
static void expect_over(const char *what)
{
    struct outcome outcome;
    enum vst_code code = list(&outcome);

    if (code != VST_ERR_PROTOCOL && code != VST_ERR_LOST)
        fail_msg("%s: %s: %s", what, vst_code_name(code), outcome.err.text);
}

/* ---- answers ---- */

static void answer_at_once(uint32_t id)
{
    say_text(VST_FRAME_REPLY, id, "{\"result\":{}}");
}

static void answer_in_the_middle(uint32_t id)
{
    say_text(VST_FRAME_DATA, id, "the beginning of an image");
    say_text(VST_FRAME_REPLY, id, "{\"result\":{}}");
}

static void end_without_a_word(uint32_t id)
{
    say(VST_FRAME_END, id, "\0\0\0\0\0\0\0\1", 8);
}

static struct outcome save_with(void (*called)(uint32_t id))
{
    struct vst_stream *stream;
    struct evbuffer *image = evbuffer_new();
    struct outcome outcome = {0};
    struct end end = {0};

    begin("");
    villain.called = called;
    stream = app_stream(&app);
    end_drain(&end, app.base, stream, image, (struct manner){0});
    app_begin_save(&app, stream, &outcome);
    outcome_await(app.base, &outcome);
    assert_int_equal(end.finished, 0);
    vst_stream_free(&stream);
    evbuffer_free(image);
    return outcome;
}

static void save_that_is_done_before_it_has_come_is_none(void **state)
{
    (void)state;
    assert_int_equal(save_with(answer_at_once).err.code, VST_ERR_PROTOCOL);
    leave();
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
    begin("");
    villain.called = answer_lookup; /* a domain, as for any restore */
    stream = app_stream(&app);
    end_feed(&end, app.base, stream, image, (struct manner){.never = true});
    app_begin_restore(&app, stream, &outcome);
    outcome_await(app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_PROTOCOL);
    vst_stream_free(&stream);
    evbuffer_free(image);
}

static void answer_twice(uint32_t id)
{
    answer_lookup(id);
    answer_lookup(id);
}

static void second_answer_ends_the_connection(void **state)
{
    struct outcome found = {0};

    (void)state;
    join("");
    villain.called = answer_twice;
    vst_conn_lookup(app.conn, "test1", outcome_domain(&found));
    outcome_await(app.base, &found);
    assert_int_equal(found.err.code, VST_ERR_OK);
    vst_domain_free(&found.domain);
    villain.called = NULL;
    expect_over("REPLY twice");
}

static struct vst_mux *mux(void)
{
    return ((struct remote *)app.conn->impl)->mux;
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

    vst_conn_set_event_callback(app.conn, &cb);
    while (!lost.calls)
        event_base_loop(app.base, EVLOOP_ONCE);
    event_base_loop(app.base, EVLOOP_NONBLOCK);
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
    join("");
    villain.called = answer_twice_and_stay;
    vst_conn_lookup(app.conn, "test1", outcome_domain(&found));
    outcome_await(app.base, &found);
    vst_domain_free(&found.domain);
    while (mux() && mux_alive(mux()))
        event_base_loop(app.base, EVLOOP_ONCE);
    assert_int_equal(vst_op_wait(vst_conn_ping(app.conn, &ping), &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    code = expect_no_events();
    assert_true(code == VST_ERR_LOST || code == VST_ERR_PROTOCOL);
    villain.reads = true;
}

static void connection_without_ids_makes_no_more_calls_and_stays(void **state)
{
    struct outcome outcome;

    (void)state;
    join("");
    mux()->last_id = UINT32_MAX;
    assert_int_equal(expect_no_events(), VST_ERR_LOST);
    assert_int_equal(list(&outcome), VST_ERR_LOST);
    assert_true(mux_alive(mux()));
    assert_int_equal(villain.calls, 0);
}

/* ---- lists ---- */

static void say_page(uint32_t id, unsigned from, unsigned count)
{
    struct evbuffer *body = evbuffer_new();

    evbuffer_add_printf(body, "{\"result\":{\"domains\":[");
    for (unsigned i = 0; i < count; i++)
        evbuffer_add_printf(body,
                            "%s{\"name\":\"g%010u\",\"state\":\"running\","
                            "\"uuid\":\"11111111-1111-4111-8111-111111111111\"}",
                            i ? "," : "", from + i);
    evbuffer_add_printf(body, "],\"more\":true}}");
    say(VST_FRAME_REPLY, id, evbuffer_pullup(body, -1), evbuffer_get_length(body));
    evbuffer_free(body);
}

static void next_page(uint32_t id)
{
    say_page(id, villain.calls * PAGE, PAGE);
}

static void same_page(uint32_t id)
{
    say_page(id, 1, 1);
}

static void empty_page(uint32_t id)
{
    say_page(id, 1, 0);
}

static void expect_list_refused(void (*called)(uint32_t id), const char *text)
{
    struct outcome outcome;

    join("");
    villain.called = called;
    if (list(&outcome) != VST_ERR_PROTOCOL || !strstr(outcome.err.text, text))
        fail_msg("%s", outcome.err.text);
    leave();
}

static void list_that_goes_on_and_on_is_refused(void **state)
{
    size_t before = mallinfo2().uordblks;

    (void)state;
    vst_test_seconds(60);
    expect_list_refused(next_page, "never ends");
    assert_true(mallinfo2().uordblks < before + MIB);
    expect_list_refused(empty_page, "never ends");
    expect_list_refused(same_page, "no order");
}

/* ---- frames ---- */

static const char all_credit[] = "\0\0\0\0\x40\0\0\0"; /* nothing read, 2^30 granted */
static char much[VST_FRAME_DATA_MAX];

struct misplaced {
    const char *what;
    enum vst_frame_type type;
    bool of_the_call; /* else of a call that nobody made */
    const char *body;
    size_t length;
};

#define TEXT(what, type, mine, text)                         \
    {                                                        \
        what, VST_FRAME_##type, mine, text, sizeof(text) - 1 \
    }

static const struct misplaced misplaced[] = {
    TEXT("REPLY of no call", REPLY, false, "{\"result\":{}}"),
    TEXT("ERROR of no call", ERROR, false, "{\"code\":\"busy\",\"text\":\"\"}"),
    TEXT("STARTED of no call", STARTED, false, "{}"),
    TEXT("DATA of no call", DATA, false, "x"),
    TEXT("END of no call", END, false, "\0\0\0\0\0\0\0\0"),
    TEXT("STOP of no call", STOP, false, "{\"code\":\"cancelled\",\"text\":\"\"}"),
    {"CREDIT of no call", VST_FRAME_CREDIT, false, all_credit, 8},
    TEXT("TAKEN of no call", TAKEN, false, ""),
    TEXT("CALL of a server", CALL, true, "{\"procedure\":\"list\",\"arguments\":{}}"),
    TEXT("STARTED that is none", STARTED, true, "no JSON"),
    TEXT("REPLY that is no JSON", REPLY, true, "no JSON"),
    TEXT("REPLY without a result", REPLY, true, "{}"),
    TEXT("ERROR that says `ok`", ERROR, true, "{\"code\":\"ok\",\"text\":\"\"}"),
    {"HOLE in what is not sparse", VST_FRAME_HOLE, true, "\0\0\0\0\0\0\x10\0", 8},
    {"credit for a stream that does not send", VST_FRAME_CREDIT, true, all_credit, 8},
    TEXT("TAKEN of what was not sent", TAKEN, true, ""),
    {"DATA beyond credit", VST_FRAME_DATA, true, much, sizeof(much)},
};

static const struct misplaced alone[] = {
    TEXT("HELLO again", HELLO, false, "{\"version\":1}"),
    TEXT("login when it is too late", AUTH_STEP, false, "x"),
    TEXT("AUTH_DONE", AUTH_DONE, false, "{}"),
    TEXT("PONG that nobody asked for", PONG, false, "12345678"),
    TEXT("EVENT that is none", EVENT, false, "no JSON"),
};

static const struct misplaced *next;

static void misplace(uint32_t id)
{
    bool is_alone = next >= alone && next < alone + sizeof(alone) / sizeof(*alone);

    say(next->type, is_alone ? 0 : next->of_the_call ? id : id + 70, next->body, next->length);
    if (next->type != VST_FRAME_ERROR || !next->of_the_call)
        say_text(VST_FRAME_ERROR, id, "{\"code\":\"busy\",\"text\":\"it has gone on till here\"}");
}

/* While a save is under way, whose application does not read. */
static void expect_refused(const struct misplaced *frame)
{
    struct outcome outcome = {0};
    struct vst_stream *stream;

    begin("?window=64K");
    next = frame;
    villain.called = misplace;
    stream = app_stream(&app);
    app_begin_save(&app, stream, &outcome);
    outcome_await(app.base, &outcome);
    if (outcome.err.code == VST_ERR_OK || strstr(outcome.err.text, "gone on"))
        fail_msg("%s: %s", frame->what, outcome.err.text);
    vst_stream_free(&stream);
    leave();
}

static void frames_out_of_place_end_the_call_and_nothing_worse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(misplaced) / sizeof(*misplaced); i++)
        expect_refused(&misplaced[i]);
    for (size_t i = 0; i < sizeof(alone) / sizeof(*alone); i++)
        expect_refused(&alone[i]);
}

/* ---- sizes ---- */

static const struct vst_frame heads[] = {
    {.length = VST_FRAME_CONTROL_MAX + 1, .type = VST_FRAME_REPLY, .id = 1},
    {.length = VST_FRAME_DATA_MAX + 1, .type = VST_FRAME_DATA, .id = 1},
    {.length = UINT32_MAX, .type = VST_FRAME_REPLY, .id = 1},
    {.length = 1u << 31, .type = VST_FRAME_DATA, .id = 1},
    {.length = VST_FRAME_GREETING_MAX + 1, .type = VST_FRAME_ERROR, .id = 1},
    {.length = 0, .type = VST_FRAME_REPLY, .id = 1},
};

static const struct vst_frame *next_head;

static void say_head(uint32_t id)
{
    struct vst_frame frame = *next_head;
    unsigned char head[VST_FRAME_HEAD];

    frame.id = id;
    vst_frame_put(&frame, head);
    bufferevent_write(villain.peer, head, sizeof(head));
}

static void bodies_that_are_too_long_are_not_waited_for(void **state)
{
    struct outcome outcome;

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        join("");
        next_head = &heads[i];
        villain.called = say_head;
        assert_int_equal(list(&outcome), VST_ERR_PROTOCOL);
        expect_over("a head");
        leave();
    }
}

static void say_depths(uint32_t id)
{
    enum { DEPTH = 1000 * 1000 };
    char *body = malloc(DEPTH);

    memset(body, '[', DEPTH);
    say(VST_FRAME_REPLY, id, body, DEPTH);
    free(body);
}

static void say_an_infinity_of_events(uint32_t id)
{
    for (int i = 0; i < 100 * 1000; i++)
        say_text(VST_FRAME_EVENT, id,
                 "{\"event\":\"started\",\"name\":\"g\","
                 "\"uuid\":\"11111111-1111-4111-8111-111111111111\"}");
    say_page(id, 1, 1);
}

static void answers_that_are_deep_or_buried_are_found_out(void **state)
{
    struct outcome outcome;

    (void)state;
    join("");
    villain.called = say_depths;
    assert_int_equal(list(&outcome), VST_ERR_PROTOCOL);
    leave();
    join("");
    villain.called = say_an_infinity_of_events;
    assert_int_equal(list(&outcome), VST_ERR_PROTOCOL);
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
    begin("?keepalive=1&wire=eager");
    villain.called = be_deaf;
    stream = app_stream(&app);
    end_feed(&end, app.base, stream, image, (struct manner){0});
    app_begin_restore(&app, stream, &outcome);
    outcome_await(app.base, &outcome);
    most = end.moved;
    assert_int_equal(outcome.err.code, VST_ERR_LOST);
    assert_true(most < 4 * MIB);
    vst_stream_free(&stream);
    evbuffer_free(image);
}

/* ---- not answering ---- */

static void call_off_in_vain(struct outcome *ret_outcome)
{
    struct vst_op *op = vst_conn_list(app.conn, outcome_infos(ret_outcome));

    villain.is_mute = true;
    vst_op_cancel(op);
}

/* It is there, as its PONGs say, and that is all. */
static void server_that_answers_no_stop_is_given_up(void **state)
{
    struct outcome outcome = {0}, other = {0};
    struct remote *remote;

    (void)state;
    join("?keepalive=1");
    remote = app.conn->impl;
    assert_true(remote->undo_ms > 60000);
    remote->undo_ms = 2500;
    vst_conn_list(app.conn, outcome_infos(&other));
    call_off_in_vain(&outcome);
    outcome_await_both(app.base, &outcome, &other);
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
    join("");
    remote = app.conn->impl;
    remote->undo_ms = 1000;
    call_off_in_vain(&first);
    call_off_in_vain(&second);
    while (villain.calls < 2)
        event_base_loop(app.base, EVLOOP_ONCE);
    say_text(VST_FRAME_ERROR, 1, "{\"code\":\"cancelled\",\"text\":\"\"}");
    outcome_await(app.base, &first);
    assert_non_null(remote->mux);
    outcome_await(app.base, &second);
    assert_int_equal(list(&first), VST_ERR_LOST);
    assert_non_null(strstr(first.err.text, "has not answered STOP"));
}

#define HOSTILE_TEST(function) VST_TEST_WITH(function, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(save_that_is_done_before_it_has_come_is_none),
        HOSTILE_TEST(end_that_tells_of_more_than_came_is_none),
        HOSTILE_TEST(restore_that_is_done_early_stops_the_source),
        HOSTILE_TEST(second_answer_ends_the_connection),
        HOSTILE_TEST(failing_connection_says_why_it_fails),
        HOSTILE_TEST(connection_without_ids_makes_no_more_calls_and_stays),
        HOSTILE_TEST(list_that_goes_on_and_on_is_refused),
        HOSTILE_TEST(frames_out_of_place_end_the_call_and_nothing_worse),
        HOSTILE_TEST(bodies_that_are_too_long_are_not_waited_for),
        HOSTILE_TEST(answers_that_are_deep_or_buried_are_found_out),
        HOSTILE_TEST(server_that_never_reads_is_given_up),
        HOSTILE_TEST(server_that_answers_no_stop_is_given_up),
        HOSTILE_TEST(answer_to_one_stop_is_none_to_another),
    };

    signal(SIGPIPE, SIG_IGN); /* the server's bufferevents do not look */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

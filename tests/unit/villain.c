/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server of bytes, and the application that is its client.
 */
#include "villain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/listener.h>

struct villain villain;

/* ---- the server ---- */

void villain_say(enum vst_frame_type type, uint32_t id, const void *body, size_t length)
{
    struct vst_frame frame = {.length = (uint32_t)length, .type = type, .id = id};
    unsigned char head[VST_FRAME_HEAD];

    if (type != VST_FRAME_DATA && length)
        frame.sum = vst_frame_sum(body, length);
    vst_frame_put(&frame, head);
    bufferevent_write(villain.peer, head, sizeof(head));
    bufferevent_write(villain.peer, body, length);
}

void villain_say_text(enum vst_frame_type type, uint32_t id, const char *body)
{
    villain_say(type, id, body, strlen(body));
}

static void greet(void)
{
    villain_say_text(VST_FRAME_HELLO, 0,
                     "{\"version\":1,\"software\":\"v\",\"window\":1048576,\"streams\":64}");
    villain_say_text(VST_FRAME_AUTH_DONE, 0, "{\"user\":\"unix:0\"}");
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
            villain_say(VST_FRAME_PONG, 0, body, frame.length);
        evbuffer_drain(in, frame.length);
        if (frame.type == VST_FRAME_HELLO)
            greet();
        else if (frame.type == VST_FRAME_PING)
            villain.pings++;
        else if (frame.type == VST_FRAME_STOP && !villain.is_mute)
            villain_say_text(VST_FRAME_REPLY, frame.id,
                             "{\"result\":{}}"); /* it is done, so it says */
        else if (frame.type == VST_FRAME_ERROR)  /* that was the door */
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
    villain.peer = bufferevent_socket_new(villain.app.base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(villain.peer, hear, NULL, NULL, NULL);
    bufferevent_enable(villain.peer, EV_READ | EV_WRITE);
}

static void listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    villain.listener = evconnlistener_new_bind(villain.app.base, accepted, NULL,
                                               LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4,
                                               (struct sockaddr *)&address, sizeof(address));
    assert_non_null(villain.listener);
}

/* ---- the application ---- */

void villain_join(const char *parameters)
{
    struct outcome opened = {0};
    char uri[200];

    villain.reads = true;
    snprintf(uri, sizeof(uri), "test+unix://%s%s", villain.path, parameters);
    vst_conn_open(villain.app.base, uri, NULL, outcome_conn(&opened));
    outcome_await(villain.app.base, &opened);
    assert_int_equal(opened.err.code, VST_ERR_OK);
    villain.app.conn = opened.conn;
}

void villain_answer_lookup(uint32_t id)
{
    villain_say_text(
        VST_FRAME_REPLY, id,
        "{\"result\":{\"name\":\"test1\",\"uuid\":\"11111111-1111-4111-8111-111111111111\"}}");
}

static void look_up(void)
{
    struct outcome found = {0};

    villain.called = villain_answer_lookup;
    vst_conn_lookup(villain.app.conn, "test1", outcome_domain(&found));
    outcome_await(villain.app.base, &found);
    assert_int_equal(found.err.code, VST_ERR_OK);
    villain.app.domain = found.domain;
    villain.called = NULL;
}

void villain_begin(const char *parameters)
{
    villain_join(parameters);
    look_up();
}

void villain_leave(void)
{
    vst_domain_free(&villain.app.domain);
    vst_conn_close(&villain.app.conn);
    if (villain.peer)
        bufferevent_free(villain.peer);
    villain.peer = NULL;
    villain.called = NULL;
    while (event_base_loop(villain.app.base, EVLOOP_NONBLOCK) == 0 &&
           event_base_get_num_events(villain.app.base, EVENT_BASE_COUNT_ACTIVE))
        ;
}

int villain_make(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* bufferevents do not look */
    villain = (struct villain){.dir = "/tmp/vst-villain-XXXXXX", .app.base = event_base_new()};
    assert_non_null(mkdtemp(villain.dir));
    snprintf(villain.path, sizeof(villain.path), "%s/socket", villain.dir);
    listen_at(villain.path);
    return 0;
}

int villain_drop(void **state)
{
    (void)state;
    villain_leave();
    evconnlistener_free(villain.listener);
    event_base_dispatch(villain.app.base);
    event_base_free(villain.app.base);
    unlink(villain.path);
    return rmdir(villain.dir);
}

enum vst_code villain_list(struct outcome *ret_outcome)
{
    *ret_outcome = (struct outcome){0};
    vst_conn_list(villain.app.conn, outcome_infos(ret_outcome));
    outcome_await(villain.app.base, ret_outcome);
    return ret_outcome->err.code;
}

void villain_expect_over(const char *what)
{
    struct outcome outcome;
    enum vst_code code = villain_list(&outcome);

    if (code != VST_ERR_PROTOCOL && code != VST_ERR_LOST)
        fail_msg("%s: %s: %s", what, vst_code_name(code), outcome.err.text);
}

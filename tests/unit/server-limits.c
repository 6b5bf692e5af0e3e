/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limits of the server: of strangers and their time, of clients, of the calls of each, and of
 * their silence. What counts by address is in crowd.c.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hand.h"
#include "remote/frame.h"

static struct served served;
static struct caller caller;

static void begin(const char *uri, enum vst_role role, const struct vst_limits *limits)
{
    served_start(&served, uri, role, limits);
    assert_int_equal(caller_join(&caller, &served, "test"), 0);
}

static void end(void)
{
    caller_leave(&caller);
    served_stop(&served);
}

static bool is_gone(int fd)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        ;
    return n == 0;
}

static void client_that_says_nothing_is_gone_at_the_deadline(void **state)
{
    /* Nothing; half a head; a head, and half of its body. */
    static const struct {
        const char *bytes;
        size_t length;
    } said[] = {
        {"", 0}, {"\0\0\0\x20\x01", 5}, {"\0\0\0\x20\x01\0\xc5\x3f\0\0\0\0\0\0\0\0{\"ver", 21}};
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int fds[3];

    (void)state;
    limits.handshake_seconds = 1;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    for (int i = 0; i < 3; i++) {
        fds[i] = served_connect(&served);
        assert_int_equal(send(fds[i], said[i].bytes, said[i].length, 0), said[i].length);
    }
    served_run(&served, 700);
    for (int i = 0; i < 3; i++)
        assert_false(is_gone(fds[i]));
    assert_int_equal(served_stats(&served).anonymous, 3);
    served_run(&served, 600);
    for (int i = 0; i < 3; i++) {
        assert_true(is_gone(fds[i]));
        close(fds[i]);
    }
    assert_int_equal(served_stats(&served).anonymous, 0);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_TIMEOUT], 3);
    served_stop(&served);
}

static void say_hello(int fd)
{
    static const char hello[] = "{\"version\":1,\"software\":\"stays\",\"window\":65536,"
                                "\"driver\":\"test\"}";
    struct vst_frame frame = {.length = sizeof(hello) - 1, .type = VST_FRAME_HELLO};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    assert_int_equal(send(fd, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(send(fd, hello, sizeof(hello) - 1, 0), sizeof(hello) - 1);
}

static void refusal_counts_of_one_who_does_not_hang_up(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int fd;

    (void)state;
    limits.handshake_seconds = 1;
    served_start(&served, "test:///", VST_ROLE_NONE, &limits);
    fd = served_connect(&served);
    say_hello(fd);
    do
        event_base_loop(served.base, EVLOOP_ONCE);
    while (served_stats(&served).anonymous || !served_stats(&served).accepted);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_ACCESS], 1);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_TIMEOUT], 0);
    close(fd);
    served_stop(&served);
}

static void oldest_stranger_makes_room_for_the_newest(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int fds[3];

    (void)state;
    limits.anonymous = 2;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    for (int i = 0; i < 3; i++) {
        fds[i] = served_connect(&served);
        served_run(&served, 20);
    }
    assert_true(is_gone(fds[0]));
    assert_false(is_gone(fds[1]));
    assert_false(is_gone(fds[2]));
    assert_int_equal(caller_join(&caller, &served, "test"), 0);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_CROWDED], 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    end();
}

static void too_many_clients_are_refused(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    struct caller second;

    (void)state;
    limits.clients = 1;
    begin("test:///", VST_ROLE_ADMIN, &limits);
    assert_int_equal(caller_join(&second, &served, "test"), -1);
    assert_int_equal(second.err.code, VST_ERR_BUSY);
    assert_int_equal(caller_call(&caller, "list", "{}"), VST_ERR_OK);
    caller_leave(&second);
    end();
}

static void too_many_that_greet_at_the_same_time_are_refused(void **state)
{
    enum { CAME = 6, ROOM = 2 };
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    struct vst_server_stats stats;
    int fds[CAME];

    (void)state;
    limits.clients = ROOM;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    for (int i = 0; i < CAME; i++)
        fds[i] = served_connect(&served);
    while (served_stats(&served).anonymous != CAME)
        served_run(&served, 1);
    for (int i = 0; i < CAME; i++) {
        say_hello(fds[i]);
        shutdown(fds[i], SHUT_WR);
    }
    do {
        served_run(&served, 1);
        stats = served_stats(&served);
    } while (stats.anonymous);
    assert_int_equal(stats.greetings[VST_GREETING_OK], ROOM);
    assert_int_equal(stats.greetings[VST_GREETING_CROWDED], CAME - ROOM);
    for (int i = 0; i < CAME; i++)
        close(fds[i]);
    served_stop(&served);
}

static void too_many_calls_at_once_are_refused(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    uint32_t ids[3];

    (void)state;
    limits.streams = 2;
    begin("test:///?domains=1", VST_ROLE_ADMIN, &limits);
    caller_call(&caller, "control", "{\"name\":\"test1\",\"what\":\"suspend\"}");
    for (int i = 0; i < 3; i++)
        ids[i] =
            caller_begin(&caller, "control", "{\"name\":\"test1\",\"what\":\"shutdown\"}", NULL);
    assert_int_equal(caller_await(&caller, ids[2])->err.code, VST_ERR_BUSY);
    assert_int_equal(caller_call(&caller, "list", "{}"), VST_ERR_BUSY);
    end();
}

/* ---- clients that are in, and not there ---- */

static void begin_strict(struct hand *hand)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;

    limits.keepalive_seconds = 1;
    served_start(&served, "test:///?domains=1", VST_ROLE_ADMIN, &limits);
    hand_join(hand, &served, 65536);
    while (served_stats(&served).clients != 1)
        event_base_loop(served.base, EVLOOP_ONCE);
}

static void client_that_is_silent_is_asked_and_goes(void **state)
{
    struct vst_frame frame;
    struct hand hand;
    unsigned pings = 0;
    char *body;

    (void)state;
    begin_strict(&hand);
    while (served_stats(&served).clients)
        event_base_loop(served.base, EVLOOP_ONCE);
    while (hand_next(&hand, &frame, &body)) {
        pings += frame.type == VST_FRAME_PING;
        free(body);
    }
    assert_int_equal(pings, 3);
    hand_leave(&hand);
    served_stop(&served);
}

/* Until nothing more is read from it. */
static void call_and_stop_without_end(struct hand *hand)
{
    static const char call[] = "{\"procedure\":\"restore\",\"arguments\":{}}";
    static const char why[] = "{\"code\":\"cancelled\",\"text\":\"\"}";
    struct pollfd full = {.fd = hand->fd, .events = POLLOUT};

    for (uint32_t id = 1; poll(&full, 1, 100) == 1 && !(full.revents & (POLLHUP | POLLERR)); id++) {
        hand_text(hand, VST_FRAME_CALL, id, call);
        hand_text(hand, VST_FRAME_STOP, id, why);
        event_base_loop(served.base, EVLOOP_NONBLOCK);
    }
}

static void client_that_reads_no_answer_goes(void **state)
{
    struct hand hand;

    (void)state;
    begin_strict(&hand);
    call_and_stop_without_end(&hand);
    while (served_stats(&served).clients)
        event_base_loop(served.base, EVLOOP_ONCE);
    hand_leave(&hand);
    served_stop(&served);
}

/* Some of its calls run only because their STOPs have not been read. */
static void end_does_not_wait_for_a_client_that_reads_no_answer(void **state)
{
    struct hand hand;

    (void)state;
    vst_test_seconds(60);
    begin_strict(&hand);
    call_and_stop_without_end(&hand);
    served_drain(&served, 3600);
    while (!served.drained)
        event_base_loop(served.base, EVLOOP_ONCE);
    hand_leave(&hand);
    served_stop(&served);
}

/* It says nothing but its call, and stays: two seconds later the server is through. */
static void end_answers_a_call_that_it_does_not_wait_for(void **state)
{
    struct hand hand;

    (void)state;
    vst_test_seconds(60);
    served_start(&served, "test:///?domains=1", VST_ROLE_ADMIN, NULL);
    hand_join(&hand, &served, 65536);
    hand_text(&hand, VST_FRAME_CALL, 1,
              "{\"procedure\":\"console\",\"arguments\":{\"name\":\"test1\"}}");
    hand_await(&hand, VST_FRAME_STARTED, 1);
    served_drain(&served, 0);
    hand_await(&hand, VST_FRAME_ERROR, 1);
    while (!served.drained)
        event_base_loop(served.base, EVLOOP_ONCE);
    hand_leave(&hand);
    served_stop(&served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(client_that_says_nothing_is_gone_at_the_deadline),
        VST_TEST(refusal_counts_of_one_who_does_not_hang_up),
        VST_TEST(oldest_stranger_makes_room_for_the_newest),
        VST_TEST(too_many_clients_are_refused),
        VST_TEST(too_many_that_greet_at_the_same_time_are_refused),
        VST_TEST(too_many_calls_at_once_are_refused),
        VST_TEST(client_that_is_silent_is_asked_and_goes),
        VST_TEST(client_that_reads_no_answer_goes),
        VST_TEST(end_does_not_wait_for_a_client_that_reads_no_answer),
        VST_TEST(end_answers_a_call_that_it_does_not_wait_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

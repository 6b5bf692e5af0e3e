/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bound on the connections of an HTTP server: how many it takes, that it goes on when one has
 * gone, and that none stays for ever.
 */
#include "remote/http-crowd.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

enum { MOST = 3, COMERS = 8 };

static struct event_base *base;
static struct evhttp *http;
static struct vst_http_crowd *crowd;
static struct sockaddr_in address;
static unsigned answers;

static void answer(struct evhttp_request *request, void *opaque)
{
    (void)opaque;
    answers++;
    evhttp_send_reply(request, HTTP_OK, "OK", NULL);
}

static void begin(unsigned seconds)
{
    struct evhttp_bound_socket *bound;
    socklen_t length = sizeof(address);

    base = event_base_new();
    http = evhttp_new(base);
    answers = 0;
    evhttp_set_timeout(http, 3600);
    evhttp_set_gencb(http, answer, NULL);
    bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    assert_non_null(bound);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &length);
    crowd = vst_http_crowd_new(base, http, bound, MOST, seconds);
    assert_non_null(crowd);
}

static void end(void)
{
    vst_http_crowd_free(&crowd);
    evhttp_free(http);
    event_base_free(base);
}

/* The kernel takes it, whatever the server does. */
static int come(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void ask(int fd)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";

    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
}

static void run_until(unsigned wanted)
{
    while (answers < wanted)
        event_base_loop(base, EVLOOP_ONCE);
}

/* Whatever there is to do, and some time. */
static void run_a_while(void)
{
    struct timeval a_while = {.tv_usec = 100 * 1000};

    event_base_loopexit(base, &a_while);
    event_base_dispatch(base);
}

static void those_above_the_number_wait_for_a_place(void **state)
{
    int fds[COMERS];

    (void)state;
    begin(3600);
    for (int i = 0; i < COMERS; i++) {
        fds[i] = come();
        ask(fds[i]);
    }
    run_until(MOST);
    run_a_while();
    assert_int_equal(answers, MOST);
    for (int i = 0; i < COMERS; i++) {
        close(fds[i]);
        run_until(i + MOST + 1 < COMERS ? (unsigned)(i + MOST + 1) : COMERS);
    }
    end();
}

/* Who sends a byte now and then is never idle. */
static void connection_ends_with_its_time(void **state)
{
    char byte;
    int fds[MOST], last;

    (void)state;
    begin(1);
    for (int i = 0; i < MOST; i++) {
        fds[i] = come();
        assert_int_equal(send(fds[i], "G", 1, MSG_NOSIGNAL), 1);
    }
    last = come();
    ask(last);
    while (answers < 1) {
        send(fds[0], "E", 1, MSG_NOSIGNAL);
        event_base_loop(base, EVLOOP_ONCE);
    }
    for (int i = 0; i < MOST; i++) {
        while (recv(fds[i], &byte, 1, MSG_DONTWAIT) > 0 ||
               poll(&(struct pollfd){.fd = fds[i], .events = POLLIN}, 1, 0) == 0)
            event_base_loop(base, EVLOOP_ONCE);
        close(fds[i]);
    }
    close(last);
    end();
}

/* Then it is the server that ends it, when the answer has gone out. */
static void connection_of_one_answer_ends_with_it(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";

    (void)state;
    begin(3600);
    for (int i = 0; i < COMERS; i++) {
        int fd = come();
        char got[1000];
        size_t length = 0;
        ssize_t n;

        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        while ((n = recv(fd, got + length, sizeof(got) - length, MSG_DONTWAIT)) != 0) {
            length += n > 0 ? (size_t)n : 0;
            event_base_loop(base, EVLOOP_NONBLOCK);
        }
        assert_non_null(memmem(got, length, "200 OK", 6));
        close(fd);
    }
    assert_int_equal(answers, COMERS);
    run_a_while();
    end();
}

static void end_of_the_server_leaves_nothing(void **state)
{
    int fds[COMERS];

    (void)state;
    begin(3600);
    for (int i = 0; i < COMERS; i++) {
        fds[i] = come();
        ask(fds[i]);
    }
    run_until(MOST);
    end();
    for (int i = 0; i < COMERS; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(those_above_the_number_wait_for_a_place),
        VST_TEST(connection_ends_with_its_time),
        VST_TEST(connection_of_one_answer_ends_with_it),
        VST_TEST(end_of_the_server_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

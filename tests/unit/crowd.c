/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strangers at the server's door: thousands that speak slowly, those that stop in the middle of the
 * greeting, and what each of them costs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/channel.h"
#include "core/fd.h"
#include "greet.h"
#include "loop.h"
#include "pki.h"
#include "remote/frame.h"
#include "served.h"

enum {
    LOGINS = 100,
    HALF = LOGINS / 2,
    NEARLY_ALL = LOGINS * 99 / 100 - 1,
    KIB = 1024,
    FEW = 400,
    MANY = 5000
};

static struct served served;

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- many that are slow ---- */

static struct crowd {
    int *fds;
    size_t count;
    size_t spoken; /* bytes, of each */
    size_t next;
} crowd;

/* The beginning of a HELLO that could be one, for longer than the test lasts. */
static char hello[256];

static void make_hello(void)
{
    struct vst_frame frame = {.length = sizeof(hello), .type = VST_FRAME_HELLO};

    memset(hello, ' ', sizeof(hello));
    vst_frame_put(&frame, (unsigned char *)hello);
}

/* A hundredth of them, every ten milliseconds: one byte a second each. */
static void speak(evutil_socket_t fd, short what, void *opaque)
{
    size_t until = crowd.next + crowd.count / 100;

    (void)fd, (void)what, (void)opaque;
    for (; crowd.next < until; crowd.next++)
        (void)!send(crowd.fds[crowd.next % crowd.count],
                    &hello[crowd.next / crowd.count % (sizeof(hello) - 1)], 1,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
}

static size_t as_many_as_may_be(void)
{
    struct rlimit limit;
    size_t wanted = vst_test_long() ? MANY : FEW;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < 2 * wanted + 100 ? (limit.rlim_cur - 100) / 2 / 100 * 100 : wanted;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void logins_are_fast_in_a_crowd_that_is_slow(void **state)
{
    struct timeval often = {0, 10000};
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int64_t times[LOGINS];
    struct caller caller;
    struct event *timer;

    (void)state;
    vst_test_seconds(120);
    make_hello();
    crowd.count = as_many_as_may_be();
    crowd.fds = calloc(crowd.count, sizeof(*crowd.fds));
    limits.anonymous = crowd.count + 10;
    limits.clients = 2 * crowd.count;
    limits.handshake_seconds = 3600;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    for (size_t i = 0; i < crowd.count; i++) {
        crowd.fds[i] = served_connect(&served);
        if (i % 100 == 0)
            served_run(&served, 1);
    }
    timer = event_new(served.base, -1, EV_PERSIST, speak, NULL);
    event_add(timer, &often);
    for (int i = 0; i < LOGINS; i++) {
        int64_t began = now_us();

        assert_int_equal(caller_join(&caller, &served, "test"), 0);
        times[i] = now_us() - began;
        caller_leave(&caller);
        served_run(&served, 20);
    }
    assert_int_equal(served_stats(&served).anonymous, crowd.count);
    qsort(times, LOGINS, sizeof(*times), by_size);
    printf("# %zu slow connections; a login takes %.2f ms, 99 %% within %.2f ms\n", crowd.count,
           (double)times[HALF] / 1e3, (double)times[NEARLY_ALL] / 1e3);
    assert_true(times[NEARLY_ALL] < 100000);
    event_free(timer);
    for (size_t i = 0; i < crowd.count; i++)
        close(crowd.fds[i]);
    free(crowd.fds);
    served_stop(&served);
}

/* ---- TLS: what one costs, and when it is gone ---- */

enum {
    STOP_AT_ONCE,
    STOP_IN_TLS,
    STOP_BEFORE_HELLO,
    STOP_IN_HELLO,
    STOP_BEFORE_LOGIN,
    STOP_IN_LOGIN,
    STOPS
};

static const char *const stop_names[] = {"TCP",   "half of a TLS hello", "TLS", "half of HELLO",
                                         "HELLO", "AUTH_START"};

static void send_frame(struct vst_channel *ch, enum vst_frame_type type, const char *body,
                       size_t length)
{
    struct vst_frame frame = {.length = (uint32_t)strlen(body), .type = type};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    vst_test_send(ch, head, sizeof(head));
    vst_test_send(ch, body, length);
}

/* One that goes as far as `stop`; what it leaves open, stays open. */
static void go_until(struct event_base *base, struct vst_tls_creds *creds, int stop)
{
    static const char hello_body[] = "{\"version\":1,\"software\":\"slow\",\"driver\":\"test\","
                                     "\"window\":65536}";
    static const char start[] = "{\"mechanism\":\"SCRAM-SHA-256-PLUS\",\"data\":"
                                "\"cD10bHMtZXhwb3J0ZXIsLG49YWxpY2Uscj1hYmNkZWZnaGlqa2w=\"}";
    struct vst_tls_options opt = {.role = VST_TLS_CLIENT, .host = "127.0.0.1"};
    int fd = served_connect_tcp(&served);
    struct vst_channel *ch;

    if (stop == STOP_IN_TLS)
        (void)!write(fd, "\x16\x03\x01\x02\x00\x01", 6);
    if (stop <= STOP_IN_TLS)
        return;
    ch = vst_channel_tls(vst_channel_fd(base, &fd, NULL), creds, &opt, NULL);
    if (vst_test_open(ch) != VST_IO_OK)
        _exit(1);
    if (stop >= STOP_IN_HELLO)
        send_frame(ch, VST_FRAME_HELLO, hello_body,
                   stop == STOP_IN_HELLO ? 10 : strlen(hello_body));
    if (stop >= STOP_IN_LOGIN)
        send_frame(ch, VST_FRAME_AUTH_START, start, strlen(start));
}

/* A process of its own, so that what is measured is the server's alone. */
static pid_t strangers(int stop, int count)
{
    struct vst_tls_creds *creds = pki_creds(VST_TLS_CLIENT, "ca", NULL, NULL);
    pid_t pid = vst_test_fork();
    struct event_base *base;

    if (pid) {
        vst_tls_creds_unref(&creds);
        return pid;
    }
    base = event_base_new();
    for (int i = 0; i < count; i++)
        go_until(base, creds, stop);
    for (;;)
        pause();
}

static void serve_tls(unsigned seconds)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    struct vst_policy policy;

    limits.handshake_seconds = seconds;
    served_start(&served, "test:///", VST_ROLE_ADMIN, &limits);
    policy = served_policy(VST_ROLE_ADMIN, &limits);
    policy.creds = pki_creds(VST_TLS_SERVER, "ca", "host", NULL);
    policy.require_client_cert = false;
    policy.mechanisms = strdup("SCRAM-SHA-256");
    policy.database = strdup(greet_database());
    served_set_policy(&served, &policy);
    served_listen_tcp(&served, VST_LISTEN_TLS);
}

static void until_there_are(uint64_t count)
{
    do
        served_run(&served, 20);
    while (served_stats(&served).anonymous != count);
}

static void end_of(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void stranger_costs_at_most_64_kib(void **state)
{
    enum { COUNT = 100 };

    (void)state;
    vst_test_seconds(120);
    serve_tls(600);
    for (int stop = 0; stop < STOPS; stop++) {
        size_t before = mallinfo2().uordblks;
        pid_t pid = strangers(stop, COUNT);
        long each;

        until_there_are(COUNT);
        served_run(&served, 1000);
        each = ((long)mallinfo2().uordblks - (long)before) / COUNT;
        printf("# stopped after %s: %.1f KiB each\n", stop_names[stop], (double)each / KIB);
        assert_true(each < 64 * KIB);
        end_of(pid);
        until_there_are(0);
    }
    served_stop(&served);
}

static void stranger_is_gone_at_the_deadline_wherever_it_stops(void **state)
{
    (void)state;
    vst_test_seconds(60);
    serve_tls(2);
    for (int stop = 0; stop < STOPS; stop++) {
        uint64_t before = served_stats(&served).greetings[VST_GREETING_TIMEOUT];
        pid_t pid = strangers(stop, 1);
        int64_t began;

        until_there_are(1);
        began = now_us();
        until_there_are(0);
        assert_true(now_us() - began > 1500 * 1000 && now_us() - began < 3000 * 1000);
        assert_int_equal(served_stats(&served).greetings[VST_GREETING_TIMEOUT], before + 1);
        end_of(pid);
    }
    served_stop(&served);
}

static void serve_on_tcp(const struct vst_limits *limits)
{
    struct vst_policy policy = served_policy(VST_ROLE_ADMIN, limits);

    served_start(&served, "test:///", VST_ROLE_ADMIN, limits);
    policy.creds = pki_creds(VST_TLS_SERVER, "ca", "host", NULL);
    served_set_policy(&served, &policy);
    served_listen_tcp(&served, VST_LISTEN_TLS);
}

/* Until the server has seen it. */
static int come_from(unsigned host)
{
    uint64_t before = served_stats(&served).accepted;
    int fd = served_connect_from(&served, host);

    while (served_stats(&served).accepted == before)
        served_run(&served, 1);
    return fd;
}

static bool is_here(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void one_address_gets_so_many_and_no_more(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int fds[4];

    (void)state;
    limits.per_source = 3;
    serve_on_tcp(&limits);
    for (int i = 0; i < 4; i++)
        fds[i] = come_from(1);
    assert_int_equal(served_stats(&served).anonymous, 3);
    assert_false(is_here(fds[3]));
    assert_true(is_here(fds[2]));
    close(fds[0]);
    served_run(&served, 20);
    close(fds[3]);
    fds[3] = come_from(1);
    assert_int_equal(served_stats(&served).anonymous, 3);
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    served_stop(&served);
}

static void address_over_its_limit_drives_out_nobody(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int fds[4];

    (void)state;
    limits.per_source = 2;
    limits.anonymous = 3;
    serve_on_tcp(&limits);
    for (int i = 0; i < 4; i++)
        fds[i] = come_from(i ? 2 : 1);
    assert_false(is_here(fds[3]));
    for (int i = 0; i < 3; i++)
        assert_true(is_here(fds[i]));
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    served_stop(&served);
}

static void address_that_fills_the_room_makes_the_room(void **state)
{
    enum { ROOM = 4, CAME = 8 };
    struct vst_limits limits = VST_LIMITS_DEFAULT;
    int first, last, crowd_of_one[CAME];

    (void)state;
    limits.anonymous = ROOM;
    serve_on_tcp(&limits);
    first = come_from(1);
    for (int i = 0; i < CAME; i++)
        crowd_of_one[i] = come_from(2);
    last = come_from(3);
    assert_true(is_here(first));
    assert_true(is_here(last));
    for (int i = 0; i < CAME; i++) {
        assert_int_equal(is_here(crowd_of_one[i]), i >= CAME - (ROOM - 2));
        close(crowd_of_one[i]);
    }
    assert_int_equal(served_stats(&served).anonymous, ROOM);
    close(first);
    close(last);
    served_stop(&served);
}

/* The socket is there already when there is room for no other. */
static void stranger_makes_room_for_one_who_needs_its_descriptor(void **state)
{
    struct rlimit usual, none;
    int old, new = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    (void)state;
    serve_on_tcp(NULL);
    old = come_from(1);
    getrlimit(RLIMIT_NOFILE, &usual);
    none = (struct rlimit){3, usual.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    address.sin_port = htons((uint16_t)served.port);
    assert_int_equal(connect(new, (struct sockaddr *)&address, sizeof(address)), 0);
    while (served_stats(&served).anonymous)
        served_run(&served, 1);
    setrlimit(RLIMIT_NOFILE, &usual);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_CROWDED], 1);
    until_there_are(1);
    assert_false(is_here(old));
    assert_true(is_here(new));
    close(old);
    close(new);
    served_stop(&served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(logins_are_fast_in_a_crowd_that_is_slow),
        VST_TEST_WITH(stranger_costs_at_most_64_kib, pki_begin, pki_end),
        VST_TEST_WITH(stranger_is_gone_at_the_deadline_wherever_it_stops, pki_begin, pki_end),
        VST_TEST_WITH(one_address_gets_so_many_and_no_more, pki_begin, pki_end),
        VST_TEST_WITH(address_over_its_limit_drives_out_nobody, pki_begin, pki_end),
        VST_TEST_WITH(address_that_fills_the_room_makes_the_room, pki_begin, pki_end),
        VST_TEST_WITH(stranger_makes_room_for_one_who_needs_its_descriptor, pki_begin, pki_end),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (getenv("VST_TEST_VALGRIND")) {
        puts("# without the last: valgrind accepts what there is no descriptor for, and closes it");
        count--;
    }
    return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}

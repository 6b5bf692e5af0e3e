/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Peers that take nothing of what there is for them, and those that are only slow: the mux on a
 * transport in memory, and on sockets, where the kernel holds much of what was written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "remote/mux-private.h"
#include "wire.h"

enum { MIB = 1024 * 1024, NARROW = 64 * 1024, QUICK_MS = 20, LOOKS = 4 };

/* So long that only a test that says so sees it pass. */
enum { NEVER_MS = 1000 * 1000 };

static struct vst_mux *mux(void)
{
    return wire.server.mux;
}

/* The server, on a transport that takes little. */
static void start_narrow(unsigned stall_ms)
{
    struct vst_channel *ends[2];

    wire.server.opt.stall_ms = stall_ms;
    assert_int_equal(vst_channel_pair(wire.base, NARROW, ends, NULL), 0);
    assert_true(wire_start_on(NULL, ends[1]));
    wire.server.raw = ends[0];
}

/* More for the peer to read than its transport takes. */
static void say_much(void)
{
    static char body[MIB];

    memset(body, ' ', sizeof(body));
    raw_text(&wire.server, VST_FRAME_CALL, 1, "{}");
    wire_pass();
    assert_int_equal(vst_mux_send(mux(), VST_FRAME_REPLY, 1, body, sizeof(body)), 0);
    wire_pass();
}

/* Its time to be looked at is not waited for. */
static void look(void)
{
    assert_true(event_pending(&mux()->stall, EV_TIMEOUT, NULL));
    event_active(&mux()->stall, EV_TIMEOUT, 0);
    wire_pass();
}

static size_t take(size_t max)
{
    struct evbuffer *into = evbuffer_new();
    size_t n = 0;

    if (vst_channel_read(wire.server.raw, into, max, &n) != VST_IO_OK)
        n = 0;
    evbuffer_free(into);
    wire_pass();
    return n;
}

static void assert_lost_for_taking_nothing(void)
{
    assert_closed(&wire.server, VST_ERR_LOST);
    assert_non_null(strstr(wire.server.err.text, "has taken nothing of what there is for it"));
}

/* ---- who takes nothing ---- */

/* It is heard all the time, and never reads an answer. */
static void peer_that_asks_and_reads_no_answer_is_lost(void **state)
{
    const struct vst_frame frame = {8, VST_FRAME_PING, 0, 0, false};
    struct evbuffer *flood = evbuffer_new();
    unsigned char ping[VST_FRAME_HEAD + 8] = {0};
    size_t n;

    (void)state;
    vst_frame_put(&frame, ping);
    wire.server.opt.keepalive_ms = QUICK_MS;
    start_narrow(QUICK_MS);
    while (!wire.server.closed) {
        if (!evbuffer_get_length(flood))
            for (int i = 0; i < 1000; i++)
                evbuffer_add(flood, ping, sizeof(ping));
        vst_channel_write(wire.server.raw, flood, evbuffer_get_length(flood), &n);
        event_base_loop(wire.base, EVLOOP_ONCE);
    }
    assert_lost_for_taking_nothing();
    evbuffer_free(flood);
}

static void peer_that_takes_nothing_is_looked_at_more_than_once(void **state)
{
    (void)state;
    start_narrow(NEVER_MS);
    say_much();
    for (int i = 1; i < LOOKS; i++) {
        look();
        assert_alive(&wire.server);
    }
    look();
    assert_lost_for_taking_nothing();
}

static void peer_that_takes_nothing_of_what_is_left_is_left(void **state)
{
    (void)state;
    start_narrow(QUICK_MS);
    say_much();
    vst_mux_finish(mux());
    wire_run();
    assert_lost_for_taking_nothing();
}

/* Nobody waits for it then but we. */
static void peer_that_does_not_read_why_it_was_refused_is_left(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_AUTH, .text = "go away"};

    (void)state;
    start_narrow(QUICK_MS);
    say_much();
    vst_mux_fail(mux(), &why);
    wire_run();
    assert_closed(&wire.server, VST_ERR_AUTH);
}

/* ---- who is only slow ---- */

static void byte_now_and_then_keeps_a_peer(void **state)
{
    (void)state;
    start_narrow(NEVER_MS);
    say_much();
    for (int i = 0; i < 10 * LOOKS; i++) {
        if (i % (LOOKS - 1) == 0)
            assert_int_equal(take(1), 1);
        look();
        assert_alive(&wire.server);
    }
    /* All that time is over at once when it stops. */
    for (int i = 0; i < LOOKS; i++)
        look();
    assert_lost_for_taking_nothing();
}

static void byte_now_and_then_is_enough_at_the_end(void **state)
{
    (void)state;
    start_narrow(NEVER_MS);
    say_much();
    vst_mux_finish(mux());
    wire_pass();
    for (int i = 0; i < 10 * LOOKS; i++) {
        assert_int_equal(take(1), 1);
        look();
        assert_alive(&wire.server);
    }
}

/* What was under way takes long; the error behind it is what the peer needs to know. */
static void last_words_reach_a_peer_on_a_slow_link(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_AUTH, .text = "go away"};
    struct evbuffer *into = evbuffer_new();
    size_t n, looks = 0;

    (void)state;
    start_narrow(NEVER_MS);
    say_much();
    vst_mux_fail(mux(), &why);
    wire_pass();
    while (mux()->state == MUX_FAILING) {
        assert_false(event_pending(&mux()->timer, EV_TIMEOUT, NULL));
        if (event_pending(&mux()->stall, EV_TIMEOUT, NULL)) {
            look();
            looks++;
        }
        assert_alive(&wire.server);
        vst_channel_read(wire.server.raw, into, 16 * 1024, &n);
        wire_pass();
    }
    assert_true(looks > LOOKS);
    while (vst_channel_read(wire.server.raw, into, MIB, &n) == VST_IO_OK)
        wire_pass();
    assert_true(evbuffer_search(into, "go away", 7, NULL).pos >= 0);
    evbuffer_free(into);
    /* It is not waited for any longer than others. */
    assert_int_equal(mux()->state, MUX_FAILED);
    assert_true(event_pending(&mux()->timer, EV_TIMEOUT, NULL));
    event_active(&mux()->timer, EV_TIMEOUT, 0);
    wire_pass();
    assert_closed(&wire.server, VST_ERR_AUTH);
}

/* The stream has more to send, and no credit: nothing is there for the peer to take. */
static void stalled_reader_of_a_stream_is_no_stalled_peer(void **state)
{
    static unsigned char bytes[2 * WIRE_WINDOW];
    struct timeval while_it_waits = {.tv_usec = 10 * QUICK_MS * 1000};
    uint32_t id;

    (void)state;
    wire.server.opt.stall_ms = wire.client.opt.stall_ms = QUICK_MS;
    wire_start();
    id = wire_call("down");
    wire_pass();
    wire_feed(&wire.server.calls[id], bytes, sizeof(bytes));
    wire_pass();
    assert_true(wire_stats(&wire.server).stalls > 0);
    event_base_loopexit(wire.base, &while_it_waits);
    event_base_dispatch(wire.base);
    assert_alive(&wire.server);
    assert_alive(&wire.client);
    wire_drain(&wire.client.calls[id]);
    while (!wire.client.calls[id].in.done)
        event_base_loop(wire.base, EVLOOP_ONCE);
    assert_int_equal(evbuffer_get_length(wire_got(&wire.client.calls[id])), sizeof(bytes));
}

/* ---- sockets ---- */

static int tcp_pair(int ret_fds[2])
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret_fds[0], (struct sockaddr *)&address, length), 0);
    ret_fds[1] = accept(listener, NULL, NULL);
    assert_true(ret_fds[1] >= 0);
    close(listener);
    return 0;
}

static int unix_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds);
}

/* Until neither kernel takes more. */
static struct vst_channel *fill(int fd)
{
    static char block[64 * 1024];
    int much = MIB;
    struct evbuffer *out = evbuffer_new();
    struct vst_channel *ch;
    size_t n;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much));
    ch = vst_channel_fd(wire.base, &fd, NULL);
    assert_non_null(ch);
    do {
        do
            evbuffer_add(out, block, sizeof(block));
        while (vst_channel_write(ch, out, sizeof(block), &n) == VST_IO_OK);
    } while (vst_test_announced(ch, VST_WRITE, 50));
    evbuffer_free(out);
    return ch;
}

static uint64_t passed(struct vst_channel *ch)
{
    uint64_t passed;

    vst_channel_undelivered(ch, &passed);
    return passed;
}

/* A socket says that it has room when a third of what it may hold is free: long after it has passed
 * something on. */
static void what_a_peer_has_taken_shows_before_there_is_room(void **state)
{
    static int (*const pairs[])(int ret_fds[2]) = {tcp_pair, unix_pair};
    static char got[1000];
    size_t read;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int fds[2];
        struct vst_channel *ch;
        uint64_t before;

        assert_int_equal(pairs[i](fds), 0);
        ch = fill(fds[0]);
        before = passed(ch);
        usleep(1000);
        assert_int_equal(passed(ch), before);
        for (read = 0; passed(ch) == before; read += sizeof(got))
            assert_int_equal(recv(fds[1], got, sizeof(got), MSG_WAITALL), sizeof(got));
        assert_true(read <= 256 * 1024);
        assert_false(vst_test_announced(ch, VST_WRITE, 1));
        vst_channel_free(&ch);
        close(fds[1]);
    }
}

static size_t on_its_way(void)
{
    uint64_t passed;

    return vst_channel_undelivered(mux()->transport, &passed);
}

static void farewell_passes(void)
{
    assert_true(event_pending(&mux()->timer, EV_TIMEOUT, NULL));
    event_active(&mux()->timer, EV_TIMEOUT, 0);
    wire_pass();
}

/* Reads up to the end. */
static bool comes(int fd, const char *what)
{
    static char got[2 * MIB];
    size_t n = 0;
    ssize_t more;

    while ((more = recv(fd, got + n, sizeof(got) - n, 0)) > 0)
        n += (size_t)more;
    return memmem(got, n, what, strlen(what));
}

/* The transport has finished well before the peer has all: to free it then would lose the rest. */
static void what_the_kernel_still_has_is_waited_for(bool refused)
{
    static const struct vst_error why = {.code = VST_ERR_AUTH, .text = "go away"};
    static char body[MIB / 4];
    struct vst_channel *ch;
    int fds[2];

    tcp_pair(fds);
    ch = vst_channel_fd(wire.base, &fds[0], NULL);
    wire.server.opt.stall_ms = NEVER_MS;
    assert_true(wire_start_on(NULL, ch));
    memset(body, ' ', sizeof(body));
    for (int i = 0; i < 4; i++)
        assert_int_equal(vst_mux_send(mux(), VST_FRAME_REPLY, 1, body, sizeof(body)), 0);
    if (refused) {
        wire_pass();
        vst_mux_fail(mux(), &why);
    } else {
        vst_mux_finish(mux());
    }
    while (mux()->state == MUX_FAILING || mux()->state == MUX_ENDING) {
        assert_true(recv(fds[1], body, 1000, MSG_DONTWAIT) != 0);
        wire_pass();
    }
    assert_true(on_its_way());
    for (int i = 0; i < 10; i++)
        farewell_passes();
    assert_alive(&wire.server);
    assert_true(comes(fds[1], refused ? "go away" : "is being closed"));
    while (on_its_way())
        usleep(1000);
    farewell_passes();
    assert_closed(&wire.server, refused ? VST_ERR_AUTH : VST_ERR_LOST);
    close(fds[1]);
}

static void last_words_that_the_kernel_has_are_waited_for(void **state)
{
    (void)state;
    what_the_kernel_still_has_is_waited_for(true);
}

static void end_that_the_kernel_has_is_waited_for(void **state)
{
    (void)state;
    what_the_kernel_still_has_is_waited_for(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(peer_that_asks_and_reads_no_answer_is_lost, wire_make, wire_drop),
        VST_TEST_WITH(peer_that_takes_nothing_is_looked_at_more_than_once, wire_make, wire_drop),
        VST_TEST_WITH(peer_that_takes_nothing_of_what_is_left_is_left, wire_make, wire_drop),
        VST_TEST_WITH(peer_that_does_not_read_why_it_was_refused_is_left, wire_make, wire_drop),
        VST_TEST_WITH(byte_now_and_then_keeps_a_peer, wire_make, wire_drop),
        VST_TEST_WITH(byte_now_and_then_is_enough_at_the_end, wire_make, wire_drop),
        VST_TEST_WITH(last_words_reach_a_peer_on_a_slow_link, wire_make, wire_drop),
        VST_TEST_WITH(stalled_reader_of_a_stream_is_no_stalled_peer, wire_make, wire_drop),
        VST_TEST_WITH(what_a_peer_has_taken_shows_before_there_is_room, wire_make, wire_drop),
        VST_TEST_WITH(last_words_that_the_kernel_has_are_waited_for, wire_make, wire_drop),
        VST_TEST_WITH(end_that_the_kernel_has_is_waited_for, wire_make, wire_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

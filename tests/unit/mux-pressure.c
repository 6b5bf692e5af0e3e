/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mux under pressure: readers that stall, peers that do not read, floods and storms; that what
 * is held stays within the bounds of PROTOCOL.md, and that everybody gets his share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "remote/mux-private.h"
#include "remote/window.h"
#include "wire.h"

enum { MIB = 1024 * 1024, SMALL_WINDOW = 16 * 1024, PING_SIZE = VST_FRAME_HEAD + 8 };

static struct wire_call *at_client(uint32_t id)
{
    return &wire.client.calls[id];
}

static struct wire_call *at_server(uint32_t id)
{
    return &wire.server.calls[id];
}

/* An endless source: as many bytes as are asked for. */
static unsigned char block[64 * 1024];

static void feed_much(struct wire_call *call, size_t blocks)
{
    struct vst_channel *source = script_new(wire.base);

    for (size_t i = 0; i < blocks; i++)
        script_give(source, block, sizeof(block));
    script_read(source, VST_IO_EOF);
    wire_feed_from(call, source);
}

static void drain_to_nowhere(struct wire_call *call)
{
    wire_drain_into(call, vst_channel_null(wire.base, NULL));
}

/* ---- stalls ---- */

static void stalled_stream_stalls_itself_alone(void **state)
{
    enum { STREAMS = 64, BLOCKS = 16 };
    struct vst_mux_stats server, client;

    (void)state;
    vst_test_seconds(60);
    wire.client.opt.window = wire.server.opt.window = SMALL_WINDOW;
    wire.client.opt.peer_window = wire.server.opt.peer_window = SMALL_WINDOW;
    wire.server.opt.memory = 4 * MIB;
    wire_start();
    for (int i = 0; i < STREAMS; i++)
        feed_much(at_client(wire_call("up")), BLOCKS);
    wire_run();
    for (uint32_t id = 2; id <= STREAMS; id++)
        drain_to_nowhere(at_server(id));
    wire_run();
    for (uint32_t id = 2; id <= STREAMS; id++)
        assert_true(at_server(id)->in.done && !vst_error_is_set(&at_server(id)->in.err));
    assert_false(at_client(1)->out.done);
    server = wire_stats(&wire.server);
    client = wire_stats(&wire.client);
    assert_true(server.held <= SMALL_WINDOW);
    assert_true(server.most_held <= 4 * MIB);
    assert_true(client.most_held <= STREAMS * SMALL_WINDOW + MIB);
    print_message("# held at most: server %zu, client %zu\n", server.most_held, client.most_held);
    drain_to_nowhere(at_server(1));
    wire_run();
    assert_true(at_server(1)->in.done);
}

/* Each gets its turn: when one is through, none of the others is far behind. */
static void streams_that_always_have_data_get_the_same(void **state)
{
    enum { STREAMS = 8, BLOCKS = 32 };
    size_t least = SIZE_MAX;
    bool one_done = false;

    (void)state;
    wire_start();
    for (int i = 0; i < STREAMS; i++)
        wire_call("up");
    wire_run();
    for (uint32_t id = 1; id <= STREAMS; id++) {
        wire_drain(at_server(id));
        feed_much(at_client(id), BLOCKS);
    }
    for (int passes = 0; !one_done && passes < 100000; passes++) {
        event_base_loop(wire.base, EVLOOP_ONCE);
        for (uint32_t id = 1; id <= STREAMS; id++)
            one_done |= at_server(id)->in.done;
    }
    for (uint32_t id = 1; id <= STREAMS; id++) {
        size_t got = evbuffer_get_length(wire_got(at_server(id)));

        least = got < least ? got : least;
    }
    assert_true(one_done);
    if (least < BLOCKS * sizeof(block) / 2)
        fail_msg("one had %zu of %zu bytes when another had all", least, BLOCKS * sizeof(block));
}

/* ---- a transport that is full ---- */

/* Counts what it is asked. */
struct toll {
    struct vst_channel ch;
    unsigned reads;
    unsigned writes;
};

static enum vst_io toll_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    ((struct toll *)ch)->reads++;
    return vst_channel_read(ch->lower, into, max, ret_n);
}

static enum vst_io toll_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    ((struct toll *)ch)->writes++;
    return vst_channel_write(ch->lower, from, max, ret_n);
}

static void toll_destroy(struct vst_channel *ch)
{
    (void)ch;
}

static const struct vst_channel_ops toll_ops = {
    .name = "toll",
    .read = toll_read,
    .write = toll_write,
    .destroy = toll_destroy,
};

static void transport_that_said_again_is_asked_when_it_announces(void **state)
{
    enum { LENGTH = 16000, EVENTS = 8, LIMIT = 64 * 1024 };
    static char body[LENGTH];
    struct vst_channel *ends[2];
    struct evbuffer *into = evbuffer_new();
    struct toll toll = {0};
    size_t n;

    (void)state;
    memset(body, ' ', LENGTH);
    vst_channel_pair(wire.base, LIMIT, ends, NULL);
    vst_channel_init(&toll.ch, &toll_ops, wire.base, ends[1]);
    assert_true(wire_start_on(NULL, &toll.ch));
    for (int i = 0; i < EVENTS; i++)
        assert_int_equal(vst_mux_send(wire.server.mux, VST_FRAME_EVENT, 0, body, LENGTH), 0);
    wire_run();
    toll.reads = toll.writes = 0;
    for (int i = 0; i < 10; i++) {
        vst_mux_send(wire.server.mux, VST_FRAME_EVENT, 0, "{}", 2);
        wire_run();
    }
    assert_int_equal(toll.reads, 0);
    assert_int_equal(toll.writes, 0);
    assert_int_equal(vst_channel_read(ends[0], into, LIMIT, &n), VST_IO_OK);
    wire_run();
    assert_in_range(toll.writes, 1, 3);
    assert_int_equal(vst_channel_write(ends[0], into, 1, &n), VST_IO_OK);
    wire_run();
    assert_in_range(toll.reads, 1, 3);
    evbuffer_free(into);
    vst_channel_free(&ends[0]);
    wire_run();
    vst_mux_free(&wire.server.mux);
}

/* ---- peers that do not read ---- */

/* The server, and a transport that takes little. */
static void start_narrow(void)
{
    struct vst_channel *ends[2];

    vst_channel_pair(wire.base, 64 * 1024, ends, NULL);
    wire_start_on(NULL, ends[1]);
    wire.server.raw = ends[0];
}

/* So many PINGs. */
static struct evbuffer *make_flood(int count)
{
    struct evbuffer *flood = evbuffer_new();
    unsigned char ping[PING_SIZE] = {0};
    struct vst_frame frame = {8, VST_FRAME_PING, 0, 0, false};

    vst_frame_put(&frame, ping);
    for (int i = 0; i < count; i++)
        evbuffer_add(flood, ping, sizeof(ping));
    return flood;
}

/* As much as is taken. */
static void pour(struct evbuffer *flood)
{
    size_t n;

    do {
        wire_run();
    } while (vst_channel_write(wire.server.raw, flood, evbuffer_get_length(flood), &n) ==
             VST_IO_OK);
}

static void flood_of_pings_stops_the_reading_until_answers_are_read(void **state)
{
    enum { PINGS = 400 * 1000 };
    struct evbuffer *flood = make_flood(PINGS);
    size_t n, came = 0;

    (void)state;
    start_narrow();
    pour(flood);
    assert_true(evbuffer_get_length(flood) > PING_SIZE * PINGS / 2);
    assert_true(wire_stats(&wire.server).most_held < MIB);
    while (came < PING_SIZE * PINGS) {
        struct evbuffer *answers = evbuffer_new();

        if (evbuffer_get_length(flood))
            vst_channel_write(wire.server.raw, flood, evbuffer_get_length(flood), &n);
        wire_run();
        if (vst_channel_read(wire.server.raw, answers, MIB, &n) == VST_IO_OK)
            came += n;
        evbuffer_free(answers);
    }
    assert_true(wire_stats(&wire.server).most_held < MIB);
    assert_alive(&wire.server);
    evbuffer_free(flood);
}

static void peer_that_reads_no_answers_is_given_up_at_a_bound(void **state)
{
    char *body = malloc(VST_FRAME_CONTROL_MAX);
    int sent = 0;

    (void)state;
    memset(body, ' ', VST_FRAME_CONTROL_MAX);
    wire_start_raw(&wire.server);
    raw_text(&wire.server, VST_FRAME_CALL, 1, "{}");
    wire_run();
    /* What was caused before reading stopped may still be much. */
    while (vst_mux_send(wire.server.mux, VST_FRAME_REPLY, 1, body, VST_FRAME_CONTROL_MAX) == 0)
        assert_true(++sent < 10);
    assert_true(sent >= 4);
    wire_run();
    assert_closed(&wire.server, VST_ERR_STALLED);
    free(body);
}

/* What was not answered counts no longer: its end is watched for. */
static void end_of_a_flooding_peer_that_was_refused_is_noticed(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_AUTH, .text = "go away"};
    struct evbuffer *flood = make_flood(100 * 1000);

    (void)state;
    start_narrow();
    pour(flood);
    assert_true(mux_flooded(wire.server.mux));
    vst_mux_fail(wire.server.mux, &why);
    wire_pass();
    assert_alive(&wire.server);
    for (int i = 0; i < 10 && vst_channel_finish(wire.server.raw) == VST_IO_AGAIN; i++)
        wire_pass();
    wire_pass();
    assert_closed(&wire.server, VST_ERR_AUTH);
    evbuffer_free(flood);
}

static void storm_of_streams_leaves_nothing(void **state)
{
    enum { STORM = 20000 };

    (void)state;
    wire_start_raw(&wire.server);
    wire.server.opens = true;
    for (uint32_t id = 1; id <= STORM; id++) {
        raw_text(&wire.server, VST_FRAME_CALL, id, "{\"is\":\"up down\"}");
        raw_text(&wire.server, VST_FRAME_STOP, id, "{\"code\":\"cancelled\",\"text\":\"\"}");
        if (id >= WIRE_CALLS)
            wire.server.opens = false; /* the tests keep no more */
        if (id % 1000 == 0)
            raw_came_and_went(&wire.server);
    }
    wire_run();
    assert_alive(&wire.server);
    for (uint32_t id = 1; id < WIRE_CALLS; id++) {
        wire_let_go(at_server(id));
        vst_mux_ended(wire.server.mux, id, NULL);
    }
    assert_int_equal(wire_stats(&wire.server).streams, 0);
    assert_int_equal(wire_stats(&wire.server).held, 0);
}

/* ---- windows ---- */

/* The client's transport, each way of it delayed. */
static void start_delayed(unsigned delay_us)
{
    const struct vst_fault delay = {.kind = VST_FAULT_DELAY, .delay_us = delay_us};
    struct vst_channel *ends[2];

    vst_channel_pair(wire.base, 64 * MIB, ends, NULL);
    assert_true(wire_start_on(vst_channel_fault(ends[0], &delay, NULL), ends[1]));
}

static void window_grows_while_it_holds_the_sender_up(void **state)
{
    struct vst_mux_stats stats;
    uint32_t id;

    (void)state;
    wire.client.opt.window = wire.server.opt.window = SMALL_WINDOW;
    wire.client.opt.peer_window = wire.server.opt.peer_window = SMALL_WINDOW;
    wire.server.opt.memory = 2 * MIB;
    start_delayed(2000);
    id = wire_call("up");
    feed_much(at_client(id), 256);
    while (!wire.server.last)
        event_base_loop(wire.base, EVLOOP_ONCE);
    drain_to_nowhere(at_server(id));
    do {
        event_base_loop(wire.base, EVLOOP_ONCE);
        stats = wire_stats(&wire.server);
    } while (stats.windows < MIB && !at_server(id)->in.done);
    assert_true(stats.windows >= MIB);
    assert_true(stats.received < 4 * MIB);
    while (!at_server(id)->in.done) {
        event_base_loop(wire.base, EVLOOP_ONCE);
        assert_true(wire_stats(&wire.server).windows <= 2 * MIB);
    }
}

/* It starves the sender, too, but for a reason that no window can mend. */
static void window_does_not_grow_for_a_slow_reader(void **state)
{
    struct evbuffer *into = evbuffer_new();
    uint32_t id;
    size_t n;

    (void)state;
    wire.client.opt.peer_window = wire.server.opt.window = SMALL_WINDOW;
    wire_start();
    id = wire_call("up");
    feed_much(at_client(id), 16);
    wire_run();
    while (vst_channel_read(at_server(id)->source, into, SMALL_WINDOW / 4, &n) == VST_IO_OK) {
        if (evbuffer_get_length(into) >= 15 * sizeof(block))
            break;
        assert_int_equal(wire_stats(&wire.server).windows, SMALL_WINDOW);
        wire_run();
    }
    assert_true(wire_stats(&wire.client).stalls > 10);
    evbuffer_free(into);
}

/* What has grown shrinks again when it is not needed. */
static void window_shrinks_when_little_is_needed(void **state)
{
    struct vst_window window;
    uint32_t read, granted;
    uint64_t open;

    (void)state;
    vst_window_init(&window, 1000);
    assert_true(vst_window_take(&window, 1000));
    vst_window_read(&window, 1000);
    assert_true(vst_window_starved(&window, 1 << 20));
    vst_window_credit(&window, &read, &granted);
    assert_int_equal(read, 1000);
    assert_int_equal(granted, 4000);
    open = window.open;
    for (int round = 0; round < 100; round++) {
        assert_true(vst_window_take(&window, 10));
        vst_window_read(&window, 10);
        assert_true(vst_window_due(&window, true));
        vst_window_round(&window);
        vst_window_credit(&window, &read, &granted);
        assert_int_equal(read, 10);
        assert_true(granted <= 10);
        assert_true(window.open <= open);
        open = window.open;
    }
    assert_int_equal(window.target, 1000);
    assert_true(window.size < 4000 && window.size >= 1000);
    assert_int_equal(window.open, window.size);
}

static void window_grows_once_for_what_it_has_granted(void **state)
{
    struct vst_window window;
    uint32_t read, granted;

    (void)state;
    vst_window_init(&window, 1000);
    vst_window_take(&window, 1000);
    vst_window_read(&window, 1000);
    assert_true(vst_window_starved(&window, 1 << 20));
    assert_false(vst_window_starved(&window, 1 << 20));
    vst_window_credit(&window, &read, &granted);
    /* This was held up by the old window. */
    vst_window_take(&window, 1000);
    vst_window_read(&window, 1000);
    assert_false(vst_window_starved(&window, 1 << 20));
    vst_window_credit(&window, &read, &granted);
    vst_window_take(&window, 3000);
    vst_window_read(&window, 3000);
    assert_true(vst_window_starved(&window, 100));
    assert_int_equal(vst_window_reserved(&window), 4100);
    assert_false(vst_window_starved(&window, 0));
}

/* ---- silence ---- */

static void silent_peer_is_lost_after_three_pings(void **state)
{
    (void)state;
    wire.client.opt.keepalive_ms = 10;
    wire_start_raw(&wire.client);
    wire_run();
    assert_closed(&wire.client, VST_ERR_LOST);
    assert_string_equal(raw_came(&wire.client), "PING 0 8; PING 0 8; PING 0 8; ");
}

static void peer_that_answers_is_kept(void **state)
{
    struct timeval while_idle = {.tv_usec = 100 * 1000};

    (void)state;
    wire.client.opt.keepalive_ms = 5;
    wire_start();
    event_base_loopexit(wire.base, &while_idle);
    event_base_dispatch(wire.base);
    assert_alive(&wire.client);
    assert_true(wire_stats(&wire.server).frames_in >= 3);
}

static void idle_connection_holds_nothing(void **state)
{
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("up");
    feed_much(at_client(id), 16);
    wire_run();
    drain_to_nowhere(at_server(id));
    wire_run();
    assert_int_equal(wire_stats(&wire.server).held, 0);
    assert_int_equal(wire_stats(&wire.client).held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(stalled_stream_stalls_itself_alone, wire_make, wire_drop),
        VST_TEST_WITH(streams_that_always_have_data_get_the_same, wire_make, wire_drop),
        VST_TEST_WITH(transport_that_said_again_is_asked_when_it_announces, wire_make, wire_drop),
        VST_TEST_WITH(flood_of_pings_stops_the_reading_until_answers_are_read, wire_make,
                      wire_drop),
        VST_TEST_WITH(peer_that_reads_no_answers_is_given_up_at_a_bound, wire_make, wire_drop),
        VST_TEST_WITH(end_of_a_flooding_peer_that_was_refused_is_noticed, wire_make, wire_drop),
        VST_TEST_WITH(storm_of_streams_leaves_nothing, wire_make, wire_drop),
        VST_TEST_WITH(window_grows_while_it_holds_the_sender_up, wire_make, wire_drop),
        VST_TEST_WITH(window_does_not_grow_for_a_slow_reader, wire_make, wire_drop),
        VST_TEST(window_shrinks_when_little_is_needed),
        VST_TEST(window_grows_once_for_what_it_has_granted),
        VST_TEST_WITH(silent_peer_is_lost_after_three_pings, wire_make, wire_drop),
        VST_TEST_WITH(peer_that_answers_is_kept, wire_make, wire_drop),
        VST_TEST_WITH(idle_connection_holds_nothing, wire_make, wire_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

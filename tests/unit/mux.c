/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mux between two of its kind: calls, streams both ways, how they and the connection end.
 */
#include "loop.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

static const char hello[] = "hello";

static struct wire_call *at_client(uint32_t id)
{
    return &wire.client.calls[id];
}

static struct wire_call *at_server(uint32_t id)
{
    return &wire.server.calls[id];
}

static void assert_got(struct wire_call *call, const char *text)
{
    char got[256];
    ev_ssize_t n = evbuffer_copyout(wire_got(call), got, sizeof(got) - 1);

    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static void assert_flowed(const struct wire_flow *flow)
{
    assert_true(flow->done);
    assert_string_equal(flow->err.text, "");
}

static void messages_arrive_whole_and_in_order(void **state)
{
    (void)state;
    wire_start();
    assert_int_equal(wire_call("list"), 1);
    assert_int_equal(wire_call("list"), 2);
    wire_run();
    assert_told(wire.server, "CALL 1; CALL 2; ");
    wire_reply(2);
    wire_error(1, VST_ERR_NOT_FOUND);
    vst_mux_send(wire.server.mux, VST_FRAME_EVENT, 0, "{}", 2);
    wire_run();
    assert_told(wire.client, "REPLY 2; ERROR 1; EVENT 0; ");
}

static void what_waits_to_be_sent_is_held_and_stays_in_what_was_held_most(void **state)
{
    size_t held;

    (void)state;
    wire_start();
    wire_call("list");
    held = wire_stats(&wire.client).held;
    assert_true(held > 0);
    assert_int_equal(wire_stats(&wire.client).most_held, held);
    wire_run();
    assert_int_equal(wire_stats(&wire.client).held, 0);
    assert_int_equal(wire_stats(&wire.client).most_held, held);
    wire_reply(1);
    wire_run();
    assert_true(wire_stats(&wire.server).most_held > 0);
}

static void largest_message_arrives_and_a_longer_one_is_refused(void **state)
{
    char *body = malloc(VST_FRAME_CONTROL_MAX + 1);

    (void)state;
    memset(body, ' ', VST_FRAME_CONTROL_MAX + 1);
    wire_start();
    assert_int_equal(vst_mux_next_id(wire.client.mux), 1);
    assert_int_equal(
        vst_mux_send(wire.client.mux, VST_FRAME_CALL, 1, body, VST_FRAME_CONTROL_MAX + 1), -1);
    assert_int_equal(vst_mux_send(wire.client.mux, VST_FRAME_CALL, 1, body, VST_FRAME_CONTROL_MAX),
                     0);
    wire_run();
    assert_told(wire.server, "CALL 1; ");
    free(body);
}

static void download_arrives_and_is_taken(void **state)
{
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("down");
    wire_run();
    wire_feed(at_server(id), hello, 5);
    wire_drain(at_client(id));
    wire_run();
    assert_flowed(&at_client(id)->in);
    assert_got(at_client(id), hello);
    assert_false(at_server(id)->out.done);
    vst_mux_taken(wire.client.mux, id);
    wire_run();
    assert_flowed(&at_server(id)->out);
}

static void upload_counts_as_taken_with_its_reply(void **state)
{
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("up");
    wire_feed(at_client(id), hello, 5);
    wire_run();
    wire_drain(at_server(id));
    wire_run();
    assert_got(at_server(id), hello);
    assert_false(at_client(id)->out.done);
    wire_reply(id);
    wire_run();
    assert_told(wire.client, "REPLY 1; ");
    wire_answered(id, NULL);
    wire_run();
    assert_flowed(&at_client(id)->out);
}

static void both_directions_carry_much(void **state)
{
    enum { MUCH = 5 * 1000 * 1000 };
    unsigned char *bytes = malloc(MUCH);
    uint32_t id;

    (void)state;
    vst_test_fill(bytes, MUCH, 1);
    wire_start();
    id = wire_call("up down");
    wire_feed(at_client(id), bytes, MUCH);
    wire_drain(at_client(id));
    wire_run();
    wire_feed(at_server(id), bytes, MUCH);
    wire_drain(at_server(id));
    wire_run();
    assert_int_equal(evbuffer_get_length(wire_got(at_client(id))), MUCH);
    assert_memory_equal(evbuffer_pullup(wire_got(at_client(id)), -1), bytes, MUCH);
    assert_memory_equal(evbuffer_pullup(wire_got(at_server(id)), -1), bytes, MUCH);
    assert_true(at_client(id)->in.done && at_server(id)->in.done);
    assert_int_equal(wire_stats(&wire.client).sent, MUCH);
    assert_int_equal(wire_stats(&wire.client).received, MUCH);
    free(bytes);
}

static void streams_are_forgotten_once_answered_and_let_go(void **state)
{
    (void)state;
    wire_start();
    for (int i = 0; i < 3; i++) {
        uint32_t id = wire_call("up down");

        wire_run();
        wire_feed(at_client(id), hello, 5);
        wire_feed(at_server(id), hello, 5);
        wire_drain(at_client(id));
        wire_drain(at_server(id));
        wire_run();
        vst_mux_taken(wire.client.mux, id);
        wire_run();
        assert_int_equal(wire_stats(&wire.server).streams, 1);
        wire_reply(id);
        wire_let_go(at_server(id));
        wire_run();
        wire_answered(id, NULL);
        wire_run();
        assert_flowed(&at_client(id)->out);
        wire_let_go(at_client(id));
        wire_run();
        assert_int_equal(wire_stats(&wire.server).streams, 0);
        assert_int_equal(wire_stats(&wire.client).streams, 0);
        assert_int_equal(wire_stats(&wire.client).held, 0);
        assert_int_equal(wire_stats(&wire.server).held, 0);
    }
    assert_alive(&wire.client);
    assert_alive(&wire.server);
}

/* ---- stopping ---- */

static void reader_that_goes_away_stops_the_writer(void **state)
{
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("down");
    wire_run();
    wire_feed(at_server(id), hello, 5);
    wire_run();
    vst_channel_free(&at_client(id)->source);
    wire_run();
    assert_told(wire.server, "CALL 1; stopped 1; ");
    assert_true(at_server(id)->out.done);
    assert_int_equal(at_server(id)->out.err.code, VST_ERR_CANCELLED);
    wire_error(id, VST_ERR_CANCELLED);
    wire_let_go(at_server(id));
    wire_run();
    wire_answered(id, NULL);
    assert_int_equal(wire_stats(&wire.server).streams, 0);
    assert_int_equal(wire_stats(&wire.client).streams, 0);
}

static void writer_that_fails_fails_the_reader_with_its_error(void **state)
{
    struct vst_error why = {.code = VST_ERR_SYSTEM, .system = 28, .text = "the disk is full"};
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("down");
    wire_run();
    wire_drain(at_client(id));
    wire_run();
    vst_channel_abort(at_server(id)->sink, &why);
    wire_run();
    assert_true(at_client(id)->in.done);
    assert_int_equal(at_client(id)->in.err.code, VST_ERR_SYSTEM);
    assert_int_equal(at_client(id)->in.err.system, 28);
    assert_string_equal(at_client(id)->in.err.text, "the disk is full");
}

static void answer_ends_an_upload_that_was_not_over(void **state)
{
    struct vst_error why = {.code = VST_ERR_ACCESS, .text = "not for you"};
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("up");
    wire_run();
    wire_error(id, VST_ERR_ACCESS);
    wire_let_go(at_server(id));
    wire_run();
    assert_int_equal(wire_stats(&wire.server).streams, 1);
    wire_answered(id, &why);
    wire_feed(at_client(id), hello, 5);
    wire_run();
    assert_int_equal(at_client(id)->out.err.code, VST_ERR_ACCESS);
    assert_told(wire.server, "CALL 1; stopped 1; ");
    assert_int_equal(wire_stats(&wire.server).streams, 0);
}

static void data_for_a_call_that_was_refused_is_dropped(void **state)
{
    uint32_t id;

    (void)state;
    wire.server.opens = false;
    wire_start();
    id = wire_call("up");
    wire_feed(at_client(id), hello, 5);
    wire_run();
    assert_alive(&wire.server);
    assert_int_equal(wire_stats(&wire.server).dropped, 5);
}

static void call_without_a_stream_can_be_stopped(void **state)
{
    (void)state;
    wire_start();
    assert_int_equal(wire_call("list"), 1);
    vst_mux_send(wire.client.mux, VST_FRAME_STOP, 1, "{\"code\":\"timeout\",\"text\":\"\"}", 28);
    wire_run();
    assert_told(wire.server, "CALL 1; stopped 1; ");
    assert_int_equal(at_server(1)->why, VST_ERR_TIMEOUT);
}

static void no_more_streams_than_allowed_are_opened(void **state)
{
    (void)state;
    wire.server.opt.streams = 2;
    wire_start();
    for (int i = 0; i < 3; i++)
        wire_call("up");
    wire_run();
    assert_int_equal(wire_stats(&wire.server).streams, 2);
    assert_int_equal(wire.server.refused.code, VST_ERR_BUSY);
    assert_alive(&wire.server);
}

/* ---- holes ---- */

/* As a file system says it that has files of 16 TiB. */
static off_t lseek_to_a_bound(int fd, off_t offset, int whence)
{
    if (whence == SEEK_SET && offset > (off_t)1 << 44) {
        errno = EINVAL;
        return -1;
    }
    return lseek(fd, offset, whence);
}

/* A call whose data goes into a file on such a disk. */
static char *open_upload(struct vst_worker *worker)
{
    static struct vst_file_calls calls;
    static char path[32];

    snprintf(path, sizeof(path), "/tmp/vst-hole-XXXXXX");
    close(mkstemp(path));
    calls = vst_file_calls_real;
    calls.lseek = lseek_to_a_bound;
    vst_worker_set_file_calls(worker, &calls);
    wire.server.opens = true;
    wire_start_raw(&wire.server);
    raw_text(&wire.server, VST_FRAME_CALL, 1, "{\"is\":\"up sparse\"}");
    return path;
}

static const struct vst_error *await_upload(const char *path)
{
    wire_pass();
    wire_drain_into(at_server(1), vst_channel_new_file(wire.base, path, 0, NULL));
    while (!at_server(1)->in.done)
        event_base_loop(wire.base, EVLOOP_ONCE);
    return &at_server(1)->in.err;
}

static void hole_that_no_file_can_have_is_refused(void **state)
{
    struct vst_worker *worker = vst_worker_get(wire.base, NULL);
    char *path = open_upload(worker);

    (void)state;
    raw_number(&wire.server, VST_FRAME_HOLE, 1, (uint64_t)1 << 30);
    raw_number(&wire.server, VST_FRAME_HOLE, 1, (uint64_t)1 << 62);
    raw_number(&wire.server, VST_FRAME_END, 1, ((uint64_t)1 << 62) + (1 << 30));
    assert_non_null(strstr(await_upload(path)->text, "a hole: File too large"));
    vst_worker_put(&worker);
    unlink(path);
}

/* A byte, a hole that would take years to pass as zeros, a byte. */
static struct vst_channel *vast_file(uint64_t hole)
{
    int fd = memfd_create("vast", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "a", 1, 0), 1);
    assert_int_equal(pwrite(fd, "z", 1, (off_t)hole), 1);
    return vst_channel_file(wire.base, &fd, NULL);
}

static void pass(struct wire_call *from, struct wire_call *to, uint64_t hole)
{
    wire_feed_from(from, vast_file(hole));
    wire_drain_into(to, vst_channel_null(wire.base, NULL));
    while (!to->in.done)
        event_base_loop(wire.base, EVLOOP_ONCE);
    assert_int_equal(to->in.err.code, VST_ERR_OK);
}

static void hole_of_a_file_is_one_frame_either_way(void **state)
{
    const uint64_t hole = (uint64_t)1 << 62;
    struct vst_pump_stats stats;
    uint32_t id;

    (void)state;
    wire.server.opens = true;
    wire_start();
    id = wire_call("up down sparse");
    wire_run();
    pass(at_client(id), at_server(id), hole);
    vst_pump_get_stats(at_server(id)->in.pump, &stats);
    assert_int_equal(stats.delivered, hole + 1);
    pass(at_server(id), at_client(id), hole);
    vst_pump_get_stats(at_client(id)->in.pump, &stats);
    assert_int_equal(stats.delivered, hole + 1);
    /* Data, HOLE, data, END and TAKEN each way; PING, CREDIT and the call. */
    assert_in_range(wire_stats(&wire.server).frames_in, 5, 24);
    assert_in_range(wire_stats(&wire.client).frames_in, 5, 24);
}

static void hole_of_a_file_is_bytes_in_a_stream_that_is_not_sparse(void **state)
{
    const uint64_t hole = 3 << 20;
    uint32_t id;

    (void)state;
    wire.server.opens = true;
    wire_start();
    id = wire_call("up");
    wire_run();
    pass(at_client(id), at_server(id), hole);
    assert_int_equal(wire_stats(&wire.server).received, hole + 1);
}

static void stream_is_not_longer_than_its_length_can_say(void **state)
{
    struct vst_channel *sink;
    uint32_t id;
    uint64_t n;

    (void)state;
    wire.server.opens = true;
    wire_start();
    id = wire_call("up sparse");
    wire_run();
    sink = at_client(id)->sink;
    assert_int_equal(vst_channel_write_hole(sink, INT64_MAX, &n), VST_IO_OK);
    assert_int_equal(vst_channel_write_hole(sink, 1, &n), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(sink)->code, VST_ERR_INVALID);
    wire_run();
    assert_alive(&wire.server);
}

static void hole_that_a_file_can_have_comes_where_it_belongs(void **state)
{
    const uint64_t hole = (uint64_t)3 << 30;
    struct vst_worker *worker = vst_worker_get(wire.base, NULL);
    char *path = open_upload(worker), byte = 0;
    struct stat st;
    int fd;

    (void)state;
    raw_frame(&wire.server, VST_FRAME_DATA, 1, "a", 1);
    raw_number(&wire.server, VST_FRAME_HOLE, 1, hole);
    raw_frame(&wire.server, VST_FRAME_DATA, 1, "z", 1);
    raw_number(&wire.server, VST_FRAME_END, 1, hole + 2);
    assert_int_equal(await_upload(path)->code, VST_ERR_OK);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, hole + 2);
    assert_int_equal(pread(fd, &byte, 1, (off_t)hole + 1), 1);
    assert_int_equal(byte, 'z');
    close(fd);
    vst_worker_put(&worker);
    unlink(path);
}

/* ---- the end of the connection ---- */

static void finish_ends_both_sides_well(void **state)
{
    (void)state;
    wire_start();
    wire_call("list");
    wire_run();
    wire_reply(1);
    wire_run();
    vst_mux_finish(wire.client.mux);
    wire_run();
    assert_told(wire.server, "CALL 1; GOAWAY 0; ");
    assert_closed(&wire.server, VST_ERR_OK);
    vst_mux_free(&wire.server.mux);
    wire_run();
    assert_closed(&wire.client, VST_ERR_OK);
}

static void lost_connection_fails_every_end_once(void **state)
{
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("up down");
    wire_run();
    wire_drain(at_client(id));
    wire_drain(at_server(id));
    wire_run();
    vst_mux_free(&wire.server.mux);
    wire_run();
    assert_closed(&wire.client, VST_ERR_LOST);
    assert_int_equal(at_client(id)->in.err.code, VST_ERR_LOST);
    assert_int_equal(at_server(id)->in.err.code, VST_ERR_LOST);
    assert_int_equal(vst_mux_send(wire.client.mux, VST_FRAME_CALL, 9, "{}", 2), -1);
    assert_int_equal(vst_mux_next_id(wire.client.mux), 0);
}

static void ends_outlive_their_connection(void **state)
{
    char text[8];
    uint32_t id;

    (void)state;
    wire_start();
    id = wire_call("up down");
    wire_run();
    vst_mux_free(&wire.client.mux);
    assert_int_equal(vst_test_read_text(at_client(id)->source, text, sizeof(text)), VST_IO_FAIL);
    assert_int_equal(vst_test_send(at_client(id)->sink, "x", 1), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(at_client(id)->sink)->code, VST_ERR_LOST);
    wire_run();
}

static void user_may_free_the_mux_in_each_callback(void **state)
{
    (void)state;
    wire.server.free_in_message = true;
    wire.client.free_when_closed = true;
    wire_start();
    wire_call("up down");
    wire_call("list");
    wire_run();
    assert_told(wire.server, "CALL 1; ");
    assert_null(wire.server.mux);
    assert_true(wire.client.closed);
    assert_null(wire.client.mux);
}

static int64_t pong_us;

static void pong(void *opaque, int64_t us)
{
    (void)opaque;
    pong_us = us;
}

static void ping_measures_and_fails_with_the_connection(void **state)
{
    (void)state;
    wire_start();
    pong_us = -2;
    assert_int_equal(vst_mux_ping(wire.client.mux, pong, NULL, NULL), 0);
    wire_run();
    assert_true(pong_us >= 0);
    assert_true(wire_stats(&wire.client).round_trip_us > 0);
    vst_mux_ping(wire.client.mux, pong, NULL, NULL);
    vst_mux_free(&wire.server.mux);
    wire_run();
    assert_int_equal(pong_us, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(messages_arrive_whole_and_in_order, wire_make, wire_drop),
        VST_TEST_WITH(what_waits_to_be_sent_is_held_and_stays_in_what_was_held_most, wire_make,
                      wire_drop),
        VST_TEST_WITH(largest_message_arrives_and_a_longer_one_is_refused, wire_make, wire_drop),
        VST_TEST_WITH(download_arrives_and_is_taken, wire_make, wire_drop),
        VST_TEST_WITH(upload_counts_as_taken_with_its_reply, wire_make, wire_drop),
        VST_TEST_WITH(both_directions_carry_much, wire_make, wire_drop),
        VST_TEST_WITH(streams_are_forgotten_once_answered_and_let_go, wire_make, wire_drop),
        VST_TEST_WITH(reader_that_goes_away_stops_the_writer, wire_make, wire_drop),
        VST_TEST_WITH(writer_that_fails_fails_the_reader_with_its_error, wire_make, wire_drop),
        VST_TEST_WITH(answer_ends_an_upload_that_was_not_over, wire_make, wire_drop),
        VST_TEST_WITH(data_for_a_call_that_was_refused_is_dropped, wire_make, wire_drop),
        VST_TEST_WITH(call_without_a_stream_can_be_stopped, wire_make, wire_drop),
        VST_TEST_WITH(no_more_streams_than_allowed_are_opened, wire_make, wire_drop),
        VST_TEST_WITH(hole_of_a_file_is_one_frame_either_way, wire_make, wire_drop),
        VST_TEST_WITH(hole_of_a_file_is_bytes_in_a_stream_that_is_not_sparse, wire_make, wire_drop),
        VST_TEST_WITH(stream_is_not_longer_than_its_length_can_say, wire_make, wire_drop),
        VST_TEST_WITH(hole_that_a_file_can_have_comes_where_it_belongs, wire_make, wire_drop),
        VST_TEST_WITH(hole_that_no_file_can_have_is_refused, wire_make, wire_drop),
        VST_TEST_WITH(finish_ends_both_sides_well, wire_make, wire_drop),
        VST_TEST_WITH(lost_connection_fails_every_end_once, wire_make, wire_drop),
        VST_TEST_WITH(ends_outlive_their_connection, wire_make, wire_drop),
        VST_TEST_WITH(user_may_free_the_mux_in_each_callback, wire_make, wire_drop),
        VST_TEST_WITH(ping_measures_and_fails_with_the_connection, wire_make, wire_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

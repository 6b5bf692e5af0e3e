/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One session of every kind of call, over a transport that the test carries by hand: in pieces of
 * every size, cut at every byte, and with every byte altered, in both directions. Only the session
 * that arrived as it was sent is a success; whatever else happens, each stream, each call and each
 * connection ends, and with an error.
 */
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "memory.h"
#include "wire.h"

enum { LENGTH = 700, HOLE = 9000, LAST = 4, IDLE = 4, ROUNDS_MAX = 20000 };

/* What happens to the bytes. */
struct road {
    struct vst_channel *client; /* the far ends of the two transports */
    struct vst_channel *server;
    size_t piece;    /* the most that is carried at once */
    int altered_dir; /* 0: nothing is; 1: to the server, 2: to the client */
    size_t offset;
    unsigned char flip; /* 0: the road ends there */
    bool ends_badly;    /* it breaks instead */
    size_t carried[3];
    bool ended[3];
    bool broken;
};

static struct road road;
static unsigned char *bytes;
static bool replied[LAST + 1], answered[LAST + 1], fed[LAST + 1], drained[LAST + 1];
static bool went_well[LAST + 1];

/* The other ends of the streams, made while there is memory: by side and call. */
static struct vst_channel *feeds[2][LAST + 1], *drains[2][LAST + 1];

static const char *const kinds[LAST + 1] = {NULL, "list", "up", "down", "up down sparse"};

static bool goes_up(int id)
{
    return strstr(kinds[id], "up");
}

static bool goes_down(int id)
{
    return strstr(kinds[id], "down");
}

/* ---- the road ---- */

static void end_road(void)
{
    road.broken = true;
    if (!road.ends_badly) {
        vst_channel_finish(road.client);
        vst_channel_finish(road.server);
        wire_pass();
    }
    vst_channel_free(&road.client);
    vst_channel_free(&road.server);
}

/* False when there was nothing to carry. */
static bool carry(struct vst_channel **from, struct vst_channel **to, int dir)
{
    struct evbuffer *load;
    size_t n = 0, end = road.carried[dir] + road.piece;
    enum vst_io io;

    if (road.broken || road.ended[dir])
        return false;
    if (dir == road.altered_dir && !road.flip && end > road.offset)
        end = road.offset;
    if (end == road.carried[dir]) {
        end_road();
        return true;
    }
    load = evbuffer_new();
    if (!load) {
        end_road();
        return true;
    }
    io = vst_channel_read(*from, load, end - road.carried[dir], &n);
    if (io == VST_IO_OK) {
        if (dir == road.altered_dir && road.offset - road.carried[dir] < n)
            evbuffer_pullup(load, -1)[road.offset - road.carried[dir]] ^= road.flip;
        road.carried[dir] += n;
        if (vst_channel_write(*to, load, n, &n) == VST_IO_FAIL)
            end_road();
    } else if (io == VST_IO_EOF) {
        road.ended[dir] = true;
        vst_channel_finish(*to);
    } else if (io == VST_IO_FAIL) {
        end_road();
    }
    evbuffer_free(load);
    return io != VST_IO_AGAIN;
}

/* ---- the two applications ---- */

static bool has_come(struct wire_call *call)
{
    static unsigned char got[LENGTH + HOLE + 1];
    ev_ssize_t length = evbuffer_copyout(wire_got(call), got, sizeof(got));

    return call->in.done && !vst_error_is_set(&call->in.err) && length >= LENGTH &&
           memcmp(got, bytes, (size_t)length) == 0;
}

static void make_others(void)
{
    for (int side = 0; side < 2; side++)
        for (int id = 1; id <= LAST; id++) {
            feeds[side][id] = script_new(wire.base);
            drains[side][id] = script_new(wire.base);
            script_give(feeds[side][id], bytes, id == LAST ? LENGTH + HOLE : LENGTH);
            script_read(feeds[side][id], VST_IO_EOF);
        }
}

static void free_others(void)
{
    for (int side = 0; side < 2; side++)
        for (int id = 1; id <= LAST; id++) {
            vst_channel_free(&feeds[side][id]);
            vst_channel_free(&drains[side][id]);
        }
}

static struct vst_channel *take(struct vst_channel **slot)
{
    struct vst_channel *ch = *slot;

    *slot = NULL;
    return ch;
}

static void serve(int id)
{
    struct wire_call *call = &wire.server.calls[id];

    if ((int)wire.server.last < id || replied[id] || wire.server.closed)
        return;
    if (call->source && !drained[id]) {
        wire_drain_into(call, take(&drains[1][id]));
        drained[id] = true;
    }
    if (call->sink && !fed[id]) {
        wire_feed_from(call, take(&feeds[1][id]));
        fed[id] = true;
    }
    if ((goes_up(id) && !call->in.done) || (goes_down(id) && !call->out.done))
        return;
    replied[id] = true;
    went_well[id] =
        (!goes_up(id) || has_come(call)) && (!goes_down(id) || !vst_error_is_set(&call->out.err));
    if (went_well[id])
        wire_reply((uint32_t)id);
    else
        wire_error((uint32_t)id, VST_ERR_LOST);
}

static void use(int id)
{
    struct wire_call *call = &wire.client.calls[id];
    const char told[] = {'R', 'E', 'P', 'L', 'Y', ' ', (char)('0' + id), ';', '\0'};

    if (answered[id] || wire.client.closed)
        return;
    if (goes_down(id) && call->in.done && !vst_error_is_set(&call->in.err)) {
        /* What came without an error is what was sent. */
        assert_true(has_come(call));
        vst_mux_taken(wire.client.mux, (uint32_t)id);
    }
    if (!strstr(wire.client.told, told))
        return;
    answered[id] = true;
    wire_answered((uint32_t)id, NULL);
}

static bool all_answered(void)
{
    for (int id = 1; id <= LAST; id++)
        if (!answered[id])
            return false;
    return true;
}

/* False when there was no memory for that. */
static bool begin(int fail_after)
{
    struct vst_channel *client[2], *server[2];

    memset(replied, 0, sizeof(replied));
    memset(answered, 0, sizeof(answered));
    memset(fed, 0, sizeof(fed));
    memset(drained, 0, sizeof(drained));
    memset(went_well, 0, sizeof(went_well));
    wire_again();
    make_others();
    wire.client.opt.sums = wire.server.opt.sums = true;
    vst_channel_pair(wire.base, 1 << 20, client, NULL);
    vst_channel_pair(wire.base, 1 << 20, server, NULL);
    road.client = client[1];
    road.server = server[1];
    if (fail_after >= 0)
        memory_fail_once((unsigned)fail_after);
    if (!wire_start_on(client[0], server[0]))
        return false;
    for (int id = 1; id <= LAST; id++) {
        if (!wire_call(kinds[id]))
            return false;
        if (goes_up(id))
            wire_feed_from(&wire.client.calls[id], take(&feeds[0][id]));
        if (goes_down(id))
            wire_drain_into(&wire.client.calls[id], take(&drains[0][id]));
    }
    return true;
}

/* True when the whole session, its end included, went well at the client. */
static bool session(int fail_after)
{
    bool finished = false;
    int rounds = 0, idle = 0;

    if (!begin(fail_after))
        return false;
    while (idle < IDLE) {
        wire_pass();
        for (int id = 1; id <= LAST; id++) {
            serve(id);
            use(id);
        }
        wire_pass();
        if (!finished && all_answered()) {
            vst_mux_finish(wire.client.mux);
            finished = true;
        }
        idle++;
        if (carry(&road.client, &road.server, 1))
            idle = 0;
        if (carry(&road.server, &road.client, 2))
            idle = 0;
        assert_true(++rounds < ROUNDS_MAX);
    }
    return finished && wire.client.closed && wire.client.err.code == VST_ERR_OK;
}

/* An altered length may leave one side waiting for bytes that the other does not send: that is for
 * the keepalive. Here the road ends. */
static void end_session(void)
{
    if (!road.broken && !(wire.client.closed && wire.server.closed))
        end_road();
    for (int i = 0; i < IDLE; i++)
        wire_pass();
    assert_true(!wire.client.mux || wire.client.closed);
    assert_true(!wire.server.mux || wire.server.closed);
    for (int id = 1; id <= LAST; id++) {
        assert_true(!wire.client.calls[id].in.pump || wire.client.calls[id].in.done);
        assert_true(!wire.client.calls[id].out.pump || wire.client.calls[id].out.done);
    }
    vst_channel_free(&road.client);
    vst_channel_free(&road.server);
    free_others();
}

static void record(size_t ret_lengths[3])
{
    road = (struct road){.piece = 1 << 20};
    assert_true(session(-1));
    memcpy(ret_lengths, road.carried, sizeof(road.carried));
    end_session();
    assert_int_equal(wire.server.err.code, VST_ERR_OK);
}

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

static int make(void **state)
{
    event_set_log_callback(discard); /* libevent tells of every failure */
    bytes = malloc(LENGTH + HOLE);
    vst_test_fill(bytes, LENGTH, 3);
    memset(bytes + LENGTH, 0, HOLE);
    bytes[LENGTH + HOLE - 1] = 1;
    return wire_make(state);
}

static int drop(void **state)
{
    free(bytes);
    return wire_drop(state);
}

/* ---- tests ---- */

static void every_chunking_is_the_same_session(void **state)
{
    size_t lengths[3], most;

    (void)state;
    vst_test_seconds(300);
    record(lengths);
    most = lengths[1] > lengths[2] ? lengths[1] : lengths[2];
    for (size_t piece = 1; piece <= most; piece += piece < 100 || vst_test_long() ? 1 : 37) {
        road = (struct road){.piece = piece};
        if (!session(-1))
            fail_msg("in pieces of %zu bytes: %s", piece, wire.client.err.text);
        end_session();
    }
}

static void no_cut_is_a_success(void **state)
{
    size_t lengths[3];

    (void)state;
    vst_test_seconds(300);
    record(lengths);
    for (int dir = 1; dir <= 2; dir++)
        for (size_t offset = 0; offset < lengths[dir]; offset++)
            for (int badly = 0; badly <= 1; badly++) {
                if (badly != (int)(offset & 1) && !vst_test_long())
                    continue;
                road = (struct road){
                    .piece = 1 << 20, .altered_dir = dir, .offset = offset, .ends_badly = badly};
                if (session(-1))
                    fail_msg("cut in direction %d at %zu: success", dir, offset);
                end_session();
                if (dir == 1 && wire.server.err.code == VST_ERR_OK)
                    fail_msg("cut at %zu: the server saw a good end", offset);
                /* What a pair says when it is broken is its own. */
                assert_true(wire.client.err.code == VST_ERR_LOST ||
                            wire.client.err.code == VST_ERR_OK ||
                            (badly && wire.client.err.code == VST_ERR_TRUNCATED));
            }
    print_message("# %zu + %zu bytes\n", lengths[1], lengths[2]);
}

static void no_altered_byte_is_a_success(void **state)
{
    size_t lengths[3];

    (void)state;
    vst_test_seconds(300);
    record(lengths);
    for (int dir = 1; dir <= 2; dir++)
        for (size_t offset = 0; offset < lengths[dir]; offset++)
            for (int bit = 0; bit < 8; bit++) {
                if (bit != (int)(offset & 7) && !vst_test_long())
                    continue;
                road = (struct road){.piece = 1 << 20,
                                     .altered_dir = dir,
                                     .offset = offset,
                                     .flip = (unsigned char)(1 << bit)};
                if (session(-1))
                    fail_msg("bit %d of byte %zu in direction %d: success", bit, offset, dir);
                assert_true(wire.client.closed || wire.server.closed);
                assert_true(wire.client.err.code == VST_ERR_PROTOCOL ||
                            wire.server.err.code == VST_ERR_PROTOCOL);
                end_session();
            }
}

static void each_allocation_may_fail_once(void **state)
{
    int after = 0;
    bool failed = true;

    (void)state;
    vst_test_seconds(300);
    for (; failed; after++) {
        bool success;

        assert_true(after < 100000);
        road = (struct road){.piece = 1 << 20};
        success = session((int)after);
        failed = memory_stop_failing();
        if (!failed)
            assert_true(success);
        end_session();
    }
    print_message("# %d allocations\n", after);
    if (memory_can_fail())
        assert_true(after > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(every_chunking_is_the_same_session, make, drop),
        VST_TEST_WITH(no_cut_is_a_success, make, drop),
        VST_TEST_WITH(no_altered_byte_is_a_success, make, drop),
        VST_TEST_WITH(each_allocation_may_fail_once, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

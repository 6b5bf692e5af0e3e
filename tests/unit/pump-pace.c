/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When pumps move: back-pressure, pauses, the bounds of a turn, fairness, and opening.
 */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "pumping.h"

enum { TURN = 256 * 1024, CALL = 4096 };

/* ---- back-pressure ---- */

static void sink_full_pauses_source(void **state)
{
    char many[100];

    (void)state;
    memset(many, 'x', sizeof(many));
    script_give(pumping.source, many, sizeof(many));
    script_stop_writes(pumping.sink, true);
    pumping_join();
    pumping_settle();
    assert_int_equal(pumping_stats().taken, PUMPING_LIMIT);
    assert_int_equal(pumping_stats().held, PUMPING_LIMIT);
    script_stop_writes(pumping.sink, false);
    pumping_settle();
    assert_int_equal(pumping_stats().delivered, sizeof(many));
    assert_int_equal(pumping_stats().most_held, PUMPING_LIMIT);
}

static void reading_begins_again_when_half_is_empty(void **state)
{
    char many[100];

    (void)state;
    memset(many, 'x', sizeof(many));
    script_give(pumping.source, many, sizeof(many));
    script_stop_writes(pumping.sink, true);
    pumping_join();
    pumping_settle();
    script_take(pumping.sink, 3);
    pumping_settle();
    assert_int_equal(pumping_stats().held, PUMPING_LIMIT - 3);
    assert_int_equal(pumping_stats().taken, PUMPING_LIMIT);
    script_take(pumping.sink, 1);
    pumping_settle();
    assert_int_equal(pumping_stats().taken, PUMPING_LIMIT + 4);
    assert_int_equal(pumping_stats().held, PUMPING_LIMIT);
}

static void limit_of_one_byte_moves_everything(void **state)
{
    (void)state;
    vst_pump_free(&pumping.pump);
    pumping.pump = vst_pump_new(pumping.base, 1, pumping_done, &pumping, NULL);
    script_give_chunks(pumping.source, "hello, world", 12, 5);
    script_read(pumping.source, VST_IO_EOF);
    script_take(pumping.sink, 1);
    script_write(pumping.sink, VST_IO_AGAIN);
    pumping_join();
    pumping_settle();
    assert_sink_got("hello, world");
    assert_int_equal(pumping_stats().most_held, 1);
    assert_ended_well();
}

static void it_knows_what_it_waits_for(void **state)
{
    (void)state;
    assert_int_equal(pumping_stats().waits, VST_WAITS_SINK);
    pumping_join();
    pumping_settle();
    assert_int_equal(pumping_stats().waits, VST_WAITS_SOURCE);
    script_stop_writes(pumping.sink, true);
    script_give(pumping.source, "abc", 3);
    pumping_settle();
    assert_int_equal(pumping_stats().waits, VST_WAITS_SINK);
    script_stop_writes(pumping.sink, false);
    script_read(pumping.source, VST_IO_EOF);
    pumping_settle();
    assert_int_equal(pumping_stats().waits, VST_WAITS_NOTHING);
}

/* ---- turns ---- */

static void api_calls_move_nothing_and_call_nobody(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_TIMEOUT};

    (void)state;
    script_give(pumping.source, "abc", 3);
    script_read(pumping.source, VST_IO_EOF);
    pumping_join();
    vst_pump_cancel(pumping.pump, &why);
    assert_int_equal(pumping.done, 0);
    assert_int_equal(pumping_stats().taken, 0);
    assert_int_equal(pumping_seen()->aborted, 0);
}

static void a_turn_moves_a_bounded_number_of_bytes(void **state)
{
    size_t most = 4 * TURN;
    char *many = calloc(1, most);

    (void)state;
    script_give(pumping.source, many, most);
    vst_pump_free(&pumping.pump);
    pumping.pump = vst_pump_new(pumping.base, most, pumping_done, &pumping, NULL);
    pumping_join();
    for (uint64_t before = 0; pumping_stats().delivered < most; before = pumping_stats().taken) {
        pumping_pass();
        assert_in_range(pumping_stats().taken - before, 0, TURN);
    }
    free(many);
}

/* To cut it would be to copy it; so the last read may go beyond the bound. */
static void the_end_of_a_turn_cuts_no_block(void **state)
{
    char *block = calloc(1, TURN);

    (void)state;
    script_give(pumping.source, "abc", 3);
    script_give(pumping.source, block, TURN);
    script_give(pumping.source, block, TURN);
    vst_pump_free(&pumping.pump);
    pumping.pump = vst_pump_new(pumping.base, 4 * TURN, pumping_done, &pumping, NULL);
    pumping_join();
    while (!pumping_stats().taken)
        pumping_pass();
    assert_int_equal(pumping_stats().taken, 3 + TURN);
    free(block);
}

static void a_turn_makes_a_bounded_number_of_moves(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        script_give(pumping.source, "x", 1);
    pumping_join();
    for (uint64_t before = 0; pumping_stats().delivered < 1000; before = pumping_stats().taken) {
        pumping_pass();
        assert_in_range(pumping_stats().taken - before, 0, TURN / CALL);
    }
}

static void a_turn_makes_a_bounded_number_of_writes(void **state)
{
    char many[1000] = {0};

    (void)state;
    vst_pump_free(&pumping.pump);
    pumping.pump = vst_pump_new(pumping.base, sizeof(many), pumping_done, &pumping, NULL);
    script_give(pumping.source, many, sizeof(many));
    for (size_t i = 0; i < sizeof(many); i++)
        script_take(pumping.sink, 1);
    pumping_join();
    for (uint64_t before = 0; pumping_stats().delivered < sizeof(many);
         before = pumping_stats().delivered) {
        pumping_pass();
        assert_in_range(pumping_stats().delivered - before, 0, TURN / CALL);
    }
}

static void two_pumps_get_the_same_share(void **state)
{
    size_t most = 8 * TURN;
    char *many = calloc(1, most);
    struct vst_channel *source = script_new(pumping.base), *sink = script_new(pumping.base);
    struct vst_pump *other = vst_pump_new(pumping.base, TURN, pumping_done, &pumping, NULL);
    struct vst_pump_stats theirs;

    (void)state;
    script_give(pumping.source, many, most);
    script_give(source, many, most);
    vst_pump_set_source(other, source);
    vst_pump_set_sink(other, sink);
    vst_pump_free(&pumping.pump);
    pumping.pump = vst_pump_new(pumping.base, TURN, pumping_done, &pumping, NULL);
    pumping_join();
    for (int i = 0; i < 8; i++) {
        pumping_pass();
        vst_pump_get_stats(other, &theirs);
        assert_in_range(pumping_stats().taken + TURN - theirs.taken, 0, 2 * TURN);
    }
    vst_pump_free(&other);
    vst_channel_free(&source);
    vst_channel_free(&sink);
    free(many);
}

/* ---- opening ---- */

/* A layer whose handshake takes `again` rounds, and then may fail. */
struct opener {
    struct vst_channel ch;
    unsigned again;
    bool fails;
    unsigned opened;
    struct event retry;
};

static enum vst_io opener_open(struct vst_channel *ch)
{
    struct opener *opener = (struct opener *)ch;
    static const struct timeval soon = {0, 1000};

    if (opener->again) {
        opener->again--;
        event_add(&opener->retry, &soon);
        return VST_IO_AGAIN;
    }
    if (opener->fails) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_AUTH, "who are you?");
        return VST_IO_FAIL;
    }
    opener->opened++;
    return VST_IO_OK;
}

static enum vst_io opener_read(struct vst_channel *ch, struct evbuffer *into, size_t max, size_t *n)
{
    assert_int_not_equal(((struct opener *)ch)->opened, 0);
    return vst_channel_read(ch->lower, into, max, n);
}

static enum vst_io opener_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                                size_t *n)
{
    assert_int_not_equal(((struct opener *)ch)->opened, 0);
    return vst_channel_write(ch->lower, from, max, n);
}

static void opener_destroy(struct vst_channel *ch)
{
    event_del(&((struct opener *)ch)->retry);
    free(ch);
}

static const struct vst_channel_ops opener_ops = {
    .name = "opener",
    .read = opener_read,
    .write = opener_write,
    .destroy = opener_destroy,
    .open = opener_open,
};

static void retry(evutil_socket_t fd, short what, void *opaque)
{
    struct opener *opener = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&opener->ch, VST_READ | VST_WRITE);
}

static struct opener *put_opener(struct vst_channel **ch, unsigned again, bool fails)
{
    struct opener *opener = calloc(1, sizeof(*opener));

    vst_channel_init(&opener->ch, &opener_ops, pumping.base, *ch);
    opener->again = again;
    opener->fails = fails;
    event_assign(&opener->retry, pumping.base, -1, 0, retry, opener);
    *ch = &opener->ch;
    return opener;
}

static void nothing_moves_before_both_are_open(void **state)
{
    struct vst_channel *sink = pumping.sink;

    (void)state;
    put_opener(&pumping.source, 3, false);
    put_opener(&pumping.sink, 5, false);
    script_give(pumping.source->lower, "abc", 3);
    script_read(pumping.source->lower, VST_IO_EOF);
    pumping_join();
    pumping_settle();
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping.err.code, VST_ERR_OK);
    assert_int_equal(evbuffer_get_length(script_seen(sink)->written), 3);
}

static void the_end_that_is_there_is_opened_without_the_other(void **state)
{
    struct opener *opener = put_opener(&pumping.source, 2, false);

    (void)state;
    vst_pump_set_source(pumping.pump, pumping.source);
    pumping_settle();
    assert_int_not_equal(opener->opened, 0);
    assert_int_equal(pumping.done, 0);
    assert_int_equal(pumping_stats().taken, 0);
}

static void failed_open_of_the_source_aborts_the_sink(void **state)
{
    (void)state;
    put_opener(&pumping.source, 1, true);
    pumping_join();
    pumping_settle();
    assert_ended_badly(VST_ERR_AUTH);
}

static void failed_open_of_a_lone_source_is_told(void **state)
{
    (void)state;
    put_opener(&pumping.source, 1, true);
    vst_pump_set_source(pumping.pump, pumping.source);
    pumping_settle();
    assert_int_equal(pumping.done, 1);
    assert_int_equal(pumping.err.code, VST_ERR_AUTH);
}

int main(void)
{
#define PUMP_TEST(function) VST_TEST_WITH(function, pumping_make, pumping_drop)
    const struct CMUnitTest tests[] = {
        PUMP_TEST(sink_full_pauses_source),
        PUMP_TEST(reading_begins_again_when_half_is_empty),
        PUMP_TEST(limit_of_one_byte_moves_everything),
        PUMP_TEST(it_knows_what_it_waits_for),
        PUMP_TEST(api_calls_move_nothing_and_call_nobody),
        PUMP_TEST(a_turn_moves_a_bounded_number_of_bytes),
        PUMP_TEST(the_end_of_a_turn_cuts_no_block),
        PUMP_TEST(a_turn_makes_a_bounded_number_of_moves),
        PUMP_TEST(a_turn_makes_a_bounded_number_of_writes),
        PUMP_TEST(two_pumps_get_the_same_share),
        PUMP_TEST(nothing_moves_before_both_are_open),
        PUMP_TEST(the_end_that_is_there_is_opened_without_the_other),
        PUMP_TEST(failed_open_of_the_source_aborts_the_sink),
        PUMP_TEST(failed_open_of_a_lone_source_is_told),
    };
#undef PUMP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

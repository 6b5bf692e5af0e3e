/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns: in order, once, and with the descriptors polled in between.
 */
#include "core/turn.h"

#include <stdlib.h>
#include <unistd.h>

#include "test.h"

enum { MANY = 500 };

static struct event_base *base;
static struct vst_turn turns[MANY];
static int order[2 * MANY];
static int ran;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    ran = 0;
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

static void note(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    order[ran++] = (int)((struct vst_turn *)opaque - turns);
}

/* Each but the first schedules the one before it. */
static void note_and_go_on(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_turn *turn = opaque;

    note(fd, what, opaque);
    if (turn > turns && ran < 2 * MANY)
        vst_turn_schedule(turn - 1);
}

static void init(event_callback_fn fn)
{
    for (int i = 0; i < MANY; i++)
        vst_turn_init(&turns[i], base, fn, &turns[i]);
}

/* Any permutation will do. */
static int place(int i)
{
    return i * 7 % MANY;
}

static void turns_run_in_the_order_they_were_scheduled(void **state)
{
    (void)state;
    init(note);
    for (int i = 0; i < MANY; i++)
        vst_turn_schedule(&turns[place(i)]);
    assert_int_equal(ran, 0);
    event_base_dispatch(base);
    assert_int_equal(ran, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(order[i], place(i));
}

static void turns_scheduled_by_turns_run_in_order_too(void **state)
{
    (void)state;
    init(note_and_go_on);
    for (int i = 0; i < MANY; i += 2)
        vst_turn_schedule(&turns[place(i)]);
    event_base_loop(base, EVLOOP_ONCE);
    event_base_loop(base, EVLOOP_ONCE);
    /* The second round is the first, each one less; those that were pending still are once. */
    for (int i = 0, next = MANY / 2; i < MANY / 2; i++) {
        if (order[i] == 0)
            continue;
        assert_int_equal(order[next++], order[i] - 1);
    }
    for (int i = 0; i < MANY; i++)
        vst_turn_cancel(&turns[i]);
}

static void turn_scheduled_twice_runs_once(void **state)
{
    (void)state;
    init(note);
    vst_turn_schedule(&turns[0]);
    vst_turn_schedule(&turns[0]);
    event_base_dispatch(base);
    assert_int_equal(ran, 1);
}

static void cancelled_turn_does_not_run(void **state)
{
    (void)state;
    init(note);
    vst_turn_schedule(&turns[0]);
    vst_turn_cancel(&turns[0]);
    vst_turn_cancel(&turns[1]);
    event_base_dispatch(base);
    assert_int_equal(ran, 0);
}

static void note_for_ever(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    ran++;
    vst_turn_schedule(opaque);
}

static void stop(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
    event_base_loopbreak(base);
}

static void turn_that_never_ends_lets_descriptors_be_polled(void **state)
{
    struct event *readable;
    int fds[2];

    (void)state;
    init(note_for_ever);
    vst_turn_schedule(&turns[0]);
    assert_int_equal(pipe2(fds, 0), 0);
    readable = event_new(base, fds[0], EV_READ, stop, NULL);
    event_add(readable, NULL);
    assert_int_equal(write(fds[1], "x", 1), 1);
    event_base_dispatch(base);
    assert_in_range(ran, 0, 3);
    vst_turn_cancel(&turns[0]);
    event_free(readable);
    close(fds[0]);
    close(fds[1]);
}

static size_t shares[MANY];

static void note_share(evutil_socket_t fd, short what, void *opaque)
{
    shares[ran] = vst_turn_share(opaque, 1600);
    note(fd, what, opaque);
}

/* Whoever runs first or last. */
static void turns_of_one_pass_have_the_same_share(void **state)
{
    static const struct {
        int count;
        size_t share;
    } rows[] = {{1, 1600}, {2, 800}, {3, 400},    {4, 400}, {5, 200},
                {8, 200},  {9, 100}, {MANY, 100}, {2, 800}, {1, 1600}};

    (void)state;
    init(note_share);
    for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
        ran = 0;
        for (int i = 0; i < rows[r].count; i++)
            vst_turn_schedule(&turns[i]);
        event_base_dispatch(base);
        assert_int_equal(ran, rows[r].count);
        for (int i = 0; i < rows[r].count; i++)
            if (shares[i] != rows[r].share)
                fail_msg("%d of %d: %zu", i, rows[r].count, shares[i]);
    }
}

/* Its own next turn is not another. */
static void turn_that_is_alone_has_all_again_and_again(void **state)
{
    (void)state;
    init(note_share);
    for (int i = 0; i < 3; i++) {
        vst_turn_schedule(&turns[0]);
        event_base_dispatch(base);
    }
    assert_int_equal(ran, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shares[i], 1600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(turns_run_in_the_order_they_were_scheduled, make, drop),
        VST_TEST_WITH(turns_scheduled_by_turns_run_in_order_too, make, drop),
        VST_TEST_WITH(turn_scheduled_twice_runs_once, make, drop),
        VST_TEST_WITH(cancelled_turn_does_not_run, make, drop),
        VST_TEST_WITH(turns_of_one_pass_have_the_same_share, make, drop),
        VST_TEST_WITH(turn_that_is_alone_has_all_again_and_again, make, drop),
        VST_TEST_WITH(turn_that_never_ends_lets_descriptors_be_polled, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

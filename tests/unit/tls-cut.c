/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A TLS session that is cut, or in which one byte is altered, at every place of either direction:
 * there is an error and never a success, and nothing that arrives is wrong. Every place in the long
 * form of the tests, some of them else.
 */
#include "test.h"

#include <string.h>

#include "session.h"

enum { LEN = 700, LENGTH_MAX = 4096, SLACK = 64, MEANINGLESS = 8 };

static unsigned char data[LEN];

static void talk_on(int side, const struct vst_fault *fault, void **state)
{
    session_drop(state);
    session_make(state);
    vst_test_fill(data, LEN, 9);
    for (int i = 0; i < 2; i++) {
        evbuffer_add(session.side[i].to_send, data, LEN);
        if (fault && i == side)
            session.lower[i] = vst_channel_fault(session.lower[i], fault, NULL);
    }
    session_secure_well();
    session_talk();
}

/* At least so many bytes come to a side in a whole session, and at most SLACK more. */
static size_t length_to(int side, void **state)
{
    struct vst_fault cut = {.kind = VST_FAULT_CUT, .offset = LENGTH_MAX};

    talk_on(side, NULL, state);
    assert_all_arrived(data, LEN, data, LEN);
    do {
        cut.offset -= SLACK;
        talk_on(side, &cut, state);
    } while (!session.side[side].failed);
    assert_in_range(cut.offset, LEN, LENGTH_MAX - 2 * SLACK);
    return (size_t)cut.offset;
}

/* What has arrived is the beginning of what was sent. */
static void assert_no_other_bytes(void)
{
    for (int i = 0; i < 2; i++) {
        struct evbuffer *got = session.side[i].got;
        size_t n = evbuffer_get_length(got);

        assert_in_range(n, 0, LEN);
        if (n)
            assert_memory_equal(evbuffer_pullup(got, -1), data, n);
    }
}

static bool is_whole(const struct side *side)
{
    return !side->failed && side->ended && side->finished;
}

static size_t step(void)
{
    return vst_test_long() ? 1 : 29;
}

static void session_cut_anywhere_is_lost(void **state)
{
    vst_test_seconds(600);
    for (int side = CLIENT; side <= SERVER; side++) {
        size_t length = length_to(side, state);

        for (size_t at = 0; at < length + SLACK; at += step()) {
            struct vst_fault cut = {.kind = VST_FAULT_CUT, .offset = at};
            const struct side *victim = &session.side[side];

            talk_on(side, &cut, state);
            assert_no_other_bytes();
            if (is_whole(victim))
                continue; /* all of it had come */
            assert_true(victim->failed);
            assert_int_equal(victim->err.code, VST_ERR_LOST);
        }
    }
}

/*
 * The version in the head of the first records is covered by nothing (RFC 8446, 5.1: "MUST be
 * ignored for all purposes"), so that a session with it altered may go on as if it were not.
 */
static void byte_altered_anywhere_is_found(void **state)
{
    vst_test_seconds(600);
    for (int side = CLIENT; side <= SERVER; side++) {
        size_t length = length_to(side, state), passed = 0;

        for (size_t at = 0; at < length; at += step()) {
            struct vst_fault flip = {
                .kind = VST_FAULT_FLIP, .offset = at, .bit = (unsigned)(at / step() % 8)};

            talk_on(side, &flip, state);
            assert_no_other_bytes();
            passed += is_whole(&session.side[CLIENT]) && is_whole(&session.side[SERVER]);
        }
        assert_in_range(passed, 0, MEANINGLESS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(session_cut_anywhere_is_lost, session_make, session_drop),
        VST_TEST_WITH(byte_altered_anywhere_is_found, session_make, session_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

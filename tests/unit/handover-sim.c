/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator of the hand-over: seeded histories of two hosts and everything that can go wrong.
 *
 *     VST_HANDOVER_HISTORIES   how many; 20000 by default
 *     VST_HANDOVER_SEED        the first seed; each history has the next one
 *
 * A history that breaks a rule is told once more, step by step, with its seed.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover-world.h"

enum { USUAL_HISTORIES = 20000, ALL = (1 << WORLD_TROUBLE_COUNT) - 1 };

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* Few kinds of trouble in most histories, many in some; and the two that need an operator in few,
 * because nothing much happens after them. */
static void history(uint64_t seed, bool print, struct world_result *ret_result)
{
    uint64_t bits = (seed ^ seed >> 7) * UINT64_C(0xd6e8feb86659fd93);
    unsigned rare = 1u << WORLD_WIPE | 1u << WORLD_GONE_FOR_GOOD;
    unsigned allowed = (unsigned)(bits >> 40) & ALL;

    if (bits >> 12 & 3)
        allowed &= (unsigned)(bits >> 20);
    if (bits >> 14 & 3)
        allowed &= ~rare;
    world_run(seed, allowed, (unsigned)(bits >> 8 & 7), print, ret_result);
}

static void fail_with(uint64_t seed, const struct world_result *result)
{
    struct world_result again;

    print_error("history %llu: %s; VST_HANDOVER_SEED=%llu VST_HANDOVER_HISTORIES=1 repeats it\n",
                (unsigned long long)seed, result->text, (unsigned long long)seed);
    history(seed, true, &again);
    fail();
}

static void no_history_runs_a_guest_twice_or_loses_it(void **state)
{
    uint64_t first = from_environment("VST_HANDOVER_SEED", 1);
    uint64_t count = from_environment("VST_HANDOVER_HISTORIES", USUAL_HISTORIES);
    unsigned long long outcomes[WORLD_OUTCOMES] = {0}, resolved = 0, steps = 0;
    unsigned long long troubles[WORLD_TROUBLE_COUNT] = {0};
    struct world_result result;

    (void)state;
    vst_test_seconds(20 + (unsigned)(count / 2000));
    for (uint64_t seed = first; seed < first + count; seed++) {
        history(seed, false, &result);
        if (result.outcome == WORLD_BROKEN)
            fail_with(seed, &result);
        outcomes[result.outcome]++;
        resolved += result.resolved;
        steps += result.steps;
        for (unsigned i = 0; i < WORLD_TROUBLE_COUNT; i++)
            troubles[i] += result.troubles[i];
    }
    print_message("# %llu histories, %llu steps: at the source %llu, at the destination %llu, "
                  "killed with QEMU %llu, with an operator %llu\n",
                  (unsigned long long)count, steps, outcomes[WORLD_AT_SOURCE],
                  outcomes[WORLD_AT_DESTINATION], outcomes[WORLD_GUEST_DIED], resolved);
    for (unsigned i = 0; i < WORLD_TROUBLE_COUNT; i++) {
        print_message("# %s: %llu\n", world_trouble_text(i), troubles[i]);
        assert_true(troubles[i] || count < USUAL_HISTORIES);
    }
}

static void without_trouble_the_guest_moves(void **state)
{
    struct world_result result;

    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        world_run(seed, 0, 0, false, &result);
        assert_int_equal(result.outcome, WORLD_AT_DESTINATION);
        assert_false(result.resolved);
    }
}

/* Whatever one thing goes wrong with daemons and link, the guest runs and nobody is asked. */
static void one_trouble_needs_no_operator(void **state)
{
    static const unsigned kinds = 1u << WORLD_LOSE | 1u << WORLD_REPEAT | 1u << WORLD_OVERTAKE |
                                  1u << WORLD_CUT | 1u << WORLD_ONE_WAY | 1u << WORLD_CRASH_SOURCE |
                                  1u << WORLD_CRASH_DESTINATION | 1u << WORLD_DISK |
                                  1u << WORLD_HURRY | 1u << WORLD_DAMAGE | 1u << WORLD_FAIL |
                                  1u << WORLD_CANCEL | 1u << WORLD_DEAF;
    struct world_result result;

    (void)state;
    for (uint64_t seed = 1; seed < 5000; seed++) {
        world_run(seed, kinds, 1 + seed % 2, false, &result);
        if (result.outcome > WORLD_AT_DESTINATION || result.resolved)
            world_run(seed, kinds, 1 + seed % 2, true, &result);
        assert_in_range(result.outcome, WORLD_AT_SOURCE, WORLD_AT_DESTINATION);
        assert_false(result.resolved);
    }
}

static void a_seed_gives_the_same_history(void **state)
{
    struct world_result a, b;

    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        history(seed, false, &a);
        history(seed, false, &b);
        assert_memory_equal(&a, &b, sizeof(a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(without_trouble_the_guest_moves),
        VST_TEST(one_trouble_needs_no_operator),
        VST_TEST(a_seed_gives_the_same_history),
        VST_TEST(no_history_runs_a_guest_twice_or_loses_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

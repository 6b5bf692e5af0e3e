/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every unit test has around it: a time guard, and the open descriptors compared before and
 * after. A test program is one group of tests and reads
 *
 *     static void sink_full_pauses_source(void **state) { ... }
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {
 *             VST_TEST(sink_full_pauses_source),
 *             VST_TEST_WITH(sink_end_ends_source, make_pair, free_pair),
 *         };
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * Don't use cmocka's skip(): its TAP output for it counts as a failure. See VST_TEST_IF().
 */
#ifndef VST_TESTS_UNIT_TEST_H
#define VST_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

/* What a test has of its own, done within the guard; either may be NULL. */
struct vst_test_own {
    CMFixtureFunction setup;
    CMFixtureFunction teardown;
};

#define VST_TEST(function) VST_TEST_WITH(function, NULL, NULL)

#define VST_TEST_WITH(function, own_setup, own_teardown) \
    cmocka_unit_test_prestate_setup_teardown(            \
        function, vst_test_begin, vst_test_end,          \
        (&(struct vst_test_own){.setup = own_setup, .teardown = own_teardown}))

/* A test that is skipped, and says why, where it is not `possible`. */
#define VST_TEST_IF(possible, reason, function, own_setup, own_teardown)              \
    {                                                                                 \
        (possible) ? #function : #function " # SKIP " reason,                         \
            (possible) ? (function) : vst_test_nothing, vst_test_begin, vst_test_end, \
            (&(struct vst_test_own){.setup = (possible) ? (own_setup) : NULL,         \
                                    .teardown = (possible) ? (own_teardown) : NULL})  \
    }

void vst_test_nothing(void **state);
int vst_test_begin(void **state);
int vst_test_end(void **state);

/*
 * Gives the running test this many seconds from now instead of the usual 20. Both are multiplied
 * by VST_TEST_SLOWNESS from the environment, which "make check-valgrind" sets.
 */
void vst_test_seconds(unsigned seconds);

/*
 * fork() with what is left of the time for the child, too, which also dies with its parent: else
 * one that hangs would keep the output open, and with it the suite. Threads that are about to end
 * may hold a lock of the allocator for ever in the child: see vst_test_threads_end().
 */
pid_t vst_test_fork(void);

/* True under "make check-long": sweeps then cover everything. */
int vst_test_long(void);

/* Whether programs can be started as the library does it; says why not, for TAP, in the place of
 * all tests of this program. */
bool vst_test_can_spawn(void);

#endif

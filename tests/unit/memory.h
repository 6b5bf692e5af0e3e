/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that runs out. A test that uses this has its malloc(), calloc() and realloc() replaced for
 * the whole process, all libraries included; under AddressSanitizer its own lie below them.
 *
 * AddressSanitizer cannot bear it that a thread begins without memory: with it only the thread that
 * called memory_fail_once() is concerned.
 *
 * One exception: json_tokener_parse_ex() fails as a whole, as it says it does, or not at all. The
 * json-c of Debian 12 (0.16) crashes when it cannot copy the name of a member, and loses what it
 * cannot store; nobody outside can do anything about that.
 */
#ifndef VST_TESTS_UNIT_MEMORY_H
#define VST_TESTS_UNIT_MEMORY_H

#include <stdbool.h>

/* False where somebody else has replaced malloc(), as valgrind and ThreadSanitizer do. */
bool memory_can_fail(void);

/* The allocation after the next `after` ones fails, once. */
void memory_fail_once(unsigned after);

/* Whether it has; and no further one will. */
bool memory_stop_failing(void);

#endif

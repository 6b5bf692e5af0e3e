/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a fuzz target is: this function, in tests/fuzz/fuzz-NAME.c, and inputs to begin with in
 * tests/fuzz/corpus/NAME. It returns 0, and aborts where something is wrong.
 *
 * With --enable-fuzz (and clang) libFuzzer calls it, see "make fuzz"; without, "make check" gives
 * it the inputs.
 */
#ifndef VST_TESTS_FUZZ_REPLAY_H
#define VST_TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input is. */
#define FUZZ_CHECK(condition) \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

#endif

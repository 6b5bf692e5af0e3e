/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SASL whose outcome the fuzzer decides: it takes the place of remote/sasl.c in a fuzz target. The
 * first byte of what a step is given says what it comes to. No thread, no library, no cost; what a
 * mechanism does with its bytes is Cyrus SASL's business, and what follows from its word is ours.
 */
#ifndef VST_TESTS_FUZZ_SCRIPTED_SASL_H
#define VST_TESTS_FUZZ_SCRIPTED_SASL_H

#include <stdbool.h>

/* First bytes. Any other, or none: go on, and send the same bytes. */
enum { SCRIPTED_DONE = 'd', SCRIPTED_DONE_WITH_DATA = 'D', SCRIPTED_FAILS = 'f' };

/* Of the exchanges since the target cleared it. */
struct scripted_sasl {
    bool asked; /* a step was to be made */
    bool done;  /* and one has said so */
};
extern struct scripted_sasl scripted_sasl;

#endif

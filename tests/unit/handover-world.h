/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A world for the two machines of the hand-over: two hosts with a daemon, a journal and a QEMU
 * each, and a link between them; everything that can go wrong does, by the numbers of a seed. It
 * knows nothing of the protocol, only what a disk, a link and QEMU do; and it watches that the
 * guest never runs twice and is not lost. What the destination has said, or written, to have as a
 * whole may be the last copy: until somebody says otherwise it may not be ended, and must run where
 * nothing else does.
 *
 * First come the troubles. Then the world is mended: what is broken works again, and all must
 * come to an end. Only for a host that is lost for good, and a guest that was lost at the moment
 * it was told to run, there is an operator. One who does not wait for that takes the guest back
 * while the other host lives: then it may run twice until that host hears of it, and at the end
 * only if people have been told so.
 */
#ifndef VST_TESTS_UNIT_HANDOVER_WORLD_H
#define VST_TESTS_UNIT_HANDOVER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

/* How a history ended; and `steps`, and how many of each trouble it had. */
enum world_outcome {
    WORLD_AT_SOURCE,
    WORLD_AT_DESTINATION,
    WORLD_GUEST_DIED, /* with its QEMU, which was killed */
    WORLD_BROKEN,     /* a rule was: see `text` */
    WORLD_OUTCOMES
};

#define WORLD_TROUBLES(X)                             \
    X(LOSE, "message lost")                           \
    X(REPEAT, "message repeated")                     \
    X(OVERTAKE, "message delayed")                    \
    X(CUT, "link cut")                                \
    X(ONE_WAY, "link dead in one direction")          \
    X(CRASH_SOURCE, "source daemon killed")           \
    X(CRASH_DESTINATION, "destination daemon killed") \
    X(KILL_SOURCE, "source QEMU killed")              \
    X(KILL_DESTINATION, "destination QEMU killed")    \
    X(DISK, "journal not written")                    \
    X(HURRY, "timer before its time")                 \
    X(DAMAGE, "stream damaged")                       \
    X(FAIL, "refused, or failed by QEMU")             \
    X(CANCEL, "cancelled")                            \
    X(FORGET, "done token forgotten")                 \
    X(WIPE, "destination's journal wiped")            \
    X(GONE_FOR_GOOD, "a host lost for good")          \
    X(DEAF, "destination QEMU's monitor lost")        \
    X(TAKE_BACK, "taken back by people while both live")

enum world_trouble {
#define WORLD_TROUBLE_ENUM(name, text) WORLD_##name,
    WORLD_TROUBLES(WORLD_TROUBLE_ENUM)
#undef WORLD_TROUBLE_ENUM
        WORLD_TROUBLE_COUNT
};

struct world_result {
    enum world_outcome outcome;
    unsigned steps;
    unsigned troubles[WORLD_TROUBLE_COUNT];
    bool resolved; /* an operator was needed */
    char text[160];
};

/* `allowed`: mask of troubles; at most `most` of them. `print`: every step to standard error. */
void world_run(uint64_t seed, unsigned allowed, unsigned most, bool print,
               struct world_result *ret_result);

const char *world_trouble_text(enum world_trouble trouble);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's table of the hand-over. Nothing but a table; handover.c walks it.
 *
 * Until `handed-over` is asked for, this end may give up by itself: RESUMING. From then on it
 * never resumes the guest by itself, only when the destination says that it has given up, when the
 * operator says so, or when that record could not be written, so that COMMIT was never said; and
 * then only when `aborted` is on the disk, lest a restart ask again for a guest that runs here.
 *
 * In post-copy QEMU switches with memory still to be sent: SWITCHED is to that what COMPLETED is
 * without it, since a guest that has not run there can be resumed here all the same. Once it runs
 * there its memory is served until it has all of it, over as many streams as that takes.
 */
#include "handover-rows.h"

#define SOURCE_STATES(X)                                                                  \
    X(SOURCE_NEW, "the start", "nothing has happened")                                    \
    X(SOURCE_BEGINNING, "begin, written", "the token is made")                            \
    X(SOURCE_PREPARING, "STARTED", "the destination checks, and spawns its QEMU")         \
    X(SOURCE_MOVING, "the pause before the switch", "the guest runs, its memory travels") \
    X(SOURCE_SWITCHING, "switching, written", "the guest is paused")                      \
    X(SOURCE_DRAINING, "QEMU's completed, and LOADED", "the last bytes travel")           \
    X(SOURCE_LOADED, "QEMU's completed", "the destination has it all")                    \
    X(SOURCE_COMPLETED, "LOADED", "QEMU will not resume the guest by itself any more")    \
    X(SOURCE_SWITCHED, "LOADED", "post-copy: all but a part of the memory has left")      \
    X(SOURCE_HANDING, "handed-over, written", "the point of no return")                   \
    X(SOURCE_COMMITTING, "COMMITTED", "the destination decides")                          \
    X(SOURCE_DOUBT, "the time to ask again", "in doubt: the guest stays paused")          \
    X(SOURCE_SERVING, "QEMU's completed", "the guest runs there, its memory follows")     \
    X(SOURCE_APART, "the time to ask again", "the stream of its memory is broken")        \
    X(SOURCE_REJOINING, "NEEDS", "the destination is asked what it lacks")                \
    X(SOURCE_CLOSING, "committed, written", "the guest runs there")                       \
    X(SOURCE_QUITTING, "the end of QEMU", "the copy here is not needed any more")         \
    X(SOURCE_FINISHING, "FINISHED", "the destination may forget the token")               \
    X(SOURCE_ABORTING, "aborted, written", "the guest is ours again, and still paused")   \
    X(SOURCE_RESUMING, "the guest running", "the guest goes on here")                     \
    X(SOURCE_TELLING, "FINISHED", "the destination need not wait any more")               \
    X(SOURCE_ENDING, "done, written", "nobody will ask any more")                         \
    X(SOURCE_DONE, "nothing", "the token may be forgotten")
VST_FSM(source, SOURCE_STATES)

static const struct vst_handover_words source_words[] = {SOURCE_STATES(VST_HANDOVER_WORDS)};

static const struct vst_handover_entry source_entries[] = {
    [SOURCE_BEGINNING] = {WRITE(BEGIN)},
    [SOURCE_PREPARING] = {SEND(PREPARE), TIMER(PREPARE)},
    [SOURCE_MOVING] = {QEMU(MIGRATE)},
    [SOURCE_SWITCHING] = {WRITE(SWITCHING), HOLDS},
    [SOURCE_DRAINING] = {QEMU(CONTINUE), TIMER(SWITCH), HOLDS},
    [SOURCE_LOADED] = {TIMER(SWITCH), HOLDS},
    [SOURCE_COMPLETED] = {TIMER(SWITCH), HOLDS},
    [SOURCE_SWITCHED] = {SEND(SWITCH), TIMER(SWITCH), HOLDS},
    [SOURCE_HANDING] = {WRITE(HANDED_OVER), HOLDS},
    [SOURCE_COMMITTING] = {SEND(COMMIT), TIMER(AGAIN), HOLDS},
    [SOURCE_DOUBT] = {TIMER(AGAIN), HOLDS},
    [SOURCE_SERVING] = {WRITE(LACKING), QEMU(SERVE), HOLDS},
    [SOURCE_APART] = {TIMER(AGAIN), HOLDS},
    [SOURCE_REJOINING] = {SEND(COMMIT), TIMER(AGAIN), HOLDS},
    [SOURCE_CLOSING] = {WRITE(COMMITTED), TIMER(AGAIN), HOLDS},
    [SOURCE_QUITTING] = {QEMU(END), TIMER(AGAIN), HOLDS},
    [SOURCE_FINISHING] = {WRITE(CLOSED), SEND(FINISH), TIMER(AGAIN), SETTLED},
    [SOURCE_ABORTING] = {WRITE(ABORTED), TIMER(AGAIN), HOLDS},
    [SOURCE_RESUMING] = {QEMU(RESUME), TIMER(AGAIN), HOLDS},
    [SOURCE_TELLING] = {WRITE(RETURNED), SEND(ABORT), TIMER(AGAIN), SETTLED},
    [SOURCE_ENDING] = {WRITE(DONE), TIMER(AGAIN), SETTLED},
    [SOURCE_DONE] = {SETTLED, .over = true},
};

#define STOPPED (VST_ON(STALLED) | VST_ON(OVERDUE) | VST_ON(RESTARTED))
#define GIVE_UP                                                                                   \
    (VST_ON(CANCEL) | VST_ON(LINK_DOWN) | VST_ON(ABORTED) | VST_ON(TIMER) | VST_ON(QEMU_FAILED) | \
     STOPPED)
#define DISOWNED (VST_ON(ABORTED) | VST_ON(UNKNOWN))
#define NO_WORD (VST_ON(LINK_DOWN) | VST_ON(WRONG_HOST) | VST_ON(LOST))
#define BROKEN (VST_ON(LINK_DOWN) | VST_ON(WRONG_HOST) | VST_ON(QEMU_FAILED))
#define HAS_ALL (VST_ON(QEMU_COMPLETED) | VST_ON(COMMITTED))
#define ANSWERS                                                                          \
    (VST_ON(STARTED) | VST_ON(REFUSED) | VST_ON(LOADED) | VST_ON(COMMITTED) | DISOWNED | \
     VST_ON(LOST) | VST_ON(FINISHED) | VST_ON(NEEDS) | VST_ON(DIED))
#define REST                                                                                     \
    (ANSWERS | JOURNAL | VST_ON(TIMER) | VST_ON(ENOUGH) | VST_ON(LINK_UP) | VST_ON(LINK_DOWN) |  \
     VST_ON(WRONG_HOST) | VST_ON(QEMU_PAUSED) | VST_ON(QEMU_COMPLETED) | VST_ON(QEMU_SWITCHED) | \
     VST_ON(QEMU_RESUMED) | VST_ON(QEMU_REFUSED) | VST_ON(QEMU_FAILED) | VST_ON(QEMU_GONE) |     \
     STOPPED | VST_ON(CANCEL) | RESOLVE | VST_ON(BEGIN))

static const struct vst_handover_edge source_edges[] = {
    EDGE(SOURCE_NEW, VST_ON(BEGIN), SOURCE_BEGINNING),

    EDGE(SOURCE_BEGINNING, VST_ON(WRITTEN), SOURCE_PREPARING),
    EDGE(SOURCE_BEGINNING, GIVE_UP | VST_ON(NOT_WRITTEN), SOURCE_ENDING, TELL(GIVEN_UP)),
    EDGE(SOURCE_BEGINNING, VST_ON(QEMU_GONE), SOURCE_ENDING, TELL(GUEST_GONE)),

    EDGE(SOURCE_PREPARING, VST_ON(STARTED), SOURCE_MOVING),
    EDGE(SOURCE_PREPARING, VST_ON(REFUSED), SOURCE_ENDING, TELL(GIVEN_UP)),
    EDGE(SOURCE_PREPARING, GIVE_UP, SOURCE_TELLING, TELL(GIVEN_UP)),
    EDGE(SOURCE_PREPARING, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    EDGE(SOURCE_MOVING, VST_ON(QEMU_PAUSED), SOURCE_SWITCHING),
    EDGE(SOURCE_MOVING, GIVE_UP | VST_ON(QEMU_COMPLETED), SOURCE_RESUMING),
    EDGE(SOURCE_MOVING, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    EDGE(SOURCE_SWITCHING, VST_ON(WRITTEN), SOURCE_DRAINING),
    EDGE(SOURCE_SWITCHING, GIVE_UP | VST_ON(NOT_WRITTEN), SOURCE_RESUMING),
    EDGE(SOURCE_SWITCHING, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    EDGE(SOURCE_DRAINING, VST_ON(QEMU_COMPLETED), SOURCE_COMPLETED),
    EDGE(SOURCE_DRAINING, VST_ON(LOADED), SOURCE_LOADED),
    EDGE(SOURCE_DRAINING, VST_ON(QEMU_SWITCHED), SOURCE_SWITCHED),
    EDGE(SOURCE_DRAINING, GIVE_UP, SOURCE_RESUMING),
    EDGE(SOURCE_DRAINING, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    /* A QEMU that dies before it has completed may have resumed the guest first: what the
     * destination has is not to be used any more. */
    EDGE(SOURCE_LOADED, VST_ON(QEMU_COMPLETED), SOURCE_HANDING),
    EDGE(SOURCE_LOADED, GIVE_UP, SOURCE_RESUMING),
    EDGE(SOURCE_LOADED, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    /* One that dies now has not: the guest is the destination's, or nobody's. */
    EDGE(SOURCE_COMPLETED, VST_ON(LOADED) | VST_ON(QEMU_GONE), SOURCE_HANDING),
    EDGE(SOURCE_COMPLETED, GIVE_UP, SOURCE_RESUMING),

    /* The destination has not been told to run it, so it can still be resumed here. But if QEMU
     * dies here, what is there lacks memory for good. */
    EDGE(SOURCE_SWITCHED, VST_ON(LOADED), SOURCE_HANDING),
    EDGE(SOURCE_SWITCHED, VST_ON(QEMU_COMPLETED), SOURCE_COMPLETED),
    EDGE(SOURCE_SWITCHED, GIVE_UP, SOURCE_RESUMING),
    EDGE(SOURCE_SWITCHED, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),

    EDGE(SOURCE_HANDING, VST_ON(WRITTEN), SOURCE_COMMITTING),
    EDGE(SOURCE_HANDING, VST_ON(NOT_WRITTEN), SOURCE_ABORTING), /* it may be there all the same */

    EDGE(SOURCE_COMMITTING, VST_ON(COMMITTED), SOURCE_CLOSING, TELL(MIGRATED)),
    EDGE(SOURCE_COMMITTING, VST_ON(NEEDS), SOURCE_SERVING, TELL(MIGRATED)),
    EDGE(SOURCE_COMMITTING, VST_ON(DIED), SOURCE_CLOSING, TELL(DIED)),
    EDGE(SOURCE_COMMITTING, DISOWNED, SOURCE_ABORTING),
    EDGE(SOURCE_COMMITTING, NO_WORD | VST_ON(TIMER), SOURCE_DOUBT, TELL(IN_DOUBT)),
    EDGE(SOURCE_COMMITTING, VST_ON(LINK_UP), SOURCE_COMMITTING),
    EDGE(SOURCE_COMMITTING, VST_ON(RESOLVE_SOURCE), SOURCE_ABORTING),
    EDGE(SOURCE_COMMITTING, VST_ON(RESOLVE_DESTINATION), SOURCE_SERVING, TELL(MIGRATED)),

    EDGE(SOURCE_DOUBT, VST_ON(COMMITTED), SOURCE_CLOSING, TELL(MIGRATED)),
    EDGE(SOURCE_DOUBT, VST_ON(NEEDS), SOURCE_SERVING, TELL(MIGRATED)),
    EDGE(SOURCE_DOUBT, VST_ON(DIED), SOURCE_CLOSING, TELL(DIED)),
    EDGE(SOURCE_DOUBT, DISOWNED, SOURCE_ABORTING),
    EDGE(SOURCE_DOUBT, VST_ON(TIMER) | VST_ON(LINK_UP), SOURCE_COMMITTING),
    EDGE(SOURCE_DOUBT, NO_WORD, STAY, TELL(IN_DOUBT)),
    EDGE(SOURCE_DOUBT, VST_ON(RESOLVE_SOURCE), SOURCE_ABORTING),
    EDGE(SOURCE_DOUBT, VST_ON(RESOLVE_DESTINATION), SOURCE_SERVING, TELL(MIGRATED)),

    EDGE(SOURCE_SERVING, HAS_ALL, SOURCE_CLOSING),
    EDGE(SOURCE_SERVING, VST_ON(DIED), SOURCE_CLOSING, TELL(DIED)),
    EDGE(SOURCE_SERVING, VST_ON(QEMU_GONE), SOURCE_CLOSING, TELL(CUT_OFF)),
    EDGE(SOURCE_SERVING, BROKEN, SOURCE_APART, TELL(APART)),

    /* The guest runs there, or stands still for want of a page: it is asked for ever. Only people
     * know of a host that will not come back. */
    EDGE(SOURCE_APART, HAS_ALL, SOURCE_CLOSING),
    EDGE(SOURCE_APART, VST_ON(RESOLVE_DESTINATION), SOURCE_CLOSING, TELL(CUT_OFF)),
    EDGE(SOURCE_APART, VST_ON(DIED), SOURCE_CLOSING, TELL(DIED)),
    EDGE(SOURCE_APART, VST_ON(QEMU_GONE), SOURCE_CLOSING, TELL(CUT_OFF)),
    EDGE(SOURCE_APART, VST_ON(NEEDS), SOURCE_SERVING),
    EDGE(SOURCE_APART, VST_ON(TIMER) | VST_ON(LINK_UP), SOURCE_REJOINING),
    EDGE(SOURCE_APART, DISOWNED | VST_ON(RESOLVE_SOURCE), SOURCE_ABORTING),

    EDGE(SOURCE_REJOINING, HAS_ALL, SOURCE_CLOSING),
    EDGE(SOURCE_REJOINING, VST_ON(RESOLVE_DESTINATION), SOURCE_CLOSING, TELL(CUT_OFF)),
    EDGE(SOURCE_REJOINING, VST_ON(DIED), SOURCE_CLOSING, TELL(DIED)),
    EDGE(SOURCE_REJOINING, VST_ON(QEMU_GONE), SOURCE_CLOSING, TELL(CUT_OFF)),
    EDGE(SOURCE_REJOINING, VST_ON(NEEDS), SOURCE_SERVING),
    EDGE(SOURCE_REJOINING, NO_WORD | VST_ON(TIMER), SOURCE_APART, TELL(APART)),
    EDGE(SOURCE_REJOINING, VST_ON(LINK_UP), SOURCE_REJOINING),
    EDGE(SOURCE_REJOINING, DISOWNED | VST_ON(RESOLVE_SOURCE), SOURCE_ABORTING),

    /* As long as QEMU is there, who says that it has no copy is believed rather than people. */
    EDGE(SOURCE_CLOSING, DISOWNED, SOURCE_ABORTING),
    EDGE(SOURCE_CLOSING, VST_ON(WRITTEN), SOURCE_QUITTING),
    EDGE(SOURCE_CLOSING, VST_ON(TIMER), SOURCE_CLOSING),

    EDGE(SOURCE_QUITTING, VST_ON(QEMU_GONE), SOURCE_FINISHING),
    EDGE(SOURCE_QUITTING, VST_ON(TIMER), SOURCE_QUITTING),

    EDGE(SOURCE_FINISHING, VST_ON(FINISHED) | VST_ON(ENOUGH), SOURCE_ENDING),
    EDGE(SOURCE_FINISHING, VST_ON(ABORTED), SOURCE_TELLING, TELL(NOWHERE)),
    EDGE(SOURCE_FINISHING, VST_ON(TIMER) | VST_ON(LINK_UP), SOURCE_FINISHING),

    /* Nor is the guest resumed here, if it is heard to run there, whole. */
    EDGE(SOURCE_ABORTING, VST_ON(COMMITTED), SOURCE_CLOSING, TELL(MIGRATED)),
    EDGE(SOURCE_ABORTING, VST_ON(WRITTEN), SOURCE_RESUMING),
    EDGE(SOURCE_ABORTING, VST_ON(TIMER), SOURCE_ABORTING),

    EDGE(SOURCE_RESUMING, VST_ON(QEMU_RESUMED), SOURCE_TELLING, TELL(GIVEN_UP)),
    EDGE(SOURCE_RESUMING, VST_ON(QEMU_GONE), SOURCE_TELLING, TELL(GUEST_GONE)),
    EDGE(SOURCE_RESUMING, VST_ON(QEMU_REFUSED), STAY, TELL(NOT_RESUMED)),
    EDGE(SOURCE_RESUMING, VST_ON(TIMER), SOURCE_RESUMING),

    /* For ever: the destination may keep a copy until it hears of it. NEEDS was said before that,
     * or by one that is about to hear it: a copy that lacks memory is ended by this. */
    EDGE(SOURCE_TELLING, VST_ON(FINISHED), SOURCE_ENDING),
    EDGE(SOURCE_TELLING, VST_ON(COMMITTED), SOURCE_FINISHING, TELL(CONFLICT)),
    EDGE(SOURCE_TELLING, VST_ON(TIMER) | VST_ON(LINK_UP), SOURCE_TELLING),

    /* Else a restart, hours later, would do with the guest what the last record says. */
    EDGE(SOURCE_ENDING, VST_ON(WRITTEN), SOURCE_DONE),
    EDGE(SOURCE_ENDING, VST_ON(TIMER), SOURCE_ENDING),

    EDGE(ANY, REST, STAY),
};

static const struct vst_handover_restart source_restarts[] = {
    RESTART(BEGIN, SOURCE_RESUMING, TELL(RESTARTED)),
    RESTART(SWITCHING, SOURCE_RESUMING, TELL(RESTARTED)),
    RESTART(HANDED_OVER, SOURCE_COMMITTING, TELL(IN_DOUBT)),
    /* That it ran there is not forgotten: it is no doubt. */
    RESTART(LACKING, SOURCE_REJOINING, OUTCOME(MIGRATED)),
    RESTART(COMMITTED, SOURCE_QUITTING, OUTCOME(MIGRATED)),
    RESTART(CLOSED, SOURCE_FINISHING, OUTCOME(MIGRATED)),
    RESTART(ABORTED, SOURCE_RESUMING),
    /* Not to resume the guest: it was, and may be another by now. */
    RESTART(RETURNED, SOURCE_TELLING, OUTCOME(GIVEN_UP)),
};

static void source_trace(const char *label, unsigned from, unsigned to)
{
    vst_fsm_trace(source, label, from, to);
}

const struct vst_handover_table vst_handover_source = VST_HANDOVER_TABLE(source);

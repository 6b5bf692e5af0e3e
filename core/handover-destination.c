/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination's table of the hand-over. Nothing but a table; handover.c walks it.
 *
 * Until everything is loaded this end may give up by itself, and says ABORTED only when `aborted`
 * is on the disk; it never takes that back. LOADED is said only when `loaded` is on the disk: from
 * then on the copy may be the last one, and is kept, also over a restart and however long it takes,
 * until the source or people say otherwise, or its QEMU is gone. The guest is resumed only when
 * `committed` is on the disk. Once it was told to run, this end does not give up by itself any
 * more, but only by the word of people, here or at the source (ABORT): a QEMU that is gone before
 * it answered may have run the guest, and that is LOST.
 *
 * In post-copy it loads all but a part of the memory, which is SWITCHED; told to run then, the
 * guest is LACKING. A copy that lacks memory is worth nothing without the source, which has all of
 * it: so it says LOADED at once, and is given up as soon as the stream breaks, unless it may have
 * run.
 */
#include "handover-rows.h"

#define DESTINATION_STATES(X)                                                                      \
    X(DESTINATION_NEW, "a message", "the token is not known")                                      \
    X(DESTINATION_CHECKING, "the checks", "may the guest come, and can it run here?")              \
    X(DESTINATION_PREPARING, "prepared, written", "it can")                                        \
    X(DESTINATION_SPAWNING, "QEMU's monitor", "a QEMU, paused, for the incoming migration")        \
    X(DESTINATION_LOADING, "QEMU's completed, and END", "the state goes into QEMU")                \
    X(DESTINATION_VERIFIED, "QEMU's completed", "the stream was right, to its end")                \
    X(DESTINATION_UNVERIFIED, "END", "QEMU believes to have it all, which proves nothing")         \
    X(DESTINATION_KEEPING, "loaded, written", "all of it is here, and is kept from now on")        \
    X(DESTINATION_LOADED, "COMMIT", "there are two whole copies, both paused")                     \
    X(DESTINATION_SWITCHED, "COMMIT", "post-copy: all but a part of the memory is there")          \
    X(DESTINATION_RETAKING, "word of QEMU", "restarted, and all of it was here, paused")           \
    X(DESTINATION_COMMITTING, "committed, written", "the guest is ours")                           \
    X(DESTINATION_TAKING, "committed, written", "post-copy: the guest is ours, and lacks memory")  \
    X(DESTINATION_RESUMING, "the reply to cont", "QEMU was told to run the guest")                 \
    X(DESTINATION_ADOPTING, "word of QEMU", "restarted, and the guest is ours")                    \
    X(DESTINATION_REJOINING, "word of QEMU", "restarted, and the guest lacked memory")             \
    X(DESTINATION_RESUMED, "lacking, written", "the guest runs here, and lacks memory")            \
    X(DESTINATION_LACKING, "QEMU's completed", "the guest runs here, its memory follows")          \
    X(DESTINATION_STARTED, "running, written", "the guest runs here")                              \
    X(DESTINATION_RUNNING, "FINISH", "the guest runs here; the source may still ask")              \
    X(DESTINATION_LOST, "the operator", "QEMU was told to run the guest, and is gone")             \
    X(DESTINATION_DEAD, "FINISH or ABORT", "the guest died here, before it had all of its memory") \
    X(DESTINATION_ABORTING, "aborted, written", "given up")                                        \
    X(DESTINATION_KILLING, "the end of QEMU", "the copy here is not needed any more")              \
    X(DESTINATION_ABORTED, "ABORT", "given up; who asks is told so")                               \
    X(DESTINATION_DISOWNING, "disowned, written", "asked about what was never prepared")           \
    X(DESTINATION_ENDING, "done, written", "the source will not ask any more")                     \
    X(DESTINATION_DONE, "nothing", "the token may be forgotten")
VST_FSM(destination, DESTINATION_STATES)

static const struct vst_handover_words destination_words[] = {
    DESTINATION_STATES(VST_HANDOVER_WORDS)};

static const struct vst_handover_entry destination_entries[] = {
    [DESTINATION_CHECKING] = {QEMU(CHECK), TIMER(PREPARE)},
    [DESTINATION_PREPARING] = {WRITE(PREPARED), HOLDS},
    [DESTINATION_SPAWNING] = {QEMU(SPAWN), TIMER(PREPARE), HOLDS},
    [DESTINATION_LOADING] = {SEND(STARTED), HOLDS},
    [DESTINATION_VERIFIED] = {TIMER(SWITCH), HOLDS},
    [DESTINATION_UNVERIFIED] = {TIMER(SWITCH), HOLDS},
    [DESTINATION_KEEPING] = {WRITE(LOADED), TIMER(AGAIN), HOLDS},
    [DESTINATION_LOADED] = {TIMER(SWITCH), HOLDS},
    [DESTINATION_SWITCHED] = {SEND(LOADED), TIMER(PATIENCE), HOLDS},
    [DESTINATION_RETAKING] = {QEMU(ADOPT), TIMER(AGAIN), HOLDS},
    [DESTINATION_COMMITTING] = {WRITE(COMMITTED), TIMER(AGAIN), HOLDS},
    [DESTINATION_TAKING] = {WRITE(COMMITTED), TIMER(AGAIN), HOLDS},
    [DESTINATION_RESUMING] = {QEMU(CONT), HOLDS},
    [DESTINATION_ADOPTING] = {QEMU(ADOPT), TIMER(AGAIN), HOLDS},
    [DESTINATION_REJOINING] = {QEMU(REJOIN), TIMER(AGAIN)},
    [DESTINATION_RESUMED] = {WRITE(LACKING), SEND(NEEDS), TIMER(AGAIN)},
    [DESTINATION_STARTED] = {WRITE(RUNNING), SEND(COMMITTED), TIMER(AGAIN), SETTLED},
    [DESTINATION_RUNNING] = {SETTLED},
    [DESTINATION_LOST] = {HOLDS},
    [DESTINATION_DEAD] = {SETTLED},
    [DESTINATION_ABORTING] = {WRITE(ABORTED), QEMU(STOP), TIMER(AGAIN), HOLDS},
    [DESTINATION_KILLING] = {QEMU(END), SEND(ABORTED), TIMER(AGAIN), HOLDS},
    [DESTINATION_ABORTED] = {SETTLED},
    [DESTINATION_DISOWNING] = {WRITE(DISOWNED), TIMER(AGAIN), SETTLED},
    [DESTINATION_ENDING] = {WRITE(DONE), TIMER(AGAIN), SETTLED},
    [DESTINATION_DONE] = {SETTLED, .over = true},
};

#define PARTED (VST_ON(ABORT) | VST_ON(LINK_DOWN))
#define BROKEN (VST_ON(STREAM_FAILED) | VST_ON(QEMU_FAILED) | VST_ON(QEMU_GONE))
#define GIVE_UP (VST_ON(CANCEL) | VST_ON(ABORT) | VST_ON(TIMER) | BROKEN)
#define ASKS (VST_ON(COMMIT) | VST_ON(ABORT))
#define TAKEN_BACK (VST_ON(ABORT) | VST_ON(RESOLVE_SOURCE))
#define LET_GO (VST_ON(CANCEL) | VST_ON(ABORT) | VST_ON(QEMU_GONE))
#define REST                                                                                     \
    (VST_ON(PREPARE) | VST_ON(SWITCH) | ASKS | VST_ON(FINISH) | JOURNAL | VST_ON(TIMER) |        \
     VST_ON(ENOUGH) | VST_ON(LINK_UP) | VST_ON(LINK_DOWN) | VST_ON(WRONG_HOST) |                 \
     VST_ON(QEMU_READY) | VST_ON(QEMU_PAUSED) | VST_ON(QEMU_COMPLETED) | VST_ON(QEMU_SWITCHED) | \
     VST_ON(QEMU_RESUMED) | VST_ON(QEMU_LACKS) | VST_ON(QEMU_REFUSED) | VST_ON(CHECKED) |        \
     VST_ON(CHECK_FAILED) | VST_ON(STREAM_VERIFIED) | BROKEN | VST_ON(CANCEL) | RESOLVE)

static const struct vst_handover_edge destination_edges[] = {
    EDGE(DESTINATION_NEW, VST_ON(PREPARE), DESTINATION_CHECKING),
    EDGE(DESTINATION_NEW, VST_ON(COMMIT), DESTINATION_DISOWNING),
    EDGE(DESTINATION_NEW, VST_ON(ABORT) | VST_ON(FINISH), DESTINATION_DONE, SAY(FINISHED)),

    EDGE(DESTINATION_CHECKING, VST_ON(CHECKED), DESTINATION_PREPARING),
    /* Nothing is on the disk, so ABORTED may not be said. */
    EDGE(DESTINATION_CHECKING,
         VST_ON(CHECK_FAILED) | VST_ON(CANCEL) | VST_ON(TIMER) | VST_ON(LINK_DOWN),
         DESTINATION_DONE, SAY(REFUSED), TELL(GIVEN_UP)),
    EDGE(DESTINATION_CHECKING, VST_ON(ABORT), DESTINATION_DONE, SAY(FINISHED), TELL(GIVEN_UP)),

    EDGE(DESTINATION_PREPARING, VST_ON(WRITTEN), DESTINATION_SPAWNING),
    EDGE(DESTINATION_PREPARING, GIVE_UP | PARTED | VST_ON(NOT_WRITTEN), DESTINATION_ABORTING),

    EDGE(DESTINATION_SPAWNING, VST_ON(QEMU_READY), DESTINATION_LOADING),
    EDGE(DESTINATION_SPAWNING, GIVE_UP | PARTED, DESTINATION_ABORTING),

    EDGE(DESTINATION_LOADING, VST_ON(STREAM_VERIFIED), DESTINATION_VERIFIED),
    EDGE(DESTINATION_LOADING, VST_ON(QEMU_COMPLETED), DESTINATION_UNVERIFIED),
    EDGE(DESTINATION_LOADING, VST_ON(QEMU_SWITCHED), DESTINATION_SWITCHED),
    EDGE(DESTINATION_LOADING, GIVE_UP | PARTED, DESTINATION_ABORTING),

    EDGE(DESTINATION_VERIFIED, VST_ON(QEMU_COMPLETED), DESTINATION_KEEPING),
    EDGE(DESTINATION_VERIFIED, GIVE_UP, DESTINATION_ABORTING),

    EDGE(DESTINATION_UNVERIFIED, VST_ON(STREAM_VERIFIED), DESTINATION_KEEPING),
    EDGE(DESTINATION_UNVERIFIED, GIVE_UP | PARTED, DESTINATION_ABORTING),

    /* The source may have no QEMU any more, and then asks at once. */
    EDGE(DESTINATION_KEEPING, VST_ON(WRITTEN), DESTINATION_LOADED, SAY(LOADED)),
    EDGE(DESTINATION_KEEPING, VST_ON(COMMIT), DESTINATION_COMMITTING),
    EDGE(DESTINATION_KEEPING, VST_ON(TIMER), DESTINATION_KEEPING),
    EDGE(DESTINATION_KEEPING, LET_GO, DESTINATION_ABORTING),

    /* Without a word, too, the copy is kept: it may be the last one. A source that says FINISH has
     * ended its own, by the word of its operator. */
    EDGE(DESTINATION_LOADED, VST_ON(COMMIT) | VST_ON(FINISH) | VST_ON(RESOLVE_DESTINATION),
         DESTINATION_COMMITTING),
    EDGE(DESTINATION_LOADED, VST_ON(SWITCH), STAY, SAY(LOADED)),
    EDGE(DESTINATION_LOADED, VST_ON(TIMER) | VST_ON(LINK_DOWN), STAY, TELL(IN_DOUBT)),
    EDGE(DESTINATION_LOADED, VST_ON(QEMU_FAILED), DESTINATION_RETAKING), /* a monitor lost */
    EDGE(DESTINATION_LOADED, LET_GO | VST_ON(RESOLVE_SOURCE), DESTINATION_ABORTING),

    EDGE(DESTINATION_RETAKING, VST_ON(QEMU_PAUSED), DESTINATION_LOADED),
    EDGE(DESTINATION_RETAKING, VST_ON(TIMER), DESTINATION_RETAKING),
    EDGE(DESTINATION_RETAKING, LET_GO | VST_ON(QEMU_REFUSED) | VST_ON(RESOLVE_SOURCE),
         DESTINATION_ABORTING),

    /* The stream's END comes when nothing is lacking any more. */
    EDGE(DESTINATION_SWITCHED, VST_ON(COMMIT), DESTINATION_TAKING),
    EDGE(DESTINATION_SWITCHED, VST_ON(STREAM_VERIFIED), DESTINATION_KEEPING),
    EDGE(DESTINATION_SWITCHED, VST_ON(SWITCH), STAY, SAY(LOADED)),
    EDGE(DESTINATION_SWITCHED, GIVE_UP | PARTED | VST_ON(RESOLVE_SOURCE), DESTINATION_ABORTING),

    /* From COMMIT on, ABORT is the word of an operator of the source: the guest runs there, and
     * what is not known to run here, or lacks memory, must not. What runs here as a whole is worth
     * as much as the source's: only people can say which of the two is to end. */

    /* Whatever becomes of the stream, all of it has come. */
    EDGE(DESTINATION_COMMITTING, VST_ON(WRITTEN), DESTINATION_RESUMING),
    EDGE(DESTINATION_COMMITTING, VST_ON(TIMER), DESTINATION_COMMITTING),
    EDGE(DESTINATION_COMMITTING, VST_ON(QEMU_GONE) | TAKEN_BACK, DESTINATION_ABORTING),

    /* Not told to run yet: what is worth nothing now may still be given up. */
    EDGE(DESTINATION_TAKING, VST_ON(WRITTEN), DESTINATION_RESUMING),
    EDGE(DESTINATION_TAKING, VST_ON(TIMER), DESTINATION_TAKING),
    EDGE(DESTINATION_TAKING, VST_ON(STREAM_VERIFIED), DESTINATION_COMMITTING),
    EDGE(DESTINATION_TAKING, VST_ON(QEMU_GONE) | VST_ON(STREAM_FAILED) | TAKEN_BACK,
         DESTINATION_ABORTING),

    EDGE(DESTINATION_RESUMING, VST_ON(QEMU_RESUMED), DESTINATION_STARTED, TELL(MIGRATED)),
    EDGE(DESTINATION_RESUMING, VST_ON(QEMU_LACKS), DESTINATION_RESUMED, TELL(MIGRATED)),
    EDGE(DESTINATION_RESUMING, VST_ON(QEMU_REFUSED) | TAKEN_BACK, DESTINATION_ABORTING),
    EDGE(DESTINATION_RESUMING, VST_ON(QEMU_FAILED), DESTINATION_ADOPTING), /* a monitor lost */
    EDGE(DESTINATION_RESUMING, VST_ON(QEMU_GONE), DESTINATION_LOST, TELL(IN_DOUBT)),

    EDGE(DESTINATION_ADOPTING, VST_ON(QEMU_PAUSED), DESTINATION_RESUMING),
    EDGE(DESTINATION_ADOPTING, VST_ON(QEMU_RESUMED), DESTINATION_STARTED, TELL(MIGRATED)),
    EDGE(DESTINATION_ADOPTING, VST_ON(QEMU_LACKS), DESTINATION_RESUMED, TELL(MIGRATED)),
    EDGE(DESTINATION_ADOPTING, VST_ON(QEMU_REFUSED) | TAKEN_BACK, DESTINATION_ABORTING),
    EDGE(DESTINATION_ADOPTING, VST_ON(QEMU_GONE), DESTINATION_LOST, TELL(IN_DOUBT)),
    EDGE(DESTINATION_ADOPTING, VST_ON(TIMER), DESTINATION_ADOPTING), /* it may be deaf now */

    EDGE(DESTINATION_REJOINING, VST_ON(QEMU_LACKS), DESTINATION_RESUMED),
    EDGE(DESTINATION_REJOINING, VST_ON(QEMU_COMPLETED), DESTINATION_STARTED),
    EDGE(DESTINATION_REJOINING, VST_ON(QEMU_GONE), DESTINATION_DEAD, TELL(DIED)),
    EDGE(DESTINATION_REJOINING, VST_ON(ABORT), DESTINATION_ABORTING),
    EDGE(DESTINATION_REJOINING, VST_ON(TIMER), DESTINATION_REJOINING),

    /* A broken stream is the source's to make again: it asks with COMMIT. */
    EDGE(DESTINATION_RESUMED, VST_ON(WRITTEN), DESTINATION_LACKING),
    EDGE(DESTINATION_RESUMED, VST_ON(TIMER), DESTINATION_RESUMED),
    EDGE(DESTINATION_RESUMED, VST_ON(COMMIT), STAY, SAY(NEEDS)),
    EDGE(DESTINATION_RESUMED, VST_ON(ABORT), DESTINATION_ABORTING),
    EDGE(DESTINATION_RESUMED, VST_ON(QEMU_COMPLETED), DESTINATION_STARTED),
    EDGE(DESTINATION_RESUMED, VST_ON(QEMU_GONE), DESTINATION_DEAD, TELL(DIED)),
    EDGE(DESTINATION_RESUMED, VST_ON(QEMU_FAILED), DESTINATION_REJOINING), /* a monitor lost */
    EDGE(DESTINATION_RESUMED, VST_ON(FINISH), DESTINATION_ENDING, TELL(CUT_OFF)),

    EDGE(DESTINATION_LACKING, VST_ON(COMMIT), STAY, SAY(NEEDS)),
    EDGE(DESTINATION_LACKING, VST_ON(ABORT), DESTINATION_ABORTING),
    EDGE(DESTINATION_LACKING, VST_ON(QEMU_COMPLETED), DESTINATION_STARTED),
    EDGE(DESTINATION_LACKING, VST_ON(QEMU_GONE), DESTINATION_DEAD, TELL(DIED)),
    EDGE(DESTINATION_LACKING, VST_ON(QEMU_FAILED), DESTINATION_REJOINING),
    EDGE(DESTINATION_LACKING, VST_ON(FINISH), DESTINATION_ENDING, TELL(CUT_OFF)),

    EDGE(DESTINATION_STARTED, VST_ON(WRITTEN), DESTINATION_RUNNING),
    EDGE(DESTINATION_STARTED, VST_ON(TIMER), DESTINATION_STARTED),
    EDGE(DESTINATION_STARTED, VST_ON(COMMIT), STAY, SAY(COMMITTED)),
    EDGE(DESTINATION_STARTED, VST_ON(ABORT), STAY, SAY(COMMITTED), TELL(CONFLICT)),
    EDGE(DESTINATION_STARTED, VST_ON(FINISH), DESTINATION_ENDING),

    EDGE(DESTINATION_RUNNING, VST_ON(COMMIT), STAY, SAY(COMMITTED)),
    EDGE(DESTINATION_RUNNING, VST_ON(ABORT), STAY, SAY(COMMITTED), TELL(CONFLICT)),
    EDGE(DESTINATION_RUNNING, VST_ON(FINISH), DESTINATION_ENDING),

    EDGE(DESTINATION_LOST, VST_ON(COMMIT), STAY, SAY(LOST)),
    EDGE(DESTINATION_LOST, TAKEN_BACK, DESTINATION_ABORTING),
    EDGE(DESTINATION_LOST, VST_ON(RESOLVE_DESTINATION), DESTINATION_STARTED, TELL(MIGRATED)),
    EDGE(DESTINATION_LOST, VST_ON(FINISH), DESTINATION_ENDING),

    EDGE(DESTINATION_DEAD, VST_ON(COMMIT), STAY, SAY(DIED)),
    EDGE(DESTINATION_DEAD, VST_ON(ABORT) | VST_ON(FINISH), DESTINATION_ENDING),

    EDGE(DESTINATION_ABORTING, VST_ON(WRITTEN), DESTINATION_KILLING, TELL(GIVEN_UP)),
    EDGE(DESTINATION_ABORTING, VST_ON(TIMER), DESTINATION_ABORTING),

    EDGE(DESTINATION_KILLING, VST_ON(QEMU_GONE), DESTINATION_ABORTED),
    EDGE(DESTINATION_KILLING, VST_ON(TIMER), DESTINATION_KILLING),
    EDGE(DESTINATION_KILLING, VST_ON(COMMIT), STAY, SAY(ABORTED)),

    /* Kept until the source has given up, too: a PREPARE that was repeated on the way could begin
     * it all again, and an ABORTED of the first time then end what is the destination's. */
    EDGE(DESTINATION_ABORTED, VST_ON(COMMIT), STAY, SAY(ABORTED)),
    EDGE(DESTINATION_ABORTED, VST_ON(ABORT), DESTINATION_ENDING),
    /* Its operator gave the guest to us, and so it has ended its own. */
    EDGE(DESTINATION_ABORTED, VST_ON(FINISH), STAY, SAY(ABORTED), TELL(NOWHERE)),

    EDGE(DESTINATION_DISOWNING, VST_ON(WRITTEN), DESTINATION_ABORTED, SAY(UNKNOWN)),
    EDGE(DESTINATION_DISOWNING, VST_ON(TIMER), DESTINATION_DISOWNING),

    /* The source forgets when it hears of it, so nobody would put right a journal that still calls
     * the guest `committed`: a restart would take hold of it again, or miss it. */
    EDGE(DESTINATION_ENDING, VST_ON(WRITTEN), DESTINATION_DONE, SAY(FINISHED)),
    EDGE(DESTINATION_ENDING, VST_ON(TIMER), DESTINATION_ENDING),

    EDGE(DESTINATION_DONE, ASKS | VST_ON(FINISH), STAY, SAY(FINISHED)),

    EDGE(ANY, REST, STAY),
};

static const struct vst_handover_restart destination_restarts[] = {
    RESTART(PREPARED, DESTINATION_ABORTING, TELL(RESTARTED)),
    RESTART(LOADED, DESTINATION_RETAKING),
    RESTART(COMMITTED, DESTINATION_ADOPTING),
    RESTART(LACKING, DESTINATION_REJOINING, OUTCOME(MIGRATED)),
    RESTART(RUNNING, DESTINATION_RUNNING, OUTCOME(MIGRATED)),
    RESTART(ABORTED, DESTINATION_KILLING, OUTCOME(GIVEN_UP)),
    /* Not to end a QEMU: one of this token may have run, and be forgotten. */
    RESTART(DISOWNED, DESTINATION_ABORTED, OUTCOME(GIVEN_UP)),
};

static void destination_trace(const char *label, unsigned from, unsigned to)
{
    vst_fsm_trace(destination, label, from, to);
}

const struct vst_handover_table vst_handover_destination = VST_HANDOVER_TABLE(destination);

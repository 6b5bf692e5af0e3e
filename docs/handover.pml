/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The world around the two machines of the hand-over, for spin. The machines themselves are in
 * handover-table.pml, which is printed from the tables that the program runs on
 * (tests/model/print-handover), so that the two cannot differ.
 *
 * The network is the worst there is: what was ever sent may arrive at any time, any number of
 * times, or never. And there are up to TROUBLES of these, at any moment, in any order: a daemon
 * dies (and of the journal's tail that was not synced any part may be there after that), a QEMU
 * dies, its monitor is lost, the journal cannot be written, or is wiped, the link is cut, the stream
 * is damaged, QEMU refuses, a timer runs out before its time, somebody cancels. At any moment all
 * that may end, and the world is mended: then everything must come to an end, and the timers that
 * takes are counted.
 *
 * A process of one loop: each round one thing happens, and a machine takes one step.
 *
 *     never twice    assertions in source_runs() and destination_runs()
 *     never none     assertions in source_ends(), destination_ends(), and where it is settled; what
 *                    the destination has said, or written, to have as a whole is `kept`
 *     every doubt    the assertion on `patience`
 *       ends
 *     never stale    assertions in source_does() and destination_does(): what is over is over on the
 *                    disk, or a restart would begin again with what was done long ago
 */
#include "handover-table.pml"

#define PATIENCE 20 /* rounds of timers, when mended; more than any way needs */

#define KEPT 1
#define ASKED 2 /* kept, too; but that is not on the disk, and after a restart not known */
#define RELEASED 3

#define SOURCE 1
#define DESTINATION 2

/* QEMU, and what came of the stream: in this order, which counts */
#define GONE 0
#define RUNS 1
#define MOVING 2 /* source: the guest runs, and migrates */
#define PAUSED 3 /* source: before the switch */
#define SWITCHES 4
#define SERVES 5  /* source: in post-copy, paused */
#define POST 6    /* source: postmigrate */
#define NONE 7    /* destination: not spawned yet */
#define LOADS 8   /* destination: inmigrate */
#define WHOLE 9   /* destination: has completed, or is in post-copy; paused */
#define CLOSED 0
#define OPEN 1
#define ARRIVED 2 /* all of it, at the destination */
#define ACKED 3   /* QEMU's own word of that is back */

byte source = SOURCE_NEW;
byte destination = DESTINATION_NEW;
bool source_up = true;
bool destination_up = true;
bool source_timer, destination_timer;

/* Journals: what is surely there, and two records on their way. */
byte source_disk, source_first, source_second, source_writing;
byte destination_disk, destination_first, destination_second, destination_writing;

/* Commands to QEMU, one on its way; what QEMU has said and was not heard yet, as bits. */
byte source_qemu = RUNS;
byte destination_qemu = NONE;
byte source_command, destination_command;
int source_said, destination_said;

/* Messages on their way, as bits; those of a destination that lost its journal are apart. */
int to_destination, to_source, to_source_from_stranger;
bool wiped; /* the destination's journal was, and with it its identity */

byte stream = CLOSED;
bool broken, damaged, ended;
bool lacks; /* the destination's copy does, memory that is at the source only */
bool post_copy;
bool source_cut, destination_cut; /* the end of the link is still to be told */

/* What must never be. */
bool ran_there, went_on_here, killed_here, killed_there, given_here, given_there;
byte kept; /* the destination's copy: KEPT, ASKED, RELEASED; 0: nobody relies on it yet */

bool mended;
bool turn; /* whose timer is next, when both have one */
byte patience;
byte troubles;

/* Of one round. */
byte event, next, say, write, qemu, what, who;
bool timer;

#define BIT(event) (1 << ((event) - E_QEMU_READY))
#define TO_DESTINATION(message) (to_destination & BIT(message))
#define TO_SOURCE(message) (to_source & BIT(message))
#define FROM_STRANGER(message) (to_source_from_stranger & BIT(message))
#define SOURCE_ALIVE (source_up && source != SOURCE_NEW && source != SOURCE_DONE)
#define DESTINATION_ALIVE (destination_up && destination != DESTINATION_NEW && destination != DESTINATION_DONE)
#define SETTLED                                                                                   \
	((source == SOURCE_DONE) &&                                                               \
	 (destination == DESTINATION_NEW || destination == DESTINATION_DONE ||                    \
	  destination == DESTINATION_ABORTED || destination == DESTINATION_RUNNING))

#define SOURCE_MAY_STILL_BEGIN                                                                    \
	(source == SOURCE_NEW || source == SOURCE_BEGINNING || source == SOURCE_PREPARING ||      \
	 source == SOURCE_MOVING)

/* From these on a message changes nothing. By name: a state that is new is in neither list, and so
 * loses nothing. */
#define SOURCE_IS_PAST_LOADED                                                                     \
	(source == SOURCE_HANDING || source == SOURCE_COMMITTING || source == SOURCE_DOUBT ||     \
	 source == SOURCE_SERVING || source == SOURCE_APART || source == SOURCE_REJOINING ||      \
	 source == SOURCE_CLOSING || source == SOURCE_QUITTING || source == SOURCE_FINISHING ||   \
	 source == SOURCE_ABORTING || source == SOURCE_RESUMING || source == SOURCE_TELLING ||    \
	 source == SOURCE_ENDING || source == SOURCE_DONE)
#define DESTINATION_IS_PAST_SWITCH                                                                \
	(destination == DESTINATION_COMMITTING || destination == DESTINATION_TAKING ||            \
	 destination == DESTINATION_RESUMING || destination == DESTINATION_ADOPTING ||            \
	 destination == DESTINATION_REJOINING || destination == DESTINATION_RESUMED ||            \
	 destination == DESTINATION_LACKING || destination == DESTINATION_STARTED ||              \
	 destination == DESTINATION_RUNNING || destination == DESTINATION_LOST ||                 \
	 destination == DESTINATION_DEAD || destination == DESTINATION_ABORTING ||                \
	 destination == DESTINATION_KILLING || destination == DESTINATION_ABORTED ||              \
	 destination == DESTINATION_DISOWNING || destination == DESTINATION_ENDING ||             \
	 destination == DESTINATION_DONE)

/* ---- the rules ---- */

inline source_runs()
{
	assert(destination_qemu != RUNS);
	assert(!ran_there || given_here);
	if
	:: source_qemu > MOVING -> went_on_here = true
	:: else
	fi;
	source_qemu = RUNS
}

inline destination_runs()
{
	assert(source_qemu != RUNS && source_qemu != MOVING);
	assert((ended || post_copy) && !damaged);
	assert(!went_on_here || given_there);
	destination_qemu = RUNS;
	ran_there = true
}

inline source_ends()
{
	assert(ran_there || given_there);
	assert(!lacks || destination_qemu == GONE || source_qemu == GONE || given_there);
	source_qemu = GONE
}

inline destination_ends()
{
	assert(destination_qemu != RUNS);
	assert(destination_qemu != WHOLE || kept == 0 || kept == RELEASED);
	if
	:: destination_qemu != NONE -> destination_qemu = GONE
	:: else
	fi
}

/* Whoever has been told, or after a restart will know, that there is a whole copy relies on it. */
inline keep()
{
	if
	:: kept == 0 || kept == ASKED -> kept = KEPT
	:: else
	fi
}

/* ---- what machines do ---- */

inline break_stream()
{
	if
	:: stream != CLOSED -> broken = true
	:: else
	fi
}

inline source_tells(what_is_said)
{
	if
	:: SOURCE_ALIVE -> source_said = source_said | BIT(what_is_said)
	:: else
	fi
}

inline destination_tells(what_is_said)
{
	if
	:: DESTINATION_ALIVE -> destination_said = destination_said | BIT(what_is_said)
	:: else
	fi
}

/* Asked for again while it is on its way, a record goes there once. */
inline append(disk, first, second)
{
	if
	:: write == 0 || (first == write && second == 0) || second == write
	:: else ->
		if
		:: first == 0 -> first = write
		:: first != 0 && second == 0 -> second = write
		:: else -> disk = first; first = second; second = write
		fi
	fi
}

inline source_does()
{
	if
	:: next != STAY ->
		source_enter();
		source_timer = timer;
		source_writing = write;
		append(source_disk, source_first, source_second);
		if
		:: qemu != Q_NOTHING ->
			if
			:: source_command != Q_NOTHING -> source_obeys()
			:: else
			fi;
			source_command = qemu
		:: else
		fi
	:: else
	fi;
	if
	:: say != 0 -> to_destination = to_destination | BIT(say)
	:: else
	fi;
	assert(next != SOURCE_DONE || source_disk == R_DONE);
	if
	:: say == E_ABORT -> kept = RELEASED
	:: else
	fi
}

inline destination_does()
{
	if
	:: next != STAY ->
		destination_enter();
		destination_timer = timer;
		destination_writing = write;
		append(destination_disk, destination_first, destination_second);
		if
		:: qemu != Q_NOTHING ->
			if
			:: destination_command != Q_NOTHING -> destination_obeys()
			:: else
			fi;
			destination_command = qemu
		:: else
		fi
	:: else
	fi;
	assert(next != DESTINATION_DONE || destination_disk == R_DONE || destination_disk == 0);
	assert(next != DESTINATION_RUNNING || destination_disk == R_RUNNING);
	if
	:: say == E_LOADED && !post_copy -> keep()
	:: next == DESTINATION_COMMITTING && kept == 0 -> kept = ASKED
	:: else
	fi;
	if
	:: source == SOURCE_DONE && source_up
	:: say != 0 && wiped && !(source == SOURCE_DONE && source_up) -> to_source_from_stranger = to_source_from_stranger | BIT(say)
	:: say != 0 && !wiped && !(source == SOURCE_DONE && source_up) ->
		to_source = to_source | BIT(say)
	:: else
	fi
}

/* ---- QEMU ---- */

inline source_obeys()
{
	if
	:: source_qemu == GONE -> source_tells(E_QEMU_GONE)
	:: source_qemu != GONE && source_command == Q_MIGRATE ->
		broken = !(stream == CLOSED && destination_qemu == LOADS && !source_cut);
		source_qemu = MOVING; stream = OPEN
	:: source_qemu != GONE && source_command == Q_CONTINUE ->
		if
		:: source_qemu == PAUSED -> source_qemu = SWITCHES
		:: else
		fi
	:: source_qemu != GONE && source_command == Q_SERVE ->
		if
		:: source_qemu == POST -> source_tells(E_QEMU_COMPLETED)
		:: source_qemu == SERVES && (broken || stream == CLOSED) && lacks && !wiped &&
		   destination_up && destination_qemu != GONE -> stream = OPEN; broken = false
		:: source_qemu == SERVES && (broken || stream == CLOSED) &&
		   !(lacks && !wiped && destination_up && destination_qemu != GONE) ->
			source_tells(E_QEMU_FAILED)
		:: else
		fi
	:: source_qemu != GONE && source_command == Q_RESUME ->
		break_stream(); source_runs(); source_tells(E_QEMU_RESUMED)
	:: source_qemu != GONE && source_command == Q_END ->
		source_ends(); source_tells(E_QEMU_GONE)
	:: else
	fi;
	source_command = Q_NOTHING
}

inline destination_tells_it_runs()
{
	if
	:: lacks -> destination_tells(E_QEMU_LACKS)
	:: else -> destination_tells(E_QEMU_RESUMED)
	fi
}

inline destination_obeys()
{
	if
	:: destination_command == Q_CHECK && destination_qemu == NONE -> destination_tells(E_CHECKED)
	:: destination_command == Q_CHECK && destination_qemu != NONE ->
		destination_tells(E_CHECK_FAILED) /* the name is taken */
	:: destination_command == Q_SPAWN ->
		if
		:: destination_qemu == NONE -> destination_qemu = LOADS; destination_tells(E_QEMU_READY)
		:: else -> destination_tells(E_QEMU_GONE)
		fi
	:: destination_command == Q_CONT && destination_qemu == RUNS -> destination_tells_it_runs()
	:: destination_command == Q_CONT && (destination_qemu == WHOLE || destination_qemu == LOADS) ->
		assert(destination_qemu == WHOLE); /* cont while it loads defeats -S */
		destination_runs(); destination_tells_it_runs()
	:: destination_command == Q_CONT && (destination_qemu == GONE || destination_qemu == NONE) ->
		destination_tells(E_QEMU_GONE)
	:: destination_command == Q_ADOPT ->
		if
		:: destination_qemu == WHOLE -> destination_tells(E_QEMU_PAUSED)
		:: destination_qemu == RUNS -> destination_tells_it_runs()
		:: else -> destination_tells(E_QEMU_GONE)
		fi
	:: destination_command == Q_REJOIN ->
		if
		:: destination_qemu == RUNS && lacks -> destination_tells(E_QEMU_LACKS)
		:: destination_qemu == RUNS && !lacks -> destination_tells(E_QEMU_COMPLETED)
		:: else -> destination_tells(E_QEMU_GONE)
		fi
	:: destination_command == Q_STOP -> assert(destination_qemu != RUNS)
	:: destination_command == Q_END ->
		destination_ends(); break_stream(); destination_tells(E_QEMU_GONE)
	:: else
	fi;
	destination_command = Q_NOTHING
}

/* ---- rounds: an event has been chosen ---- */

/* What can change nothing any more is lost, to make the model smaller. */
inline lose_stale()
{
	if
	:: (source_qemu == GONE || source_qemu == RUNS) && destination_qemu == RUNS && !lacks ->
		stream = ACKED; broken = true; ended = true; post_copy = false
	:: else
	fi;
	if
	:: destination_qemu == RUNS || destination_qemu == GONE -> kept = RELEASED
	:: else
	fi;
	if
	:: destination_up && DESTINATION_IS_PAST_SWITCH ->
		to_destination = to_destination & ~BIT(E_SWITCH)
	:: else
	fi;
	if
	:: source == SOURCE_CLOSING || source == SOURCE_QUITTING || source == SOURCE_FINISHING ->
		to_source = to_source & ~(BIT(E_NEEDS) | BIT(E_DIED) | BIT(E_COMMITTED) | BIT(E_LOST))
	:: else
	fi;
	if
	:: SOURCE_IS_PAST_LOADED ->
		to_source = to_source & ~(BIT(E_STARTED) | BIT(E_REFUSED) | BIT(E_LOADED))
	:: else
	fi;
	if
	:: source == SOURCE_DONE && source_up -> to_source = 0; to_source_from_stranger = 0
	:: else
	fi
}

inline source_takes()
{
	d_step {
		source_step();
		source_does();
		lose_stale();
		event = 0; next = 0; say = 0; write = 0; qemu = 0; timer = false; what = 0; who = 0
	}
}

inline destination_takes()
{
	d_step {
		destination_step();
		destination_does();
		lose_stale();
		event = 0; next = 0; say = 0; write = 0; qemu = 0; timer = false; what = 0; who = 0
	}
}

inline shift(first, second)
{
	what = first; first = second; second = 0
}

/* A record reaches the disk, or not, and the daemon hears of it: if it waits for that one. */
inline source_written(is_there, heard)
{
	d_step {
		shift(source_first, source_second);
		if
		:: is_there -> source_disk = what
		:: else
		fi
	}
	if
	:: what == source_writing -> event = heard; who = SOURCE
	:: else -> what = 0
	fi
}

inline destination_written(is_there, heard)
{
	d_step {
		shift(destination_first, destination_second);
		if
		:: is_there -> destination_disk = what
		:: else
		fi;
		if
		:: is_there && what == R_LOADED -> keep()
		:: else
		fi
	}
	if
	:: what == destination_writing -> event = heard; who = DESTINATION
	:: else -> what = 0
	fi
}

inline cut_link()
{
	source_cut = SOURCE_ALIVE;
	destination_cut = DESTINATION_ALIVE;
	break_stream()
}

/* How much of the tail is there is chosen; what QEMU had not read may go, too. */
inline source_crashes()
{
	if
	:: skip
	:: source_first != 0 -> source_disk = source_first
	:: source_second != 0 -> source_disk = source_second
	fi;
	if
	:: source_command = Q_NOTHING
	:: source_command != Q_NOTHING
	fi;
	d_step {
		source_first = 0; source_second = 0; source_writing = 0; source_said = 0;
		cut_link();
		source_up = false; source_timer = false; source_cut = false; source = SOURCE_DONE
	}
}

inline destination_crashes()
{
	if
	:: skip
	:: destination_first != 0 -> destination_disk = destination_first
	:: destination_second != 0 -> destination_disk = destination_second
	fi;
	if
	:: destination_command = Q_NOTHING
	:: destination_command != Q_NOTHING
	fi;
	d_step {
		destination_first = 0; destination_second = 0; destination_writing = 0;
		destination_said = 0;
		cut_link();
		destination_up = false; destination_timer = false; destination_cut = false;
		destination = DESTINATION_NEW;
		if
		:: kept == ASKED && destination_disk == R_PREPARED -> kept = 0
		:: else
		fi
	}
}

inline source_returns()
{
	d_step {
		source_up = true;
		source_restart(source_disk);
		source_does();
		event = 0; next = 0; say = 0; write = 0; qemu = 0; timer = false; who = 0
	}
}

inline destination_returns()
{
	d_step {
		destination_up = true;
		destination_restart(destination_disk);
		destination_does();
		event = 0; next = 0; say = 0; write = 0; qemu = 0; timer = false; who = 0
	}
}

/* A message, that stays on its way in bad times: it was repeated. */
#define FOR_DESTINATION(message)                                                          \
	:: destination_up && TO_DESTINATION(message) ->                                   \
		if                                                                        \
		:: mended -> to_destination = to_destination & ~BIT(message)              \
		:: else                                                                   \
		fi;                                                                       \
		event = message; who = DESTINATION
#define FOR_SOURCE(message)                                                               \
	:: SOURCE_ALIVE && TO_SOURCE(message) ->                                          \
		if                                                                        \
		:: mended -> to_source = to_source & ~BIT(message)                        \
		:: else                                                                   \
		fi;                                                                       \
		event = message; who = SOURCE                                           \
	:: SOURCE_ALIVE && FROM_STRANGER(message) ->                                      \
		if                                                                        \
		:: mended -> to_source_from_stranger = to_source_from_stranger & ~BIT(message) \
		:: else                                                                   \
		fi;                                                                       \
		event = STRANGER(message); who = SOURCE
#define STRANGER(message) E_WRONG_HOST
#define SOURCE_HEARS(word)                                                                \
	:: SOURCE_ALIVE && (source_said & BIT(word)) ->                                   \
		source_said = source_said & ~BIT(word); event = word; who = SOURCE
#define DESTINATION_HEARS(word)                                                           \
	:: DESTINATION_ALIVE && (destination_said & BIT(word)) ->                         \
		destination_said = destination_said & ~BIT(word); event = word; who = DESTINATION
#define TROUBLE (!mended && troubles < TROUBLES)

active proctype world()
{
	d_step {
		event = E_BEGIN; source_step(); source_does();
		event = 0; next = 0; say = 0; write = 0; qemu = 0; timer = false; who = 0
	}
	do
	:: atomic {
		if
		/* messages */
		FOR_DESTINATION(E_PREPARE)
		FOR_DESTINATION(E_SWITCH)
		FOR_DESTINATION(E_COMMIT)
		FOR_DESTINATION(E_ABORT)
		FOR_DESTINATION(E_FINISH)
		FOR_SOURCE(E_STARTED)
		FOR_SOURCE(E_REFUSED)
		FOR_SOURCE(E_LOADED)
		FOR_SOURCE(E_COMMITTED)
		FOR_SOURCE(E_ABORTED)
		FOR_SOURCE(E_UNKNOWN)
		FOR_SOURCE(E_LOST)
		FOR_SOURCE(E_FINISHED)
		FOR_SOURCE(E_NEEDS)
		FOR_SOURCE(E_DIED)
		/* what QEMU says */
		SOURCE_HEARS(E_QEMU_PAUSED)
		SOURCE_HEARS(E_QEMU_COMPLETED)
		SOURCE_HEARS(E_QEMU_SWITCHED)
		SOURCE_HEARS(E_QEMU_RESUMED)
		SOURCE_HEARS(E_QEMU_FAILED)
		SOURCE_HEARS(E_QEMU_GONE)
		DESTINATION_HEARS(E_QEMU_READY)
		DESTINATION_HEARS(E_QEMU_PAUSED)
		DESTINATION_HEARS(E_QEMU_COMPLETED)
		DESTINATION_HEARS(E_QEMU_SWITCHED)
		DESTINATION_HEARS(E_QEMU_LACKS)
		DESTINATION_HEARS(E_QEMU_RESUMED)
		DESTINATION_HEARS(E_QEMU_REFUSED)
		DESTINATION_HEARS(E_QEMU_FAILED)
		DESTINATION_HEARS(E_QEMU_GONE)
		DESTINATION_HEARS(E_CHECKED)
		DESTINATION_HEARS(E_CHECK_FAILED)
		DESTINATION_HEARS(E_STREAM_VERIFIED)
		DESTINATION_HEARS(E_STREAM_FAILED)
		/* journals */
		:: source_first != 0 -> source_written(true, E_WRITTEN)
		:: source_first != 0 && TROUBLE -> troubles++; source_written(true, E_NOT_WRITTEN)
		:: source_first != 0 && TROUBLE -> troubles++; source_written(false, E_NOT_WRITTEN)
		:: destination_first != 0 -> destination_written(true, E_WRITTEN)
		:: destination_first != 0 && TROUBLE -> troubles++; destination_written(true, E_NOT_WRITTEN)
		:: destination_first != 0 && TROUBLE -> troubles++; destination_written(false, E_NOT_WRITTEN)
		/* QEMU */
		:: source_command != Q_NOTHING -> d_step { source_obeys() }
		:: destination_command != Q_NOTHING -> d_step { destination_obeys() }
		:: destination_command == Q_CONT && destination_qemu == WHOLE && TROUBLE ->
			d_step {
				troubles++; destination_command = Q_NOTHING; kept = RELEASED;
				destination_tells(E_QEMU_REFUSED)
			}
		/* it is known never to have been told to run, or is not */
		:: (destination_command == Q_CONT || destination_command == Q_ADOPT) &&
		   (destination_qemu == GONE || destination_qemu == NONE) && !ran_there ->
			d_step { destination_command = Q_NOTHING; destination_tells(E_QEMU_REFUSED) }
		:: source_qemu == MOVING && !broken ->
			d_step { source_qemu = PAUSED; source_tells(E_QEMU_PAUSED) }
		:: source_qemu >= MOVING && source_qemu <= SWITCHES && broken ->
			d_step { source_runs(); source_tells(E_QEMU_FAILED) } /* by itself */
		:: source_qemu == SWITCHES && stream == OPEN && !broken -> stream = ARRIVED
		/* into post-copy; then the device state, and at last what was lacking */
		:: source_qemu == SWITCHES && stream == OPEN && !broken ->
			d_step { source_qemu = SERVES; post_copy = true; source_tells(E_QEMU_SWITCHED) }
		:: source_qemu == SERVES && stream == OPEN && !broken && destination_qemu == LOADS ->
			d_step { destination_qemu = WHOLE; lacks = true; destination_tells(E_QEMU_SWITCHED) }
		:: source_qemu == SERVES && stream == OPEN && !broken && lacks &&
		   (destination_qemu == WHOLE || destination_qemu == RUNS) &&
		   !(destination_said & BIT(E_QEMU_LACKS)) -> /* what QEMU says keeps its order */
			d_step { stream = ARRIVED; lacks = false; destination_tells(E_QEMU_COMPLETED) }
		:: source_qemu == SERVES && stream == ARRIVED && !broken ->
			d_step { stream = ACKED; source_qemu = POST; source_tells(E_QEMU_COMPLETED) }
		:: source_qemu == SERVES && broken && source == SOURCE_SERVING &&
		   source_command == Q_NOTHING && source_said == 0 -> event = E_QEMU_FAILED; who = SOURCE
		:: source_qemu == SWITCHES && stream == OPEN && !broken && TROUBLE ->
			d_step { troubles++; stream = ARRIVED; damaged = true }
		:: source_qemu == SWITCHES && stream == ACKED ->
			d_step { source_qemu = POST; source_tells(E_QEMU_COMPLETED) }
		:: destination_qemu == LOADS && stream >= ARRIVED ->
			d_step { destination_qemu = WHOLE; destination_tells(E_QEMU_COMPLETED) }
		:: destination_qemu == LOADS && stream == OPEN && broken ->
			d_step { destination_qemu = GONE; destination_tells(E_QEMU_FAILED) }
		:: destination_qemu == WHOLE && stream == ARRIVED && !broken && !post_copy -> stream = ACKED
		:: (stream == ACKED || (stream == ARRIVED && !post_copy)) && !ended && DESTINATION_ALIVE ->
			d_step {
				ended = true;
				if
				:: damaged -> destination_tells(E_STREAM_FAILED)
				:: else -> destination_tells(E_STREAM_VERIFIED)
				fi
			}
		:: destination == DESTINATION_LOADING && !ended &&
		   (broken || (stream == CLOSED && !SOURCE_MAY_STILL_BEGIN)) ->
			event = E_STREAM_FAILED; who = DESTINATION /* no progress */
		:: (destination == DESTINATION_SWITCHED || destination == DESTINATION_TAKING) &&
		   !ended && broken && destination_said == 0 ->
			event = E_STREAM_FAILED; who = DESTINATION
		/* All has come, and its operation is not over when the link goes. */
		:: TROUBLE && ended && !damaged && broken && destination_said == 0 &&
		   (destination == DESTINATION_KEEPING || destination == DESTINATION_LOADED ||
		    destination == DESTINATION_COMMITTING || destination == DESTINATION_TAKING) ->
			troubles++; event = E_STREAM_FAILED; who = DESTINATION
		:: source == SOURCE_MOVING && source_command == Q_NOTHING && source_qemu == RUNS &&
		   source_said == 0 -> event = E_QEMU_FAILED; who = SOURCE
		/* the link */
		:: TROUBLE && stream != CLOSED && !broken -> d_step { troubles++; cut_link() }
		:: source_cut -> source_cut = false; event = E_LINK_DOWN; who = SOURCE
		:: destination_cut ->
			destination_cut = false; event = E_LINK_DOWN; who = DESTINATION
		:: TROUBLE && (source == SOURCE_COMMITTING || source == SOURCE_DOUBT ||
		               source == SOURCE_APART || source == SOURCE_REJOINING) ->
			troubles++; event = E_LINK_UP; who = SOURCE
		/* people, timers */
		:: TROUBLE && SOURCE_ALIVE -> troubles++; event = E_CANCEL; who = SOURCE
		:: TROUBLE && DESTINATION_ALIVE ->
			troubles++; kept = RELEASED; event = E_CANCEL; who = DESTINATION
		:: TROUBLE && source_timer -> troubles++; event = E_TIMER; who = SOURCE
		:: TROUBLE && destination_timer -> troubles++; event = E_TIMER; who = DESTINATION
		:: TROUBLE && source == SOURCE_FINISHING -> troubles++; event = E_ENOUGH; who = SOURCE
		/* death */
		:: TROUBLE && source_up -> troubles++; source_crashes()
		:: TROUBLE && destination_up -> troubles++; destination_crashes()
		:: !source_up -> source_returns()
		:: !destination_up -> destination_returns()
		:: TROUBLE && !wiped && !destination_up ->
			troubles++; wiped = true; kept = RELEASED; destination_disk = 0 /* its QEMU goes on */
		:: TROUBLE && source_qemu != GONE ->
			d_step {
				troubles++; source_qemu = GONE; killed_here = true; source_tells(E_QEMU_GONE);
				if
				:: stream == OPEN || stream == ARRIVED -> broken = true
				:: else
				fi
			}
		:: TROUBLE && destination_qemu != GONE && destination_qemu != NONE ->
			d_step {
				troubles++; destination_qemu = GONE; killed_there = true;
				destination_tells(E_QEMU_GONE); break_stream()
			}
		/* a monitor, which says nothing of its QEMU */
		:: TROUBLE && destination_qemu == WHOLE && destination_said == 0 &&
		   (destination == DESTINATION_LOADED || destination == DESTINATION_RESUMING) ->
			troubles++; event = E_QEMU_FAILED; who = DESTINATION
		/* What is done is forgotten. */
		:: destination == DESTINATION_DONE && destination_first == 0 ->
			d_step {
				destination = DESTINATION_NEW; destination_disk = 0;
				destination_said = 0; destination_command = 0
			}

		:: !mended -> mended = true; troubles = 0
		/* In peace a timer runs out when nothing else happens. */
		:: mended && !SETTLED && timeout ->
			d_step { patience++; assert(patience <= PATIENCE) }
			if
			:: source_timer && destination_timer && turn ->
				turn = false; event = E_TIMER; who = DESTINATION
			:: source_timer && !(destination_timer && turn) &&
			   !(wiped && (source == SOURCE_DOUBT || source == SOURCE_APART ||
			               source == SOURCE_TELLING || source == SOURCE_FINISHING)) &&
			   destination != DESTINATION_LOST ->
				turn = destination_timer; event = E_TIMER; who = SOURCE
			:: wiped && source == SOURCE_FINISHING -> event = E_ENOUGH; who = SOURCE
			:: wiped && source == SOURCE_TELLING -> event = E_FINISHED; who = SOURCE
			:: !source_timer && destination_timer -> event = E_TIMER; who = DESTINATION
			/* The operator, who looks where the guest is. */
			:: destination == DESTINATION_LOST ->
				given_here = true; event = E_RESOLVE_SOURCE; who = DESTINATION
			:: wiped && (source == SOURCE_DOUBT || source == SOURCE_APART) &&
			   destination_qemu == RUNS ->
				given_there = true; event = E_RESOLVE_DESTINATION; who = SOURCE
			:: wiped && (source == SOURCE_DOUBT || source == SOURCE_APART) &&
			   destination_qemu != RUNS ->
				given_here = true; event = E_RESOLVE_SOURCE; who = SOURCE
			:: else -> assert(false) /* it hangs */
			fi
		:: mended && SETTLED && timeout ->
			assert(source_qemu == RUNS || destination_qemu == RUNS || killed_there ||
			       (killed_here && (kept == 0 || kept == RELEASED)));
			assert(!(destination_qemu == RUNS && lacks) || killed_here || given_there);
			break
		fi;
		if
		:: who == SOURCE -> source_takes()
		:: who == DESTINATION -> destination_takes()
		:: else
		fi
	}
	od
}

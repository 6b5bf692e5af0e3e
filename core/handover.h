/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over of a live migration: who owns the guest, decided so that it never runs twice and
 * is never lost, whatever dies on the way. Pure: events in, actions out; no I/O, no clock, no
 * allocation. Each end has one machine for each token. docs/handover.md explains the protocol.
 *
 * Both machines are tables (handover-source.c, handover-destination.c), and this is what walks
 * them. An event meets the first edge that names its state; the edge says which message to answer,
 * what to tell, and which state is next; entering a state says what to do there. The model that
 * spin checks is printed from the same tables.
 *
 * What a step asks for (struct vst_handover_actions) is at most one of each, in any order:
 *
 *   write   append this record to the journal and fsync it; then WRITTEN or NOT_WRITTEN. Records
 *           reach the disk in the order in which they were asked for. After NOT_WRITTEN the record
 *           may be there all the same, or come there later, until the next one is asked for.
 *   send    this message to the peer. The source uses the link that there is or makes a new one;
 *           where neither works, LINK_DOWN. The destination answers where the peer's last message
 *           came from. Nothing that was sent is sure to arrive.
 *   qemu    what it says; the event that comes of it is in the list of commands. It is for the QEMU
 *           of this token, never for another of the same guest: the one that the source had when it
 *           began, the one that was spawned here for it, until the machine is over.
 *   timer   TIMER after so many milliseconds. Entering a state takes the timer before it back.
 *   tell    people, see VST_HANDOVER_TOLD.
 */
#ifndef VST_CORE_HANDOVER_H
#define VST_CORE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "virstream/migration.h"

#define VST_HANDOVER_ID 16 /* bytes of a token, and of a host's identity */

/* Name, how it is told as the reason of what followed. As reasons their numbers are on disks: new
 * ones come at the end. Messages stand together, those of the source first: see below. */
#define VST_HANDOVER_EVENTS(X)                                                                  \
    X(NONE, "no reason is known")                                                               \
    X(BEGIN, "the migration was asked for")                                                     \
    /* The journal, and the clock. */                                                           \
    X(WRITTEN, "the journal was written")                                                       \
    X(NOT_WRITTEN, "the journal cannot be written")                                             \
    X(TIMER, "there was no answer in time")                                                     \
    X(ENOUGH, "there was no answer, however often it was asked")                                \
    /* People. */                                                                               \
    X(CANCEL, "it was cancelled")                                                               \
    X(RESOLVE_SOURCE, "the operator said that the guest runs on the source")                    \
    X(RESOLVE_DESTINATION, "the operator said that the guest runs on the destination")          \
    /* The link between the hosts. UP when one is made or made again, and its peer is known. */ \
    X(LINK_UP, "the connection is there")                                                       \
    X(LINK_DOWN, "the connection to the other host is lost")                                    \
    X(WRONG_HOST, "the host that answers is not the one that the migration began with")         \
    /* This end's QEMU. */                                                                      \
    X(QEMU_READY, "QEMU waits for the incoming migration")                                      \
    X(QEMU_PAUSED, "the guest is paused, before the switch")                                    \
    X(QEMU_COMPLETED, "QEMU has completed, and leaves the guest paused")                        \
    X(QEMU_SWITCHED, "QEMU is in post-copy, and leaves the guest paused")                       \
    X(QEMU_RESUMED, "the guest runs")                                                           \
    X(QEMU_LACKS, "the guest runs, and lacks memory that is still to come")                     \
    X(QEMU_REFUSED, "QEMU refused to resume the guest")                                         \
    X(QEMU_FAILED, "QEMU says that the migration failed")                                       \
    X(QEMU_GONE, "QEMU is gone")                                                                \
    /* The destination's checks, and the stream into it. */                                     \
    X(CHECKED, "the destination can take the guest")                                            \
    X(CHECK_FAILED, "the destination cannot take the guest")                                    \
    X(STREAM_VERIFIED, "all of the stream has come, and is right")                              \
    X(STREAM_FAILED, "the stream broke off, or was damaged")                                    \
    /* Messages, from the source and from the destination. */                                   \
    X(PREPARE, "the source asks to prepare")                                                    \
    X(SWITCH, "the source's QEMU is in post-copy")                                              \
    X(COMMIT, "the source has handed the guest over")                                           \
    X(ABORT, "the source has given up")                                                         \
    X(FINISH, "the source will not ask any more")                                               \
    X(STARTED, "the destination takes the stream")                                              \
    X(REFUSED, "the destination refused")                                                       \
    X(LOADED, "the destination has loaded everything")                                          \
    X(COMMITTED, "the guest runs on the destination")                                           \
    X(ABORTED, "the destination has given up")                                                  \
    X(UNKNOWN, "the destination knows nothing of it, and never will")                           \
    X(LOST, "the destination's QEMU was lost when it had been told to run the guest")           \
    X(FINISHED, "the destination has forgotten it")                                             \
    X(NEEDS, "the guest runs on the destination, and lacks memory that is still here")          \
    X(DIED, "the guest died on the destination, before it had all of its memory")               \
    /* To the source the same as CANCEL: its virstream ends, which is also why an end gives up  \
     * that finds itself restarted; and its watch over what travels. */                         \
    X(RESTARTED, "virstream ended here before the guest was handed over")                       \
    X(STALLED, "nothing moved for too long")                                                    \
    X(OVERDUE, "it was not over in the time that it was given")

enum vst_handover_event {
#define VST_HANDOVER_EVENT_ENUM(name, text) VST_HANDOVER_##name,
    VST_HANDOVER_EVENTS(VST_HANDOVER_EVENT_ENUM)
#undef VST_HANDOVER_EVENT_ENUM
        VST_HANDOVER_EVENT_COUNT
};
#define VST_HANDOVER_FIRST_MESSAGE VST_HANDOVER_PREPARE
#define VST_HANDOVER_LAST_OF_SOURCE VST_HANDOVER_FINISH /* what follows is the destination's */
#define VST_HANDOVER_LAST_MESSAGE VST_HANDOVER_DIED

/* The records of the journal, by which an end goes on after a restart: the last one counts. Their
 * numbers are on disks: new ones come at the end. */
#define VST_HANDOVER_RECORDS(X)                                                               \
    X(NOTHING, "-", "")                                                                       \
    X(BEGIN, "begin", "source: the destination may have been asked")                          \
    X(SWITCHING, "switching", "source: the guest is paused, and may be resumed")              \
    X(HANDED_OVER, "handed-over", "source: the destination decides; no return")               \
    X(PREPARED, "prepared", "destination: a QEMU may be there, and has not run")              \
    X(RUNNING, "running", "destination: the guest was resumed; its fate is its own")          \
    X(COMMITTED, "committed", "the guest is the destination's")                               \
    X(ABORTED, "aborted", "the guest is the source's")                                        \
    X(CLOSED, "closed", "source: its QEMU is gone; the destination is to be told")            \
    X(DISOWNED, "disowned", "destination: asked about what was never prepared: aborted")      \
    X(DONE, "done", "nothing is left to do, and nobody will ask: it may be forgotten")        \
    X(RETURNED, "returned", "source: the guest is not moving; the destination is to be told") \
    X(LACKING, "lacking", "the guest was resumed there without all of its memory")            \
    X(LOADED, "loaded", "destination: all of the guest is in a paused QEMU; not to be given up")

enum vst_handover_record {
#define VST_HANDOVER_RECORD_ENUM(name, text, meaning) VST_HANDOVER_RECORD_##name,
    VST_HANDOVER_RECORDS(VST_HANDOVER_RECORD_ENUM)
#undef VST_HANDOVER_RECORD_ENUM
        VST_HANDOVER_RECORD_COUNT
};

/* What QEMU, or what stands for it, is to do, and the events that come of it. GONE may always. */
#define VST_HANDOVER_COMMANDS(X)                                                                 \
    X(NOTHING, "")                                                                               \
    X(CHECK, "every blocker: CHECKED, CHECK_FAILED")                                             \
    X(SPAWN, "a paused QEMU for the incoming migration: READY, FAILED")                          \
    X(MIGRATE, "begin to send, pause before the switch: PAUSED, FAILED")                         \
    X(CONTINUE, "do the switch: COMPLETED; or, into post-copy, SWITCHED; FAILED")                \
    X(SERVE, "source: give what memory the guest lacks: COMPLETED, at once where it has all; "   \
             "FAILED when the stream breaks: then it is asked for again")                        \
    X(RESUME, "source: end any migration, let the guest run if it did before: RESUMED, REFUSED") \
    X(CONT, "destination: let the guest run if it did before: RESUMED or LACKS; REFUSED only "   \
            "if it surely has not run")                                                          \
    X(ADOPT, "destination, after a restart, or when its monitor was lost: PAUSED, RESUMED or "   \
             "LACKS, as it is; REFUSED if it is gone and surely has not run")                    \
    X(REJOIN, "destination, after a restart, when the guest lacked memory: LACKS, COMPLETED")    \
    X(STOP, "destination: pause the guest, if it may run, until it is ended: nothing")           \
    X(END, "end it: GONE, at once where there is none")

enum vst_handover_command {
#define VST_HANDOVER_COMMAND_ENUM(name, meaning) VST_HANDOVER_QEMU_##name,
    VST_HANDOVER_COMMANDS(VST_HANDOVER_COMMAND_ENUM)
#undef VST_HANDOVER_COMMAND_ENUM
        VST_HANDOVER_QEMU_COUNT
};

/* What people are told. The reason is vst_handover_reason(). Name, number, the outcome that it is
 * (OPEN: none, only a word for the moment), text. An outcome is on disks by its number. */
#define VST_HANDOVER_TOLD(X)                                                                   \
    X(NOTHING, 0, OPEN, "")                                                                    \
    X(IN_DOUBT, 1, OPEN, "the guest is paused here until its owner is known")                  \
    X(MIGRATED, 2, MIGRATED, "the guest is the destination's")                                 \
    X(APART, 3, OPEN, "the guest runs there, and the rest of its memory cannot follow now")    \
    X(CUT_OFF, 4, DIED, "the guest will not get the rest of its memory, which the source had") \
    X(DIED, 5, DIED, "the guest died there, before it had all of its memory")                  \
    X(GIVEN_UP, 6, STAYED, "the migration was given up; the guest is the source's")            \
    X(GUEST_GONE, 7, DIED, "the migration was given up; the guest is gone, as its QEMU is")    \
    X(NOT_RESUMED, 8, OPEN, "QEMU refuses to resume the guest; it is tried again")             \
    X(RESTARTED, 11, OPEN, "virstream ended here before the guest was handed over")            \
    X(CONFLICT, 12, CONFLICT,                                                                  \
      "the guest may run on both hosts: an operator gave it to one when it was the other's")   \
    X(NOWHERE, 13, DIED,                                                                       \
      "the guest is on neither host: an operator gave it to the one that had given it up")

enum vst_handover_told {
#define VST_HANDOVER_TOLD_ENUM(name, number, outcome, text) VST_HANDOVER_TELL_##name = (number),
    VST_HANDOVER_TOLD(VST_HANDOVER_TOLD_ENUM)
#undef VST_HANDOVER_TOLD_ENUM
        VST_HANDOVER_TELL_COUNT
};

#define VST_HANDOVER_PATIENCE 60 /* seconds, if nothing else is said */

/* name, how many times the patience it is, milliseconds besides, for what */
#define VST_HANDOVER_TIMERS(X)                                                               \
    X(NONE, 0, 0, "nothing")                                                                 \
    X(PREPARE, 1, 0, "the destination's checks, and a QEMU there")                           \
    X(SWITCH, 1, 0, "the last bytes, while the guest is paused; and before a doubt is told") \
    X(PATIENCE, 5, 0, "the word of the source, when only a part of the memory is to come")   \
    X(AGAIN, 0, 500, "before it is tried again; doubled each time, up to 64 times this")

enum vst_handover_timer {
#define VST_HANDOVER_TIMER_ENUM(name, times, milliseconds, meaning) VST_HANDOVER_TIMER_##name,
    VST_HANDOVER_TIMERS(VST_HANDOVER_TIMER_ENUM)
#undef VST_HANDOVER_TIMER_ENUM
        VST_HANDOVER_TIMER_COUNT
};

enum vst_handover_role { VST_HANDOVER_SOURCE, VST_HANDOVER_DESTINATION };

struct vst_handover_table;

struct vst_handover {
    const struct vst_handover_table *table;
    unsigned char token[VST_HANDOVER_ID];
    unsigned char peer[VST_HANDOVER_ID]; /* all zero: not known yet */
    unsigned state;
    enum vst_handover_record writing;          /* its WRITTEN is waited for */
    enum vst_handover_record written;          /* this state's, if the disk has it */
    enum vst_handover_event cause;             /* what first led off the straight way */
    enum vst_handover_event doubt;             /* why it is in doubt, by the last attempt */
    enum vst_handover_told outcome;            /* the last that was told, see VST_HANDOVER_TOLD */
    unsigned attempts;                         /* since there was progress */
    unsigned delays[VST_HANDOVER_TIMER_COUNT]; /* milliseconds */
};

struct vst_handover_actions {
    enum vst_handover_record write;
    enum vst_handover_event send;
    enum vst_handover_command qemu;
    enum vst_handover_told tell;
    bool entered;      /* a state was: the timer before it is void */
    unsigned timer_ms; /* 0: none */
};

/* Its peer is whoever speaks first, unless the caller knows it from the journal, and sets it. */
void vst_handover_start(struct vst_handover *handover, enum vst_handover_role role,
                        const unsigned char *token);

/* How long it waits for what should come soon; from the next state on. */
void vst_handover_set_patience(struct vst_handover *handover, unsigned seconds);

/* One that was started, and given what cause and outcome the journal knows, after a restart of the
 * host: goes on from the last record of the journal, with the first actions of that. -1: this end
 * never writes such a record, or nothing is left to do after it. */
int vst_handover_recover(struct vst_handover *handover, enum vst_handover_record last,
                         struct vst_handover_actions *ret_actions);

/*
 * One event. `from` is the host that a message or LINK_UP comes from, else NULL: from another than
 * the peer it is taken for WRONG_HOST. What is said for the peer, whoever that is, comes from the
 * machine's own `peer`. -1: this end knows no such event.
 */
int vst_handover_feed(struct vst_handover *handover, enum vst_handover_event event,
                      const unsigned char *from, struct vst_handover_actions *ret_actions);

/* WRITTEN or NOT_WRITTEN for this record; one that is not waited for any more changes nothing. */
int vst_handover_written(struct vst_handover *handover, enum vst_handover_record record, bool good,
                         struct vst_handover_actions *ret_actions);

/* Nothing more will come of it: the machine may be thrown away. */
bool vst_handover_over(const struct vst_handover *handover);

/* Nobody but this machine may let the guest run, pause it or end it. */
bool vst_handover_holds_guest(const struct vst_handover *handover);

/* This machine has no part in the guest any more, and asks nothing of a QEMU: what is left are
 * words to the other host, who may be silent for long, and the journal. */
bool vst_handover_settled(const struct vst_handover *handover);

/* This state ends the QEMU of the guest: it is gone because it was told to be. */
bool vst_handover_ends_qemu(const struct vst_handover *handover);

/* This state pauses the guest, which is to be ended as soon as that is written. */
bool vst_handover_stops_guest(const struct vst_handover *handover);

/* Its clock is for what stands still: it begins anew as long as bytes move. */
bool vst_handover_waits_for_bytes(const struct vst_handover *handover);

/* This event would lead it to another state, or into this one anew. */
bool vst_handover_would_move(const struct vst_handover *handover, enum vst_handover_event event);

/* This event is one of its state's: not one that comes too early or too late to mean anything. */
bool vst_handover_expects(const struct vst_handover *handover, enum vst_handover_event event);

/* People may say whose the guest is. */
bool vst_handover_can_be_resolved(const struct vst_handover *handover);

/* For people. Never NULL. */
const char *vst_handover_waits_for(const struct vst_handover *handover);
/* Why it is in doubt, or was given up. Never NULL. */
const char *vst_handover_reason(const struct vst_handover *handover);

const char *vst_handover_event_name(enum vst_handover_event event);
const char *vst_handover_event_text(enum vst_handover_event event);
const char *vst_handover_record_name(enum vst_handover_record record);
const char *vst_handover_told_text(enum vst_handover_told told);
/* OPEN: it is none. */
enum vst_migration_outcome vst_handover_told_outcome(enum vst_handover_told told);

#endif

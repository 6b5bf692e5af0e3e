/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walks the tables of the hand-over. Which messages count, when to ask again and for how long is
 * decided here, for both ends; what follows from what is in the tables.
 */
#include "handover.h"

#include <stdio.h>
#include <string.h>

#include "handover-table.h"

enum { MOST_DOUBLINGS = 6, MOST_ATTEMPTS = 30 }; /* the last ones come every half minute */

/* Events of the straight way: none of them is a reason to give up. */
#define STRAIGHT                                                                                   \
    (VST_ON(BEGIN) | VST_ON(WRITTEN) | VST_ON(LINK_UP) | VST_ON(QEMU_READY) |                      \
     VST_ON(QEMU_PAUSED) | VST_ON(QEMU_COMPLETED) | VST_ON(QEMU_SWITCHED) | VST_ON(QEMU_RESUMED) | \
     VST_ON(QEMU_LACKS) | VST_ON(CHECKED) | VST_ON(STREAM_VERIFIED) | VST_ON(PREPARE) |            \
     VST_ON(SWITCH) | VST_ON(COMMIT) | VST_ON(FINISH) | VST_ON(STARTED) | VST_ON(LOADED) |         \
     VST_ON(COMMITTED) | VST_ON(NEEDS) | VST_ON(FINISHED))
/* Events after which the same is tried once more. */
#define IDLE                                                                                   \
    (VST_ON(TIMER) | VST_ON(LINK_UP) | VST_ON(LINK_DOWN) | VST_ON(WRONG_HOST) | VST_ON(LOST) | \
     VST_ON(NOT_WRITTEN))

static bool among(enum vst_handover_event event, uint64_t events)
{
    return events >> event & 1;
}

static const struct vst_handover_entry *entry_of(const struct vst_handover *handover)
{
    return &handover->table->entries[handover->state];
}

/* ---- steps ---- */

static const struct vst_handover_edge *find_edge(const struct vst_handover *handover,
                                                 enum vst_handover_event event)
{
    const struct vst_handover_table *table = handover->table;

    for (size_t i = 0; i < table->edge_count; i++) {
        const struct vst_handover_edge *edge = &table->edges[i];

        if ((edge->from == handover->state || edge->from == VST_HANDOVER_ANY) &&
            among(event, edge->on))
            return edge;
    }
    return NULL;
}

static unsigned delay_of(const struct vst_handover *handover, enum vst_handover_timer timer)
{
    unsigned doublings = handover->attempts < MOST_DOUBLINGS ? handover->attempts : MOST_DOUBLINGS;

    return handover->delays[timer] << (timer == VST_HANDOVER_TIMER_AGAIN ? doublings : 0);
}

static void enter(struct vst_handover *handover, unsigned state,
                  struct vst_handover_actions *ret_actions)
{
    const struct vst_handover_entry *entry = &handover->table->entries[state];
    char label[9];

    snprintf(label, sizeof(label), "%02x%02x%02x%02x", handover->token[0], handover->token[1],
             handover->token[2], handover->token[3]);
    handover->table->trace(label, handover->state, state);
    if (state != handover->state)
        handover->written = VST_HANDOVER_RECORD_NOTHING;
    handover->state = state;
    /* What is said for ever is written once. */
    handover->writing =
        entry->write == handover->written ? VST_HANDOVER_RECORD_NOTHING : entry->write;
    ret_actions->entered = true;
    ret_actions->write = handover->writing;
    ret_actions->send = entry->send;
    ret_actions->qemu = entry->qemu;
    ret_actions->timer_ms = delay_of(handover, entry->timer);
}

/* Why it was given up is the first event that was no part of the straight way, nor of a patient
 * repetition, nor a QEMU that was told to end; why it is in doubt, the last. */
static void note_reason(struct vst_handover *handover, const struct vst_handover_edge *edge,
                        enum vst_handover_event event)
{
    bool again = entry_of(handover)->timer == VST_HANDOVER_TIMER_AGAIN && among(event, IDLE);
    bool meant = vst_handover_ends_qemu(handover) && event == VST_HANDOVER_QEMU_GONE;

    if (edge->tell == VST_HANDOVER_TELL_MIGRATED)
        handover->doubt = VST_HANDOVER_NONE;
    if (edge->tell == VST_HANDOVER_TELL_IN_DOUBT)
        handover->doubt = event;
    else if (edge->tell != VST_HANDOVER_TELL_APART && edge->to != VST_HANDOVER_STAY && !again &&
             !meant && !among(event, STRAIGHT) && !handover->cause)
        handover->cause = event;
}

static void follow(struct vst_handover *handover, const struct vst_handover_edge *edge,
                   enum vst_handover_event event, struct vst_handover_actions *ret_actions)
{
    if (event == VST_HANDOVER_TIMER)
        handover->attempts++;
    else if (edge->to != VST_HANDOVER_STAY && !among(event, IDLE))
        handover->attempts = 0;
    note_reason(handover, edge, event);
    if (vst_handover_told_outcome(edge->tell) != VST_MIGRATION_OPEN)
        handover->outcome = edge->tell;
    if (edge->to != VST_HANDOVER_STAY)
        enter(handover, edge->to, ret_actions);
    if (edge->say)
        ret_actions->send = edge->say;
    ret_actions->tell = edge->tell;
}

/* ---- which events count ---- */

static bool is_nobody(const unsigned char *host)
{
    static const unsigned char nobody[VST_HANDOVER_ID];

    return memcmp(host, nobody, VST_HANDOVER_ID) == 0;
}

/* An answer about a token counts only from the host that the token was made for. */
static bool is_stranger(struct vst_handover *handover, enum vst_handover_event event,
                        const unsigned char *from)
{
    bool is_message = event >= VST_HANDOVER_FIRST_MESSAGE && event <= VST_HANDOVER_LAST_MESSAGE;

    if (!is_message && event != VST_HANDOVER_LINK_UP)
        return false;
    if (!from)
        return true;
    if (from == handover->peer) /* said for that host, whether it is known yet or not */
        return false;
    if (is_nobody(handover->peer))
        memcpy(handover->peer, from, VST_HANDOVER_ID);
    return memcmp(handover->peer, from, VST_HANDOVER_ID) != 0;
}

static bool is_enough(const struct vst_handover *handover)
{
    return handover->attempts >= MOST_ATTEMPTS &&
           vst_handover_would_move(handover, VST_HANDOVER_ENOUGH);
}

int vst_handover_feed(struct vst_handover *handover, enum vst_handover_event event,
                      const unsigned char *from, struct vst_handover_actions *ret_actions)
{
    const struct vst_handover_edge *edge;

    if (!find_edge(handover, event))
        return -1;
    if (is_stranger(handover, event, from))
        event = VST_HANDOVER_WRONG_HOST;
    else if (event == VST_HANDOVER_TIMER && is_enough(handover))
        event = VST_HANDOVER_ENOUGH;
    edge = find_edge(handover, event);
    if (!edge)
        return -1;
    *ret_actions = (struct vst_handover_actions){0};
    follow(handover, edge, event, ret_actions);
    return 0;
}

int vst_handover_written(struct vst_handover *handover, enum vst_handover_record record, bool good,
                         struct vst_handover_actions *ret_actions)
{
    if (record == entry_of(handover)->write)
        handover->written = good ? record : VST_HANDOVER_RECORD_NOTHING;
    if (record == handover->writing)
        return vst_handover_feed(handover, good ? VST_HANDOVER_WRITTEN : VST_HANDOVER_NOT_WRITTEN,
                                 NULL, ret_actions);
    *ret_actions = (struct vst_handover_actions){0};
    return 0;
}

/* ---- beginnings ---- */

void vst_handover_set_patience(struct vst_handover *handover, unsigned seconds)
{
#define DELAY(name, times, milliseconds, meaning) (times) * 1000 * seconds + (milliseconds),
    const unsigned delays[] = {VST_HANDOVER_TIMERS(DELAY)};
#undef DELAY

    memcpy(handover->delays, delays, sizeof(delays));
}

void vst_handover_start(struct vst_handover *handover, enum vst_handover_role role,
                        const unsigned char *token)
{
    *handover = (struct vst_handover){
        .table = role == VST_HANDOVER_SOURCE ? &vst_handover_source : &vst_handover_destination,
    };
    vst_handover_set_patience(handover, VST_HANDOVER_PATIENCE);
    memcpy(handover->token, token, VST_HANDOVER_ID);
}

/* The outcome of the record comes first: it was told before that was written. */
static void restart_with(struct vst_handover *handover, const struct vst_handover_restart *restart,
                         struct vst_handover_actions *ret_actions)
{
    if (restart->tell == VST_HANDOVER_TELL_RESTARTED && !handover->cause)
        handover->cause = VST_HANDOVER_RESTARTED;
    if (!handover->outcome)
        handover->outcome = restart->outcome;
    enter(handover, restart->state, ret_actions);
    ret_actions->tell = restart->tell;
}

int vst_handover_recover(struct vst_handover *handover, enum vst_handover_record last,
                         struct vst_handover_actions *ret_actions)
{
    *ret_actions = (struct vst_handover_actions){0};
    for (size_t i = 0; i < handover->table->restart_count; i++) {
        if (handover->table->restarts[i].last == last) {
            restart_with(handover, &handover->table->restarts[i], ret_actions);
            return 0;
        }
    }
    return -1;
}

/* ---- questions ---- */

bool vst_handover_over(const struct vst_handover *handover)
{
    return entry_of(handover)->over;
}

bool vst_handover_holds_guest(const struct vst_handover *handover)
{
    return entry_of(handover)->holds;
}

bool vst_handover_settled(const struct vst_handover *handover)
{
    return entry_of(handover)->settled;
}

bool vst_handover_ends_qemu(const struct vst_handover *handover)
{
    return entry_of(handover)->qemu == VST_HANDOVER_QEMU_END;
}

bool vst_handover_stops_guest(const struct vst_handover *handover)
{
    return entry_of(handover)->qemu == VST_HANDOVER_QEMU_STOP;
}

bool vst_handover_waits_for_bytes(const struct vst_handover *handover)
{
    return entry_of(handover)->timer == VST_HANDOVER_TIMER_SWITCH;
}

bool vst_handover_would_move(const struct vst_handover *handover, enum vst_handover_event event)
{
    const struct vst_handover_edge *edge = find_edge(handover, event);

    return edge && edge->to != VST_HANDOVER_STAY;
}

bool vst_handover_expects(const struct vst_handover *handover, enum vst_handover_event event)
{
    const struct vst_handover_edge *edge = find_edge(handover, event);

    return edge && edge->from == handover->state;
}

bool vst_handover_can_be_resolved(const struct vst_handover *handover)
{
    return vst_handover_would_move(handover, VST_HANDOVER_RESOLVE_DESTINATION);
}

const char *vst_handover_waits_for(const struct vst_handover *handover)
{
    return handover->table->words[handover->state].waits_for;
}

const char *vst_handover_reason(const struct vst_handover *handover)
{
    return vst_handover_event_text(handover->cause ? handover->cause : handover->doubt);
}

#define NAME_OF(name, ...) #name,
#define SECOND_OF(name, text, ...) text,

const char *vst_handover_event_name(enum vst_handover_event event)
{
    static const char *const names[] = {VST_HANDOVER_EVENTS(NAME_OF)};

    return event < VST_HANDOVER_EVENT_COUNT ? names[event] : "?";
}

const char *vst_handover_event_text(enum vst_handover_event event)
{
    static const char *const texts[] = {VST_HANDOVER_EVENTS(SECOND_OF)};

    return event < VST_HANDOVER_EVENT_COUNT ? texts[event] : "?";
}

const char *vst_handover_record_name(enum vst_handover_record record)
{
    static const char *const names[] = {VST_HANDOVER_RECORDS(SECOND_OF)};

    return record < VST_HANDOVER_RECORD_COUNT ? names[record] : "?";
}

#define TEXT_OF(name, number, outcome, text) [number] = (text),
#define OUTCOME_OF(name, number, outcome, text) [number] = VST_MIGRATION_##outcome,

const char *vst_handover_told_text(enum vst_handover_told told)
{
    static const char *const texts[] = {VST_HANDOVER_TOLD(TEXT_OF)};

    return told < VST_HANDOVER_TELL_COUNT && texts[told] ? texts[told] : "?";
}

enum vst_migration_outcome vst_handover_told_outcome(enum vst_handover_told told)
{
    static const enum vst_migration_outcome outcomes[] = {VST_HANDOVER_TOLD(OUTCOME_OF)};

    return told < VST_HANDOVER_TELL_COUNT ? outcomes[told] : VST_MIGRATION_OPEN;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carries out what the hand-over machine asks for. Events that come while one is being dealt with
 * wait for their turn, so that neither the machine nor an end is ever entered twice.
 */
#include "move.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/trace.h"
#include "journal.h"

static void act(struct vst_move *move, const struct vst_handover_actions *actions);

/* ---- events ---- */

static void take(struct vst_move *move, enum vst_handover_event event, const unsigned char *from)
{
    struct vst_handover_actions actions;

    if (vst_handover_feed(&move->machine, event, from, &actions) == 0)
        act(move, &actions);
}

static void take_next(struct vst_move *move)
{
    enum vst_handover_event event = move->queue[0].event;
    unsigned char from[VST_HANDOVER_ID];
    bool has_from = move->queue[0].has_from;

    memcpy(from, move->queue[0].from, sizeof(from));
    move->queued--;
    memmove(move->queue, move->queue + 1, move->queued * sizeof(move->queue[0]));
    take(move, event, has_from ? from : NULL);
}

/* The other host may not answer for hours: the guest does not wait for it. */
static void let_go(struct vst_move *move)
{
    if (move->end->settled)
        move->end->settled(move);
    vst_move_let_go(move);
}

static void settle(struct vst_move *move)
{
    while (move->queued)
        take_next(move);
    move->busy = false;
    if (vst_handover_settled(&move->machine))
        let_go(move);
    if (vst_handover_over(&move->machine) && !move->over) {
        move->over = true;
        move->end->over(move);
    }
}

void vst_move_feed(struct vst_move *move, enum vst_handover_event event, const unsigned char *from)
{
    if (!move->busy) {
        move->busy = true;
        take(move, event, from);
        settle(move);
        return;
    }
    if (move->queued ==
        VST_MOVE_EVENTS) { /* a step causes three at most, and they are taken then */
        vst_trace(VST_TRACE_STATE, "move %s: too many events wait, and %s is lost", move->name,
                  vst_handover_event_name(event));
        return;
    }
    move->queue[move->queued].event = event;
    move->queue[move->queued].has_from = from;
    if (from)
        memcpy(move->queue[move->queued].from, from, VST_HANDOVER_ID);
    move->queued++;
}

void vst_move_fail(struct vst_move *move, enum vst_handover_event event,
                   const struct vst_error *err)
{
    if (vst_handover_expects(&move->machine, event))
        vst_move_note(move, err);
    vst_move_feed(move, event, NULL);
}

void vst_move_note(struct vst_move *move, const struct vst_error *err)
{
    vst_error_copy(&move->why, err);
}

void vst_move_forget_why(struct vst_move *move)
{
    move->why = (struct vst_error){0};
}

void vst_move_conclude(struct vst_move *move, const struct vst_error *err)
{
    move->why = *err;
}

/* ---- actions ---- */

static void written(void *opaque, const struct vst_journal_entry *entry,
                    const struct vst_error *err)
{
    struct vst_move *move = opaque;
    struct vst_handover_actions actions;
    bool was_busy = move->busy;

    move->writes--;
    if (err)
        vst_move_note(move, err);
    else
        move->recorded = true;
    move->busy = true;
    if (vst_handover_written(&move->machine, entry->last, !err, &actions) == 0)
        act(move, &actions);
    if (err && move->end->unwritten)
        move->end->unwritten(move, err);
    if (!was_busy)
        settle(move);
}

static void write_record(struct vst_move *move, enum vst_handover_record record)
{
    struct vst_journal_entry entry = {
        .role =
            move->end->role == VST_MIGRATION_OUT ? VST_HANDOVER_SOURCE : VST_HANDOVER_DESTINATION,
        .last = record,
        .cause = move->machine.cause,
        .outcome = move->machine.outcome,
        .runs = move->ran,
        .keep = move->keep,
        .time = (uint64_t)time(NULL),
    };
    struct vst_error err = {0};

    memcpy(entry.token, move->machine.token, sizeof(entry.token));
    memcpy(entry.peer, move->machine.peer, sizeof(entry.peer));
    snprintf(entry.uuid, sizeof(entry.uuid), "%s", move->uuid);
    snprintf(entry.guest, sizeof(entry.guest), "%s", move->name);
    snprintf(entry.owner, sizeof(entry.owner), "%s", move->owner);
    if (move->end->role == VST_MIGRATION_OUT)
        snprintf(entry.uri, sizeof(entry.uri), "%s", move->peer);
    move->writes++;
    if (vst_journal_append(move->qemu->journal, move->qemu->worker, &entry, written, move, &err) <
        0)
        written(move, &entry, &err);
}

static void set_timer(struct vst_move *move, unsigned ms)
{
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

    move->timer_ms = ms;
    event_del(&move->timer);
    if (ms)
        event_add(&move->timer, &tv);
}

static void timed_out(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    vst_move_feed(opaque, VST_HANDOVER_TIMER, NULL);
}

void vst_move_put_off(struct vst_move *move)
{
    if (vst_handover_waits_for_bytes(&move->machine) &&
        event_pending(&move->timer, EV_TIMEOUT, NULL))
        set_timer(move, move->timer_ms);
}

static void act(struct vst_move *move, const struct vst_handover_actions *actions)
{
    if (actions->entered)
        set_timer(move, actions->timer_ms);
    if (actions->write)
        write_record(move, actions->write);
    if (actions->tell)
        move->end->tell(move, actions->tell);
    if (actions->qemu)
        move->end->qemu(move, actions->qemu);
    if (actions->send)
        move->end->send(move, actions->send);
}

/* ---- beginning and end ---- */

int vst_move_init(struct vst_move *move, struct vst_qemu *qemu, const struct vst_move_end *end,
                  const unsigned char *token, struct vst_error *ret_err)
{
    unsigned char made[VST_HANDOVER_ID];

    if (!token && getrandom(made, sizeof(made), 0) != sizeof(made))
        return vst_error_set(ret_err, VST_ERR_SYSTEM, "no random token can be had");
    move->qemu = qemu;
    move->end = end;
    move->since = (uint64_t)time(NULL);
    vst_handover_start(&move->machine,
                       end->role == VST_MIGRATION_OUT ? VST_HANDOVER_SOURCE
                                                      : VST_HANDOVER_DESTINATION,
                       token ? token : made);
    vst_handover_set_patience(&move->machine, vst_conn_patience(qemu->conn));
    vst_id_print(move->machine.token, move->token);
    event_assign(&move->timer, qemu->conn->base, -1, 0, timed_out, move);
    LIST_INSERT_HEAD(&qemu->moves, move, link);
    return 0;
}

_Static_assert(sizeof(((struct vst_journal_entry *)0)->owner) ==
                   sizeof(((struct vst_caller *)0)->name),
               "whoever has a name is remembered");

int vst_move_own(struct vst_move *move, const struct vst_caller *caller, struct vst_error *ret_err)
{
    if (!caller->admin && !caller->name[0])
        return vst_error_set(ret_err, VST_ERR_ACCESS,
                             "who asks has no name, or none of %d bytes at most, by which the "
                             "migration would stay his",
                             VST_JOURNAL_OWNER_MAX);
    snprintf(move->owner, sizeof(move->owner), "%s", caller->name);
    return 0;
}

int vst_move_check_caller(const struct vst_move *move, const struct vst_caller *caller,
                          struct vst_error *ret_err)
{
    return vst_owner_check(move->owner, move->token, caller, ret_err);
}

int vst_owner_check(const char *owner, const char *token, const struct vst_caller *caller,
                    struct vst_error *ret_err)
{
    if (caller->admin || (caller->name[0] && strcmp(caller->name, owner) == 0))
        return 0;
    return vst_error_set(ret_err, VST_ERR_ACCESS,
                         "the migration %s is not yours: it is for whoever began it, and for the "
                         "role admin",
                         token);
}

/* The words of whoever saw it are gone; what became of the guest says more than what led to it. */
static void recall(struct vst_move *move)
{
    enum vst_handover_told told = move->machine.outcome;
    enum vst_migration_outcome outcome = vst_handover_told_outcome(told);

    if (outcome == VST_MIGRATION_DIED || outcome == VST_MIGRATION_CONFLICT)
        vst_error_set(&move->why, VST_ERR_DRIVER, "%s", vst_handover_told_text(told));
}

int vst_move_recover(struct vst_move *move, const struct vst_journal_entry *entry)
{
    struct vst_handover_actions actions;

    move->recorded = true;
    move->since = entry->time;
    move->ran = entry->runs;
    move->keep = entry->keep;
    snprintf(move->uuid, sizeof(move->uuid), "%s", entry->uuid);
    snprintf(move->name, sizeof(move->name), "%s", entry->guest);
    snprintf(move->owner, sizeof(move->owner), "%s", entry->owner);
    if (entry->uri[0])
        snprintf(move->peer, sizeof(move->peer), "%s", entry->uri);
    memcpy(move->machine.peer, entry->peer, sizeof(entry->peer));
    move->machine.cause = entry->cause;
    move->machine.outcome = entry->outcome;
    if (vst_handover_recover(&move->machine, entry->last, &actions) < 0)
        return -1;
    if (actions.tell == VST_HANDOVER_TELL_RESTARTED)
        vst_error_set(&move->why, VST_ERR_LOST, "%s", vst_handover_told_text(actions.tell));
    recall(move);
    move->busy = true;
    act(move, &actions);
    settle(move);
    return 0;
}

void vst_move_free(struct vst_move *move)
{
    LIST_REMOVE(move, link);
    event_del(&move->timer);
    vst_guest_unwait(&move->wait);
    vst_guest_unwatch(&move->watch);
    if (move->guest)
        vst_guest_forget(move->guest, move);
    move->end->free(move);
}

struct vst_move *vst_move_find(const struct vst_qemu *qemu, const unsigned char *token,
                               enum vst_migration_role role)
{
    struct vst_move *move;

    LIST_FOREACH(move, &qemu->moves, link)
        if (move->end->role == role && memcmp(move->machine.token, token, VST_HANDOVER_ID) == 0)
            return move;
    return NULL;
}

/* An arrival is nobody's guest before it is known that the guest may come: anybody may ask. */
static bool only_looks(const struct vst_move *move)
{
    return vst_handover_would_move(&move->machine, VST_HANDOVER_PREPARE) ||
           vst_handover_would_move(&move->machine, VST_HANDOVER_CHECKED);
}

/* The more, the closer it has to do with its guest; 0: not at all. */
static int claim_of(const struct vst_move *move)
{
    if (vst_handover_settled(&move->machine) || only_looks(move))
        return 0;
    return 1 + vst_handover_holds_guest(&move->machine) + vst_move_is_in_doubt(move);
}

/* All of them are looked at: the last that came is not the one that holds the guest. */
struct vst_move *vst_move_of(const struct vst_qemu *qemu, const char *name)
{
    struct vst_move *move, *closest = NULL;
    int most = 0;

    LIST_FOREACH(move, &qemu->moves, link) {
        if (strcmp(move->name, name) != 0 || claim_of(move) <= most)
            continue;
        closest = move;
        most = claim_of(move);
    }
    return closest;
}

/* Else a record that it must write could find no room, when something has begun already. */
int vst_move_check_room(const struct vst_qemu *qemu, const struct vst_move *this,
                        struct vst_error *ret_err)
{
    const struct vst_move *move;
    size_t waiting = 0;

    LIST_FOREACH(move, &qemu->moves, link)
        waiting += move != this && !move->recorded && !move->over;
    if (waiting < vst_journal_room(vst_journal_known(qemu->journal)))
        return 0;
    return vst_error_set(ret_err, VST_ERR_BUSY,
                         "the journal of this host holds %d migrations that have no end, and takes "
                         "no more (virstream migrations)",
                         VST_JOURNAL_TOKENS);
}

_Static_assert((int)VST_HANDOVER_ID == (int)VST_UUID_BYTES, "hosts and tokens are UUIDs");

/* ---- for people ---- */

bool vst_move_is_in_doubt(const struct vst_move *move)
{
    return move->machine.doubt != VST_HANDOVER_NONE && vst_handover_holds_guest(&move->machine);
}

/* In doubt it is the other host's last word that counts, if there is one. */
const char *vst_move_reason(const struct vst_move *move)
{
    if (vst_move_is_in_doubt(move) && move->machine.doubt != VST_HANDOVER_LINK_DOWN)
        return vst_handover_event_text(move->machine.doubt);
    return vst_error_is_set(&move->why) ? move->why.text : vst_handover_reason(&move->machine);
}

/* Here the reader is; where else it was goes in front. A link is on both sides. */
static const char *where(const struct vst_move *move)
{
    if (vst_move_reason(move) != move->why.text || move->why.code == VST_ERR_LOST)
        return "";
    if (move->end->role == VST_MIGRATION_OUT && move->why.side == VST_SIDE_DESTINATION)
        return "destination: ";
    return move->end->role == VST_MIGRATION_IN && move->why.side == VST_SIDE_SOURCE ? "source: "
                                                                                    : "";
}

/* What broke on the way of one that came to its end well is of no interest any more. */
static bool has_reason(const struct vst_move *move, const struct vst_migration_info *info)
{
    if (info->in_doubt)
        return true;
    if (info->outcome == VST_MIGRATION_MIGRATED && vst_handover_settled(&move->machine))
        return false;
    return move->machine.cause || vst_error_is_set(&move->why);
}

/* Nothing that is settled comes to its end as long as that cannot be written. */
static void add_trouble(const struct vst_move *move, struct vst_migration_info *ret_info)
{
    static const char pending[] = "its end is still to be written, and is tried again: ";
    const struct vst_error *trouble = vst_journal_trouble(move->qemu->journal);

    if (trouble && !move->over && vst_handover_settled(&move->machine) && !ret_info->reason[0])
        snprintf(ret_info->reason, sizeof(ret_info->reason), "%s%.*s", pending,
                 (int)(sizeof(ret_info->reason) - sizeof(pending)), trouble->text);
}

void vst_move_get_info(const struct vst_move *move, struct vst_migration_info *ret_info)
{
    *ret_info = (struct vst_migration_info){
        .role = move->end->role,
        .over = move->over,
        .outcome = vst_handover_told_outcome(move->machine.outcome),
        .in_doubt = vst_move_is_in_doubt(move),
        .since = (int64_t)move->since,
    };
    snprintf(ret_info->token, sizeof(ret_info->token), "%s", move->token);
    snprintf(ret_info->name, sizeof(ret_info->name), "%s", move->name);
    snprintf(ret_info->peer, sizeof(ret_info->peer), "%s", move->peer);
    if (has_reason(move, ret_info))
        snprintf(ret_info->reason, sizeof(ret_info->reason), "%s%s", where(move),
                 vst_move_reason(move));
    add_trouble(move, ret_info);
    move->end->get_info(move, ret_info);
}

void vst_id_print(const unsigned char id[VST_HANDOVER_ID], char ret_text[37])
{
    char *at = ret_text;

    for (int i = 0; i < VST_HANDOVER_ID; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += snprintf(at, 3, "%02x", id[i]);
    }
}

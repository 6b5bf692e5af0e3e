/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination's end: the source's messages and their answers. What may be answered is the
 * hand-over machine's.
 */
#include "arrival.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/trace.h"
#include "journal.h"

/* ---- answers ---- */

static void answer(struct vst_arrival *arrival, enum vst_handover_event event)
{
    struct vst_move *move = &arrival->move;
    struct vst_migrate_message message = {.event = event};
    struct vst_op *op = arrival->asker;

    arrival->asker = NULL;
    if (!op)
        return;
    vst_op_set_cancel(op, NULL, NULL);
    snprintf(message.token, sizeof(message.token), "%s", move->token);
    vst_id_print(vst_journal_known(move->qemu->journal)->host, message.host);
    if (event == VST_HANDOVER_REFUSED || event == VST_HANDOVER_ABORTED ||
        event == VST_HANDOVER_LOST || event == VST_HANDOVER_DIED)
        message.text = vst_move_reason(move);
    vst_driver_answer(op, &message);
}

/* The source asks again, and knows why. If the guest stands still meanwhile, and is whole there, it
 * is to go on there. */
static void unwritten(struct vst_move *move, const struct vst_error *err)
{
    struct vst_arrival *arrival = vst_arrival_of(move);
    struct vst_op *op = arrival->asker;
    struct vst_error why = *err;

    vst_error_where(&why, VST_SIDE_DESTINATION, "journal");
    if (arrival->loading && arrival->post_copy == ARRIVAL_PRE_COPY)
        vst_arrival_fail_stream(arrival, &why);
    arrival->asker = NULL;
    if (!op)
        return;
    vst_op_set_cancel(op, NULL, NULL);
    vst_op_fail(op, &why);
}

static void asker_gone(void *opaque, const struct vst_error *why)
{
    struct vst_arrival *arrival = opaque;
    struct vst_op *op = arrival->asker;

    arrival->asker = NULL;
    vst_op_fail(op, why);
    vst_move_feed(&arrival->move, VST_HANDOVER_LINK_DOWN, NULL);
}

static void say_to_source(struct vst_move *move, enum vst_handover_event message)
{
    struct vst_arrival *arrival = vst_arrival_of(move);

    if (message == VST_HANDOVER_STARTED)
        vst_arrival_await_stream(arrival);
    if (message == VST_HANDOVER_LOADED && arrival->post_copy == ARRIVAL_PRE_COPY)
        vst_arrival_end_stream(arrival, NULL);
    else if (message == VST_HANDOVER_ABORTED)
        vst_arrival_give_up_stream(arrival);
    answer(arrival, message);
}

/* What led to it is known; that it took the guest, which can run nowhere else, is not. */
static void note_end(struct vst_move *move, enum vst_handover_told told)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_DRIVER, "%s (%s)", vst_handover_told_text(told),
                  vst_move_reason(move));
    vst_move_conclude(move, &err);
}

static void tell(struct vst_move *move, enum vst_handover_told told)
{
    vst_trace(VST_TRACE_STATE, "arrival %s: %s", move->name, vst_handover_told_text(told));
    if (told == VST_HANDOVER_TELL_CUT_OFF)
        vst_arrival_cut_off(vst_arrival_of(move));
    if (told == VST_HANDOVER_TELL_CUT_OFF || told == VST_HANDOVER_TELL_DIED ||
        told == VST_HANDOVER_TELL_NOWHERE || told == VST_HANDOVER_TELL_CONFLICT)
        note_end(move, told);
    if (told == VST_HANDOVER_TELL_MIGRATED)
        vst_driver_event(move->qemu->conn, VST_EVENT_STARTED, move->name, move->uuid, "migrated");
}

/* ---- its life ---- */

static void over(struct vst_move *move)
{
    struct vst_arrival *arrival = vst_arrival_of(move);

    vst_arrival_stop_awaiting(arrival);
    vst_check_cancel(&arrival->check);
}

static void arrival_free(struct vst_move *move)
{
    struct vst_arrival *arrival = vst_arrival_of(move);

    vst_arrival_stop_awaiting(arrival);
    event_del(&arrival->look);
    vst_check_cancel(&arrival->check);
    if (arrival->asker)
        vst_op_set_cancel(arrival->asker, NULL, NULL);
    vst_arrival_give_up_stream(arrival);
    vst_arrival_disks_drop(arrival, false);
    vst_image_header_free(&arrival->offer);
    free(arrival);
}

/* What it waits for, and what people do where that will not come. */
static void describe_copy(const struct vst_move *move, struct vst_migration_info *ret_info)
{
    snprintf(
        ret_info->reason, sizeof(ret_info->reason),
        "a whole copy of the guest is kept here, paused, until its source says whose it is; if "
        "that host is lost for good: virstream migration resolve "
        "--guest-runs-on=destination %s (=source ends the copy)",
        move->token);
}

static void get_info(const struct vst_move *move, struct vst_migration_info *ret_info)
{
    const struct vst_arrival *arrival = vst_arrival_of(move);
    struct vst_progress progress = {0};
    enum vst_migration_phase phase = VST_MIGRATION_PHASE_PREPARE;

    if (arrival->stream)
        vst_stream_get_progress(arrival->stream, &progress);
    if (ret_info->in_doubt && move->guest && vst_handover_can_be_resolved(&move->machine))
        describe_copy(move, ret_info);
    else if (vst_handover_would_move(&move->machine, VST_HANDOVER_QEMU_RESUMED))
        snprintf(ret_info->reason, sizeof(ret_info->reason),
                 "QEMU here is to run the guest, and has not answered yet");
    ret_info->sent = progress.up_bytes;
    ret_info->rate = progress.rate;
    if (arrival->offer)
        ret_info->total = arrival->offer->definition->memory_mib * 1024 * 1024;
    if (move->over)
        phase = VST_MIGRATION_PHASE_OVER;
    else if (vst_handover_settled(&move->machine))
        phase = VST_MIGRATION_PHASE_CLEAN_UP;
    else if (vst_arrival_lacks(arrival))
        phase = VST_MIGRATION_PHASE_POST_COPY;
    else if (arrival->loading)
        phase = VST_MIGRATION_PHASE_MEMORY;
    else if ((arrival->finished & VST_UP) || !arrival->offer)
        phase = VST_MIGRATION_PHASE_HAND_OVER;
    ret_info->phase = phase;
}

/* A guest that was never told to run is given back: the source may resume it. */
static enum vst_handover_event death(const struct vst_move *move)
{
    bool to_run = vst_handover_would_move(&move->machine, VST_HANDOVER_QEMU_REFUSED);

    return to_run && !vst_arrival_of(move)->told ? VST_HANDOVER_QEMU_REFUSED
                                                 : VST_HANDOVER_QEMU_GONE;
}

const struct vst_move_end vst_arrival_end = {
    .role = VST_MIGRATION_IN,
    .send = say_to_source,
    .qemu = vst_arrival_qemu,
    .tell = tell,
    .death = death,
    .unwritten = unwritten,
    .over = over,
    .free = arrival_free,
    .get_info = get_info,
};

/* Who brought it is known by a name; its host by nothing that people know. */
static void name_peer(struct vst_move *move, const char *who, const char *host)
{
    snprintf(move->peer, sizeof(move->peer), "%s%shost %s", who, *who ? ", " : "", host);
}

static struct vst_arrival *arrival_new(struct vst_qemu *qemu, const unsigned char *token,
                                       struct vst_error *ret_err)
{
    struct vst_arrival *arrival = calloc(1, sizeof(*arrival));

    if (!arrival) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_arrival_stream_init(arrival, qemu->conn->base);
    if (vst_move_init(&arrival->move, qemu, &vst_arrival_end, token, ret_err) < 0) {
        free(arrival);
        return NULL;
    }
    vst_arrival_post_copy_init(arrival);
    return arrival;
}

int vst_arrival_recover(struct vst_qemu *qemu, const struct vst_journal_entry *entry,
                        struct vst_error *ret_err)
{
    struct vst_arrival *arrival = arrival_new(qemu, entry->token, ret_err);
    char host[37];

    if (!arrival)
        return -1;
    arrival->told = entry->last != VST_HANDOVER_RECORD_LOADED; /* it may have been after that */
    vst_id_print(entry->peer, host);
    name_peer(&arrival->move, entry->owner, host);
    if (vst_move_recover(&arrival->move, entry) == 0)
        return 0;
    vst_move_free(&arrival->move);
    return -1;
}

/* ---- messages ---- */

static int take_offer(struct vst_arrival *arrival, const struct vst_migrate_message *message,
                      struct vst_error *ret_err)
{
    struct vst_move *move = &arrival->move;
    struct vst_image_header *offer;

    if (!message->offer)
        return vst_error_set(ret_err, VST_ERR_INVALID, "a migration without an offer");
    offer = vst_offer_parse(message->offer, strlen(message->offer), ret_err);
    if (!offer)
        return -1;
    vst_image_header_free(&arrival->offer);
    arrival->offer = offer;
    move->ran = offer->running;
    snprintf(move->name, sizeof(move->name), "%s", offer->definition->name);
    snprintf(move->uuid, sizeof(move->uuid), "%s", offer->definition->uuid);
    return 0;
}

static bool is_over(const struct vst_arrival *arrival)
{
    return arrival->move.over && !arrival->asker && !arrival->move.writes;
}

/* A question of an older connection will not be answered: the source asks again on a new one. */
static void replace_asker(struct vst_arrival *arrival, struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_op *old = arrival->asker;

    arrival->asker = op;
    vst_op_set_cancel(op, asker_gone, arrival);
    if (!old)
        return;
    vst_op_set_cancel(old, NULL, NULL);
    vst_error_set(&err, VST_ERR_BUSY, "the source has asked again");
    vst_op_fail(old, &err);
}

static void looked(void *opaque, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    arrival->check = NULL;
    if (err)
        vst_move_note(&arrival->move, err);
    answer(arrival, err ? VST_HANDOVER_REFUSED : VST_HANDOVER_STARTED);
    vst_move_free(&arrival->move);
}

/* Only what stands in the way is wanted: the machine hears nothing of it. */
static void only_check(struct vst_arrival *arrival, const struct vst_objection *objections)
{
    struct vst_error err = {0};

    arrival->check = vst_arrival_check(arrival, looked, &err);
    if (!arrival->check) {
        looked(arrival, &err);
        return;
    }
    vst_check_object(arrival->check, objections);
    if (arrival->offer->method)
        vst_check_post_copy(arrival->check);
}

/* One that is known, if it is the caller's; or a new one, which then is. */
static struct vst_arrival *find_or_make(struct vst_qemu *qemu, const unsigned char *token,
                                        const struct vst_migrate_message *message,
                                        const struct vst_caller *caller, struct vst_error *ret_err)
{
    struct vst_move *move = vst_move_find(qemu, token, VST_MIGRATION_IN);
    struct vst_arrival *arrival;

    if (move)
        return vst_move_check_caller(move, caller, ret_err) == 0 ? vst_arrival_of(move) : NULL;
    /* What could not be disowned must not be; the source stays in doubt, and asks again. */
    if (message->event == VST_HANDOVER_COMMIT && vst_move_check_room(qemu, NULL, ret_err) < 0)
        return NULL;
    arrival = arrival_new(qemu, token, ret_err);
    if (!arrival)
        return NULL;
    name_peer(&arrival->move, caller->name, message->host);
    if (vst_move_own(&arrival->move, caller, ret_err) == 0 &&
        (message->event != VST_HANDOVER_PREPARE || take_offer(arrival, message, ret_err) == 0))
        return arrival;
    vst_move_free(&arrival->move);
    return NULL;
}

static void answer_with(struct vst_arrival *arrival, enum vst_code code, const char *text)
{
    struct vst_op *op = arrival->asker;
    struct vst_error err = {0};

    arrival->asker = NULL;
    vst_op_set_cancel(op, NULL, NULL);
    vst_error_set(&err, code, "%s", text);
    vst_op_fail(op, &err);
}

/* A beginning, or a switch, for what has its end: no answer would ever follow from that. */
static bool is_too_late(const struct vst_arrival *arrival, enum vst_handover_event message)
{
    return arrival->asker && vst_handover_settled(&arrival->move.machine) &&
           (message == VST_HANDOVER_PREPARE || message == VST_HANDOVER_SWITCH);
}

/* The machine of one that is only looked at stays new until that is answered, and it is freed. */
static bool is_new(const struct vst_arrival *arrival)
{
    return vst_handover_would_move(&arrival->move.machine, VST_HANDOVER_PREPARE);
}

static struct vst_arrival *find_for(struct vst_qemu *qemu,
                                    const struct vst_migrate_message *message,
                                    const struct vst_caller *caller, bool *ret_new,
                                    struct vst_error *ret_err)
{
    unsigned char token[VST_HANDOVER_ID], host[VST_HANDOVER_ID];
    struct vst_arrival *arrival;

    if (vst_uuid_parse(message->token, token) < 0 || vst_uuid_parse(message->host, host) < 0) {
        vst_error_set(ret_err, VST_ERR_INVALID, "a token and a host must be UUIDs");
        return NULL;
    }
    if (message->check && message->event != VST_HANDOVER_PREPARE) {
        vst_error_set(ret_err, VST_ERR_INVALID, "only whether to prepare can be checked");
        return NULL;
    }
    *ret_new = !vst_move_find(qemu, token, VST_MIGRATION_IN);
    arrival = find_or_make(qemu, token, message, caller, ret_err);
    if (!arrival || *ret_new || (!is_new(arrival) && !message->check))
        return arrival;
    vst_error_set(ret_err, VST_ERR_BUSY, "%s: the migration %s is being looked at, or under way",
                  arrival->move.name, arrival->move.token);
    return NULL;
}

void vst_arrival_hear(struct vst_qemu *qemu, const struct vst_migrate_message *message,
                      const struct vst_caller *caller, struct vst_op *op)
{
    unsigned char host[VST_HANDOVER_ID];
    struct vst_error err = {0};
    bool first = false;
    struct vst_arrival *arrival = find_for(qemu, message, caller, &first, &err);

    if (!arrival) {
        vst_op_fail(op, &err);
        return;
    }
    replace_asker(arrival, op);
    if (message->check) {
        only_check(arrival, message->objections);
        return;
    }
    vst_uuid_parse(message->host, host);
    vst_move_feed(&arrival->move, message->event, host);
    if (is_too_late(arrival, message->event))
        answer_with(arrival, VST_ERR_STATE, "the migration with this token is over here");
    if (first && is_new(arrival)) /* it begins nothing by this */
        answer_with(arrival, VST_ERR_NOT_FOUND, "no migration with this token is expected here");
    if (first && (is_new(arrival) || is_over(arrival)))
        vst_move_free(&arrival->move); /* a token that means nothing here */
}

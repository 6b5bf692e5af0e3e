/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's end: from the call to the first message, the messages, and how it is told. What may
 * be decided is the hand-over machine's.
 */
#include "departure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "journal.h"
#include "relay.h"

void vst_departure_enter(struct vst_departure *departure, enum departure_state state)
{
    vst_fsm_trace(departure, departure->move.name, departure->state, state);
    departure->state = state;
}

/* ---- telling whoever asked ---- */

static void answer(struct vst_departure *departure, const struct vst_error *err)
{
    struct vst_op *op = departure->op;
    struct vst_error where;

    departure->op = NULL;
    if (err) {
        where = *err;
        vst_error_where(&where, VST_SIDE_SOURCE, "migrate");
    }
    if (departure->link)
        vst_link_tell(departure->link, err ? &where : NULL);
    if (!op)
        return;
    vst_op_set_cancel(op, NULL, NULL);
    if (err)
        vst_op_fail(op, &where);
    else
        vst_op_done(op);
}

static void answer_with_reason(struct vst_departure *departure, enum vst_code code)
{
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    if (code == VST_ERR_IN_DOUBT || !vst_error_is_set(&move->why))
        vst_error_set(&err, code, "%s: %s", move->name, vst_move_reason(move));
    else
        err = move->why;
    if (code == VST_ERR_IN_DOUBT)
        vst_error_set(&err, code,
                      "%s is paused here until it is known whether it runs at %s: %s; %s",
                      move->name, move->peer, vst_move_reason(move),
                      vst_relay_is_meant(move->peer)
                          ? "who relays again ends that (virstream migration relay)"
                          : "the hosts go on asking (virstream migrations)");
    answer(departure, &err);
}

/* What went wrong before, if the stream was ever broken, matters less than what came of it. */
static void cut_off(struct vst_departure *departure, enum vst_handover_told told)
{
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    if (told == VST_HANDOVER_TELL_DIED) /* in the destination's words */
        vst_error_set(&err, VST_ERR_DRIVER, "%s: in post-copy to %s: %s", move->name, move->peer,
                      vst_move_reason(move));
    else
        vst_error_set(&err, VST_ERR_DRIVER, "%s: in post-copy to %s: %s (%s)", move->name,
                      move->peer, vst_handover_told_text(told), vst_move_reason(move));
    vst_move_conclude(move, &err);
    answer(departure, &err);
}

/* Why it was given up, if that was before, is no reason to think that the guest is here. */
static void guest_gone(struct vst_departure *departure)
{
    const char *what = vst_handover_told_text(VST_HANDOVER_TELL_GUEST_GONE);
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_DRIVER, "%s: %s (%s)", move->name, what, vst_move_reason(move));
    vst_move_conclude(move, &err);
    answer(departure, &err);
}

/* Who has called it off, perhaps to go, is not kept until QEMU thinks better of it. */
static void refused(struct vst_departure *departure)
{
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    if (!departure->op || !vst_op_cancelled(departure->op))
        return;
    vst_error_set(
        &err, VST_ERR_IN_DOUBT,
        "%s is given up, and is not as it was before: QEMU does not let it go on; that is "
        "tried again (virstream migrations)",
        move->name);
    answer(departure, &err);
}

static void tell(struct vst_move *move, enum vst_handover_told told)
{
    struct vst_departure *departure = vst_departure_of(move);

    vst_trace(VST_TRACE_STATE, "departure %s: %s", move->name, vst_handover_told_text(told));
    switch (told) {
    case VST_HANDOVER_TELL_IN_DOUBT:
        answer_with_reason(departure, VST_ERR_IN_DOUBT);
        break;
    case VST_HANDOVER_TELL_GIVEN_UP:
        departure->progress.downtime_ms = 0; /* what was expected did not come */
        answer_with_reason(departure, move->machine.cause == VST_HANDOVER_CANCEL ? VST_ERR_CANCELLED
                                                                                 : VST_ERR_DRIVER);
        break;
    case VST_HANDOVER_TELL_CUT_OFF:
    case VST_HANDOVER_TELL_DIED:
        cut_off(departure, told);
        break;
    case VST_HANDOVER_TELL_GUEST_GONE:
        vst_departure_stop_stream(departure); /* in our words, before the stream finds its own */
        guest_gone(departure);
        break;
    case VST_HANDOVER_TELL_NOT_RESUMED:
        refused(departure);
        break;
    case VST_HANDOVER_TELL_CONFLICT:
    case VST_HANDOVER_TELL_NOWHERE:
        answer_with_reason(departure, VST_ERR_DRIVER);
        break;
    case VST_HANDOVER_TELL_MIGRATED: /* whoever asked is told at FINISH: QEMU here has ended, too */
        vst_departure_handed(departure);
        break;
    default:
        break;
    }
}

/* ---- the other host ---- */

static void say(struct vst_departure *departure, enum vst_handover_event event)
{
    struct vst_move *move = &departure->move;

    departure->message = (struct vst_migrate_message){.event = event, .check = departure->check};
    snprintf(departure->message.token, sizeof(departure->message.token), "%s", move->token);
    vst_id_print(vst_journal_known(move->qemu->journal)->host, departure->message.host);
    if (event == VST_HANDOVER_PREPARE)
        departure->message.offer = departure->offer;
    vst_link_say(departure->link, &departure->message);
}

static void say_to_destination(struct vst_move *move, enum vst_handover_event message)
{
    struct vst_departure *departure = vst_departure_of(move);

    if (message == VST_HANDOVER_FINISH)
        answer(departure, NULL); /* the guest runs there, and its QEMU here has ended */
    say(departure, message);
}

static void note_text(struct vst_move *move, const struct vst_migrate_message *answer_of)
{
    bool blocked = answer_of->event == VST_HANDOVER_REFUSED;
    struct vst_error err = {.side = VST_SIDE_DESTINATION};

    if (!answer_of->text || !answer_of->text[0])
        return;
    vst_error_set(&err, blocked ? VST_ERR_INCOMPATIBLE : VST_ERR_DRIVER, "%s", answer_of->text);
    vst_move_note(move, &err);
}

static void checked(struct vst_departure *departure, const struct vst_migrate_message *answer_of)
{
    if (answer_of->event == VST_HANDOVER_STARTED) {
        answer(departure, NULL);
        vst_departure_dismiss(departure, NULL);
        return;
    }
    note_text(&departure->move, answer_of);
    vst_departure_dismiss(departure, &departure->move.why);
}

static void answered(void *opaque, const struct vst_migrate_message *answer_of)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;
    unsigned char host[VST_HANDOVER_ID];

    if (vst_uuid_parse(answer_of->host, host) < 0)
        return; /* the clock of the machine asks again */
    if (departure->state == DEPARTURE_CHECKING) {
        checked(departure, answer_of);
        return;
    }
    if (answer_of->event == VST_HANDOVER_DIED)
        vst_move_forget_why(move); /* that the stream broke came of it */
    note_text(move, answer_of);
    vst_move_feed(move, answer_of->event, host);
}

/* Of the call itself, by access or by what it says: that is the destination's word. */
static bool is_refusal(const struct vst_error *err)
{
    return err->code == VST_ERR_ACCESS || err->code == VST_ERR_INVALID ||
           err->code == VST_ERR_UNSUPPORTED;
}

/* On the link it is we who are the client, and the destination the host; the QEMU is its own. */
struct vst_error vst_departure_seen_from_here(const struct vst_error *err)
{
    struct vst_error seen = *err;

    if (seen.side == VST_SIDE_HOST || seen.side == VST_SIDE_QEMU)
        seen.side = VST_SIDE_DESTINATION;
    else if (seen.side == VST_SIDE_CLIENT)
        seen.side = VST_SIDE_SOURCE;
    return seen;
}

/* Where PREPARE is refused so nothing has begun, and nobody there need hear of it again. */
static void link_down(void *opaque, const struct vst_error *said)
{
    struct vst_error seen = vst_departure_seen_from_here(said);
    const struct vst_error *err = &seen;
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;

    if (departure->state == DEPARTURE_CHECKING || departure->state == DEPARTURE_REACHING) {
        vst_departure_dismiss(departure, err);
        return;
    }
    if (err->code != VST_ERR_LOST && err->code != VST_ERR_CONNECT)
        vst_move_note(move, err);
    if (is_refusal(err) && vst_handover_would_move(&move->machine, VST_HANDOVER_REFUSED))
        vst_move_feed(move, VST_HANDOVER_REFUSED, move->machine.peer);
    else
        vst_move_fail(move, VST_HANDOVER_LINK_DOWN, err);
}

/* From here on it is the machine's, and in the journal. */
static void decide(struct vst_departure *departure)
{
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    if (vst_departure_put_job(move, move->guest, VST_WORD_OUT, move->ran, &err) < 0) {
        vst_departure_dismiss(departure, &err);
        return;
    }
    vst_departure_enter(departure, DEPARTURE_DECIDED);
    vst_move_feed(move, VST_HANDOVER_BEGIN, NULL);
}

/* Or a client relays: it is asked again. Which host it leads to, the answer says. */
static void link_up(void *opaque)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;

    if (departure->state == DEPARTURE_REACHING)
        decide(departure);
    else
        vst_move_feed(move, VST_HANDOVER_LINK_UP, move->machine.peer);
}

/* What may still be cancelled is given up when a client goes. */
static bool is_at_stake(void *opaque)
{
    const struct vst_departure *departure = opaque;

    return departure->state < DEPARTURE_DECIDED ||
           vst_handover_would_move(&departure->move.machine, VST_HANDOVER_CANCEL);
}

static int make_link(struct vst_departure *departure, bool expected, struct vst_error *ret_err)
{
    struct vst_link_cb cb = {answered, link_down, link_up, is_at_stake, departure};
    struct vst_move *move = &departure->move;

    if (departure->link)
        return 0;
    if (!vst_relay_is_meant(move->peer)) {
        departure->link = vst_link_new(move->qemu->conn, move->peer, &cb, ret_err);
        return departure->link ? 0 : -1;
    }
    departure->link = vst_link_new_relay(
        move->qemu, &(struct vst_link_relay){move->token, move->owner, expected}, &cb, ret_err);
    return departure->link ? 0 : -1;
}

/* ---- the offer ---- */

/* What the header of an image says, says all that the destination needs. */
static char *print_offer(struct vst_departure *departure, struct vst_error *ret_err)
{
    static char by[] = "virstream", driver[] = "qemu", zstd[] = "zstd", none[] = "none";
    static char post_copy[] = "post-copy";
    const struct vst_definition *ours = vst_guest_definition(departure->move.guest);
    struct vst_image_header header = {
        .driver = driver,
        .qemu_version = (char *)vst_guest_version(departure->move.guest),
        .machine = departure->machine,
        .running = departure->move.ran,
        .created_at = departure->move.since,
        .created_by = by,
        .compression = departure->opt.zstd_level ? zstd : none,
        .method = departure->opt.post_copy ? post_copy : NULL,
        .disks = departure->sizes,
    };
    char *text = NULL;

    if (vst_departure_disks_offer(departure, &header.copies, ret_err) < 0)
        return NULL;
    header.definition = vst_definition_copy(ours, ret_err);
    if (header.definition && departure->there[0]) {
        free(header.definition->name); /* the same guest under another name: its UUID stays */
        header.definition->name = strdup(departure->there);
        if (!header.definition->name)
            vst_definition_free(&header.definition);
    }
    if (header.definition)
        text = vst_image_header_to_json(&header, ret_err);
    else
        vst_error_no_memory(ret_err);
    vst_definition_free(&header.definition);
    free(header.copies);
    return text;
}

void vst_departure_offer(struct vst_departure *departure)
{
    struct vst_error err = {0};

    departure->offer = print_offer(departure, &err);
    if (!departure->offer || make_link(departure, true, &err) < 0) {
        vst_departure_dismiss(departure, &err);
        return;
    }
    if (departure->check) {
        vst_departure_enter(departure, DEPARTURE_CHECKING);
        say(departure, VST_HANDOVER_PREPARE);
        return;
    }
    vst_departure_enter(departure, DEPARTURE_REACHING);
    if (vst_link_is_up(departure->link))
        decide(departure);
    else
        vst_link_open(departure->link);
}

/* ---- its life ---- */

static void departure_free(struct vst_move *move)
{
    struct vst_departure *departure = vst_departure_of(move);

    if (departure->tie)
        departure->tie->departure = NULL;
    vst_rescue_free(&departure->rescue);
    vst_departure_stop_stream(departure);
    vst_departure_post_copy_free(departure);
    vst_stream_free(&departure->stream);
    vst_departure_disks_drop(departure);
    vst_departure_drop_sizes(departure);
    vst_link_free(&departure->link);
    event_del(&departure->poll);
    free(departure->offer);
    free(departure);
}

static void settled(struct vst_move *move)
{
    struct vst_departure *departure = vst_departure_of(move);

    if (departure->state == DEPARTURE_OVER)
        return;
    vst_departure_enter(departure, DEPARTURE_OVER);
    event_del(&departure->poll);
    vst_rescue_free(&departure->rescue);
    vst_departure_stop_stream(departure);
    vst_departure_disks_drop(departure);
}

static void over(struct vst_move *move)
{
    struct vst_departure *departure = vst_departure_of(move);

    answer_with_reason(departure, VST_ERR_DRIVER); /* nobody waits any more, as a rule */
    vst_link_free(&departure->link);
}

void vst_departure_dismiss(struct vst_departure *departure, const struct vst_error *err)
{
    struct vst_move *move = &departure->move;

    vst_departure_enter(departure, DEPARTURE_OVER);
    if (err)
        answer(departure, err);
    vst_move_let_go(move);
    vst_move_free(move);
}

static bool gone_early(struct vst_move *move, const struct vst_error *err)
{
    struct vst_departure *departure = vst_departure_of(move);

    if (departure->state >= DEPARTURE_DECIDED)
        return false;
    vst_guest_forget(move->guest, move);
    move->guest = NULL;
    vst_departure_dismiss(departure, err);
    return true;
}

/* Nobody wants it given up where the connection is closed under it: this process ends. */
static void give_up(struct vst_departure *departure, const struct vst_error *why)
{
    struct vst_error err = {0};

    if (vst_conn_check(departure->move.qemu->conn, NULL) == 0) {
        vst_move_fail(&departure->move, VST_HANDOVER_CANCEL, why);
        return;
    }
    vst_error_set(&err, VST_ERR_CANCELLED, "%s", vst_handover_event_text(VST_HANDOVER_RESTARTED));
    vst_move_fail(&departure->move, VST_HANDOVER_RESTARTED, &err);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    struct vst_departure *departure = opaque;
    struct vst_error err = {0};

    if (departure->state < DEPARTURE_DECIDED) {
        vst_departure_dismiss(departure, why);
        return;
    }
    give_up(departure, why);
    if (!departure->op || departure->state == DEPARTURE_UNDOING)
        return; /* it is given up, by this or already */
    vst_error_set(&err, VST_ERR_IN_DOUBT,
                  "%s: it is too late to cancel: the hosts go on (virstream migrations)",
                  departure->move.name);
    answer(departure, &err);
}

const struct vst_move_end vst_departure_end = {
    .role = VST_MIGRATION_OUT,
    .send = say_to_destination,
    .qemu = vst_departure_qemu,
    .tell = tell,
    .gone = gone_early,
    .settled = settled,
    .over = over,
    .free = departure_free,
    .get_info = vst_departure_get_info,
};

static struct vst_departure *departure_new(struct vst_qemu *qemu, const unsigned char *token,
                                           struct vst_error *ret_err)
{
    struct vst_departure *departure = calloc(1, sizeof(*departure));

    if (!departure) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    departure->spare = -1;
    departure->begun_us = vst_now_us();
    if (vst_move_init(&departure->move, qemu, &vst_departure_end, token, ret_err) < 0) {
        free(departure);
        return NULL;
    }
    vst_departure_watch(departure);
    vst_departure_post_copy_init(departure);
    return departure;
}

static int check_call(const struct vst_qemu *qemu, const struct vst_departure_wish *wish,
                      struct vst_error *ret_err)
{
    const struct vst_migrate_options *opt = wish->opt;
    size_t most = VST_JOURNAL_URI_MAX - (sizeof(VST_RELAY_PREFIX) - 1);

    if (opt->name && vst_name_check(opt->name, ret_err) < 0)
        return -1;
    if (strlen(wish->destination) > most)
        return vst_error_set(ret_err, VST_ERR_INVALID, "the destination's URI is longer than %zu",
                             most);
    if (!opt->post_copy && (opt->post_copy_after || opt->then == VST_MIGRATE_THEN_POST_COPY))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "post-copy is to come to pass, but is not allowed");
    if (opt->post_copy && opt->copy_disks)
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED,
                             "post-copy of a guest whose disks are copied is not supported");
    if (vst_move_of(qemu, wish->name))
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "a migration of %s is under way (virstream migrations)", wish->name);
    return vst_move_check_room(qemu, NULL, ret_err);
}

static void fill(struct vst_departure *departure, const struct vst_departure_wish *wish)
{
    const struct vst_migrate_options *opt = wish->opt;
    struct vst_move *move = &departure->move;

    departure->opt = *opt;
    departure->opt.name = NULL;
    departure->check = wish->check;
    move->keep = opt->keep_source;
    snprintf(departure->there, sizeof(departure->there), "%s", opt->name ? opt->name : "");
    snprintf(move->name, sizeof(move->name), "%s", wish->name);
    snprintf(move->peer, sizeof(move->peer), "%s%s", wish->relayed ? VST_RELAY_PREFIX : "",
             wish->destination);
}

/* Whoever relays fetches the outcome. */
static void give_token(const struct vst_departure *departure, struct vst_op *op)
{
    struct vst_errand errand = {.kind = VST_ERRAND_NONE};

    snprintf(errand.token, sizeof(errand.token), "%s", departure->move.token);
    vst_driver_errand(op, &errand);
}

static struct vst_departure *departure_make(struct vst_qemu *qemu,
                                            const struct vst_departure_wish *wish,
                                            struct vst_error *ret_err)
{
    struct vst_departure *departure = NULL;

    if (check_call(qemu, wish, ret_err) == 0)
        departure = departure_new(qemu, NULL, ret_err);
    if (!departure)
        return NULL;
    fill(departure, wish);
    if (vst_move_own(&departure->move, wish->caller, ret_err) == 0 &&
        (!wish->relayed || make_link(departure, true, ret_err) == 0))
        return departure;
    vst_move_free(&departure->move);
    return NULL;
}

void vst_departure_begin(struct vst_qemu *qemu, const struct vst_departure_wish *wish,
                         struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_departure *departure = departure_make(qemu, wish, &err);

    if (!departure) {
        vst_op_fail(op, &err);
    } else if (wish->relayed) {
        give_token(departure, op);
        vst_departure_ask(departure);
    } else {
        departure->op = op;
        vst_op_set_cancel(op, cancelled, departure);
        if (!wish->check)
            vst_op_set_token(op, departure->move.token);
        vst_departure_ask(departure);
    }
}

int vst_departure_recover(struct vst_qemu *qemu, const struct vst_journal_entry *entry,
                          struct vst_error *ret_err)
{
    struct vst_departure *departure = departure_new(qemu, entry->token, ret_err);

    if (!departure)
        return -1;
    snprintf(departure->move.peer, sizeof(departure->move.peer), "%s", entry->uri);
    snprintf(departure->move.owner, sizeof(departure->move.owner), "%s", entry->owner);
    snprintf(departure->move.name, sizeof(departure->move.name), "%s", entry->guest);
    vst_departure_enter(departure, DEPARTURE_DECIDED);
    if (make_link(departure, false, ret_err) == 0 && vst_move_recover(&departure->move, entry) == 0)
        return 0;
    vst_move_free(&departure->move);
    return -1;
}

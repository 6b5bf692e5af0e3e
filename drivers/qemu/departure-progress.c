/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a departure is doing, by QEMU's word, twice a second: figures for people, a verdict on
 * whether it will end, and the end of one that does not move any more or takes too long.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "copy-node.h"
#include "core/clock.h"
#include "core/json.h"
#include "departure.h"
#include "migration.h"
#include "qmp.h"

enum { POLL_US = 1000000 / VST_DEPARTURE_LOOKS, PAGE = 4096, MIB = 1024 * 1024 };

static double real(struct json_object *from, const char *name)
{
    struct json_object *value;

    return from && json_object_object_get_ex(from, name, &value) ? json_object_get_double(value)
                                                                 : 0;
}

/* So long a disk may stand still between two pieces of it, for the speed that it is held to. */
static int64_t pause_us(const struct vst_departure *departure)
{
    if (departure->state != DEPARTURE_COPYING || !departure->opt.bandwidth)
        return 0;
    return (int64_t)(UINT64_C(2000000) * vst_departure_disks_piece(departure) /
                     departure->opt.bandwidth);
}

/* So long nothing may move. */
static int64_t patience_us(const struct vst_departure *departure)
{
    unsigned seconds = departure->opt.stall_seconds ? departure->opt.stall_seconds
                                                    : vst_conn_patience(departure->move.qemu->conn);

    return (int64_t)seconds * 1000000 + pause_us(departure);
}

/* Who is waited for when nothing has moved since `moved_us`. */
static const char *culprit(const struct vst_departure *departure)
{
    int64_t answered_us = vst_link_answered_us(departure->link);
    bool there =
        answered_us > departure->moved_us && answered_us > vst_now_us() - patience_us(departure);
    struct vst_progress progress;

    if (departure->heard_us <= departure->moved_us)
        return "QEMU here does not answer";
    if (!departure->stream && departure->state != DEPARTURE_COPYING)
        return "there is no stream";
    if (departure->stream) {
        vst_stream_get_progress(departure->stream, &progress);
        if (progress.waits_for != VST_STALLED_ON_DRIVER)
            return "QEMU here gives nothing";
    }
    if (there && !departure->stream)
        return "the destination answers, but QEMU, there or here, copies nothing of the disks";
    if (there)
        return "the destination answers, but takes nothing: its QEMU, or a disk, stands still";
    return "the link takes nothing, and the destination does not answer";
}

static void give_verdict(struct vst_departure *departure)
{
    struct vst_migration_info *info = &departure->progress;
    bool hopeless = info->pass > 2 && info->dirty_rate > info->rate;
    const char *does = departure->move.ran ? "runs" : "is paused";

    if (vst_departure_serves(departure) && !departure->stream &&
        departure->status != VST_MIGRATION_COMPLETED)
        snprintf(info->verdict, sizeof(info->verdict),
                 "post-copy: the guest %s there, and the rest of its memory cannot follow until "
                 "the hosts are connected again",
                 does);
    else if (departure->state == DEPARTURE_SWITCHED)
        snprintf(info->verdict, sizeof(info->verdict),
                 "post-copy: the guest is paused until it is handed over, %" PRIu64
                 " MiB of its memory will follow",
                 info->left / MIB);
    else if (departure->state > DEPARTURE_SWITCHED)
        snprintf(info->verdict, sizeof(info->verdict),
                 "post-copy: the guest %s there, %" PRIu64 " MiB of its memory %s", does,
                 info->left / MIB,
                 departure->move.why.code == VST_ERR_STALLED ? "stand still here" : "follow");
    else if (departure->one_pass)
        snprintf(info->verdict, sizeof(info->verdict),
                 "the only pass over the memory, whatever the downtime: this QEMU without KVM "
                 "would lose changes in another");
    else if (info->pass <= 1)
        snprintf(info->verdict, sizeof(info->verdict), "first pass over the memory");
    else if (hopeless)
        snprintf(info->verdict, sizeof(info->verdict),
                 "not converging: %" PRIu64 " MiB/s dirtied, %" PRIu64
                 " MiB/s sent; allow more bandwidth or downtime, auto-converge, or post-copy",
                 info->dirty_rate / MIB, info->rate / MIB);
    else
        snprintf(info->verdict, sizeof(info->verdict), "converging");
}

static void take_figures(struct vst_departure *departure, struct json_object *value)
{
    struct vst_migration_info *info = &departure->progress;
    struct json_object *ram = NULL;

    json_object_object_get_ex(value, "ram", &ram);
    info->pass = (unsigned)vst_json_number(ram, "dirty-sync-count");
    info->total = vst_json_number(ram, "total");
    info->sent = vst_json_number(ram, "transferred");
    info->left = vst_json_number(ram, "remaining");
    info->rate = (uint64_t)(real(ram, "mbps") * 1e6 / 8);
    info->dirty_rate = vst_json_number(ram, "dirty-pages-rate") * PAGE;
    if (!departure->paused_us)
        info->downtime_ms = (unsigned)vst_json_number(value, "expected-downtime");
    give_verdict(departure);
}

/* In post-copy there is no way back, and a new stream to whoever stands still would be no better:
 * people are told for as long as it lasts. A connection that is dead ends by itself. */
static void stalled(struct vst_departure *departure, int64_t us)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_STALLED, "no progress for %d seconds: %s", (int)(us / 1000000),
                  culprit(departure));
    if (departure->state != DEPARTURE_SERVING) {
        vst_move_fail(&departure->move, VST_HANDOVER_STALLED, &err);
        return;
    }
    vst_move_forget_why(&departure->move);
    vst_move_note(&departure->move, &err);
    give_verdict(departure);
}

static void has_moved(struct vst_departure *departure)
{
    departure->moved = departure->progress.sent;
    departure->moved_us = vst_now_us();
    if (departure->state == DEPARTURE_SERVING)
        vst_move_forget_why(&departure->move);
}

/* When it is getting late, the other host is asked whether it is there: by then it has answered, or
 * will not. */
static void look_for_stall(struct vst_departure *departure)
{
    int64_t still = vst_now_us() - departure->moved_us, most = patience_us(departure);

    if (departure->progress.sent != departure->moved || !departure->moved_us) {
        has_moved(departure);
        return;
    }
    if (still > most / 2)
        vst_link_ping(departure->link);
    if (still > most)
        stalled(departure, still);
}

/* What QEMU has sent may still be on its way: it counts when it gets there. */
static void look_for_bytes(struct vst_departure *departure)
{
    struct vst_progress progress;

    if (!departure->stream)
        return;
    vst_stream_get_progress(departure->stream, &progress);
    if (progress.up_bytes != departure->taken)
        vst_move_put_off(&departure->move);
    departure->taken = progress.up_bytes;
}

static void give_up_late(struct vst_departure *departure, const char *why)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_TIMEOUT, "it was not over in %u seconds; %s",
                  departure->opt.timeout_seconds, why);
    vst_move_fail(&departure->move, VST_HANDOVER_OVERDUE, &err);
}

/* What was to end it does not; unless it has come to its end by itself meanwhile. A monitor that is
 * lost is followed by the end of the guest, which knows more. */
static void did_then(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    (void)value;
    if (err && err->code != VST_ERR_LOST && !vst_handover_holds_guest(&departure->move.machine))
        give_up_late(departure, err->text);
}

static int do_then(struct vst_departure *departure, struct vst_error *ret_err)
{
    struct vst_qmp_reply reply = {did_then, &departure->move};

    if (departure->opt.then == VST_MIGRATE_THEN_POST_COPY)
        return vst_departure_go_post_copy(departure, reply, ret_err);
    if (departure->move.ran)
        vst_departure_paused(departure); /* it stands still from now on */
    return vst_qmp_execute(vst_guest_qmp(departure->move.guest), "stop", reply, ret_err, NULL);
}

/* What it was begun with is not known any more after a restart, which gives it up anyway. */
static void look_for_timeout(struct vst_departure *departure)
{
    int64_t after_us = (int64_t)departure->opt.timeout_seconds * 1000000;
    struct vst_error err = {0};

    if (!after_us || departure->late || vst_now_us() < departure->begun_us + after_us)
        return;
    departure->late = true;
    if (departure->opt.then == VST_MIGRATE_THEN_ABORT)
        give_up_late(departure, departure->progress.verdict);
    else if (do_then(departure, &err) < 0)
        give_up_late(departure, err.text);
}

/* From the switch on the hand-over machine has its own times, and people are not told of ours. */
static void judge(struct vst_departure *departure)
{
    enum departure_state state = departure->state;

    look_for_bytes(departure);
    if (state == DEPARTURE_SERVING && departure->stream && departure->move.guest)
        look_for_stall(departure);
    if ((state != DEPARTURE_MOVING && state != DEPARTURE_COPYING) || !departure->move.guest ||
        vst_handover_holds_guest(&departure->move.machine))
        return;
    look_for_timeout(departure);
    if (departure->state == state)
        look_for_stall(departure);
}

static bool moves(const struct vst_departure *departure)
{
    return departure->state >= DEPARTURE_MOVING && departure->state <= DEPARTURE_SERVING;
}

static void heard(struct vst_departure *departure, const struct vst_error *err)
{
    departure->asking = false;
    if (!err)
        departure->heard_us = vst_now_us();
}

/* Else it might go on for ever, and people believe that it does not; unless it has come to its end
 * by itself meanwhile. */
static void went_post_copy(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    (void)value;
    if (err && err->code != VST_ERR_LOST && !vst_handover_holds_guest(&departure->move.machine))
        vst_move_fail(&departure->move, VST_HANDOVER_QEMU_FAILED, err);
}

static void go_post_copy(struct vst_departure *departure)
{
    struct vst_qmp_reply reply = {went_post_copy, &departure->move};
    struct vst_error err = {0};

    departure->opt.post_copy_after = 0;
    if (vst_departure_go_post_copy(departure, reply, &err) < 0)
        vst_move_fail(&departure->move, VST_HANDOVER_QEMU_FAILED, &err);
}

void vst_departure_passed(struct vst_departure *departure, struct json_object *data)
{
    unsigned after = departure->opt.post_copy_after;

    if (after && departure->state == DEPARTURE_MOVING && vst_json_number(data, "pass") > after)
        go_post_copy(departure);
}

/* Where there is one pass only, post-copy after it would come too late: the guest is paused at its
 * end, and what is left is sent. */
static void look_for_half_a_pass(struct vst_departure *departure)
{
    const struct vst_migration_info *info = &departure->progress;

    if (departure->opt.post_copy_after && info->left < info->total / 2)
        go_post_copy(departure);
}

static void told(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    heard(departure, err);
    if (err || !moves(departure))
        return;
    take_figures(departure, value);
    if (departure->state == DEPARTURE_MOVING && departure->one_pass)
        look_for_half_a_pass(departure);
}

static void told_of_disks(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    heard(departure, err);
    if (!err && departure->state == DEPARTURE_COPYING)
        vst_departure_disks_look(departure, value);
}

static void ask(struct vst_departure *departure, const char *command,
                void (*fn)(void *opaque, struct json_object *value, const struct vst_error *err))
{
    struct vst_move *move = &departure->move;

    departure->asking = vst_qmp_execute(vst_guest_qmp(move->guest), command,
                                        (struct vst_qmp_reply){fn, move}, NULL, NULL) == 0;
}

void vst_departure_look(struct vst_departure *departure)
{
    if (moves(departure) && departure->move.guest)
        ask(departure, "query-migrate", told);
    if (departure->state == DEPARTURE_COPYING && departure->move.guest)
        ask(departure, "query-block-jobs", told_of_disks);
}

/* A QEMU that does not answer is not asked again and again; but that it does not is noticed. */
static void poll(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_departure *departure = opaque;

    (void)fd, (void)what;
    judge(departure);
    if (!departure->asking)
        vst_departure_look(departure);
}

void vst_departure_paused(struct vst_departure *departure)
{
    if (!departure->paused_us)
        departure->paused_us = vst_now_us();
}

void vst_departure_handed(struct vst_departure *departure)
{
    if (departure->paused_us)
        departure->progress.downtime_ms =
            (unsigned)((vst_now_us() - departure->paused_us + 999) / 1000);
}

void vst_departure_watch(struct vst_departure *departure)
{
    static const struct timeval often = {0, POLL_US};

    event_assign(&departure->poll, departure->move.qemu->conn->base, -1, EV_PERSIST, poll,
                 departure);
    event_add(&departure->poll, &often);
}

void vst_departure_watch_serving(struct vst_departure *departure)
{
    departure->moved_us = 0;
    if (departure->status != VST_MIGRATION_COMPLETED)
        give_verdict(departure); /* which a poll may come too late for */
}

/* By a process before us, and the destination has not been reached since. */
static bool has_served(const struct vst_departure *departure)
{
    const struct vst_handover *machine = &departure->move.machine;

    return departure->state == DEPARTURE_DECIDED &&
           machine->outcome == VST_HANDOVER_TELL_MIGRATED && vst_handover_can_be_resolved(machine);
}

static enum vst_migration_phase phase_of(const struct vst_departure *departure)
{
    const struct vst_move *move = &departure->move;

    if (move->over)
        return VST_MIGRATION_PHASE_OVER;
    if (departure->state < DEPARTURE_DECIDED)
        return VST_MIGRATION_PHASE_ASK;
    if (departure->state == DEPARTURE_COPYING)
        return VST_MIGRATION_PHASE_DISKS;
    /* After a restart it is in no state of ours, but perhaps far beyond the preparation. */
    if (departure->state < DEPARTURE_MOVING && !vst_handover_holds_guest(&move->machine))
        return VST_MIGRATION_PHASE_PREPARE;
    if (vst_departure_serves(departure))
        return vst_handover_settled(&move->machine) ? VST_MIGRATION_PHASE_CLEAN_UP
                                                    : VST_MIGRATION_PHASE_POST_COPY;
    if (has_served(departure))
        return VST_MIGRATION_PHASE_POST_COPY;
    if (!vst_handover_holds_guest(&move->machine))
        return departure->stream ? VST_MIGRATION_PHASE_MEMORY : VST_MIGRATION_PHASE_CLEAN_UP;
    return departure->state == DEPARTURE_UNDOING ? VST_MIGRATION_PHASE_UNDO
                                                 : VST_MIGRATION_PHASE_HAND_OVER;
}

void vst_departure_get_info(const struct vst_move *move, struct vst_migration_info *ret_info)
{
    const struct vst_departure *departure = vst_departure_of(move);
    const struct vst_migration_info *known = &departure->progress;
    bool copies = departure->state == DEPARTURE_COPYING;

    ret_info->phase = phase_of(departure);
    ret_info->pass = known->pass;
    ret_info->total = known->total;
    ret_info->sent = known->sent;
    ret_info->left = moves(departure) || copies ? known->left : 0;
    ret_info->rate = moves(departure) || copies ? known->rate : 0;
    ret_info->dirty_rate = moves(departure) ? known->dirty_rate : 0;
    ret_info->downtime_ms = known->downtime_ms;
    memcpy(ret_info->verdict, known->verdict, sizeof(ret_info->verdict));
}

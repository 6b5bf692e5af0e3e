/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination's end in post-copy: QEMU has all of the guest but a part of its memory, and asks
 * the source for what the guest touches. When the stream breaks QEMU pauses, and with it whatever
 * touches a page that is not there; the source makes another stream, and QEMU goes on.
 *
 * Also getting hold of a guest after a restart, since only QEMU knows then what it lacks.
 */
#include <json-c/json.h>
#include <string.h>

#include "arrival.h"
#include "core/json.h"

enum { LOOK_US = 2000 }; /* the guest stands still meanwhile */

static struct vst_qmp *qmp_of(const struct vst_arrival *arrival)
{
    return vst_guest_qmp(arrival->move.guest);
}

static void enter(struct vst_arrival *arrival, enum arrival_post_copy_state state)
{
    vst_fsm_trace(arrival_post_copy, arrival->move.name, arrival->post_copy, state);
    arrival->post_copy = state;
}

bool vst_arrival_lacks(const struct vst_arrival *arrival)
{
    return arrival->post_copy >= ARRIVAL_SWITCHED && arrival->status != VST_MIGRATION_COMPLETED;
}

/* ---- the switch ----
 *
 * QEMU says that it is in post-copy when it begins to read the device state, and nothing when it
 * has read it: it is paused then, as by -S.
 */

static void switched(struct vst_arrival *arrival)
{
    enter(arrival, ARRIVAL_SWITCHED);
    vst_arrival_spare_if(arrival, VST_HANDOVER_QEMU_SWITCHED);
    vst_move_feed(&arrival->move, VST_HANDOVER_QEMU_SWITCHED, NULL);
    if (arrival->status == VST_MIGRATION_COMPLETED)
        vst_arrival_completed(arrival);
}

static void told_status(void *opaque, struct json_object *value, const struct vst_error *err)
{
    static const struct timeval soon = {0, LOOK_US};
    struct vst_arrival *arrival = opaque;
    const char *status = vst_json_string(value, "status");

    if (arrival->post_copy != ARRIVAL_SWITCHING)
        return;
    if (err && err->code != VST_ERR_LOST)
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_FAILED, err);
    else if (status && strcmp(status, "inmigrate") != 0)
        switched(arrival);
    else if (!err)
        event_add(&arrival->look, &soon);
}

static void look(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_arrival *arrival = opaque;

    (void)fd, (void)what;
    if (arrival->move.guest)
        vst_qmp_execute(qmp_of(arrival), "query-status",
                        (struct vst_qmp_reply){told_status, &arrival->move}, NULL, NULL);
}

void vst_arrival_post_copy_init(struct vst_arrival *arrival)
{
    event_assign(&arrival->look, arrival->move.qemu->conn->base, -1, 0, look, arrival);
}

/* ---- another stream ---- */

static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    (void)value;
    if (err && err->code != VST_ERR_LOST && arrival->loading)
        vst_arrival_fail_stream(arrival, err);
}

static void recover(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    enter(arrival, ARRIVAL_SWITCHED);
    if (vst_qmp_execute(qmp_of(arrival), "migrate-recover",
                        (struct vst_qmp_reply){acknowledged, &arrival->move}, &err, "uri",
                        json_object_new_string("fd:migrate"), NULL) < 0)
        acknowledged(arrival, NULL, &err);
}

void vst_arrival_post_copy_again(struct vst_arrival *arrival)
{
    enter(arrival, ARRIVAL_PASSING);
}

void vst_arrival_post_copy_incoming(struct vst_arrival *arrival)
{
    if (arrival->post_copy != ARRIVAL_PASSING)
        return; /* it is that of an older stream, after the newer one has begun */
    if (arrival->status == VST_MIGRATION_POST_COPY_PAUSED)
        recover(arrival);
    else
        enter(arrival, ARRIVAL_PAUSING);
}

/* ---- what QEMU says ---- */

/* So that the source hears of it, too. */
static void broken(struct vst_arrival *arrival)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    vst_error_set(&err, VST_ERR_LOST, "qemu %s: the stream of its memory broke off",
                  arrival->move.name);
    if (arrival->loading)
        vst_arrival_fail_stream(arrival, &err);
}

void vst_arrival_post_copy_event(struct vst_arrival *arrival)
{
    switch (arrival->status) {
    case VST_MIGRATION_POST_COPY:
        if (arrival->post_copy != ARRIVAL_PRE_COPY)
            break;
        enter(arrival, ARRIVAL_SWITCHING);
        look(-1, 0, arrival);
        break;
    case VST_MIGRATION_POST_COPY_PAUSED:
        if (arrival->post_copy == ARRIVAL_PAUSING)
            recover(arrival);
        else if (arrival->post_copy == ARRIVAL_SWITCHED)
            broken(arrival);
        break;
    case VST_MIGRATION_COMPLETED:
        if (arrival->post_copy >= ARRIVAL_SWITCHED)
            vst_arrival_completed(arrival);
        break;
    default:
        break;
    }
}

/* ---- after a restart ---- */

static void take_guest(struct vst_arrival *arrival, struct vst_guest *guest)
{
    struct vst_guest_job job = vst_arrival_job(arrival);

    if (arrival->move.guest)
        return;
    vst_move_take_guest(&arrival->move, guest);
    vst_guest_go_on(guest, &job);
}

static void take_status(struct vst_arrival *arrival, struct json_object *value)
{
    arrival->status = vst_migration_status(value);
    if (arrival->status != VST_MIGRATION_COMPLETED && arrival->status != VST_MIGRATION_NONE)
        enter(arrival, ARRIVAL_SWITCHED);
}

/* The word that it comes goes from the place when it was told to run, whatever the journal says: a
 * guest without it that is paused was paused by people. */
static bool has_come(const struct vst_arrival *arrival)
{
    struct vst_place *place = vst_guest_place(arrival->move.guest);
    struct vst_place_job job = {0};

    return vst_handover_would_move(&arrival->move.machine, VST_HANDOVER_QEMU_RESUMED) &&
           vst_place_get_job(place, &job, NULL) == 0 && job.word != VST_WORD_IN;
}

/* A slow QEMU is asked more than once, and what it answers late is of no interest any more. */
static bool asks(const struct vst_arrival *arrival, enum vst_handover_event answer)
{
    return vst_handover_would_move(&arrival->move.machine, answer) ||
           vst_handover_stops_guest(&arrival->move.machine);
}

static void adopted(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    if (err || !asks(arrival, VST_HANDOVER_QEMU_PAUSED))
        return; /* its end says what became of it */
    take_status(arrival, value);
    if (vst_guest_is_running(arrival->move.guest) || has_come(arrival))
        vst_arrival_runs(arrival);
    else
        vst_move_feed(&arrival->move, VST_HANDOVER_QEMU_PAUSED, NULL);
}

static void rejoined(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    if (err || !asks(arrival, VST_HANDOVER_QEMU_LACKS))
        return;
    take_status(arrival, value);
    vst_move_feed(
        &arrival->move,
        vst_arrival_lacks(arrival) ? VST_HANDOVER_QEMU_LACKS : VST_HANDOVER_QEMU_COMPLETED, NULL);
}

static void ask(struct vst_arrival *arrival, struct vst_guest *guest, const struct vst_error *err,
                struct vst_qmp_reply then)
{
    if (err && !vst_move_qemu_exists(&arrival->move)) {
        vst_move_note_death(&arrival->move, err);
    } else if (!err) {
        take_guest(arrival, guest);
        vst_qmp_execute(qmp_of(arrival), "query-migrate", then, NULL, NULL);
    }
}

static void adopt(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    ask(opaque, guest, err, (struct vst_qmp_reply){adopted, opaque});
}

static void rejoin(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    ask(opaque, guest, err, (struct vst_qmp_reply){rejoined, opaque});
}

void vst_arrival_adopt(struct vst_arrival *arrival)
{
    vst_move_get_guest(&arrival->move, adopt);
}

void vst_arrival_rejoin(struct vst_arrival *arrival)
{
    vst_move_get_guest(&arrival->move, rejoin);
}

/* ---- the source will not give what is lacking ---- */

void vst_arrival_cut_off(struct vst_arrival *arrival)
{
    if (!vst_arrival_lacks(arrival) || !arrival->move.guest)
        return; /* the last of it came at that very moment */
    vst_guest_set_reason(arrival->move.guest,
                         "post-copy was cut off for good: memory of it was on the source, and is "
                         "lost; it stands still when it needs it: destroy it");
}

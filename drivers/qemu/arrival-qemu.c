/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the destination's QEMU is told. It is spawned paused (-S) and waits for its migration; only
 * the hand-over machine, and only when the guest is surely this host's, lets it run.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrival.h"
#include "stray.h"

static struct vst_qmp *qmp_of(const struct vst_arrival *arrival)
{
    return vst_guest_qmp(arrival->move.guest);
}

static void failed(struct vst_arrival *arrival, const struct vst_error *err)
{
    if (err->code != VST_ERR_LOST) /* then its end comes, and says more */
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_FAILED, err);
}

static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        failed(opaque, err);
}

/* ---- what is to run ---- */

/* "pc" means another machine in another version of QEMU. */
static struct vst_definition *definition_of(const struct vst_arrival *arrival,
                                            struct vst_error *ret_err)
{
    const struct vst_image_header *offer = arrival->offer;
    struct vst_definition *def = vst_definition_copy(offer->definition, ret_err);
    char *machine = def && offer->machine ? strdup(offer->machine) : NULL;

    if (machine) {
        free(def->machine);
        def->machine = machine;
    } else if (def && offer->machine) {
        vst_error_no_memory(ret_err);
        vst_definition_free(&def);
    }
    return def;
}

/* ---- CHECK ---- */

static void checked(void *opaque, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    arrival->check = NULL;
    if (err)
        vst_move_fail(&arrival->move, VST_HANDOVER_CHECK_FAILED, err);
    else
        vst_move_feed(&arrival->move, VST_HANDOVER_CHECKED, NULL);
}

static void add_if(struct vst_check *check, int status, const struct vst_error *err)
{
    if (status < 0)
        vst_check_add(check, err);
}

/* What is left of a stray may be all that is left of a guest. One that lives has been told of. */
static int check_name(const struct vst_move *move, struct vst_error *ret_err)
{
    if (vst_move_check_name(move->qemu, move->name, move->token, ret_err) < 0)
        return -1;
    return vst_root_has(move->qemu->root, move->name)
               ? 0
               : vst_stray_check(move->qemu, move->name, ret_err);
}

/* What stands in the way of those that come from elsewhere. */
static void add_reasons(const struct vst_arrival *arrival, struct vst_check *check)
{
    const struct vst_definition *def = arrival->offer->definition;
    const struct vst_move *move = &arrival->move;
    struct vst_error room = {0}, name = {0}, uuid = {0};

    add_if(check, vst_move_check_room(move->qemu, move, &room), &room);
    add_if(check, check_name(move, &name), &name);
    add_if(check,
           vst_root_check_uuid(move->qemu->root, def, vst_move_leaves_as(move->qemu, move->token),
                               &uuid),
           &uuid);
}

static enum vst_disks expects(const struct vst_arrival *arrival)
{
    return arrival->offer->copies ? VST_DISKS_NEW : VST_DISKS_SHARED;
}

struct vst_check *vst_arrival_check(struct vst_arrival *arrival,
                                    void (*fn)(void *opaque, const struct vst_error *err),
                                    struct vst_error *ret_err)
{
    struct vst_definition *def = definition_of(arrival, ret_err);
    struct vst_check *check = NULL;

    if (def)
        check =
            vst_check_start(arrival->move.qemu, NULL, def, expects(arrival), fn, arrival, ret_err);
    vst_definition_free(&def);
    if (check && vst_check_sizes(check, arrival->offer->disks, ret_err) < 0)
        vst_check_cancel(&check);
    if (check)
        add_reasons(arrival, check);
    return check;
}

static void check(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    arrival->check = vst_arrival_check(arrival, checked, &err);
    if (!arrival->check)
        checked(arrival, &err);
    else if (arrival->offer->method)
        vst_check_post_copy(arrival->check);
}

/* ---- SPAWN ---- */

static void prepared(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    (void)value;
    if (err)
        failed(arrival, err);
    else if (arrival->disks)
        vst_arrival_disks_export(arrival);
    else
        vst_arrival_ready(arrival);
}

void vst_arrival_ready(struct vst_arrival *arrival)
{
    vst_move_feed(&arrival->move, VST_HANDOVER_QEMU_READY, NULL);
}

/* A guest that is to stay paused has its disks at once, since nobody says `cont`. */
static void set_capabilities(struct vst_arrival *arrival)
{
    const char *on[5] = {"events", "return-path"};
    struct vst_error err = {0};
    size_t ons = 2;

    if (arrival->move.ran)
        on[ons++] = "late-block-activate";
    if (arrival->offer->method)
        on[ons++] = "postcopy-ram";
    on[ons] = NULL;

    if (vst_qmp_execute(qmp_of(arrival), "migrate-set-capabilities",
                        (struct vst_qmp_reply){prepared, &arrival->move}, &err, "capabilities",
                        vst_migration_capabilities(on), NULL) < 0)
        failed(arrival, &err);
}

static void loaded(struct vst_arrival *arrival)
{
    if (arrival->disks)
        vst_arrival_disks_close(arrival);
    else
        vst_arrival_completed(arrival);
}

static void qemu_event(void *opaque, const char *name, struct json_object *data)
{
    struct vst_arrival *arrival = opaque;

    if (strcmp(name, "MIGRATION") != 0)
        return;
    arrival->status = vst_migration_status(data);
    if (arrival->status == VST_MIGRATION_COMPLETED && arrival->gate)
        vst_gate_open(arrival->gate);
    vst_arrival_post_copy_event(arrival);
    if (arrival->status == VST_MIGRATION_COMPLETED && arrival->post_copy == ARRIVAL_PRE_COPY)
        loaded(arrival); /* one that failed ends by itself, and its log says why */
}

/* What comes when the copy is being ended already does not make a guest of it. */
void vst_arrival_spare_if(struct vst_arrival *arrival, enum vst_handover_event event)
{
    if (arrival->move.guest && vst_handover_would_move(&arrival->move.machine, event))
        vst_guest_spare(arrival->move.guest);
}

void vst_arrival_completed(struct vst_arrival *arrival)
{
    vst_arrival_spare_if(arrival, VST_HANDOVER_QEMU_COMPLETED);
    vst_move_feed(&arrival->move, VST_HANDOVER_QEMU_COMPLETED, NULL);
}

struct vst_guest_job vst_arrival_job(struct vst_arrival *arrival)
{
    return (struct vst_guest_job){.kind = VST_JOB_MIGRATE,
                                  .event = qemu_event,
                                  .opaque = arrival,
                                  .token = arrival->move.token};
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)guest;
    if (!err) /* else gone() comes with the same */
        set_capabilities(opaque);
}

void vst_arrival_spawn(struct vst_arrival *arrival)
{
    struct vst_guest_job job = vst_arrival_job(arrival);
    struct vst_move *move = &arrival->move;
    struct vst_guest *guest = NULL;
    struct vst_error err = {0};
    struct vst_definition *def = definition_of(arrival, &err);

    move->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = move};
    if (def && vst_guest_spawn(move->qemu, &def, true, &job, &move->wait, &guest, &err) == 0)
        vst_move_take_guest(move, guest);
    else
        vst_move_fail(move, VST_HANDOVER_QEMU_FAILED, &err);
    vst_definition_free(&def);
}

/* ---- the stream ---- */

static void incoming(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;
    struct vst_error refused = {0};

    (void)value;
    if (err)
        failed(arrival, err);
    else if (arrival->post_copy != ARRIVAL_PRE_COPY)
        vst_arrival_post_copy_incoming(arrival);
    else if (vst_qmp_execute(qmp_of(arrival), "migrate-incoming",
                             (struct vst_qmp_reply){acknowledged, &arrival->move}, &refused, "uri",
                             json_object_new_string("fd:migrate"), NULL) < 0)
        failed(arrival, &refused);
}

/* What was begun and is not the arrival's yet. */
static int drop_channels(struct vst_guest_channels *channels, struct vst_handshake **handshake)
{
    vst_channel_free(&channels->source);
    vst_channel_free(&channels->sink);
    vst_close(&channels->spare);
    vst_handshake_unref(handshake);
    return -1;
}

int vst_arrival_load(struct vst_arrival *arrival, struct vst_guest_channels *ret_channels,
                     struct vst_error *ret_err)
{
    bool again = arrival->post_copy != ARRIVAL_PRE_COPY; /* such a stream is not compressed */
    bool expand = !again && strcmp(arrival->offer->compression, "zstd") == 0;
    struct event_base *base = arrival->move.qemu->conn->base;
    struct vst_handshake *handshake = NULL;
    int ours = -1, qemus = -1;

    *ret_channels = (struct vst_guest_channels){.spare = -1};
    if (again)
        handshake = vst_handshake_new(VST_HANDSHAKE_DESTINATION, arrival->move.name, ret_err);
    if ((again && !handshake) || vst_migration_sockets(&ours, &qemus, ret_err) < 0 ||
        vst_guest_channels_open(base, &ours, 0, expand, handshake, ret_channels, ret_err) < 0) {
        vst_close(&ours);
        vst_close(&qemus);
        return drop_channels(ret_channels, &handshake);
    }
    if (vst_qmp_pass_fd(qmp_of(arrival), "migrate", &qemus,
                        (struct vst_qmp_reply){incoming, &arrival->move}, ret_err) < 0)
        return drop_channels(ret_channels, &handshake);
    arrival->handshake = handshake;
    return 0;
}

/* ---- STOP ---- */

/* What it was told before this it does first. A QEMU that is not to be reached now is told when the
 * machine asks again. */
static void stop(struct vst_arrival *arrival)
{
    if (arrival->move.guest && arrival->told)
        vst_qmp_send(qmp_of(arrival), "stop", NULL, NULL, VST_QMP_EVER, (struct vst_qmp_reply){0},
                     NULL);
}

/* ---- CONT ---- */

/* What is being ended, by a word that came before QEMU's, stays the migration's; and of what is
 * known already nothing follows. */
void vst_arrival_runs(struct vst_arrival *arrival)
{
    struct vst_move *move = &arrival->move;

    if (vst_handover_stops_guest(&move->machine))
        stop(arrival);
    if (!vst_handover_would_move(&move->machine, VST_HANDOVER_QEMU_RESUMED))
        return;
    vst_guest_keep(move->guest);
    if (vst_arrival_lacks(arrival)) {
        vst_place_set_move(vst_guest_place(move->guest), VST_WORD_LACK, move->token, move->ran,
                           NULL);
        vst_move_feed(move, VST_HANDOVER_QEMU_LACKS, NULL);
        return;
    }
    vst_move_let_go(move);
    vst_move_feed(move, VST_HANDOVER_QEMU_RESUMED, NULL);
}

static void resumed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_arrival *arrival = opaque;

    (void)value;
    if (!err)
        vst_arrival_runs(arrival);
    else if (err->code == VST_ERR_DRIVER) /* QEMU's own word: it has not run */
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_REFUSED, err);
    else if (vst_handover_would_move(&arrival->move.machine, VST_HANDOVER_QEMU_RESUMED))
        vst_move_note(&arrival->move, err); /* its end says what became of it */
}

/* Without a deadline: a QEMU that was told once may obey at any time, and its word, or its end, is
 * all that counts. One whose monitor is lost already has not been told. */
static void cont(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    vst_arrival_disks_drop(arrival, false); /* from now on they may be the guest's only ones */
    if (!arrival->move.guest)
        vst_move_feed(&arrival->move, VST_HANDOVER_QEMU_FAILED, NULL); /* its monitor was lost */
    else if (!arrival->move.ran)
        vst_arrival_runs(arrival);
    else if (vst_qmp_send(qmp_of(arrival), "cont", NULL, NULL, VST_QMP_EVER,
                          (struct vst_qmp_reply){resumed, &arrival->move}, &err) == 0)
        arrival->told = true;
    else if (err.code != VST_ERR_LOST)
        vst_move_fail(&arrival->move, VST_HANDOVER_QEMU_REFUSED, &err);
}

void vst_arrival_qemu(struct vst_move *move, enum vst_handover_command command)
{
    struct vst_arrival *arrival = vst_arrival_of(move);

    switch (command) {
    case VST_HANDOVER_QEMU_CHECK:
        check(arrival);
        break;
    case VST_HANDOVER_QEMU_SPAWN:
        if (arrival->offer->copies)
            vst_arrival_disks_make(arrival);
        else
            vst_arrival_spawn(arrival);
        break;
    case VST_HANDOVER_QEMU_CONT:
        cont(arrival);
        break;
    case VST_HANDOVER_QEMU_ADOPT:
        vst_arrival_adopt(arrival);
        break;
    case VST_HANDOVER_QEMU_REJOIN:
        vst_arrival_rejoin(arrival);
        break;
    case VST_HANDOVER_QEMU_STOP:
        stop(arrival);
        break;
    case VST_HANDOVER_QEMU_END:
        vst_arrival_disks_drop(arrival, true);
        vst_move_end_qemu(move);
        break;
    default:
        break; /* the destination's machine asks for nothing else */
    }
}

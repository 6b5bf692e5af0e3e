/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the source's QEMU is told: the questions before, and the commands of the hand-over machine.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fd.h"
#include "core/image.h"
#include "core/json.h"
#include "departure.h"
#include "migration.h"

enum { DOWNTIME_MS = 300 };

static void step(struct vst_departure *departure, struct json_object *value);

static struct vst_qmp *qmp_of(const struct vst_departure *departure)
{
    return vst_guest_qmp(departure->move.guest);
}

/* ---- what goes wrong ---- */

/* Before the machine has begun it is a plain error; after that, an event. A monitor that is lost is
 * followed by the end of the guest, which knows more. */
static void failed(struct vst_departure *departure, const struct vst_error *err)
{
    if (err->code == VST_ERR_LOST)
        return;
    if (departure->state < DEPARTURE_DECIDED)
        vst_departure_dismiss(departure, err);
    else
        vst_move_fail(&departure->move, VST_HANDOVER_QEMU_FAILED, err);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    if (err)
        failed(opaque, err);
    else
        step(opaque, value);
}

static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        failed(opaque, err);
}

static struct vst_qmp_reply then_step(struct vst_departure *departure)
{
    return (struct vst_qmp_reply){replied, &departure->move};
}

static void sent(struct vst_departure *departure, int status, const struct vst_error *err)
{
    if (status < 0)
        failed(departure, err);
}

static void command(struct vst_departure *departure, enum departure_state state, const char *name)
{
    struct vst_error err = {0};

    vst_departure_enter(departure, state);
    sent(departure, vst_qmp_execute(qmp_of(departure), name, then_step(departure), &err, NULL),
         &err);
}

/* ---- before: does it run, and what is it? ---- */

static void take_status(struct vst_departure *departure, struct json_object *value)
{
    const char *status = vst_json_string(value, "status");
    struct vst_error err = {.side = VST_SIDE_QEMU};

    if (!status || strcmp(status, "postmigrate") == 0) {
        vst_error_set(&err, VST_ERR_STATE,
                      "%s has been paused since it was saved or migrated last: resume it, if only "
                      "for a moment",
                      departure->move.name);
        vst_departure_dismiss(departure, &err);
        return;
    }
    departure->move.ran = strcmp(status, "running") == 0;
    command(departure, DEPARTURE_ACCELERATOR, "query-kvm");
}

/*
 * Without KVM, QEMU itself notes which pages the guest writes to: at the first write to a page,
 * after which it is not looked at again. QEMU before 9.0 forgets to look again when it has fetched
 * these notes, as it does between two passes, and what the guest then writes to a page after that
 * has been sent is lost: the guest that arrives has old memory. When a migration begins all pages
 * are looked at, and when the guest is paused nothing is written: one pass, and what is left at its
 * end, is whole. (QEMU's commit 03bfc2188f, "physmem: Fix migration dirty bitmap coherency with TCG
 * memory access".)
 */
static void take_accelerator(struct vst_departure *departure, struct json_object *value)
{
    long major = strtol(vst_guest_version(departure->move.guest), NULL, 10);
    struct json_object *kvm;
    struct vst_error err = {0};

    departure->one_pass =
        major < 9 && !(value && json_object_object_get_ex(value, "enabled", &kvm) &&
                       json_object_get_boolean(kvm));
    vst_departure_enter(departure, DEPARTURE_MACHINE);
    sent(departure,
         vst_qmp_execute(qmp_of(departure), "qom-get", then_step(departure), &err, "path",
                         json_object_new_string("/machine"), "property",
                         json_object_new_string("type"), NULL),
         &err);
}

static void take_machine(struct vst_departure *departure, struct json_object *value)
{
    static const char suffix[] = "-machine";
    const char *type =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    size_t length = strlen(type), tail = sizeof(suffix) - 1;
    struct vst_error err = {.side = VST_SIDE_QEMU};

    if (length > tail && strcmp(type + length - tail, suffix) == 0)
        length -= tail;
    if (!length || length >= sizeof(departure->machine)) {
        vst_error_set(&err, VST_ERR_PROTOCOL, "qemu %s: no answer to qom-get",
                      departure->move.name);
        vst_departure_dismiss(departure, &err);
        return;
    }
    memcpy(departure->machine, type, length);
    departure->machine[length] = '\0';
    vst_departure_ask_sizes(departure);
}

/* ---- MIGRATE: from capabilities to a stream that moves ---- */

static void begin(struct vst_departure *departure)
{
    if (!vst_departure_disks_begin(departure))
        vst_departure_move(departure);
}

void vst_departure_move(struct vst_departure *departure)
{
    const char *on[6] = {"events", "return-path", "pause-before-switchover"};
    struct vst_error err = {0};
    size_t ons = 3;

    if (departure->opt.post_copy)
        on[ons++] = "postcopy-ram";
    if (departure->opt.auto_converge)
        on[ons++] = "auto-converge";
    on[ons] = NULL;
    vst_departure_enter(departure, DEPARTURE_CAPABILITIES);
    sent(departure,
         vst_qmp_execute(qmp_of(departure), "migrate-set-capabilities", then_step(departure), &err,
                         "capabilities", vst_migration_capabilities(on), NULL),
         &err);
}

static struct json_object *bandwidth_of(uint64_t bandwidth)
{
    return bandwidth && bandwidth < INT64_MAX ? json_object_new_int64((int64_t)bandwidth)
                                              : vst_migration_unlimited();
}

/* 0 is what QEMU calls unlimited here. What the guest asks for goes first, whatever this is. */
static struct json_object *post_copy_bandwidth(uint64_t bandwidth)
{
    return json_object_new_int64(bandwidth < INT64_MAX ? (int64_t)bandwidth : 0);
}

/* QEMU begins another pass when what is left would take less than this: with 0, never. It pauses
 * the guest instead when nothing is left. */
static struct json_object *downtime_of(const struct vst_departure *departure, unsigned wanted_ms)
{
    bool none = departure->one_pass || vst_departure_serves(departure);

    return json_object_new_int64(none ? 0 : wanted_ms);
}

static void set_parameters(struct vst_departure *departure)
{
    unsigned downtime = departure->opt.downtime_ms ? departure->opt.downtime_ms : DOWNTIME_MS;
    struct vst_error err = {0};

    vst_departure_enter(departure, DEPARTURE_PARAMETERS);
    sent(departure,
         vst_qmp_execute(qmp_of(departure), "migrate-set-parameters", then_step(departure), &err,
                         "max-bandwidth", bandwidth_of(departure->opt.bandwidth),
                         "max-postcopy-bandwidth", post_copy_bandwidth(departure->opt.bandwidth),
                         "downtime-limit", downtime_of(departure, downtime), NULL),
         &err);
}

int vst_departure_tell_change(struct vst_departure *departure,
                              const struct vst_migration_change *change, struct vst_qmp_reply reply,
                              struct vst_error *ret_err)
{
    struct json_object *to = json_object_new_object();
    uint64_t bandwidth = change->bandwidth;

    if (to &&
        (!bandwidth ||
         (vst_json_add(to, "max-bandwidth", bandwidth_of(bandwidth)) == 0 &&
          vst_json_add(to, "max-postcopy-bandwidth", post_copy_bandwidth(bandwidth)) == 0)) &&
        (!change->downtime_ms ||
         vst_json_add(to, "downtime-limit", downtime_of(departure, change->downtime_ms)) == 0))
        return vst_qmp_send(qmp_of(departure), "migrate-set-parameters", to, NULL, VST_QMP_SECONDS,
                            reply, ret_err);
    json_object_put(to);
    return vst_error_no_memory(ret_err);
}

static void pass_socket(struct vst_departure *departure)
{
    struct vst_error err = {0};
    int ours = -1, qemus = -1;

    vst_departure_enter(departure, DEPARTURE_PASSING);
    if (vst_migration_sockets(&ours, &qemus, &err) < 0 ||
        vst_departure_open_stream(departure, &ours, departure->opt.zstd_level, NULL, &err) < 0) {
        vst_close(&ours);
        vst_close(&qemus);
        vst_move_fail(&departure->move, vst_departure_lacks_stream(departure), &err);
        return;
    }
    sent(departure,
         vst_qmp_pass_fd(qmp_of(departure), "migrate", &qemus, then_step(departure), &err), &err);
}

static void start(struct vst_departure *departure)
{
    struct vst_error err = {0};

    departure->status = VST_MIGRATION_ACTIVE;
    vst_departure_enter(departure, DEPARTURE_MOVING);
    sent(departure,
         vst_qmp_execute(qmp_of(departure), "migrate",
                         (struct vst_qmp_reply){acknowledged, &departure->move}, &err, "uri",
                         json_object_new_string("fd:migrate"), NULL),
         &err);
}

static void step(struct vst_departure *departure, struct json_object *value)
{
    switch (departure->state) {
    case DEPARTURE_ASKING:
        take_status(departure, value);
        break;
    case DEPARTURE_ACCELERATOR:
        take_accelerator(departure, value);
        break;
    case DEPARTURE_MACHINE:
        take_machine(departure, value);
        break;
    case DEPARTURE_STOPPING:
        begin(departure);
        break;
    case DEPARTURE_CAPABILITIES:
        set_parameters(departure);
        break;
    case DEPARTURE_PARAMETERS:
        pass_socket(departure);
        break;
    case DEPARTURE_PASSING:
        start(departure);
        break;
    case DEPARTURE_WAITING:
    case DEPARTURE_SIZES:
    case DEPARTURE_CLEARING:
    case DEPARTURE_REACHING:
    case DEPARTURE_CHECKING:
    case DEPARTURE_DECIDED:
    case DEPARTURE_COPYING:
    case DEPARTURE_MOVING:
    case DEPARTURE_SWITCHED:
    case DEPARTURE_SERVING:
    case DEPARTURE_PAUSING:
    case DEPARTURE_RELEASING:
    case DEPARTURE_REOPENING:
    case DEPARTURE_UNDOING:
    case DEPARTURE_OVER:
        break; /* waits for something else than a reply */
    }
}

/* With any downtime QEMU may believe that it has finished when a stream breaks and little is left:
 * one that has finished takes no other. */
static void send_all(struct vst_departure *departure)
{
    vst_qmp_execute(qmp_of(departure), "migrate-set-parameters", (struct vst_qmp_reply){0}, NULL,
                    "downtime-limit", json_object_new_int64(0), NULL);
}

/* ---- what QEMU tells ---- */

static void explained(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;
    const char *reason = err ? err->text : vst_migration_reason(value);
    struct vst_error failure = {.side = VST_SIDE_QEMU};

    vst_error_set(&failure, VST_ERR_DRIVER, "qemu %s: the migration failed: %s",
                  departure->move.name, reason ? reason : "QEMU gives no reason; its log may");
    vst_move_fail(&departure->move, VST_HANDOVER_QEMU_FAILED, &failure);
}

static void qemu_event(void *opaque, const char *name, struct json_object *data)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};

    vst_departure_disks_event(departure, name, data);
    if (strcmp(name, "MIGRATION_PASS") == 0)
        vst_departure_passed(departure, data);
    if (strcmp(name, "MIGRATION") != 0)
        return;
    departure->status = vst_migration_status(data);
    if (departure->status == VST_MIGRATION_POST_COPY_PAUSED)
        departure->broken_us = vst_now_us();
    if (departure->state != DEPARTURE_MOVING && departure->state != DEPARTURE_SWITCHED) {
        vst_departure_served(departure);
        return;
    }
    switch (departure->status) {
    case VST_MIGRATION_PRE_SWITCHOVER:
        if (move->ran && !departure->opt.offline)
            vst_departure_paused(departure);
        vst_move_feed(move, VST_HANDOVER_QEMU_PAUSED, NULL);
        break;
    case VST_MIGRATION_COMPLETED:
        if (departure->gate)
            vst_gate_open(departure->gate);
        vst_departure_look(departure); /* the last figures */
        vst_move_feed(move, VST_HANDOVER_QEMU_COMPLETED, NULL);
        break;
    case VST_MIGRATION_POST_COPY:
        vst_departure_enter(departure, DEPARTURE_SWITCHED);
        send_all(departure);
        vst_move_feed(move, VST_HANDOVER_QEMU_SWITCHED, NULL);
        break;
    case VST_MIGRATION_POST_COPY_PAUSED: /* the stream is broken, which is known, or will be */
        break;
    case VST_MIGRATION_CANCELLED:
    case VST_MIGRATION_FAILED:
        sent(departure,
             vst_qmp_execute(qmp_of(departure), "query-migrate",
                             (struct vst_qmp_reply){explained, move}, &err, NULL),
             &err);
        break;
    case VST_MIGRATION_NONE:
    case VST_MIGRATION_ACTIVE:
        break;
    }
}

/* ---- getting hold of it ---- */

struct vst_guest_job vst_departure_job(struct vst_departure *departure)
{
    return (struct vst_guest_job){
        .kind = VST_JOB_MIGRATE, .event = qemu_event, .opaque = departure};
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct vst_departure *departure = opaque;
    struct vst_guest_job job = vst_departure_job(departure);
    struct vst_error err = {0};

    if (wait_err || vst_guest_begin_job(guest, &job, &err) < 0) {
        vst_departure_dismiss(departure, wait_err ? wait_err : &err);
        return;
    }
    vst_move_take_guest(&departure->move, guest);
    snprintf(departure->move.uuid, sizeof(departure->move.uuid), "%s",
             vst_guest_definition(guest)->uuid);
    command(departure, DEPARTURE_ASKING, "query-status");
}

void vst_departure_ask(struct vst_departure *departure)
{
    struct vst_move *move = &departure->move;

    move->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = move};
    vst_guest_get(move->qemu, move->name, &move->wait);
}

/* ---- CONTINUE ---- */

void vst_departure_switch(struct vst_departure *departure)
{
    struct vst_error err = {0};

    sent(departure,
         vst_qmp_execute(qmp_of(departure), "migrate-continue",
                         (struct vst_qmp_reply){acknowledged, &departure->move}, &err, "state",
                         json_object_new_string("pre-switchover"), NULL),
         &err);
}

/* ---- the word in the place ---- */

/* For people: which host, and not how it is to be reached. What is no text would spoil the file,
 * and is left out. */
static void put_host(char ret_to[VST_PLACE_TO_MAX + 1], const char *uri)
{
    size_t length = strcspn(uri, "?");

    for (size_t i = 0; i < length; i++)
        if (uri[i] < ' ' || uri[i] > '~')
            return;
    if (length <= VST_PLACE_TO_MAX)
        memcpy(ret_to, uri, length); /* the rest is zero */
}

int vst_departure_put_job(struct vst_move *move, struct vst_guest *guest, enum vst_place_word word,
                          bool running, struct vst_error *ret_err)
{
    struct vst_place_job job = {.word = word, .running = running};

    snprintf(job.token, sizeof(job.token), "%s", move->token);
    put_host(job.to, move->peer);
    return vst_place_put_job(vst_guest_place(guest), &job, ret_err);
}

/* ---- END ---- */

/* Paused for good: the place says so to whoever would resume it. What cannot be done now, for a
 * monitor that is silent or a disk that is full, is tried again by the clock of this state. */
static void keep(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_move *move = opaque;

    if (err && !vst_move_qemu_exists(move))
        vst_move_end_qemu(move);
    if (err || vst_departure_put_job(move, guest, VST_WORD_AWAY, false, NULL) < 0)
        return;
    vst_guest_forget(guest, move);
    vst_guest_leave(guest);
    vst_guest_unwatch(&move->watch);
    move->guest = NULL;
    vst_move_feed(move, VST_HANDOVER_QEMU_GONE, NULL);
}

void vst_departure_qemu(struct vst_move *move, enum vst_handover_command what)
{
    struct vst_departure *departure = vst_departure_of(move);

    switch (what) {
    case VST_HANDOVER_QEMU_MIGRATE:
        if (departure->opt.offline && move->ran)
            command(departure, DEPARTURE_STOPPING, "stop");
        else
            begin(departure);
        break;
    case VST_HANDOVER_QEMU_CONTINUE:
        if (!vst_departure_disks_finish(departure))
            vst_departure_switch(departure);
        break;
    case VST_HANDOVER_QEMU_SERVE:
        vst_departure_serve(departure);
        break;
    case VST_HANDOVER_QEMU_RESUME:
        vst_departure_resume(departure);
        break;
    case VST_HANDOVER_QEMU_END:
        vst_departure_stop_stream(departure);
        if (move->keep && vst_move_may_end_qemu(move))
            vst_move_get_guest(move, keep);
        else
            vst_move_end_qemu(move);
        break;
    default:
        break; /* the source's machine asks for nothing else */
    }
}

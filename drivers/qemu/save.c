/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Save: QEMU migrates into an outlet (outlet.h), whose other end goes down the stream as an image.
 * The guest ends only after the application's end has taken, and finished, a complete image; until
 * then every failure is undone, and the guest is as it was.
 *
 * What QEMU writes is believed to be all only when QEMU has said `completed`; only then does the
 * image get its END record.
 */
#include "core/json.h"
#include "guest.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "migration.h"
#include "outlet.h"

#define SAVE_STATES(X)                                                                       \
    X(SAVE_WAITING, "the guest", "its monitor is being connected")                           \
    X(SAVE_ASKING, "reply to query-status", "does it run, and can it be saved?")             \
    X(SAVE_MACHINE, "reply to qom-get", "the exact machine type, for the image's header")    \
    X(SAVE_CAPABILITIES, "reply to migrate-set-capabilities", "events; snapshot when live")  \
    X(SAVE_PARAMETERS, "reply to migrate-set-parameters", "no limit of bandwidth")           \
    X(SAVE_STOPPING, "reply to stop", "the guest is being paused")                           \
    X(SAVE_DRAINING, "the worker", "live: who reads what we do not is being started")        \
    X(SAVE_PASSING, "reply to getfd", "QEMU gets its end of what we read")                   \
    X(SAVE_MOVING, "completed, then the stream", "the state goes down the stream")           \
    X(SAVE_STORING, "the stream", "QEMU has ended by itself, after it had given everything") \
    X(SAVE_QUITTING, "the end of QEMU", "the image is safe, the guest ends")                 \
    X(SAVE_KILLING, "the end of QEMU", "it has not quit, and was killed")                    \
    X(SAVE_MENDING, "the guest", "the guest stays, and is made again what it was")           \
    X(SAVE_OVER, "nothing", "the operation has been completed")
VST_FSM(save, SAVE_STATES)

enum { QUIT_SECONDS = 20, KILL_SECONDS = 5 };

struct save {
    struct vst_conn *conn;
    struct vst_guest *guest; /* NULL until it is there, and after it is gone */
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_op *op;
    struct vst_stream *stream;
    struct vst_save_options opt;
    enum save_state state;
    enum vst_migration_status status; /* by QEMU's last word */
    bool was_running;
    char machine[128];
    struct vst_drain *drain; /* in DRAINING */
    struct vst_outlet outlet;
    struct vst_error why;  /* of the failure */
    struct vst_error lost; /* what QEMU ended of, in STORING */
    struct event patience; /* in QUITTING and KILLING */
    char label[72];
};

static const char *const events[] = {"events", NULL};
static const char *const events_and_snapshot[] = {"events", "background-snapshot", NULL};

static void enter(struct save *save, enum save_state state)
{
    vst_fsm_trace(save, save->label, save->state, state);
    save->state = state;
    vst_drain_cancel(&save->drain);
    event_del(&save->patience);
}

/* ---- the end ---- */

static void let_go(struct save *save)
{
    vst_guest_unwait(&save->wait);
    vst_guest_unwatch(&save->watch);
    if (!save->guest)
        return;
    vst_guest_forget(save->guest, save);
    vst_guest_end_job(save->guest);
    save->guest = NULL;
}

static void over(struct save *save)
{
    enter(save, SAVE_OVER);
    let_go(save);
    vst_outlet_close(&save->outlet);
    if (vst_error_is_set(&save->why)) {
        vst_error_where(&save->why, VST_SIDE_NONE, "save");
        vst_op_fail(save->op, &save->why);
    } else {
        vst_op_done(save->op);
    }
}

static bool keeps(const struct save *save)
{
    return save->opt.keep_running || save->opt.live;
}

/* Only what was asked of a guest that has ended since can still be wrong. */
static void blame_end(struct save *save, const struct vst_error *err)
{
    vst_error_set(&save->why, VST_ERR_CLEANUP, "the image is complete, but not the guest: %s",
                  err->text);
}

/* A paused guest has nothing to go on with; and after a snapshot QEMU would start it. */
static bool is_live(const struct save *save)
{
    return save->opt.live && save->was_running;
}

/* ---- leaving the guest as it was ---- */

static void mended(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)err;
    if (guest)
        over(opaque);
    /* else gone() comes with the same */
}

/* What is still to be answered is of no interest any more. */
static void mend(struct save *save)
{
    bool live = is_live(save) && save->state == SAVE_MOVING;

    enter(save, SAVE_MENDING);
    vst_guest_forget(save->guest, save);
    save->wait = (struct vst_guest_wait){.fn = mended, .opaque = save};
    vst_guest_mend(save->guest, live ? VST_WORD_LIVE : VST_WORD_NONE, save->was_running,
                   &save->wait);
}

static void fail(struct save *save, const struct vst_error *err)
{
    if (save->state >= SAVE_QUITTING)
        return; /* decided before */
    vst_error_copy(&save->why, &save->lost);
    vst_error_copy(&save->why, err);
    vst_stream_fail(save->stream, &save->why);
    vst_outlet_break(&save->outlet);
    if (!save->guest || save->state < SAVE_CAPABILITIES)
        over(save);
    else
        mend(save);
}

static void be_patient(struct save *save, enum save_state state, int seconds)
{
    struct timeval tv = {seconds, 0};

    enter(save, state);
    event_add(&save->patience, &tv);
}

static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct save *save = opaque;
    struct vst_error err = {0};

    (void)fd, (void)what;
    if (save->state == SAVE_KILLING) {
        vst_error_set(&err, VST_ERR_TIMEOUT, "qemu %s was killed, and hangs in the kernel",
                      save->label);
        blame_end(save, &err);
        over(save);
        return;
    }
    be_patient(save, SAVE_KILLING, KILL_SECONDS);
    vst_guest_kill(save->guest); /* its state is safe */
}

/* ---- talking to QEMU ---- */

static void step(struct save *save, struct json_object *value);

/* A monitor that is lost is followed by the end of the guest, which knows more. */
static void refused(struct save *save, const struct vst_error *err)
{
    if (err->code != VST_ERR_LOST)
        fail(save, err);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    if (err)
        refused(opaque, err);
    else
        step(opaque, value);
}

/* For commands whose reply is not the next step, but may be a refusal. */
static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        refused(opaque, err);
}

static struct vst_qmp_reply then_step(struct save *save)
{
    return (struct vst_qmp_reply){replied, save};
}

static struct vst_qmp *qmp_of(const struct save *save)
{
    return vst_guest_qmp(save->guest);
}

/* What was sent is accounted for: a failure to send is a refusal. */
static void sent(struct save *save, int status, const struct vst_error *err)
{
    if (status < 0)
        refused(save, err);
}

static void command(struct save *save, enum save_state state, const char *name)
{
    struct vst_error err = {0};

    enter(save, state);
    sent(save, vst_qmp_execute(qmp_of(save), name, then_step(save), &err, NULL), &err);
}

/* ---- the stream ---- */

static int open_outlet(struct save *save, struct vst_drain_ends *drain, int *ret_qemus,
                       struct vst_error *ret_err)
{
    struct vst_image_header header = {
        .driver = (char *)"qemu",
        .qemu_version = (char *)vst_guest_version(save->guest),
        .machine = save->machine,
        .definition = (struct vst_definition *)vst_guest_definition(save->guest),
        .running = save->was_running,
    };
    struct vst_channel *image;

    if (vst_outlet_open(&save->outlet, save->conn->base, drain, &header, save->opt.zstd_level,
                        ret_qemus, &image, ret_err) < 0)
        return -1;
    return vst_stream_attach(save->stream, image, NULL, ret_err);
}

/* `drain` is NULL unless live. */
static void pass_end(struct save *save, struct vst_drain_ends *drain)
{
    struct vst_error err = {0};
    int qemus = -1;

    enter(save, SAVE_PASSING);
    if (open_outlet(save, drain, &qemus, &err) < 0) {
        vst_close(&qemus);
        fail(save, &err);
        return;
    }
    sent(save, vst_qmp_pass_fd(qmp_of(save), "save", &qemus, then_step(save), &err), &err);
}

static void drain_started(void *opaque, struct vst_drain_ends *ends, const struct vst_error *err)
{
    struct save *save = opaque;

    save->drain = NULL;
    if (err) {
        fail(save, err);
        return;
    }
    pass_end(save, ends);
    vst_drain_close(ends);
}

static void start_drain(struct save *save)
{
    const struct vst_qemu *qemu = save->conn->impl;
    struct vst_drain_cb cb = {drain_started, save};
    struct vst_error err = {0};

    enter(save, SAVE_DRAINING);
    save->drain = vst_drain_start(save->conn->base, qemu->cat, &cb, &err);
    if (!save->drain)
        fail(save, &err);
}

static void start(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_MOVING);
    save->status = VST_MIGRATION_ACTIVE;
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate", (struct vst_qmp_reply){acknowledged, save}, &err,
                         "uri", json_object_new_string("fd:save"), NULL),
         &err);
}

static void quit(struct save *save)
{
    vst_guest_expect_exit(save->guest);
    be_patient(save, SAVE_QUITTING, QUIT_SECONDS);
    vst_qmp_execute(qmp_of(save), "quit", (struct vst_qmp_reply){0}, NULL, NULL);
}

/* QEMU had completed (the gate was open), and the image is where it shall be. */
static void stream_finished(void *opaque, enum vst_direction dir)
{
    struct save *save = opaque;

    if (dir != VST_DOWN || (save->state != SAVE_MOVING && save->state != SAVE_STORING))
        return;
    if (save->state == SAVE_STORING) {
        if (keeps(save))
            blame_end(save, &save->lost);
        over(save);
    } else if (keeps(save)) {
        mend(save);
    } else {
        quit(save);
    }
}

static void stream_failed(void *opaque, const struct vst_error *err)
{
    fail(opaque, err);
}

/* ---- what QEMU tells ---- */

static void explained(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct save *save = opaque;
    const char *reason = err ? err->text : vst_migration_reason(value);
    struct vst_error failure = {0};

    vst_error_set(&failure, VST_ERR_DRIVER, "qemu %s: saving failed: %s", save->label,
                  reason ? reason : "QEMU gives no reason; its log may");
    vst_error_where(&failure, VST_SIDE_QEMU, "save");
    fail(save, &failure);
}

static void qemu_event(void *opaque, const char *name, struct json_object *data)
{
    struct save *save = opaque;
    struct vst_error err = {0};

    if (strcmp(name, "MIGRATION") != 0 || save->state != SAVE_MOVING)
        return;
    save->status = vst_migration_status(data);
    if (save->status == VST_MIGRATION_COMPLETED)
        vst_outlet_complete(&save->outlet);
    else if (save->status != VST_MIGRATION_ACTIVE)
        sent(save,
             vst_qmp_execute(qmp_of(save), "query-migrate", (struct vst_qmp_reply){explained, save},
                             &err, NULL),
             &err);
}

/* One that has ended after it had completed leaves its image as all there is of the guest. */
static void guest_gone(void *opaque, const struct vst_error *err)
{
    struct save *save = opaque;

    if (save->state == SAVE_MOVING && save->status == VST_MIGRATION_COMPLETED) {
        save->lost = *err;
        let_go(save);
        enter(save, SAVE_STORING);
        return;
    }
    if (save->state == SAVE_MENDING)
        blame_end(save, err);
    else if (save->state != SAVE_QUITTING && save->state != SAVE_KILLING)
        vst_error_copy(&save->why, err);
    over(save);
}

/* ---- going forward, a reply at a time ---- */

static void disagree(struct save *save, const char *what)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    vst_error_set(&err, VST_ERR_PROTOCOL, "qemu %s: no answer to %s", save->label, what);
    fail(save, &err);
}

static enum vst_place_word word_of(const struct save *save)
{
    if (is_live(save))
        return VST_WORD_LIVE;
    return keeps(save) ? VST_WORD_KEEP : VST_WORD_SAVE;
}

/* From here on a manager that comes after us knows what to put right. */
static void take_status(struct save *save, struct json_object *value)
{
    const char *status = vst_json_string(value, "status");
    struct vst_error err = {0};

    if (!status) {
        disagree(save, "query-status");
        return;
    }
    if (strcmp(status, "postmigrate") == 0)
        vst_error_set(&err, VST_ERR_STATE,
                      "%s has been paused since it was saved last, and QEMU does not save it again "
                      "before it has run: resume it, if only for a moment",
                      save->label);
    save->was_running = strcmp(status, "running") == 0;
    if (vst_error_is_set(&err) || vst_place_set_job(vst_guest_place(save->guest), word_of(save),
                                                    save->was_running, &err) < 0) {
        fail(save, &err);
        return;
    }
    enter(save, SAVE_MACHINE);
    sent(save,
         vst_qmp_execute(qmp_of(save), "qom-get", then_step(save), &err, "path",
                         json_object_new_string("/machine"), "property",
                         json_object_new_string("type"), NULL),
         &err);
}

static void set_capabilities(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_CAPABILITIES);
    sent(save,
         vst_qmp_execute(
             qmp_of(save), "migrate-set-capabilities", then_step(save), &err, "capabilities",
             vst_migration_capabilities(is_live(save) ? events_and_snapshot : events), NULL),
         &err);
}

/* "pc-i440fx-7.2-machine" is what QOM calls machine type pc-i440fx-7.2. */
static void take_machine(struct save *save, struct json_object *value)
{
    static const char suffix[] = "-machine";
    const char *type =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    size_t len = strlen(type);

    if (len > strlen(suffix) && strcmp(type + len - strlen(suffix), suffix) == 0)
        len -= strlen(suffix);
    if (len < 1 || len >= sizeof(save->machine)) {
        disagree(save, "qom-get");
        return;
    }
    snprintf(save->machine, sizeof(save->machine), "%.*s", (int)len, type);
    set_capabilities(save);
}

static void set_parameters(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_PARAMETERS);
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate-set-parameters", then_step(save), &err,
                         "max-bandwidth", vst_migration_unlimited(), NULL),
         &err);
}

static void step(struct save *save, struct json_object *value)
{
    switch (save->state) {
    case SAVE_ASKING:
        take_status(save, value);
        break;
    case SAVE_MACHINE:
        take_machine(save, value);
        break;
    case SAVE_CAPABILITIES:
        set_parameters(save);
        break;
    case SAVE_PARAMETERS:
        if (is_live(save))
            start_drain(save);
        else if (save->was_running)
            command(save, SAVE_STOPPING, "stop");
        else
            pass_end(save, NULL);
        break;
    case SAVE_STOPPING:
        pass_end(save, NULL);
        break;
    case SAVE_PASSING:
        start(save);
        break;
    case SAVE_WAITING:
    case SAVE_DRAINING:
    case SAVE_MOVING:
    case SAVE_STORING:
    case SAVE_QUITTING:
    case SAVE_KILLING:
    case SAVE_MENDING:
    case SAVE_OVER:
        break; /* waits for something else than a reply */
    }
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct save *save = opaque;
    struct vst_guest_job job = {
        .kind = VST_JOB_SAVE, .stream = save->stream, .event = qemu_event, .opaque = save};
    struct vst_error err = {0};

    if (wait_err || vst_guest_begin_job(guest, &job, &err) < 0) {
        fail(save, wait_err ? wait_err : &err);
        return;
    }
    save->guest = guest;
    vst_guest_watch(guest, &save->watch);
    command(save, SAVE_ASKING, "query-status");
}

void vst_qemu_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                   const struct vst_save_options *opt, struct vst_op *op)
{
    struct save *save = calloc(1, sizeof(*save));
    struct vst_error err = {0};
    struct vst_stream_user user = {
        .finished = stream_finished,
        .failed = stream_failed,
        .opaque = save,
        .name = "QEMU",
        .side = VST_SIDE_QEMU,
        .stall_seconds = vst_stall_seconds(opt->stall_seconds),
    };

    if (!save)
        vst_error_no_memory(&err);
    if (!save || vst_stream_claim(stream, op, &user, &err) < 0) {
        free(save);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, save, free);
    save->conn = conn;
    save->op = op;
    save->stream = stream;
    save->opt = *opt;
    save->outlet = VST_OUTLET_CLOSED;
    snprintf(save->label, sizeof(save->label), "%s", name);
    event_assign(&save->patience, conn->base, -1, 0, out_of_patience, save);
    save->watch = (struct vst_guest_watch){.gone = guest_gone, .opaque = save};
    save->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = save};
    vst_guest_get(conn->impl, name, &save->wait);
}

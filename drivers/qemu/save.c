/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Save: QEMU migrates into a socket, whose other end goes down the stream as an image. The guest
 * ends only after the application's end has taken, and finished, a complete image; until then every
 * failure is undone, and the guest is as it was.
 *
 * The end of QEMU's socket proves nothing (a QEMU that was killed ends it too), so a gate above it
 * believes it only when QEMU has said `completed`; only then does the image get its END record.
 */
#include "guest.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "core/image.h"
#include "migration.h"

#define SAVE_STATES(X)                                                                      \
    X(SAVE_WAITING, "the guest", "its monitor is being connected")                          \
    X(SAVE_MACHINE, "reply to qom-get", "the exact machine type, for the image's header")   \
    X(SAVE_CAPABILITIES, "reply to migrate-set-capabilities", "events; snapshot when live") \
    X(SAVE_PARAMETERS, "reply to migrate-set-parameters", "no limit of bandwidth")          \
    X(SAVE_STOPPING, "reply to stop", "the guest is being paused")                          \
    X(SAVE_PASSING, "reply to getfd", "QEMU gets its end of the socket pair")               \
    X(SAVE_MOVING, "completed, then the stream", "the state goes down the stream")          \
    X(SAVE_QUITTING, "the end of QEMU", "the image is safe, the guest ends")                \
    X(SAVE_CANCELLING, "cancelled or failed", "the save failed, and QEMU is told")          \
    X(SAVE_SETTLING, "reply to migrate-set-capabilities", "the guest stays: snapshot off")  \
    X(SAVE_RESTARTING, "reply to cont", "the guest stays, and ran before")                  \
    X(SAVE_MOURNING, "the end of QEMU", "the monitor is gone, the process will tell why")   \
    X(SAVE_OVER, "nothing", "the operation has been completed")
VST_FSM(save, SAVE_STATES)

enum { CANCEL_SECONDS = 10, QUIT_SECONDS = 20, MOURN_SECONDS = 5, STALL_SECONDS = 60 };

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
    bool job; /* begun on the guest */
    char machine[128];
    struct vst_channel *gate; /* inside the stream, for as long as nothing has failed */
    struct vst_error why;     /* of the failure */
    struct event patience;
    char label[72];
};

/* What a restore, a migration or a save before this one may have left on does not go with it. */
static const char *const events[] = {"events", NULL};
static const char *const all_else[] = {"background-snapshot", "late-block-activate", NULL};
static const char *const events_and_snapshot[] = {"events", "background-snapshot", NULL};
static const char *const all_but_snapshot[] = {"late-block-activate", NULL};

static void enter(struct save *save, enum save_state state, int patience_seconds)
{
    struct timeval tv = {patience_seconds, 0};

    vst_fsm_trace(save, save->label, save->state, state);
    save->state = state;
    event_del(&save->patience);
    if (patience_seconds)
        event_add(&save->patience, &tv);
}

/* ---- the end ---- */

static void let_go(struct save *save)
{
    vst_guest_unwait(&save->wait);
    vst_guest_unwatch(&save->watch);
    if (!save->guest)
        return;
    vst_guest_forget(save->guest, save);
    if (save->job)
        vst_guest_end_job(save->guest);
    save->guest = NULL;
}

static void over(struct save *save)
{
    enter(save, SAVE_OVER, 0);
    let_go(save);
    if (vst_error_is_set(&save->why)) {
        vst_error_where(&save->why, VST_SIDE_NONE, "save");
        vst_op_fail(save->op, &save->why);
    } else {
        vst_op_done(save->op);
    }
}

/* The monitor is gone; why, the end of the process will tell, and it is near. */
static void mourn(struct save *save)
{
    enter(save, SAVE_MOURNING, MOURN_SECONDS);
}

/* ---- talking to QEMU ---- */

static void step(struct save *save);
static void fail(struct save *save, const struct vst_error *err);

static void refused(struct save *save, const struct vst_error *err)
{
    if (err->code == VST_ERR_LOST)
        mourn(save);
    else if (save->state != SAVE_SETTLING && save->state != SAVE_RESTARTING)
        fail(save, err);
    else if (vst_error_is_set(&save->why))
        over(save);
    else {
        vst_error_set(&save->why, VST_ERR_CLEANUP,
                      "the image is complete, but the guest could not be resumed: %s", err->text);
        over(save);
    }
}

/* "pc-i440fx-7.2-machine" is what QOM calls machine type pc-i440fx-7.2. */
static void note_machine(struct save *save, const char *type)
{
    size_t len = type ? strlen(type) : 0;
    static const char suffix[] = "-machine";

    if (len > strlen(suffix) && strcmp(type + len - strlen(suffix), suffix) == 0)
        len -= strlen(suffix);
    snprintf(save->machine, sizeof(save->machine), "%.*s", (int)len, type ? type : "");
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct save *save = opaque;

    if (err) {
        refused(save, err);
        return;
    }
    if (save->state == SAVE_MACHINE)
        note_machine(save, json_object_get_string(value));
    step(save);
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

static void set_capabilities(struct save *save, enum save_state state, const char *const *on,
                             const char *const *off)
{
    struct vst_error err = {0};

    enter(save, state, 0);
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate-set-capabilities", then_step(save), &err,
                         "capabilities", vst_migration_capabilities(on, off), NULL),
         &err);
}

static void command(struct save *save, enum save_state state, const char *name)
{
    struct vst_error err = {0};

    enter(save, state, 0);
    sent(save, vst_qmp_execute(qmp_of(save), name, then_step(save), &err, NULL), &err);
}

/* ---- undoing, and leaving the guest as it was ---- */

static void settle(struct save *save)
{
    set_capabilities(save, SAVE_SETTLING, NULL, all_else);
}

static void cancel(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_CANCELLING, CANCEL_SECONDS);
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate_cancel", (struct vst_qmp_reply){acknowledged, save},
                         &err, NULL),
         &err);
}

static void fail(struct save *save, const struct vst_error *err)
{
    enum save_state state = save->state;

    if (state >= SAVE_QUITTING)
        return; /* decided before */
    vst_error_copy(&save->why, err);
    save->gate = NULL;
    vst_stream_fail(save->stream, &save->why);
    if (state <= SAVE_MACHINE)
        over(save);
    else if (state == SAVE_MOVING && save->status == VST_MIGRATION_ACTIVE)
        cancel(save);
    else
        settle(save);
}

static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct save *save = opaque;

    (void)fd, (void)what;
    switch (save->state) {
    case SAVE_QUITTING:
        vst_guest_kill(save->guest); /* its state is safe */
        break;
    case SAVE_CANCELLING:
        settle(save);
        break;
    default:
        vst_error_set(&save->why, VST_ERR_LOST, "qemu %s: its monitor is gone, QEMU is not",
                      save->label);
        over(save);
    }
}

/* ---- the stream ---- */

/* Ours -> gate -> [zstd] -> records: the last on top. */
static struct vst_channel *image_channel(struct save *save, int *ours, struct vst_error *ret_err)
{
    struct vst_image_header header = {
        .driver = (char *)"qemu",
        .qemu_version = (char *)vst_guest_version(save->guest),
        .machine = save->machine,
        .definition = (struct vst_definition *)vst_guest_definition(save->guest),
        .running = save->was_running,
    };
    struct vst_channel *raw = vst_channel_fd(save->conn->base, ours, ret_err);
    struct vst_channel *gate = raw ? vst_channel_gate(raw, ret_err) : NULL;
    struct vst_channel *image =
        gate ? vst_image_encode(gate, &header, save->opt.zstd_level, ret_err) : NULL;

    if (!image)
        vst_channel_free(gate ? &gate : &raw);
    save->gate = gate;
    return image;
}

static int attach(struct save *save, int *ours, struct vst_error *ret_err)
{
    struct vst_channel *image = image_channel(save, ours, ret_err);

    if (!image)
        return -1;
    return vst_stream_attach(save->stream, image, NULL, ret_err);
}

static void pass_socket(struct save *save)
{
    struct json_object *arguments = vst_json_object("fdname", json_object_new_string("save"));
    struct vst_error err = {0};
    int ours = -1, qemus = -1;

    enter(save, SAVE_PASSING, 0);
    if (!arguments || vst_migration_sockets(&ours, &qemus, &err) < 0 ||
        attach(save, &ours, &err) < 0) {
        json_object_put(arguments);
        vst_close(&ours);
        vst_close(&qemus);
        vst_error_no_memory(&err);
        fail(save, &err);
        return;
    }
    sent(save,
         vst_qmp_send(qmp_of(save), "getfd", arguments, &qemus, VST_QMP_SECONDS, then_step(save),
                      &err),
         &err);
}

static void start(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_MOVING, 0);
    save->status = VST_MIGRATION_ACTIVE;
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate", (struct vst_qmp_reply){acknowledged, save}, &err,
                         "uri", json_object_new_string("fd:save"), NULL),
         &err);
}

/* QEMU had completed (the gate was open), and the image is where it shall be. */
static void stream_finished(void *opaque, enum vst_direction dir)
{
    struct save *save = opaque;

    if (dir != VST_DOWN || save->state != SAVE_MOVING)
        return;
    save->gate = NULL;
    if (save->opt.keep_running || save->opt.live) {
        settle(save);
        return;
    }
    vst_guest_expect_exit(save->guest);
    enter(save, SAVE_QUITTING, QUIT_SECONDS);
    vst_qmp_execute(qmp_of(save), "quit", (struct vst_qmp_reply){0}, NULL, NULL);
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

    if (strcmp(name, "MIGRATION") != 0 || save->state < SAVE_MOVING)
        return;
    save->status = vst_migration_status(data);
    if (save->state == SAVE_CANCELLING && save->status != VST_MIGRATION_ACTIVE)
        settle(save);
    else if (save->state != SAVE_MOVING)
        return;
    else if (save->status == VST_MIGRATION_COMPLETED)
        vst_gate_open(save->gate);
    else if (save->status != VST_MIGRATION_ACTIVE)
        sent(save,
             vst_qmp_execute(qmp_of(save), "query-migrate", (struct vst_qmp_reply){explained, save},
                             &err, NULL),
             &err);
}

static void guest_gone(void *opaque, const struct vst_error *err)
{
    struct save *save = opaque;

    if (save->state != SAVE_QUITTING)
        vst_error_copy(&save->why, err);
    over(save);
}

/* ---- going forward, a reply at a time ---- */

static void pause_guest(struct save *save)
{
    struct vst_error err = {0};

    if (save->opt.live || !save->was_running)
        pass_socket(save);
    else if (vst_place_set_job(vst_guest_place(save->guest), "save", true, &err) < 0)
        fail(save, &err);
    else
        command(save, SAVE_STOPPING, "stop");
}

static void set_parameters(struct save *save)
{
    struct vst_error err = {0};

    enter(save, SAVE_PARAMETERS, 0);
    sent(save,
         vst_qmp_execute(qmp_of(save), "migrate-set-parameters", then_step(save), &err,
                         "max-bandwidth", vst_migration_unlimited(), NULL),
         &err);
}

static void step(struct save *save)
{
    switch (save->state) {
    case SAVE_MACHINE:
        set_capabilities(save, SAVE_CAPABILITIES, save->opt.live ? events_and_snapshot : events,
                         save->opt.live ? all_but_snapshot : all_else);
        break;
    case SAVE_CAPABILITIES:
        set_parameters(save);
        break;
    case SAVE_PARAMETERS:
        pause_guest(save);
        break;
    case SAVE_STOPPING:
        pass_socket(save);
        break;
    case SAVE_PASSING:
        start(save);
        break;
    case SAVE_SETTLING:
        if (save->was_running && !save->opt.live)
            command(save, SAVE_RESTARTING, "cont");
        else
            over(save);
        break;
    case SAVE_RESTARTING:
        over(save);
        break;
    case SAVE_WAITING:
    case SAVE_MOVING:
    case SAVE_QUITTING:
    case SAVE_CANCELLING:
    case SAVE_MOURNING:
    case SAVE_OVER:
        break; /* waits for something else than a reply */
    }
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct save *save = opaque;
    struct vst_guest_job job = {VST_JOB_SAVE, save->stream, qemu_event, save};
    struct vst_error err = {0};

    if (wait_err || vst_guest_begin_job(guest, &job, &err) < 0) {
        fail(save, wait_err ? wait_err : &err);
        return;
    }
    save->guest = guest;
    save->job = true;
    vst_guest_watch(guest, &save->watch);
    save->was_running = vst_guest_is_running(guest);
    enter(save, SAVE_MACHINE, 0);
    sent(save,
         vst_qmp_execute(qmp_of(save), "qom-get", then_step(save), &err, "path",
                         json_object_new_string("/machine"), "property",
                         json_object_new_string("type"), NULL),
         &err);
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
        .stall_seconds = opt->stall_seconds ? opt->stall_seconds : STALL_SECONDS,
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
    snprintf(save->label, sizeof(save->label), "%s", name);
    event_assign(&save->patience, conn->base, -1, 0, out_of_patience, save);
    save->watch = (struct vst_guest_watch){.gone = guest_gone, .opaque = save};
    save->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = save};
    vst_guest_get(conn->impl, name, &save->wait);
}

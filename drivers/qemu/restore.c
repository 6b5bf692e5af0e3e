/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore: an image that comes up the stream is loaded by a new QEMU. The header is read and
 * checked before QEMU is spawned; every record is checked before its bytes reach QEMU; and the
 * guest stays paused until QEMU has loaded everything and the END record is verified. QEMU itself
 * takes most damage, and a cut tail, for a success: both have to be true.
 *
 * Only then does it take its name. The image may be that of a guest which is being saved at the
 * same time: as that one has the name until nothing is left of it, the two never run together.
 *
 * Any failure ends QEMU and removes the directory. But from `cont` on only QEMU decides: the guest
 * may have written to its disks, and is not undone because somebody has lost patience.
 */
#include "guest.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "core/fsm.h"
#include "core/image.h"
#include "migration.h"

#define RESTORE_STATES(X)                                                                      \
    X(RESTORE_HEADER, "the HEADER record", "nothing is known yet")                             \
    X(RESTORE_CHECKING, "the check", "can this host run it?")                                  \
    X(RESTORE_SPAWNING, "the monitor", "a new QEMU, paused, waits for an incoming migration")  \
    X(RESTORE_CAPABILITIES, "reply to migrate-set-capabilities", "the progress shall be told") \
    X(RESTORE_PASSING, "reply to getfd", "QEMU gets its end of the socket pair")               \
    X(RESTORE_LOADING, "completed, and END verified", "the state goes into QEMU")              \
    X(RESTORE_NAMING, "the name", "the guest that the image is made of is about to end")       \
    X(RESTORE_RESUMING, "reply to cont", "everything is there and verified")                   \
    X(RESTORE_UNDOING, "the end of QEMU", "failed: nothing is to be left")                     \
    X(RESTORE_OVER, "nothing", "the operation has been completed")
VST_FSM(restore, RESTORE_STATES)

/* A killed QEMU may have much memory to give back. */
enum { UNDO_SECONDS = 20, EXPLAIN_SECONDS = 5, LOOK_US = 20000 };

struct restore {
    struct vst_conn *conn;
    struct vst_guest *guest; /* from the spawning on, until it is gone */
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_check *check; /* in CHECKING */
    struct vst_op *op;
    struct vst_stream *stream;
    char *name; /* another one, or NULL */
    struct vst_restore_options opt;
    enum restore_state state;
    struct vst_definition *def;       /* until the guest has it */
    struct vst_domain *domain;        /* from when QEMU is there, to be told of */
    struct vst_channel *image;        /* the stream's sink, for as long as nothing has failed */
    struct vst_channel *gate;         /* in it, once plugged */
    bool run;                         /* resume it at the end */
    bool verified;                    /* the stream has delivered all, END included */
    enum vst_migration_status status; /* by QEMU's last word */
    struct vst_error why;
    struct event patience;
    struct event look; /* in NAMING */
    unsigned looks;    /* while somebody only asks how it is what has the name */
    char label[VST_NAME_MAX + 1];
};

static const char *const events[] = {"events", NULL};
static const char *const events_and_late_disks[] = {"events", "late-block-activate", NULL};

static void enter(struct restore *restore, enum restore_state state, int patience_seconds)
{
    struct timeval tv = {patience_seconds, 0};

    vst_fsm_trace(restore, restore->label, restore->state, state);
    restore->state = state;
    event_del(&restore->patience);
    event_del(&restore->look);
    if (patience_seconds)
        event_add(&restore->patience, &tv);
}

static int stall_seconds(const struct restore *restore)
{
    return (int)vst_stall_seconds(restore->opt.stall_seconds);
}

/* ---- the end ---- */

static void over(struct restore *restore)
{
    enter(restore, RESTORE_OVER, 0);
    vst_guest_unwait(&restore->wait);
    vst_guest_unwatch(&restore->watch);
    vst_check_cancel(&restore->check);
    if (restore->guest) {
        vst_guest_forget(restore->guest, restore);
        vst_guest_end_job(restore->guest);
    }
    if (vst_error_is_set(&restore->why)) {
        vst_error_where(&restore->why, VST_SIDE_NONE, "restore");
        vst_op_fail(restore->op, &restore->why);
    }
}

static void restore_free(void *opaque)
{
    struct restore *restore = opaque;

    vst_definition_free(&restore->def);
    vst_domain_free(&restore->domain);
    free(restore->name);
    free(restore);
}

static void done(struct restore *restore)
{
    const struct vst_definition *def = vst_guest_definition(restore->guest);

    vst_driver_tell_domain(restore->op, &restore->domain);
    vst_guest_keep(restore->guest);
    over(restore);
    vst_driver_event(restore->conn, VST_EVENT_STARTED, def->name, def->uuid, "restored");
}

/* Not for a QEMU that refuses what it is given: it ends by itself, and guest_gone() says why. */
static void fail(struct restore *restore, const struct vst_error *err)
{
    if (restore->state >= RESTORE_UNDOING)
        return;
    vst_error_copy(&restore->why, err);
    restore->image = restore->gate = NULL;
    vst_stream_fail(restore->stream, &restore->why);
    if (!restore->guest) {
        over(restore);
        return;
    }
    /* A guest that became ready a moment ago is as dead. */
    vst_guest_unwait(&restore->wait);
    vst_guest_forget(restore->guest, restore);
    enter(restore, RESTORE_UNDOING, UNDO_SECONDS);
    vst_guest_kill(restore->guest);
}

/* The guest may run: it stays, and whoever asks about it next learns more. */
static void leave(struct restore *restore, const struct vst_error *err)
{
    vst_error_copy(&restore->why, err);
    vst_error_prefix(&restore->why, "qemu %s was told to run the guest, and is left as it is",
                     restore->label);
}

static void guest_gone(void *opaque, const struct vst_error *err)
{
    struct restore *restore = opaque;

    if (restore->state == RESTORE_RESUMING && vst_guest_lives(restore->guest))
        leave(restore, err);
    vst_error_copy(&restore->why, err);
    enter(restore, RESTORE_UNDOING, 0);
    vst_stream_fail(restore->stream, &restore->why);
    over(restore);
}

static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct restore *restore = opaque;
    struct vst_error err = {.side = VST_SIDE_QEMU};

    (void)fd, (void)what;
    if (restore->state == RESTORE_UNDOING) {
        over(restore); /* killed, and still there: in the kernel's hands (a dead disk) */
        return;
    }
    if (restore->state == RESTORE_NAMING)
        vst_error_set(&err, VST_ERR_EXISTS,
                      "the domain %s that is being saved has not ended in %d seconds",
                      restore->label, stall_seconds(restore));
    else if (restore->status == VST_MIGRATION_FAILED)
        vst_error_set(&err, VST_ERR_DRIVER, "qemu %s could not load the image, and did not say why",
                      restore->label);
    else
        vst_error_set(&err, VST_ERR_STALLED,
                      "qemu %s was given all of the image, and has not loaded it in %d seconds",
                      restore->label, stall_seconds(restore));
    fail(restore, &err);
}

/* ---- the conversation with the new QEMU ---- */

static void step(struct restore *restore);

/* The guest may run: it stays, and whoever asks about it next learns more. */
static void keep_silent(struct restore *restore)
{
    vst_error_set(&restore->why, VST_ERR_TIMEOUT,
                  "qemu %s was told to run the guest, and does not answer; it is left as it is",
                  restore->label);
    vst_stream_fail(restore->stream, &restore->why);
    vst_guest_keep(restore->guest);
    over(restore);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct restore *restore = opaque;

    (void)value;
    if (!err)
        step(restore);
    else if (err->code == VST_ERR_TIMEOUT && restore->state == RESTORE_RESUMING)
        keep_silent(restore);
    else if (err->code != VST_ERR_LOST) /* then gone() comes, and knows more */
        fail(restore, err);
}

/* For a command whose reply is not the next step, but may be a refusal. */
static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    if (err)
        replied(opaque, value, err);
}

static struct vst_qmp_reply then_step(struct restore *restore)
{
    return (struct vst_qmp_reply){replied, restore};
}

static void sent(struct restore *restore, int status, const struct vst_error *err)
{
    if (status < 0 && err->code != VST_ERR_LOST)
        fail(restore, err);
}

/* The disks of a guest that is to run stay the other's until `cont`. */
static void set_capabilities(struct restore *restore)
{
    struct vst_error err = {0};

    enter(restore, RESTORE_CAPABILITIES, 0);
    sent(restore,
         vst_qmp_execute(vst_guest_qmp(restore->guest), "migrate-set-capabilities",
                         then_step(restore), &err, "capabilities",
                         vst_migration_capabilities(restore->run ? events_and_late_disks : events),
                         NULL),
         &err);
}

/* Decoder -> [zstd] -> gate -> ours: until QEMU's end is explained, its socket's is not believed.
 */
static int plug(struct restore *restore, int *ours, struct vst_error *ret_err)
{
    struct vst_channel *raw = vst_channel_fd(restore->conn->base, ours, ret_err);
    struct vst_channel *gate = raw ? vst_channel_gate(raw, ret_err) : NULL;

    if (!gate) {
        vst_channel_free(&raw);
        return -1;
    }
    if (vst_image_plug(restore->image, gate, ret_err) < 0) {
        vst_channel_free(&gate);
        return -1;
    }
    restore->gate = gate;
    return 0;
}

static void pass_socket(struct restore *restore)
{
    struct vst_error err = {0};
    int ours = -1, qemus = -1;

    enter(restore, RESTORE_PASSING, 0);
    if (vst_migration_sockets(&ours, &qemus, &err) < 0 || plug(restore, &ours, &err) < 0) {
        vst_close(&ours);
        vst_close(&qemus);
        fail(restore, &err);
        return;
    }
    sent(
        restore,
        vst_qmp_pass_fd(vst_guest_qmp(restore->guest), "restore", &qemus, then_step(restore), &err),
        &err);
}

static void load(struct restore *restore)
{
    struct vst_error err = {0};

    enter(restore, RESTORE_LOADING, restore->verified ? stall_seconds(restore) : 0);
    sent(restore,
         vst_qmp_execute(vst_guest_qmp(restore->guest), "migrate-incoming",
                         (struct vst_qmp_reply){acknowledged, restore}, &err, "uri",
                         json_object_new_string("fd:restore"), NULL),
         &err);
}

/* A later live save could not be made with the capability on; `cont` takes the disks anyway. */
static void resume(struct restore *restore)
{
    struct vst_qmp *qmp = vst_guest_qmp(restore->guest);
    struct vst_error err = {0};

    enter(restore, RESTORE_RESUMING, 0);
    if (!restore->run) {
        done(restore);
        return;
    }
    vst_qmp_execute(qmp, "migrate-set-capabilities", (struct vst_qmp_reply){0}, NULL,
                    "capabilities", vst_migration_capabilities(events), NULL);
    vst_guest_let_run(restore->guest);
    sent(restore, vst_qmp_execute(qmp, "cont", then_step(restore), &err, NULL), &err);
}

/* In this order: a guest that ends in between has left its name. */
static void take_name(struct restore *restore)
{
    static const struct timeval pause = {0, LOOK_US}, brief = {0, VST_HOLD_LOOK_US};
    struct vst_qemu *qemu = restore->conn->impl;
    bool leaving = vst_root_is_leaving(qemu->root, vst_guest_definition(restore->guest));
    struct vst_error err = {0};

    if (vst_guest_take_name(restore->guest, &err) == 0) {
        resume(restore);
    } else if (leaving) {
        event_add(&restore->look, &pause);
    } else if (err.code == VST_ERR_BUSY && restore->looks < VST_HOLD_LOOKS &&
               vst_root_is_held_briefly(qemu->root, restore->label)) {
        restore->looks++;
        event_add(&restore->look, &brief);
    } else {
        vst_error_prefix(&err, "the name %s has not become free", restore->label);
        fail(restore, &err);
    }
}

static void look_again(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    take_name(opaque);
}

/*
 * `cont` before QEMU has completed would start the guest by itself; both are true here. From when
 * it has its name the guest is whole, and whoever comes after us knows what is left to do.
 */
static void conclude(struct restore *restore)
{
    struct vst_error err = {0};

    if (restore->status != VST_MIGRATION_COMPLETED || !restore->verified)
        return;
    enter(restore, RESTORE_NAMING, stall_seconds(restore));
    if (vst_place_set_job(vst_guest_place(restore->guest), VST_WORD_RESTORE, restore->run, &err) <
        0)
        fail(restore, &err);
    else
        take_name(restore);
}

static void step(struct restore *restore)
{
    switch (restore->state) {
    case RESTORE_CAPABILITIES:
        pass_socket(restore);
        break;
    case RESTORE_PASSING:
        load(restore);
        break;
    case RESTORE_RESUMING:
        done(restore);
        break;
    case RESTORE_HEADER:
    case RESTORE_CHECKING:
    case RESTORE_SPAWNING:
    case RESTORE_LOADING:
    case RESTORE_NAMING:
    case RESTORE_UNDOING:
    case RESTORE_OVER:
        break; /* waits for something else than a reply */
    }
}

/* A QEMU that failed ends by itself, and its log says why; so it is given a moment. */
static void qemu_event(void *opaque, const char *name, struct json_object *data)
{
    static const struct timeval moment = {EXPLAIN_SECONDS, 0};
    struct restore *restore = opaque;

    if (strcmp(name, "MIGRATION") != 0 || restore->state != RESTORE_LOADING)
        return;
    restore->status = vst_migration_status(data);
    if (restore->status == VST_MIGRATION_COMPLETED) {
        vst_gate_open(restore->gate); /* it takes no more, and says so */
        conclude(restore);
    } else if (restore->status != VST_MIGRATION_ACTIVE) {
        event_add(&restore->patience, &moment);
    }
}

/* ---- before QEMU ---- */

/* What tells of it is made first: a guest that runs is not to end for want of memory. */
static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *ready_err)
{
    struct restore *restore = opaque;
    const struct vst_definition *def = vst_guest_definition(restore->guest);
    struct vst_error err = {0};

    (void)guest; /* known since it was spawned */
    if (!ready_err)
        restore->domain = vst_driver_make_domain(restore->conn, def->name, def->uuid, &err);
    if (restore->domain)
        set_capabilities(restore);
    else
        fail(restore, ready_err ? ready_err : &err);
}

static void spawn(struct restore *restore)
{
    struct vst_guest_job job = {
        .kind = VST_JOB_RESTORE, .stream = restore->stream, .event = qemu_event, .opaque = restore};
    struct vst_error err = {0};

    enter(restore, RESTORE_SPAWNING, 0);
    restore->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = restore};
    restore->watch = (struct vst_guest_watch){.gone = guest_gone, .opaque = restore};
    if (vst_guest_spawn(restore->conn->impl, &restore->def, true, &job, &restore->wait,
                        &restore->guest, &err) < 0)
        fail(restore, &err);
    else
        vst_guest_watch(restore->guest, &restore->watch);
}

static void checked(void *opaque, const struct vst_error *err)
{
    struct restore *restore = opaque;

    restore->check = NULL;
    if (err)
        fail(restore, err);
    else
        spawn(restore);
}

static struct vst_definition *definition_of(const struct restore *restore,
                                            const struct vst_image_header *header,
                                            struct vst_error *ret_err)
{
    struct vst_definition *def;
    char *machine;

    if (strcmp(header->driver, "qemu") != 0) {
        vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                      "the image is of a guest of the %s driver, not of QEMU", header->driver);
        return NULL;
    }
    def = vst_definition_copy(header->definition, ret_err);
    machine = def && header->machine ? strdup(header->machine) : NULL;
    if (machine) {
        /* "pc" means another machine in another version of QEMU. */
        free(def->machine);
        def->machine = machine;
    } else if (def && header->machine) {
        vst_error_no_memory(ret_err);
        vst_definition_free(&def);
    }
    if (def && restore->opt.no_args && vst_definition_check_no_args(def, ret_err) < 0)
        vst_definition_free(&def);
    if (def && restore->name && vst_definition_rename(def, restore->name, ret_err) < 0)
        vst_definition_free(&def);
    return def;
}

static void have_header(void *opaque, const struct vst_image_header *header)
{
    struct restore *restore = opaque;
    struct vst_error err = {0};

    if (restore->state != RESTORE_HEADER)
        return;
    restore->def = definition_of(restore, header, &err);
    if (!restore->def) {
        fail(restore, &err);
        return;
    }
    restore->run = header->running && !restore->opt.paused;
    snprintf(restore->label, sizeof(restore->label), "%s", restore->def->name);
    enter(restore, RESTORE_CHECKING, 0);
    restore->check = vst_check_start(restore->conn->impl, header->definition, restore->def,
                                     VST_DISKS_FREE, checked, restore, &err);
    if (!restore->check)
        fail(restore, &err);
}

/* ---- the stream ---- */

/* From here on only QEMU is waited for. */
static void stream_finished(void *opaque, enum vst_direction dir)
{
    struct restore *restore = opaque;
    struct timeval patience = {stall_seconds(restore), 0};

    if (dir != VST_UP)
        return;
    restore->verified = true;
    if (restore->state != RESTORE_LOADING)
        return;
    event_add(&restore->patience, &patience);
    conclude(restore);
}

/* Also the cancelled operation, and its deadline. */
static void stream_failed(void *opaque, const struct vst_error *err)
{
    struct restore *restore = opaque;

    if (restore->state != RESTORE_RESUMING)
        fail(restore, err);
}

static struct restore *restore_new(struct vst_conn *conn, struct vst_stream *stream,
                                   const struct vst_restore_options *opt, struct vst_op *op)
{
    struct restore *restore = calloc(1, sizeof(*restore));

    if (!restore)
        return NULL;
    if (opt->name && !(restore->name = strdup(opt->name))) {
        free(restore);
        return NULL;
    }
    restore->conn = conn;
    restore->stream = stream;
    restore->opt = *opt;
    restore->op = op;
    vst_op_own(op, restore, restore_free);
    snprintf(restore->label, sizeof(restore->label), "%s", opt->name ? opt->name : "?");
    event_assign(&restore->patience, conn->base, -1, 0, out_of_patience, restore);
    event_assign(&restore->look, conn->base, -1, 0, look_again, restore);
    return restore;
}

static int begin(struct restore *restore, struct vst_error *ret_err)
{
    struct vst_image_cb cb = {have_header, restore};
    struct vst_stream_user user = {
        .finished = stream_finished,
        .failed = stream_failed,
        .opaque = restore,
        .name = "QEMU",
        .side = VST_SIDE_QEMU,
        .stall_seconds = (unsigned)stall_seconds(restore),
    };

    if (restore->name && vst_name_check(restore->name, ret_err) < 0)
        return -1;
    if (vst_stream_claim(restore->stream, restore->op, &user, ret_err) < 0)
        return -1;
    restore->image = vst_image_decode(restore->conn->base, &cb, ret_err);
    if (!restore->image)
        return -1;
    return vst_stream_attach(restore->stream, NULL, restore->image, ret_err);
}

void vst_qemu_restore(struct vst_conn *conn, struct vst_stream *stream,
                      const struct vst_restore_options *opt, struct vst_op *op)
{
    struct restore *restore = restore_new(conn, stream, opt, op);
    struct vst_error err = {0};

    if (!restore) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
    } else if (begin(restore, &err) < 0) {
        vst_error_copy(&restore->why, &err);
        over(restore);
    }
}

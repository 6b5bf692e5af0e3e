/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Start: a definition, a new QEMU, and `cont`. Nothing is left of a start that fails. But from
 * `cont` on only QEMU decides: the guest may run, and is not undone because somebody has lost
 * patience.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "place.h"

#define START_STATES(X)                                                        \
    X(START_NAMING, "the next look", "somebody has hold of what has the name") \
    X(START_SPAWNING, "the monitor", "a new QEMU, held")                       \
    X(START_RESUMING, "reply to cont", "the guest begins to run")              \
    X(START_UNDOING, "the end of QEMU", "failed: nothing is to be left")       \
    X(START_OVER, "nothing", "the operation has been completed")
VST_FSM(start, START_STATES)

enum { UNDO_SECONDS = 20 }; /* a killed QEMU may have much memory to give back */

struct start {
    struct vst_conn *conn;
    struct vst_guest *guest;
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_op *op;
    struct vst_definition *def; /* until the guest has it */
    struct vst_domain *domain;  /* from when the guest is ready, to be told of */
    unsigned looks;             /* in NAMING */
    bool paused;
    enum start_state state;
    struct vst_error why;
    struct event look;     /* in NAMING */
    struct event patience; /* in UNDOING */
    char label[VST_NAME_MAX + 1];
};

static void enter(struct start *start, enum start_state state)
{
    vst_fsm_trace(start, start->label, start->state, state);
    start->state = state;
    event_del(&start->look);
    event_del(&start->patience);
}

static void over(struct start *start)
{
    enter(start, START_OVER);
    vst_guest_unwait(&start->wait);
    vst_guest_unwatch(&start->watch);
    if (start->guest) {
        vst_guest_forget(start->guest, start);
        vst_guest_end_job(start->guest);
    }
    if (vst_error_is_set(&start->why)) {
        vst_error_where(&start->why, VST_SIDE_NONE, "start");
        vst_op_fail(start->op, &start->why);
    }
}

static void done(struct start *start)
{
    const struct vst_definition *def = vst_guest_definition(start->guest);

    vst_driver_tell_domain(start->op, &start->domain);
    vst_guest_keep(start->guest);
    over(start);
    vst_driver_event(start->conn, VST_EVENT_STARTED, def->name, def->uuid, "");
}

/* Killed, and still there: in the kernel's hands (a dead disk). */
static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    over(opaque);
}

static void fail(struct start *start, const struct vst_error *err)
{
    static const struct timeval patience = {UNDO_SECONDS, 0};

    if (start->state >= START_UNDOING)
        return;
    vst_error_copy(&start->why, err);
    if (!start->guest) {
        over(start);
        return;
    }
    /* A guest that became ready a moment ago is as dead. */
    vst_guest_unwait(&start->wait);
    vst_guest_forget(start->guest, start);
    enter(start, START_UNDOING);
    event_add(&start->patience, &patience);
    vst_guest_kill(start->guest);
}

/* The guest may run: it stays, and whoever asks about it next learns more. */
static void leave(struct start *start, const struct vst_error *err)
{
    vst_error_copy(&start->why, err);
    vst_error_prefix(&start->why, "qemu %s was told to run the guest, and is left as it is",
                     start->label);
}

static void gone(void *opaque, const struct vst_error *err)
{
    struct start *start = opaque;

    if (start->state == START_RESUMING && vst_guest_lives(start->guest))
        leave(start, err);
    vst_error_copy(&start->why, err);
    over(start);
}

/* The guest may run: it stays, and whoever asks about it next learns more. */
static void keep_silent(struct start *start)
{
    vst_error_set(&start->why, VST_ERR_TIMEOUT,
                  "qemu %s was told to run the guest, and does not answer; it is left as it is",
                  start->label);
    vst_guest_keep(start->guest);
    over(start);
}

static void resumed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (!err)
        done(opaque);
    else if (err->code == VST_ERR_TIMEOUT)
        keep_silent(opaque);
    else if (err->code != VST_ERR_LOST) /* then gone() comes, and knows more */
        fail(opaque, err);
}

static void resume(struct start *start, struct vst_guest *guest)
{
    struct vst_error err = {0};

    enter(start, START_RESUMING);
    vst_place_clear_job(vst_guest_place(guest)); /* no half-made one for whoever comes after us */
    vst_guest_let_run(guest);
    if (vst_qmp_execute(vst_guest_qmp(guest), "cont", (struct vst_qmp_reply){resumed, start}, &err,
                        NULL) < 0)
        fail(start, &err);
}

/* What tells of it is made first: a guest that runs is not to end for want of memory. */
static void ready(void *opaque, struct vst_guest *guest, const struct vst_error *ready_err)
{
    struct start *start = opaque;
    const struct vst_definition *def = vst_guest_definition(start->guest);
    struct vst_error err = {0};

    if (ready_err)
        return; /* gone() comes with the same */
    start->domain = vst_driver_make_domain(start->conn, def->name, def->uuid, &err);
    if (!start->domain)
        fail(start, &err);
    else if (start->paused)
        done(start);
    else
        resume(start, guest);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    struct start *start = opaque;

    if (start->state != START_RESUMING)
        fail(start, why);
}

/* Fails with BUSY as long as somebody only asks how it is what has the name, or had it. */
static void spawn(struct start *start)
{
    static const struct timeval pause = {0, VST_HOLD_LOOK_US};
    struct vst_guest_job job = {.opaque = start};
    struct vst_qemu *qemu = start->conn->impl;
    struct vst_error err = {0};

    if (vst_guest_spawn(qemu, &start->def, false, &job, &start->wait, &start->guest, &err) == 0) {
        vst_guest_watch(start->guest, &start->watch);
        enter(start, START_SPAWNING);
    } else if (err.code == VST_ERR_BUSY && start->looks < VST_HOLD_LOOKS &&
               vst_root_is_held_briefly(qemu->root, start->def->name)) {
        start->looks++;
        event_add(&start->look, &pause);
    } else {
        fail(start, &err);
    }
}

static void look_again(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    spawn(opaque);
}

static int read_definition(struct start *start, const char *definition, bool no_args,
                           struct vst_error *ret_err)
{
    start->def = vst_definition_parse(definition, strlen(definition), ret_err);
    if (!start->def)
        return -1;
    snprintf(start->label, sizeof(start->label), "%s", start->def->name);
    return no_args ? vst_definition_check_no_args(start->def, ret_err) : 0;
}

static void start_free(void *opaque)
{
    struct start *start = opaque;

    vst_definition_free(&start->def);
    vst_domain_free(&start->domain);
    free(start);
}

void vst_qemu_start(struct vst_conn *conn, const char *definition,
                    const struct vst_start_options *opt, struct vst_op *op)
{
    struct start *start = calloc(1, sizeof(*start));
    struct vst_error err = {0};

    if (!start) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, start, start_free);
    vst_op_set_cancel(op, cancelled, start);
    *start = (struct start){.conn = conn, .op = op, .paused = opt->paused};
    event_assign(&start->look, conn->base, -1, 0, look_again, start);
    event_assign(&start->patience, conn->base, -1, 0, out_of_patience, start);
    start->wait = (struct vst_guest_wait){.fn = ready, .opaque = start};
    start->watch = (struct vst_guest_watch){.gone = gone, .opaque = start};
    if (read_definition(start, definition, opt->no_args, &start->why) < 0)
        over(start);
    else
        spawn(start);
}

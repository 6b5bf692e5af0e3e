/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Suspend, resume, shutdown, destroy: one command to QEMU each, and for the last two its end. What
 * cannot be adopted, damaged or dead, can be destroyed all the same; what a migration holds cannot,
 * whatever else is wrong with it.
 */
#include "guest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "move.h"

#define CONTROL_STATES(X)                                                     \
    X(CONTROL_WAITING, "the guest", "its monitor is being connected")         \
    X(CONTROL_TELLING, "the reply", "QEMU has been told")                     \
    X(CONTROL_ENDING, "the end of QEMU", "it shuts down or quits")            \
    X(CONTROL_KILLING, "the end of QEMU", "it does not quit, and was killed") \
    X(CONTROL_OVER, "nothing", "the operation has been completed")
VST_FSM(control, CONTROL_STATES)

enum { QUIT_SECONDS = 5 };

static const struct timeval patience = {QUIT_SECONDS, 0};

struct control {
    struct vst_qemu *qemu;
    char name[VST_NAME_MAX + 1];
    struct vst_guest *guest;
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_place *place;     /* of one that is not to be adopted, */
    struct vst_process *process; /* and its QEMU, which is ended */
    struct vst_op *op;
    enum vst_control what;
    enum control_state state;
    struct event patience;
};

static const char *const commands[] = {
    [VST_SUSPEND] = "stop",
    [VST_RESUME] = "cont",
    [VST_SHUTDOWN] = "system_powerdown",
    [VST_DESTROY] = "quit",
};

static void enter(struct control *control, enum control_state state)
{
    vst_fsm_trace(control, control->name, control->state, state);
    control->state = state;
}

static bool is_ending(const struct control *control)
{
    return control->state == CONTROL_ENDING || control->state == CONTROL_KILLING;
}

static void over(struct control *control, const struct vst_error *err)
{
    if (control->state == CONTROL_OVER)
        return;
    enter(control, CONTROL_OVER);
    event_del(&control->patience);
    vst_guest_unwait(&control->wait);
    vst_guest_unwatch(&control->watch);
    if (control->guest)
        vst_guest_forget(control->guest, control);
    vst_process_free(&control->process);
    vst_place_close(&control->place);
    if (err)
        vst_op_fail(control->op, err);
    else
        vst_op_done(control->op);
}

/* A guest that migrates may have its only copy here. */
static bool may_end(struct control *control)
{
    struct vst_error err = {0};

    if (vst_move_check(control->qemu, control->name, &err) == 0)
        return true;
    over(control, &err);
    return false;
}

static void gone(void *opaque, const struct vst_error *err)
{
    struct control *control = opaque;

    if (is_ending(control) && vst_guest_expects_exit(control->guest))
        over(control, NULL);
    else
        over(control, err);
}

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct control *control = opaque;

    (void)value;
    if (is_ending(control) && (!err || control->what == VST_DESTROY))
        return; /* its end is what counts, and a monitor may close before it has answered */
    over(control, err);
}

static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct control *control = opaque;
    struct vst_guest *guest = vst_guest_find(control->qemu, control->name);
    struct vst_error err = {.side = VST_SIDE_QEMU};

    (void)fd, (void)what;
    if (control->state == CONTROL_KILLING) {
        vst_error_set(&err, VST_ERR_TIMEOUT,
                      "qemu %s was killed, and has not ended in %d seconds: it hangs in the kernel",
                      control->name, QUIT_SECONDS);
        over(control, &err);
        return;
    }
    if (!may_end(control))
        return;
    enter(control, CONTROL_KILLING);
    event_add(&control->patience, &patience);
    if (guest)
        vst_guest_kill(guest); /* deaf since it was asked to quit, or since before that */
}

static void tell(struct control *control)
{
    bool ends = control->what == VST_SHUTDOWN || control->what == VST_DESTROY;
    struct vst_error err = {0};

    enter(control, ends ? CONTROL_ENDING : CONTROL_TELLING);
    if (control->what == VST_DESTROY)
        vst_guest_expect_exit(control->guest);
    if (vst_guest_qmp(control->guest) &&
        vst_qmp_execute(vst_guest_qmp(control->guest), commands[control->what],
                        (struct vst_qmp_reply){replied, control}, &err, NULL) == 0)
        return;
    if (control->what == VST_DESTROY)
        vst_guest_kill(control->guest);
    else
        over(control, &err);
}

static void take(struct control *control, struct vst_guest *guest)
{
    control->guest = guest;
    vst_guest_watch(guest, &control->watch);
    tell(control);
}

/* ---- one that cannot be adopted ---- */

static void ended(void *opaque, const struct vst_error *why)
{
    struct control *control = opaque;

    (void)why; /* we did it */
    vst_place_remove(&control->place);
    over(control, NULL);
}

/* Its QEMU, if it can be found. */
static int find_process(struct control *control)
{
    struct vst_process_cb cb = {ended, control};
    struct vst_process_id id;
    int log_fd = vst_place_open_log(control->place, NULL);

    if (vst_place_read_id(control->place, &id, NULL) == 0 && log_fd >= 0)
        control->process =
            vst_process_adopt(control->qemu->conn->base, control->name, &id, log_fd, &cb, NULL);
    vst_close(&log_fd);
    return control->process ? 0 : -1;
}

/* `why` it cannot be adopted. With the lock, nobody else begins anything with it any more. */
static void end_without_guest(struct control *control, const struct vst_error *why)
{
    bool opened = vst_place_open(control->qemu->root, control->name, &control->place, NULL) == 0;

    if (opened && !may_end(control))
        return;
    if (opened && !vst_place_is_alive(control->place)) {
        vst_place_remove(&control->place);
        over(control, NULL);
    } else if (opened && find_process(control) == 0) {
        enter(control, CONTROL_KILLING);
        event_add(&control->patience, &patience);
        vst_process_kill(control->process, SIGKILL, NULL);
    } else {
        over(control, why);
    }
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct control *control = opaque;
    struct vst_error err = {0};

    if (wait_err && is_ending(control)) {
        over(control, NULL);
    } else if (wait_err && control->what == VST_DESTROY && wait_err->code != VST_ERR_BUSY) {
        end_without_guest(control, wait_err);
    } else if (wait_err) {
        over(control, wait_err);
    } else if (control->what == VST_DESTROY) {
        if (may_end(control))
            take(control, guest);
    } else if (vst_guest_check_idle(guest, &err) < 0) {
        over(control, &err);
    } else {
        take(control, guest);
    }
}

/* ---- the operation ---- */

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

void vst_qemu_control(struct vst_conn *conn, const char *name, enum vst_control what,
                      struct vst_op *op)
{
    struct control *control = calloc(1, sizeof(*control));
    struct vst_error err = {0};

    if (!control) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, control, free);
    vst_op_set_cancel(op, cancelled, control);
    control->qemu = conn->impl;
    snprintf(control->name, sizeof(control->name), "%s", name);
    control->op = op;
    control->what = what;
    event_assign(&control->patience, conn->base, -1, 0, out_of_patience, control);
    control->watch = (struct vst_guest_watch){.gone = gone, .opaque = control};
    control->wait = (struct vst_guest_wait){
        .fn = guest_ready, .opaque = control, .to_end_it = what == VST_DESTROY};
    if (what == VST_DESTROY && !may_end(control))
        return;
    if (what == VST_DESTROY)
        event_add(&control->patience, &patience);
    vst_guest_get(conn->impl, name, &control->wait);
}

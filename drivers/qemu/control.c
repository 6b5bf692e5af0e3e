/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Suspend, resume, shutdown, destroy: one command to QEMU each, and for the last two its end.
 */
#include "guest.h"

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
    if (err)
        vst_op_fail(control->op, err);
    else
        vst_op_done(control->op);
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

/* Its QEMU has ended by itself; what is left is the directory. */
static int remove_remains(struct control *control, struct vst_error *ret_err)
{
    struct vst_place *place;

    struct vst_process_id id;

    if (vst_place_open(control->qemu->root, control->name, &place, ret_err) < 0)
        return -1;
    if (vst_place_read_id(place, &id, NULL) == 0 && vst_process_id_exists(&id)) {
        vst_place_close(&place); /* somebody has started it meanwhile */
        return vst_error_set(ret_err, VST_ERR_BUSY, "domain %s has just been started anew",
                             control->name);
    }
    vst_place_remove(&place);
    return 0;
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct control *control = opaque;
    struct vst_error err = {0};

    if (wait_err && control->what == VST_DESTROY && wait_err->code == VST_ERR_STATE) {
        over(control, remove_remains(control, &err) < 0 ? &err : NULL);
        return;
    }
    if (wait_err) {
        over(control, is_ending(control) ? NULL : wait_err);
        return;
    }
    if (control->what == VST_DESTROY ? vst_move_check(control->qemu, guest, &err) < 0
                                     : vst_guest_check_idle(guest, &err) < 0) {
        over(control, &err);
        return;
    }
    control->guest = guest;
    vst_guest_watch(guest, &control->watch);
    tell(control);
}

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
    if (what == VST_DESTROY)
        event_add(&control->patience, &patience);
    vst_guest_get(conn->impl, name, &control->wait);
}

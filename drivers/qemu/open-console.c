/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method that shows a console: a viewer's channel at the driver's end of a stream, both ways.
 * It ends when the application's source ends, when the guest ends, or by cancel.
 */
#include "console.h"
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/fsm.h"

#define VIEW_STATES(X)                                                                         \
    X(VIEW_WAITING, "the guest", "its monitor is being connected")                             \
    X(VIEW_OPEN, "either side's end", "bytes go both ways")                                    \
    X(VIEW_CLOSING, "the stream, down", "typing is over; what was printed is still delivered") \
    X(VIEW_OVER, "nothing", "the operation has been completed")
VST_FSM(view, VIEW_STATES)

struct view {
    struct vst_guest_wait wait;
    struct vst_op *op;
    struct vst_stream *stream;
    struct vst_channel *viewer;
    enum view_state state;
    char label[VST_NAME_MAX + 1];
};

static void enter(struct view *view, enum view_state state)
{
    vst_fsm_trace(view, view->label, view->state, state);
    view->state = state;
}

static void over(struct view *view, const struct vst_error *err)
{
    struct vst_error why = {0};

    if (view->state == VIEW_OVER)
        return;
    enter(view, VIEW_OVER);
    vst_guest_unwait(&view->wait);
    if (!err) {
        vst_op_done(view->op);
        return;
    }
    vst_error_copy(&why, err);
    vst_error_where(&why, VST_SIDE_NONE, "console");
    vst_op_fail(view->op, &why);
}

static void finished(void *opaque, enum vst_direction dir)
{
    struct view *view = opaque;

    if (dir == VST_DOWN) {
        over(view, NULL);
    } else if (view->state == VIEW_OPEN) {
        enter(view, VIEW_CLOSING);
        vst_console_close_viewer(view->viewer);
    }
}

static void failed(void *opaque, const struct vst_error *err)
{
    over(opaque, err);
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct view *view = opaque;
    struct vst_console_end *console = guest ? vst_guest_console(guest) : NULL;
    struct vst_error err = {0};

    if (wait_err) {
        over(view, wait_err);
        return;
    }
    if (!console)
        vst_error_set(&err, VST_ERR_UNSUPPORTED, "%s has no console: its definition has none",
                      vst_guest_definition(guest)->name);
    else
        view->viewer = vst_console_view(console, &err);
    if (!view->viewer || vst_stream_attach(view->stream, view->viewer, view->viewer, &err) < 0) {
        over(view, &err);
        return;
    }
    enter(view, VIEW_OPEN);
}

void vst_qemu_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op)
{
    struct view *view = calloc(1, sizeof(*view));
    struct vst_stream_user user = {.finished = finished, .failed = failed, .opaque = view};
    struct vst_error err = {0};

    if (!view)
        vst_error_no_memory(&err);
    if (!view || vst_stream_claim(stream, op, &user, &err) < 0) {
        free(view);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, view, free);
    view->op = op;
    view->stream = stream;
    snprintf(view->label, sizeof(view->label), "%s", name);
    view->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = view};
    vst_guest_get(conn->impl, name, &view->wait);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Screenshot: QEMU writes a PNG into a file in memory, and that goes down the stream. QEMU wants a
 * regular file that is open for writing only, so the memfd is opened a second time for it.
 */
#include "core/json.h"
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/fsm.h"

#define SHOT_STATES(X)                                             \
    X(SHOT_WAITING, "the guest", "its monitor is being connected") \
    X(SHOT_PASSING, "reply to add-fd", "QEMU gets the file")       \
    X(SHOT_DUMPING, "reply to screendump", "QEMU writes")          \
    X(SHOT_SENDING, "the stream", "the file goes down")            \
    X(SHOT_OVER, "nothing", "the operation has been completed")
VST_FSM(shot, SHOT_STATES)

enum { FDSET_FIRST = 1000 }; /* the command line's sets are numbered from 0 */

struct shot {
    struct vst_conn *conn;
    struct vst_guest *guest;
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    struct vst_op *op;
    struct vst_stream *stream;
    enum shot_state state;
    int memory; /* the file, or -1 */
    int fdset;  /* of its own: there may be others under way */
    char label[VST_NAME_MAX + 1];
};

static void enter(struct shot *shot, enum shot_state state)
{
    vst_fsm_trace(shot, shot->label, shot->state, state);
    shot->state = state;
}

/* Commands are carried out in order: what is in the set is closed by QEMU when it has written. */
static void remove_set(struct shot *shot)
{
    vst_qmp_execute(vst_guest_qmp(shot->guest), "remove-fd", (struct vst_qmp_reply){0}, NULL,
                    "fdset-id", json_object_new_int(shot->fdset), NULL);
}

static void let_go(struct shot *shot)
{
    vst_guest_unwait(&shot->wait);
    vst_guest_unwatch(&shot->watch);
    if (!shot->guest)
        return;
    vst_guest_forget(shot->guest, shot);
    remove_set(shot);
    shot->guest = NULL;
}

static void over(struct shot *shot, const struct vst_error *err)
{
    struct vst_error why = {0};

    if (shot->state == SHOT_OVER)
        return;
    enter(shot, SHOT_OVER);
    let_go(shot);
    if (!err) {
        vst_op_done(shot->op);
        return;
    }
    vst_error_copy(&why, err);
    vst_error_where(&why, VST_SIDE_NONE, "screenshot");
    vst_op_fail(shot->op, &why);
}

static void shot_free(void *opaque)
{
    struct shot *shot = opaque;

    vst_close(&shot->memory);
    free(shot);
}

static void send_file(struct shot *shot)
{
    struct vst_error err = {0};
    struct vst_channel *source;

    enter(shot, SHOT_SENDING);
    let_go(shot);
    source = vst_channel_file(shot->conn->base, &shot->memory, &err);
    if (!source || vst_stream_attach(shot->stream, source, NULL, &err) < 0)
        over(shot, &err);
}

static void dump(struct shot *shot);

static void replied(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct shot *shot = opaque;

    (void)value;
    if (err)
        over(shot, err);
    else if (shot->state == SHOT_PASSING)
        dump(shot);
    else
        send_file(shot);
}

static void dump(struct shot *shot)
{
    struct vst_error err = {0};
    char name[32];

    enter(shot, SHOT_DUMPING);
    snprintf(name, sizeof(name), "/dev/fdset/%d", shot->fdset);
    if (vst_qmp_execute(vst_guest_qmp(shot->guest), "screendump",
                        (struct vst_qmp_reply){replied, shot}, &err, "filename",
                        json_object_new_string(name), "format", json_object_new_string("png"),
                        NULL) < 0)
        over(shot, &err);
}

static int open_memory(struct shot *shot, int *ret_writing, struct vst_error *ret_err)
{
    char path[32];

    shot->memory = memfd_create("screenshot", MFD_CLOEXEC);
    if (shot->memory < 0)
        return vst_error_system(ret_err, errno, "a file in memory");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", shot->memory);
    *ret_writing = open(path, O_WRONLY | O_CLOEXEC);
    if (*ret_writing < 0)
        return vst_error_system(ret_err, errno, "%s", path);
    return 0;
}

static void pass_file(struct shot *shot)
{
    struct json_object *arguments = vst_json_object("fdset-id", json_object_new_int(shot->fdset));
    struct vst_error err = {0};
    int writing = -1;

    enter(shot, SHOT_PASSING);
    if (!arguments || open_memory(shot, &writing, &err) < 0) {
        json_object_put(arguments);
        vst_error_no_memory(&err);
        over(shot, &err);
        return;
    }
    if (vst_qmp_send(vst_guest_qmp(shot->guest), "add-fd", arguments, &writing, VST_QMP_SECONDS,
                     (struct vst_qmp_reply){replied, shot}, &err) < 0)
        over(shot, &err);
}

static void guest_ready(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    struct shot *shot = opaque;
    struct vst_qemu *qemu = shot->conn->impl;

    if (err) {
        over(shot, err);
        return;
    }
    shot->guest = guest;
    shot->fdset = FDSET_FIRST + (int)(qemu->shots++ % FDSET_FIRST);
    vst_guest_watch(guest, &shot->watch);
    pass_file(shot);
}

static void finished(void *opaque, enum vst_direction dir)
{
    (void)dir;
    over(opaque, NULL);
}

static void failed(void *opaque, const struct vst_error *err)
{
    over(opaque, err);
}

void vst_qemu_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                         struct vst_op *op)
{
    struct shot *shot = calloc(1, sizeof(*shot));
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = shot,
        .name = "QEMU",
        .side = VST_SIDE_QEMU,
        .stall_seconds = vst_stall_seconds(0),
    };
    struct vst_error err = {0};

    if (!shot)
        vst_error_no_memory(&err);
    if (!shot || vst_stream_claim(stream, op, &user, &err) < 0) {
        free(shot);
        vst_op_fail(op, &err);
        return;
    }
    vst_op_own(op, shot, shot_free);
    *shot = (struct shot){.conn = conn, .op = op, .stream = stream, .memory = -1};
    snprintf(shot->label, sizeof(shot->label), "%s", name);
    shot->wait = (struct vst_guest_wait){.fn = guest_ready, .opaque = shot};
    shot->watch = (struct vst_guest_watch){.gone = failed, .opaque = shot};
    vst_guest_get(conn->impl, name, &shot->wait);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of QEMU's monitor (QMP) on one event base: commands out, replies and events in. It
 * knows the rules of the conversation, and nothing of what a command means.
 *
 *     vst_qmp_new()            ready()
 *     -- greeting, qmp_capabilities --> [ commands, replies, events ] -- end --> closed()
 *
 * The contract:
 *
 *  - Every callback comes from the loop, never from inside a call of this file. A callback may
 *    call anything here, vst_qmp_free() included.
 *  - Every command that vst_qmp_send() accepted is completed exactly once: with QEMU's value, or
 *    with an error:
 *        DRIVER     QEMU refused; the text is the command and QEMU's own sentence
 *        TIMEOUT    no reply before the deadline; a later one is swallowed
 *        LOST       the monitor closed first; the text says why
 *        CANCELLED  vst_qmp_free() came first
 *    The one exception is vst_qmp_forget().
 *  - Commands leave in the order in which they were sent, and wait while the socket is full and
 *    while QEMU has not greeted yet. One whose deadline passes before its first byte has left
 *    never leaves. At most VST_QMP_PENDING_MAX are unanswered at a time.
 *  - Replies come in the order of the commands (out-of-band execution is not enabled). A reply to
 *    anything but the oldest command on its way, a greeting once it is ready, a line that is not
 *    QMP, and an error that belongs to no command end the conversation with PROTOCOL. But what
 *    comes before the greeting, and replies to others' commands before that to qmp_capabilities,
 *    are dropped: QEMU gives a new client what it still had for one that died.
 *  - Events are given on as they come, in order with the replies; they may come before ready().
 *  - When the monitor is gone, first every pending command completes (LOST), then closed() comes,
 *    exactly once, and nothing after it. Its error is DRIVER when QEMU closed, whether it quit,
 *    died, or was killed; who watches the process knows which.
 *
 * Memory is bounded whatever QEMU does: one line in (VST_QMP_LINE_MAX), and the pending commands
 * (VST_QMP_COMMAND_MAX each).
 * Nothing is sent or read outside the loop. All traffic is traced in VST_TRACE_QMP.
 */
#ifndef VST_DRIVERS_QEMU_QMP_H
#define VST_DRIVERS_QEMU_QMP_H

#include <event2/event.h>

#include "core/error.h"

#define VST_QMP_PENDING_MAX 256 /* some for each disk of a guest */
#define VST_QMP_SECONDS 30.0    /* the usual deadline of a command, and of the greeting */
#define VST_QMP_EVER 1e12       /* none: the reply, or the end of QEMU, is waited for */

struct json_object;
struct vst_qmp;

/* Any of them may be NULL. Strings and JSON are valid until the callback returns. */
struct vst_qmp_cb {
    /* QEMU has greeted and takes commands. `version` is like "7.2.22". */
    void (*ready)(void *opaque, const char *version);
    /* `data`: an object, or NULL if the event has none. `seconds` since the epoch, -1 unknown. */
    void (*event)(void *opaque, const char *name, struct json_object *data, double seconds);
    void (*closed)(void *opaque, const struct vst_error *err);
};

/* How one command ends: `value` is what QEMU returned and `err` is NULL, or the other way round.
 * `value` may be JSON null, which json-c shows as NULL. `fn` NULL: nobody is told. */
struct vst_qmp_reply {
    void (*fn)(void *opaque, struct json_object *value, const struct vst_error *err);
    void *opaque;
};

/*
 * `*fd` is a connected UNIX stream socket to the monitor; it is taken on success. `cb` is copied.
 * A QEMU that does not greet within VST_QMP_SECONDS ends in closed() with TIMEOUT: a monitor that
 * serves another client behaves so.
 */
struct vst_qmp *vst_qmp_new(struct event_base *base, int *fd, const struct vst_qmp_cb *cb,
                            void *opaque, struct vst_error *ret_err);

/* Another deadline for becoming ready, from now. No effect later. */
void vst_qmp_set_greeting_deadline(struct vst_qmp *qmp, double seconds);

/*
 * Sends `command`. `arguments` is an object or NULL; it is taken, also on failure. `fd` NULL for
 * none; `*fd` goes with the command's first byte (SCM_RIGHTS), is taken, also on failure, and is
 * closed here as soon as it has left. `seconds`: the deadline, from now; more than 0.
 *
 * -1: `reply` will not be called. BUSY when too much is pending, LOST when the monitor is gone,
 * INVALID when the arguments are not UTF-8 or too long, NO_MEMORY.
 */
int vst_qmp_send(struct vst_qmp *qmp, const char *command, struct json_object *arguments, int *fd,
                 double seconds, struct vst_qmp_reply reply, struct vst_error *ret_err);

/*
 * The same without an fd, within VST_QMP_SECONDS, and with the arguments as pairs of a name and a
 * `struct json_object *`, which is taken; then NULL:
 *
 *     vst_qmp_execute(qmp, "migrate", reply, ret_err, "uri", json_object_new_string(uri), NULL)
 *
 * A NULL for a value is what json-c gives when memory has run out, and is reported as that.
 */
int vst_qmp_execute(struct vst_qmp *qmp, const char *command, struct vst_qmp_reply reply,
                    struct vst_error *ret_err, ...) __attribute__((sentinel));

/* Gives QEMU `*fd` under a name, by `getfd`: it is taken, also on failure. What QEMU never uses it
 * keeps, until that name is given again. */
int vst_qmp_pass_fd(struct vst_qmp *qmp, const char *name, int *fd, struct vst_qmp_reply reply,
                    struct vst_error *ret_err);

/* For an owner that goes away: no reply whose `opaque` is this one is called any more. What has
 * been sent stays sent, and what waits to be sent still will be. */
void vst_qmp_forget(struct vst_qmp *qmp, const void *opaque);

/* From the loop, when QEMU's process has ended: what it had said before is read now, up to the end;
 * so closed() comes from in here. */
void vst_qmp_read_rest(struct vst_qmp *qmp);

/*
 * Closes the socket. The callbacks given to vst_qmp_new() are not called any more; commands that
 * are pending complete with CANCELLED, from the loop, after this has returned, so that an owner of
 * replies either lives that long or calls vst_qmp_forget() first. Sets *qmp to NULL, accepts NULL.
 */
void vst_qmp_free(struct vst_qmp **qmp);

#endif

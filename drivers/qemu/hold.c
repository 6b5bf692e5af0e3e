/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening to QEMU until it has asked all, and what is to be said to it. What that is, is the
 * handshake's.
 */
#include "hold.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/fsm.h"
#include "migration.h"

#define HOLD_STATES(X)                                                          \
    X(HOLD_ANSWERING, "QEMU's questions", "it is answered as by a destination") \
    X(HOLD_OVER, "nothing", "the stream is broken, and QEMU takes it for that")
VST_FSM(hold, HOLD_STATES)

enum { CHUNK = 65536, PATIENCE_SECONDS = 10 };

struct vst_hold {
    enum hold_state state;
    struct vst_handshake *handshake;
    int fd;
    struct event readable, writable, patience;
    char label[64];
};

static void end(struct vst_hold *hold)
{
    if (hold->state == HOLD_OVER)
        return;
    vst_fsm_trace(hold, hold->label, hold->state, HOLD_OVER);
    hold->state = HOLD_OVER;
    event_del(&hold->readable);
    event_del(&hold->writable);
    event_del(&hold->patience);
    vst_migration_break(hold->fd);
    vst_close(&hold->fd);
}

static void say(struct vst_hold *hold)
{
    enum vst_left left = vst_handshake_leave(hold->handshake, hold->fd);

    if (left == VST_LEFT_ALL || left == VST_LEFT_GONE)
        end(hold);
    else if (left == VST_LEFT_FULL)
        event_add(&hold->writable, NULL);
}

static void writable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    say(opaque);
}

static void readable(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_hold *hold = opaque;
    unsigned char bytes[CHUNK];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    (void)what;
    if (n > 0) {
        vst_handshake_hear(hold->handshake, bytes, (size_t)n);
        say(hold);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(hold);
    }
}

static void lost_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_hold *hold = opaque;

    (void)fd, (void)what;
    vst_trace(VST_TRACE_STATE, "hold %s: QEMU says nothing more, and is left", hold->label);
    end(hold);
}

/* ---- its life ---- */

struct vst_hold *vst_hold_start(struct event_base *base, int *fd, struct vst_handshake *handshake,
                                const char *label, struct vst_error *ret_err)
{
    static const struct timeval patience = {PATIENCE_SECONDS, 0};
    struct vst_hold *hold = calloc(1, sizeof(*hold));

    if (!hold) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    hold->handshake = vst_handshake_ref(handshake);
    hold->fd = *fd;
    *fd = -1;
    snprintf(hold->label, sizeof(hold->label), "%s", label);
    event_assign(&hold->readable, base, hold->fd, EV_READ | EV_PERSIST, readable, hold);
    event_assign(&hold->writable, base, hold->fd, EV_WRITE, writable, hold);
    event_assign(&hold->patience, base, -1, 0, lost_patience, hold);
    event_add(&hold->readable, NULL);
    event_add(&hold->patience, &patience);
    say(hold);
    return hold;
}

bool vst_hold_is_under_way(const struct vst_hold *hold)
{
    return hold && hold->state != HOLD_OVER;
}

void vst_hold_free(struct vst_hold **slot)
{
    struct vst_hold *hold = *slot;

    *slot = NULL;
    if (!hold)
        return;
    end(hold);
    vst_handshake_unref(&hold->handshake);
    free(hold);
}

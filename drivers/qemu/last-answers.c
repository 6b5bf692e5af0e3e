/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening to QEMU until it has asked all, and what is to be said to it. What that is, is the
 * handshake's.
 */
#include "last-answers.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/fsm.h"
#include "migration.h"

#define LAST_ANSWERS_STATES(X)                                                          \
    X(LAST_ANSWERS_ANSWERING, "QEMU's questions", "it is answered as by a destination") \
    X(LAST_ANSWERS_OVER, "nothing", "the stream is broken, and QEMU takes it for that")
VST_FSM(last_answers, LAST_ANSWERS_STATES)

enum { CHUNK = 65536, PATIENCE_SECONDS = 10 };

struct vst_last_answers {
    enum last_answers_state state;
    struct vst_handshake *handshake;
    int fd;
    struct event readable, writable, patience;
    char label[64];
};

static void end(struct vst_last_answers *answers)
{
    if (answers->state == LAST_ANSWERS_OVER)
        return;
    vst_fsm_trace(last_answers, answers->label, answers->state, LAST_ANSWERS_OVER);
    answers->state = LAST_ANSWERS_OVER;
    event_del(&answers->readable);
    event_del(&answers->writable);
    event_del(&answers->patience);
    vst_migration_break(answers->fd);
    vst_close(&answers->fd);
}

static void say(struct vst_last_answers *answers)
{
    enum vst_left left = vst_handshake_leave(answers->handshake, answers->fd);

    if (left == VST_LEFT_ALL || left == VST_LEFT_GONE)
        end(answers);
    else if (left == VST_LEFT_FULL)
        event_add(&answers->writable, NULL);
}

static void writable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    say(opaque);
}

static void readable(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_last_answers *answers = opaque;
    unsigned char bytes[CHUNK];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    (void)what;
    if (n > 0) {
        vst_handshake_hear(answers->handshake, bytes, (size_t)n);
        say(answers);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(answers);
    }
}

static void lost_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_last_answers *answers = opaque;

    (void)fd, (void)what;
    vst_trace(VST_TRACE_STATE, "last answers %s: QEMU says nothing more, and is left",
              answers->label);
    end(answers);
}

/* ---- its life ---- */

struct vst_last_answers *vst_last_answers_start(struct event_base *base, int *fd,
                                                struct vst_handshake *handshake, const char *label,
                                                struct vst_error *ret_err)
{
    static const struct timeval patience = {PATIENCE_SECONDS, 0};
    struct vst_last_answers *answers = calloc(1, sizeof(*answers));

    if (!answers) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    answers->handshake = vst_handshake_ref(handshake);
    answers->fd = *fd;
    *fd = -1;
    snprintf(answers->label, sizeof(answers->label), "%s", label);
    event_assign(&answers->readable, base, answers->fd, EV_READ | EV_PERSIST, readable, answers);
    event_assign(&answers->writable, base, answers->fd, EV_WRITE, writable, answers);
    event_assign(&answers->patience, base, -1, 0, lost_patience, answers);
    event_add(&answers->readable, NULL);
    event_add(&answers->patience, &patience);
    say(answers);
    return answers;
}

bool vst_last_answers_is_under_way(const struct vst_last_answers *answers)
{
    return answers && answers->state != LAST_ANSWERS_OVER;
}

void vst_last_answers_free(struct vst_last_answers **slot)
{
    struct vst_last_answers *answers = *slot;

    *slot = NULL;
    if (!answers)
        return;
    end(answers);
    vst_handshake_unref(&answers->handshake);
    free(answers);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a stream to nobody has to say is known to handshake.h: a source that is left in the middle
 * hears that nothing was received of its memory, which makes no difference to a migration that is
 * cancelled next.
 */
#include "rescue.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fsm.h"
#include "core/json.h"
#include "handshake.h"
#include "migration.h"

#define RESCUE_STATES(X)                                                                \
    X(RESCUE_LOOKING, "reply to query-migrate", "is it in post-copy, and has a stream") \
    X(RESCUE_PASSING, "reply to getfd", "QEMU gets a stream to nobody")                 \
    X(RESCUE_PLAYING, "QEMU's questions", "it is answered as by a destination")         \
    X(RESCUE_CANCELLING, "the end of the migration", "it is cancelled")                 \
    X(RESCUE_MENDING, "the guest", "it is mended as any other")                         \
    X(RESCUE_OVER, "nothing", "it is as it should be, or cannot be reached")
VST_FSM(rescue, RESCUE_STATES)

enum {
    LOOK_US = 20000, /* at first; then twice that, and so on, DOUBLINGS times */
    DOUBLINGS = 5,
    LOOKS = 20, /* some ten seconds */
    CHUNK = 65536,
};

struct vst_rescue {
    struct vst_guest *guest; /* NULL: its QEMU is gone */
    char name[VST_NAME_MAX + 1];
    struct event_base *base;
    enum rescue_state state;
    int stream;
    struct vst_handshake *handshake; /* on it; NULL: it is not the one to nobody */
    unsigned looks;                  /* that found it on its way */
    struct event readable, look;
    struct vst_guest_wait wait;
    struct vst_guest_watch watch;
    bool ran;
    void (*fn)(void *opaque, const struct vst_error *err);
    void *opaque;
};

static void enter(struct vst_rescue *rescue, enum rescue_state state)
{
    vst_fsm_trace(rescue, rescue->name, rescue->state, state);
    rescue->state = state;
}

static void mended(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    struct vst_rescue *rescue = opaque;

    (void)guest;
    enter(rescue, RESCUE_OVER);
    rescue->fn(rescue->opaque, err);
}

/* Not in post-copy any more, or out of reach, which that will show, too. */
static void mend(struct vst_rescue *rescue)
{
    enter(rescue, RESCUE_MENDING);
    vst_guest_forget(rescue->guest, rescue);
    event_del(&rescue->look);
    vst_guest_mend(rescue->guest, VST_WORD_NONE, rescue->ran, &rescue->wait);
}

static void look_soon(struct vst_rescue *rescue)
{
    unsigned doublings = rescue->looks < DOUBLINGS ? rescue->looks : DOUBLINGS;
    struct timeval soon = {0, (suseconds_t)LOOK_US << doublings};

    event_add(&rescue->look, &soon);
}

/* ---- the stream to nobody ---- */

/* What is to be said are a few bytes into an empty socket: they fit. */
static void answer(struct vst_rescue *rescue, const unsigned char *bytes, size_t n)
{
    enum vst_left left;

    vst_handshake_hear(rescue->handshake, bytes, n);
    left = vst_handshake_leave(rescue->handshake, rescue->stream);
    if (left == VST_LEFT_ALL)
        enter(rescue, RESCUE_CANCELLING); /* it begins again */
    else if (left == VST_LEFT_GONE)
        event_del(&rescue->readable);
}

static void readable(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_rescue *rescue = opaque;
    unsigned char bytes[CHUNK];
    ssize_t n = read(fd, bytes, sizeof(bytes));

    (void)what;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        event_del(&rescue->readable);
    else if (n > 0 && rescue->state == RESCUE_PLAYING)
        answer(rescue, bytes, (size_t)n);
}

static void listen_to(struct vst_rescue *rescue, int *stream)
{
    if (rescue->stream >= 0)
        event_del(&rescue->readable);
    vst_close(&rescue->stream);
    vst_handshake_unref(&rescue->handshake);
    rescue->stream = *stream;
    *stream = -1;
    if (rescue->stream < 0)
        return;
    event_assign(&rescue->readable, rescue->base, rescue->stream, EV_READ | EV_PERSIST, readable,
                 rescue);
    event_add(&rescue->readable, NULL);
}

static void resumed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value, (void)err; /* what came of it is looked at */
    look_soon(opaque);
}

static void passed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_rescue *rescue = opaque;

    (void)value;
    enter(rescue, RESCUE_PLAYING);
    if (err || vst_qmp_execute(vst_guest_qmp(rescue->guest), "migrate",
                               (struct vst_qmp_reply){resumed, rescue}, NULL, "uri",
                               json_object_new_string("fd:rescue"), "resume",
                               json_object_new_boolean(true), NULL) < 0)
        mend(rescue);
}

static void pass_stream(struct vst_rescue *rescue)
{
    struct vst_handshake *handshake = vst_handshake_new(VST_HANDSHAKE_SOURCE, rescue->name, NULL);
    int ours = -1, qemus = -1;

    enter(rescue, RESCUE_PASSING);
    if (handshake && vst_migration_sockets(&ours, &qemus, NULL) == 0 &&
        vst_qmp_pass_fd(vst_guest_qmp(rescue->guest), "rescue", &qemus,
                        (struct vst_qmp_reply){passed, rescue}, NULL) == 0) {
        listen_to(rescue, &ours);
        rescue->handshake = handshake;
        vst_handshake_begin(handshake);
        return;
    }
    vst_handshake_unref(&handshake);
    vst_close(&ours);
    mend(rescue);
}

/* ---- how is it? ---- */

static void cancel(struct vst_rescue *rescue)
{
    enter(rescue, RESCUE_CANCELLING);
    vst_qmp_execute(vst_guest_qmp(rescue->guest), "migrate_cancel", (struct vst_qmp_reply){0}, NULL,
                    NULL);
    look_soon(rescue);
}

/* Whoever wants it rescued may try again: then the same is waited for as of any other migration,
 * for some time, and the guest goes on. */
static void give_up(struct vst_rescue *rescue, const char *status)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    vst_error_set(&err, VST_ERR_TIMEOUT,
                  "qemu %s: its migration does not end, however often it is cancelled (%s)",
                  rescue->name, status);
    mended(rescue, NULL, &err);
}

static void looked(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_rescue *rescue = opaque;
    enum vst_migration_status status = err ? VST_MIGRATION_NONE : vst_migration_status(value);
    bool moves = status == VST_MIGRATION_ACTIVE && rescue->state != RESCUE_LOOKING;
    bool post_copy = status == VST_MIGRATION_POST_COPY || status == VST_MIGRATION_POST_COPY_PAUSED;

    if (!moves && !post_copy)
        mend(rescue);
    else if (++rescue->looks > LOOKS)
        give_up(rescue, vst_json_string(value, "status"));
    else if (status == VST_MIGRATION_POST_COPY)
        cancel(rescue);
    else if (status == VST_MIGRATION_POST_COPY_PAUSED)
        pass_stream(rescue);
    else
        look_soon(rescue); /* on its way from one to another */
}

static void look(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_rescue *rescue = opaque;

    (void)fd, (void)what;
    if (vst_qmp_execute(vst_guest_qmp(rescue->guest), "query-migrate",
                        (struct vst_qmp_reply){looked, rescue}, NULL, NULL) < 0)
        mend(rescue);
}

/* ---- its life ---- */

static void gone(void *opaque, const struct vst_error *err)
{
    struct vst_rescue *rescue = opaque;

    vst_guest_forget(rescue->guest, rescue);
    rescue->guest = NULL;
    event_del(&rescue->look);
    mended(rescue, NULL, err);
}

struct vst_rescue *vst_rescue_start(struct vst_guest *guest, struct event_base *base, int *stream,
                                    bool ran, void (*fn)(void *opaque, const struct vst_error *err),
                                    void *opaque, struct vst_error *ret_err)
{
    struct vst_rescue *rescue = calloc(1, sizeof(*rescue));

    if (!rescue) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    *rescue = (struct vst_rescue){
        .guest = guest, .base = base, .stream = -1, .ran = ran, .fn = fn, .opaque = opaque};
    snprintf(rescue->name, sizeof(rescue->name), "%s", vst_guest_definition(guest)->name);
    event_assign(&rescue->look, base, -1, 0, look, rescue);
    rescue->wait = (struct vst_guest_wait){.fn = mended, .opaque = rescue};
    rescue->watch = (struct vst_guest_watch){.gone = gone, .opaque = rescue};
    vst_guest_watch(guest, &rescue->watch);
    listen_to(rescue, stream);
    look_soon(rescue);
    return rescue;
}

void vst_rescue_free(struct vst_rescue **slot)
{
    struct vst_rescue *rescue = *slot;
    int none = -1;

    *slot = NULL;
    if (!rescue)
        return;
    if (rescue->guest)
        vst_guest_forget(rescue->guest, rescue);
    vst_guest_unwait(&rescue->wait);
    vst_guest_unwatch(&rescue->watch);
    event_del(&rescue->look);
    listen_to(rescue, &none);
    free(rescue);
}

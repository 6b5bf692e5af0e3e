/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's end in post-copy: the guest runs on the destination, and QEMU here gives it what
 * memory it lacks, over as many streams as that takes. When to ask the destination for another one
 * is the hand-over machine's to say.
 *
 * Until the guest is surely the destination's, QEMU keeps the end of a stream that is broken: see
 * rescue.h. Then the end is broken, too; QEMU pauses, and takes another.
 */
#include <json-c/json.h>
#include <string.h>

#include "core/clock.h"
#include "departure.h"

enum { RELEASE_US = 200000, PAUSE_SECONDS = 15 };

static struct vst_qmp *qmp_of(const struct vst_departure *departure)
{
    return vst_guest_qmp(departure->move.guest);
}

int vst_departure_check_post_copy(const struct vst_departure *departure, struct vst_error *ret_err)
{
    if (!departure->opt.post_copy)
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: post-copy was not allowed when it began",
                             departure->move.name);
    if (!departure->move.guest || departure->state != DEPARTURE_MOVING)
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: memory is not being moved now",
                             departure->move.name);
    return 0;
}

int vst_departure_go_post_copy(struct vst_departure *departure, struct vst_qmp_reply reply,
                               struct vst_error *ret_err)
{
    if (vst_departure_check_post_copy(departure, ret_err) < 0)
        return -1;
    return vst_qmp_execute(qmp_of(departure), "migrate-start-postcopy", reply, ret_err, NULL);
}

/* The destination is asked again later, and then it is tried again. `event` is QEMU_FAILED, or
 * LINK_DOWN where it is the other host that has ended the stream, or that there is no way to. */
static void apart(struct vst_departure *departure, enum vst_handover_event event,
                  const struct vst_error *err)
{
    if (err->code == VST_ERR_LOST && !departure->move.guest)
        return; /* its end comes, and says more */
    vst_departure_enter(departure, DEPARTURE_SERVING);
    vst_departure_stop_stream(departure);
    vst_move_fail(&departure->move, event, err);
}

/* QEMU refuses, does not answer, or says that its stream is broken. */
static void fail(struct vst_departure *departure, const struct vst_error *err)
{
    apart(departure, VST_HANDOVER_QEMU_FAILED, err);
}

/* ---- another stream ---- */

static void acknowledged(void *opaque, struct json_object *value, const struct vst_error *err)
{
    (void)value;
    if (err)
        fail(opaque, err);
}

static void start_again(struct vst_departure *departure)
{
    struct vst_error err = {0};

    vst_departure_enter(departure, DEPARTURE_SERVING);
    vst_handshake_begin(departure->handshake);
    if (vst_qmp_execute(qmp_of(departure), "migrate",
                        (struct vst_qmp_reply){acknowledged, &departure->move}, &err, "uri",
                        json_object_new_string("fd:migrate"), "resume",
                        json_object_new_boolean(true), NULL) < 0)
        fail(departure, &err);
}

static void passed(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    (void)value;
    if (departure->state != DEPARTURE_REOPENING)
        return; /* it is broken already */
    if (err)
        fail(departure, err);
    else
        start_again(departure);
}

/* Not compressed: the destination's daemon may have been restarted, and knows of no offer. */
static void reopen(struct vst_departure *departure)
{
    struct vst_move *move = &departure->move;
    struct vst_error err = {0};
    int ours = -1, qemus = -1;

    vst_departure_enter(departure, DEPARTURE_REOPENING);
    vst_handshake_unref(&departure->handshake);
    departure->handshake = vst_handshake_new(VST_HANDSHAKE_SOURCE, move->name, &err);
    if (!departure->handshake || vst_migration_sockets(&ours, &qemus, &err) < 0 ||
        vst_departure_open_stream(departure, &ours, 0, departure->handshake, &err) < 0) {
        vst_close(&ours);
        vst_close(&qemus);
        apart(departure, vst_departure_lacks_stream(departure), &err);
        return;
    }
    if (vst_qmp_pass_fd(qmp_of(departure), "migrate", &qemus, (struct vst_qmp_reply){passed, move},
                        &err) < 0)
        fail(departure, &err);
}

/* ---- QEMU lets go of the one before ----
 *
 * Two threads of QEMU use a stream. The one that writes it says that it is broken; the one that
 * reads it sees that at the same time, and says nothing. If that has not come to it when there is
 * another stream, a QEMU older than 8.2 drops the new one in the place of the old, and crashes, or
 * hears nothing any more. Nothing shows from outside when it has: so it is given some time.
 */

static void never_pauses(struct vst_departure *departure)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    vst_error_set(&err, VST_ERR_TIMEOUT,
                  "qemu %s: does not see that its stream is broken, and takes no other",
                  departure->move.name);
    fail(departure, &err);
}

static void waited(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_departure *departure = opaque;

    (void)fd, (void)what;
    if (!departure->move.guest)
        return;
    if (departure->state == DEPARTURE_RELEASING)
        reopen(departure);
    else if (departure->state == DEPARTURE_PAUSING)
        never_pauses(departure);
}

/* It should say so soon. */
static void await_pause(struct vst_departure *departure)
{
    static const struct timeval patience = {PAUSE_SECONDS, 0};

    vst_departure_enter(departure, DEPARTURE_PAUSING);
    event_add(&departure->wait, &patience);
}

static void reopen_when_released(struct vst_departure *departure)
{
    int64_t left = departure->broken_us + RELEASE_US - vst_now_us();
    struct timeval then = {0, (suseconds_t)left};

    if (!departure->broken_us || left <= 0) {
        reopen(departure);
        return;
    }
    vst_departure_enter(departure, DEPARTURE_RELEASING);
    event_add(&departure->wait, &then);
}

void vst_departure_post_copy_init(struct vst_departure *departure)
{
    event_assign(&departure->wait, departure->move.qemu->conn->base, -1, 0, waited, departure);
}

void vst_departure_post_copy_free(struct vst_departure *departure)
{
    event_del(&departure->wait);
    vst_last_answers_free(&departure->answers);
}

/* ---- SERVE ---- */

/* QEMU begins again with a stream, which is watched, or was left and is held. If it is neither, it
 * was another process of ours that had it: QEMU may wait for ever. It is looked at again. */
static void go_on_between(struct vst_departure *departure)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    if (departure->stream)
        return; /* its end would be told */
    if (vst_last_answers_is_under_way(departure->answers)) {
        await_pause(departure);
        return;
    }
    vst_error_set(&err, VST_ERR_STATE,
                  "qemu %s: was about to go on with a stream that is lost, and may take no other",
                  departure->move.name);
    fail(departure, &err);
}

static void go_on(struct vst_departure *departure)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    switch (departure->status) {
    case VST_MIGRATION_COMPLETED:
        if (!departure->stream) /* else its end is waited for */
            vst_move_feed(&departure->move, VST_HANDOVER_QEMU_COMPLETED, NULL);
        break;
    case VST_MIGRATION_POST_COPY:
        if (departure->stream)
            break;
        await_pause(departure);
        vst_departure_stop_stream(departure);
        break;
    case VST_MIGRATION_POST_COPY_PAUSED:
        reopen_when_released(departure);
        break;
    case VST_MIGRATION_ACTIVE: /* between two of these */
        go_on_between(departure);
        break;
    default:
        vst_error_set(&err, VST_ERR_DRIVER, "qemu %s: is not in post-copy any more",
                      departure->move.name);
        vst_move_fail(&departure->move, VST_HANDOVER_QEMU_FAILED, &err);
        break;
    }
}

static void told(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_departure *departure = opaque;

    if (err) {
        fail(departure, err);
        return;
    }
    departure->status = vst_migration_status(value);
    go_on(departure);
}

static void serve(void *opaque, struct vst_guest *guest, const struct vst_error *got_err)
{
    struct vst_departure *departure = opaque;
    struct vst_move *move = &departure->move;
    struct vst_guest_job job = vst_departure_job(departure);
    struct vst_error err = {0};

    if (got_err && departure->status == VST_MIGRATION_COMPLETED) {
        vst_move_feed(move, VST_HANDOVER_QEMU_COMPLETED,
                      NULL); /* what became of it then is all one */
    } else if (got_err) {
        vst_move_fail(
            move, vst_move_qemu_exists(move) ? VST_HANDOVER_QEMU_FAILED : VST_HANDOVER_QEMU_GONE,
            got_err);
    } else {
        if (!move->guest) {
            vst_move_take_guest(move, guest);
            vst_guest_go_on(guest, &job);
        }
        if (vst_qmp_execute(qmp_of(departure), "query-migrate", (struct vst_qmp_reply){told, move},
                            &err, NULL) < 0)
            fail(departure, &err);
    }
}

void vst_departure_serve(struct vst_departure *departure)
{
    vst_move_forget_why(&departure->move); /* what went wrong before is mended */
    vst_departure_enter(departure, DEPARTURE_SERVING);
    vst_departure_watch_serving(departure);
    vst_move_get_guest(&departure->move, serve);
}

/* ---- what QEMU and the stream tell meanwhile ---- */

static void broken(struct vst_departure *departure)
{
    struct vst_error err = {.side = VST_SIDE_QEMU};

    if (!departure->stream)
        return; /* it was broken on purpose, which is known */
    vst_error_set(&err, VST_ERR_LOST, "qemu %s: the stream of its memory broke off",
                  departure->move.name);
    fail(departure, &err);
}

void vst_departure_served(struct vst_departure *departure)
{
    if (!vst_departure_serves(departure))
        return;
    switch (departure->status) {
    case VST_MIGRATION_COMPLETED:
        if (departure->gate)
            vst_gate_open(departure->gate);
        vst_departure_look(departure);
        go_on(departure);
        break;
    case VST_MIGRATION_POST_COPY_PAUSED:
        if (departure->state == DEPARTURE_PAUSING)
            reopen_when_released(departure);
        else if (departure->state == DEPARTURE_SERVING)
            broken(departure);
        break;
    default:
        break;
    }
}

void vst_departure_unserved(struct vst_departure *departure, const struct vst_error *err)
{
    if (departure->status == VST_MIGRATION_COMPLETED)
        vst_move_feed(&departure->move, VST_HANDOVER_QEMU_COMPLETED, NULL);
    else if (err)
        apart(departure, VST_HANDOVER_LINK_DOWN, err);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream of the guest's memory and devices, at the destination: from the source to QEMU's
 * socket, what the end of it means, and what if there is none.
 */
#include <errno.h>

#include "arrival.h"
#include "core/fd.h"
#include "core/trace.h"

enum { EXPLAIN_SECONDS = 1 };

/* ---- its end ---- */

/* QEMU does not survive that its stream ends before its post-copy goes on: so it is told to go on
 * first. What it hears then is a few bytes in an empty socket. */
static void let_go(struct vst_arrival *arrival)
{
    if (arrival->spare >= 0 && vst_handshake_is_open(arrival->handshake) &&
        vst_handshake_leave(arrival->handshake, arrival->spare) != VST_LEFT_ALL)
        vst_trace(VST_TRACE_STATE, "arrival %s: QEMU cannot be told to go on", arrival->move.name);
    vst_handshake_unref(&arrival->handshake);
}

static void break_stream(struct vst_arrival *arrival)
{
    let_go(arrival);
    if (arrival->spare >= 0)
        vst_migration_break(arrival->spare);
}

/* The end of the stream's operation: what it brought is loaded, or was in vain. */
void vst_arrival_end_stream(struct vst_arrival *arrival, const struct vst_error *err)
{
    struct vst_op *op = arrival->loading;
    struct vst_error why;

    event_del(&arrival->explained);
    arrival->loading = NULL;
    arrival->stream = NULL;
    arrival->gate = NULL;
    let_go(arrival);
    vst_close(&arrival->spare);
    if (op && err) {
        why = *err;
        vst_error_where(&why, VST_SIDE_DESTINATION, "load");
        vst_op_fail(op, &why);
    } else if (op) {
        vst_op_done(op);
    }
}

void vst_arrival_give_up_stream(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_CANCELLED, "%s", vst_move_reason(&arrival->move));
    vst_arrival_end_stream(arrival,
                           vst_error_is_set(&arrival->move.why) ? &arrival->move.why : &err);
}

void vst_arrival_await_stream(struct vst_arrival *arrival)
{
    struct timeval patience = {vst_conn_patience(arrival->move.qemu->conn), 0};

    event_add(&arrival->awaited, &patience);
}

static void never_came(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_arrival *arrival = opaque;
    struct vst_error err = {0};

    (void)fd, (void)what;
    vst_error_set(&err, VST_ERR_TIMEOUT, "%s: the source has sent nothing for %u seconds",
                  arrival->move.name, vst_conn_patience(arrival->move.qemu->conn));
    vst_move_fail(&arrival->move, VST_HANDOVER_STREAM_FAILED, &err);
}

void vst_arrival_stop_awaiting(struct vst_arrival *arrival)
{
    event_del(&arrival->awaited);
}

/* ---- while it moves ---- */

static void verified(struct vst_arrival *arrival)
{
    if (arrival->finished != (VST_UP | VST_DOWN))
        return;
    vst_move_feed(&arrival->move, VST_HANDOVER_STREAM_VERIFIED, NULL);
    if (arrival->post_copy != ARRIVAL_PRE_COPY)
        vst_arrival_end_stream(arrival, NULL); /* the guest may have run for long */
}

static void stream_finished(void *opaque, enum vst_direction dir)
{
    struct vst_arrival *arrival = opaque;

    arrival->finished |= dir;
    verified(arrival);
}

/* What is the application's end here is the connection from the source. */
struct vst_error vst_arrival_seen_from_here(const struct vst_error *err)
{
    struct vst_error seen = *err;

    if (seen.side != VST_SIDE_QEMU && seen.code == VST_ERR_LOST)
        vst_error_prefix(&seen, "the connection from the source is lost");
    else if (seen.side == VST_SIDE_APPLICATION)
        seen.side = VST_SIDE_SOURCE;
    return seen;
}

void vst_arrival_fail_stream(struct vst_arrival *arrival, const struct vst_error *err)
{
    struct vst_error why = vst_arrival_seen_from_here(err);

    break_stream(arrival);
    vst_arrival_end_stream(arrival, &why);
    if (arrival->post_copy != ARRIVAL_PRE_COPY && arrival->status == VST_MIGRATION_COMPLETED)
        vst_move_feed(&arrival->move, VST_HANDOVER_STREAM_FAILED, NULL); /* nothing is amiss */
    else
        vst_move_fail(&arrival->move, VST_HANDOVER_STREAM_FAILED, &why);
    /* That the source gives up may be faster than why. */
    if (arrival->move.machine.cause == VST_HANDOVER_ABORT && why.side == VST_SIDE_SOURCE)
        vst_move_note(&arrival->move, &why);
}

/* ---- a stream that QEMU breaks off ---- */

static void unexplained(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_arrival *arrival = opaque;
    const struct vst_error *why = &arrival->move.why;

    (void)fd, (void)what;
    vst_arrival_fail_stream(arrival, vst_error_is_set(why) ? why : &arrival->broken);
}

bool vst_arrival_awaits_reason(struct vst_arrival *arrival, const struct vst_error *err)
{
    static const struct timeval moment = {EXPLAIN_SECONDS, 0};

    if ((err->system != EPIPE && err->system != ECONNRESET) ||
        arrival->post_copy >= ARRIVAL_SWITCHED)
        return false; /* the other end broke it off; or the guest may run, and needs another */
    arrival->stream = NULL;
    arrival->gate = NULL;
    arrival->broken = *err;
    event_add(&arrival->explained, &moment);
    return true;
}

static void stream_failed(void *opaque, const struct vst_error *err)
{
    if (!vst_arrival_awaits_reason(opaque, err))
        vst_arrival_fail_stream(opaque, err);
}

/* The source sees a break of the stream first, and makes another. */
static void drop_old_stream(struct vst_arrival *arrival)
{
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_LOST, "the source has made another stream");
    break_stream(arrival);
    vst_arrival_end_stream(arrival, &err);
    arrival->finished = 0;
    vst_move_forget_why(&arrival->move);
}

static int take(struct vst_arrival *arrival, struct vst_stream *stream, struct vst_op *op,
                struct vst_error *ret_err)
{
    struct vst_stream_user user = {
        .finished = stream_finished,
        .failed = stream_failed,
        .opaque = arrival,
        .name = "QEMU",
        .side = VST_SIDE_QEMU,
    };
    const struct vst_handover *machine = &arrival->move.machine;
    bool again = vst_arrival_lacks(arrival) && !vst_handover_holds_guest(machine);
    struct vst_guest_channels channels;

    if (again) {
        drop_old_stream(arrival);
        vst_arrival_post_copy_again(arrival);
    }
    if (arrival->loading || !arrival->move.guest || (arrival->finished & VST_UP) ||
        !(again || vst_handover_would_move(machine, VST_HANDOVER_STREAM_VERIFIED)))
        return vst_error_set(ret_err, VST_ERR_STATE, "%s: no stream is expected now (%s)",
                             arrival->move.name, vst_handover_waits_for(&arrival->move.machine));
    if (vst_stream_claim(stream, op, &user, ret_err) < 0 ||
        vst_arrival_load(arrival, &channels, ret_err) < 0)
        return -1;
    vst_arrival_stop_awaiting(arrival);
    arrival->stream = stream;
    arrival->loading = op;
    arrival->gate = channels.gate;
    arrival->spare = channels.spare;
    return vst_stream_attach(stream, channels.source, channels.sink, ret_err);
}

void vst_arrival_take(struct vst_qemu *qemu, const unsigned char *token, struct vst_stream *stream,
                      struct vst_op *op)
{
    struct vst_move *move = vst_move_find(qemu, token, VST_MIGRATION_IN);
    struct vst_error err = {0};

    if (!move)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no migration with this token is expected here");
    else if (take(vst_arrival_of(move), stream, op, &err) == 0)
        return;
    vst_error_where(&err, VST_SIDE_DESTINATION, "load");
    if (move && vst_arrival_of(move)->loading == op)
        stream_failed(vst_arrival_of(move), &err);
    else
        vst_op_fail(op, &err);
}

/* ---- its life ---- */

void vst_arrival_stream_init(struct vst_arrival *arrival, struct event_base *base)
{
    arrival->spare = -1;
    event_assign(&arrival->awaited, base, -1, 0, never_came, arrival);
    event_assign(&arrival->explained, base, -1, 0, unexplained, arrival);
}

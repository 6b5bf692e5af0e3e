/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream of the guest's memory and devices, at the source: from QEMU's socket to the
 * destination, and what the end of it means.
 */
#include <stdlib.h>

#include "core/fd.h"
#include "departure.h"
#include "migration.h"

/* The destination has taken, verified and loaded everything; or the stream broke off. */
static void stream_over(const struct vst_error *err, void *opaque)
{
    struct vst_stream_tie *tie = opaque;
    struct vst_departure *departure = tie->departure;
    struct vst_error seen;

    if (!departure)
        return;
    if (err)
        seen = vst_departure_seen_from_here(err);
    departure->tie = NULL;
    departure->gate = NULL;
    vst_stream_free(&departure->stream);
    if (vst_departure_serves(departure))
        vst_departure_unserved(departure, err ? &seen : NULL);
    else if (err)
        vst_move_fail(&departure->move, VST_HANDOVER_LINK_DOWN, &seen);
    else
        vst_move_feed(&departure->move, VST_HANDOVER_LOADED, departure->move.machine.peer);
}

/* The operation may outlive the departure. */
static struct vst_op *move_stream(struct vst_departure *departure)
{
    struct vst_stream_tie *tie = malloc(sizeof(*tie));
    struct vst_done done = {stream_over, tie, free};

    if (!tie)
        return NULL;
    tie->departure = departure;
    departure->tie = tie;
    return vst_link_move(departure->link, departure->move.token, NULL, departure->stream, &done);
}

enum vst_handover_event vst_departure_lacks_stream(const struct vst_departure *departure)
{
    return vst_link_is_up(departure->link) ? VST_HANDOVER_QEMU_FAILED : VST_HANDOVER_LINK_DOWN;
}

int vst_departure_open_stream(struct vst_departure *departure, int *ours, int zstd_level,
                              struct vst_handshake *handshake, struct vst_error *ret_err)
{
    struct event_base *base = departure->move.qemu->conn->base;
    struct vst_guest_channels channels;

    if (!vst_link_is_up(departure->link))
        return vst_error_set(ret_err, VST_ERR_LOST, "the connection to %s is lost",
                             departure->move.peer);
    departure->stream = vst_stream_new(base, NULL);
    if (!departure->stream)
        return vst_error_no_memory(ret_err);
    if (vst_guest_channels_open(base, ours, zstd_level, false, handshake, &channels, ret_err) < 0) {
        vst_stream_free(&departure->stream);
        return -1;
    }
    vst_close(&departure->spare);
    departure->gate = channels.gate;
    departure->spare = channels.spare;
    vst_stream_set_ends(departure->stream, channels.source, channels.sink);
    if (move_stream(departure))
        return 0;
    departure->tie = NULL;
    return vst_error_no_memory(ret_err);
}

/* It is the first that the destination hears of it, and tells its people why. */
void vst_departure_abort_stream(struct vst_departure *departure, struct vst_stream *stream,
                                const struct vst_error *why)
{
    const struct vst_move *move = &departure->move;
    bool known = vst_error_is_set(&move->why) || move->machine.cause;
    struct vst_error err = {.side = VST_SIDE_SOURCE};

    if (!stream)
        return;
    vst_error_set(&err, VST_ERR_CANCELLED, "%s",
                  why     ? why->text
                  : known ? vst_move_reason(move)
                          : "virstream ended");
    vst_stream_fail(stream, &err);
}

/* QEMU would wait for ever if its stream ended before its post-copy goes on: see handshake.h. */
static bool answer_last(struct vst_departure *departure)
{
    if (!vst_handshake_is_open(departure->handshake))
        return false;
    vst_last_answers_free(&departure->answers);
    departure->answers = vst_last_answers_start(departure->move.qemu->conn->base, &departure->spare,
                                                departure->handshake, departure->move.name, NULL);
    return departure->answers;
}

void vst_departure_stop_stream(struct vst_departure *departure)
{
    if (departure->spare >= 0 && !answer_last(departure))
        vst_migration_break(departure->spare);
    vst_close(&departure->spare);
    vst_handshake_unref(&departure->handshake);
    vst_departure_abort_stream(departure, departure->stream, NULL);
}

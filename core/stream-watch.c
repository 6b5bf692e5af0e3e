/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watching a stream: how far it is, how fast, and whether it stands still, and then on which
 * side. The timer runs only for methods that call a stall a failure.
 */
#include "clock.h"
#include "stream-private.h"

enum { SECOND_US = 1000000 };

static struct vst_pump_stats stats_of(const struct half *half)
{
    struct vst_pump_stats stats = {0};

    if (half->pump)
        vst_pump_get_stats(half->pump, &stats);
    return stats;
}

static bool moving(const struct half *half)
{
    return half->pump && !half->finished;
}

static enum vst_stalled_on blame(const struct vst_stream *stream)
{
    const struct half *half = moving(&stream->down) ? &stream->down : &stream->up;
    enum vst_waits waits = stats_of(half).waits;

    if (!moving(half) || waits == VST_WAITS_NOTHING)
        return VST_STALLED_ON_NOTHING;
    return (waits == VST_WAITS_SOURCE) == (half->dir == VST_UP) ? VST_STALLED_ON_APPLICATION
                                                                : VST_STALLED_ON_DRIVER;
}

static void fail_stalled(struct vst_stream *stream)
{
    bool down = moving(&stream->down);
    bool driver = blame(stream) == VST_STALLED_ON_DRIVER;
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_STALLED, "no byte moved for %u seconds: %s %s no data",
                  stream->user.stall_seconds, driver ? stream->user.name : "the application's end",
                  driver == down ? "gives" : "takes");
    vst_error_where(&err, driver ? stream->user.side : VST_SIDE_APPLICATION, "transfer");
    vst_stream_fail(stream, &err);
}

static void tick(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_stream *stream = opaque;
    struct vst_pump_stats up = stats_of(&stream->up), down = stats_of(&stream->down);
    uint64_t moved = up.taken + up.delivered + down.taken + down.delivered;
    uint64_t main_bytes = up.delivered > down.delivered ? up.delivered : down.delivered;
    double recent;

    (void)fd, (void)what;
    recent = (double)(main_bytes - stream->rate_bytes);
    stream->rate = stream->rate_bytes ? stream->rate * 0.6 + recent * 0.4 : recent;
    stream->rate_bytes = main_bytes;
    if (moved != stream->moved || blame(stream) == VST_STALLED_ON_NOTHING) {
        stream->moved = moved;
        stream->moved_us = vst_now_us();
    } else if (vst_now_us() - stream->moved_us >= (int64_t)stream->user.stall_seconds * SECOND_US) {
        fail_stalled(stream);
    }
}

int vst_stream_watch(struct vst_stream *stream, struct vst_error *ret_err)
{
    static const struct timeval second = {1, 0};

    stream->started_us = stream->moved_us = vst_now_us();
    if (!stream->user.stall_seconds)
        return 0;
    stream->tick = event_new(stream->base, -1, EV_PERSIST, tick, stream);
    if (!stream->tick || event_add(stream->tick, &second) < 0)
        return vst_error_no_memory(ret_err);
    return 0;
}

void vst_stream_unwatch(struct vst_stream *stream)
{
    if (stream->tick)
        event_free(stream->tick);
    stream->tick = NULL;
}

/* What the pumps counted, and what follows from it, outlives them. */
void vst_progress_freeze(struct vst_stream *stream)
{
    struct vst_progress last;

    vst_stream_get_progress(stream, &last);
    last.waits_for = VST_STALLED_ON_NOTHING;
    last.held = 0;
    stream->last = last;
}

void vst_stream_get_progress(const struct vst_stream *stream, struct vst_progress *ret_progress)
{
    struct vst_pump_stats up = stats_of(&stream->up), down = stats_of(&stream->down);
    int64_t now = vst_now_us();

    if (stream->state == STREAM_ENDED) {
        *ret_progress = stream->last;
        return;
    }
    *ret_progress = (struct vst_progress){
        .up_bytes = up.delivered,
        .down_bytes = down.delivered,
        .total = stream->total,
        .held = up.held + down.held,
        .most_held = up.most_held > down.most_held ? up.most_held : down.most_held,
        .elapsed_us = stream->started_us ? now - stream->started_us : 0,
        .idle_us = stream->started_us ? now - stream->moved_us : 0,
        .waits_for = blame(stream),
    };
    ret_progress->rate = (uint64_t)stream->rate;
    if (!ret_progress->rate && ret_progress->elapsed_us > 0)
        ret_progress->rate = (uint64_t)((double)(up.delivered + down.delivered) * SECOND_US /
                                        (double)ret_progress->elapsed_us);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pump: moves bytes one way, from a channel to a channel, through a bounded buffer. All
 * back-pressure lives here and nowhere else. It knows no protocol.
 *
 * How it ends; the rows are tested by name in tests/unit/pump.c:
 *
 *   source  buffer  sink    cancel | what happens
 *   ------  ------  ------  ------ | -----------------------------------------------------------
 *   open    any     open    no     | moves
 *   EOF     bytes   open    no     | drains
 *   EOF     empty   open    no     | finish() on the sink until OK, then done without error
 *   FAIL    any     open    no     | sink aborted, done with the source's error
 *   any     any     FAIL    no     | sink aborted, done with the sink's error
 *   any     any     any     yes    | sink aborted, done with the error of the cancel
 *
 * A sink is finished or aborted, exactly one of the two. Done is called exactly once, from the
 * loop.
 */
#ifndef VST_CORE_PUMP_H
#define VST_CORE_PUMP_H

#include "channel.h"

/* What the pump waits for, as far as it can tell: who is to blame for a stall. */
enum vst_waits {
    VST_WAITS_NOTHING, /* it is about to move bytes */
    VST_WAITS_SOURCE,
    VST_WAITS_SINK,
};

struct vst_pump_stats {
    uint64_t taken;     /* bytes read from the source */
    uint64_t delivered; /* bytes written to the sink */
    size_t held;        /* in the buffer now */
    size_t most_held;   /* ever */
    enum vst_waits waits;
    unsigned failed; /* the side that did: VST_READ the source, VST_WRITE the sink; or 0 */
};

struct vst_pump;

/* `limit`: the most bytes it ever holds, at least 1. `done` gets NULL or the error. */
struct vst_pump *vst_pump_new(struct event_base *base, size_t limit,
                              void (*done)(void *opaque, const struct vst_error *err), void *opaque,
                              struct vst_error *ret_err);

/* Both stay the caller's, who keeps them until vst_pump_free(). Either may come later. */
void vst_pump_set_source(struct vst_pump *pump, struct vst_channel *source);
void vst_pump_set_sink(struct vst_pump *pump, struct vst_channel *sink);

/* `why` must stay until done. */
void vst_pump_cancel(struct vst_pump *pump, const struct vst_error *why);
void vst_pump_get_stats(const struct vst_pump *pump, struct vst_pump_stats *ret_stats);

/* An unfinished sink is aborted. `done` is not called any more. Sets *pump to NULL. */
void vst_pump_free(struct vst_pump **pump);

/*
 * One step of moving: reads while `buffer` has fewer than `limit` bytes and reading is allowed,
 * writes what is there, until `budget` is spent: a byte read costs one, and no call is cheap. The
 * last read may go beyond it: cut to what is left, it would cut a block in two, which is a copy.
 * The results for both sides are separate.
 * A long hole waits until the buffer is empty and then goes from the source to the sink at once, if
 * both know what a hole is; so its length costs nothing.
 * Zero-copy paths live below this call.
 */
struct vst_transfer {
    struct vst_channel *source; /* NULL: do not read */
    struct vst_channel *sink;   /* NULL: do not write */
    struct evbuffer *buffer;
    size_t limit;
    size_t budget; /* what is left of it is a result, too */
    /* results */
    enum vst_io in;  /* of the last read */
    enum vst_io out; /* of the last write */
    uint64_t taken;  /* zeros that passed as a hole are counted in both */
    uint64_t delivered;
};

void vst_transfer(struct vst_transfer *step);

#endif

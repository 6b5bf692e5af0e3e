/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames and the mux, against a peer that sends anything. The first byte of the input says what is
 * looked at and how; the rest comes from the peer. Whatever it is: the connection ends once, what
 * is held stays within bounds, and a stream that ended well had as many bytes as its END said.
 */
#include <string.h>

#include "core/buffer.h"
#include "core/zeros.h"
#include "remote/mux.h"
#include "replay.h"

/* Small, so that a short input is enough to break every bound. */
enum { CALLS = 4, WINDOW = 256, HELD_MAX = 64 * 1024, SOME = 200, PASSES = 12 };

/* How, by bits of the first byte. AS_IS: the checks of heads and bodies stay what they are. */
enum { AS_SERVER = 1, STALLS = 2, WRITES = 4, WIRE_SHIFT = 3, CHUNK_SHIFT = 5, AS_IS = 128 };

struct call {
    uint32_t id;
    struct vst_channel *source;
    struct vst_channel *sink;
};

static struct peer {
    struct event_base *base;
    struct vst_mux *mux;
    struct vst_channel *raw;
    struct evbuffer *scratch;
    struct call calls[CALLS];
    unsigned how;
    unsigned closed;
} peer;

static void let_go(struct call *call)
{
    vst_channel_free(&call->source);
    vst_channel_free(&call->sink);
    call->id = 0;
}

static void open_call(uint32_t id, bool receives, bool sends)
{
    struct vst_mux_ends ends = {.receives = receives, .sends = sends, .sparse = id & 4};
    struct call *call = peer.calls;

    while (call < peer.calls + CALLS && call->id)
        call++;
    if (call == peer.calls + CALLS || (!receives && !sends) ||
        vst_mux_open(peer.mux, id, &ends, NULL) < 0)
        return;
    *call = (struct call){id, ends.ret_source, ends.ret_sink};
}

static void end_call(struct call *call, const struct vst_error *err)
{
    uint32_t id = call->id;

    if (peer.how & AS_SERVER)
        vst_mux_send(peer.mux, VST_FRAME_REPLY, id, "{}", 2);
    vst_mux_ended(peer.mux, id, err);
    let_go(call);
}

static struct call *find(uint32_t id)
{
    for (struct call *call = peer.calls; call < peer.calls + CALLS; call++)
        if (id && call->id == id)
            return call;
    return NULL;
}

static void message(void *opaque, const struct vst_frame *frame, const char *body)
{
    static const struct vst_error refused = {.code = VST_ERR_ACCESS, .text = "no"};
    struct call *call = find(frame->id);

    (void)opaque;
    FUZZ_CHECK(strlen(body) <= frame->length);
    if (frame->type == VST_FRAME_CALL)
        open_call(frame->id, frame->id & 1, frame->id & 2);
    else if (frame->type == VST_FRAME_REPLY && call)
        end_call(call, NULL);
    else if (frame->type == VST_FRAME_ERROR && call)
        end_call(call, &refused);
}

static void stopped(void *opaque, uint32_t id, const struct vst_error *why)
{
    struct call *call = find(id);

    (void)opaque;
    FUZZ_CHECK(why->code != VST_ERR_OK);
    if (call)
        end_call(call, why);
}

static void closed(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    FUZZ_CHECK(!peer.closed++);
    FUZZ_CHECK(!err || err->code != VST_ERR_OK);
}

/* Reads some; when all has come, it is taken and the call ends. */
static void read_from(struct call *call)
{
    size_t n = 0;
    enum vst_io io = vst_channel_read(call->source, peer.scratch, SOME, &n);

    FUZZ_CHECK(evbuffer_get_length(peer.scratch) == n && n <= SOME);
    evbuffer_drain(peer.scratch, n);
    if (io == VST_IO_FAIL)
        FUZZ_CHECK(vst_error_is_set(vst_channel_error(call->source)));
    if (io != VST_IO_EOF)
        return;
    vst_mux_taken(peer.mux, call->id);
    if (peer.how & AS_SERVER)
        end_call(call, NULL);
}

static void write_to(struct call *call)
{
    size_t n;

    evbuffer_add(peer.scratch, "some text", 9);
    vst_zeros_add(peer.scratch, 400);
    if (vst_channel_write(call->sink, peer.scratch, 409, &n) == VST_IO_AGAIN)
        vst_channel_finish(call->sink);
    evbuffer_drain(peer.scratch, evbuffer_get_length(peer.scratch));
}

static void use_calls(void)
{
    for (struct call *call = peer.calls; call < peer.calls + CALLS; call++) {
        if (call->source && !(peer.how & STALLS))
            read_from(call);
        if (call->sink && (peer.how & WRITES))
            write_to(call);
    }
}

static void pass(void)
{
    struct vst_mux_stats stats;
    size_t n;

    event_base_loop(peer.base, EVLOOP_NONBLOCK);
    use_calls();
    vst_mux_get_stats(peer.mux, &stats);
    FUZZ_CHECK(stats.held <= HELD_MAX && stats.streams <= CALLS);
    if (vst_channel_read(peer.raw, peer.scratch, 1 << 20, &n) == VST_IO_OK)
        evbuffer_drain(peer.scratch, n);
}

/* A fuzzer guesses no check, and no sum; the last bit of the sum says whether there is one. */
static void mend(unsigned char *bytes, size_t size)
{
    while (size >= VST_FRAME_HEAD) {
        struct vst_frame frame = {
            .length = vst_get32(bytes),
            .type = (enum vst_frame_type)bytes[4],
            .id = vst_get32(bytes + 8),
            .starved = bytes[5] & 1,
        };
        size_t here = vst_least(frame.length, size - VST_FRAME_HEAD);

        if (bytes[15] & 1)
            frame.sum = vst_frame_sum(bytes + VST_FRAME_HEAD, here);
        vst_frame_put(&frame, bytes);
        bytes += VST_FRAME_HEAD + here;
        size -= VST_FRAME_HEAD + here;
    }
}

static void play(const uint8_t *data, size_t size)
{
    static const size_t chunks[] = {1, 13, 1000, SIZE_MAX};
    size_t chunk = chunks[peer.how >> CHUNK_SHIFT & 3];
    struct evbuffer *from = evbuffer_new();

    evbuffer_add(from, data, size);
    if (!(peer.how & AS_IS))
        mend(evbuffer_pullup(from, -1), size);
    for (int passes = 0; evbuffer_get_length(from) && !peer.closed; passes++) {
        size_t n;

        if (passes >= PASSES)
            chunk = SIZE_MAX;
        vst_channel_write(peer.raw, from, chunk, &n);
        pass();
    }
    evbuffer_free(from);
    vst_channel_finish(peer.raw);
    for (int passes = 0; !peer.closed && passes < PASSES; passes++)
        pass();
}

static void start(struct vst_channel *transport)
{
    const struct vst_mux_options opt = {
        .role = peer.how & AS_SERVER ? VST_MUX_SERVER : VST_MUX_CLIENT,
        .label = "fuzz",
        .window = WINDOW,
        .peer_window = WINDOW,
        .memory = 8 * WINDOW,
        .streams = CALLS,
        .wire = (enum vst_wire)((peer.how >> WIRE_SHIFT & 3) % 3),
    };
    const struct vst_mux_user user = {message, stopped, closed, NULL};

    peer.mux = vst_mux_new(transport, &opt, &user, NULL);
    for (uint32_t i = 1; i < CALLS && !(peer.how & AS_SERVER); i++) {
        uint32_t id = vst_mux_next_id(peer.mux);

        open_call(id, id & 2, id & 1);
        vst_mux_send(peer.mux, VST_FRAME_CALL, id, "{}", 2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vst_channel *ends[2];

    if (!size)
        return 0;
    peer = (struct peer){.base = peer.base, .scratch = peer.scratch, .how = data[0]};
    if (!peer.base) {
        peer.base = event_base_new();
        peer.scratch = evbuffer_new();
    }
    vst_channel_pair(peer.base, 1 << 20, ends, NULL);
    peer.raw = ends[0];
    start(ends[1]);
    play(data + 1, size - 1);
    for (struct call *call = peer.calls; call < peer.calls + CALLS; call++)
        let_go(call);
    vst_mux_free(&peer.mux);
    vst_channel_free(&peer.raw);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two sides that wire.h promises.
 */
#include "wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wire wire;

/* ---- what the mux tells ---- */

static void note(struct wire_side *side, const char *name, uint32_t id)
{
    size_t used = strlen(side->told);

    /* What a storm says is not noted to its end. */
    snprintf(side->told + used, sizeof(side->told) - used, "%s %" PRIu32 "; ", name, id);
}

static bool open_ends(struct wire_side *side, uint32_t id, const char *what, bool client)
{
    bool up = strstr(what, "up"), down = strstr(what, "down");
    struct vst_mux_ends ends = {
        .receives = client ? down : up,
        .sends = client ? up : down,
        .sparse = strstr(what, "sparse"),
    };

    if (!up && !down)
        return true;
    side->refused = (struct vst_error){0};
    if (vst_mux_open(side->mux, id, &ends, &side->refused) < 0)
        return false;
    assert_true(id < WIRE_CALLS);
    assert_int_equal(!!ends.ret_source, ends.receives);
    assert_int_equal(!!ends.ret_sink, ends.sends);
    side->calls[id].source = ends.ret_source;
    side->calls[id].sink = ends.ret_sink;
    return true;
}

static void message(void *opaque, const struct vst_frame *frame, const char *body)
{
    struct wire_side *side = opaque;

    note(side, vst_frame_name(frame->type), frame->id);
    assert_int_equal(body[frame->length], '\0');
    if (frame->type == VST_FRAME_CALL) {
        side->last = frame->id;
        if (side->opens)
            open_ends(side, frame->id, body, false);
    }
    if (side->free_in_message)
        vst_mux_free(&side->mux);
}

static void stopped(void *opaque, uint32_t id, const struct vst_error *why)
{
    struct wire_side *side = opaque;

    note(side, "stopped", id);
    if (id >= WIRE_CALLS)
        return;
    side->calls[id].stopped++;
    side->calls[id].why = why->code;
}

static void closed(void *opaque, const struct vst_error *err)
{
    struct wire_side *side = opaque;

    assert_false(side->closed);
    side->closed = true;
    side->err = err ? *err : (struct vst_error){0};
    if (side->free_when_closed)
        vst_mux_free(&side->mux);
}

/* ---- beginning and end ---- */

int wire_make(void **state)
{
    (void)state;
    memset(&wire, 0, sizeof(wire));
    wire.base = event_base_new();
    wire.client.opt = wire.server.opt = (struct vst_mux_options){
        .label = "client",
        .window = WIRE_WINDOW,
        .peer_window = WIRE_WINDOW,
        .memory = 64 << 20,
        .streams = 64,
    };
    wire.server.opt.label = "server";
    wire.server.opt.role = VST_MUX_SERVER;
    wire.server.opens = true;
    return 0;
}

void wire_let_go(struct wire_call *call)
{
    vst_pump_free(&call->in.pump);
    vst_pump_free(&call->out.pump);
    vst_channel_free(&call->in.source);
    vst_channel_free(&call->in.sink);
    vst_channel_free(&call->out.source);
    vst_channel_free(&call->out.sink);
    vst_channel_free(&call->source);
    vst_channel_free(&call->sink);
}

static void drop_side(struct wire_side *side)
{
    for (int i = 0; i < WIRE_CALLS; i++)
        wire_let_go(&side->calls[i]);
    vst_mux_free(&side->mux);
    vst_channel_free(&side->raw);
}

int wire_drop(void **state)
{
    (void)state;
    drop_side(&wire.client);
    drop_side(&wire.server);
    event_base_free(wire.base);
    return 0;
}

void wire_again(void)
{
    wire_drop(NULL);
    wire_make(NULL);
}

static bool start_side(struct wire_side *side, struct vst_channel **transport)
{
    struct vst_mux_user user = {message, stopped, closed, side};

    side->mux = vst_mux_new(*transport, &side->opt, &user, &side->err);
    if (!side->mux)
        vst_channel_free(transport);
    return side->mux;
}

bool wire_start_on(struct vst_channel *client, struct vst_channel *server)
{
    bool both = !client || start_side(&wire.client, &client);

    if (both)
        return !server || start_side(&wire.server, &server);
    vst_channel_free(&server);
    return false;
}

void wire_start(void)
{
    struct vst_channel *ends[2];

    assert_int_equal(vst_channel_pair(wire.base, WIRE_LIMIT, ends, NULL), 0);
    assert_true(wire_start_on(ends[0], ends[1]));
}

void wire_start_raw(struct wire_side *side)
{
    struct vst_channel *ends[2];

    assert_int_equal(vst_channel_pair(wire.base, 64 << 20, ends, NULL), 0);
    side->raw = ends[0];
    if (side == &wire.client)
        assert_true(wire_start_on(ends[1], NULL));
    else
        assert_true(wire_start_on(NULL, ends[1]));
}

void wire_run(void)
{
    event_base_dispatch(wire.base);
}

void wire_pass(void)
{
    for (int i = 0; i < 8; i++)
        event_base_loop(wire.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* ---- calls ---- */

uint32_t wire_call(const char *what)
{
    uint32_t id = vst_mux_next_id(wire.client.mux);
    char body[128];
    int length = snprintf(body, sizeof(body), "{\"is\":\"%s\"}", what);

    if (!id || !open_ends(&wire.client, id, what, true))
        return 0;
    if (vst_mux_send(wire.client.mux, VST_FRAME_CALL, id, body, (size_t)length) < 0)
        return 0;
    return id;
}

void wire_reply(uint32_t id)
{
    vst_mux_send(wire.server.mux, VST_FRAME_REPLY, id, "{\"result\":{}}", 13);
    vst_mux_ended(wire.server.mux, id, NULL);
}

void wire_error(uint32_t id, enum vst_code code)
{
    struct vst_error err = {.code = code, .text = "as the test wants it"};
    char body[128];
    int length = snprintf(body, sizeof(body), "{\"code\":\"%s\",\"text\":\"%s\"}",
                          vst_code_name(code), err.text);

    vst_mux_send(wire.server.mux, VST_FRAME_ERROR, id, body, (size_t)length);
    vst_mux_ended(wire.server.mux, id, &err);
}

void wire_answered(uint32_t id, const struct vst_error *err)
{
    vst_mux_ended(wire.client.mux, id, err);
}

static void flow_done(void *opaque, const struct vst_error *err)
{
    struct wire_flow *flow = opaque;

    assert_false(flow->done);
    flow->done = true;
    flow->err = err ? *err : (struct vst_error){0};
}

static void begin(struct wire_flow *flow)
{
    flow->pump = vst_pump_new(wire.base, 1 << 20, flow_done, flow, &flow->err);
    if (!flow->pump) {
        flow->done = true;
        return;
    }
    vst_pump_set_source(flow->pump, flow->source);
    vst_pump_set_sink(flow->pump, flow->sink);
}

void wire_feed_from(struct wire_call *call, struct vst_channel *source)
{
    assert_non_null(call->sink);
    call->out.source = source;
    call->out.sink = call->sink;
    call->sink = NULL;
    begin(&call->out);
}

void wire_feed(struct wire_call *call, const void *bytes, size_t length)
{
    struct vst_channel *source = script_new(wire.base);

    if (length)
        script_give(source, bytes, length);
    script_read(source, VST_IO_EOF);
    wire_feed_from(call, source);
}

void wire_drain_into(struct wire_call *call, struct vst_channel *sink)
{
    assert_non_null(call->source);
    call->in.source = call->source;
    call->in.sink = sink;
    call->source = NULL;
    begin(&call->in);
}

void wire_drain(struct wire_call *call)
{
    wire_drain_into(call, script_new(wire.base));
}

struct evbuffer *wire_got(struct wire_call *call)
{
    return script_seen(call->in.sink)->written;
}

struct vst_mux_stats wire_stats(const struct wire_side *side)
{
    struct vst_mux_stats stats;

    vst_mux_get_stats(side->mux, &stats);
    return stats;
}

/* ---- bytes ---- */

void raw_send(struct wire_side *side, const void *bytes, size_t length)
{
    struct evbuffer *from = evbuffer_new();
    size_t n;

    evbuffer_add(from, bytes, length);
    while (evbuffer_get_length(from))
        assert_int_equal(vst_channel_write(side->raw, from, evbuffer_get_length(from), &n),
                         VST_IO_OK);
    evbuffer_free(from);
}

void raw_frame(struct wire_side *side, enum vst_frame_type type, uint32_t id, const void *body,
               size_t length)
{
    struct vst_frame frame = {(uint32_t)length, type, id, vst_frame_sum(body, length), false};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    raw_send(side, head, sizeof(head));
    if (length)
        raw_send(side, body, length);
}

void raw_text(struct wire_side *side, enum vst_frame_type type, uint32_t id, const char *body)
{
    raw_frame(side, type, id, body, strlen(body));
}

void raw_number(struct wire_side *side, enum vst_frame_type type, uint32_t id, uint64_t number)
{
    unsigned char body[8];

    vst_put64(number, body);
    raw_frame(side, type, id, body, sizeof(body));
}

void raw_credit(struct wire_side *side, uint32_t id, uint32_t read, uint32_t granted)
{
    raw_number(side, VST_FRAME_CREDIT, id, (uint64_t)read << 32 | granted);
}

const char *raw_came(struct wire_side *side)
{
    static char text[8192];
    struct evbuffer *into = evbuffer_new();
    unsigned char head[VST_FRAME_HEAD];
    struct vst_frame frame;
    size_t n, used = 0;

    text[0] = '\0';
    wire_run();
    while (vst_channel_read(side->raw, into, 1 << 20, &n) == VST_IO_OK)
        wire_run();
    while (evbuffer_get_length(into)) {
        assert_int_equal(evbuffer_remove(into, head, sizeof(head)), sizeof(head));
        assert_int_equal(vst_frame_get(head, &frame, NULL), 0);
        assert_true(evbuffer_get_length(into) >= frame.length);
        evbuffer_drain(into, frame.length);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %" PRIu32 " %" PRIu32 "; ",
                                 vst_frame_name(frame.type), frame.id, frame.length);
        assert_true(used < sizeof(text));
    }
    evbuffer_free(into);
    return text;
}

void raw_came_and_went(struct wire_side *side)
{
    struct evbuffer *into = evbuffer_new();
    size_t n;

    wire_pass();
    while (vst_channel_read(side->raw, into, 1 << 20, &n) == VST_IO_OK)
        wire_pass();
    evbuffer_free(into);
}

void assert_alive(const struct wire_side *side)
{
    if (side->closed)
        fail_msg("%s is closed: %s", side->opt.label, side->err.text);
}

void assert_closed(const struct wire_side *side, enum vst_code code)
{
    assert_true(side->closed);
    if (side->err.code != code)
        fail_msg("%s: closed with %s (%s), not %s", side->opt.label, vst_code_name(side->err.code),
                 side->err.text, vst_code_name(code));
}

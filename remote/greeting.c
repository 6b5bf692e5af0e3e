/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The greeting of both sides, as one machine, and what moves it. Whatever happens, a frame, an
 * answer of SASL or the end of the transport, sets the next state; run() goes on for as long as a
 * state can, and tells the outcome as its last act.
 */
#include <stdlib.h>

#include "greeting-private.h"

static const char *const state_names[] = {
#define GREETING_NAME(id, waits, meaning) [id] = #id,
    GREETING_STATES(GREETING_NAME)
#undef GREETING_NAME
};

static const char *const waits_for[] = {
#define GREETING_WAITS(id, text, meaning) [id] = (text),
    GREETING_STATES(GREETING_WAITS)
#undef GREETING_WAITS
};

enum { LINGER_MAX = 64 * 1024 }; /* bytes read and dropped after a refusal */

void vst_greeting_enter(struct vst_greeting *self, enum greeting_state state)
{
    vst_trace(VST_TRACE_STATE, "greeting %s: %s -> %s",
              vst_greeting_serves(self) ? "server" : "client", state_names[self->state],
              state_names[state]);
    self->state = state;
}

const char *vst_greeting_waits_for(const struct vst_greeting *self)
{
    return waits_for[self->state];
}

const struct vst_error *vst_greeting_refusal(const struct vst_greeting *self)
{
    return vst_error_is_set(&self->err) ? &self->err : NULL;
}

/* ---- running ---- */

/* Nothing can be said to the peer any more. */
static void lose(struct vst_greeting *self, const struct vst_error *err)
{
    struct vst_error lost = *err;

    vst_error_prefix(&lost, "while waiting for %s", waits_for[self->state]);
    vst_greeting_fail(self, vst_greeting_serves(self) ? VST_SIDE_CLIENT : VST_SIDE_HOST, &lost);
}

static void break_off(struct vst_greeting *self, struct vst_error *err)
{
    vst_error_prefix(err, "while waiting for %s", waits_for[self->state]);
    vst_greeting_refuse(self, err);
}

/* True: the state has changed, or may act again. */
static bool open_transport(struct vst_greeting *self)
{
    enum vst_io io = vst_channel_open(self->transport);

    if (io == VST_IO_AGAIN)
        return false;
    if (io == VST_IO_FAIL)
        vst_greeting_fail(self, VST_SIDE_NONE, vst_channel_error(self->transport));
    else
        vst_greeting_begin(self);
    return true;
}

/* The peer's word comes first: it says more than that it will not listen. */
static bool converse(struct vst_greeting *self)
{
    enum vst_io out = vst_frames_flush(&self->frames, self->transport), in = VST_IO_AGAIN;
    uint64_t types = vst_greeting_allows(self);
    struct vst_error err = {0};
    const char *body;

    if (types)
        in = vst_frames_read(&self->frames, self->transport, types, &body, &err);
    if (in == VST_IO_OK) {
        vst_greeting_take(self, body);
        return true;
    }
    if (in == VST_IO_FAIL && err.code == VST_ERR_PROTOCOL)
        break_off(self, &err);
    else if (in == VST_IO_FAIL)
        lose(self, &err);
    else if (out == VST_IO_FAIL)
        lose(self, vst_channel_error(self->transport));
    return in == VST_IO_FAIL || out == VST_IO_FAIL;
}

static bool send_welcome(struct vst_greeting *self)
{
    enum vst_io io = vst_frames_flush(&self->frames, self->transport);

    if (io == VST_IO_OK)
        vst_greeting_succeed(self);
    else if (io == VST_IO_FAIL)
        lose(self, vst_channel_error(self->transport));
    return io != VST_IO_AGAIN;
}

static bool send_refusal(struct vst_greeting *self)
{
    enum vst_io io = vst_frames_flush(&self->frames, self->transport);

    if (io == VST_IO_OK)
        io = vst_channel_finish(self->transport);
    if (io != VST_IO_AGAIN)
        vst_greeting_enter(self, io == VST_IO_OK ? GREETING_LINGERING : GREETING_OVER);
    return io != VST_IO_AGAIN;
}

/* Hanging up with bytes unread would take the refusal back on its way. */
static bool linger(struct vst_greeting *self)
{
    enum vst_io in = VST_IO_OK;
    struct evbuffer *waste = self->frames.in;
    size_t n;

    while (in == VST_IO_OK && self->dropped < LINGER_MAX) {
        in = vst_channel_read(self->transport, waste, LINGER_MAX - self->dropped, &n);
        self->dropped += evbuffer_get_length(waste);
        vst_frames_drop(&self->frames);
    }
    if (in != VST_IO_AGAIN)
        vst_greeting_enter(self, GREETING_OVER);
    return in != VST_IO_AGAIN;
}

static bool act(struct vst_greeting *self)
{
    switch (self->state) {
    case GREETING_OPENING:
        return open_transport(self);
    case GREETING_WELCOMING:
        return send_welcome(self);
    case GREETING_REFUSING:
        return send_refusal(self);
    case GREETING_LINGERING:
        return linger(self);
    case GREETING_OVER:
        return false;
    default:
        return converse(self);
    }
}

static void wait_for_transport(struct vst_greeting *self)
{
    bool reads = self->state == GREETING_OPENING || self->state == GREETING_LINGERING;
    bool writes = self->state == GREETING_REFUSING;

    vst_channel_want(self->transport, VST_READ, reads || vst_greeting_allows(self));
    vst_channel_want(self->transport, VST_WRITE,
                     writes || evbuffer_get_length(self->frames.out) > 0);
}

static void hang_up(struct vst_greeting *self, const struct vst_error *why)
{
    if (self->transport)
        vst_channel_abort(self->transport, why);
    vst_channel_free(&self->transport);
}

/* The last act: the greeting may be gone afterwards. */
static void tell(struct vst_greeting *self)
{
    const struct vst_greeting_result result = {
        .transport = self->transport,
        .peer_window = self->peer.window,
        .streams = (unsigned)self->peer.streams,
        .software = self->peer.software,
        .driver = self->peer.driver,
        .user = self->mechanism ? self->login.name : NULL,
        .mechanism = self->mechanism,
    };

    vst_sasl_free(&self->sasl);
    if (vst_error_is_set(&self->err)) {
        hang_up(self, &self->err);
        self->cb.done(self->cb.opaque, NULL, &self->err);
        return;
    }
    vst_channel_listen(self->transport, VST_READ, NULL, NULL);
    vst_channel_listen(self->transport, VST_WRITE, NULL, NULL);
    self->transport = NULL;
    self->cb.done(self->cb.opaque, &result, NULL);
}

void vst_greeting_run(struct vst_greeting *self)
{
    while (act(self))
        continue;
    if (self->state == GREETING_OVER)
        tell(self);
    else
        wait_for_transport(self);
}

static void on_ready(void *opaque)
{
    vst_greeting_run(opaque);
}

static void on_begin(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    vst_greeting_run(opaque);
}

/* ---- making and freeing ---- */

struct vst_greeting *vst_greeting_new(struct vst_channel *transport,
                                      struct vst_greeting_options *opt,
                                      int (*opened)(void *opaque, struct vst_channel *transport,
                                                    struct vst_error *ret_err),
                                      const struct vst_greeting_cb *cb, struct vst_error *ret_err)
{
    struct vst_greeting *self = calloc(1, sizeof(*self));

    if (!self || vst_frames_init(&self->frames, ret_err) < 0) {
        free(self);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    self->opt = opt;
    self->opened = opened;
    self->cb = *cb;
    self->transport = transport;
    vst_turn_init(&self->begin, transport->base, on_begin, self);
    vst_turn_schedule(&self->begin);
    vst_channel_listen(transport, VST_READ, on_ready, self);
    vst_channel_listen(transport, VST_WRITE, on_ready, self);
    return self;
}

void vst_greeting_free(struct vst_greeting **slot)
{
    static const struct vst_error given_up = {
        .code = VST_ERR_CANCELLED,
        .text = "the greeting was given up",
    };
    struct vst_greeting *self = *slot;

    if (!self)
        return;
    *slot = NULL;
    vst_turn_cancel(&self->begin);
    vst_sasl_free(&self->sasl);
    hang_up(self, &given_up);
    vst_frames_fini(&self->frames);
    vst_hello_clear(&self->peer);
    vst_auth_clear(&self->login);
    free(self->mechanism);
    free(self);
}

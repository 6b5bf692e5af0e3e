/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is said in a greeting: what each frame and each step of SASL leads to, for both sides. It
 * reads and writes nothing; frames are queued, and come when they are whole.
 */
#include <stdlib.h>
#include <string.h>

#include "greeting-private.h"
#include "message.h"

/* ---- the ends ---- */

/* The first error is the outcome. `side`: where it happened, unless it says so itself. */
void vst_greeting_fail(struct vst_greeting *self, enum vst_side side, const struct vst_error *err)
{
    vst_error_copy(&self->err, err);
    vst_error_where(&self->err, side, "greeting");
    vst_greeting_enter(self, GREETING_OVER);
}

static void send_error(struct vst_greeting *self, const struct vst_error *err)
{
    char body[VST_ERROR_BODY_MAX];
    size_t length = vst_error_print(err, body);

    if (vst_frames_put(&self->frames, VST_FRAME_ERROR, body, length, NULL) == 0)
        vst_greeting_enter(self, GREETING_REFUSING);
}

/* A server says why before it hangs up; a client just does. */
void vst_greeting_refuse(struct vst_greeting *self, const struct vst_error *err)
{
    vst_greeting_fail(self, vst_greeting_serves(self) ? VST_SIDE_HOST : VST_SIDE_CLIENT, err);
    vst_sasl_free(&self->sasl);
    if (vst_greeting_serves(self))
        send_error(self, &self->err);
}

/* Why a login failed is for the server's log; the client, who may be anybody, hears no more than
 * that it did. */
static void refuse_login(struct vst_greeting *self, const struct vst_error *err)
{
    static const struct vst_error refused = {
        .code = VST_ERR_AUTH,
        .side = VST_SIDE_HOST,
        .phase = "login",
        .text = "the login was refused: user, password or mechanism are not right",
    };

    vst_greeting_fail(self, vst_greeting_serves(self) ? VST_SIDE_HOST : VST_SIDE_CLIENT, err);
    vst_sasl_free(&self->sasl);
    if (vst_greeting_serves(self))
        send_error(self, &refused);
}

__attribute__((format(printf, 3, 4))) static void
refuse_because(struct vst_greeting *self, enum vst_code code, const char *format, ...)
{
    struct vst_error err = {0};
    va_list args;

    va_start(args, format);
    vst_error_vset(&err, code, format, args);
    va_end(args);
    vst_greeting_refuse(self, &err);
}

/* The greeting is over, and whatever comes next on the transport is not ours. */
void vst_greeting_succeed(struct vst_greeting *self)
{
    struct vst_error err = {0};
    struct vst_channel *layer;

    if (self->sasl && vst_sasl_ssf(self->sasl)) {
        layer = vst_channel_sasl(self->transport, &self->sasl, &err);
        if (!layer) {
            vst_greeting_fail(self, VST_SIDE_NONE, &err);
            return;
        }
        self->transport = layer;
    }
    vst_greeting_enter(self, GREETING_OVER);
}

/* ---- sending ---- */

/* Takes the text. True when it was queued. */
static bool send_text(struct vst_greeting *self, enum vst_frame_type type, char *text,
                      struct vst_error *err)
{
    if (text)
        vst_frames_put(&self->frames, type, text, strlen(text), err);
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    if (vst_error_is_set(err))
        vst_greeting_refuse(self, err);
    return !vst_error_is_set(err);
}

static bool send_hello(struct vst_greeting *self)
{
    const struct vst_greeting_options *opt = self->opt;
    struct vst_error err = {0};
    struct vst_hello hello = {
        .version = VST_PROTOCOL_VERSION,
        .oldest = VST_PROTOCOL_VERSION,
        .window = opt->window,
        .streams = vst_greeting_serves(self) ? opt->streams : 0,
        .software = (char *)opt->software,
        .driver = vst_greeting_serves(self) ? NULL : (char *)opt->driver,
        .mechanisms = self->sasl ? (char *)vst_sasl_offer(self->sasl) : NULL,
    };

    return send_text(self, VST_FRAME_HELLO, vst_hello_print(&hello, &err), &err);
}

/* `data` may be NULL. */
static bool send_auth_start(struct vst_greeting *self, const void *data, size_t length)
{
    const struct vst_auth start = {
        .name = (char *)vst_sasl_mechanism(self->sasl),
        .data = (unsigned char *)data,
        .length = length,
    };
    struct vst_error err = {0};

    return send_text(self, VST_FRAME_AUTH_START, vst_auth_start_print(&start, &err), &err);
}

static bool send_auth_step(struct vst_greeting *self, const void *data, size_t length)
{
    struct vst_error err = {0};

    if (vst_frames_put(&self->frames, VST_FRAME_AUTH_STEP, data, data ? length : 0, &err) == 0)
        return true;
    vst_greeting_refuse(self, &err);
    return false;
}

/* What the exchange came to outlives it. */
static int keep_login(struct vst_greeting *self, const char *user)
{
    if (user && !self->login.name)
        self->login.name = strdup(user);
    self->mechanism = strdup(vst_sasl_mechanism(self->sasl));
    if (self->mechanism && (self->login.name || !user))
        return 0;
    return vst_error_no_memory(&self->err);
}

/* Server: lets the client in, or not. `data` is SASL's last word, if any. */
static void welcome(struct vst_greeting *self, const void *data, size_t length)
{
    const char *user = self->sasl ? vst_sasl_user(self->sasl) : NULL;
    const struct vst_auth done = {
        .name = (char *)user,
        .data = length ? (unsigned char *)data : NULL,
        .length = length,
    };
    struct vst_error err = {0};

    if (self->opt->admit && self->opt->admit(self->cb.opaque, self->peer.driver, user, &err) < 0) {
        vst_greeting_refuse(self, &err);
        return;
    }
    if (self->sasl && keep_login(self, user) < 0)
        vst_greeting_refuse(self, &self->err);
    else if (send_text(self, VST_FRAME_AUTH_DONE, vst_auth_done_print(&done, &err), &err))
        vst_greeting_enter(self, GREETING_WELCOMING);
}

/* ---- the login ---- */

static void step(struct vst_greeting *self, const void *data, size_t length)
{
    self->answered = self->frames.next.type;
    vst_greeting_enter(self, GREETING_WORKING);
    vst_sasl_step(self->sasl, data, length);
}

static void server_stepped(struct vst_greeting *self, enum vst_sasl_result result, const void *data,
                           size_t length)
{
    if (result == VST_SASL_DONE)
        welcome(self, data, length);
    else if (send_auth_step(self, data, length))
        vst_greeting_enter(self, GREETING_AUTH_STEP);
}

/* With the server's last word, or after our own: the mechanism vouches for the server by now. */
static void client_stepped(struct vst_greeting *self, enum vst_sasl_result result, const void *data,
                           size_t length)
{
    bool done = result == VST_SASL_DONE, sent;

    if (done && !self->mechanism && keep_login(self, NULL) < 0) {
        vst_greeting_refuse(self, &self->err);
        return;
    }
    if (self->answered == VST_FRAME_AUTH_DONE) {
        if (done && !length)
            vst_greeting_succeed(self);
        else
            refuse_because(self, VST_ERR_AUTH,
                           "the server ended the login before it had proved who it is");
        return;
    }
    sent =
        self->answered ? send_auth_step(self, data, length) : send_auth_start(self, data, length);
    if (sent)
        vst_greeting_enter(self, done ? GREETING_WELCOME : GREETING_AUTH_STEP);
}

static void stepped(void *opaque, enum vst_sasl_result result, const void *data, size_t length,
                    const struct vst_error *err)
{
    struct vst_greeting *self = opaque;

    if (result == VST_SASL_FAILED)
        refuse_login(self, err);
    else if (vst_greeting_serves(self))
        server_stepped(self, result, data, length);
    else
        client_stepped(self, result, data, length);
    vst_greeting_run(self);
}

static int make_sasl(struct vst_greeting *self, struct vst_error *ret_err)
{
    const struct vst_sasl_cb cb = {stepped, self};
    struct vst_sasl_options opt;

    if (!self->opt->sasl)
        return 0;
    opt = *self->opt->sasl;
    opt.role = self->opt->role;
    self->sasl = vst_sasl_new(self->transport->base, &opt, &cb, ret_err);
    return self->sasl ? 0 : -1;
}

/* ---- what frames do ---- */

static int check_version(const struct vst_hello *peer, struct vst_error *ret_err)
{
    if (peer->oldest <= VST_PROTOCOL_VERSION)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                         "%s speaks version %ju of the protocol and newer ones, %d is spoken here",
                         peer->software, (uintmax_t)peer->oldest, VST_PROTOCOL_VERSION);
}

static void on_client_hello(struct vst_greeting *self)
{
    if (!self->peer.driver)
        refuse_because(self, VST_ERR_PROTOCOL, "HELLO: driver: missing");
    else if (self->sasl)
        vst_greeting_enter(self, GREETING_AUTH_START);
    else
        welcome(self, NULL, 0);
}

static void on_server_hello(struct vst_greeting *self)
{
    const char *offered = self->peer.mechanisms;
    const struct vst_sasl_options *sasl = self->opt->sasl;

    if (!self->peer.streams)
        refuse_because(self, VST_ERR_PROTOCOL, "HELLO: streams: missing");
    else if (offered && !sasl)
        refuse_because(self, VST_ERR_AUTH,
                       "the server asks for a login with one of %s: give a user and a password",
                       offered[0] ? offered : "no mechanisms");
    else if (!offered && sasl && !sasl->secret)
        refuse_because(self, VST_ERR_AUTH,
                       "the server asks for no login, so nothing would protect this connection: "
                       "use TLS, or let the server ask for one");
    else if (!offered)
        vst_greeting_enter(self, GREETING_WELCOME);
    else {
        self->answered = 0;
        vst_greeting_enter(self, GREETING_WORKING);
        vst_sasl_start(self->sasl, offered);
    }
}

static void on_hello(struct vst_greeting *self, const char *body, size_t length)
{
    struct vst_error err = {0};

    if (vst_hello_parse(body, length, &self->peer, &err) < 0 ||
        check_version(&self->peer, &err) < 0)
        vst_greeting_refuse(self, &err);
    else if (vst_greeting_serves(self))
        on_client_hello(self);
    else
        on_server_hello(self);
}

static void on_auth_start(struct vst_greeting *self, const char *body, size_t length)
{
    struct vst_auth start = {0};
    struct vst_error err = {0};

    if (vst_auth_start_parse(body, length, &start, &err) < 0) {
        vst_greeting_refuse(self, &err);
        return;
    }
    self->answered = VST_FRAME_AUTH_START;
    vst_greeting_enter(self, GREETING_WORKING);
    vst_sasl_accept(self->sasl, start.name, start.data, start.length);
    vst_auth_clear(&start);
}

/* Client. A login is over when both its ends say so, not when the server alone does. */
static void on_auth_done(struct vst_greeting *self, const char *body, size_t length)
{
    struct vst_error err = {0};

    if (vst_auth_done_parse(body, length, &self->login, &err) < 0)
        vst_greeting_refuse(self, &err);
    else if (evbuffer_get_length(self->frames.out))
        refuse_because(self, VST_ERR_PROTOCOL, "AUTH_DONE came before our last frame was out");
    else if (self->state == GREETING_WELCOME && self->login.data)
        refuse_because(self, VST_ERR_PROTOCOL, "AUTH_DONE: data: the login was over");
    else if (self->state == GREETING_WELCOME)
        vst_greeting_succeed(self);
    else if (self->login.data)
        step(self, self->login.data, self->login.length);
    else
        refuse_because(self, VST_ERR_AUTH,
                       "the server ended the login before it had proved who it is");
}

static void on_error(struct vst_greeting *self, const char *body, size_t length)
{
    struct vst_error err = {0};

    if (vst_greeting_serves(self))
        vst_error_parse(body, length, &err);
    else
        vst_error_from_server(body, length, &err);
    vst_greeting_fail(self, vst_greeting_serves(self) ? VST_SIDE_CLIENT : VST_SIDE_HOST, &err);
}

void vst_greeting_take(struct vst_greeting *self, const char *body)
{
    size_t length = self->frames.next.length;

    switch (self->frames.next.type) {
    case VST_FRAME_HELLO:
        on_hello(self, body, length);
        break;
    case VST_FRAME_AUTH_START:
        on_auth_start(self, body, length);
        break;
    case VST_FRAME_AUTH_STEP:
        step(self, body, length);
        break;
    case VST_FRAME_AUTH_DONE:
        on_auth_done(self, body, length);
        break;
    default:
        on_error(self, body, length);
        break;
    }
    vst_frames_drop(&self->frames);
}

/* What may come in a state; nothing: then nothing is read. */
uint64_t vst_greeting_allows(const struct vst_greeting *self)
{
    uint64_t error = VST_FRAME_BIT(VST_FRAME_ERROR);

    switch (self->state) {
    case GREETING_HELLO:
        return error | VST_FRAME_BIT(VST_FRAME_HELLO);
    case GREETING_AUTH_START:
        return error | VST_FRAME_BIT(VST_FRAME_AUTH_START);
    case GREETING_AUTH_STEP:
        if (vst_greeting_serves(self))
            return error | VST_FRAME_BIT(VST_FRAME_AUTH_STEP);
        return error | VST_FRAME_BIT(VST_FRAME_AUTH_STEP) | VST_FRAME_BIT(VST_FRAME_AUTH_DONE);
    case GREETING_WELCOME:
        return error | VST_FRAME_BIT(VST_FRAME_AUTH_DONE);
    default:
        return 0;
    }
}

/* ---- the beginning ---- */

void vst_greeting_begin(struct vst_greeting *self)
{
    struct vst_error err = {0};

    if ((self->opened && self->opened(self->cb.opaque, self->transport, &err) < 0) ||
        make_sasl(self, &err) < 0)
        vst_greeting_refuse(self, &err);
    else if (vst_greeting_serves(self) && self->sasl && !vst_sasl_offer(self->sasl)[0])
        refuse_because(self, VST_ERR_AUTH,
                       "a login is required, but none of the SASL mechanisms that are allowed "
                       "here is both installed and fit for this connection");
    else if (send_hello(self))
        vst_greeting_enter(self, GREETING_HELLO);
}

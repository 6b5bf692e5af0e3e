/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The greeting between its two files: greeting.c moves it, greeting-talk.c says what each frame and
 * each step of SASL does to it.
 */
#ifndef VST_REMOTE_GREETING_PRIVATE_H
#define VST_REMOTE_GREETING_PRIVATE_H

#include "core/fsm.h"
#include "core/turn.h"
#include "greeting-frames.h"
#include "greeting.h"
#include "hello.h"

#define GREETING_STATES(X)                                                                        \
    X(GREETING_OPENING, "the transport's hand-shake", "what is below is being opened")            \
    X(GREETING_HELLO, "HELLO", "ours has been sent")                                              \
    X(GREETING_AUTH_START, "AUTH_START", "server: the client is to choose a mechanism")           \
    X(GREETING_WORKING, "a step of SASL", "the worker is at it")                                  \
    X(GREETING_AUTH_STEP, "the next step of the login", "the peer is to answer the last message") \
    X(GREETING_WELCOME, "AUTH_DONE", "client: has done its part")                                 \
    X(GREETING_WELCOMING, "AUTH_DONE to go out", "server: has let the client in")                 \
    X(GREETING_REFUSING, "the refusal to go out", "server: ERROR is on its way")                  \
    X(GREETING_LINGERING, "the client to hang up", "server: the refusal must be read")            \
    X(GREETING_OVER, "nothing", "the outcome is known")

enum greeting_state { GREETING_STATES(VST_FSM_ENUM) };

struct vst_greeting {
    struct vst_greeting_options *opt;
    int (*opened)(void *opaque, struct vst_channel *transport, struct vst_error *ret_err);
    struct vst_greeting_cb cb;
    enum greeting_state state;
    struct vst_channel *transport;
    struct vst_frames frames;
    struct vst_turn begin;
    struct vst_sasl *sasl;
    enum vst_frame_type answered; /* what the step of SASL answers; 0: it begins */
    struct vst_hello peer;
    struct vst_auth login; /* name: as the server knows the user */
    char *mechanism;
    size_t dropped;
    struct vst_error err;
};

static inline bool vst_greeting_serves(const struct vst_greeting *self)
{
    return self->opt->role == VST_SASL_SERVER;
}

void vst_greeting_enter(struct vst_greeting *self, enum greeting_state state);
/* Goes on for as long as the state can. The last act of whoever calls it. */
void vst_greeting_run(struct vst_greeting *self);

/* ---- greeting-talk.c; each sets the next state ---- */

/* The outcome, and no word to the peer. `side`: where it happened, unless the error says so. */
void vst_greeting_fail(struct vst_greeting *self, enum vst_side side, const struct vst_error *err);
/* The outcome; a server says why before it hangs up, a client just does. */
void vst_greeting_refuse(struct vst_greeting *self, const struct vst_error *err);
/* Let in: whatever comes next on the transport is not ours. */
void vst_greeting_succeed(struct vst_greeting *self);
/* The transport is open. */
void vst_greeting_begin(struct vst_greeting *self);
/* The types of frame that may come now, bit by bit; none: nothing is to be read. */
uint64_t vst_greeting_allows(const struct vst_greeting *self);
void vst_greeting_take(struct vst_greeting *self, const char *body);

#endif

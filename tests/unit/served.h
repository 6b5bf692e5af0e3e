/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server in the test's own loop, on a real UNIX socket, that serves guests in memory; and callers
 * who speak the protocol to it, with no driver in between, so that they can misbehave.
 */
#ifndef VST_TESTS_UNIT_SERVED_H
#define VST_TESTS_UNIT_SERVED_H

#include <event2/event.h>

#include "remote/message.h"
#include "remote/mux.h"
#include "remote/server.h"
#include "test.h"

struct app;

struct served {
    struct event_base *base;
    struct vst_server *server;
    char dir[64];
    char path[96];
    int port; /* of 127.0.0.1, after served_listen_tcp() */
    bool drained;
    struct vst_conn *conn; /* the one that is served; for looking at it */
};

/* Everybody has `role`. `limits` NULL: the usual ones. */
void served_start(struct served *served, const char *uri, enum vst_role role,
                  const struct vst_limits *limits);
/* The rules that were given above, for those who change them. */
struct vst_policy served_policy(enum vst_role role, const struct vst_limits *limits);
void served_set_policy(struct served *served, struct vst_policy *policy);
/* One more socket, on a port that the kernel chooses. */
void served_listen_tcp(struct served *served, enum vst_listen_kind kind);
int served_connect_tcp(const struct served *served);
/* The same from 127.0.0.`host`. */
int served_connect_from(const struct served *served, unsigned host);
/* An application that is its client, on the same base, by a URI that ends in `parameters`: with the
 * domain `test1`, if there is one. And its end. */
void served_join(const struct served *served, const char *parameters, struct app *ret_app);
void served_leave(struct app *app);
/* Frees the server and runs the loop until nothing is left in it. */
void served_stop(struct served *served);
void served_set_role(struct served *served, enum vst_role role);
void served_drain(struct served *served, unsigned seconds);
struct vst_server_stats served_stats(const struct served *served);
/* The state of a domain, or -1. */
int served_domain_state(struct served *served, const char *name);
/* Runs the loop until nobody is there and no call runs, a second at most; and then until all that
 * was called off has been. */
void served_settle(struct served *served);
/* Runs the loop for that long. */
void served_run(struct served *served, unsigned milliseconds);

/* ---- callers ---- */

struct answer {
    enum vst_frame_type type; /* REPLY or ERROR; 0: none yet */
    bool started;
    struct vst_started start; /* what that said */
    char *body;
    struct vst_error err; /* of an ERROR */
};

enum { ANSWERS_MAX = 128 };

struct caller {
    struct served *served;
    struct vst_greeting *greeting;
    struct vst_mux *mux;
    bool greeted;
    bool closed;
    bool goes_away; /* GOAWAY came */
    unsigned events;
    struct vst_error err;               /* of the greeting, or of the connection */
    struct answer answers[ANSWERS_MAX]; /* by id */
};

/* A socket that is connected, and nothing more. */
int served_connect(const struct served *served);
/* Runs the loop until it is let in, or not: 0 or -1 with caller->err. */
int caller_join(struct caller *caller, struct served *served, const char *driver);
/* Breaks off, without a word. */
void caller_leave(struct caller *caller);

/* Calls, with `arguments` as JSON ("{}"); `ends` NULL: those of a procedure that moves nothing.
 * Returns its id, 0 when the connection has ended. */
uint32_t caller_begin(struct caller *caller, const char *procedure, const char *arguments,
                      struct vst_mux_ends *ends);
/* Runs the loop until it is answered. */
const struct answer *caller_await(struct caller *caller, uint32_t id);
/* Both, without a stream: the code of the answer. */
enum vst_code caller_call(struct caller *caller, const char *procedure, const char *arguments);
/* Runs the loop until the connection has ended. */
void caller_await_end(struct caller *caller);

/* Whole methods with streams: the image of a guest, and a guest of an image. */
enum vst_code caller_save(struct caller *caller, const char *name, struct evbuffer *into);
enum vst_code caller_restore(struct caller *caller, const char *arguments, struct evbuffer *image);

#endif

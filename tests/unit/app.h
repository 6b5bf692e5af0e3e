/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An application on the public API, for tests: one event base, one connection of the test driver,
 * outcomes that are counted, and ends of streams in memory.
 */
#ifndef VST_TESTS_UNIT_APP_H
#define VST_TESTS_UNIT_APP_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "test.h"
#include "virstream/virstream.h"

/* ---- outcomes ---- */

/* What an operation's callback was told. */
struct outcome {
    unsigned calls;
    unsigned released;
    struct vst_error err;
    struct vst_conn *conn;
    struct vst_domain *domain;
    size_t count;                /* of infos */
    struct vst_domain_info info; /* the first of them */
    void (*then)(void *opaque);  /* called last in the callback */
    void *opaque;
};

/* Callbacks that fill `outcome`; valid until the next call of the same function. */
const struct vst_done *outcome_done(struct outcome *outcome);
const struct vst_domain_cb *outcome_domain(struct outcome *outcome);
const struct vst_info_cb *outcome_infos(struct outcome *outcome);
const struct vst_conn_cb *outcome_conn(struct outcome *outcome);

/* Runs the loop until the outcome is there, and checks that it came once and was released. */
void outcome_await(struct event_base *base, struct outcome *outcome);
/* The same for two that need each other. */
void outcome_await_both(struct event_base *base, struct outcome *one, struct outcome *two);

/* ---- the application ---- */

struct app {
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_domain *domain; /* "test1", if there is one */
};

void app_start(struct app *app, const char *uri);
/* Closes, and runs the loop until nothing is left in it. */
void app_stop(struct app *app);

/* A second connection on the same base, without guests: closed before app_stop(). */
void app_open_other(struct app *app, struct app *ret_other);

/* A stream that holds 64 KiB; and methods that use it. What is restored is let go of at once. */
struct vst_stream *app_stream(struct app *app);
struct vst_op *app_begin_save(struct app *app, struct vst_stream *stream, struct outcome *outcome);
struct vst_op *app_begin_restore(struct app *app, struct vst_stream *stream,
                                 struct outcome *outcome);

/* The state of a domain as list() has it, or -1 if it is not there. */
int app_domain_state(struct app *app, const char *name);

/* ---- ends in memory ---- */

/* How an end behaves; all zero: it moves whatever it is asked to. */
struct manner {
    size_t chunk; /* bytes at a time; 0: as many as there are */
    bool again;   /* says AGAIN before each, and wakes the stream from a timer */
    bool never;   /* says AGAIN for ever, after `until` bytes */
    size_t until;
    bool fails;                      /* FAIL after `until` bytes */
    void (*meanwhile)(void *opaque); /* called inside each callback */
    void *opaque;
};

struct end {
    struct vst_stream *stream; /* whose end it is */
    struct manner manner;
    struct evbuffer *bytes;
    size_t moved;
    unsigned calls;
    unsigned finished;
    unsigned released;
    bool asked; /* it said AGAIN for this move already */
    struct event wake;
};

/* Makes the end the source, or the sink, of `stream`: 0 or -1. `bytes` stays the caller's. */
int end_feed(struct end *end, struct event_base *base, struct vst_stream *stream,
             struct evbuffer *bytes, struct manner manner);
int end_drain(struct end *end, struct event_base *base, struct vst_stream *stream,
              struct evbuffer *bytes, struct manner manner);

/* ---- whole methods ---- */

/* Saves "test1" (or `name`) into `into` and returns the code of the outcome. */
enum vst_code app_save(struct app *app, const char *name, const struct vst_save_options *opt,
                       struct evbuffer *into, struct manner manner);
/* Restores from a copy of `image`; *ret_outcome may be NULL, then the domain is freed. */
enum vst_code app_restore(struct app *app, const struct vst_restore_options *opt,
                          struct evbuffer *image, struct manner manner,
                          struct outcome *ret_outcome);

/* The same bytes, once more. */
struct evbuffer *copy_of(struct evbuffer *bytes);

#endif

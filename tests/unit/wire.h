/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the mux: a client's and a server's on a transport in memory, or one of them and a
 * peer that is bytes; calls with streams between them, and what everybody was told.
 *
 * A call's body says what its stream is: any of the words `up`, `down`, `sparse`. The server of
 * these tests opens what it says; its other answers are the test's.
 */
#ifndef VST_TESTS_UNIT_WIRE_H
#define VST_TESTS_UNIT_WIRE_H

#include "core/pump.h"
#include "remote/mux.h"
#include "script.h"
#include "test.h"

enum { WIRE_WINDOW = 256 * 1024, WIRE_LIMIT = 256 * 1024, WIRE_CALLS = 80 };

/* A pump between an end of a stream and a script. */
struct wire_flow {
    struct vst_channel *source;
    struct vst_channel *sink;
    struct vst_pump *pump;
    bool done;
    struct vst_error err;
};

struct wire_call {
    struct vst_channel *source; /* reads what the peer sends; NULL once it flows */
    struct vst_channel *sink;
    struct wire_flow in;  /* the source, into a script */
    struct wire_flow out; /* a script, into the sink */
    unsigned stopped;
    enum vst_code why; /* of the stop */
};

struct wire_side {
    struct vst_mux *mux;     /* NULL: freed, or not there */
    struct vst_channel *raw; /* the other end of its transport, if its peer is bytes */
    struct vst_mux_options opt;
    struct wire_call calls[WIRE_CALLS]; /* by id */
    char told[4096];                    /* "CALL 1; REPLY 1; " in order, without bodies */
    uint32_t last;                      /* id of the last CALL that came */
    bool closed;
    bool free_when_closed;
    bool free_in_message;
    bool opens; /* the streams of calls */
    struct vst_error err;
    struct vst_error refused; /* why the last stream was not opened */
};

struct wire {
    struct event_base *base;
    struct wire_side client;
    struct wire_side server;
};

extern struct wire wire;

/* Fixtures: options that wire_start() will use may be changed in between. */
int wire_make(void **state);
int wire_drop(void **state);
/* Frees all and begins anew. */
void wire_again(void);

/* Both, on a pair; this one, against bytes; on these two transports (NULL: without that side). */
void wire_start(void);
void wire_start_raw(struct wire_side *side);
bool wire_start_on(struct vst_channel *client, struct vst_channel *server);

/* Until nothing happens by itself any more. */
void wire_run(void);

/* What is due now, without waiting for a timer. */
void wire_pass(void);

/* The client calls; its ends are in wire.client.calls[id]. 0: it could not. */
uint32_t wire_call(const char *what);
void wire_reply(uint32_t id);
void wire_error(uint32_t id, enum vst_code code);
/* The client's part when the answer has come. */
void wire_answered(uint32_t id, const struct vst_error *err);

/* Lets the sink send this and finish, or the source be read to its end. */
void wire_feed(struct wire_call *call, const void *bytes, size_t length);
void wire_feed_from(struct wire_call *call, struct vst_channel *source);
void wire_drain(struct wire_call *call);
void wire_drain_into(struct wire_call *call, struct vst_channel *sink);
struct evbuffer *wire_got(struct wire_call *call);
void wire_let_go(struct wire_call *call);

struct vst_mux_stats wire_stats(const struct wire_side *side);

/* The peer that is bytes, of this side. */
void raw_send(struct wire_side *side, const void *bytes, size_t length);
void raw_frame(struct wire_side *side, enum vst_frame_type type, uint32_t id, const void *body,
               size_t length);
void raw_text(struct wire_side *side, enum vst_frame_type type, uint32_t id, const char *body);
void raw_number(struct wire_side *side, enum vst_frame_type type, uint32_t id, uint64_t number);
void raw_credit(struct wire_side *side, uint32_t id, uint32_t read, uint32_t granted);
/* Lets go by what has come. */
void raw_came_and_went(struct wire_side *side);
/* What has come since the last time: "DATA 1 5; END 1 8; ". */
const char *raw_came(struct wire_side *side);

#define assert_told(side, wanted) assert_string_equal((side).told, wanted)
void assert_alive(const struct wire_side *side);
void assert_closed(const struct wire_side *side, enum vst_code code);

#endif

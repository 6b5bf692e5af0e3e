/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of streams: the driver's part, played with scripted channels, and an application with
 * ends in memory. Everything that either is told is noted in its order.
 */
#ifndef VST_TESTS_UNIT_PART_H
#define VST_TESTS_UNIT_PART_H

#include "app.h"
#include "core/op.h"
#include "core/stream.h"
#include "script.h"

enum { PART_LIMIT = 64 };

/* The driver, the operation, and the application's callbacks; what they were told, in order. */
struct part {
    struct event_base *base;
    struct vst_stream *stream;
    struct vst_op *op;
    struct vst_channel *source; /* the driver's end, feeds down; the stream's once attached */
    struct vst_channel *sink;
    struct vst_stream_user user;
    struct vst_error failed;
    struct outcome outcome;
    struct vst_error ended;
    char order[256];
    bool undo; /* the driver fails its operation when it is told */
    bool done; /* ... completes it when a direction has finished */
    void (*in_writable)(void);
    void (*in_readable)(void);
    void (*in_ended)(void);
    struct evbuffer *up;   /* what the application gives */
    struct evbuffer *down; /* what it has got */
    struct end source_end;
    struct end sink_end;
};

extern struct part part;
extern const struct manner part_plain;
extern const struct vst_stream_callbacks part_callbacks; /* with &part */

int part_make(void **state);
int part_drop(void **state);

/* Adds to the order. */
void part_note(const char *what);

/* An operation without a result, for `outcome`. */
struct vst_op *part_new_op(struct outcome *outcome);

/* Runs until nothing happens by itself any more. */
void part_run(void);

void part_claim(void);
/* Gives the stream the driver's end; the pointers stay, for looking at ... */
void part_attach_up(void);
void part_attach_down(void);
/* ... until the stream has let go of them. */
void part_forget_ends(void);

/* The application's ends: gives this text, or collects. */
void part_feed(const char *text, struct manner manner);
void part_drain(struct manner manner);

/* The driver's source gives this, and then the end. */
void part_give_and_end(const char *text);

void assert_text(struct evbuffer *buffer, const char *text);

#endif

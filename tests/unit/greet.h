/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two parties that greet each other over a pair in memory, or one of them and bytes that the test
 * sends; and what came of it. And users for logins, made by saslpasswd2.
 */
#ifndef VST_TESTS_UNIT_GREET_H
#define VST_TESTS_UNIT_GREET_H

#include "core/channel.h"
#include "remote/greeting.h"
#include "remote/frame.h"
#include "test.h"

enum { GREET_CLIENT, GREET_SERVER };

struct greet_party {
    struct vst_greeting_options opt;
    struct vst_sasl_options sasl;
    struct vst_greeting *greeting;
    struct vst_channel *transport; /* of the result */
    int done;
    bool frees;         /* the greeting, in done() */
    int refuses;        /* in admit() */
    int opened_refuses; /* in opened() */
    struct vst_error err;
    uint64_t peer_window;
    unsigned streams;
    char software[100], driver[40], user[300], mechanism[60], asked[300];
};

struct greet {
    struct event_base *base;
    struct vst_channel *ends[2]; /* those that no party has taken */
    struct greet_party party[2];
};

/* A base, and a pair that holds `limit` bytes each way; options that succeed without a login. */
void greet_make(struct greet *greet, size_t limit);
/* ... with both ends given by the test. */
void greet_make_on(struct greet *greet, struct event_base *base, struct vst_channel *ends[2]);
void greet_drop(struct greet *greet);
/* One side begins; or may fail to. */
void greet_begin(struct greet *greet, int who);
bool greet_try_begin(struct greet *greet, int who);
/* Both begin, and the loop runs until both are done. */
void greet_run(struct greet *greet);
/* Until one is done. */
void greet_wait(struct greet *greet, int who);
/* The loop, until nothing happens any more for 20 ms. */
void greet_settle(struct greet *greet);

/* Both ask for a login, and offer `user` and `password`. */
void greet_login(struct greet *greet, const char *database, const char *user, const char *password);

/* The test plays the other side: sends a frame, or bytes; takes the next frame, and its body, which
 * ends in a zero byte. */
void greet_send(struct greet *greet, int from, enum vst_frame_type type, const char *body);
void greet_send_bytes(struct greet *greet, int from, const void *bytes, size_t length);
enum vst_frame_type greet_take(struct greet *greet, int at, char *ret_body, size_t room);

/* A directory with a sasldb in which alice has the password `opensesame`; removed at exit. */
const char *greet_database(void);

#endif

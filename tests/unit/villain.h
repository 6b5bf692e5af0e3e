/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of a client whose server means harm. The server is bytes: it greets like a good one,
 * then says what the test wants at each call.
 */
#ifndef VST_TESTS_UNIT_VILLAIN_H
#define VST_TESTS_UNIT_VILLAIN_H

#include <event2/bufferevent.h>

#include "app.h"
#include "remote/frame.h"

struct villain {
    struct evconnlistener *listener;
    char dir[64];
    char path[96];
    struct bufferevent *peer;
    void (*called)(uint32_t id); /* at each call of its client; NULL: it says nothing */
    bool reads;
    bool is_mute; /* of its answers, not of its PONGs */
    unsigned calls, pings;
    struct app app; /* its client */
};

extern struct villain villain;

int villain_make(void **state);
int villain_drop(void **state);
#define VILLAIN_TEST(function) VST_TEST_WITH(function, villain_make, villain_drop)

/* ---- the server ---- */

void villain_say(enum vst_frame_type type, uint32_t id, const void *body, size_t length);
void villain_say_text(enum vst_frame_type type, uint32_t id, const char *body);
/* As to a lookup, with a guest that it has. */
void villain_answer_lookup(uint32_t id);

/* ---- the application ---- */

/* Connects, with `parameters` in the URI. The second also looks a guest up. */
void villain_join(const char *parameters);
void villain_begin(const char *parameters);
void villain_leave(void);

/* What came of a list, and its code. */
enum vst_code villain_list(struct outcome *ret_outcome);
/* The server has been shown the door, and everybody is told so from now on. */
void villain_expect_over(const char *what);

#endif

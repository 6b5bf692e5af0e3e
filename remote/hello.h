/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bodies of the greeting's frames say, as structs and back. Pure. AUTH_STEP has no body
 * of this kind: it is the mechanism's own bytes.
 *
 *     HELLO       {"version": 1, "software": "virstream 0.1.0", "window": 262144,
 *                  "driver": "qemu"                              the client's: what it wants
 *                  "streams": 64, "mechanisms": "A B"}           the server's
 *     AUTH_START  {"mechanism": "A", "data": "bm90aGluZw=="}
 *     AUTH_DONE   {"user": "alice", "data": "bm90aGluZw=="}
 *
 * Members that are not known here are ignored: newer peers may say more.
 */
#ifndef VST_REMOTE_HELLO_H
#define VST_REMOTE_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Strings are NULL when absent, and allocated when parsed; numbers are 0 when absent. */
struct vst_hello {
    uint64_t version; /* the highest that it speaks; the lower one of the two is spoken */
    uint64_t oldest;  /* the lowest that it speaks; absent: 1 */
    uint64_t window;  /* granted to each stream at first */
    uint64_t streams; /* at once */
    char *software;
    char *driver;
    char *mechanisms; /* absent: no login is wanted */
};

/* `length` bytes of `data` travel as base64; data NULL: absent, which is not the same as empty. */
struct vst_auth {
    char *name; /* AUTH_START: the mechanism; AUTH_DONE: the user, NULL: nobody logged in */
    unsigned char *data;
    size_t length;
};

enum { VST_STREAMS_MAX = 1 << 20 };
#define VST_WINDOW_LEAST ((uint64_t)16 * 1024)
#define VST_WINDOW_MOST ((uint64_t)1024 * 1024 * 1024)

/* The text is the caller's to free(). */
char *vst_hello_print(const struct vst_hello *hello, struct vst_error *ret_err);
char *vst_auth_start_print(const struct vst_auth *auth, struct vst_error *ret_err);
char *vst_auth_done_print(const struct vst_auth *auth, struct vst_error *ret_err);

/* PROTOCOL names the member. On success the caller clears what was filled in. */
int vst_hello_parse(const char *body, size_t length, struct vst_hello *ret_hello,
                    struct vst_error *ret_err);
int vst_auth_start_parse(const char *body, size_t length, struct vst_auth *ret_auth,
                         struct vst_error *ret_err);
int vst_auth_done_parse(const char *body, size_t length, struct vst_auth *ret_auth,
                        struct vst_error *ret_err);
void vst_hello_clear(struct vst_hello *hello);
void vst_auth_clear(struct vst_auth *auth);

/* Whether it is printable ASCII, at most `most` bytes and at least one. */
bool vst_text_is_plain(const char *text, size_t most);

#endif

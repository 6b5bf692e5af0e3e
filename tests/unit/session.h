/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of TLS: a session between two ends, each played by a user that opens, sends what it
 * has, finishes and reads to the end. It waits as the contract of channels says and frees its end
 * when it fails, as users do.
 */
#ifndef VST_TESTS_UNIT_SESSION_H
#define VST_TESTS_UNIT_SESSION_H

#include "loop.h"
#include "pki.h"

enum { CLIENT, SERVER };

struct side {
    struct vst_channel *ch;
    struct evbuffer *to_send;
    struct evbuffer *got;
    bool open;
    bool finished; /* its finish() was OK */
    bool ended;    /* it has read EOF */
    bool failed;
    struct vst_error err;
    bool goes_on;  /* it does not finish when it has sent all: more will come */
    bool waits[2]; /* to read, to write: until it is announced */
};

struct session {
    struct event_base *base;
    struct vst_channel *lower[2]; /* until session_secure() */
    struct side side[2];
    bool stuck; /* both waited, and nothing could happen any more */
};

extern struct session session;

/* With certificates; see pki.h. session_make() leaves a pair in memory as the channels below. */
int session_make(void **state);
int session_drop(void **state);

/* Puts TLS on what is below, the host's name being "host.example"; takes the creds. */
void session_secure(struct vst_tls_creds *client, struct vst_tls_creds *server, bool want_peer,
                    uint64_t rekey);
/* The same with the good ones. */
void session_secure_well(void);

/* The user's part; one that has been freed has none. */
void session_talk(void);
/* One step of each, or a wait. */
void session_turn(void);
/* That, until both are open or have failed. */
void session_open(void);

/* Both have said all there was, and got it. */
void assert_all_arrived(const void *to_server, size_t up, const void *to_client, size_t down);

#endif

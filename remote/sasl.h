/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SASL: one exchange of Cyrus SASL, either side, and the security layer that it may leave behind.
 *
 * Every step runs on the worker: a step of SCRAM costs milliseconds of processor time, saslauthd or
 * a Kerberos server can hang for as long as they like. The loop sees only messages. Which frames
 * they travel in is greeting.h's.
 */
#ifndef VST_REMOTE_SASL_H
#define VST_REMOTE_SASL_H

#include <stdbool.h>

#include "core/channel.h"

enum vst_sasl_role { VST_SASL_CLIENT, VST_SASL_SERVER };

#define VST_SASL_BINDING 32

struct vst_sasl_options {
    enum vst_sasl_role role;
    const char *host; /* of the server, as the client calls it, for GSSAPI; server: NULL: ours */
    /* Allowed, separated by blanks, a client's first choice first; -PLUS need not be named. NULL:
     * SCRAM-SHA-256 and GSSAPI. */
    const char *mechanisms;
    const char *database;  /* server: path of a sasldb; NULL: the library's own */
    const char *saslauthd; /* server: its socket, to check passwords of PLAIN; NULL: `database` */
    const char *user;      /* client; NULL: none, as GSSAPI allows */
    const char *password;  /* client; NULL: none. Copied, and wiped when it is over */
    /* `tls-exporter`, when below is TLS: then a mechanism that can bind (SCRAM) has to. */
    const unsigned char *binding;
    /* What is below hides and protects already: TLS, or a UNIX socket. If not, only mechanisms
     * with a security layer of at least VST_SASL_SSF bits come into question: of Cyrus SASL that
     * is GSSAPI, and DIGEST-MD5 for who names it; SCRAM has none. */
    bool secret;
};

#define VST_SASL_SSF 112

/* What a step has come to. */
enum vst_sasl_result {
    VST_SASL_CONTINUE, /* send this, and feed what comes back */
    VST_SASL_DONE,     /* authenticated; `data` (may be NULL) still belongs to the peer */
    /* err says why, for our own log: a server must not tell the client. A server's comes a quarter
     * of a second after the login began, whatever the cause. */
    VST_SASL_FAILED,
};

struct vst_sasl_cb {
    /* From the loop, once for each start(), accept() or step(). `data` is valid during the call,
     * in which the exchange may be freed. */
    void (*stepped)(void *opaque, enum vst_sasl_result result, const void *data, size_t length,
                    const struct vst_error *err);
    void *opaque;
};

struct vst_sasl;

/* A server's first one loads the plugins of Cyrus SASL, which reads files, unless that has been
 * done before (vst_sasl_library()). */
struct vst_sasl *vst_sasl_new(struct event_base *base, const struct vst_sasl_options *opt,
                              const struct vst_sasl_cb *cb, struct vst_error *ret_err);
/* At any time, also while a step runs. Sets *sasl to NULL. Accepts NULL. */
void vst_sasl_free(struct vst_sasl **sasl);

/* Server: the mechanisms to offer, separated by blanks; may be empty. */
const char *vst_sasl_offer(const struct vst_sasl *sasl);

/* Client: begins with one of the server's mechanisms. `stepped` gives the first message. */
void vst_sasl_start(struct vst_sasl *sasl, const char *offered);
/* The mechanism that start() has chosen, or accept() was given; with -PLUS if it binds. */
const char *vst_sasl_mechanism(const struct vst_sasl *sasl);
/* Server: the client's choice and its first message (NULL: none). */
void vst_sasl_accept(struct vst_sasl *sasl, const char *mechanism, const void *data, size_t length);
/* Both: the peer's next message. */
void vst_sasl_step(struct vst_sasl *sasl, const void *data, size_t length);

/* After DONE. The user, as the server knows it. */
const char *vst_sasl_user(const struct vst_sasl *sasl);
/* After DONE: strength of the security layer; 0: there is none. */
unsigned vst_sasl_ssf(const struct vst_sasl *sasl);

/* The security layer on `lower`: takes both on success. A packet that was altered, or too long, is
 * FAIL DAMAGED; an end within one is FAIL LOST. EOF comes from below, where it is not
 * authentic, so a user that must know the end has a word for it of its own (GOAWAY). */
struct vst_channel *vst_channel_sasl(struct vst_channel *lower, struct vst_sasl **sasl,
                                     struct vst_error *ret_err);

#endif

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

struct vst_sasl_options {
    enum vst_sasl_role role;
    const char *host;       /* of the server, as the client calls it; for GSSAPI */
    const char *mechanisms; /* allowed, separated by blanks; NULL: SCRAM-SHA-256 and GSSAPI */
    const char *database;   /* server: path of a sasldb; NULL: the library's own */
    const char *saslauthd;  /* server: its socket, to check passwords of PLAIN; NULL: `database` */
    const char *user;       /* client; NULL: none, as GSSAPI allows */
    const char *password;   /* client; NULL: none. Copied, and wiped when it is over */
    const unsigned char
        *binding; /* tls-exporter, 32 bytes, when below is TLS; then it is required */
    bool secret;  /* what is below hides and protects already: TLS, or a UNIX socket */
};

/* What a step has come to. */
enum vst_sasl_result {
    VST_SASL_CONTINUE, /* send this, and feed what comes back */
    VST_SASL_DONE,     /* authenticated; `data` (may be NULL) still belongs to the peer */
    VST_SASL_FAILED,   /* err says why: AUTH, or what stood in the way */
};

struct vst_sasl_cb {
    /* From the loop, once for each start() or step(). `data` is valid during the call. */
    void (*stepped)(void *opaque, enum vst_sasl_result result, const void *data, size_t length,
                    const struct vst_error *err);
    void *opaque;
};

struct vst_sasl;

struct vst_sasl *vst_sasl_new(struct event_base *base, const struct vst_sasl_options *opt,
                              const struct vst_sasl_cb *cb, struct vst_error *ret_err);
/* At any time, also while a step runs. Sets *sasl to NULL. Accepts NULL. */
void vst_sasl_free(struct vst_sasl **sasl);

/* Server: the mechanisms to offer, separated by blanks; may be empty. On the loop, at once: it is
 * computed when the exchange is made. Of TLS with `binding` only those that bind. */
const char *vst_sasl_offer(const struct vst_sasl *sasl);

/* Client: begins with one of the server's mechanisms. `stepped` gives the first message. */
void vst_sasl_start(struct vst_sasl *sasl, const char *offered);
/* The mechanism that start() has chosen. */
const char *vst_sasl_mechanism(const struct vst_sasl *sasl);
/* Server: the client's choice and its first message (NULL: none). */
void vst_sasl_accept(struct vst_sasl *sasl, const char *mechanism, const void *data, size_t length);
/* Both: the peer's next message. */
void vst_sasl_step(struct vst_sasl *sasl, const void *data, size_t length);

/* After DONE. The user, as the server knows it. */
const char *vst_sasl_user(const struct vst_sasl *sasl);
/* After DONE: strength of the security layer; 0: there is none. */
unsigned vst_sasl_ssf(const struct vst_sasl *sasl);

/* The security layer on `lower`: takes both on success. EOF comes from below, where it is not
 * authentic, so a user that must know the end has a word for it of its own (GOAWAY). */
struct vst_channel *vst_channel_sasl(struct vst_channel *lower, struct vst_sasl **sasl,
                                     struct vst_error *ret_err);

#endif

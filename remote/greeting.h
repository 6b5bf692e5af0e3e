/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The greeting: from an open transport to one that calls may be made on. HELLO both ways at once,
 * then SASL if the server asks for it; then the server's AUTH_DONE, always, so that a client knows
 * that it has been let in; then SASL's security layer if there is one. Little memory and little
 * time: frames of at most 16 KiB, exactly as many bytes read as belong to it, and the caller's
 * deadline over all.
 *
 *     client                              server
 *     HELLO  ------------------------->
 *            <-------------------------  HELLO, with mechanisms if it asks for a login
 *     AUTH_START  -------------------->  only with a login
 *            <-------------------------  AUTH_STEP  }
 *     AUTH_STEP  --------------------->             }  as often as the mechanism needs it
 *            <-------------------------  AUTH_DONE
 */
#ifndef VST_REMOTE_GREETING_H
#define VST_REMOTE_GREETING_H

#include "core/channel.h"
#include "sasl.h"

#define VST_PROTOCOL_VERSION 1
#define VST_WINDOW_INITIAL (256u * 1024)

struct vst_greeting_options {
    enum vst_sasl_role role;
    const char *software; /* "virstream 0.1.0" */
    const char *driver;   /* client: whose domains it wants: "qemu", "test" */
    uint64_t window;      /* granted for each stream */
    unsigned streams;     /* server: how many at once */
    /* The login that a server asks for, NULL: none; that a client can offer, NULL: none. Its
     * `role` is not looked at. Without `secret` a client insists on it: no other protection is
     * there. */
    const struct vst_sasl_options *sasl;
    /* Server: whether to let it in, once its HELLO is here and SASL is through: 0, or -1 and why.
     * `sasl_user` is NULL without SASL; `opaque` is that of the callbacks. May be NULL: all are. */
    int (*admit)(void *opaque, const char *driver, const char *sasl_user,
                 struct vst_error *ret_err);
};

struct vst_greeting_result {
    struct vst_channel *transport; /* the callee's; SASL's layer is on it if there is one */
    uint64_t peer_window;
    unsigned streams;      /* the peer's limit (client) */
    const char *software;  /* the peer's */
    const char *driver;    /* server: what the client asked for */
    const char *user;      /* the SASL user; NULL: none */
    const char *mechanism; /* NULL: none */
};

struct vst_greeting_cb {
    /* Once, from the loop: the result, valid during the call, or the error; then the transport has
     * been aborted and destroyed. A server's refusal has been sent before. The greeting may be
     * freed in here, and is to be freed at some time. */
    void (*done)(void *opaque, const struct vst_greeting_result *result,
                 const struct vst_error *err);
    void *opaque;
};

struct vst_greeting;

/* Takes the transport on success; it need not be open yet: opening it (a TLS hand-shake) is part of
 * the greeting. `opened` (may be NULL) is called after that, before anything is sent, so that the
 * caller can say what depends on it (the binding, whether SASL is wanted) by changing `opt`; both
 * `opt` and what it points to are kept until done. -1 from it refuses. */
struct vst_greeting *vst_greeting_new(struct vst_channel *transport,
                                      struct vst_greeting_options *opt,
                                      int (*opened)(void *opaque, struct vst_channel *transport,
                                                    struct vst_error *ret_err),
                                      const struct vst_greeting_cb *cb, struct vst_error *ret_err);
/* At any time. Before done() it gives up: the transport is aborted and destroyed. Sets to NULL.
 * Accepts NULL. */
void vst_greeting_free(struct vst_greeting **greeting);
/* What it waits for, for the message of a deadline: "the TLS hand-shake", "HELLO", ... */
const char *vst_greeting_waits_for(const struct vst_greeting *greeting);
/* Why a peer is not let in that has not hung up yet; NULL: that is not so. */
const struct vst_error *vst_greeting_refusal(const struct vst_greeting *greeting);

#endif

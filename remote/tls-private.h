/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the TLS layer share: the layer itself (tls.c), the bytes on both sides of
 * GnuTLS (tls-records.c), what was loaded (tls-creds.c), the verification of the peer (tls-peer.c),
 * and the sentences for all that fails (tls-error.c).
 */
#ifndef VST_REMOTE_TLS_PRIVATE_H
#define VST_REMOTE_TLS_PRIVATE_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#include "core/fsm.h"
#include "tls.h"

/* The most that is verified of a peer. */
enum {
    VST_TLS_CHAIN_MAX = 5,
    VST_TLS_KEY_BITS_MAX = 16384,
    VST_TLS_EXPONENT_BITS_MAX = 64, /* of an RSA key: people have 65537 */
};

struct vst_tls_creds {
    unsigned refs;
    enum vst_tls_role role;
    struct vst_tls_files files; /* for sentences */
    gnutls_certificate_credentials_t certificates;
    gnutls_priority_t priority;
};

/* ---- tls-peer.c ---- */

/* The other side of one session: what it must be, and who it is. */
struct vst_tls_other {
    const struct vst_tls_creds *creds;
    const char *host;         /* client: whom the certificate must be of */
    unsigned refused;         /* its certificate was: mask of gnutls_certificate_status_t */
    struct vst_tls_peer peer; /* points to what is owned here */
    char *subject;
    char *serial;
    char **uris;
};

/* For gnutls_session_set_verify_function(); the session's pointer is the struct vst_tls_other. */
int vst_tls_check_peer(gnutls_session_t session);
/* For gnutls_handshake_set_hook_function(), before the peer's signature is verified: refuses keys
 * with which that would take long. */
int vst_tls_check_keys(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message);
/* After a hand-shake. Leaves all NULL when no certificate was shown. Returns GnuTLS's result. */
int vst_tls_learn_peer(gnutls_session_t session, struct vst_tls_other *other);
void vst_tls_other_clear(struct vst_tls_other *other);

/* The certificate that the other side has shown, for gnutls_x509_crt_deinit(); NULL if none. */
int vst_tls_peer_certificate(gnutls_session_t session, gnutls_x509_crt_t *ret_cert);

/* An IP address in text, of either kind. */
bool vst_tls_is_address(const char *host);

/* ---- tls-records.c: one session, and the bytes on both sides of GnuTLS ---- */

#define TLS_STATES(X)                                                                    \
    X(TLS_BELOW, "the channel below", "nothing has been said yet")                       \
    X(TLS_SHAKING, "the peer's part of the hand-shake", "keys are agreed on and proven") \
    X(TLS_OPEN, "bytes", "bytes pass both ways")                                         \
    X(TLS_CLOSED, "the peer's bytes", "close_notify was given to what is below")         \
    X(TLS_FAILED, "nothing", "the session cannot go on")
enum tls_state { TLS_STATES(VST_FSM_ENUM) };

/* The most that one call reads or encrypts: 256 KiB, and with them the head that a user puts before
 * them, which would else be a packet of its own. */
enum { VST_TLS_UNIT = 260 * 1024 };

struct vst_tls {
    struct vst_channel base;
    gnutls_session_t session;
    struct vst_tls_creds *creds;
    enum tls_state state;
    struct evbuffer *in;    /* ciphertext from below, for GnuTLS to pull */
    struct evbuffer *out;   /* ciphertext for below, as GnuTLS pushed it */
    struct evbuffer *plain; /* decrypted, and more than was asked for */
    size_t appetite;        /* how much a read from below may bring */
    unsigned reads;         /* how many are allowed yet */
    enum vst_io below;      /* what the last read from below said */
    enum vst_io under;      /* what the last write below said */
    bool starved;           /* GnuTLS has been told to wait */
    bool ended;             /* close_notify has come */
    bool broken;            /* reading fails when `plain` is empty; the error is there */
    uint64_t rekey;         /* bytes between two */
    uint64_t sent;          /* bytes since the last */
    int64_t rekeyed;        /* when, in nanoseconds */
    char *host;
    struct vst_tls_other other;
    char cipher[40];
};

void vst_tls_enter(struct vst_tls *tls, enum tls_state state);

/* For gnutls_transport_set_...(); the pointer is the struct vst_tls. */
ssize_t vst_tls_pull(gnutls_transport_ptr_t opaque, void *bytes, size_t n);
ssize_t vst_tls_push(gnutls_transport_ptr_t opaque, const giovec_t *pieces, int count);

/* gnutls_handshake() as far as it goes now; its result. */
int vst_tls_shake(struct vst_tls *tls);

/* Until `plain` has up to `max` bytes, or one record, of what there is below now. */
void vst_tls_decrypt(struct vst_tls *tls, size_t max);

/* Into `out`. Returns how many bytes it took from `from`, or GnuTLS's error. */
ssize_t vst_tls_encrypt(struct vst_tls *tls, struct evbuffer *from, size_t max);

/* OK: all of `out` is below. */
enum vst_io vst_tls_drain(struct vst_tls *tls);
void vst_tls_drop_out(struct vst_tls *tls);

/* After writing below has failed: whoever refuses us says why and hangs up, and that is the cause.
 */
void vst_tls_hear_last_words(struct vst_tls *tls);

/* Ends the session for what GnuTLS returned, and tells the peer. Returns FAIL. */
enum vst_io vst_tls_break(struct vst_tls *tls, const char *phase, int status);

/* ---- tls-error.c: sentences ---- */

/* The certificate of the other side was refused. */
void vst_tls_fail_verify(struct vst_error *err, gnutls_session_t session,
                         const struct vst_tls_other *other);
/* And what the other side is told. */
gnutls_alert_description_t vst_tls_verify_alert(unsigned refused);

/* `status` is what GnuTLS returned; `session` may be NULL. Always returns -1. */
int vst_tls_fail(struct vst_error *err, gnutls_session_t session, const struct vst_tls_creds *creds,
                 const char *phase, int status);
/* The connection has ended without the other side's having said so. Always returns -1. */
int vst_tls_fail_cut(struct vst_error *err, const struct vst_tls_creds *creds, const char *phase);

/* "2024-05-01 12:00:00 UTC" */
struct vst_tls_time {
    char s[32];
};
struct vst_tls_time vst_tls_time(time_t at);

#endif

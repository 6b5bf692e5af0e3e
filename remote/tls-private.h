/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the TLS layer share: the layer itself (tls.c), what was loaded (tls-creds.c),
 * the verification of the peer (tls-peer.c), and the sentences for all that fails (tls-error.c).
 */
#ifndef VST_REMOTE_TLS_PRIVATE_H
#define VST_REMOTE_TLS_PRIVATE_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#include "tls.h"

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
/* After a hand-shake. Leaves all NULL when no certificate was shown. Returns GnuTLS's result. */
int vst_tls_learn_peer(gnutls_session_t session, struct vst_tls_other *other);
void vst_tls_other_clear(struct vst_tls_other *other);

/* The certificate that the other side has shown, for gnutls_x509_crt_deinit(); NULL if none. */
int vst_tls_peer_certificate(gnutls_session_t session, gnutls_x509_crt_t *ret_cert);

/* An IP address in text, of either kind. */
bool vst_tls_is_address(const char *host);

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

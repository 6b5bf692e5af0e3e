/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of TLS: a peer by GnuTLS alone, which does what ours never would. It takes the place of
 * one side of the session.
 */
#ifndef VST_TESTS_UNIT_RAW_TLS_H
#define VST_TESTS_UNIT_RAW_TLS_H

#include <gnutls/gnutls.h>

#include "session.h"

struct raw_tls {
    int side; /* whose place it has */
    gnutls_session_t session;
    gnutls_certificate_credentials_t creds;
    size_t pushed; /* bytes */
};

/* After session_secure(). It has no certificate yet. */
void raw_begin(struct raw_tls *raw, int side, const char *priority);
/* One of pki_issue(). */
void raw_show(struct raw_tls *raw, const char *name);
/* A certificate with an RSA key of so many random bits, for which nobody has the private one: its
 * signatures are random, too. The form is the only thing that is right. */
void raw_show_rsa(struct raw_tls *raw, unsigned modulus_bits, unsigned exponent_bits);
/* Until ours and it are through, or one has failed: then false, and *ret_status is what GnuTLS has
 * said to it in the end. */
bool raw_shake(struct raw_tls *raw, int *ret_status);
void raw_end(struct raw_tls *raw);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of TLS: authorities and certificates of every kind, good and bad, in a directory that
 * goes when the test ends. And a pair of ends on them.
 */
#ifndef VST_TESTS_UNIT_PKI_H
#define VST_TESTS_UNIT_PKI_H

#include <time.h>

#include "remote/tls.h"
#include "test.h"

struct pki_wish {
    const char *name; /* of the files: NAME-cert.pem, NAME-key.pem; and of the subject: CN=NAME */
    const char *authority; /* the NAME of what signs it; NULL: itself, and it is an authority */
    const char *host;
    const char *address; /* IPv4 */
    const char *uri;
    bool only_server; /* not for clients */
    bool only_client;
    int days_from; /* from now; when both are 0: valid now */
    int days_to;
};

/* Makes the directory, and in it the authority "ca" with "host" (for `host.example` and 127.0.0.1)
 * and "alice". */
int pki_begin(void **state);
int pki_end(void **state);

void pki_issue(const struct pki_wish *wish);
/* Writes NAME-crl.pem of an authority: these are revoked; `revoked` may be NULL. */
void pki_revoke(const char *authority, const char *revoked);
/* DIRECTORY/NAME, until the next call but four. */
const char *pki_path(const char *name);

/* Names as above; `cert` and `crl` may be NULL. */
struct vst_tls_creds *pki_creds(enum vst_tls_role role, const char *authority, const char *cert,
                                const char *crl);

#endif

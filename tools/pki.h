/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of `virstream pki` share. A directory of an authority holds
 *
 *     cacert.pem  cakey.pem  cacrl.pem        the authority; the key stays here
 *     NAME/servercert.pem  NAME/serverkey.pem and copies of cacert.pem and cacrl.pem: all that a
 *     NAME/clientcert.pem  NAME/clientkey.pem host or a client needs, to be put in its directory
 *     revoked/NAME-SERIAL/                    what NAME was before it was revoked
 */
#ifndef VIRSTREAM_TOOLS_PKI_H
#define VIRSTREAM_TOOLS_PKI_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/types.h>

#include "tool.h"

struct authority {
    gnutls_x509_crt_t cert;
    gnutls_x509_privkey_t key;
    char dir[4096];
};

/* All that one file holds, in its order. */
struct pki_certs {
    gnutls_x509_crt_t *of;
    unsigned count;
};
struct pki_crls {
    gnutls_x509_crl_t *of;
    unsigned count;
};

/* What a certificate is to say. */
struct wish {
    const struct options *names; /* hosts, addresses, uris */
    const char *subject;         /* common name */
    bool server;                 /* else of a client */
};

/* A failed call of GnuTLS. Always returns -1. */
int pki_fail(struct tool *tool, int status, const char *what);

/* ---- pki-files.c ---- */

/* DIR/NAME in `ret_path`, if it fits. */
int pki_path(struct tool *tool, const char *dir, const char *name, char *ret_path, size_t room);
/* For gnutls_free(). */
int pki_read(struct tool *tool, const char *path, gnutls_datum_t *ret_pem);
/* A new file, on disk; never in the place of another. */
int pki_write(struct tool *tool, const char *dir, const char *name, const gnutls_datum_t *pem,
              mode_t mode);
/* In the place of what is there, at once. */
int pki_replace(struct tool *tool, const char *dir, const char *name, const gnutls_datum_t *pem);
int pki_read_cert(struct tool *tool, const char *path, gnutls_x509_crt_t *ret_cert);
/* One or more. */
int pki_read_certs(struct tool *tool, const char *path, struct pki_certs *ret_certs);
void pki_free_certs(struct pki_certs *certs);
int pki_read_crls(struct tool *tool, const char *path, struct pki_crls *ret_crls);
void pki_free_crls(struct pki_crls *crls);
int pki_read_key(struct tool *tool, const char *path, gnutls_x509_privkey_t *ret_key);
int pki_read_crl(struct tool *tool, const char *path, gnutls_x509_crl_t *ret_crl);
/* Wipes what was in it. */
void pki_forget(gnutls_datum_t *pem);

/* ---- pki-make.c ---- */

int pki_make_key(struct tool *tool, gnutls_x509_privkey_t *ret_key);
int pki_make_authority(struct tool *tool, gnutls_x509_privkey_t key, gnutls_x509_crt_t *ret_cert);
int pki_make_cert(struct tool *tool, const struct authority *by, gnutls_x509_privkey_t key,
                  const struct wish *wish, gnutls_x509_crt_t *ret_cert);
/* All that `old` has, which may be NULL, and these. */
int pki_make_crl(struct tool *tool, const struct authority *by, gnutls_x509_crl_t old,
                 gnutls_x509_crt_t *revoked, unsigned count, gnutls_x509_crl_t *ret_crl);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS as a layer: TLS 1.3 on whatever channel is below, both sides verified. GnuTLS works on our
 * buffers, never on a descriptor: many records leave as one large write and come in one large read.
 *
 *  - open() is the hand-shake and the verification of the peer: chain, time, revocation, and for a
 *    client the host's name. An error says which of them, whose certificate, and what to do.
 *  - EOF is close_notify and nothing else; the end of what is below without it is FAIL LOST.
 *  - finish() sends close_notify and finishes below; abort() does not send it.
 *  - Either side may rekey at any time. Each rekeys what it sends, we after VST_TLS_REKEY_BYTES,
 * and at most four times a second: GnuTLS refuses a peer that does it more than eight times.
 */
#ifndef VST_REMOTE_TLS_H
#define VST_REMOTE_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/channel.h"

#define VST_TLS_REKEY_BYTES (UINT64_C(1) << 36)
#define VST_TLS_BINDING 32

enum vst_tls_role { VST_TLS_CLIENT, VST_TLS_SERVER };

/* Paths of PEM files. `crl` may be NULL; a client without a certificate has `cert` and `key` NULL.
 */
struct vst_tls_files {
    char *ca;
    char *cert;
    char *key;
    char *crl;
};
void vst_tls_files_clear(struct vst_tls_files *files);

/*
 * Where the files are: what the caller has set stays; the rest is looked for in `directory` if
 * given, else in $XDG_CONFIG_HOME/virstream/pki, /etc/virstream/pki, ~/.pki/libvirt and
 * /etc/pki/{CA,libvirt}: cacert.pem and beside it cacrl.pem; clientcert.pem and clientkey.pem, or
 * servercert.pem and serverkey.pem. Only a server must have the latter two; a revocation list there
 * may be. Blocks (it looks at files). An error names every place that was looked at.
 */
int vst_tls_find_files(enum vst_tls_role role, const char *directory, struct vst_tls_files *files,
                       struct vst_error *ret_err);

/* Loaded certificates: counted, never changed, so that a reload disturbs nobody. */
struct vst_tls_creds;
/* Reads and checks the files: blocks, so it is for the worker, or for before the loop runs. */
struct vst_tls_creds *vst_tls_creds_load(enum vst_tls_role role, const struct vst_tls_files *files,
                                         struct vst_error *ret_err);
/* Accepts NULL. */
/* Whether it is a server's certificate that a client would take, as far as it says itself. */
int vst_tls_creds_check_server(const struct vst_tls_creds *creds, struct vst_error *ret_err);
struct vst_tls_creds *vst_tls_creds_ref(struct vst_tls_creds *creds);
void vst_tls_creds_unref(struct vst_tls_creds **creds);
/* Where they came from. */
const struct vst_tls_files *vst_tls_creds_files(const struct vst_tls_creds *creds);

/*
 * Finding and loading on the worker of `base`: `loaded` comes from the loop, once, with what is the
 * callee's, or with the error. Freeing the load before that calls nothing.
 */
struct vst_tls_load;
struct vst_tls_load *vst_tls_load(struct event_base *base, enum vst_tls_role role,
                                  const char *directory, const struct vst_tls_files *files,
                                  void (*loaded)(void *opaque, struct vst_tls_creds *creds,
                                                 const struct vst_error *err),
                                  void *opaque, struct vst_error *ret_err);
void vst_tls_load_free(struct vst_tls_load **load);

struct vst_tls_options {
    enum vst_tls_role role;
    const char *host; /* client: the name or address that the server's certificate must have */
    bool want_peer; /* server: a client must show a certificate; else it may, and it must be good */
    uint64_t rekey; /* bytes; 0: VST_TLS_REKEY_BYTES */
};
/* Takes `lower` on success; holds the creds. */
struct vst_channel *vst_channel_tls(struct vst_channel *lower, struct vst_tls_creds *creds,
                                    const struct vst_tls_options *opt, struct vst_error *ret_err);

/* After open(): who the peer is. `subject` as in RFC 4514; NULL when it showed no certificate. */
struct vst_tls_peer {
    const char *subject;
    const char *const *uris; /* its subject alternative names of that kind; ends in NULL */
    const char *serial;      /* hex, for logs */
    int64_t expires;         /* its certificate, in seconds since 1970 */
};
const struct vst_tls_peer *vst_tls_get_peer(const struct vst_channel *tls);

/* The channel binding `tls-exporter` (RFC 9266). */
int vst_tls_get_binding(const struct vst_channel *tls, unsigned char ret_data[VST_TLS_BINDING],
                        struct vst_error *ret_err);

/* "TLS1.3 AES-256-GCM", for people. */
const char *vst_tls_get_cipher(const struct vst_channel *tls);

#endif

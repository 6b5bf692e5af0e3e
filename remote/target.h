/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the URI of a remote connection leads, and how: every part and parameter of it, checked,
 * with its default. Pure.
 */
#ifndef VST_REMOTE_TARGET_H
#define VST_REMOTE_TARGET_H

#include <stdbool.h>

#include "core/uri.h"
#include "mux.h"
#include "tls.h"

#define VST_SOCKET_PATH "/run/virstream/virstreamd.sock"

enum { VST_PORT_TCP = 16514, VST_PORT_TLS = 16515 };

enum vst_transport { VST_TRANSPORT_UNIX, VST_TRANSPORT_TCP, VST_TRANSPORT_TLS };

struct vst_target {
    enum vst_transport transport;
    char *path; /* unix: of the socket */
    char *host; /* tcp, tls: without the brackets of an IPv6 address */
    int port;
    char *user; /* NULL: none */
    const char *password_file;
    const char *mechanisms; /* separated by blanks; NULL: what SASL prefers */
    const char *pki_path;
    struct vst_tls_files files; /* those that were named */
    enum vst_wire wire;
    uint64_t window;
    unsigned keepalive_ms; /* 0: none */
    unsigned timeout;      /* seconds */
    char *label;           /* "host:port", or the path */
};

/* The URI is kept. *ret_target is all zero before. */
int vst_target_read(const struct vst_uri *uri, struct vst_target *ret_target,
                    struct vst_error *ret_err);
/* For one that has so much patience: what the URI leaves open is not longer than fits that. */
void vst_target_set_patience(struct vst_target *target, const struct vst_uri *uri,
                             unsigned seconds);
void vst_target_clear(struct vst_target *target);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connection URIs: driver[+transport]://[user@]host[:port]/path?parameters. The syntax of RFC 3986
 * is libevent's; what the parts mean is here.
 */
#ifndef VST_CORE_URI_H
#define VST_CORE_URI_H

#include <event2/keyvalq_struct.h>
#include <stdint.h>

#include "error.h"

struct evhttp_uri;

struct vst_uri {
    char *text;       /* as given */
    char *driver;     /* "qemu" */
    char *transport;  /* "unix", "tcp", "tls", or NULL: in this process */
    const char *user; /* NULL if none, as the next two */
    const char *host;
    int port; /* -1 if none */
    const char *path;
    struct evkeyvalq parameters; /* decoded */
    struct evhttp_uri *parts;
};

int vst_uri_parse(const char *text, struct vst_uri **ret_uri, struct vst_error *ret_err);
void vst_uri_free(struct vst_uri **uri);

/* The value of a parameter, or NULL. */
const char *vst_uri_get(const struct vst_uri *uri, const char *name);

/* Fails, naming the first parameter that is not in the NULL-terminated list. What ends in `.` there
 * stands for all that begin with it. */
int vst_uri_check(const struct vst_uri *uri, const char *const *allowed, struct vst_error *ret_err);

/* A parameter as a number of bytes ("64MiB", "1G", "4096"); `fallback` if it is not there. */
int vst_uri_get_size(const struct vst_uri *uri, const char *name, uint64_t fallback,
                     uint64_t *ret_size, struct vst_error *ret_err);

#endif

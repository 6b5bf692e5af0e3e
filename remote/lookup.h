/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Name look-up: from the name of a host, or an address, to the addresses to try, without blocking.
 * libevent's resolver does it: /etc/hosts, then the name servers of /etc/resolv.conf.
 */
#ifndef VST_REMOTE_LOOKUP_H
#define VST_REMOTE_LOOKUP_H

#include <event2/event.h>
#include <sys/socket.h>

#include "core/error.h"

enum { VST_ADDRESSES_MAX = 16 };

struct vst_address {
    struct sockaddr_storage to;
    socklen_t length;
    char text[64]; /* "192.0.2.1", "2001:db8::1" */
};

struct vst_lookup_cb {
    /* Once, from the loop: at least one address, the kinds of them in turn; or the error. */
    void (*found)(void *opaque, const struct vst_address *addresses, size_t count,
                  const struct vst_error *err);
    void *opaque;
};

struct vst_lookup;

struct vst_lookup *vst_lookup_new(struct event_base *base, const char *host, int port,
                                  const struct vst_lookup_cb *cb, struct vst_error *ret_err);

/* Asks it to end: found() comes soon, from the loop. There is no way to end it at once, because the
 * resolver has none. It frees itself after found(). */
void vst_lookup_cancel(struct vst_lookup *lookup);

#endif

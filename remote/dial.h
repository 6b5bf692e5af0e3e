/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dialling: from addresses to one connected socket. Each is tried, the next one as soon as those
 * before have failed, or have not answered for a quarter of a second; the first that answers wins.
 */
#ifndef VST_REMOTE_DIAL_H
#define VST_REMOTE_DIAL_H

#include "lookup.h"

struct vst_dial_cb {
    /* Once, from the loop: the socket, which is the callee's, and where it leads; or the error,
     * which names every address and what came of it. The dial is freed after that. */
    void (*connected)(void *opaque, int fd, const struct vst_address *to,
                      const struct vst_error *err);
    void *opaque;
};

struct vst_dial;

/* `label` names the goal in errors: "host:port". */
struct vst_dial *vst_dial_new(struct event_base *base, const struct vst_address *addresses,
                              size_t count, const char *label, const struct vst_dial_cb *cb,
                              struct vst_error *ret_err);
/* Before connected(): gives up. Sets *dial to NULL. Accepts NULL. */
void vst_dial_free(struct vst_dial **dial);
/* For the message of a deadline: what was tried up to now. */
void vst_dial_tell(const struct vst_dial *dial, struct vst_error *err);

/* The address of a UNIX socket; its path fits. */
void vst_address_unix(const char *path, struct vst_address *ret_address);

#endif

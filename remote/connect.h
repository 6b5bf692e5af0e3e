/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting: from a URI to a transport whose greeting is over. The password, certificates, the
 * name, its addresses, TLS, the greeting; one deadline over all but the time that a person takes to
 * give a password.
 */
#ifndef VST_REMOTE_CONNECT_H
#define VST_REMOTE_CONNECT_H

#include "core/connection.h"
#include "greeting.h"
#include "target.h"

struct vst_connect_cb {
    /* Once, from the loop, last. The result is valid during the call; its transport is the
     * callee's. */
    void (*done)(void *opaque, const struct vst_greeting_result *result,
                 const struct vst_error *err);
    void *opaque;
};

struct vst_connect;

/* `target` is kept. */
struct vst_connect *vst_connect_new(struct vst_conn *conn, const struct vst_target *target,
                                    const struct vst_connect_cb *cb, struct vst_error *ret_err);

/* From the loop: done() comes soon, with this error. */
void vst_connect_cancel(struct vst_connect *connect, const struct vst_error *why);

#endif

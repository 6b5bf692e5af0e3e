/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A password from a file: its first line, read on the worker.
 */
#ifndef VST_REMOTE_PASSWORD_H
#define VST_REMOTE_PASSWORD_H

#include <event2/event.h>

#include "core/error.h"

struct vst_password_cb {
    /* Once, from the loop. `password` is wiped when it returns; NULL with the error. The load may
     * be freed in here. */
    void (*loaded)(void *opaque, const char *password, const struct vst_error *err);
    void *opaque;
};

struct vst_password;

struct vst_password *vst_password_load(struct event_base *base, const char *path,
                                       const struct vst_password_cb *cb, struct vst_error *ret_err);
/* At any time; before loaded() nothing is called. Sets *password to NULL. Accepts NULL. */
void vst_password_free(struct vst_password **password);

#endif

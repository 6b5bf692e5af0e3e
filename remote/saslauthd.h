/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking saslauthd whether a password is right. Cyrus SASL can do that, too, but waits for ever,
 * and loses a descriptor when saslauthd dies meanwhile (2.1.28).
 */
#ifndef VST_REMOTE_SASLAUTHD_H
#define VST_REMOTE_SASLAUTHD_H

#include "core/error.h"

enum { VST_SASLAUTHD_SECONDS = 30 }; /* the longest that it may take */

/* Blocks. 0: it is right. -1 with AUTH: it is not, or saslauthd at the socket `path` cannot say. */
int vst_saslauthd_check(const char *path, const char *service, const char *user,
                        const char *password, struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses to listen on: "192.0.2.1:16514", "[::1]:16515", "*:16515" (every address, of both
 * families). Numbers only: nothing is looked up.
 */
#ifndef VST_REMOTE_ADDRESS_H
#define VST_REMOTE_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "core/error.h"

struct vst_address {
    struct sockaddr_storage socket;
    socklen_t length;
};

int vst_address_parse(const char *text, struct vst_address *ret_address, struct vst_error *ret_err);
bool vst_address_is_loopback(const struct vst_address *address);

/* Whether a UNIX socket can have the path: an address has little room for one. */
int vst_address_check_unix(const char *path, struct vst_error *ret_err);

#endif

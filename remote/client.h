/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver of every URI with a transport: methods are calls to a server.
 */
#ifndef VST_REMOTE_CLIENT_H
#define VST_REMOTE_CLIENT_H

#include "core/driver.h"

extern const struct vst_driver vst_remote_driver;

#endif

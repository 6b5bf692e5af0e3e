/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What Cyrus SASL has per process: its plugins, loaded once and never let go, because others in
 * this process may use them, too. And what its numbers mean.
 */
#ifndef VST_REMOTE_SASL_LIBRARY_H
#define VST_REMOTE_SASL_LIBRARY_H

#include <sasl/sasl.h>

#include "sasl.h"

/* Any thread, any number of times. Blocks the first time for a role. */
int vst_sasl_library(enum vst_sasl_role role, struct vst_error *ret_err);

/* How strong a security layer the server's plugin for a mechanism can make, in bits; -1: there is
 * no such plugin. After vst_sasl_library(). */
int vst_sasl_plugin_ssf(const char *mechanism);

/*
 * Around whatever a thread computes with the library. A process that exits waits for it: libcrypto,
 * which plugins use, takes itself apart then, and who is still at work in it crashes. Not around
 * what asks another service, which may not answer. False: the process exits, and nothing is to be
 * begun.
 */
bool vst_sasl_enter(void);
void vst_sasl_leave(void);

/* NO_MEMORY, or AUTH with what the library says; `conn` may be NULL. Always returns -1. */
int vst_sasl_error(sasl_conn_t *conn, int number, const char *what, struct vst_error *ret_err);

/* For the list of callbacks. */
sasl_callback_t vst_sasl_callback(unsigned long id, void (*fn)(void), void *opaque);
/* Its log: says nothing. What goes wrong comes back as an error. */
sasl_callback_t vst_sasl_no_log(void);

#endif

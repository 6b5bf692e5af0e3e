/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second host of guests beside that of host.h, in the same process and on its loop, with a root
 * of its own; and guests over any connection, for tests in which they move.
 */
#ifndef VST_TESTS_UNIT_FAR_H
#define VST_TESTS_UNIT_FAR_H

#include "host.h"

/* The URI of that root, which is in the directory of `host`. */
void far_make_uri(const struct vst_host *host, char ret_uri[128]);
/* NULL, and it is said why, when that cannot be. */
struct vst_conn *far_connect(struct event_base *base, const char *uri);
void far_disconnect(struct vst_host *host, struct vst_conn **conn);

/* NULL: there is none of this name. */
struct vst_domain *far_look_up(struct vst_conn *conn, const char *name);
/* What is told of it; false: there is none. */
bool far_look(struct vst_conn *conn, const char *name, struct vst_domain_info *ret_info);
bool far_runs(struct vst_conn *conn, const char *name);
/* If it is there. */
void far_destroy(struct vst_conn *conn, const char *name);

#endif

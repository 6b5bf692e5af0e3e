/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's serial console. From the moment that this connection has hold of the guest, its output
 * is taken, always, into a ring; a viewer gets the ring first, and then what comes. A viewer who
 * does not read loses the oldest bytes, and the guest never waits.
 */
#ifndef VST_DRIVERS_QEMU_CONSOLE_H
#define VST_DRIVERS_QEMU_CONSOLE_H

#include "core/channel.h"

#define VST_CONSOLE_RING (64 * 1024)

struct vst_console_end;

/* Takes *fd, a socket connected to QEMU's end of the console. */
struct vst_console_end *vst_console_new(struct event_base *base, int *fd,
                                        struct vst_error *ret_err);
/* A viewer still there gets what it has, then the end. Sets *console to NULL. Accepts NULL. */
void vst_console_free(struct vst_console_end **console);

/* Accepts NULL. */
bool vst_console_is_viewed(const struct vst_console_end *console);

/* A viewer: what it reads comes from the guest, what it writes goes there. BUSY when there is one.
 * The channel may outlive the console. */
struct vst_channel *vst_console_view(struct vst_console_end *console, struct vst_error *ret_err);

/* The viewer will read no more than it has now, then the end. */
void vst_console_close_viewer(struct vst_channel *viewer);

#endif

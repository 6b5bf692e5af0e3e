/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The console of a test guest, which prints what is typed. The last VST_TEST_RING bytes are kept
 * for the next viewer.
 */
#ifndef VST_DRIVERS_TEST_CONSOLE_H
#define VST_DRIVERS_TEST_CONSOLE_H

#include "core/channel.h"

enum { VST_TEST_RING = 4096 };

struct vst_test_console;

struct vst_test_console *vst_test_console_new(struct vst_error *ret_err);
/* The guest is gone: its viewer gets what is left, and then the end. Accepts NULL. */
void vst_test_console_free(struct vst_test_console *console);

/* A guest that does not run does not take what is typed. */
void vst_test_console_run(struct vst_test_console *console, bool running);

/*
 * Both ways of a viewer. Read: what was printed, beginning with the last of it; EOF after finish(),
 * or when the guest is gone. Written: what is typed, which waits rather than gets lost. BUSY when
 * there is one already.
 */
struct vst_channel *vst_test_console_view(struct vst_test_console *console, struct event_base *base,
                                          struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest whose QEMU is a process that does nothing: whoever started it is gone, and has left
 * everything in order. The test is at the other end of its monitor.
 */
#ifndef VST_TESTS_UNIT_STAND_IN_H
#define VST_TESTS_UNIT_STAND_IN_H

/* In the root at `path`. *ret_listening is the socket that the monitor is connected to. */
void stand_in_make(const char *path, const char *definition, int *ret_pidfd, int *ret_listening);

#endif

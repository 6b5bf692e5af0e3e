/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command's ends of streams: files by name, standard input and output.
 */
#ifndef VIRSTREAM_TOOLS_ENDS_H
#define VIRSTREAM_TOOLS_ENDS_H

#include "tool.h"

/*
 * A stream whose source (`dir` VST_UP) or sink (VST_DOWN) is the file `path`, or standard input or
 * output for "-", with the rate limit that the command line asks for. Opens what can make it wait
 * for somebody (a FIFO) at once, so call it before signals are watched. NULL with tool->err.
 */
struct vst_stream *ends_open(struct tool *tool, enum vst_direction dir, const char *path);

/* That, and then `connect`, which is tool_connect() or tool_find_domain(). */
struct vst_stream *ends_connect(struct tool *tool, enum vst_direction dir, const char *path,
                                int (*connect)(struct tool *));

/*
 * A descriptor of our own for standard input or output, which the library may make non-blocking
 * without doing so to the shell's. -1 with tool->err.
 */
int ends_standard(struct tool *tool, int number);

/* Undoes what ends_standard() could not avoid. */
void ends_restore(struct tool *tool);

/* Size of the file at `path`, or of standard input; 0 if it is not known. */
uint64_t ends_size(const char *path);

#endif

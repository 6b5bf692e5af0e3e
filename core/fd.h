/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors that came from elsewhere: what kind they are, and using them without blocking and
 * without disturbing whoever else has them.
 */
#ifndef VST_CORE_FD_H
#define VST_CORE_FD_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "error.h"

enum vst_fd_kind {
    VST_FD_SOCKET,
    VST_FD_PIPE,
    VST_FD_TERMINAL,
    VST_FD_DEVICE, /* anything else that the event loop can watch */
    VST_FD_FILE,   /* regular file, block device, /dev/null: what it cannot watch */
};

/* "socket", "pipe", ... */
const char *vst_fd_kind_name(enum vst_fd_kind kind);

int vst_fd_kind(int fd, enum vst_fd_kind *ret_kind, struct vst_error *ret_err);

/*
 * Makes `fd` close-on-exec and its reads and writes non-blocking. O_NONBLOCK belongs to the open
 * file description, which a shell or a parent may share. So a pipe or terminal is opened anew
 * under the same number; a socket needs nothing, as vst_fd_read() and vst_fd_write() pass
 * MSG_DONTWAIT; and only for what remains is the flag set on the shared description: then
 * *ret_restore is true, and vst_fd_close() has to take it back.
 */
int vst_fd_unblock(int fd, enum vst_fd_kind kind, bool *ret_restore, struct vst_error *ret_err);
void vst_fd_close(int fd, bool restore);

/* As readv() and writev(), but neither blocks, is interrupted, or raises SIGPIPE. */
ssize_t vst_fd_read(int fd, enum vst_fd_kind kind, struct iovec *into);
ssize_t vst_fd_write(int fd, enum vst_fd_kind kind, struct iovec *from, int count);

/*
 * Opens what must be a regular file, to read it: the descriptor, or -1. Whoever opened a FIFO would
 * wait for somebody to write into it. `label` begins the error's text.
 */
int vst_open_regular(const char *path, const char *label, struct vst_error *ret_err);

/* Closes *fd if it is one, and sets it to -1. */
void vst_close(int *fd);

#endif

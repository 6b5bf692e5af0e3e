/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that QEMU inherits already open: disks and the log of the console. Opened by us, with
 * our rights; checked to be what a disk or a log can be.
 */
#ifndef VST_QEMU_FILES_H
#define VST_QEMU_FILES_H

#include "command-line.h"

/* fds[i] becomes descriptor 3 + i in QEMU; -1 where there is nothing. */
struct vst_files {
    size_t count;
    int fds[];
};

/*
 * Opens what the definition names. The places of both sockets are -1 until vst_files_set(). Touches
 * the disk: for a job of the worker.
 */
struct vst_files *vst_files_open(const struct vst_definition *def, struct vst_error *ret_err);

/* What is expected of the disks that the guest writes to. */
enum vst_disks {
    VST_DISKS_FREE,   /* nobody else has locked them */
    VST_DISKS_SHARED, /* the other end of a migration may have */
    VST_DISKS_NEW,    /* they are still to be made */
};

/* Tells of each that is not so, or could not be opened; also of those that QEMU opens itself, and
 * of a log that could not be written. What has no file (NULL) is not looked at. For a job of the
 * worker, too. */
void vst_files_check(const struct vst_definition *def, enum vst_disks disks,
                     void (*tell)(void *opaque, const struct vst_error *err), void *opaque);

/* Takes *fd. */
void vst_files_set(struct vst_files *files, enum vst_qemu_fd number, int *fd);

/* Closes all. Sets *files to NULL. Accepts NULL. */
void vst_files_free(struct vst_files **files);

#endif

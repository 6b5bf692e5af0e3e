/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making the file of a disk that is copied here: empty, of the size that the guest sees, and never
 * in the place of anything that is there. All of it blocks: for jobs of the worker.
 */
#ifndef VST_DRIVERS_QEMU_NEW_DISK_H
#define VST_DRIVERS_QEMU_NEW_DISK_H

#include <sys/types.h>

#include "core/definition.h"

/* The file that was made, whatever name it has by now. */
struct vst_new_disk {
    dev_t device;
    ino_t inode;
};

/* Whether it could be made; EXISTS when something has its name. */
int vst_new_disk_check(const struct vst_disk *disk, struct vst_error *ret_err);

/* Reads as zeros and takes hardly any room. On failure nothing is left. */
int vst_new_disk_make(const struct vst_disk *disk, uint64_t size, struct vst_new_disk *ret_made,
                      struct vst_error *ret_err);
/* Unless another has its name by now. */
void vst_new_disk_remove(const struct vst_disk *disk, const struct vst_new_disk *made);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of a guest that comes from elsewhere, and those that this host has for it: whether they
 * are as large, and whether there is room for copies. That they are there is files.h's.
 */
#ifndef VST_DRIVERS_QEMU_DISK_CHECK_H
#define VST_DRIVERS_QEMU_DISK_CHECK_H

#include "core/image.h"
#include "files.h"

/* Of each disk of a definition, in its order. */
struct vst_disk_fact {
    uint64_t size;      /* 0: it is not known */
    uint64_t allocated; /* the same */
};

/* What the source says of the disks of `def`; to be free()d. NULL without memory. */
struct vst_disk_fact *vst_disk_facts(const struct vst_definition *def,
                                     struct vst_disk_size *const *sizes);

/* Tells of each disk that is not so. For a job of the worker. */
void vst_disks_check(const struct vst_definition *def, const struct vst_disk_fact *facts,
                     enum vst_disks disks, void (*tell)(void *opaque, const struct vst_error *err),
                     void *opaque);

#endif

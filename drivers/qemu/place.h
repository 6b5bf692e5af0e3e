/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What root.c, place.c and place-files.c share, and nobody else sees. The contract is in root.h.
 */
#ifndef VST_QEMU_PLACE_H
#define VST_QEMU_PLACE_H

#include "root.h"

/* Entries that begin with a dot are no domains: places that are being made or removed. */
#define VST_ENTRY_MAKING ".making-"
#define VST_ENTRY_MAX (VST_NAME_MAX + sizeof(VST_ENTRY_MAKING))

struct vst_root {
    char *path; /* for messages */
    int fd;
};

struct vst_place {
    struct vst_root *root;
    char name[VST_NAME_MAX + 1];
    char entry[VST_ENTRY_MAX]; /* in the root; not the name before it has taken that */
    int fd;
    int lock_fd;
};

/* For an entry that begins with VST_ENTRY_MAKING: removes it, and ends its QEMU, if nobody has hold
 * of it. */
void vst_place_sweep(struct vst_root *root, const char *entry);

/* Removes what is known to be ours from an entry, and the entry if it is empty then. */
void vst_place_scrap(const struct vst_root *root, const char *entry, int fd);

/* The process that has the lock of the place behind `fd`: 0 nobody, -1 somebody unknown. */
int vst_place_holder(int fd);

/* Whether what is in an entry is a guest, or is to become one, or has crashed, and has the UUID. */
bool vst_place_has_uuid(const struct vst_root *root, const char *entry, const char *uuid);

/* Writes all of it, or fails with errno: a write that is cut short has found no room for the rest.
 */
int vst_place_write(int fd, const char *text, size_t length);

/* Reads a small file whole; `ret_text` is terminated. -1 with errno. */
ssize_t vst_place_read(int fd, const char *file, char *ret_text, size_t room);

#endif

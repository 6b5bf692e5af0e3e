/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Before a restore: everything that keeps this host from running a guest now, told at once. What
 * only turns out when QEMU does it is not here.
 */
#ifndef VST_DRIVERS_QEMU_CHECK_H
#define VST_DRIVERS_QEMU_CHECK_H

#include "disk-check.h"
#include "guest.h"

struct vst_check;

/*
 * `saved` is the guest of the image, `def` what is to become of it; NULL for one that migrates, of
 * whose disks `disks` says what is expected. `fn` comes from the loop, once, and the check is over
 * then; unless vst_check_cancel() came first. `err` is NULL when nothing stands against it. Else
 * INCOMPATIBLE with every reason, or EXISTS when the name or the UUID being taken is the only one;
 * or what kept us from finding out.
 */
struct vst_check *vst_check_start(struct vst_qemu *qemu, const struct vst_definition *saved,
                                  const struct vst_definition *def, enum vst_disks disks,
                                  void (*fn)(void *opaque, const struct vst_error *err),
                                  void *opaque, struct vst_error *ret_err);

/* That it may come by post-copy is looked at, too. Right after the start. */
void vst_check_post_copy(struct vst_check *check);

/* One reason more, which the caller knows. Right after the start. */
void vst_check_add(struct vst_check *check, const struct vst_error *err);

/* What the source says of its disks is compared with those here. Right after the start; -1 without
 * memory. */
int vst_check_sizes(struct vst_check *check, struct vst_disk_size *const *sizes,
                    struct vst_error *ret_err);

/* What the rules of this host have against it, likewise: the files that they name are not looked
 * at. NULL: nothing. */
void vst_check_object(struct vst_check *check, const struct vst_objection *objections);

/* Sets *check to NULL. Accepts NULL. */
void vst_check_cancel(struct vst_check **check);

#endif

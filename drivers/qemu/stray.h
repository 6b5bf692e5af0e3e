/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strays: guests that a migration was taking away from here when its journal was lost, or another
 * was put in its place. Whether such a guest runs elsewhere nobody here knows, so the one that is
 * found paused stays so until people say whose it is. One that is found running is the guest.
 */
#ifndef VST_DRIVERS_QEMU_STRAY_H
#define VST_DRIVERS_QEMU_STRAY_H

#include "guest.h"

/* The journal is open, and no migration goes on with this guest, though its place has the word
 * `job` that one takes it away. */
void vst_stray_mark(struct vst_qemu *qemu, struct vst_place *place,
                    const struct vst_place_job *job);

/* Afterwards: whether it runs, which makes it the guest again, is to be known without being asked.
 */
void vst_stray_look(struct vst_qemu *qemu, const char *name);
void vst_strays_close(struct vst_qemu *qemu);

/* As migrations, in doubt: at most `room`. Their number; that of all, if `infos` is NULL. */
size_t vst_strays_list(const struct vst_qemu *qemu, struct vst_migration_info *infos, size_t room);

/* People's word on the one with that token. False: there is none; else `op` will be completed. */
bool vst_stray_order(struct vst_qemu *qemu, const char *token, enum vst_migration_order order,
                     const struct vst_caller *caller, struct vst_op *op);

/* IN_DOUBT: what is left of a guest of this name does not make way for another. */
int vst_stray_check(const struct vst_qemu *qemu, const char *name, struct vst_error *ret_err);

/* IN_DOUBT: nothing is done with it. */
int vst_stray_refuse(const struct vst_place_job *job, const char *name, struct vst_error *ret_err);
/* Why, for people. */
void vst_stray_tell(const struct vst_place_job *job, char *ret_text, size_t room);

#endif

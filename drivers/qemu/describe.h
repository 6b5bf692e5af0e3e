/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of a guest to whoever lists it or asks how it is: by this connection, which has hold
 * of it, or by what can be seen from outside. Whom to ask first, and for how long, is list.c's.
 */
#ifndef VST_DRIVERS_QEMU_DESCRIBE_H
#define VST_DRIVERS_QEMU_DESCRIBE_H

#include "guest.h"

/* One that this connection has. `err`, or NULL: it is there, but deaf. */
void vst_describe_guest(const struct vst_qemu *qemu, const struct vst_guest *guest,
                        const struct vst_error *err, struct vst_domain_info *ret_info);

/* One that cannot be asked, for the reason in `err`. -1: it is not there any more. */
int vst_describe_place(const struct vst_qemu *qemu, const char *name, const struct vst_error *err,
                       struct vst_domain_info *ret_info);

/* Its UUID, as people and the daemon want one also of a guest whose definition is lost: NULL. */
const char *vst_describe_uuid(const struct vst_definition *def);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the installed QEMU can do, asked of itself: a QEMU without a machine is started, questioned
 * through its monitor, and ended. Once per connection, when somebody first wants to know.
 */
#ifndef VST_DRIVERS_QEMU_PROBE_H
#define VST_DRIVERS_QEMU_PROBE_H

#include "guest.h"

struct vst_probe;

/* Somebody who waits for the answers; embedded in each method's own state. */
struct vst_probe_wait {
    LIST_ENTRY(vst_probe_wait) link;
    void (*fn)(void *opaque, const struct vst_probe *probe, const struct vst_error *err);
    void *opaque;
    bool waiting;
};

/* `wait->fn` comes from the loop, once, unless vst_probe_unwait() came first. */
void vst_probe_get(struct vst_qemu *qemu, struct vst_probe_wait *wait);
void vst_probe_unwait(struct vst_probe_wait *wait);

/* Fails with every reason why this host cannot run `def` now: INCOMPATIBLE, or EXISTS when the name
 * being taken is the only one. */
int vst_probe_check(const struct vst_probe *probe, struct vst_root *root,
                    const struct vst_definition *def, struct vst_error *ret_err);

/* Sets *probe to NULL. Accepts NULL. */
void vst_probe_free(struct vst_probe **probe);

#endif

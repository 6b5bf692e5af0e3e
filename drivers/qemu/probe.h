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

/* `wait->fn` comes from the loop, once, unless vst_probe_unwait() came first. -1: no memory. */
int vst_probe_get(struct vst_qemu *qemu, struct vst_probe_wait *wait, struct vst_error *ret_err);
void vst_probe_unwait(struct vst_probe_wait *wait);

/* By its name or its alias. */
bool vst_probe_knows_machine(const struct vst_probe *probe, const char *name);
/* How many CPUs such a machine may have; 0: it is not known. */
int64_t vst_probe_most_cpus(const struct vst_probe *probe, const char *machine);
/* A model, as what stands behind `-cpu`, with features or without. */
bool vst_probe_knows_cpu(const struct vst_probe *probe, const char *cpu);
/* As what stands behind `-device`. True also of some that it may lack. */
bool vst_probe_knows_device(const struct vst_probe *probe, const char *name);
/* Why no guest can come here by post-copy; NULL: it can. */
const struct vst_error *vst_probe_post_copy(const struct vst_probe *probe);
const char *vst_probe_version(const struct vst_probe *probe);

/* Sets *probe to NULL. Accepts NULL. */
void vst_probe_free(struct vst_probe **probe);

#endif

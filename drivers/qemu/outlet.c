/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A socket pair or a pipe, and what stands on our end of it. Breaking off closes, and leaves the
 * rest to QEMU or the drain.
 */
#include "outlet.h"

#include <errno.h>
#include <fcntl.h>

#include "core/fd.h"
#include "migration.h"

static int take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

static int open_ends(struct vst_outlet *outlet, struct vst_drain_ends *drain, int *ret_ours,
                     int *ret_qemus, struct vst_error *ret_err)
{
    if (drain) {
        *ret_ours = take(&drain->ours);
        *ret_qemus = take(&drain->qemus);
        outlet->leash = take(&drain->leash);
        return 0;
    }
    if (vst_migration_sockets(ret_ours, ret_qemus, ret_err) < 0)
        return -1;
    vst_migration_deepen(*ret_qemus);
    outlet->socket = fcntl(*ret_ours, F_DUPFD_CLOEXEC, 0);
    if (outlet->socket < 0)
        return vst_error_system(ret_err, errno, "a second descriptor of the socket");
    return 0;
}

/* Takes `ours` on success. The records are on top. */
static struct vst_channel *stack(struct vst_outlet *outlet, struct event_base *base, int *ours,
                                 const struct vst_image_header *header, int zstd_level,
                                 struct vst_error *ret_err)
{
    struct vst_channel *raw = vst_channel_fd(base, ours, ret_err);
    struct vst_channel *gate = raw ? vst_channel_gate(raw, ret_err) : NULL;
    struct vst_channel *image = gate ? vst_image_encode(gate, header, zstd_level, ret_err) : NULL;

    if (!image)
        vst_channel_free(gate ? &gate : &raw);
    outlet->gate = gate;
    return image;
}

int vst_outlet_open(struct vst_outlet *outlet, struct event_base *base,
                    struct vst_drain_ends *drain, const struct vst_image_header *header,
                    int zstd_level, int *ret_qemus, struct vst_channel **ret_image,
                    struct vst_error *ret_err)
{
    int ours = -1;

    *ret_qemus = -1;
    *outlet = VST_OUTLET_CLOSED;
    *ret_image = NULL;
    if (open_ends(outlet, drain, &ours, ret_qemus, ret_err) == 0)
        *ret_image = stack(outlet, base, &ours, header, zstd_level, ret_err);
    if (*ret_image)
        return 0;
    vst_close(&ours);
    vst_close(ret_qemus);
    return -1;
}

void vst_outlet_complete(struct vst_outlet *outlet)
{
    vst_gate_open(outlet->gate);
}

void vst_outlet_break(struct vst_outlet *outlet)
{
    if (outlet->socket >= 0)
        vst_migration_break(outlet->socket);
    vst_close(&outlet->leash);
}

void vst_outlet_close(struct vst_outlet *outlet)
{
    vst_close(&outlet->socket);
    vst_close(&outlet->leash);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The channels between QEMU's socket and the stream of a migration: the guest's state one way, what
 * QEMU says back the other way, both as records with their END, so that nothing damaged, reordered
 * or cut short reaches either QEMU as if it were whole.
 */
#ifndef VST_DRIVERS_QEMU_GUEST_CHANNELS_H
#define VST_DRIVERS_QEMU_GUEST_CHANNELS_H

#include "handshake.h"

struct vst_guest_channels {
    struct vst_channel *source; /* what QEMU says, encoded */
    struct vst_channel *gate;   /* part of `source`, whose end is believed only when it is open; or
                                   NULL, without records */
    struct vst_channel *sink;   /* what QEMU hears, decoded */
    int spare;                  /* the socket once more, to break it; or -1 */
};

/*
 * On a socket of vst_migration_sockets(), which is taken on success. `zstd_level` is for what QEMU
 * says, 0 for none; `expand` for what it hears. `handshake` is what a stream begins with that is
 * not the first one; else NULL. Both channels are the caller's.
 */
int vst_guest_channels_open(struct event_base *base, int *fd, int zstd_level, bool expand,
                            struct vst_handshake *handshake,
                            struct vst_guest_channels *ret_channels, struct vst_error *ret_err);

/* The same without records, for a protocol that has an end of its own: there is no gate. */
int vst_guest_channels_open_raw(struct event_base *base, int *fd,
                                struct vst_guest_channels *ret_channels, struct vst_error *ret_err);

#endif

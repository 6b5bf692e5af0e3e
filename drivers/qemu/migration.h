/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What save, restore and migration say to QEMU about its migration machinery, and what it says.
 * Pure: builds arguments, reads answers.
 */
#ifndef VST_DRIVERS_QEMU_MIGRATION_H
#define VST_DRIVERS_QEMU_MIGRATION_H

#include <stdint.h>

#include "core/error.h"

struct json_object;

/* MigrationStatus of QEMU's schema, as far as it makes a difference here. */
enum vst_migration_status {
    VST_MIGRATION_NONE,
    VST_MIGRATION_ACTIVE, /* setup, active, device, cancelling, ...: wait */
    VST_MIGRATION_PRE_SWITCHOVER,
    VST_MIGRATION_POST_COPY,        /* the rest of the memory follows */
    VST_MIGRATION_POST_COPY_PAUSED, /* the same, and QEMU waits for a new stream */
    VST_MIGRATION_COMPLETED,
    VST_MIGRATION_CANCELLED,
    VST_MIGRATION_FAILED,
};

/* From the data of a MIGRATION event, or the value of query-migrate. */
enum vst_migration_status vst_migration_status(struct json_object *from);

/* Bytes of memory that have left, by query-migrate. */
uint64_t vst_migration_moved(struct json_object *from);

/* query-migrate's error-desc, or NULL. Valid as long as `from`. */
const char *vst_migration_reason(struct json_object *from);

/*
 * The value of `capabilities` of migrate-set-capabilities: those of a NULL-terminated list are on,
 * and of all others that this driver ever sets each is off. QEMU keeps them for its life, and who
 * had the guest before, another process or another host, may have left any of them on. NULL
 * without memory.
 */
struct json_object *vst_migration_capabilities(const char *const *on);

/* The value of max-bandwidth that takes off QEMU's brake of 128 MiB/s. */
struct json_object *vst_migration_unlimited(void);

/* A socket pair for QEMU's end and ours, with large buffers. Sockets and not pipes: QEMU cannot
 * cancel a migration into a pipe whose reader stands still. */
int vst_migration_sockets(int *ret_ours, int *ret_qemus, struct vst_error *ret_err);
/* QEMU's end of such a pair takes more before QEMU has to wait, for who is only after throughput:
 * what waits in it waits in front of every answer, too. */
void vst_migration_deepen(int qemus);

/*
 * Our end of the socket pair fails QEMU's, now: the migration fails with it. A QEMU that waits for
 * us to read may do so with its lock held, and then hears no command, not even to cancel.
 */
void vst_migration_break(int ours);

#endif

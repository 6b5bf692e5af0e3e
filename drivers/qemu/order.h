/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders to a migration, by whoever may give them.
 */
#ifndef VST_DRIVERS_QEMU_ORDER_H
#define VST_DRIVERS_QEMU_ORDER_H

#include "core/op.h"
#include "virstream/migration.h"

struct vst_move;

/* `change` is for VST_MIGRATION_SET. Completes `op`: when it is obeyed, or cannot be, and why. The
 * move may be gone then. */
void vst_move_order(struct vst_move *move, enum vst_migration_order order,
                    const struct vst_migration_change *change, struct vst_op *op);

#endif

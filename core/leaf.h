/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A leaf that no descriptor announces: one in memory, or one whose bytes the worker moves. It says
 * which directions are ready now; whatever of that is wanted is announced in a turn, and again in
 * the next one for as long as both last.
 */
#ifndef VST_CORE_LEAF_H
#define VST_CORE_LEAF_H

#include "channel.h"
#include "turn.h"

struct vst_leaf {
    struct vst_channel ch;
    unsigned (*ready)(const struct vst_leaf *); /* the mask of vst_dir that is ready now */
    struct vst_turn turn;
};

/* Cannot fail. */
void vst_leaf_init(struct vst_leaf *leaf, const struct vst_channel_ops *ops,
                   struct event_base *base, unsigned (*ready)(const struct vst_leaf *));

/* The `arm` of its ops. */
void vst_leaf_arm(struct vst_channel *ch, unsigned dirs);

/* Something may have become ready. */
void vst_leaf_wake(struct vst_leaf *leaf);

/* Part of its `destroy`. */
void vst_leaf_fini(struct vst_leaf *leaf);

#endif

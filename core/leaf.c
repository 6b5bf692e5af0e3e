/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Announcing what is wanted and ready, for leaves without a descriptor.
 */
#include "leaf.h"

static void announce(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_leaf *leaf = opaque;
    unsigned dirs = leaf->ready(leaf) & leaf->ch.wanted;

    (void)fd, (void)what;
    if (!dirs)
        return;
    vst_turn_schedule(&leaf->turn);
    vst_channel_announce(&leaf->ch, dirs);
}

void vst_leaf_init(struct vst_leaf *leaf, const struct vst_channel_ops *ops,
                   struct event_base *base, unsigned (*ready)(const struct vst_leaf *))
{
    vst_channel_init(&leaf->ch, ops, base, NULL);
    leaf->ready = ready;
    vst_turn_init(&leaf->turn, base, announce, leaf);
}

void vst_leaf_wake(struct vst_leaf *leaf)
{
    if (leaf->ready(leaf) & leaf->ch.wanted)
        vst_turn_schedule(&leaf->turn);
}

void vst_leaf_arm(struct vst_channel *ch, unsigned dirs)
{
    (void)dirs;
    vst_leaf_wake((struct vst_leaf *)ch);
}

void vst_leaf_fini(struct vst_leaf *leaf)
{
    vst_turn_cancel(&leaf->turn);
}

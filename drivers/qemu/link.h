/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's way to the destination: a connection that is opened when there is something to say,
 * and opened anew when it was lost. It knows nothing of what the messages mean; who asks again, and
 * when, is the hand-over machine.
 */
#ifndef VST_DRIVERS_QEMU_LINK_H
#define VST_DRIVERS_QEMU_LINK_H

#include "core/migration.h"

struct vst_link_cb {
    void (*answered)(void *opaque, const struct vst_migrate_message *answer);
    /* Of what was said there is no answer, and none will come. */
    void (*down)(void *opaque, const struct vst_error *err);
    void *opaque;
};

struct vst_link;

/* `from`, which outlives it, says with which credentials. From the loop only, as all of it. */
struct vst_link *vst_link_new(struct vst_conn *from, const char *uri, const struct vst_link_cb *cb,
                              struct vst_error *ret_err);
/* Nothing is called any more. Sets *link to NULL. Accepts NULL. */
void vst_link_free(struct vst_link **link);

/* `message` and what it points to stay the caller's, until it is answered, down, or the next. */
void vst_link_say(struct vst_link *link, const struct vst_migrate_message *message);
/* The connection, for a stream; NULL: there is none now. */
struct vst_conn *vst_link_conn(struct vst_link *link);

#endif

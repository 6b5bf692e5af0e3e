/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A relay: the source's way to a destination that only the client reaches. What is to be said, and
 * what is to be moved, waits here until the client comes for it, as errands. It takes the place of
 * a connection in link.c, and knows as little of what the messages mean.
 *
 * The client comes for one errand after the other, and is at the door while there is none. When it
 * is not, for longer than it takes to come again, or when its connection is lost while it waits,
 * the link is down. Another client, or the same one, may come later, and is told what is still to
 * be done. One that comes while the other waits takes its place; but where the migration would be
 * given up by that, it is refused.
 */
#ifndef VST_DRIVERS_QEMU_RELAY_H
#define VST_DRIVERS_QEMU_RELAY_H

#include "core/driver.h"
#include "link.h"

struct vst_qemu;
struct vst_relay;

/* In front of the URI of a destination that is reached like this, in the journal and for people. */
#define VST_RELAY_PREFIX "relay:"
bool vst_relay_is_meant(const char *uri);

/* All is copied. Whom `cb` calls, from the loop, must outlive it, or leave. */
struct vst_relay *vst_relay_new(struct vst_qemu *qemu, const struct vst_link_relay *of,
                                const struct vst_link_cb *cb, struct vst_error *ret_err);
/* Nothing is called any more: what has been told can still be fetched. Sets *relay to NULL. Accepts
 * NULL. */
void vst_relay_leave(struct vst_relay **relay);

/* As those of link.h. */
void vst_relay_say(struct vst_relay *relay, const struct vst_migrate_message *message);
struct vst_op *vst_relay_send(struct vst_relay *relay, const char *part, struct vst_stream *stream,
                              const struct vst_done *done);
/* What has become of the migration; NULL is well. The first word counts, but for "in doubt". */
void vst_relay_tell(struct vst_relay *relay, const struct vst_error *err);

/* The client's calls, for the token of its operation; see driver.h. */
struct vst_relay_call {
    const char *token;
    const struct vst_caller *caller;
    struct vst_op *op;
};
void vst_relay_fetch(struct vst_qemu *qemu, const struct vst_relay_call *call, uint64_t after);
void vst_relay_answer(struct vst_qemu *qemu, const struct vst_relay_call *call, uint64_t number,
                      const struct vst_migrate_message *answer, const struct vst_error *err);
void vst_relay_carry(struct vst_qemu *qemu, const struct vst_relay_call *call, const char *part,
                     struct vst_stream *stream);

/* The connection goes, and no operation is left. */
void vst_relays_close(struct vst_qemu *qemu);

#endif

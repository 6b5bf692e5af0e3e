/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's way to the destination: a connection that is opened when there is something to say,
 * and opened anew when it was lost; or a client that relays (relay.h). It knows nothing of what the
 * messages mean; who asks again, and when, is the hand-over machine.
 */
#ifndef VST_DRIVERS_QEMU_LINK_H
#define VST_DRIVERS_QEMU_LINK_H

#include "core/migration.h"

struct vst_link_cb {
    void (*answered)(void *opaque, const struct vst_migrate_message *answer);
    /* Of what was said there is no answer, and none will come. */
    void (*down)(void *opaque, const struct vst_error *err);
    /* What vst_link_open() asked for is there; or a client has come that relays: what has no answer
     * may be asked again. */
    void (*up)(void *opaque);
    /* Whether it would be given up if the client were lost that relays now. Only a relay asks. */
    bool (*is_at_stake)(void *opaque);
    void *opaque;
};

struct vst_link;
struct vst_qemu;

/* For which migration a client is to relay. */
struct vst_link_relay {
    const char *token;
    const char *owner; /* who may */
    bool expected;     /* he will come at once */
};

/* `from`, which outlives it, says with which credentials. From the loop only, as all of it. */
struct vst_link *vst_link_new(struct vst_conn *from, const char *uri, const struct vst_link_cb *cb,
                              struct vst_error *ret_err);
/* By a client that relays, see vst_relay_new(). */
struct vst_link *vst_link_new_relay(struct vst_qemu *qemu, const struct vst_link_relay *relay,
                                    const struct vst_link_cb *cb, struct vst_error *ret_err);
/* Nothing is called any more. Sets *link to NULL. Accepts NULL. */
void vst_link_free(struct vst_link **link);

/* Opens what is not up, before there is anything to say: up() or down() follows. */
void vst_link_open(struct vst_link *link);
/* `message` and what it points to stay the caller's, until it is answered, down, or the next. */
void vst_link_say(struct vst_link *link, const struct vst_migrate_message *message);
/* Whether there is a way for streams now. */
bool vst_link_is_up(const struct vst_link *link);
/* Then: as vst_conn_migrate_stream(). */
struct vst_op *vst_link_move(struct vst_link *link, const char *token, const char *part,
                             struct vst_stream *stream, const struct vst_done *done);

/* What has become of the migration, for whoever relays; NULL is well. */
void vst_link_tell(struct vst_link *link, const struct vst_error *err);

/* Asks whether the other host is there at all, unless that is being asked, or nobody can be. */
void vst_link_ping(struct vst_link *link);
/* When it answered that last, by vst_now_us(); 0: never. */
int64_t vst_link_answered_us(const struct vst_link *link);

#endif

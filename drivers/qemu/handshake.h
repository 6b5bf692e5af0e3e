/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What two QEMUs say to each other on a new stream, before a post-copy that was broken goes on: the
 * source asks for each block of memory what has been received of it, is answered with a bitmap, and
 * tells to resume, which is acknowledged. Not what they say before or after that.
 *
 * A QEMU older than 8.2 does not survive that the stream ends meanwhile (it is in
 * postcopy-recover): the destination's crashes, and the source's waits for answers for ever and
 * takes no other stream. So it is known here how far they are, QEMU hears nothing but whole
 * messages, and one that has to be left in the middle is told the rest first, as if the other one
 * had: then it is in post-copy again, and takes the end of its stream for what it is.
 */
#ifndef VST_DRIVERS_QEMU_HANDSHAKE_H
#define VST_DRIVERS_QEMU_HANDSHAKE_H

#include "core/channel.h"

enum vst_handshake_side { VST_HANDSHAKE_SOURCE, VST_HANDSHAKE_DESTINATION }; /* where QEMU is */

struct vst_handshake;

/* `label` is for the trace. With one reference; NULL without memory. */
struct vst_handshake *vst_handshake_new(enum vst_handshake_side side, const char *label,
                                        struct vst_error *ret_err);
struct vst_handshake *vst_handshake_ref(struct vst_handshake *handshake);
/* Sets *handshake to NULL. Accepts NULL. */
void vst_handshake_unref(struct vst_handshake **handshake);
/* On QEMU's socket, in both directions; has a reference of its own. */
struct vst_channel *vst_channel_handshake(struct vst_channel *lower,
                                          struct vst_handshake *handshake,
                                          struct vst_error *ret_err);

/* The source's QEMU is told of its stream. The destination's begins with the stream itself. */
void vst_handshake_begin(struct vst_handshake *handshake);
/* It has begun, and is not over: QEMU must not see the end of its stream now. Accepts NULL. */
bool vst_handshake_is_open(const struct vst_handshake *handshake);

enum vst_left {
    VST_LEFT_ALL,    /* QEMU has heard all that it needs: its stream may end */
    VST_LEFT_ASKING, /* a source, and it will ask more */
    VST_LEFT_FULL,   /* there is no room for what it is to hear */
    VST_LEFT_GONE,   /* it cannot hear it, or memory has run out */
};

/* Of one that is open: nothing passes the channels any more, and QEMU is told on `fd`, our end,
 * what it has to hear yet. To be repeated unless that was all. */
enum vst_left vst_handshake_leave(struct vst_handshake *handshake, int fd);
/* What the source's QEMU has said, since or before. */
void vst_handshake_hear(struct vst_handshake *handshake, const unsigned char *bytes, size_t n);

/* ---- for its channel ---- */

bool vst_handshake_is_over(const struct vst_handshake *handshake);
bool vst_handshake_has_left(const struct vst_handshake *handshake);
/* What QEMU says is to be heard. */
bool vst_handshake_counts(const struct vst_handshake *handshake);
/* What QEMU is to be given next. */
struct evbuffer *vst_handshake_out(const struct vst_handshake *handshake);
/* Takes some of the first `max` bytes for QEMU, at least one, until it is over. */
int vst_handshake_take(struct vst_handshake *handshake, struct evbuffer *from, size_t max,
                       struct vst_error *ret_err);
/* What the other side says is wrong: -1. */
int vst_handshake_refuse(struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole frames on a channel, one at a time: for the greeting alone, which must not read one byte
 * more than belongs to it, because another protocol may begin there. Memory is held only while a
 * frame is under way.
 */
#ifndef VST_REMOTE_GREETING_FRAMES_H
#define VST_REMOTE_GREETING_FRAMES_H

#include "core/channel.h"
#include "frame.h"

struct vst_frames {
    struct evbuffer *in;  /* what there is of the frame that is coming */
    struct evbuffer *out; /* what is to go out */
    struct vst_frame next;
    bool headed; /* `next` is known, its body is coming */
};

int vst_frames_init(struct vst_frames *frames, struct vst_error *ret_err);
void vst_frames_fini(struct vst_frames *frames);

/* A bit for each type. Those of the greeting are low numbers. */
#define VST_FRAME_BIT(type) (UINT64_C(1) << (type))

/*
 * OK: `frames->next` is here, its body is where *ret_body says, until vst_frames_drop(). FAIL: the
 * channel has failed or ended, or *ret_err says PROTOCOL: no frame, or not one of `allowed`, which
 * is known before its body is read.
 */
enum vst_io vst_frames_read(struct vst_frames *frames, struct vst_channel *ch, uint64_t allowed,
                            const char **ret_body, struct vst_error *ret_err);
/* The frame has been dealt with; its bytes are wiped. */
void vst_frames_drop(struct vst_frames *frames);

int vst_frames_put(struct vst_frames *frames, enum vst_frame_type type, const void *body,
                   size_t length, struct vst_error *ret_err);
/* OK: everything is out. */
enum vst_io vst_frames_flush(struct vst_frames *frames, struct vst_channel *ch);

#endif

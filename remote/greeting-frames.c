/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exact reads and queued writes of the greeting's frames. What they mean is greeting.c's.
 */
#include "greeting-frames.h"

#include <string.h>

#include "core/buffer.h"

int vst_frames_init(struct vst_frames *frames, struct vst_error *ret_err)
{
    *frames = (struct vst_frames){.in = evbuffer_new(), .out = evbuffer_new()};
    if (frames->in && frames->out)
        return 0;
    vst_frames_fini(frames);
    return vst_error_no_memory(ret_err);
}

void vst_frames_fini(struct vst_frames *frames)
{
    if (frames->in)
        vst_frames_drop(frames);
    if (frames->in)
        evbuffer_free(frames->in);
    if (frames->out)
        evbuffer_free(frames->out);
    *frames = (struct vst_frames){0};
}

/* ---- reading ---- */

/* Until `need` bytes are here, and never more. */
static enum vst_io gather(struct vst_frames *frames, struct vst_channel *ch, size_t need)
{
    size_t have = evbuffer_get_length(frames->in), n;
    enum vst_io io = VST_IO_OK;

    while (io == VST_IO_OK && have < need) {
        io = vst_channel_read(ch, frames->in, need - have, &n);
        have = evbuffer_get_length(frames->in);
    }
    return io;
}

static int take_head(struct vst_frames *frames, uint64_t allowed, struct vst_error *ret_err)
{
    unsigned char head[VST_FRAME_HEAD];

    evbuffer_remove(frames->in, head, sizeof(head));
    if (vst_frame_get(head, &frames->next, ret_err) < 0)
        return -1;
    if (!(allowed & VST_FRAME_BIT(frames->next.type)))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s has no place here",
                             vst_frame_name(frames->next.type));
    if (frames->next.id != 0) /* ERROR may have one later */
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s of a call before any was made",
                             vst_frame_name(frames->next.type));
    frames->headed = true;
    return 0;
}

static enum vst_io ended(enum vst_io io, const struct vst_channel *ch, struct vst_error *ret_err)
{
    if (io == VST_IO_FAIL)
        vst_error_copy(ret_err, vst_channel_error(ch));
    if (io != VST_IO_EOF)
        return io;
    vst_error_set(ret_err, VST_ERR_LOST, "the connection was closed");
    return VST_IO_FAIL;
}

enum vst_io vst_frames_read(struct vst_frames *frames, struct vst_channel *ch, uint64_t allowed,
                            const char **ret_body, struct vst_error *ret_err)
{
    enum vst_io io = VST_IO_OK;
    unsigned char *body;

    if (!frames->headed) {
        io = gather(frames, ch, VST_FRAME_HEAD);
        if (io == VST_IO_OK && take_head(frames, allowed, ret_err) < 0)
            return VST_IO_FAIL;
    }
    if (io == VST_IO_OK)
        io = gather(frames, ch, frames->next.length);
    if (io != VST_IO_OK)
        return ended(io, ch, ret_err);
    body = evbuffer_pullup(frames->in, -1);
    if (!body && frames->next.length) {
        vst_error_no_memory(ret_err);
        return VST_IO_FAIL;
    }
    if (!vst_frame_intact(&frames->next, body)) {
        vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s: its body is damaged",
                      vst_frame_name(frames->next.type));
        return VST_IO_FAIL;
    }
    *ret_body = body ? (const char *)body : "";
    return VST_IO_OK;
}

static void wipe(void *opaque, const void *bytes, size_t n)
{
    (void)opaque;
    explicit_bzero((void *)bytes, n);
}

void vst_frames_drop(struct vst_frames *frames)
{
    size_t length = evbuffer_get_length(frames->in);

    vst_buffer_walk(frames->in, 0, length, wipe, NULL);
    evbuffer_drain(frames->in, length);
    frames->headed = false;
}

/* ---- writing ---- */

int vst_frames_put(struct vst_frames *frames, enum vst_frame_type type, const void *body,
                   size_t length, struct vst_error *ret_err)
{
    const struct vst_frame frame = {
        .length = (uint32_t)length,
        .type = type,
        .sum = vst_frame_sum(body, length),
    };
    unsigned char head[VST_FRAME_HEAD];

    if (length > VST_FRAME_GREETING_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s of %zu bytes is too large",
                             vst_frame_name(type), length);
    vst_frame_put(&frame, head);
    if (evbuffer_expand(frames->out, sizeof(head) + length) < 0 ||
        evbuffer_add(frames->out, head, sizeof(head)) < 0 ||
        evbuffer_add(frames->out, body, length) < 0)
        return vst_error_no_memory(ret_err);
    return 0;
}

enum vst_io vst_frames_flush(struct vst_frames *frames, struct vst_channel *ch)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(frames->out))
        io = vst_channel_write(ch, frames->out, evbuffer_get_length(frames->out), &n);
    return io;
}

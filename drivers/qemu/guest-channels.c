/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two stacks of layers on one socket, each on a descriptor of its own.
 */
#include "guest-channels.h"

#include <errno.h>
#include <fcntl.h>

#include "core/codec.h"
#include "core/fd.h"
#include "core/record.h"

enum { LAYER_LIMIT = 256 * 1024 };

/* Puts a codec on *ch, on the way that bytes take there; frees both on failure. */
static void push(struct vst_channel **ch, enum vst_dir dir, struct vst_codec *codec,
                 struct vst_error *ret_err)
{
    struct vst_channel *layer = NULL;

    if (*ch && codec)
        layer = vst_channel_codec(*ch, dir == VST_READ ? codec : NULL,
                                  dir == VST_WRITE ? codec : NULL, LAYER_LIMIT, ret_err);
    if (!layer) {
        vst_codec_free(&codec);
        vst_channel_free(ch);
    }
    *ch = layer;
}

static struct vst_channel *open_socket(struct event_base *base, int *fd,
                                       struct vst_handshake *handshake, struct vst_error *ret_err)
{
    struct vst_channel *raw = vst_channel_fd(base, fd, ret_err);
    struct vst_channel *top = raw;

    if (raw && handshake)
        top = vst_channel_handshake(raw, handshake, ret_err);
    if (!top)
        vst_channel_free(&raw);
    return top;
}

static struct vst_channel *open_source(struct event_base *base, int *fd, int zstd_level,
                                       struct vst_handshake *handshake,
                                       struct vst_channel **ret_gate, struct vst_error *ret_err)
{
    struct vst_channel *raw = open_socket(base, fd, handshake, ret_err);
    struct vst_channel *top = raw ? vst_channel_gate(raw, ret_err) : NULL;

    if (!top)
        vst_channel_free(&raw);
    *ret_gate = top;
    if (zstd_level)
        push(&top, VST_READ, vst_codec_zstd_compress(zstd_level, ret_err), ret_err);
    push(&top, VST_READ, vst_codec_records_encode(NULL, 0, ret_err), ret_err);
    return top;
}

static struct vst_channel *open_sink(struct event_base *base, int *fd, bool expand,
                                     struct vst_handshake *handshake, struct vst_error *ret_err)
{
    static const struct vst_record_cb no_header;
    struct vst_channel *top = open_socket(base, fd, handshake, ret_err);

    if (expand)
        push(&top, VST_WRITE, vst_codec_zstd_expand(ret_err), ret_err);
    push(&top, VST_WRITE, vst_codec_records_decode(&no_header, ret_err), ret_err);
    return top;
}

int vst_guest_channels_open(struct event_base *base, int *fd, int zstd_level, bool expand,
                            struct vst_handshake *handshake,
                            struct vst_guest_channels *ret_channels, struct vst_error *ret_err)
{
    struct vst_guest_channels channels = {.spare = fcntl(*fd, F_DUPFD_CLOEXEC, 0)};
    int second = fcntl(*fd, F_DUPFD_CLOEXEC, 0);

    if (channels.spare < 0 || second < 0)
        vst_error_system(ret_err, errno, "a second descriptor of the socket");
    else
        channels.source = open_source(base, fd, zstd_level, handshake, &channels.gate, ret_err);
    if (channels.source)
        channels.sink = open_sink(base, &second, expand, handshake, ret_err);
    vst_close(&second);
    if (channels.sink) {
        *ret_channels = channels;
        return 0;
    }
    vst_channel_free(&channels.source);
    vst_close(&channels.spare);
    return -1;
}

int vst_guest_channels_open_raw(struct event_base *base, int *fd,
                                struct vst_guest_channels *ret_channels, struct vst_error *ret_err)
{
    struct vst_guest_channels channels = {.spare = fcntl(*fd, F_DUPFD_CLOEXEC, 0)};
    int second = fcntl(*fd, F_DUPFD_CLOEXEC, 0);

    if (channels.spare < 0 || second < 0)
        vst_error_system(ret_err, errno, "a second descriptor of the socket");
    else
        channels.sink = vst_channel_fd(base, &second, ret_err);
    if (channels.sink)
        channels.source = vst_channel_fd(base, fd, ret_err);
    vst_close(&second);
    if (channels.source) {
        *ret_channels = channels;
        return 0;
    }
    vst_channel_free(&channels.sink);
    vst_close(&channels.spare);
    return -1;
}

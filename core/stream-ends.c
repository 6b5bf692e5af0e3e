/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The application's ends of a stream: descriptors, files, callbacks, another stream, or pushing and
 * pulling, and the layers on them. Each is a channel; what happens with it is stream.c's.
 */
#include "stream-private.h"

#include <errno.h>
#include <string.h>

#include "codec.h"

bool vst_half_may_set(const struct half *half)
{
    if (half->stream->state == STREAM_IDLE && !half->app)
        return true;
    errno = EBUSY;
    return false;
}

static int fail_with_errno(const struct vst_error *err)
{
    if (err->system)
        errno = err->system;
    else
        errno = err->code == VST_ERR_NO_MEMORY ? ENOMEM : EINVAL;
    return -1;
}

static void have_end(struct half *half, struct vst_channel *ch)
{
    half->app = half->leaf = ch;
}

static int set_end(struct half *half, struct vst_channel *ch, const struct vst_error *err)
{
    if (!ch)
        return fail_with_errno(err);
    have_end(half, ch);
    return 0;
}

int vst_stream_set_ends(struct vst_stream *stream, struct vst_channel *source,
                        struct vst_channel *sink)
{
    if ((source && !vst_half_may_set(&stream->up)) || (sink && !vst_half_may_set(&stream->down))) {
        vst_channel_free(&source);
        vst_channel_free(&sink);
        return -1;
    }
    if (source)
        have_end(&stream->up, source);
    if (sink)
        have_end(&stream->down, sink);
    stream->up.ours = source;
    stream->down.ours = sink;
    return 0;
}

static int set_fd(struct half *half, int *fd)
{
    struct vst_error err = {0};

    if (!vst_half_may_set(half))
        return -1;
    return set_end(half, vst_channel_any_fd(half->stream->base, fd, &err), &err);
}

int vst_stream_set_source_fd(struct vst_stream *stream, int *fd)
{
    return set_fd(&stream->up, fd);
}

int vst_stream_set_sink_fd(struct vst_stream *stream, int *fd)
{
    return set_fd(&stream->down, fd);
}

int vst_stream_set_source_file(struct vst_stream *stream, const char *path)
{
    struct vst_error err = {0};

    if (!vst_half_may_set(&stream->up))
        return -1;
    return set_end(&stream->up, vst_channel_open_file(stream->base, path, &err), &err);
}

int vst_stream_set_sink_file(struct vst_stream *stream, const char *path)
{
    struct vst_error err = {0};

    if (!vst_half_may_set(&stream->down))
        return -1;
    return set_end(&stream->down, vst_channel_new_file(stream->base, path, 0, &err), &err);
}

static int refuse_callback(void (*release)(void *opaque), void *opaque)
{
    int number = errno;

    if (release)
        release(opaque);
    errno = number;
    return -1;
}

int vst_stream_set_source_reader(struct vst_stream *stream, const struct vst_reader *reader)
{
    struct vst_error err = {0};

    if (vst_half_may_set(&stream->up) &&
        set_end(&stream->up, vst_channel_reader(stream->base, reader, &err), &err) == 0)
        return 0;
    return refuse_callback(reader->release, reader->opaque);
}

int vst_stream_set_sink_writer(struct vst_stream *stream, const struct vst_writer *writer)
{
    struct vst_error err = {0};

    if (vst_half_may_set(&stream->down) &&
        set_end(&stream->down, vst_channel_writer(stream->base, writer, &err), &err) == 0)
        return 0;
    return refuse_callback(writer->release, writer->opaque);
}

void vst_stream_wake(struct vst_stream *stream)
{
    if (stream->up.leaf)
        vst_channel_app_wake(stream->up.leaf);
    if (stream->down.leaf)
        vst_channel_app_wake(stream->down.leaf);
}

/* ---- pushing and pulling ---- */

static void mailbox_writable(void *opaque)
{
    struct half *half = opaque;
    struct vst_stream *stream = half->stream;

    vst_channel_want(half->mailbox, VST_WRITE, false);
    vst_stream_hold(stream);
    if (stream->cb.writable && !stream->freed)
        stream->cb.writable(stream, stream->opaque);
    vst_stream_let_go(stream);
}

static void mailbox_readable(void *opaque)
{
    struct half *half = opaque;
    struct vst_stream *stream = half->stream;

    vst_channel_want(half->mailbox, VST_READ, false);
    vst_stream_hold(stream);
    if (stream->cb.readable && !stream->freed)
        stream->cb.readable(stream, stream->opaque);
    vst_stream_let_go(stream);
}

int vst_half_use_mailbox(struct half *half, struct vst_error *ret_err)
{
    struct vst_channel *ends[2];
    size_t limit = half->stream->limit / 2;

    /* Half of the stream's limit waits here, half in the pump. */
    if (vst_channel_pair(half->stream->base, limit, ends, ret_err) < 0)
        return -1;
    half->mailbox = ends[0];
    have_end(half, ends[1]);
    if (half->dir == VST_UP) {
        vst_channel_listen(half->mailbox, VST_WRITE, mailbox_writable, half);
    } else {
        vst_channel_listen(half->mailbox, VST_READ, mailbox_readable, half);
        vst_channel_want(half->mailbox, VST_READ, true);
    }
    return 0;
}

/* The mailbox for pushing, made by the first push. NULL: not a stream to push into now. */
static struct vst_channel *push_end(struct vst_stream *stream)
{
    struct vst_error err = {0};

    if (stream->state >= STREAM_FAILING)
        return NULL;
    if (!stream->up.app && stream->state != STREAM_FLOWING &&
        vst_half_use_mailbox(&stream->up, &err) < 0)
        vst_stream_fail(stream, &err);
    return stream->up.mailbox;
}

/* What an end in memory says to the application. Its failure is the stream's: of memory, mostly. */
static enum vst_io tell(struct vst_stream *stream, struct vst_channel *mailbox, enum vst_dir dir,
                        enum vst_io io)
{
    if (io == VST_IO_AGAIN)
        vst_channel_want(mailbox, dir, true);
    if (io == VST_IO_FAIL)
        vst_stream_fail(stream, vst_channel_error(mailbox));
    return io;
}

enum vst_io vst_stream_write_buffer(struct vst_stream *stream, struct evbuffer *from, size_t *ret_n)
{
    struct vst_channel *mailbox = push_end(stream);
    enum vst_io io;

    *ret_n = 0;
    if (!mailbox || stream->up.closed)
        return VST_IO_FAIL;
    if (!evbuffer_get_length(from))
        return VST_IO_OK;
    io = vst_channel_write(mailbox, from, evbuffer_get_length(from), ret_n);
    return tell(stream, mailbox, VST_WRITE, io);
}

enum vst_io vst_stream_write(struct vst_stream *stream, const void *data, size_t len, size_t *ret_n)
{
    struct evbuffer *scratch = evbuffer_new();
    struct vst_error err = {0};
    enum vst_io io = VST_IO_FAIL;

    /* No more is ever taken than the limit, so no more is copied. */
    if (len > stream->limit)
        len = stream->limit;
    *ret_n = 0;
    if (scratch && evbuffer_add(scratch, data, len) == 0) {
        io = vst_stream_write_buffer(stream, scratch, ret_n);
    } else {
        vst_error_no_memory(&err);
        vst_stream_fail(stream, &err);
    }
    if (scratch)
        evbuffer_free(scratch);
    return io;
}

int vst_stream_finish(struct vst_stream *stream)
{
    struct vst_channel *mailbox = push_end(stream);

    if (!mailbox)
        return -1;
    stream->up.closed = true;
    /* AGAIN until the far end has taken it all; the method's completion will tell that. */
    return vst_channel_finish(mailbox) == VST_IO_FAIL ? -1 : 0;
}

enum vst_io vst_stream_read_buffer(struct vst_stream *stream, struct evbuffer *into, size_t max,
                                   size_t *ret_n)
{
    struct vst_channel *mailbox = stream->down.mailbox;
    enum vst_io io;

    *ret_n = 0;
    if (stream->state == STREAM_FAILING)
        return VST_IO_FAIL;
    if (stream->state == STREAM_ENDED)
        return vst_error_is_set(&stream->outcome) ? VST_IO_FAIL : VST_IO_EOF;
    if (!mailbox)
        return stream->state == STREAM_FLOWING ? VST_IO_EOF : VST_IO_AGAIN;
    if (!max)
        return VST_IO_OK;
    io = vst_channel_read(mailbox, into, max, ret_n);
    return tell(stream, mailbox, VST_READ, io);
}

enum vst_io vst_stream_read(struct vst_stream *stream, void *buf, size_t len, size_t *ret_n)
{
    struct evbuffer *scratch = evbuffer_new();
    struct vst_error err = {0};
    enum vst_io io;

    *ret_n = 0;
    if (!scratch) {
        vst_error_no_memory(&err);
        vst_stream_fail(stream, &err);
        return VST_IO_FAIL;
    }
    io = vst_stream_read_buffer(stream, scratch, len, ret_n);
    evbuffer_remove(scratch, buf, *ret_n);
    evbuffer_free(scratch);
    return io;
}

/* ---- layers ---- */

static struct vst_channel *zstd_layer(const struct half *half, int level, struct vst_error *ret_err)
{
    struct vst_codec *codec;
    struct vst_channel *ch;

    if (half->dir == VST_UP)
        codec = vst_codec_zstd_expand(ret_err);
    else
        codec = vst_codec_zstd_compress(level ? level : 3, ret_err);
    if (!codec)
        return NULL;
    ch = vst_channel_codec(half->app, half->dir == VST_UP ? codec : NULL,
                           half->dir == VST_UP ? NULL : codec, half->stream->limit, ret_err);
    if (!ch)
        vst_codec_free(&codec);
    return ch;
}

static int push_layer(struct half *half, const struct vst_layer_spec *layer)
{
    struct vst_channel *ch = NULL;
    struct vst_error err = {0};

    if (!half->app && vst_half_use_mailbox(half, &err) < 0)
        return fail_with_errno(&err);
    switch (layer->kind) {
    case VST_LAYER_ZSTD:
        ch = zstd_layer(half, layer->zstd_level, &err);
        break;
    case VST_LAYER_RATE:
        ch = vst_channel_rate(half->app, layer->bytes_per_second, 0, &err);
        break;
    case VST_LAYER_DIGEST:
        ch = vst_channel_digest(half->app, &err);
        break;
    case VST_LAYER_FAULT:
        ch = vst_channel_fault(half->app, &layer->fault, &err);
        break;
    }
    if (!ch)
        return fail_with_errno(&err);
    if (layer->kind == VST_LAYER_DIGEST)
        half->digest = ch;
    half->app = ch;
    return 0;
}

static bool may_push(const struct vst_stream *stream, unsigned dirs,
                     const struct vst_layer_spec *layer)
{
    bool has_digest =
        ((dirs & VST_UP) && stream->up.digest) || ((dirs & VST_DOWN) && stream->down.digest);

    if (!dirs || (dirs & ~(unsigned)(VST_UP | VST_DOWN)))
        errno = EINVAL;
    else if (stream->state != STREAM_IDLE || (layer->kind == VST_LAYER_DIGEST && has_digest))
        errno = EBUSY;
    else
        return true;
    return false;
}

int vst_stream_push_layer(struct vst_stream *stream, unsigned dirs,
                          const struct vst_layer_spec *layer)
{
    if (!may_push(stream, dirs, layer))
        return -1;
    if ((dirs & VST_UP) && push_layer(&stream->up, layer) < 0)
        return -1;
    return (dirs & VST_DOWN) ? push_layer(&stream->down, layer) : 0;
}

int vst_stream_get_digest(const struct vst_stream *stream, enum vst_direction dir,
                          unsigned char ret_sum[16])
{
    const struct half *half = dir == VST_UP ? &stream->up : &stream->down;

    if (half->digest)
        vst_digest_get(half->digest, dir == VST_UP ? VST_READ : VST_WRITE, ret_sum);
    else if (half->has_sum)
        memcpy(ret_sum, half->sum, sizeof(half->sum));
    else
        return -1;
    return 0;
}

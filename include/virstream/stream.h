/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams: the one object for every method that moves bytes.
 *
 * A stream has two directions: *up*, from the application to the driver (restore, the keys typed at
 * a console), and *down*, from the driver to the application (save, a screenshot, a console's
 * output). For each the application says what its end is: a descriptor that the loop polls, a
 * callback that is asked, another stream, or itself, by pushing and pulling. Any of them fits any
 * method. Then the stream is given to one method, once.
 *
 *     application's end  ->  [layers]  ->  up    ->  the driver's end
 *     application's end  <-  [layers]  <-  down  <-  the driver's end
 *
 * Each direction holds at most `limit` bytes; a full one stops its source, never the loop.
 *
 * Outcome: a stream ends once. It ends without error only when the method that used it has
 * completed without error, which means that the far end has taken every byte and applied it.
 * The stream's `ended` callback comes just before the completion of the operation.
 */
#ifndef VIRSTREAM_STREAM_H
#define VIRSTREAM_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include <virstream/error.h>
#include <virstream/io.h>
#include <virstream/layer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct evbuffer;
struct vst_stream;

enum vst_direction { VST_UP = 1 << 0, VST_DOWN = 1 << 1 };

struct vst_stream_options {
    size_t limit; /* bytes that each direction holds at most, 2 or more; 0 for 1 MiB */
};

/* `opt` may be NULL. Returns NULL when there is no memory. Free it with vst_stream_free(). */
struct vst_stream *vst_stream_new(struct event_base *base, const struct vst_stream_options *opt);

/*
 * Frees the stream and sets *stream to NULL; accepts NULL. Allowed at any time, in any callback. A
 * method that still uses the stream is aborted, and completes as after vst_stream_abort().
 */
void vst_stream_free(struct vst_stream **stream);

/* ---- What feeds up: one of these, before the method is called. ----
 *
 * Each returns 0, or -1 and errno: EBUSY when the direction has its end already, or the stream was
 * given to a method; ENOMEM; or what is wrong with the descriptor (EBADF, EMFILE, ...). *fd is then
 * as before; of a callback `release` is called.
 * Without any of them the application pushes. */

/*
 * A descriptor of any kind: file, block device, pipe, socket, terminal. Takes *fd and sets it to
 * -1. Files are read on worker threads, holes passed over; everything else is polled.
 */
int vst_stream_set_source_fd(struct vst_stream *stream, int *fd);

/* The file at `path`, opened by a worker thread once the stream runs. */
int vst_stream_set_source_file(struct vst_stream *stream, const char *path);

/*
 * A callback that is asked for bytes, from the loop only. It puts 1 to `len` bytes into `buf` and
 * their number into *ret_n and returns VST_IO_OK; or VST_IO_EOF; or VST_IO_FAIL, having filled
 * *ret_err or not; or VST_IO_AGAIN, after which it is asked again once vst_stream_wake() was
 * called.
 */
struct vst_reader {
    enum vst_io (*read)(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
int vst_stream_set_source_reader(struct vst_stream *stream, const struct vst_reader *reader);

/* ---- What drains down: the mirror image. Without any of them the application pulls. ---- */

/* For a file the outcome waits for fsync. A pipe or socket is closed, or shut down, at the end. */
int vst_stream_set_sink_fd(struct vst_stream *stream, int *fd);

/*
 * A new file: written without a name, or under a hidden one in the same directory, and called
 * `path` when complete and on disk, so that `path` is always the old file or the whole new one.
 * Long runs of zeros become holes, which take no room.
 */
int vst_stream_set_sink_file(struct vst_stream *stream, const char *path);

/*
 * A callback that is given bytes: takes 1 to `len` of them, their number in *ret_n, and returns
 * VST_IO_OK; or VST_IO_AGAIN (see vst_stream_wake()) or VST_IO_FAIL. `finish` (may be NULL) is
 * called after the last byte: VST_IO_OK, AGAIN or FAIL. It is not called if the stream failed.
 */
struct vst_writer {
    enum vst_io (*write)(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                         void *opaque);
    enum vst_io (*finish)(struct vst_error *ret_err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
int vst_stream_set_sink_writer(struct vst_stream *stream, const struct vst_writer *writer);

/* "Ask again": a reader or writer that said VST_IO_AGAIN is ready. The asking comes from the loop.
 */
void vst_stream_wake(struct vst_stream *stream);

/*
 * What comes down `from` goes up `to`: a relay. Both on one base. `from` ends well only after `to`
 * has: a guest saved by the one is not gone before it is restored by the other. Returns as
 * set_source_fd().
 */
int vst_stream_join(struct vst_stream *from, struct vst_stream *to);

/*
 * Puts a layer on the application's end of `dirs` (mask of vst_direction), the last one pushed
 * being next to the driver. Before the method is called, and after what feeds or drains was set: a
 * direction that has only a layer is pushed into, or pulled from. One VST_LAYER_DIGEST for each.
 * Returns 0, or -1 and errno: EBUSY, EINVAL when the layer is not one that can be, ENOMEM. After
 * ENOMEM one of two directions may have its layer: free the stream.
 */
int vst_stream_push_layer(struct vst_stream *stream, unsigned dirs,
                          const struct vst_layer_spec *layer);

/* ---- Pushing and pulling ---- */

/*
 * Takes up to `len` bytes up, their number in *ret_n. VST_IO_AGAIN: full, and `writable` will be
 * called. VST_IO_FAIL: the stream has failed or was finished. May be called before the method:
 * the first `limit` bytes wait. `len` 0 is VST_IO_OK.
 */
enum vst_io vst_stream_write(struct vst_stream *stream, const void *data, size_t len,
                             size_t *ret_n);
/* The same from the front of `from`, moved and not copied. */
enum vst_io vst_stream_write_buffer(struct vst_stream *stream, struct evbuffer *from,
                                    size_t *ret_n);

/*
 * No more bytes will be pushed: the driver may conclude. The outcome comes from the method.
 * Returns 0, or -1 when this direction is not pushed or the stream has failed.
 */
int vst_stream_finish(struct vst_stream *stream);

/*
 * Up to `len` bytes that came down. VST_IO_AGAIN: none yet, and `readable` will be called.
 * VST_IO_EOF is the verified end, and reading it is what tells the driver that everything was
 * taken: a saved guest is not ended before. VST_IO_FAIL: what was read so far is not complete.
 */
enum vst_io vst_stream_read(struct vst_stream *stream, void *buf, size_t len, size_t *ret_n);
/* The same, appended to `into`, moved and not copied. At most `max` bytes. */
enum vst_io vst_stream_read_buffer(struct vst_stream *stream, struct evbuffer *into, size_t max,
                                   size_t *ret_n);

/* ---- The whole stream ---- */

struct vst_stream_callbacks {
    /* After vst_stream_write() said AGAIN: there is room. */
    void (*writable)(struct vst_stream *stream, void *opaque);
    /* There is something to read: bytes, the end, or a failure. Once, and again after each AGAIN.
     */
    void (*readable)(struct vst_stream *stream, void *opaque);
    /* The outcome; err is NULL on success. The stream may be freed here. */
    void (*ended)(struct vst_stream *stream, const struct vst_error *err, void *opaque);
    void (*release)(void *opaque);
};
/* Replaces what was set before (whose `release` is called). NULL for none. */
void vst_stream_set_callbacks(struct vst_stream *stream, const struct vst_stream_callbacks *cb,
                              void *opaque);

/*
 * Gives up: nothing that was moved may be taken for complete, on either side. The method
 * completes with VST_ERR_CANCELLED and `why` (may be NULL). No effect on a stream that has ended.
 */
void vst_stream_abort(struct vst_stream *stream, const char *why);

enum vst_stalled_on { VST_STALLED_ON_NOTHING, VST_STALLED_ON_APPLICATION, VST_STALLED_ON_DRIVER };

struct vst_progress {
    uint64_t up_bytes;   /* taken by the driver's end */
    uint64_t down_bytes; /* taken by the application's end */
    uint64_t total;      /* expected in the direction that counts; 0 if unknown */
    uint64_t rate;       /* bytes per second, over the last few seconds */
    size_t held;         /* in the buffers now, both directions */
    size_t most_held;    /* in the buffer of one direction, ever */
    int64_t elapsed_us;  /* since the method took the stream */
    int64_t idle_us;     /* since the last byte moved */
    enum vst_stalled_on waits_for;
};
void vst_stream_get_progress(const struct vst_stream *stream, struct vst_progress *ret_progress);

/* XXH3-128 (canonical byte order) of what has passed a VST_LAYER_DIGEST. -1 without such a layer.
 */
int vst_stream_get_digest(const struct vst_stream *stream, enum vst_direction dir,
                          unsigned char ret_sum[16]);

#ifdef __cplusplus
}
#endif

#endif

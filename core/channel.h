/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel: one non-blocking byte endpoint. A leaf (descriptor, file, in-memory pair, callbacks
 * of the application) or a layer on the channel below. It never knows who reads it.
 *
 * Bytes travel in evbuffers, so that layers and pumps move them without a copy.
 *
 * The contract, which every channel keeps and every user may rely on:
 *
 *  - read() and write() never block and never call back. Try first; wait only after AGAIN.
 *  - read(): OK appended 1..max bytes to `into`; EOF is a clean end that the channel could verify,
 *    and stays; FAIL filled the channel's error, and stays. A connection lost, a TLS end without
 *    close_notify, an image without its END record are FAIL, never EOF.
 *  - write(): OK removed 1..max bytes from the front of `from`. Never EOF. `from` is not empty.
 *  - finish(): the last byte has been written; say so below (flush, sync, shut down). AGAIN: call
 *    again when writable. OK: everything that was written has been delivered to whatever the
 *    channel stands for. Afterwards nothing is written.
 *  - abort(): the data is not complete and must not be taken for complete (a file is removed, a
 *    TLS session ends without close_notify). Instead of finish(), never after it returned OK.
 *  - open(): must be OK before anything else. AGAIN: call again when ready; whoever reads waits for
 *    READ, whoever writes for WRITE, and an opening channel announces both.
 *  - want(): after AGAIN the user says which directions it waits for; the channel announces each
 *    as it becomes ready, from the loop, and never from inside a call into the channel. A leaf
 *    without a descriptor defers through a turn. An announcement is a hint: the user tries again.
 *    It lasts until the user stops wanting it.
 *  - hole(), skip(), write_hole(): zeros as a number, which cost what one call costs, however many
 *    they are. Whoever has no use for that reads and writes them like any other bytes.
 *
 * A constructor that takes a `lower` channel owns it on success only. Destroying a layer destroys
 * what is below. `struct vst_channel` is the first member of every channel's own struct.
 */
#ifndef VST_CORE_CHANNEL_H
#define VST_CORE_CHANNEL_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "virstream/io.h"
#include "virstream/layer.h"

enum vst_dir { VST_READ = 1 << 0, VST_WRITE = 1 << 1 };

struct vst_channel;

struct vst_channel_ops {
    const char *name;
    /* Mandatory. */
    enum vst_io (*read)(struct vst_channel *, struct evbuffer *into, size_t max, size_t *ret_n);
    enum vst_io (*write)(struct vst_channel *, struct evbuffer *from, size_t max, size_t *ret_n);
    void (*destroy)(struct vst_channel *); /* itself only; the channel below is destroyed after */
    /* Optional; a layer that lacks one passes the call to the channel below. */
    enum vst_io (*open)(struct vst_channel *); /* handshake or open(2); idempotent once OK */
    enum vst_io (*finish)(struct vst_channel *);
    void (*abort)(struct vst_channel *, const struct vst_error *why);
    void (*arm)(struct vst_channel *, unsigned dirs); /* leaf: watch exactly these directions */
    unsigned (*wants)(struct vst_channel *, unsigned dirs); /* layer: what that means below */
    void (*ready)(struct vst_channel *, unsigned dirs); /* layer: the one below announced these */
    size_t (*buffered)(struct vst_channel *); /* bytes readable now that no event will announce */
    size_t (*undelivered)(struct vst_channel *, uint64_t *ret_passed); /* leaf: see below */
    /* Optional; a layer that lacks them has no holes. The zeros are as good as read or written,
     * and may be fewer than offered. */
    uint64_t (*hole)(struct vst_channel *);         /* so many zeros are read next; 0: none known */
    void (*skip)(struct vst_channel *, uint64_t n); /* the first of them have been taken */
    enum vst_io (*write_hole)(struct vst_channel *, uint64_t n, uint64_t *ret_n);
};

/* Who is told of readiness, for one direction. */
struct vst_listener {
    void (*fn)(void *opaque);
    void *opaque;
};

struct vst_channel {
    const struct vst_channel_ops *ops;
    struct event_base *base;
    struct vst_channel *lower; /* NULL for a leaf */
    struct vst_channel *upper; /* NULL for the top of a stack */
    struct vst_listener listener[2];
    unsigned wanted;            /* what the user waits for: mask of vst_dir */
    unsigned dead;              /* directions that have failed: mask of vst_dir */
    bool ended;                 /* read() has said EOF */
    struct vst_error *failed;   /* the first error, allocated when it happens */
    unsigned held;              /* leaf: announcements being made through this stack */
    struct vst_channel *doomed; /* leaf: the top of a stack that was freed while held */
};

/* For constructors: `lower` is NULL for a leaf. Cannot fail. */
void vst_channel_init(struct vst_channel *ch, const struct vst_channel_ops *ops,
                      struct event_base *base, struct vst_channel *lower);

/* For users. */
enum vst_io vst_channel_open(struct vst_channel *ch);
enum vst_io vst_channel_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n);
enum vst_io vst_channel_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n);
enum vst_io vst_channel_finish(struct vst_channel *ch);
void vst_channel_abort(struct vst_channel *ch, const struct vst_error *why);
size_t vst_channel_buffered(struct vst_channel *ch);
/* Holes. Zeros that nobody has said are a hole are read as bytes. */
uint64_t vst_channel_hole(struct vst_channel *ch);
void vst_channel_skip(struct vst_channel *ch, uint64_t n); /* at most what hole() has just said */
bool vst_channel_takes_holes(const struct vst_channel *ch);
enum vst_io vst_channel_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n);
/*
 * How many of the bytes that were written would be lost if the channel were freed now, though it
 * had finished: they are under way, in the kernel. *ret_passed changes whenever the other side has
 * taken some of what was written, which may be long after write() has, and before there is room
 * for more. 0 and 0 if the leaf cannot tell.
 */
size_t vst_channel_undelivered(struct vst_channel *ch, uint64_t *ret_passed);
/* Sets who is told of `dir`; `fn` NULL for nobody. */
void vst_channel_listen(struct vst_channel *ch, enum vst_dir dir, void (*fn)(void *), void *opaque);
void vst_channel_want(struct vst_channel *ch, enum vst_dir dir, bool on);
/* Destroys the stack from here down and sets *ch to NULL. Accepts NULL. */
void vst_channel_free(struct vst_channel **ch);

/* The error after FAIL: the first in the stack, never NULL. */
const struct vst_error *vst_channel_error(const struct vst_channel *ch);
/*
 * For implementations: the place to fill before returning FAIL. The first error wins: when the
 * channel or one below has failed already, that error is what comes back. NULL when there is no
 * memory for one; the functions of error.h take that, and the error is then "out of memory".
 */
struct vst_error *vst_channel_fail(struct vst_channel *ch);

/*
 * For layers: a place of its own in spite of a failure below, for the cause of it that came before
 * and was found after: the peer's last words behind a connection that broke. NULL without memory.
 */
struct vst_error *vst_channel_explain(struct vst_channel *ch);

/*
 * For implementations: from the loop only, tell the user that `dirs` may be ready. The user may
 * free the channel meanwhile. It is destroyed when the outermost announcement returns, so whoever
 * announces from an event touches nothing of the channel afterwards.
 */
void vst_channel_announce(struct vst_channel *ch, unsigned dirs);
/* For layers whose wants() has changed for a reason of their own. */
void vst_channel_rearm(struct vst_channel *ch);
/* For layers that let holes pass: what they put into their ops. */
uint64_t vst_layer_hole(struct vst_channel *ch);
void vst_layer_skip(struct vst_channel *ch, uint64_t n);
enum vst_io vst_layer_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n);

/* ---- leaves ---- */

/* Anything that poll(2) works for: pipe, socket, terminal, character device. Takes *fd. finish()
 * shuts a socket's writing half down; what can only be written to is closed. */
struct vst_channel *vst_channel_fd(struct event_base *base, int *fd, struct vst_error *ret_err);

/* Any descriptor: vst_channel_fd(), or vst_channel_file() if it is a regular file or block device.
 * Takes *fd. */
struct vst_channel *vst_channel_any_fd(struct event_base *base, int *fd, struct vst_error *ret_err);

/* A regular file, through the worker. Reads and writes from the present offset. finish() is
 * fsync. Takes *fd. */
struct vst_channel *vst_channel_file(struct event_base *base, int *fd, struct vst_error *ret_err);

/* An existing file, read from its beginning; opened in open(). */
struct vst_channel *vst_channel_open_file(struct event_base *base, const char *path,
                                          struct vst_error *ret_err);

enum vst_file_flags {
    VST_FILE_NO_REPLACE = 1 << 0,
    VST_FILE_KEEP_OWNER = 1 << 1, /* of the file that it replaces, and its mode */
};

/* A file that appears under `path` only when complete: until then it has no name, or where that
 * cannot be a hidden one beside it; fsync, rename, fsync of the directory in finish(); after
 * abort() nothing is left. Opened in open(). */
struct vst_channel *vst_channel_new_file(struct event_base *base, const char *path, unsigned flags,
                                         struct vst_error *ret_err);

/* Two ends in memory: what is written to one is read from the other; each way holds at most
 * `limit` bytes. finish() is OK once the other end has read everything, EOF included. Destroying
 * an end without finish(), or aborting it, makes the other's read FAIL after what was written
 * before. */
int vst_channel_pair(struct event_base *base, size_t limit, struct vst_channel *ret_ends[2],
                     struct vst_error *ret_err);

/* Takes everything, keeps nothing: /dev/null without a system call. Reads EOF. */
struct vst_channel *vst_channel_null(struct event_base *base, struct vst_error *ret_err);

/* ---- layers in common use; each takes `lower` on success ---- */

/* An end or a failure below is not believed until vst_gate_open(): AGAIN meanwhile. */
struct vst_channel *vst_channel_gate(struct vst_channel *lower, struct vst_error *ret_err);
void vst_gate_open(struct vst_channel *gate);

/* At most `bytes_per_second` in each direction, with bursts of `burst` bytes (0: a tenth of a
 * second's worth). Holes pass at once. */
struct vst_channel *vst_channel_rate(struct vst_channel *lower, uint64_t bytes_per_second,
                                     size_t burst, struct vst_error *ret_err);

/* The XXH3-128 of all that has passed, per direction, 16 bytes in canonical order. */
struct vst_channel *vst_channel_digest(struct vst_channel *lower, struct vst_error *ret_err);
void vst_digest_get(const struct vst_channel *digest, enum vst_dir dir, unsigned char ret_sum[16]);

/* Misbehaves as told; shipped, for applications' own tests. */
struct vst_channel *vst_channel_fault(struct vst_channel *lower, const struct vst_fault *fault,
                                      struct vst_error *ret_err);

#endif

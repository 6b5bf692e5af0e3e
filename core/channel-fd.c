/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A descriptor that the event loop can watch, as a channel: the one leaf that makes system calls on
 * the loop. It holds no bytes; what the kernel has goes straight into the reader's buffer.
 */
#include "channel.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "buffer.h"
#include "fd.h"

enum {
    UNIT = 264 * 1024, /* the most that one system call moves: 256 KiB with what TLS adds to them */
    SMALL = 4096,      /* up to here a copy costs less than a chain of its own */
    VECTORS = 64,
};

struct fd_channel {
    struct vst_channel base;
    int fd; /* -1 once finished, if there was nothing left to use it for */
    enum vst_fd_kind kind;
    bool restore;
    unsigned armed; /* the directions whose event is added */
    uint64_t written;
    struct event ev[2];
};

static struct fd_channel *fd_of(struct vst_channel *ch)
{
    return (struct fd_channel *)ch;
}

static enum vst_io fail(struct fd_channel *self, const char *what)
{
    if (errno == EAGAIN)
        return VST_IO_AGAIN;
    vst_error_system(vst_channel_fail(&self->base), errno, "%s: %s", vst_fd_kind_name(self->kind),
                     what);
    return VST_IO_FAIL;
}

static enum vst_io fail_no_memory(struct fd_channel *self)
{
    vst_error_no_memory(vst_channel_fail(&self->base));
    return VST_IO_FAIL;
}

static enum vst_io read_small(struct fd_channel *self, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    char bytes[SMALL];
    struct iovec vec = {bytes, max < sizeof(bytes) ? max : sizeof(bytes)};
    ssize_t n = vst_fd_read(self->fd, self->kind, &vec);

    if (n < 0)
        return fail(self, "read");
    if (n == 0)
        return VST_IO_EOF;
    if (evbuffer_add(into, bytes, (size_t)n) < 0)
        return fail_no_memory(self);
    *ret_n = (size_t)n;
    return VST_IO_OK;
}

/* Bytes are known to be there, so that the space reserved does not remain as an empty chain. */
static enum vst_io read_large(struct fd_channel *self, struct evbuffer *into, size_t max,
                              size_t *ret_n)
{
    struct evbuffer_iovec vec;
    ssize_t n;

    if (evbuffer_reserve_space(into, (ev_ssize_t)max, &vec, 1) != 1)
        return fail_no_memory(self);
    if (vec.iov_len > max)
        vec.iov_len = max;
    n = vst_fd_read(self->fd, self->kind, &vec);
    if (n < 0)
        return fail(self, "read");
    if (n == 0)
        return VST_IO_EOF;
    vec.iov_len = (size_t)n;
    evbuffer_commit_space(into, &vec, 1);
    *ret_n = (size_t)n;
    return VST_IO_OK;
}

static enum vst_io fd_read(struct vst_channel *ch, struct evbuffer *into, size_t max, size_t *ret_n)
{
    struct fd_channel *self = fd_of(ch);
    int waiting = 0;

    /* Where this is not known, waiting stays 0 and reads are small. */
    ioctl(self->fd, FIONREAD, &waiting);
    if (waiting <= SMALL)
        return read_small(self, into, max, ret_n);
    return read_large(self, into, vst_least(max, vst_least((size_t)waiting, UNIT)), ret_n);
}

static enum vst_io fd_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                            size_t *ret_n)
{
    struct fd_channel *self = fd_of(ch);
    struct evbuffer_iovec vec[VECTORS];
    int count = vst_buffer_pieces(from, vst_least(max, UNIT), vec, VECTORS);
    ssize_t n = vst_fd_write(self->fd, self->kind, vec, count);

    if (n < 0)
        return fail(self, "write");
    if (n == 0)
        return VST_IO_AGAIN;
    evbuffer_drain(from, (size_t)n);
    self->written += (uint64_t)n;
    *ret_n = (size_t)n;
    return VST_IO_OK;
}

/*
 * The kernel counts what was acknowledged (TCP) or read (UNIX) long before it announces room: that
 * comes when a third of its queue is free. What is under way in a UNIX socket is the reader's, also
 * when this end is closed.
 */
static size_t fd_undelivered(struct vst_channel *ch, uint64_t *ret_passed)
{
    struct fd_channel *self = fd_of(ch);
    int queued = 0, domain = AF_UNIX;
    socklen_t length = sizeof(domain);

    if (self->fd >= 0 && self->kind == VST_FD_SOCKET) {
        ioctl(self->fd, SIOCOUTQ, &queued);
        getsockopt(self->fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    }
    *ret_passed = self->written - (uint64_t)queued;
    return domain == AF_UNIX ? 0 : (size_t)queued;
}

static void let_go(struct fd_channel *self)
{
    if (self->fd < 0)
        return;
    event_del(&self->ev[0]);
    event_del(&self->ev[1]);
    vst_fd_close(self->fd, self->restore);
    self->fd = -1;
}

static enum vst_io fd_finish(struct vst_channel *ch)
{
    struct fd_channel *self = fd_of(ch);

    if (self->fd < 0)
        return VST_IO_OK;
    if (self->kind == VST_FD_SOCKET)
        return shutdown(self->fd, SHUT_WR) < 0 ? fail(self, "shutdown") : VST_IO_OK;
    if ((fcntl(self->fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
        let_go(self);
    return VST_IO_OK;
}

/* A TCP peer then gets a reset in place of the end of the data. */
static void fd_abort(struct vst_channel *ch, const struct vst_error *why)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct fd_channel *self = fd_of(ch);

    (void)why;
    if (self->kind == VST_FD_SOCKET)
        setsockopt(self->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* It would never be announced any more: so it fails, and that is announced. */
static void fail_watching(struct fd_channel *self, struct event *ev)
{
    vst_error_set(vst_channel_fail(&self->base), VST_ERR_SYSTEM,
                  "%s: the event loop cannot watch it", vst_fd_kind_name(self->kind));
    self->base.dead = VST_READ | VST_WRITE;
    event_active(ev, event_get_events(ev), 1);
}

static void arm_one(struct fd_channel *self, enum vst_dir dir, bool on)
{
    struct event *ev = &self->ev[dir == VST_WRITE];

    if (on == !!(self->armed & dir))
        return;
    self->armed ^= dir;
    if (!on)
        event_del(ev);
    else if (event_add(ev, NULL) < 0)
        fail_watching(self, ev);
}

static void fd_arm(struct vst_channel *ch, unsigned dirs)
{
    struct fd_channel *self = fd_of(ch);

    if (self->fd < 0)
        return;
    arm_one(self, VST_READ, dirs & VST_READ);
    arm_one(self, VST_WRITE, dirs & VST_WRITE);
}

static void fd_destroy(struct vst_channel *ch)
{
    let_go(fd_of(ch));
    free(ch);
}

static const struct vst_channel_ops fd_ops = {
    .name = "fd",
    .read = fd_read,
    .write = fd_write,
    .finish = fd_finish,
    .abort = fd_abort,
    .destroy = fd_destroy,
    .arm = fd_arm,
    .undelivered = fd_undelivered,
};

static void readable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    vst_channel_announce(opaque, VST_READ);
}

static void writable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    vst_channel_announce(opaque, VST_WRITE);
}

static struct vst_channel *fd_new(struct event_base *base, int *fd, enum vst_fd_kind kind,
                                  struct vst_error *ret_err)
{
    struct fd_channel *self = calloc(1, sizeof(*self));

    if (!self) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    if (vst_fd_unblock(*fd, kind, &self->restore, ret_err) < 0) {
        free(self);
        return NULL;
    }
    vst_channel_init(&self->base, &fd_ops, base, NULL);
    self->kind = kind;
    self->fd = *fd;
    *fd = -1;
    event_assign(&self->ev[0], base, self->fd, EV_READ | EV_PERSIST, readable, self);
    event_assign(&self->ev[1], base, self->fd, EV_WRITE | EV_PERSIST, writable, self);
    return &self->base;
}

struct vst_channel *vst_channel_fd(struct event_base *base, int *fd, struct vst_error *ret_err)
{
    enum vst_fd_kind kind;

    if (vst_fd_kind(*fd, &kind, ret_err) < 0)
        return NULL;
    if (kind == VST_FD_FILE) {
        vst_error_set(ret_err, VST_ERR_INVALID, "descriptor %d cannot be polled", *fd);
        return NULL;
    }
    return fd_new(base, fd, kind, ret_err);
}

struct vst_channel *vst_channel_any_fd(struct event_base *base, int *fd, struct vst_error *ret_err)
{
    enum vst_fd_kind kind;

    if (vst_fd_kind(*fd, &kind, ret_err) < 0)
        return NULL;
    return kind == VST_FD_FILE ? vst_channel_file(base, fd, ret_err)
                               : fd_new(base, fd, kind, ret_err);
}

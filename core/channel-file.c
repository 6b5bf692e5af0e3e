/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file as a channel. The loop never touches the disk: one job at a time opens, reads ahead,
 * writes behind or syncs on a worker's thread. What has been read and not been asked for, and what
 * is to be written and not begun, waits here.
 */
#include "file.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "buffer.h"
#include "fsm.h"
#include "leaf.h"
#include "zeros.h"

#define FILE_STATES(X)                                                                   \
    X(FILE_CLOSED, "open()", "nothing has been done yet")                                \
    X(FILE_OPENING, "the job that opens", "a thread opens the file")                     \
    X(FILE_OPEN, "reads and writes", "bytes move, at most one job at a time")            \
    X(FILE_FINISHING, "jobs that write and sync", "the last byte is on its way to disk") \
    X(FILE_FINISHED, "nothing", "everything is on disk, under its name")                 \
    X(FILE_LET_GO, "nothing", "aborted or destroyed: a thread cleans up after it")
VST_FSM(file, FILE_STATES)

/* A job costs as much as some ten kilobytes of data: so long do few bytes wait for more of them. */
static const struct timeval gathering = {0, 1000};

struct file_channel {
    struct vst_leaf leaf;
    enum file_state state;
    bool reads; /* somebody reads: read ahead */
    struct vst_worker *worker;
    struct vst_file *file;               /* NULL once let go */
    void (*then)(struct file_channel *); /* a job is under way, and what to do when it is done */
    struct vst_block_list ahead;         /* read and not asked for yet */
    size_t waiting;                      /* blocks in it */
    uint64_t hole;           /* zeros to be written before `behind`: they take no memory */
    struct evbuffer *behind; /* to be written and not begun yet */
    size_t writing;          /* bytes in the job that writes */
    struct event due;        /* what is in `behind` has waited long enough */
};

static struct file_channel *file_of(struct vst_channel *ch)
{
    return (struct file_channel *)ch;
}

static void enter(struct file_channel *self, enum file_state state)
{
    vst_fsm_trace(file, self->file->path ? self->file->path : "-", self->state, state);
    self->state = state;
}

/* ---- which job is next ---- */

static bool has_failed(const struct file_channel *self)
{
    return !self->then && vst_error_is_set(&self->file->error);
}

static void start(struct file_channel *self, int (*step)(struct vst_file *),
                  void (*then)(struct file_channel *))
{
    self->file->step = step;
    self->then = then;
    vst_worker_submit(self->worker, &self->file->job);
}

static void after_open(struct file_channel *self)
{
    if (!has_failed(self))
        enter(self, FILE_OPEN);
}

static void after_read(struct file_channel *self)
{
    struct vst_block *block;

    STAILQ_FOREACH(block, &self->file->filled, next)
        self->waiting++;
    STAILQ_CONCAT(&self->ahead, &self->file->filled);
}

static void after_write(struct file_channel *self)
{
    evbuffer_drain(self->file->data, self->writing);
    self->writing = 0;
}

static void after_sync(struct file_channel *self)
{
    if (!has_failed(self))
        enter(self, FILE_FINISHED);
}

/* All that waits; new bytes gather in the buffer that the last job has emptied. */
static void start_write(struct file_channel *self)
{
    struct evbuffer *empty = self->file->data;

    self->file->hole = self->hole;
    self->file->data = self->behind;
    self->hole = 0;
    self->behind = empty;
    event_del(&self->due);
    self->writing = evbuffer_get_length(self->file->data);
    start(self, vst_file_write, after_write);
}

static void gather(struct file_channel *self)
{
    if (!event_pending(&self->due, EV_TIMEOUT, NULL) && event_add(&self->due, &gathering) < 0)
        start_write(self);
}

/* Writes come first, then the sync that makes sure of them. */
static void proceed(struct file_channel *self)
{
    size_t behind = evbuffer_get_length(self->behind);
    bool finishing = self->state == FILE_FINISHING;

    if (self->then || has_failed(self))
        return;
    if (behind >= VST_FILE_JOB || self->hole >= VST_FILE_JOB ||
        (finishing && (behind || self->hole)))
        start_write(self);
    else if (finishing)
        start(self, vst_file_sync, after_sync);
    else if (behind)
        gather(self);
    else if (self->reads && !self->file->ended &&
             self->waiting * VST_BLOCK + VST_FILE_JOB <= VST_FILE_BUFFER)
        start(self, vst_file_read, after_read);
}

/* Unless a job is under way: then it waits again. */
static void due(evutil_socket_t fd, short what, void *opaque)
{
    struct file_channel *self = opaque;

    (void)fd, (void)what;
    if (!self->then && !has_failed(self))
        start_write(self);
}

static void work(struct vst_job *job)
{
    struct vst_file *file = (struct vst_file *)job;

    if (file->step(file) < 0)
        vst_file_undo(file);
}

static void done(struct vst_job *job)
{
    struct file_channel *self = ((struct vst_file *)job)->channel;
    void (*then)(struct file_channel *) = self->then;

    self->then = NULL;
    then(self);
    proceed(self);
    vst_leaf_wake(&self->leaf);
}

/* From here on the file is a thread's, whose last act with it is to dispose of it. */
static void let_go(struct file_channel *self)
{
    struct vst_file *file = self->file;

    if (!file)
        return;
    enter(self, FILE_LET_GO);
    event_del(&self->due);
    self->file = NULL;
    atomic_store(&file->unwanted, true);
    if (self->then)
        vst_job_abandon(&file->job);
    else
        vst_worker_dispose(self->worker, &file->job);
}

/* ---- the channel ---- */

/* Not less than a block: to split one for a remnant costs more than to wait. */
static size_t room(const struct file_channel *self)
{
    size_t left = VST_FILE_BUFFER - self->writing - evbuffer_get_length(self->behind);

    return left < VST_BLOCK ? 0 : left;
}

static unsigned ready(const struct vst_leaf *leaf)
{
    const struct file_channel *self = (const struct file_channel *)leaf;
    unsigned dirs = 0;

    if (!self->file || !self->then)
        return VST_READ | VST_WRITE;
    if (self->waiting)
        dirs |= VST_READ;
    if (self->state == FILE_OPEN && room(self))
        dirs |= VST_WRITE;
    return dirs;
}

static enum vst_io fail(struct file_channel *self)
{
    struct vst_error *err = vst_channel_fail(&self->leaf.ch);

    if (self->file && has_failed(self))
        vst_error_copy(err, &self->file->error);
    else
        vst_error_set(err, VST_ERR_STATE, "file: not open for this now");
    return VST_IO_FAIL;
}

static enum vst_io fail_no_memory(struct file_channel *self)
{
    vst_error_no_memory(vst_channel_fail(&self->leaf.ch));
    return VST_IO_FAIL;
}

static enum vst_io file_open(struct vst_channel *ch)
{
    struct file_channel *self = file_of(ch);

    if (self->state == FILE_LET_GO || has_failed(self))
        return fail(self);
    if (self->state == FILE_CLOSED) {
        enter(self, FILE_OPENING);
        start(self, vst_file_open, after_open);
    }
    return self->state == FILE_OPENING ? VST_IO_AGAIN : VST_IO_OK;
}

/* An error counts after what was read before it. */
static enum vst_io read_nothing(struct file_channel *self)
{
    if (has_failed(self))
        return fail(self);
    if (!self->then && self->file->ended)
        return VST_IO_EOF;
    proceed(self);
    return VST_IO_AGAIN;
}

/* Some of the first block has been taken. */
static void took(struct file_channel *self)
{
    struct vst_block *block = STAILQ_FIRST(&self->ahead);

    if (block->begin == block->end) {
        STAILQ_REMOVE_HEAD(&self->ahead, next);
        self->waiting--;
        vst_block_put(block);
    }
    proceed(self);
}

static enum vst_io file_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    struct file_channel *self = file_of(ch);
    struct vst_block *block = STAILQ_FIRST(&self->ahead);
    size_t n;

    if (self->state != FILE_OPEN)
        return fail(self);
    self->reads = true;
    if (!block)
        return read_nothing(self);
    n = vst_block_take(block, max, into);
    if (n == 0)
        return fail_no_memory(self);
    took(self);
    *ret_n = n;
    return VST_IO_OK;
}

static uint64_t file_hole(struct vst_channel *ch)
{
    struct file_channel *self = file_of(ch);
    const struct vst_block *block = STAILQ_FIRST(&self->ahead);

    return self->state == FILE_OPEN && block && block->zeros ? block->end - block->begin : 0;
}

static void file_skip(struct vst_channel *ch, uint64_t n)
{
    struct file_channel *self = file_of(ch);

    STAILQ_FIRST(&self->ahead)->begin += n;
    took(self);
}

static enum vst_io file_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    struct file_channel *self = file_of(ch);
    size_t n;

    if (self->state != FILE_OPEN || has_failed(self))
        return fail(self);
    n = vst_least(vst_least(max, evbuffer_get_length(from)), room(self));
    if (n == 0)
        return VST_IO_AGAIN;
    if (vst_buffer_move(from, self->behind, n) < 0)
        return fail_no_memory(self);
    proceed(self);
    *ret_n = n;
    return VST_IO_OK;
}

/* What cannot be put off is written like any other bytes. */
static enum vst_io write_zeros(struct file_channel *self, uint64_t n, uint64_t *ret_n)
{
    size_t some = room(self);

    if (n < some)
        some = (size_t)n;
    if (some == 0)
        return VST_IO_AGAIN;
    if (vst_zeros_add(self->behind, some) < 0)
        return fail_no_memory(self);
    proceed(self);
    *ret_n = some;
    return VST_IO_OK;
}

/*
 * Zeros before all that waits are a number. Behind bytes they are bytes, until the next job has
 * taken those: that is at most one buffer of a hole.
 */
static enum vst_io file_write_hole(struct vst_channel *ch, uint64_t n, uint64_t *ret_n)
{
    struct file_channel *self = file_of(ch);

    if (self->state != FILE_OPEN || has_failed(self))
        return fail(self);
    if (!self->file->gap.makes_holes || evbuffer_get_length(self->behind))
        return write_zeros(self, n, ret_n);
    if (n > INT64_MAX - self->hole) {
        vst_error_system(vst_channel_fail(ch), EFBIG, "%s: a hole",
                         self->file->path ? self->file->path : "file");
        return VST_IO_FAIL;
    }
    self->hole += n;
    proceed(self);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io file_finish(struct vst_channel *ch)
{
    struct file_channel *self = file_of(ch);

    if (self->state == FILE_FINISHED)
        return VST_IO_OK;
    if (self->state == FILE_OPEN) {
        enter(self, FILE_FINISHING);
        proceed(self);
    }
    return self->state != FILE_FINISHING || has_failed(self) ? fail(self) : VST_IO_AGAIN;
}

static void file_abort(struct vst_channel *ch, const struct vst_error *why)
{
    struct file_channel *self = file_of(ch);

    (void)why;
    if (self->state == FILE_FINISHED)
        return;
    let_go(self);
    vst_leaf_wake(&self->leaf);
}

static void file_destroy(struct vst_channel *ch)
{
    struct file_channel *self = file_of(ch);

    let_go(self);
    vst_worker_put(&self->worker);
    vst_leaf_fini(&self->leaf);
    vst_block_put_all(&self->ahead);
    evbuffer_free(self->behind);
    free(self);
}

static const struct vst_channel_ops file_ops = {
    .name = "file",
    .open = file_open,
    .read = file_read,
    .write = file_write,
    .finish = file_finish,
    .abort = file_abort,
    .destroy = file_destroy,
    .arm = vst_leaf_arm,
    .hole = file_hole,
    .skip = file_skip,
    .write_hole = file_write_hole,
};

static bool fill(struct file_channel *self, struct event_base *base, struct vst_error *ret_err)
{
    self->behind = evbuffer_new();
    if (!self->behind) {
        vst_error_no_memory(ret_err);
        return false;
    }
    self->worker = vst_worker_get(base, ret_err);
    if (!self->worker)
        evbuffer_free(self->behind);
    return self->worker;
}

struct vst_channel *vst_file_channel(struct event_base *base, struct vst_file *file,
                                     struct vst_error *ret_err)
{
    struct file_channel *self = calloc(1, sizeof(*self));
    const struct vst_file_calls *calls;

    if (!self)
        vst_error_no_memory(ret_err);
    if (!self || !fill(self, base, ret_err)) {
        free(self);
        vst_file_free(file);
        return NULL;
    }
    vst_leaf_init(&self->leaf, &file_ops, base, ready);
    event_assign(&self->due, base, -1, 0, due, self);
    STAILQ_INIT(&self->ahead);
    self->state = file->kind->open ? FILE_CLOSED : FILE_OPEN;
    self->file = file;
    calls = vst_worker_file_calls(self->worker);
    file->calls = calls ? calls : &vst_file_calls_real;
    file->channel = self;
    file->job = (struct vst_job){.work = work, .done = done, .dispose = vst_file_dispose};
    return &self->leaf.ch;
}

/* ---- the two simple kinds ---- */

static const struct vst_file_kind given = {0};

struct vst_channel *vst_channel_file(struct event_base *base, int *fd, struct vst_error *ret_err)
{
    struct vst_file *file;
    struct vst_channel *ch;

    if (fcntl(*fd, F_SETFD, FD_CLOEXEC) < 0) {
        vst_error_system(ret_err, errno, "descriptor %d", *fd);
        return NULL;
    }
    file = vst_file_new(sizeof(*file), &given, NULL, ret_err);
    ch = file ? vst_file_channel(base, file, ret_err) : NULL;
    if (!ch)
        return NULL;
    file->fd = *fd;
    *fd = -1;
    return ch;
}

/* O_NONBLOCK: a FIFO would wait for a writer. */
static int open_existing(struct vst_file *file)
{
    struct stat st;

    file->fd =
        file->calls->openat(AT_FDCWD, file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
    if (file->fd < 0 || fstat(file->fd, &st) < 0)
        return vst_file_fail(file, "open");
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return vst_error_set(&file->error, VST_ERR_INVALID, "%s: neither file nor block device",
                             file->path);
    return 0;
}

static const struct vst_file_kind existing = {.open = open_existing};

struct vst_channel *vst_channel_open_file(struct event_base *base, const char *path,
                                          struct vst_error *ret_err)
{
    struct vst_file *file = vst_file_new(sizeof(*file), &existing, path, ret_err);

    return file ? vst_file_channel(base, file, ret_err) : NULL;
}

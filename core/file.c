/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What threads do with files. Every call here may wait for a disk, and none runs on the loop.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"

enum {
    SPARE_BLOCKS = 64, /* not more than were in use at once, on all of their way */
    VECTORS = 64,
    WRITEBACK = 16 * 1024 * 1024,
};

static int real_openat(int dir, const char *path, int flags, mode_t mode)
{
    return openat(dir, path, flags, mode);
}

const struct vst_file_calls vst_file_calls_real = {
    .openat = real_openat,
    .readv = readv,
    .writev = writev,
    .fsync = fsync,
    .linkat = linkat,
    .renameat2 = renameat2,
    .unlinkat = unlinkat,
};

void vst_file_free(struct vst_file *file)
{
    if (file->data)
        evbuffer_free(file->data);
    vst_block_put_all(&file->filled);
    vst_blocks_free(&file->blocks);
    free(file->path);
    free(file);
}

struct vst_file *vst_file_new(size_t size, const struct vst_file_kind *kind, const char *path,
                              struct vst_error *ret_err)
{
    struct vst_file *file = calloc(1, size);

    if (!file) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    STAILQ_INIT(&file->filled);
    file->kind = kind;
    file->fd = -1;
    file->path = path ? strdup(path) : NULL;
    file->data = evbuffer_new();
    if (file->data && (file->path || !path))
        return file;
    vst_file_free(file);
    vst_error_no_memory(ret_err);
    return NULL;
}

int vst_file_fail(struct vst_file *file, const char *what)
{
    return vst_error_system(&file->error, errno, "%s: %s", file->path ? file->path : "file", what);
}

int vst_file_open(struct vst_file *file)
{
    return file->kind->open(file);
}

/* One block. Returns what was read; 0 is the end. */
static ssize_t read_block(struct vst_file *file)
{
    struct vst_block *block = vst_block_get(file->blocks);
    struct iovec vec = {.iov_len = VST_BLOCK};
    ssize_t n;

    if (!block)
        return vst_error_no_memory(&file->error);
    vec.iov_base = block->bytes;
    do {
        n = file->calls->readv(file->fd, &vec, 1);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        vst_block_put(block);
        return n < 0 ? vst_file_fail(file, "read") : 0;
    }
    block->end = (size_t)n;
    STAILQ_INSERT_TAIL(&file->filled, block, next);
    return n;
}

int vst_file_read(struct vst_file *file)
{
    ssize_t n = 1;

    if (!file->blocks && !(file->blocks = vst_blocks_new(SPARE_BLOCKS)))
        return vst_error_no_memory(&file->error);
    for (int count = 0; count < VST_FILE_JOB / VST_BLOCK && n > 0; count++)
        n = read_block(file);
    file->ended = n == 0;
    if (file->ended)
        vst_blocks_free(&file->blocks);
    return n < 0 ? -1 : 0;
}

/*
 * Otherwise the kernel may gather gigabytes, and the sync at the end takes minutes in which no byte
 * moves. A hint: what goes wrong here, the sync will tell.
 */
static void begin_writeback(struct vst_file *file)
{
    file->written += evbuffer_get_length(file->data);
    if (file->written < WRITEBACK)
        return;
    file->written = 0;
    (void)sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/*
 * The loop empties `data` afterwards: blocks that came from the application may have a clean-up
 * function, which is not for other threads to call.
 */
int vst_file_write(struct vst_file *file)
{
    size_t left = evbuffer_get_length(file->data);
    struct evbuffer_ptr at;

    evbuffer_ptr_set(file->data, &at, 0, EVBUFFER_PTR_SET);
    while (left) {
        struct evbuffer_iovec vec[VECTORS];
        int count = evbuffer_peek(file->data, (ev_ssize_t)left, &at, vec, VECTORS);
        ssize_t n = file->calls->writev(file->fd, vec, count < VECTORS ? count : VECTORS);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return vst_file_fail(file, "write");
        left -= (size_t)n;
        if (left)
            evbuffer_ptr_set(file->data, &at, (size_t)n, EVBUFFER_PTR_ADD);
    }
    begin_writeback(file);
    return 0;
}

int vst_file_sync_fd(struct vst_file *file, int fd, const char *what)
{
    /* EINVAL, EROFS: a device, or a file system's directory, that has nothing to sync. */
    if (file->calls->fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
        return vst_file_fail(file, what);
    return 0;
}

int vst_file_sync(struct vst_file *file)
{
    if (vst_file_sync_fd(file, file->fd, "sync") < 0)
        return -1;
    return file->kind->publish ? file->kind->publish(file) : 0;
}

void vst_file_dispose(struct vst_job *job)
{
    struct vst_file *file = (struct vst_file *)job;

    if (file->fd >= 0)
        close(file->fd);
    if (file->kind->discard)
        file->kind->discard(file);
    vst_file_free(file);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What threads do with files. Every call here may wait for a disk, and none runs on the loop.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "buffer.h"
#include "fd.h"

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
    .lseek = lseek,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
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
    file->left = UINT64_MAX;
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

/* Before its end is told: whoever hears of it may want the file for himself. */
static void unlock(struct vst_file *file)
{
    if (file->locked)
        flock(file->fd, LOCK_UN);
    file->locked = false;
}

static ssize_t read_bytes(struct vst_file *file, struct vst_block *block)
{
    struct iovec vec = {block->bytes, VST_BLOCK};
    ssize_t n;

    if (file->left < VST_BLOCK)
        vec.iov_len = (size_t)file->left;
    do {
        n = file->calls->readv(file->fd, &vec, 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return vst_file_fail(file, "read");
    if (n == 0 && file->left != UINT64_MAX)
        return vst_error_set(&file->error, VST_ERR_TRUNCATED,
                             "%s: ends %" PRIu64 " bytes earlier than when it was opened",
                             file->path, file->left);
    file->data_left -= (uint64_t)n < file->data_left ? (uint64_t)n : file->data_left;
    return n;
}

/* One block, of bytes or for a hole. Returns how much it is; 0 is the end. */
static int64_t read_block(struct vst_file *file)
{
    struct vst_block *block = vst_block_get(file->blocks);
    int64_t n = 0;

    if (!block)
        return vst_error_no_memory(&file->error);
    if (file->left && !file->data_left)
        n = (int64_t)vst_file_pass_hole(file);
    block->zeros = n > 0;
    if (file->left && !n)
        n = read_bytes(file, block);
    if (n <= 0) {
        vst_block_put(block);
        return n;
    }
    block->end = (uint64_t)n;
    if (file->left != UINT64_MAX)
        file->left -= (uint64_t)n;
    STAILQ_INSERT_TAIL(&file->filled, block, next);
    return n;
}

int vst_file_read(struct vst_file *file)
{
    int64_t n = 1;

    if (!file->blocks && !(file->blocks = vst_blocks_new(SPARE_BLOCKS)))
        return vst_error_no_memory(&file->error);
    for (int count = 0; count < VST_FILE_JOB / VST_BLOCK && n > 0; count++)
        n = read_block(file);
    file->ended = n == 0;
    if (file->ended) {
        vst_blocks_free(&file->blocks);
        unlock(file);
    }
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

int vst_file_write_part(struct vst_file *file, struct evbuffer *from, struct evbuffer_ptr at,
                        size_t left)
{
    while (left) {
        struct evbuffer_iovec vec[VECTORS];
        int count = vst_buffer_pieces_at(from, &at, left, vec, VECTORS);
        ssize_t n = file->calls->writev(file->fd, vec, count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return vst_file_fail(file, "write");
        left -= (size_t)n;
        if (left)
            evbuffer_ptr_set(from, &at, (size_t)n, EVBUFFER_PTR_ADD);
    }
    return 0;
}

/* A file that is told how much will come takes no more and no less. */
static int count_down(struct vst_file *file, uint64_t n)
{
    if (file->left == UINT64_MAX)
        return 0;
    if (n > file->left)
        return vst_error_set(&file->error, VST_ERR_INVALID, "%s: more bytes came than were to come",
                             file->path);
    file->left -= n;
    return 0;
}

/*
 * The loop empties `data` afterwards: blocks that came from the application may have a clean-up
 * function, which is not for other threads to call.
 */
int vst_file_write(struct vst_file *file)
{
    size_t n = evbuffer_get_length(file->data);
    struct evbuffer_ptr at;
    int status;

    evbuffer_ptr_set(file->data, &at, 0, EVBUFFER_PTR_SET);
    if (count_down(file, file->hole + n) < 0)
        return -1;
    status = file->gap.makes_holes ? vst_file_write_sparse(file)
                                   : vst_file_write_part(file, file->data, at, n);
    if (status == 0)
        begin_writeback(file);
    return status;
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
    if (file->left && file->left != UINT64_MAX)
        return vst_error_set(&file->error, VST_ERR_TRUNCATED,
                             "%s: %" PRIu64 " of the bytes that were to come did not", file->path,
                             file->left);
    if (file->gap.makes_holes && vst_file_end_sparse(file) < 0)
        return -1;
    if (vst_file_sync_fd(file, file->fd, "sync") < 0)
        return -1;
    if (file->kind->publish && file->kind->publish(file) < 0)
        return -1;
    unlock(file);
    return 0;
}

void vst_file_undo(struct vst_file *file)
{
    vst_close(&file->fd);
    if (file->kind->discard)
        file->kind->discard(file);
}

void vst_file_dispose(struct vst_job *job)
{
    struct vst_file *file = (struct vst_file *)job;

    vst_file_undo(file);
    vst_file_free(file);
}

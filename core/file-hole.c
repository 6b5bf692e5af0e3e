/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes of files. When reading they are passed over, and become zeros that nobody has read; when
 * writing, runs of zeros are left out, wherever they come from.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "buffer.h"
#include "file.h"
#include "zeros.h"

/* ---- reading ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Where the next data is, at `at` or later; the end of the file if there is none; -1: not known. */
static off_t next_data(const struct vst_file *file, off_t at)
{
    off_t data = file->calls->lseek(file->fd, at, SEEK_DATA);

    return data < 0 && errno == ENXIO ? file->calls->lseek(file->fd, 0, SEEK_END) : data;
}

/*
 * Short holes are read: to pass them over would cost more. What cannot tell where its holes are
 * (devices, some file systems), or tells nonsense, has none.
 */
uint64_t vst_file_pass_hole(struct vst_file *file)
{
    off_t at = file->calls->lseek(file->fd, 0, SEEK_CUR);
    off_t data = at < 0 ? -1 : next_data(file, at);
    uint64_t hole = 0;

    file->data_left = UINT64_MAX;
    if (at < 0)
        return 0;
    if (data > at && data - at >= VST_BLOCK) {
        hole = least((uint64_t)(data - at), file->left);
        file->data_left = 0;
    } else if (data > at) {
        file->data_left = (uint64_t)(data - at);
    } else if (data == at) {
        off_t end = file->calls->lseek(file->fd, at, SEEK_HOLE);

        if (end > at)
            file->data_left = (uint64_t)(end - at);
    }
    if (file->calls->lseek(file->fd, at + (off_t)hole, SEEK_SET) < 0)
        return 0;
    return hole;
}

/* ---- writing ---- */

static int move_on(struct vst_file *file, uint64_t n)
{
    if (file->calls->lseek(file->fd, (off_t)n, SEEK_CUR) < 0)
        return vst_file_fail(file, "seek");
    file->gap.at += n;
    return 0;
}

static void has_written(struct vst_gap *gap, uint64_t n)
{
    gap->at += n;
    if (gap->at > gap->end)
        gap->end = gap->at;
}

static int write_zeros(struct vst_file *file, uint64_t n)
{
    while (n) {
        struct iovec vec = {(void *)(uintptr_t)vst_zeros(), (size_t)least(n, VST_ZEROS_BLOCK)};
        ssize_t done;

        if (atomic_load(&file->unwanted))
            return vst_error_set(&file->error, VST_ERR_CANCELLED, "%s: nobody wants it any more",
                                 file->path ? file->path : "file");
        done = file->calls->writev(file->fd, &vec, 1);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = ENOSPC;
        if (done <= 0)
            return vst_file_fail(file, "write");
        has_written(&file->gap, (uint64_t)done);
        n -= (uint64_t)done;
    }
    return 0;
}

/* Beyond the end nothing is there; before it what is there makes way for a hole. */
static int leave_out(struct vst_file *file, uint64_t n)
{
    struct vst_gap *gap = &file->gap;
    uint64_t inside = gap->at < gap->end ? least(n, gap->end - gap->at) : 0;

    if (inside && file->calls->fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         (off_t)gap->at, (off_t)inside) < 0) {
        if (write_zeros(file, inside) < 0)
            return -1;
        n -= inside;
    }
    return move_on(file, n);
}

static int end_gap(struct vst_file *file)
{
    uint64_t n = file->gap.zeros;

    file->gap.zeros = 0;
    return n >= VST_ZEROS_LEAST ? leave_out(file, n) : write_zeros(file, n);
}

/* Data, which may end in zeros that are the beginning of a run. */
static int write_data(struct vst_file *file, const struct evbuffer_ptr *at, size_t n, bool last)
{
    size_t tail = last ? vst_zeros_tail(file->data, at, n) : 0;

    if (tail < n && (end_gap(file) < 0 || vst_file_write_part(file, file->data, *at, n - tail) < 0))
        return -1;
    has_written(&file->gap, n - tail);
    file->gap.zeros += tail;
    return 0;
}

/* Where no file goes on the offset cannot be set either. */
static int try_offset(struct vst_file *file, uint64_t n)
{
    off_t at = (off_t)file->gap.at;
    int status = -1;

    errno = EFBIG;
    if (n > (uint64_t)(INT64_MAX - at) ||
        file->calls->lseek(file->fd, at + (off_t)n, SEEK_SET) < 0) {
        errno = errno == EINVAL ? EFBIG : errno;
        vst_file_fail(file, "a hole");
    } else {
        status = 0;
    }
    if (file->calls->lseek(file->fd, at, SEEK_SET) < 0)
        return vst_file_fail(file, "seek");
    return status;
}

/* That no file can have so many zeros is told when they come, not with the bytes that follow. */
static int take_hole(struct vst_file *file)
{
    file->gap.zeros += file->hole;
    return try_offset(file, file->gap.zeros);
}

int vst_file_write_sparse(struct vst_file *file)
{
    size_t left = evbuffer_get_length(file->data);
    struct evbuffer_ptr at;

    if (file->hole && take_hole(file) < 0)
        return -1;
    evbuffer_ptr_set(file->data, &at, 0, EVBUFFER_PTR_SET);
    while (left) {
        bool zeros;
        size_t before = (size_t)least(file->gap.zeros, VST_ZEROS_LEAST);
        size_t n = vst_zeros_run(file->data, &at, left, before, &zeros);

        if (zeros)
            file->gap.zeros += n;
        else if (write_data(file, &at, n, n == left) < 0)
            return -1;
        left -= n;
        if (left)
            evbuffer_ptr_set(file->data, &at, n, EVBUFFER_PTR_ADD);
    }
    return 0;
}

int vst_file_end_sparse(struct vst_file *file)
{
    struct vst_gap *gap = &file->gap;

    if (end_gap(file) < 0)
        return -1;
    if (gap->at > gap->end && file->calls->ftruncate(file->fd, (off_t)gap->at) < 0)
        return vst_file_fail(file, "setting its length");
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file, as the worker's threads see it: one job at a time opens it, reads, writes, syncs or lets
 * go of it. The channel on it is the loop's and in channel-file.c; the two share no lock, because
 * the file belongs to the thread while a job runs and to the loop otherwise.
 *
 * Kinds differ in how a file opens and what it takes to be complete: one that was handed over
 * open, one that exists, one that is to appear (channel-new-file.c), a volume (pool-methods.c).
 */
#ifndef VST_CORE_FILE_H
#define VST_CORE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "blocks.h"
#include "channel.h"
#include "worker.h"

/* The system calls that may wait for a disk. Tests put in disks that are full, broken or stuck. */
struct vst_file_calls {
    int (*openat)(int dir, const char *path, int flags, mode_t mode);
    ssize_t (*readv)(int fd, const struct iovec *into, int count);
    ssize_t (*writev)(int fd, const struct iovec *from, int count);
    off_t (*lseek)(int fd, off_t offset, int whence);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*ftruncate)(int fd, off_t length);
    int (*fsync)(int fd);
    int (*linkat)(int from_dir, const char *from, int to_dir, const char *to, int flags);
    int (*renameat2)(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
    int (*unlinkat)(int dir, const char *name, int flags);
};

extern const struct vst_file_calls vst_file_calls_real;

enum {
    VST_FILE_BUFFER = 1024 * 1024,      /* the most that is read ahead, or written behind */
    VST_FILE_JOB = VST_FILE_BUFFER / 2, /* the most that one job reads; worth one that writes */
};

struct vst_file;

/* Zeros that are to be written, and may become a hole: file-hole.c. Only for a file whose offset is
 * nobody else's. */
struct vst_gap {
    bool makes_holes;
    uint64_t zeros; /* that came last and have not been written */
    uint64_t at;    /* where in the file writing goes on, before those zeros */
    uint64_t end;   /* how long the file is */
};

/* All on a thread, and on nothing but the file. 0, or -1 with the file's error filled. */
struct vst_file_kind {
    int (*open)(struct vst_file *file);     /* sets fd; NULL: is open */
    int (*publish)(struct vst_file *file);  /* after the sync; NULL: has its name already */
    void (*discard)(struct vst_file *file); /* undoes what is not complete; may come twice */
};

struct vst_file {
    struct vst_job job;
    const struct vst_file_kind *kind;
    const struct vst_file_calls *calls;
    void *channel;                      /* the loop's, also while a job runs */
    int (*step)(struct vst_file *file); /* what the job does */
    int fd;                             /* -1: not open */
    char *path;                         /* NULL: only the descriptor is known */
    uint64_t hole;                      /* zeros that a job is to write first */
    struct evbuffer *data;              /* what it is to write then */
    size_t written;                     /* since the disk was last asked to begin */
    uint64_t left;                      /* to be read or written yet; UINT64_MAX: what there is */
    uint64_t data_left;                 /* to be read before it is looked for a hole again */
    struct vst_gap gap;                 /* when writing */
    struct vst_block_list filled;       /* what a job has read */
    struct vst_blocks *blocks;          /* what it reads into; NULL: not begun, or ended */
    bool ended;                         /* read to the end */
    bool locked;                        /* with flock(); no longer than it takes to be complete */
    atomic_bool unwanted;               /* aborted or destroyed; set while a job may run */
    struct vst_error error;
};

/*
 * A file in `size` bytes that begin with struct vst_file; what follows is zero. `path` is copied
 * and may be NULL.
 */
struct vst_file *vst_file_new(size_t size, const struct vst_file_kind *kind, const char *path,
                              struct vst_error *ret_err);

/* One that is to appear: see vst_channel_new_file(). */
struct vst_file *vst_new_file(const char *path, unsigned flags, struct vst_error *ret_err);
/* Removes the temporary files in a directory that whoever made them did not live to finish. */
void vst_new_file_tidy(int dir);

/* One that was never opened. */
void vst_file_free(struct vst_file *file);

/* Steps. */
int vst_file_open(struct vst_file *file);
int vst_file_read(struct vst_file *file);  /* at most VST_FILE_JOB bytes and holes, into `filled` */
int vst_file_write(struct vst_file *file); /* `hole`, and all of `data`, which stays as it is */
int vst_file_sync(struct vst_file *file);

/* What is left to do when a step has failed, on the same thread: when the channel tells of the
 * failure, nothing is left of the file. */
void vst_file_undo(struct vst_file *file);

/* The last job: undoes and frees. */
void vst_file_dispose(struct vst_job *job);

/*
 * How many zeros begin here, which need not be read and are passed over; 0: to be read, and
 * data_left says when to ask again.
 */
uint64_t vst_file_pass_hole(struct vst_file *file);
/* `hole` and `data`, runs of zeros left out. */
int vst_file_write_sparse(struct vst_file *file);
/* The zeros at the end. */
int vst_file_end_sparse(struct vst_file *file);

/* `n` bytes of `from`, which may be anywhere, at the present offset. */
int vst_file_write_part(struct vst_file *file, struct evbuffer *from, struct evbuffer_ptr at,
                        size_t n);

/* fsync() where there is something to sync; `what` for the error. */
int vst_file_sync_fd(struct vst_file *file, int fd, const char *what);

/* Fills the error from errno: "PATH: WHAT: reason". Returns -1. */
int vst_file_fail(struct vst_file *file, const char *what);

/* The channel on it, which takes it, also on failure: then it is gone. */
struct vst_channel *vst_file_channel(struct event_base *base, struct vst_file *file,
                                     struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that appears under its name only when complete and on disk. Until then it has no name at
 * all where the file system can do that, so that not even a killed process leaves anything behind;
 * otherwise a hidden one beside the place it is for, which is locked, so that what a killed process
 * left can be told from what is under way. What moves its bytes is channel-file.c.
 */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd.h"

struct new_file {
    struct vst_file file;
    unsigned flags;
    int dir;          /* the directory it is for; -1: not open */
    const char *name; /* within `dir` */
    char temp[40];    /* its name in `dir` until it is complete; empty: it has none */
    bool replaces;
    struct stat old; /* the file that it replaces */
};

static const char temp_prefix[] = ".virstream-"; /* and 16 hexadecimal digits */

enum { TRIES = 16, MODE = 0600 }; /* it holds the memory of a guest */

static struct new_file *new_of(struct vst_file *file)
{
    return (struct new_file *)file;
}

/* Splits the path and opens the directory part. */
static int open_directory(struct new_file *self)
{
    const char *path = self->file.path;
    const char *slash = strrchr(path, '/');
    char *part;

    self->name = slash ? slash + 1 : path;
    if (!slash)
        part = strdup(".");
    else
        part = strndup(path, slash > path ? (size_t)(slash - path) : 1);
    if (!part)
        return vst_error_no_memory(&self->file.error);
    self->dir = self->file.calls->openat(AT_FDCWD, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    free(part);
    return self->dir < 0 ? vst_file_fail(&self->file, "directory") : 0;
}

/* Better refused now than after a gigabyte. Replacing a device or a link is never meant. */
static int check_place(struct new_file *self)
{
    struct vst_error *err = &self->file.error;

    if (!*self->name)
        return vst_error_set(err, VST_ERR_INVALID, "%s: names no file", self->file.path);
    if (fstatat(self->dir, self->name, &self->old, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vst_file_fail(&self->file, "stat");
    self->replaces = true;
    if (!S_ISREG(self->old.st_mode))
        return vst_error_set(err, VST_ERR_INVALID, "%s: exists and is not a regular file",
                             self->file.path);
    if (self->flags & VST_FILE_NO_REPLACE)
        return vst_error_set(err, VST_ERR_EXISTS, "%s: exists", self->file.path);
    return 0;
}

static int make_up_name(struct new_file *self)
{
    uint64_t number;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
        return vst_file_fail(&self->file, "making up a name");
    snprintf(self->temp, sizeof(self->temp), "%s%016llx", temp_prefix, (unsigned long long)number);
    return 0;
}

/* The path under which a file without a name can be given one. */
static void own_path(const struct new_file *self, char ret_path[64])
{
    snprintf(ret_path, 64, "/proc/self/fd/%d", self->file.fd);
}

/* False: not on this file system, or /proc is missing. */
static bool open_unnamed(struct new_file *self)
{
    char path[64];

    self->file.fd = self->file.calls->openat(self->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
    if (self->file.fd < 0)
        return false;
    own_path(self, path);
    if (access(path, F_OK) == 0)
        return true;
    vst_close(&self->file.fd);
    return false;
}

/*
 * False: whoever tidies has been faster. A shared lock, as it must not keep anybody from reading
 * the file when it has its name. Where there are no locks nobody tidies.
 */
static bool lock(struct new_file *self)
{
    self->file.locked = true;
    return flock(self->file.fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

static bool is_gone(const struct new_file *self)
{
    struct stat st;

    return fstat(self->file.fd, &st) == 0 && !st.st_nlink;
}

static int open_named(struct new_file *self)
{
    for (int tries = 0; tries < TRIES; tries++) {
        if (make_up_name(self) < 0)
            return -1;
        self->file.fd = self->file.calls->openat(
            self->dir, self->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE);
        if (self->file.fd >= 0 && lock(self) && !is_gone(self))
            return 0;
        self->temp[0] = '\0';
        if (self->file.fd < 0 && errno != EEXIST)
            break;
        vst_close(&self->file.fd);
    }
    return vst_file_fail(&self->file, "create");
}

/* As far as we may: never more than the old owner's or ours. */
static void keep_owner(const struct new_file *self)
{
    const struct stat *old = &self->old;
    struct stat st;

    if (!self->replaces || !(self->flags & VST_FILE_KEEP_OWNER) || fstat(self->file.fd, &st) < 0)
        return;
    if ((st.st_uid == old->st_uid && st.st_gid == old->st_gid) ||
        fchown(self->file.fd, old->st_uid, old->st_gid) == 0)
        (void)fchmod(self->file.fd, old->st_mode & 0777);
}

static int new_open(struct vst_file *file)
{
    struct new_file *self = new_of(file);

    if (open_directory(self) < 0 || check_place(self) < 0)
        return -1;
    if (open_unnamed(self))
        lock(self); /* before it has a name */
    else if (open_named(self) < 0)
        return -1;
    keep_owner(self);
    return 0;
}

static int give_name(struct new_file *self)
{
    char path[64];

    own_path(self, path);
    for (int tries = 0; tries < TRIES; tries++) {
        if (make_up_name(self) < 0)
            return -1;
        if (self->file.calls->linkat(AT_FDCWD, path, self->dir, self->temp, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        self->temp[0] = '\0';
        if (errno != EEXIST)
            break;
    }
    return vst_file_fail(&self->file, "link");
}

/* An abort that comes when the rename has begun comes too late: the file is complete. */
static int new_publish(struct vst_file *file)
{
    struct new_file *self = new_of(file);
    unsigned flags = self->flags & VST_FILE_NO_REPLACE ? RENAME_NOREPLACE : 0;

    if (!self->temp[0] && give_name(self) < 0)
        return -1;
    if (atomic_load(&file->unwanted))
        return vst_error_set(&file->error, VST_ERR_CANCELLED, "%s: aborted", file->path);
    if (file->calls->renameat2(self->dir, self->temp, self->dir, self->name, flags) < 0)
        return vst_file_fail(file, "rename");
    self->temp[0] = '\0';
    return vst_file_sync_fd(file, self->dir, "sync of its directory");
}

static void new_discard(struct vst_file *file)
{
    struct new_file *self = new_of(file);

    if (self->temp[0])
        file->calls->unlinkat(self->dir, self->temp, 0);
    self->temp[0] = '\0';
    vst_close(&self->dir);
}

static const struct vst_file_kind new_kind = {
    .open = new_open,
    .publish = new_publish,
    .discard = new_discard,
};

struct vst_file *vst_new_file(const char *path, unsigned flags, struct vst_error *ret_err)
{
    struct vst_file *file = vst_file_new(sizeof(struct new_file), &new_kind, path, ret_err);

    if (!file)
        return NULL;
    new_of(file)->dir = -1;
    new_of(file)->flags = flags;
    file->gap.makes_holes = true;
    return file;
}

struct vst_channel *vst_channel_new_file(struct event_base *base, const char *path, unsigned flags,
                                         struct vst_error *ret_err)
{
    struct vst_file *file = vst_new_file(path, flags, ret_err);

    return file ? vst_file_channel(base, file, ret_err) : NULL;
}

/* ---- what killed processes leave ---- */

static bool is_temp(const char *name)
{
    const char *number = name + strlen(temp_prefix);

    return strncmp(name, temp_prefix, strlen(temp_prefix)) == 0 && strlen(number) == 16 &&
           strspn(number, "0123456789abcdef") == 16;
}

/* Under its lock nobody else has it, and nobody will: its maker is gone. */
static void remove_left(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat ours, there;

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 && S_ISREG(ours.st_mode) &&
        fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == ours.st_dev &&
        there.st_ino == ours.st_ino)
        unlinkat(dir, name, 0);
    close(fd);
}

void vst_new_file_tidy(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!list) {
        vst_close(&fd);
        return;
    }
    while ((entry = readdir(list)))
        if (is_temp(entry->d_name))
            remove_left(dir, entry->d_name);
    closedir(list);
}

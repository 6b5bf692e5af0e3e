/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening disks and logs. O_NONBLOCK is there only while opening, so that a FIFO in the place of a
 * disk is an error and not a wait.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "new-disk.h"

static int check_kind(int fd, const char *member, const char *path, struct vst_error *ret_err)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
        return vst_error_system(ret_err, errno, "%s: %s", member, path);
    if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %s: not a file or block device", member,
                         path);
}

static int open_file(const char *path, int flags, const char *member, int *ret_fd,
                     struct vst_error *ret_err)
{
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);

    if (fd < 0)
        return vst_error_system(ret_err, errno, "%s: %s", member, path);
    if (check_kind(fd, member, path, ret_err) < 0) {
        close(fd);
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

static int open_disk(const struct vst_disk *disk, int *ret_fd, struct vst_error *ret_err)
{
    return open_file(disk->file, disk->readonly ? O_RDONLY : O_RDWR, disk->name, ret_fd, ret_err);
}

static int *place(struct vst_files *files, int number)
{
    return &files->fds[number - VST_QEMU_FD_MONITOR];
}

static int open_all(const struct vst_definition *def, struct vst_files *files,
                    struct vst_error *ret_err)
{
    if (def->console && def->console->log &&
        open_file(def->console->log, O_WRONLY | O_APPEND | O_CREAT, "console.log",
                  place(files, VST_QEMU_FD_CONSOLE_LOG), ret_err) < 0)
        return -1;
    for (int i = 0; def->disks && def->disks[i]; i++) {
        if (open_disk(def->disks[i], place(files, VST_QEMU_FD_DISKS + i), ret_err) < 0)
            return -1;
    }
    return 0;
}

struct vst_files *vst_files_open(const struct vst_definition *def, struct vst_error *ret_err)
{
    size_t count = VST_QEMU_FD_DISKS - VST_QEMU_FD_MONITOR;
    struct vst_files *files;

    for (struct vst_disk **disk = def->disks; disk && *disk; disk++)
        count++;
    files = malloc(sizeof(*files) + count * sizeof(files->fds[0]));
    if (!files) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    files->count = count;
    for (size_t i = 0; i < count; i++)
        files->fds[i] = -1;
    if (open_all(def, files, ret_err) < 0)
        vst_files_free(&files);
    return files;
}

/*
 * QEMU locks bytes of an image (block/file-posix.c): 100 + p for each permission p that it has, and
 * 200 + p for each that it grants to nobody else. Permission 0 is to read, 1 is to write; our QEMU
 * would grant nobody to write.
 */
static bool is_locked(int fd, bool readonly)
{
    const off_t has_write = 101, denies = readonly ? 200 : 201, bytes[] = {has_write, denies};
    bool locked = false;

    for (size_t i = 0; i < 2 && !locked; i++) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = bytes[i], .l_len = 1};

        locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    }
    return locked;
}

static int check_disk(const struct vst_disk *disk, enum vst_disks disks, struct vst_error *ret_err)
{
    int fd, result = 0;

    if (disks == VST_DISKS_NEW && !disk->readonly)
        return vst_new_disk_check(disk, ret_err);
    if (open_disk(disk, &fd, ret_err) < 0)
        return -1;
    if (disks == VST_DISKS_FREE && is_locked(fd, disk->readonly))
        result = vst_error_set(ret_err, VST_ERR_BUSY, "%s: %s: another QEMU has locked it",
                               disk->name, disk->file);
    close(fd);
    return result;
}

/* One that is not there yet is made later, and not before it is known that the guest may come. */
static int check_log(const char *path, struct vst_error *ret_err)
{
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    struct vst_error err = {0};
    int fd = -1, result = 0;

    if (!folder)
        return vst_error_no_memory(ret_err);
    if (slash)
        slash[slash == folder ? 1 : 0] = '\0';
    if (open_file(path, O_WRONLY | O_APPEND, "console.log", &fd, &err) == 0)
        close(fd);
    else if (err.system != ENOENT)
        result = vst_error_copy(ret_err, &err);
    else if (access(folder, W_OK | X_OK) < 0)
        result = vst_error_system(ret_err, errno, "console.log: %s", path);
    free(folder);
    return result;
}

void vst_files_check(const struct vst_definition *def, enum vst_disks disks,
                     void (*tell)(void *opaque, const struct vst_error *err), void *opaque)
{
    const struct {
        const char *member;
        const char *path;
    } inputs[] = {
        {"firmware", def->firmware},
        {"kernel", def->kernel},
        {"initrd", def->initrd},
    };

    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        struct vst_error err = {0};

        /* QEMU looks for firmware without a path where it keeps its own. */
        if (!inputs[i].path || inputs[i].path[0] != '/' || access(inputs[i].path, R_OK) == 0)
            continue;
        vst_error_system(&err, errno, "%s: %s", inputs[i].member, inputs[i].path);
        tell(opaque, &err);
    }
    if (def->console && def->console->log) {
        struct vst_error err = {0};

        if (check_log(def->console->log, &err) < 0)
            tell(opaque, &err);
    }
    for (struct vst_disk **disk = def->disks; disk && *disk; disk++) {
        struct vst_error err = {0};

        if ((*disk)->file && check_disk(*disk, disks, &err) < 0)
            tell(opaque, &err);
    }
}

void vst_files_set(struct vst_files *files, enum vst_qemu_fd number, int *fd)
{
    *place(files, (int)number) = *fd;
    *fd = -1;
}

void vst_files_free(struct vst_files **files)
{
    for (size_t i = 0; *files && i < (*files)->count; i++)
        if ((*files)->fds[i] >= 0)
            close((*files)->fds[i]);
    free(*files);
    *files = NULL;
}

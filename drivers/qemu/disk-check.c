/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes of images, without a QEMU: of a raw one it is that of the file, of a qcow2 one it stands in
 * the header. A copy takes what the file takes at the source, which is far less than the size where
 * an image has holes; room that is needed only later is not asked for.
 */
#include "disk-check.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SECTOR = 512 };

struct vst_disk_fact *vst_disk_facts(const struct vst_definition *def,
                                     struct vst_disk_size *const *sizes)
{
    struct vst_disk_fact *facts;
    size_t count = 0;

    while (def->disks && def->disks[count])
        count++;
    facts = calloc(count + 1, sizeof(*facts));
    for (; facts && sizes && *sizes; sizes++)
        for (size_t i = 0; i < count; i++)
            if (strcmp(def->disks[i]->name, (*sizes)->disk) == 0)
                facts[i] = (struct vst_disk_fact){(*sizes)->size, (*sizes)->allocated};
    return facts;
}

/* ---- those that are there ---- */

static int qcow2_size(int fd, const struct vst_disk *disk, uint64_t *ret_size,
                      struct vst_error *ret_err)
{
    struct {
        uint32_t magic, version;
        uint64_t backing_file_offset;
        uint32_t backing_file_size, cluster_bits;
        uint64_t size;
    } header;
    ssize_t n = pread(fd, &header, sizeof(header), 0);

    if (n < 0)
        return vst_error_system(ret_err, errno, "%s: %s", disk->name, disk->file);
    if (n != sizeof(header) || be32toh(header.magic) != 0x514649fb)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %s: is no qcow2 image", disk->name,
                             disk->file);
    *ret_size = be64toh(header.size);
    return 0;
}

static int raw_size(int fd, const struct vst_disk *disk, uint64_t *ret_size,
                    struct vst_error *ret_err)
{
    off_t end = lseek(fd, 0, SEEK_END); /* of a block device, too */

    if (end < 0)
        return vst_error_system(ret_err, errno, "%s: %s", disk->name, disk->file);
    *ret_size = (uint64_t)end;
    return 0;
}

/* QEMU tells the size in whole sectors. */
static bool are_same(uint64_t one, uint64_t other)
{
    return (one > other ? one - other : other - one) < SECTOR;
}

static int compare(int fd, const struct vst_disk *disk, uint64_t wanted, struct vst_error *ret_err)
{
    uint64_t size = 0;
    int status = strcmp(disk->format, "qcow2") == 0 ? qcow2_size(fd, disk, &size, ret_err)
                                                    : raw_size(fd, disk, &size, ret_err);

    if (status < 0 || are_same(size, wanted))
        return status;
    return vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                         "%s: %s: has %ju bytes here, and %ju at the source: it is another disk",
                         disk->name, disk->file, (uintmax_t)size, (uintmax_t)wanted);
}

/* What cannot be opened, or is no disk, has been told of. */
static int check_size(const struct vst_disk *disk, uint64_t wanted, struct vst_error *ret_err)
{
    int fd = open(disk->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), status = 0;
    struct stat st;

    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
        status = compare(fd, disk, wanted, ret_err);
    close(fd);
    return status;
}

/* ---- those that are to be made ---- */

/* A file system that gets copies. */
struct room {
    dev_t device;
    uint64_t left;
};

struct rooms {
    struct room *list;
    size_t count;
};

static struct room *find_room(struct rooms *rooms, const char *folder)
{
    struct statvfs fs;
    struct room *grown;
    struct stat st;

    if (stat(folder, &st) < 0)
        return NULL;
    for (size_t i = 0; i < rooms->count; i++)
        if (rooms->list[i].device == st.st_dev)
            return &rooms->list[i];
    if (statvfs(folder, &fs) < 0)
        return NULL;
    grown = reallocarray(rooms->list, rooms->count + 1, sizeof(*grown));
    if (!grown)
        return NULL;
    rooms->list = grown;
    grown[rooms->count] = (struct room){st.st_dev, (uint64_t)fs.f_bavail * fs.f_frsize};
    return &grown[rooms->count++];
}

/* Where that cannot be known, it turns out when the disk is copied. */
static int check_room(struct rooms *rooms, const struct vst_disk *disk,
                      const struct vst_disk_fact *fact, struct vst_error *ret_err)
{
    uint64_t needed = fact->allocated < fact->size ? fact->allocated : fact->size;
    const char *slash = strrchr(disk->file, '/');
    char *folder = strndup(disk->file, slash == disk->file ? 1 : (size_t)(slash - disk->file));
    struct room *room = folder && needed ? find_room(rooms, folder) : NULL;
    int status = 0;

    if (room && needed > room->left)
        status = vst_error_set(ret_err, VST_ERR_INCOMPATIBLE,
                               "%s: %s: a copy needs %ju bytes, and %ju are free for it",
                               disk->name, disk->file, (uintmax_t)needed, (uintmax_t)room->left);
    if (room)
        room->left -= needed < room->left ? needed : room->left;
    free(folder);
    return status;
}

void vst_disks_check(const struct vst_definition *def, const struct vst_disk_fact *facts,
                     enum vst_disks disks, void (*tell)(void *opaque, const struct vst_error *err),
                     void *opaque)
{
    struct rooms rooms = {NULL, 0};

    for (size_t i = 0; def->disks && def->disks[i]; i++) {
        const struct vst_disk *disk = def->disks[i];
        struct vst_error err = {0};
        int status = 0;

        if (disk->file && disks == VST_DISKS_NEW && !disk->readonly)
            status = check_room(&rooms, disk, &facts[i], &err);
        else if (disk->file && facts[i].size)
            status = check_size(disk, facts[i].size, &err);
        if (status < 0)
            tell(opaque, &err);
    }
    free(rooms.list);
}

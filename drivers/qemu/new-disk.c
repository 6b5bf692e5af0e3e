/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Empty images. A raw one is a hole. A qcow2 one is written as docs/interop/qcow2.txt of QEMU has
 * it, version 3: a header, a table of one block of reference counts, and an empty L1 table, each
 * on clusters of their own. QEMU cannot be asked to make it: it opens its disks before it talks.
 */
#include "new-disk.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fd.h"

enum {
    SECTOR = 512,
    CLUSTER_BITS = 16,
    CLUSTER = 1 << CLUSTER_BITS,
    L2_ENTRIES = CLUSTER / 8,
    L1_MAX = 4 * 1024 * 1024, /* entries that QEMU allows */
    FIXED = 3,                /* clusters before the L1 table */
    REFCOUNT_ORDER = 4,       /* 16 bits each */
};

/* All of it big-endian. */
struct header {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_file_offset;
    uint32_t backing_file_size;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size;
    uint64_t l1_table_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t snapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible_features;
    uint64_t compatible_features;
    uint64_t autoclear_features;
    uint32_t refcount_order;
    uint32_t header_length;
};
_Static_assert(sizeof(struct header) == 104, "as in the file");

static int write_at(int fd, const void *data, size_t length, off_t offset)
{
    ssize_t n = pwrite(fd, data, length, offset);

    if (n >= 0 && (size_t)n < length)
        errno = ENOSPC;
    return n == (ssize_t)length ? 0 : -1;
}

static int write_header(int fd, uint64_t size, uint32_t l1_entries)
{
    struct header header = {
        .magic = htobe32(0x514649fb),
        .version = htobe32(3),
        .cluster_bits = htobe32(CLUSTER_BITS),
        .size = htobe64(size),
        .l1_size = htobe32(l1_entries),
        .l1_table_offset = htobe64(FIXED * CLUSTER),
        .refcount_table_offset = htobe64(CLUSTER),
        .refcount_table_clusters = htobe32(1),
        .refcount_order = htobe32(REFCOUNT_ORDER),
        .header_length = htobe32(sizeof(header)),
    };

    return write_at(fd, &header, sizeof(header), 0);
}

static int write_refcounts(int fd, size_t clusters)
{
    uint64_t block_offset = htobe64(2 * CLUSTER);
    uint16_t counts[FIXED + L1_MAX / L2_ENTRIES];

    for (size_t i = 0; i < clusters; i++)
        counts[i] = htobe16(1);
    if (write_at(fd, &block_offset, sizeof(block_offset), CLUSTER) < 0)
        return -1;
    return write_at(fd, counts, clusters * sizeof(counts[0]), 2 * CLUSTER);
}

static int write_qcow2(int fd, uint64_t size)
{
    uint64_t covers = (uint64_t)CLUSTER * L2_ENTRIES;
    uint64_t entries = size / covers + (size % covers != 0);
    size_t clusters;

    if (entries > L1_MAX) {
        errno = EFBIG;
        return -1;
    }
    clusters = FIXED + (entries + L2_ENTRIES - 1) / L2_ENTRIES;
    if (ftruncate(fd, (off_t)clusters * CLUSTER) < 0 || write_refcounts(fd, clusters) < 0)
        return -1;
    return write_header(fd, size, (uint32_t)entries);
}

int vst_new_disk_check(const struct vst_disk *disk, struct vst_error *ret_err)
{
    const char *slash = strrchr(disk->file, '/');
    struct stat st;
    char *folder;
    int status;

    if (lstat(disk->file, &st) == 0)
        return vst_error_set(ret_err, VST_ERR_EXISTS,
                             "%s: %s: is there already, and disks are only copied to new files",
                             disk->name, disk->file);
    if (errno != ENOENT)
        return vst_error_system(ret_err, errno, "%s: %s", disk->name, disk->file);
    folder = strndup(disk->file, slash == disk->file ? 1 : (size_t)(slash - disk->file));
    if (!folder)
        return vst_error_no_memory(ret_err);
    status = access(folder, W_OK | X_OK);
    if (status < 0)
        vst_error_system(ret_err, errno, "%s: %s", disk->name, folder);
    free(folder);
    return status;
}

void vst_new_disk_remove(const struct vst_disk *disk, const struct vst_new_disk *made)
{
    struct stat st;

    if (lstat(disk->file, &st) == 0 && st.st_dev == made->device && st.st_ino == made->inode)
        unlink(disk->file);
}

/* Nobody knows of it yet. */
static int fill(int fd, const struct vst_disk *disk, uint64_t size, struct vst_new_disk *ret_made)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    *ret_made = (struct vst_new_disk){st.st_dev, st.st_ino};
    return strcmp(disk->format, "qcow2") == 0 ? write_qcow2(fd, size) : ftruncate(fd, (off_t)size);
}

int vst_new_disk_make(const struct vst_disk *disk, uint64_t size, struct vst_new_disk *ret_made,
                      struct vst_error *ret_err)
{
    int fd, status;

    if (!size || size % SECTOR || size > INT64_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: a disk cannot have %ju bytes",
                             disk->name, (uintmax_t)size);
    fd = open(disk->file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return vst_error_system(ret_err, errno, "%s: %s", disk->name, disk->file);
    status = fill(fd, disk, size, ret_made);
    if (status < 0) {
        vst_error_system(ret_err, errno, "%s: %s", disk->name, disk->file);
        unlink(disk->file);
    }
    vst_close(&fd);
    return status;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk that disk.h promises.
 */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct disk disk;

static int fails(atomic_int *left)
{
    if (atomic_load(left) == 0 || atomic_fetch_sub(left, 1) != 1)
        return 0;
    errno = disk.fail_with;
    return -1;
}

static void wait_at_gate(bool here)
{
    if (!disk.gated || !here)
        return;
    disk.stuck++;
    sem_wait(&disk.gate);
    disk.stuck--;
}

static int disk_openat(int at, const char *name, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && disk.unnamed_refused) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if ((flags & O_CREAT) && fails(&disk.creates_left) < 0)
        return -1;
    return openat(at, name, flags, mode);
}

static ssize_t disk_readv(int fd, const struct iovec *into, int count)
{
    wait_at_gate(!disk.gate_at_sync);
    return fails(&disk.reads_left) < 0 ? -1 : readv(fd, into, count);
}

static ssize_t disk_writev(int fd, const struct iovec *from, int count)
{
    struct iovec first = *from;

    disk.writes++;
    wait_at_gate(!disk.gate_at_sync);
    if (fails(&disk.writes_left) < 0)
        return -1;
    if (!disk.shortest)
        return writev(fd, from, count);
    if (disk.calls++ % 2) {
        errno = EINTR;
        return -1;
    }
    if (first.iov_len > disk.shortest)
        first.iov_len = disk.shortest;
    return writev(fd, &first, 1);
}

static int disk_fsync(int fd)
{
    wait_at_gate(disk.gate_at_sync);
    return fails(&disk.syncs_left) < 0 ? -1 : fsync(fd);
}

static int disk_linkat(int from, const char *old, int to, const char *name, int flags)
{
    return fails(&disk.links_left) < 0 ? -1 : linkat(from, old, to, name, flags);
}

static int disk_renameat2(int from, const char *old, int to, const char *name, unsigned flags)
{
    return fails(&disk.renames_left) < 0 ? -1 : renameat2(from, old, to, name, flags);
}

const struct vst_file_calls disk_calls = {
    .openat = disk_openat,
    .readv = disk_readv,
    .writev = disk_writev,
    .lseek = lseek,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fsync = disk_fsync,
    .linkat = disk_linkat,
    .renameat2 = disk_renameat2,
    .unlinkat = unlinkat,
};

/* ---- around each test ---- */

unsigned disk_entries(char *ret_name)
{
    DIR *list = opendir(disk.dir);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(list))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        count++;
        if (ret_name)
            snprintf(ret_name, 256, "%s", entry->d_name);
    }
    closedir(list);
    return count;
}

int disk_make(void **state)
{
    (void)state;
    snprintf(disk.dir, sizeof(disk.dir), "/tmp/vst-file-XXXXXX");
    if (!mkdtemp(disk.dir))
        return -1;
    snprintf(disk.path, sizeof(disk.path), "%s/image", disk.dir);
    disk.bytes = malloc(SIZE);
    vst_test_fill(disk.bytes, SIZE, 3);
    disk.fail_with = disk.reads_left = disk.writes_left = disk.syncs_left = 0;
    disk.links_left = disk.renames_left = disk.creates_left = 0;
    disk.gated = disk.gate_at_sync = disk.unnamed_refused = false;
    disk.writes = 0;
    disk.shortest = 0;
    sem_init(&disk.gate, 0, 0);
    disk.base = event_base_new();
    disk.worker = vst_worker_get(disk.base, NULL);
    vst_worker_set_file_calls(disk.worker, &disk_calls);
    return 0;
}

void disk_all_threads_end(void)
{
    if (disk.worker)
        vst_worker_put(&disk.worker);
    for (int calls = 0; disk.gated && calls < 100; calls++)
        sem_post(&disk.gate);
    vst_test_threads_end();
}

int disk_drop(void **state)
{
    char name[256];

    (void)state;
    disk_all_threads_end();
    event_base_free(disk.base);
    sem_destroy(&disk.gate);
    free(disk.bytes);
    while (disk_entries(name)) {
        char full[512];

        snprintf(full, sizeof(full), "%s/%s", disk.dir, name);
        if (remove(full) < 0)
            return -1;
    }
    return rmdir(disk.dir);
}

void disk_put_file(const char *text, size_t len)
{
    int fd = open(disk.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

void disk_expect_file(const void *expected, size_t len)
{
    int fd = open(disk.path, O_RDONLY | O_CLOEXEC);
    unsigned char *read_back = malloc(len + 1);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, read_back, len + 1), len);
    assert_memory_equal(read_back, expected, len);
    free(read_back);
    close(fd);
}

struct vst_channel *disk_open_path(int flags)
{
    int fd = open(disk.path, flags | O_CLOEXEC, 0600);
    struct vst_channel *ch;

    assert_true(fd >= 0);
    ch = vst_channel_any_fd(disk.base, &fd, NULL);
    assert_non_null(ch);
    assert_int_equal(fd, -1);
    return ch;
}

struct vst_channel *disk_new_file(unsigned flags)
{
    struct vst_channel *ch = vst_channel_new_file(disk.base, disk.path, flags, NULL);

    assert_non_null(ch);
    return ch;
}

void disk_expect_reads(struct vst_channel *ch, size_t max, const void *expected, size_t len)
{
    struct evbuffer *into = evbuffer_new();

    assert_int_equal(vst_test_drain(ch, into, max), VST_IO_EOF);
    assert_int_equal(evbuffer_get_length(into), len);
    assert_memory_equal(evbuffer_pullup(into, -1), expected, len);
    evbuffer_free(into);
}

double disk_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void disk_wait_until_stuck(void)
{
    while (!disk.stuck)
        usleep(1000);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What threads do in the directories of pools. Every call here may wait for a disk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd.h"
#include "file.h"
#include "pool.h"

void vst_pool_work_free(struct vst_pool_work *work)
{
    for (size_t i = 0; i < work->place_count; i++) {
        free(work->places[i].name);
        free(work->places[i].dir);
    }
    vst_close(&work->dir);
    vst_close(&work->fd);
    free(work->places);
    free(work->name);
    free(work->infos);
    free(work);
}

static int add_place(struct vst_pool_work *work, const struct vst_volume_pool *pool)
{
    struct vst_pool_place *place = &work->places[work->place_count++];

    place->tidies = !pool->tidy;
    place->name = strdup(pool->name);
    place->dir = strdup(pool->dir);
    return place->name && place->dir ? 0 : -1;
}

static int fill(struct vst_pool_work *work, struct vst_volume_pools *pools,
                const struct vst_volume_pool *pool, const char *name)
{
    const struct vst_volume_pool *at;
    size_t count = 1;

    STAILQ_FOREACH(at, pools, next)
        count++;
    work->places = calloc(count, sizeof(*work->places));
    work->name = name ? strdup(name) : NULL;
    if (!work->places || (name && !work->name))
        return -1;
    STAILQ_FOREACH(at, pools, next)
        if ((!pool || at == pool) && add_place(work, at) < 0)
            return -1;
    return 0;
}

struct vst_pool_work *vst_pool_work_new(struct vst_volume_pools *pools,
                                        const struct vst_volume_pool *pool, const char *name,
                                        struct vst_error *ret_err)
{
    struct vst_pool_work *work = calloc(1, sizeof(*work));

    if (work) {
        work->dir = work->fd = -1;
        work->calls = &vst_file_calls_real;
        work->length = VST_LENGTH_NONE;
        work->all = !pool;
        if (fill(work, pools, pool, name) == 0)
            return work;
        vst_pool_work_free(work);
    }
    vst_error_no_memory(ret_err);
    return NULL;
}

static int fail(struct vst_pool_work *work, const struct vst_pool_place *place, const char *what)
{
    return vst_error_system(&work->error, errno, "%s/%s: %s", place->dir,
                            work->name ? work->name : "", what);
}

static int open_place(struct vst_pool_work *work, struct vst_pool_place *place)
{
    int dir = work->calls->openat(AT_FDCWD, place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    if (dir < 0) {
        vst_error_system(&work->error, errno, "%s: directory of pool %s", place->dir, place->name);
        return -1;
    }
    if (place->tidies)
        vst_new_file_tidy(dir);
    place->tidies = false;
    return dir;
}

/* ---- the list ---- */

static struct vst_volume_info *add_entry(struct vst_pool_work *work)
{
    /* Doubled whenever it is full. */
    if ((work->info_count & (work->info_count - 1)) == 0) {
        size_t room = work->info_count ? 2 * work->info_count : 1;
        struct vst_volume_info *infos = realloc(work->infos, room * sizeof(*infos));

        if (!infos) {
            vst_error_no_memory(&work->error);
            return NULL;
        }
        work->infos = infos;
    }
    memset(&work->infos[work->info_count], 0, sizeof(*work->infos));
    return &work->infos[work->info_count++];
}

static int add_info(struct vst_pool_work *work, const struct vst_pool_place *place,
                    const char *name, const struct stat *st)
{
    struct vst_volume_info *info = add_entry(work);

    if (!info)
        return -1;
    snprintf(info->name, sizeof(info->name), "%s/%s", place->name, name);
    info->size = (uint64_t)st->st_size;
    info->allocated = (uint64_t)st->st_blocks * 512;
    info->changed = st->st_mtime;
    return 0;
}

/* The error of one place becomes an entry of the list. */
static int add_failed(struct vst_pool_work *work, const struct vst_pool_place *place)
{
    const struct vst_error why = work->error;
    struct vst_volume_info *info;

    if (!work->all || why.code == VST_ERR_NO_MEMORY)
        return -1;
    work->error = (struct vst_error){0};
    info = add_entry(work);
    if (!info)
        return -1;
    snprintf(info->name, sizeof(info->name), "%s", place->name);
    info->code = why.code;
    info->system = why.system;
    return 0;
}

/* What goes while we look is not there. */
static int list_entries(struct vst_pool_work *work, const struct vst_pool_place *place, DIR *list)
{
    const struct dirent *entry;
    struct stat st;

    while (errno = 0, entry = readdir(list)) {
        if (!vst_volume_name_fits(entry->d_name) ||
            fstatat(dirfd(list), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (add_info(work, place, entry->d_name, &st) < 0)
            return -1;
    }
    return errno ? fail(work, place, "list") : 0;
}

static int list_place(struct vst_pool_work *work, struct vst_pool_place *place)
{
    int dir = open_place(work, place);
    DIR *list = dir < 0 ? NULL : fdopendir(dir);
    int status;

    if (!list) {
        if (dir >= 0)
            fail(work, place, "list");
        vst_close(&dir);
        return -1;
    }
    status = list_entries(work, place, list);
    closedir(list);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct vst_volume_info *)a)->name,
                  ((const struct vst_volume_info *)b)->name);
}

int vst_pool_work_list(struct vst_pool_work *work)
{
    for (size_t i = 0; i < work->place_count; i++)
        if (list_place(work, &work->places[i]) < 0 && add_failed(work, &work->places[i]) < 0)
            return -1;
    if (work->info_count)
        qsort(work->infos, work->info_count, sizeof(*work->infos), by_name);
    return 0;
}

/* ---- one volume ---- */

/* Looks before it opens: opening a device may do something. */
static int find_volume(struct vst_pool_work *work)
{
    struct stat st;

    work->dir = open_place(work, work->places);
    if (work->dir < 0)
        return -1;
    if (fstatat(work->dir, work->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(work, work->places, "volume");
    if (!S_ISREG(st.st_mode))
        return vst_error_set(&work->error, VST_ERR_INVALID, "%s/%s: is not a regular file",
                             work->places->dir, work->name);
    return 0;
}

/* Who writes in place has a lock that shuts out all others; who reads, one that shuts out writers.
 * A file system without locks cannot keep anybody out. */
static int open_volume(struct vst_pool_work *work, int flags, int lock)
{
    const char *dir = work->places->dir;
    struct stat st;

    if (find_volume(work) < 0)
        return -1;
    work->fd = work->calls->openat(work->dir, work->name,
                                   flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (work->fd < 0 || fstat(work->fd, &st) < 0)
        return fail(work, work->places, "open");
    if (!S_ISREG(st.st_mode))
        return vst_error_set(&work->error, VST_ERR_INVALID, "%s/%s: is not a regular file", dir,
                             work->name);
    if (flock(work->fd, lock | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return vst_error_set(&work->error, VST_ERR_BUSY, "%s/%s: %s", dir, work->name,
                             lock == LOCK_SH ? "is being written in place"
                                             : "is being read, or written in place");
    work->size = (uint64_t)st.st_size;
    return 0;
}

/* The range is there, and the file at its beginning. */
static int find_range(struct vst_pool_work *work)
{
    uint64_t after;

    if (work->offset > work->size)
        return vst_error_set(&work->error, VST_ERR_INVALID,
                             "%s/%s: has %" PRIu64 " bytes, so none at offset %" PRIu64,
                             work->places->dir, work->name, work->size, work->offset);
    after = work->size - work->offset;
    if (work->length == VST_LENGTH_NONE)
        work->length = after;
    if (work->length > after)
        return vst_error_set(&work->error, VST_ERR_INVALID,
                             "%s/%s: has only %" PRIu64 " bytes after offset %" PRIu64,
                             work->places->dir, work->name, after, work->offset);
    return work->calls->lseek(work->fd, (off_t)work->offset, SEEK_SET) < 0
               ? fail(work, work->places, "seek")
               : 0;
}

int vst_pool_work_read(struct vst_pool_work *work)
{
    return open_volume(work, O_RDONLY, LOCK_SH) < 0 ? -1 : find_range(work);
}

int vst_pool_work_write(struct vst_pool_work *work)
{
    return open_volume(work, O_WRONLY, LOCK_EX) < 0 ? -1 : find_range(work);
}

int vst_pool_work_prepare(struct vst_pool_work *work)
{
    work->dir = open_place(work, work->places);
    return work->dir < 0 ? -1 : 0;
}

int vst_pool_work_delete(struct vst_pool_work *work)
{
    if (find_volume(work) < 0)
        return -1;
    if (work->calls->unlinkat(work->dir, work->name, 0) < 0)
        return fail(work, work->places, "delete");
    if (work->calls->fsync(work->dir) < 0 && errno != EINVAL && errno != EROFS)
        return fail(work, work->places, "sync of its directory");
    return 0;
}

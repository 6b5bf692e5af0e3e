/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A place: making it, having hold of it, removing it. It appears whole and locked under its name,
 * and disappears from there in one step, so that nobody ever sees half of one.
 *
 * The lock is of the open file description (fcntl(2), F_OFD_SETLK): it lasts as long as the
 * descriptor, two connections of one process exclude each other like two processes, and that it is
 * held can be seen without taking it.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const known_files[] = {
    "definition.json", "identity", "monitor", "console", "nbd", "log", "job", "job.new", "lock",
};

/* ---- the lock ---- */

static int lock_command(int fd, int command, short *ret_type)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result = fcntl(fd, command, &lock);

    *ret_type = lock.l_type;
    return result;
}

ssize_t vst_place_read(int fd, const char *file, char *ret_text, size_t room)
{
    int from = openat(fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length, total = 0;

    if (from < 0)
        return -1;
    do {
        length = read(from, ret_text + total, room - 1 - (size_t)total);
        total += length > 0 ? length : 0;
    } while (length > 0 && (size_t)total < room - 1);
    close(from);
    ret_text[total] = '\0';
    return length < 0 ? -1 : total;
}

int vst_place_write(int fd, const char *text, size_t length)
{
    ssize_t written = write(fd, text, length);

    if (written >= 0 && (size_t)written < length)
        errno = ENOSPC;
    return written == (ssize_t)length ? 0 : -1;
}

static int holder_in_file(int fd)
{
    char text[32];
    int pid;

    if (vst_place_read(fd, "lock", text, sizeof(text)) <= 0)
        return -1;
    pid = atoi(text);
    return pid > 0 ? pid : -1;
}

int vst_place_holder(int fd)
{
    int lock_fd = openat(fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    short type = F_UNLCK;

    if (lock_fd < 0)
        return 0;
    if (lock_command(lock_fd, F_OFD_GETLK, &type) < 0)
        type = F_UNLCK;
    close(lock_fd);
    return type == F_UNLCK ? 0 : holder_in_file(fd);
}

static int complain_of_holder(const struct vst_place *place, struct vst_error *ret_err)
{
    int pid = holder_in_file(place->fd);
    char path[40], program[32] = "";

    if (pid == getpid())
        return vst_error_set(ret_err, VST_ERR_BUSY,
                             "another connection of this process has hold of domain %s",
                             place->name);
    if (pid < 0)
        return vst_error_set(ret_err, VST_ERR_BUSY, "another process has hold of domain %s",
                             place->name);
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    if (vst_place_read(AT_FDCWD, path, program, sizeof(program)) > 0)
        program[strcspn(program, "\n")] = '\0';
    return vst_error_set(ret_err, VST_ERR_BUSY, "process %d (%s) has hold of domain %s", pid,
                         program[0] ? program : "?", place->name);
}

/* Never waits. */
static int take_lock(struct vst_place *place, int flags, struct vst_error *ret_err)
{
    char text[32];
    short type;

    place->lock_fd = openat(place->fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (place->lock_fd < 0)
        return vst_error_system(ret_err, errno, "domain %s: lock", place->name);
    if (lock_command(place->lock_fd, F_OFD_SETLK, &type) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return complain_of_holder(place, ret_err);
        return vst_error_system(ret_err, errno, "domain %s: lock", place->name);
    }
    snprintf(text, sizeof(text), "%-10d\n", (int)getpid());
    if (vst_place_write(place->lock_fd, text, strlen(text)) < 0)
        return vst_error_system(ret_err, errno, "domain %s: lock", place->name);
    return 0;
}

/* ---- removing ---- */

void vst_place_scrap(const struct vst_root *root, const char *entry, int fd)
{
    for (size_t i = 0; i < sizeof(known_files) / sizeof(known_files[0]); i++)
        unlinkat(fd, known_files[i], 0);
    unlinkat(root->fd, entry, AT_REMOVEDIR);
}

void vst_place_close(struct vst_place **place)
{
    struct vst_place *p = *place;

    *place = NULL;
    if (!p)
        return;
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

/* The name is free at once; what stays behind if we are killed now is scrapped by somebody later.
 */
void vst_place_remove(struct vst_place **place)
{
    struct vst_place *p = *place;
    char gone[VST_ENTRY_MAX];
    struct stat st;

    if (!p)
        return;
    if (fstat(p->fd, &st) == 0) {
        snprintf(gone, sizeof(gone), ".gone-%ju", (uintmax_t)st.st_ino);
        if (renameat(p->root->fd, p->entry, p->root->fd, gone) == 0)
            memcpy(p->entry, gone, sizeof(gone));
        vst_place_scrap(p->root, p->entry, p->fd);
    }
    vst_place_close(place);
}

/* ---- opening ---- */

static struct vst_place *new_place(struct vst_root *root, const char *name, const char *entry,
                                   struct vst_error *ret_err)
{
    struct vst_place *place = calloc(1, sizeof(*place));

    if (!place) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    place->root = root;
    place->lock_fd = -1;
    snprintf(place->name, sizeof(place->name), "%s", name);
    snprintf(place->entry, sizeof(place->entry), "%s", entry);
    place->fd = openat(root->fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (place->fd >= 0)
        return place;
    if (errno == ENOENT)
        vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain %s", name);
    else
        vst_error_system(ret_err, errno, "domain %s: %s/%s", name, root->path, entry);
    free(place);
    return NULL;
}

/* Whoever had the lock before us may have removed the place while we were about to take it. */
static int check_still_there(const struct vst_place *place, struct vst_error *ret_err)
{
    struct stat ours, there;

    if (fstat(place->fd, &ours) == 0 &&
        fstatat(place->root->fd, place->entry, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        return 0;
    return vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain %s", place->name);
}

bool vst_place_is_named(const struct vst_place *place)
{
    return strcmp(place->entry, place->name) == 0;
}

/* What was to be a guest and has lost whoever was making it; or what ended while nobody looked. */
static int remove_nobodys(struct vst_place **place, struct vst_error *ret_err)
{
    struct vst_process_id id;
    struct vst_place_job job = {0};
    bool exists;

    if (vst_place_get_job(*place, &job, NULL) < 0 && vst_place_is_named(*place))
        return 0;
    exists = vst_place_is_alive(*place);
    if (!vst_place_is_named(*place) || vst_place_job_makes(&job)) {
        if (vst_place_read_id(*place, &id, NULL) == 0)
            vst_process_id_kill(&id);
        vst_error_set(ret_err, VST_ERR_NOT_FOUND,
                      "no domain %s: whoever made it died before it was whole, and what was left "
                      "has been removed",
                      (*place)->name);
    } else if (!exists && (job.word == VST_WORD_END || vst_place_has_shut_down(*place))) {
        vst_error_set(ret_err, VST_ERR_NOT_FOUND, "no domain %s: it has shut down", (*place)->name);
    } else {
        return 0;
    }
    vst_place_remove(place);
    return -1;
}

static int open_entry(struct vst_root *root, const char *name, const char *entry,
                      struct vst_place **ret_place, struct vst_error *ret_err)
{
    struct vst_place *place;

    if (vst_name_check(name, ret_err) < 0)
        return -1;
    place = new_place(root, name, entry, ret_err);
    if (!place)
        return -1;
    if (take_lock(place, 0, ret_err) < 0 || check_still_there(place, ret_err) < 0 ||
        remove_nobodys(&place, ret_err) < 0) {
        vst_place_close(&place);
        return -1;
    }
    *ret_place = place;
    return 0;
}

int vst_place_open(struct vst_root *root, const char *name, struct vst_place **ret_place,
                   struct vst_error *ret_err)
{
    return open_entry(root, name, name, ret_place, ret_err);
}

/* None is found to be a guest: remove_nobodys() has what nobody holds. */
void vst_place_sweep(struct vst_root *root, const char *entry)
{
    struct vst_place *place = NULL;

    open_entry(root, entry + strlen(VST_ENTRY_MAKING), entry, &place, NULL);
    vst_place_close(&place);
}

/* ---- making ---- */

/* What is left of a guest that has ended makes way, and what was never finished. */
static int make_way(struct vst_root *root, const char *name, const char *entry,
                    struct vst_error *ret_err)
{
    struct vst_error err = {0};
    struct vst_place *place;

    if (open_entry(root, name, entry, &place, &err) < 0)
        return err.code == VST_ERR_NOT_FOUND ? 0 : vst_error_copy(ret_err, &err);
    if (vst_place_is_alive(place)) {
        vst_place_close(&place);
        return vst_error_set(ret_err, VST_ERR_EXISTS, "there is a domain %s already", name);
    }
    vst_place_remove(&place);
    return 0;
}

static int make_entry(struct vst_root *root, char ret_entry[VST_ENTRY_MAX],
                      struct vst_error *ret_err)
{
    uint64_t number;

    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return vst_error_system(ret_err, errno, "getrandom");
    snprintf(ret_entry, VST_ENTRY_MAX, ".new-%016jx", (uintmax_t)number);
    if (mkdirat(root->fd, ret_entry, 0700) < 0)
        return vst_error_system(ret_err, errno, "%s/%s", root->path, ret_entry);
    return 0;
}

static int write_definition(const struct vst_place *place, const struct vst_definition *def,
                            struct vst_error *ret_err)
{
    char *text = vst_definition_to_json(def, ret_err);
    size_t length = text ? strlen(text) : 0;
    int fd, result = 0;

    if (!text)
        return -1;
    fd = openat(place->fd, "definition.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (length > VST_DEFINITION_MAX)
        result = vst_error_set(ret_err, VST_ERR_INVALID, "definition: too large");
    else if (fd < 0 || vst_place_write(fd, text, length) < 0)
        result = vst_error_system(ret_err, errno, "domain %s: definition.json", place->name);
    if (fd >= 0)
        close(fd);
    free(text);
    return result;
}

static int become(struct vst_place *place, const char *entry, struct vst_error *ret_err)
{
    int fd = place->root->fd;

    if (make_way(place->root, place->name, entry, ret_err) < 0)
        return -1;
    if (renameat2(fd, place->entry, fd, entry, RENAME_NOREPLACE) < 0) {
        if (errno == EEXIST)
            return vst_error_set(ret_err, VST_ERR_EXISTS, "there is a domain %s already",
                                 place->name);
        return vst_error_system(ret_err, errno, "domain %s", place->name);
    }
    snprintf(place->entry, sizeof(place->entry), "%s", entry);
    return 0;
}

int vst_place_take_name(struct vst_place *place, struct vst_error *ret_err)
{
    return become(place, place->name, ret_err);
}

int vst_place_make(struct vst_root *root, const struct vst_definition *def,
                   struct vst_place **ret_place, struct vst_error *ret_err)
{
    char entry[VST_ENTRY_MAX], making[VST_ENTRY_MAX];
    struct vst_place *place;

    snprintf(making, sizeof(making), VST_ENTRY_MAKING "%s", def->name);
    if (make_entry(root, entry, ret_err) < 0)
        return -1;
    place = new_place(root, def->name, entry, ret_err);
    if (!place) {
        unlinkat(root->fd, entry, AT_REMOVEDIR);
        return -1;
    }
    if (take_lock(place, O_CREAT | O_EXCL, ret_err) < 0 ||
        write_definition(place, def, ret_err) < 0 ||
        vst_place_set_job(place, VST_WORD_START, false, ret_err) < 0 ||
        become(place, making, ret_err) < 0) {
        vst_place_remove(&place);
        return -1;
    }
    *ret_place = place;
    return 0;
}

int vst_place_create(struct vst_root *root, const struct vst_definition *def,
                     struct vst_place **ret_place, struct vst_error *ret_err)
{
    struct vst_place *place;

    if (vst_place_make(root, def, &place, ret_err) < 0)
        return -1;
    if (vst_place_take_name(place, ret_err) < 0) {
        vst_place_remove(&place);
        return -1;
    }
    *ret_place = place;
    return 0;
}

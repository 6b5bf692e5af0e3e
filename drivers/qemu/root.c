/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The root: where it is, that it is ours alone, and which places are in it.
 */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SCRAP_AGE = 60 }; /* seconds; nothing takes that long to get its lock */

/* ---- the directory ---- */

static char *default_path(struct vst_error *ret_err)
{
    const char *dir = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
    char *path;

    if (!dir || dir[0] != '/') {
        vst_error_set(ret_err, VST_ERR_INVALID,
                      "XDG_RUNTIME_DIR is not set; name a directory with qemu:///?root=DIR");
        return NULL;
    }
    if (asprintf(&path, "%s/virstream/qemu", dir) < 0) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    return path;
}

/* With all that leads to it. What is there already stays as it is. */
static int make_directory(char *path, struct vst_error *ret_err)
{
    for (char *slash = path + 1; *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return vst_error_system(ret_err, errno, "%s", path);
        *slash = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return vst_error_system(ret_err, errno, "%s", path);
    return 0;
}

/* Whoever may write here could put another monitor in the place of a guest's. */
static int check_ours(const struct vst_root *root, struct vst_error *ret_err)
{
    struct stat st;

    if (fstat(root->fd, &st) < 0)
        return vst_error_system(ret_err, errno, "%s", root->path);
    if (st.st_uid != geteuid())
        return vst_error_set(ret_err, VST_ERR_ACCESS, "%s: belongs to user %d, we are %d",
                             root->path, (int)st.st_uid, (int)geteuid());
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return vst_error_set(ret_err, VST_ERR_ACCESS,
                             "%s: others may write there; chmod go-w, or another root", root->path);
    return 0;
}

/* ---- what is in it ---- */

/* An open directory stream of our own; NULL with errno. */
static DIR *read_root(const struct vst_root *root)
{
    int fd = openat(root->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

static void scrap_if_nobodys(const struct vst_root *root, const char *entry, time_t age)
{
    int fd = openat(root->fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && time(NULL) - st.st_mtime >= age && !vst_place_holder(fd))
        vst_place_scrap(root, entry, fd);
    close(fd);
}

static bool begins(const char *entry, const char *with)
{
    return strncmp(entry, with, strlen(with)) == 0;
}

/* What a process left that was killed while it made or removed a place. What is new may be about to
 * be locked; of what is gone, two may remove the rest at the same time. */
static void scrap(struct vst_root *root, const char *entry)
{
    if (begins(entry, VST_ENTRY_MAKING))
        vst_place_sweep(root, entry);
    else if (begins(entry, ".new-"))
        scrap_if_nobodys(root, entry, SCRAP_AGE);
    else if (begins(entry, ".gone-"))
        scrap_if_nobodys(root, entry, 0);
}

static void scrap_all(struct vst_root *root)
{
    DIR *dir = read_root(root);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        scrap(root, entry->d_name);
    if (dir)
        closedir(dir);
}

int vst_root_open(const char *dir, struct vst_root **ret_root, struct vst_error *ret_err)
{
    struct vst_root *root = calloc(1, sizeof(*root));

    if (!root)
        return vst_error_no_memory(ret_err);
    root->fd = -1;
    root->path = dir ? strdup(dir) : default_path(ret_err);
    if (!root->path) {
        vst_root_free(&root);
        return vst_error_no_memory(ret_err); /* unless default_path() has said more */
    }
    if (make_directory(root->path, ret_err) == 0) {
        root->fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root->fd < 0)
            vst_error_system(ret_err, errno, "%s", root->path);
    }
    if (root->fd < 0 || check_ours(root, ret_err) < 0) {
        vst_root_free(&root);
        return -1;
    }
    scrap_all(root);
    *ret_root = root;
    return 0;
}

void vst_root_free(struct vst_root **root)
{
    if (*root && (*root)->fd >= 0)
        close((*root)->fd);
    if (*root)
        free((*root)->path);
    free(*root);
    *root = NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free(names);
}

static int add_name(char ***names, size_t count, const char *name)
{
    char **grown = reallocarray(*names, count + 2, sizeof(*grown));

    if (!grown)
        return -1;
    *names = grown;
    grown[count + 1] = NULL;
    grown[count] = strdup(name);
    return grown[count] ? 0 : -1;
}

/* Not every file system says in its listings what an entry is. */
static bool is_directory(const struct vst_root *root, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return fstatat(root->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

char **vst_root_list(struct vst_root *root, struct vst_error *ret_err)
{
    char **names = calloc(1, sizeof(*names));
    DIR *dir = read_root(root);
    struct dirent *entry;
    size_t count = 0;

    if (!dir)
        vst_error_system(ret_err, errno, "%s", root->path);
    while (dir && names && (entry = readdir(dir))) {
        scrap(root, entry->d_name);
        if (vst_name_check(entry->d_name, NULL) < 0 || !is_directory(root, entry))
            continue;
        if (add_name(&names, count++, entry->d_name) < 0) {
            free_names(names);
            names = NULL;
        }
    }
    if (!dir || !names) {
        free_names(names);
        vst_error_no_memory(ret_err);
        names = NULL;
    } else {
        qsort(names, count, sizeof(*names), compare_names);
    }
    if (dir)
        closedir(dir);
    return names;
}

/* Of whom an entry is, or is being made; NULL: of nobody. */
static const char *name_of(const char *entry)
{
    const char *name = begins(entry, VST_ENTRY_MAKING) ? entry + strlen(VST_ENTRY_MAKING) : entry;

    return vst_name_check(name, NULL) < 0 ? NULL : name;
}

int vst_root_check_uuid(struct vst_root *root, const struct vst_definition *def, const char *but,
                        struct vst_error *ret_err)
{
    DIR *dir = read_root(root);
    struct dirent *entry;
    int status = dir ? 0 : vst_error_system(ret_err, errno, "%s", root->path);

    while (status == 0 && (entry = readdir(dir))) {
        const char *name = name_of(entry->d_name);

        if (name && strcmp(name, def->name) != 0 && (!but || strcmp(name, but) != 0) &&
            vst_place_has_uuid(root, entry->d_name, def->uuid))
            status = vst_error_set(ret_err, VST_ERR_EXISTS,
                                   "the UUID %s of domain %s is that of domain %s already",
                                   def->uuid, def->name, name);
    }
    if (dir)
        closedir(dir);
    return status;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A copy of what is to be started, for the thread that starts it: its caller's goes at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fd.h"
#include "spawn.h"

static void free_list(char **list)
{
    for (char **at = list; at && *at; at++)
        free(*at);
    free(list);
}

static char **copy_list(const char *const *list)
{
    size_t count = 0;
    char **copy;

    while (list[count])
        count++;
    copy = calloc(count + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++)
        if (!(copy[i] = strdup(list[i]))) {
            free_list(copy);
            return NULL;
        }
    return copy;
}

/* -1 stays -1. */
static int copy_fd(int fd, int *ret_fd)
{
    if (fd >= 0)
        *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return fd >= 0 && *ret_fd < 0 ? -1 : 0;
}

static int copy_fds(const struct vst_spawn *spawn, struct vst_spawn *copy)
{
    int *fds = malloc((spawn->fd_count + 1) * sizeof(*fds));
    int status = fds ? 0 : -1;

    for (size_t i = 0; fds && i < spawn->fd_count; i++)
        fds[i] = -1;
    copy->fds = fds;
    copy->fd_count = fds ? spawn->fd_count : 0;
    for (size_t i = 0; status == 0 && i < spawn->fd_count; i++)
        status = copy_fd(spawn->fds[i], &fds[i]);
    if (status == 0)
        status = copy_fd(spawn->log_fd, &copy->log_fd);
    return status < 0 ? -1 : copy_fd(spawn->id_fd, &copy->id_fd);
}

static int copy_words(const struct vst_spawn *spawn, struct vst_spawn *copy)
{
    struct vst_user *user = spawn->user ? malloc(sizeof(*user)) : NULL;

    if (user)
        *user = *spawn->user;
    copy->user = user;
    copy->program = strdup(spawn->program);
    copy->words = copy_list((const char *const *)spawn->words);
    copy->must_read = spawn->must_read ? (const char *const *)copy_list(spawn->must_read) : NULL;
    return copy->program && copy->words && (user || !spawn->user) &&
                   (copy->must_read || !spawn->must_read)
               ? 0
               : -1;
}

struct vst_spawn *vst_spawn_copy(const struct vst_spawn *spawn, struct vst_error *ret_err)
{
    struct vst_spawn *copy = calloc(1, sizeof(*copy));
    int status = -1;

    if (copy) {
        copy->log_fd = copy->id_fd = -1;
        status = copy_words(spawn, copy);
    }
    if (status < 0) {
        vst_error_no_memory(ret_err);
    } else if (copy_fds(spawn, copy) < 0) {
        vst_error_system(ret_err, errno, "descriptors");
    } else {
        return copy;
    }
    vst_spawn_free(&copy);
    return NULL;
}

void vst_spawn_free(struct vst_spawn **slot)
{
    struct vst_spawn *copy = *slot;

    *slot = NULL;
    if (!copy)
        return;
    for (size_t i = 0; i < copy->fd_count; i++)
        if (copy->fds[i] >= 0)
            close(copy->fds[i]);
    vst_close(&copy->log_fd);
    vst_close(&copy->id_fd);
    free_list(copy->words);
    free_list((char **)copy->must_read);
    free((void *)copy->fds);
    free((void *)copy->user);
    free((void *)copy->program);
    free(copy);
}

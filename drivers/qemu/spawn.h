/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting a process that outlives us, with nothing of ours but what is meant for it. And naming
 * processes so that a number used again is never taken for the process that had it first.
 *
 * The new process is nobody's child: one between us starts it and ends at once. So a guest that
 * ends never becomes a zombie of a long-lived application, the application's SIGCHLD and
 * waitpid(-1) never see it, and a process that we started and one that we adopted are watched in
 * the same way. The price is its exit status; why it ended is in its log.
 */
#ifndef VST_QEMU_SPAWN_H
#define VST_QEMU_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/error.h"

#define VST_PROCESS_FD_FIRST 3
#define VST_PROCESS_GROUPS_MAX 64

/* As text, "PID START BOOT" and a newline: what stands in the file of identity. */
struct vst_process_id {
    pid_t pid;
    uint64_t start; /* in clock ticks since boot: /proc/PID/stat, field 22 */
    char boot[37];  /* /proc/sys/kernel/random/boot_id */
};

/* `fd` is read from its beginning. NOT_FOUND when it holds no identity. */
int vst_process_id_read(int fd, struct vst_process_id *ret_id, struct vst_error *ret_err);
/* Whether that very process exists, or cannot be looked at, for want of descriptors. A zombie does
 * not. */
bool vst_process_id_exists(const struct vst_process_id *id);
/* kill -9 of that very process, and of no other. Having ended already is no error. */
void vst_process_id_kill(const struct vst_process_id *id);

/* Somebody else to be. */
struct vst_user {
    uid_t uid;
    gid_t gid;
    size_t group_count;
    gid_t groups[VST_PROCESS_GROUPS_MAX]; /* the user's own, instead of ours */
};

/* May block in the name service: for a job of the worker. */
int vst_user_find(const char *name, struct vst_user *ret_user, struct vst_error *ret_err);

/* Where in our PATH `name` is; to be freed. */
char *vst_program_find(const char *name, struct vst_error *ret_err);

struct vst_spawn {
    const char *program; /* absolute path */
    char **words;        /* argv */
    const int *fds;      /* fds[i] becomes 3 + i; -1 where there is nothing */
    size_t fd_count;
    int log_fd;                   /* becomes standard output and error */
    int id_fd;                    /* a file for the identity, empty, open for reading and writing */
    const char *const *must_read; /* files that it must be able to read; NULL-terminated, or NULL */
    const struct vst_user *user;  /* NULL: as we are */
};

/*
 * Starts it: own session, working directory "/", no core dumps, no new privileges, signals as they
 * are by default, an environment of PATH and LC_ALL, standard input from /dev/null, and no
 * descriptor but those named. All descriptors of *spawn stay the caller's.
 *
 * Returns when the program has been executed, or with the reason why it has not (ACCESS, NOT_FOUND,
 * SYSTEM). That is as quick as an exec, however large this process is; the thread waits, and the
 * thread may be any. The identity is in id_fd before the program is executed, whatever happens to
 * us meanwhile: a guest that runs can always be found. *ret_pidfd is the caller's.
 */
int vst_spawn(const struct vst_spawn *spawn, struct vst_process_id *ret_id, int *ret_pidfd,
              struct vst_error *ret_err);

/* All of it, with descriptors of its own. */
struct vst_spawn *vst_spawn_copy(const struct vst_spawn *spawn, struct vst_error *ret_err);
/* What that made. Sets *copy to NULL. Accepts NULL. */
void vst_spawn_free(struct vst_spawn **copy);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a service says to systemd and gets from it: sd_notify(3) and sd_listen_fds(3), of which the
 * protocols are documented and small. Without systemd it all does nothing.
 */
#ifndef VST_REMOTE_NOTIFY_H
#define VST_REMOTE_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/error.h"

enum { VST_NOTIFY_MESSAGES = 8, VST_NOTIFY_LENGTH = 512 };

struct vst_notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un address;
    socklen_t length;
    uint64_t watchdog_us; /* how often a sign of life is due; 0: never */
    /* What systemd's socket had no room for, oldest first. */
    char waiting[VST_NOTIFY_MESSAGES][VST_NOTIFY_LENGTH];
    unsigned waiting_count;
};

/*
 * Looks at the environment, and takes what is there out of it, so that no child finds it: before
 * any thread begins.
 */
int vst_notify_open(struct vst_notify *ret_notify, struct vst_error *ret_err);
void vst_notify_close(struct vst_notify *notify);
/* "READY=1\nSTATUS=...". What there is no room for is sent with the next message or sign of life;
 * when too much waits already, it is lost. Never blocks. */
void vst_notify_send(struct vst_notify *notify, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "WATCHDOG=1", where that is wanted; it does not wait. */
void vst_notify_live(struct vst_notify *notify);

/* Listening sockets that were passed, as descriptors from 3 on: their number, and -1 when the
 * environment makes no sense. The names in LISTEN_FDNAMES, "unknown" where there is none, are
 * *ret_names separated by colons, to be free()d. Out of the environment, too. */
int vst_listen_fds(char **ret_names, struct vst_error *ret_err);

#define VST_LISTEN_FDS_FIRST 3

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sd_notify and socket activation.
 */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fd.h"

enum { FDS_MAX = 64 };

static uint64_t number_in(const char *name)
{
    const char *text = getenv(name);
    char *end;
    unsigned long long number;

    if (!text || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    number = strtoull(text, &end, 10);
    return *end || errno ? 0 : number;
}

/* Meant for us, and not for whoever started us and was itself started by systemd. */
static int is_ours(const char *pid_name)
{
    return !getenv(pid_name) || number_in(pid_name) == (uint64_t)getpid();
}

static int set_address(struct vst_notify *notify, const char *path, struct vst_error *ret_err)
{
    size_t length = strlen(path);

    if ((*path != '/' && *path != '@') || length < 2 || length >= sizeof(notify->address.sun_path))
        return vst_error_set(ret_err, VST_ERR_INVALID, "NOTIFY_SOCKET=%s is no socket", path);
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, path, length);
    if (*path == '@')
        notify->address.sun_path[0] = '\0';
    notify->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return 0;
}

int vst_notify_open(struct vst_notify *ret_notify, struct vst_error *ret_err)
{
    struct vst_notify notify = {.fd = -1};
    const char *path = getenv("NOTIFY_SOCKET");
    int status = 0;

    if (is_ours("WATCHDOG_PID"))
        notify.watchdog_us = number_in("WATCHDOG_USEC");
    if (path)
        status = set_address(&notify, path, ret_err);
    if (path && status == 0) {
        notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (notify.fd < 0)
            status = vst_error_system(ret_err, errno, "NOTIFY_SOCKET");
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (status == 0)
        *ret_notify = notify;
    return status;
}

void vst_notify_close(struct vst_notify *notify)
{
    vst_close(&notify->fd);
}

static bool send_text(struct vst_notify *notify, const char *text)
{
    return sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                  (struct sockaddr *)&notify->address, notify->length) >= 0 ||
           errno != EAGAIN;
}

/* True when nothing waits any more. */
static bool send_waiting(struct vst_notify *notify)
{
    while (notify->waiting_count) {
        if (!send_text(notify, notify->waiting[0]))
            return false;
        notify->waiting_count--;
        memmove(notify->waiting[0], notify->waiting[1],
                notify->waiting_count * sizeof(notify->waiting[0]));
    }
    return true;
}

void vst_notify_send(struct vst_notify *notify, const char *format, ...)
{
    char text[VST_NOTIFY_LENGTH];
    va_list args;

    if (notify->fd < 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (send_waiting(notify) && send_text(notify, text))
        return;
    if (notify->waiting_count < VST_NOTIFY_MESSAGES)
        memcpy(notify->waiting[notify->waiting_count++], text, sizeof(text));
}

void vst_notify_live(struct vst_notify *notify)
{
    if (notify->fd >= 0 && send_waiting(notify) && notify->watchdog_us)
        send_text(notify, "WATCHDOG=1");
}

/* They come without close-on-exec. */
static int prepare(int count, struct vst_error *ret_err)
{
    for (int fd = VST_LISTEN_FDS_FIRST; fd < VST_LISTEN_FDS_FIRST + count; fd++) {
        int listens = 0;
        socklen_t length = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || !listens)
            return vst_error_set(ret_err, VST_ERR_INVALID,
                                 "descriptor %d of LISTEN_FDS is no listening socket", fd);
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
            return vst_error_system(ret_err, errno, "descriptor %d of LISTEN_FDS", fd);
    }
    return 0;
}

int vst_listen_fds(char **ret_names, struct vst_error *ret_err)
{
    uint64_t count = getenv("LISTEN_PID") && is_ours("LISTEN_PID") ? number_in("LISTEN_FDS") : 0;
    const char *given = getenv("LISTEN_FDNAMES");
    char *names = strdup(count && given ? given : "");

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!names)
        return vst_error_no_memory(ret_err);
    if (count > FDS_MAX)
        vst_error_set(ret_err, VST_ERR_INVALID, "LISTEN_FDS: more than %d sockets", FDS_MAX);
    else if (prepare((int)count, ret_err) == 0) {
        *ret_names = names;
        return (int)count;
    }
    free(names);
    return -1;
}

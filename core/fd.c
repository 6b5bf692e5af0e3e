/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Non-blocking use of descriptors that others may share. No buffering, no events.
 */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

const char *vst_fd_kind_name(enum vst_fd_kind kind)
{
    static const char *const names[] = {
        [VST_FD_SOCKET] = "socket", [VST_FD_PIPE] = "pipe", [VST_FD_TERMINAL] = "terminal",
        [VST_FD_DEVICE] = "device", [VST_FD_FILE] = "file",
    };

    return names[kind];
}

/* Asks the kernel itself: which devices can be polled is up to their drivers. */
static int can_be_watched(int fd, bool *ret_can, struct vst_error *ret_err)
{
    struct epoll_event event = {.events = EPOLLIN};
    int watch = epoll_create1(EPOLL_CLOEXEC);

    if (watch < 0)
        return vst_error_system(ret_err, errno, "epoll_create1");
    *ret_can = epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM;
    close(watch);
    return 0;
}

int vst_fd_kind(int fd, enum vst_fd_kind *ret_kind, struct vst_error *ret_err)
{
    struct stat st;
    bool can = false;

    if (fstat(fd, &st) < 0)
        return vst_error_system(ret_err, errno, "descriptor %d", fd);
    if (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)) {
        *ret_kind = S_ISSOCK(st.st_mode) ? VST_FD_SOCKET : VST_FD_PIPE;
        return 0;
    }
    if (can_be_watched(fd, &can, ret_err) < 0)
        return -1;
    if (!can)
        *ret_kind = VST_FD_FILE;
    else
        *ret_kind = isatty(fd) ? VST_FD_TERMINAL : VST_FD_DEVICE;
    return 0;
}

static const char *kind_of_file(mode_t mode)
{
    return S_ISFIFO(mode)  ? "a FIFO"
           : S_ISDIR(mode) ? "a directory"
           : S_ISCHR(mode) ? "a character device"
           : S_ISBLK(mode) ? "a block device"
                           : "something else";
}

int vst_open_regular(const char *path, const char *label, struct vst_error *ret_err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st = {.st_mode = 0};

    if (fd < 0)
        return vst_error_system(ret_err, errno, "%s", label);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    vst_close(&fd);
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: not a regular file, but %s", label,
                         kind_of_file(st.st_mode));
}

/* Opening the master of a pseudo-terminal anew would make another terminal. */
static bool can_be_reopened(int fd, enum vst_fd_kind kind)
{
    unsigned number;

    if (kind == VST_FD_TERMINAL)
        return ioctl(fd, TIOCGPTN, &number) < 0;
    return kind == VST_FD_PIPE;
}

/* An open file description of our own behind the same number. False: not allowed, or no /proc. */
static bool reopen(int fd, int flags)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own < 0)
        return false;
    if (dup3(own, fd, O_CLOEXEC) < 0) {
        close(own);
        return false;
    }
    close(own);
    return true;
}

int vst_fd_unblock(int fd, enum vst_fd_kind kind, bool *ret_restore, struct vst_error *ret_err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return vst_error_system(ret_err, errno, "descriptor %d", fd);
    *ret_restore = false;
    if (kind == VST_FD_SOCKET || (flags & O_NONBLOCK))
        return 0;
    if (can_be_reopened(fd, kind) && reopen(fd, flags))
        return 0;
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return vst_error_system(ret_err, errno, "making %s %d non-blocking", vst_fd_kind_name(kind),
                                fd);
    *ret_restore = true;
    return 0;
}

void vst_fd_close(int fd, bool restore)
{
    if (restore)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    close(fd);
}

ssize_t vst_fd_read(int fd, enum vst_fd_kind kind, struct iovec *into)
{
    struct msghdr msg = {.msg_iov = into, .msg_iovlen = 1};
    ssize_t n;

    do {
        n = kind == VST_FD_SOCKET ? recvmsg(fd, &msg, MSG_DONTWAIT) : readv(fd, into, 1);
    } while (n < 0 && errno == EINTR);
    return n;
}

/*
 * SIGPIPE is the application's to ignore or not. The signal of a failed write is for this thread,
 * so it is kept blocked meanwhile and taken away, unless one was pending before.
 */
static ssize_t write_without_signal(int fd, const struct iovec *from, int count)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pipe, before, pending;
    int number;
    ssize_t n;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    if (sigismember(&before, SIGPIPE))
        sigpending(&pending);
    do {
        n = writev(fd, from, count);
    } while (n < 0 && errno == EINTR);
    number = errno;
    if (n < 0 && number == EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = number;
    return n;
}

ssize_t vst_fd_write(int fd, enum vst_fd_kind kind, struct iovec *from, int count)
{
    struct msghdr msg = {.msg_iov = from, .msg_iovlen = (size_t)count};
    ssize_t n;

    if (kind != VST_FD_SOCKET)
        return write_without_signal(fd, from, count);
    do {
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

void vst_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

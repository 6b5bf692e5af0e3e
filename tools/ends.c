/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which kind of end a name on the command line stands for.
 */
#include "ends.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static bool is_standard(const char *path)
{
    return strcmp(path, "-") == 0;
}

static const char *name_of(int number)
{
    return number == STDIN_FILENO ? "standard input" : "standard output";
}

/*
 * O_NONBLOCK belongs to what open(2) made, which the shell, its other programs and our own messages
 * share. Pipes and terminals can be opened once more; of files it makes no difference. What
 * remains, sockets and what is not ours to open, gets its flags back in ends_restore().
 */
int ends_standard(struct tool *tool, int number)
{
    static const char *const paths[] = {"/proc/self/fd/0", "/proc/self/fd/1"};
    int access = number == STDIN_FILENO ? O_RDONLY : O_WRONLY;
    struct stat st;
    int fd = -1;

    if (fstat(number, &st) < 0)
        return tool_fail_system(tool, errno, name_of(number));
    if (S_ISFIFO(st.st_mode) || isatty(number))
        fd = open(paths[number], access | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        return fd;
    tool->shared[number] = true;
    tool->flags[number] = fcntl(number, F_GETFL);
    fd = fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return fd < 0 ? tool_fail_system(tool, errno, name_of(number)) : fd;
}

void ends_restore(struct tool *tool)
{
    for (int number = STDIN_FILENO; number <= STDOUT_FILENO; number++)
        if (tool->shared[number])
            fcntl(number, F_SETFL, tool->flags[number]);
}

uint64_t ends_size(const char *path)
{
    struct stat st;
    off_t at = 0;

    if ((is_standard(path) ? fstat(STDIN_FILENO, &st) : stat(path, &st)) < 0 ||
        !S_ISREG(st.st_mode))
        return 0;
    if (is_standard(path))
        at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    return at >= 0 && at < st.st_size ? (uint64_t)(st.st_size - at) : 0;
}

/*
 * The file that a new one is to replace: never a link to it, never what is not a regular file. A
 * link that leads nowhere is an error with the reason that realpath() had.
 */
static int set_new_file(struct tool *tool, struct vst_stream *stream, const char *path)
{
    char *real = realpath(path, NULL);
    struct stat st;
    int status;

    if (!real && (errno != ENOENT || lstat(path, &st) == 0))
        return tool_fail_system(tool, errno, path);
    status = vst_stream_set_sink_file(stream, real ? real : path);
    free(real);
    return status;
}

enum { INTERRUPTS = 4 };
static const int interrupts[INTERRUPTS] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t interrupted; /* the last of these */

static void interrupt_open(int number)
{
    interrupted = number;
}

/*
 * What is neither standard nor a regular file. This may wait for the other side of a FIFO, and no
 * longer than until the deadline. The timer goes on, lest its signal come just before open().
 */
static int open_special(struct tool *tool, enum vst_direction dir, const char *path)
{
    struct itimerval timer = {.it_interval = {.tv_usec = 100000}};
    struct sigaction action = {.sa_handler = interrupt_open};
    struct sigaction old[INTERRUPTS];
    int number, fd;

    timer.it_value = tool_time_left(tool);
    timer.it_value.tv_usec += !timerisset(&timer.it_value);
    interrupted = 0;
    for (int i = 0; i < INTERRUPTS; i++)
        sigaction(interrupts[i], &action, &old[i]);
    if (tool->opt.timeout)
        setitimer(ITIMER_REAL, &timer, NULL);
    fd = open(path, (dir == VST_UP ? O_RDONLY : O_WRONLY) | O_CLOEXEC | O_NOCTTY);
    number = errno;
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    for (int i = 0; i < INTERRUPTS; i++)
        sigaction(interrupts[i], &old[i], NULL);
    if (interrupted && interrupted != SIGALRM) {
        if (fd >= 0)
            close(fd);
        return tool_fail(tool, VST_ERR_CANCELLED, "cancelled");
    }
    if (fd < 0 && number == EINTR)
        return tool_fail(tool, VST_ERR_TIMEOUT, "%s: nobody opened its other side in time", path);
    return fd < 0 ? tool_fail_system(tool, number, path) : fd;
}

static int set_fd(struct vst_stream *stream, enum vst_direction dir, int fd)
{
    int status =
        dir == VST_UP ? vst_stream_set_source_fd(stream, &fd) : vst_stream_set_sink_fd(stream, &fd);
    int number = errno;

    if (fd >= 0)
        close(fd);
    errno = number;
    return status;
}

static int set_end(struct tool *tool, struct vst_stream *stream, enum vst_direction dir,
                   const char *path)
{
    struct stat st;
    int fd;

    if (is_standard(path)) {
        fd = ends_standard(tool, dir == VST_UP ? STDIN_FILENO : STDOUT_FILENO);
        return fd < 0 ? -1 : set_fd(stream, dir, fd);
    }
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        fd = open_special(tool, dir, path);
        return fd < 0 ? -1 : set_fd(stream, dir, fd);
    }
    return dir == VST_UP ? vst_stream_set_source_file(stream, path)
                         : set_new_file(tool, stream, path);
}

static int limit_rate(const struct tool *tool, struct vst_stream *stream, enum vst_direction dir)
{
    struct vst_layer_spec layer = {.kind = VST_LAYER_RATE, .bytes_per_second = tool->opt.rate};

    return tool->opt.rate ? vst_stream_push_layer(stream, dir, &layer) : 0;
}

struct vst_stream *ends_open(struct tool *tool, enum vst_direction dir, const char *path)
{
    int number = dir == VST_UP ? STDIN_FILENO : STDOUT_FILENO;
    struct vst_stream *stream;

    tool->data_on_stdout = dir == VST_DOWN && is_standard(path);
    if (is_standard(path) && isatty(number)) {
        tool_usage(tool, "%s is a terminal; name a file, or redirect it", name_of(number));
        return NULL;
    }
    stream = vst_stream_new(tool->base, NULL);
    if (!stream || set_end(tool, stream, dir, path) < 0 || limit_rate(tool, stream, dir) < 0) {
        tool_fail_system(tool, errno, is_standard(path) ? name_of(number) : path);
        vst_stream_free(&stream);
    }
    return stream;
}

struct vst_stream *ends_connect(struct tool *tool, enum vst_direction dir, const char *path,
                                int (*connect)(struct tool *))
{
    struct vst_stream *stream = ends_open(tool, dir, path);

    if (stream && connect(tool) < 0)
        vst_stream_free(&stream);
    return stream;
}

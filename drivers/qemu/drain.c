/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `cat LEASH PIPE > /dev/null`: nothing is ever written to the leash, so cat(1) is kept at it until
 * its other end is closed; then it comes to the pipe. It opens both anew, through /proc, and so
 * reads without O_NONBLOCK whatever we have set. That works with pipes, and not with sockets.
 */
#include "drain.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/trace.h"
#include "spawn.h"

enum { PIPE_SIZE = 1024 * 1024 };

static int spawn(const char *program, const int fds[2], struct vst_error *ret_err)
{
    static const char *const words[] = {"cat", "/proc/self/fd/3", "/proc/self/fd/4", NULL};
    struct vst_spawn how = {
        .program = program,
        .words = (char **)words,
        .fds = fds,
        .fd_count = 2,
        .log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC),
        .id_fd = memfd_create("drain-id", MFD_CLOEXEC),
    };
    struct vst_process_id id;
    int pidfd = -1, result = -1;

    if (how.log_fd < 0 || how.id_fd < 0)
        vst_error_system(ret_err, errno, "starting %s", program);
    else
        result = vst_spawn(&how, &id, &pidfd, ret_err);
    if (result == 0)
        vst_trace(VST_TRACE_PROCESS, "process %d started as drain", (int)id.pid);
    vst_close(&pidfd);
    vst_close(&how.log_fd);
    vst_close(&how.id_fd);
    return result;
}

int vst_drain_start(const char *program, int *ret_ours, int *ret_qemus, int *ret_leash,
                    struct vst_error *ret_err)
{
    int leash[2] = {-1, -1}, data[2] = {-1, -1}, result = -1;

    if (!program)
        return vst_error_set(ret_err, VST_ERR_UNSUPPORTED,
                             "a live save needs cat(1), which is not in PATH");
    if (pipe2(leash, O_CLOEXEC) < 0 || pipe2(data, O_CLOEXEC | O_NONBLOCK) < 0)
        vst_error_system(ret_err, errno, "a pipe for QEMU");
    else
        result = spawn(program, (const int[]){leash[0], data[0]}, ret_err);
    vst_close(&leash[0]);
    if (result < 0) {
        vst_close(&leash[1]);
        vst_close(&data[0]);
        vst_close(&data[1]);
        return -1;
    }
    (void)fcntl(data[0], F_SETPIPE_SZ, PIPE_SIZE); /* only speed depends on it */
    *ret_ours = data[0];
    *ret_qemus = data[1];
    *ret_leash = leash[1];
    return 0;
}

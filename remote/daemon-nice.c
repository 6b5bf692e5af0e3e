/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's turn among all that computes on this host. Where processors are short, one that
 * encrypts the memory of guests is for the kernel only one more of those who compute, and whoever
 * calls it waits until all others have had their turn. So it asks to be favoured: by its nice value
 * and, as kernels with autogroups share processors among sessions first (sched(7)), by that of the
 * session which it leads, as a service does. The QEMUs that it starts are not: see
 * drivers/qemu/spawn.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/error.h"
#include "daemon-private.h"

/* A session that somebody else leads is not the daemon's to favour. */
static int set_session_nice(int nice, struct vst_error *ret_err)
{
    static const char path[] = "/proc/self/autogroup";
    char text[8];
    int length = snprintf(text, sizeof(text), "%d", nice);
    int fd, status = 0;

    if (getsid(0) != getpid())
        return 0;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : vst_error_system(ret_err, errno, "%s", path);
    if (write(fd, text, (size_t)length) < 0)
        status = vst_error_system(ret_err, errno, "%s", path);
    close(fd);
    return status;
}

/* Of this thread, and of those that it begins. */
static int set_nice(int nice, struct vst_error *ret_err)
{
    if (setpriority(PRIO_PROCESS, 0, nice) < 0)
        return vst_error_system(ret_err, errno, "setpriority");
    return set_session_nice(nice, ret_err);
}

/* It serves as well without, only later: what was not asked for is not warned of. */
void vst_daemon_set_nice(struct daemon *daemon)
{
    const struct vst_config *config = daemon->config;
    bool asked_for = vst_config_line(config, "daemon", "nice") > 0;
    struct vst_error err = {0};

    if (set_nice(config->nice, &err) < 0)
        vst_log_write(
            daemon->log, asked_for ? VST_LOG_WARNING : VST_LOG_INFO, NULL,
            "cannot have the nice value %d: %s; where processors are short, calls to it may "
            "wait (virstreamd(8), BUSY HOSTS)",
            config->nice, err.text);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon: a server with what a service of a host has around it: a configuration that is read
 * again on SIGHUP, sockets from systemd, signs of life, a log, a page of metrics, and an end in
 * peace on SIGTERM. Guests are no part of it; they stay when it goes.
 */
#ifndef VST_REMOTE_DAEMON_H
#define VST_REMOTE_DAEMON_H

#include "daemon-config.h"
#include "log.h"
#include "notify.h"

/* What was found before the loop: all taken. */
struct vst_daemon_start {
    const char *file; /* the configuration's; kept */
    struct vst_config *config;
    struct vst_log *log;
    struct vst_notify notify;
    int fd_count; /* of sockets passed by systemd, from VST_LISTEN_FDS_FIRST on */
    char *fd_names;
};

/* Runs until it is told to end. Returns the exit status. */
int vst_daemon_run(struct vst_daemon_start *start);

/* Reads the file and the configuration in it. Blocks. Everything that is wrong is told. */
struct vst_config *vst_daemon_read(const char *file, vst_config_complain *complain,
                                   vst_config_complain *warn, void *opaque);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One command on its way through a monitor's socket: its bytes, the descriptor that goes with the
 * first of them, its deadline, and who is told how it ends. Private to qmp.c, which decides when
 * each of these things happens.
 */
#ifndef VST_DRIVERS_QEMU_QMP_COMMAND_H
#define VST_DRIVERS_QEMU_QMP_COMMAND_H

#include <stdbool.h>
#include <sys/queue.h>

#include "qmp-codec.h"
#include "qmp.h"

struct vst_qmp_command {
    TAILQ_ENTRY(vst_qmp_command) link;
    int64_t id;
    char *name;
    char *line;
    size_t length;
    size_t sent; /* of the line */
    int fd;      /* until it has left, -1 */
    double seconds;
    int64_t deadline; /* by vst_now_us(); VST_QMP_NEVER once it has passed and was told */
    struct vst_qmp_reply reply;
};

TAILQ_HEAD(vst_qmp_commands, vst_qmp_command);

#define VST_QMP_NEVER INT64_MAX

/* The fd is set by the caller, afterwards. */
struct vst_qmp_command *vst_qmp_command_new(struct vst_qmp_codec *codec, const char *name,
                                            struct json_object *arguments, int64_t id,
                                            double seconds, struct vst_qmp_reply reply,
                                            struct vst_error *ret_err);

void vst_qmp_command_set_deadline(struct vst_qmp_command *command, double seconds);

/* Writes as much as the socket takes: 1 all has left, 0 the socket is full, or -1 and errno. */
int vst_qmp_command_write(struct vst_qmp_command *command, int socket_fd);

/* All that QEMU needs for an answer has left; the newline after it is for people who read along. */
bool vst_qmp_command_is_out(const struct vst_qmp_command *command);

/* Frees the command, then tells its end: `value`, or `err` when that is not NULL. */
void vst_qmp_command_complete(struct vst_qmp_command *command, struct json_object *value,
                              const struct vst_error *err);

/* Tells that it has failed, but keeps it, to swallow its reply. */
void vst_qmp_command_abandon(struct vst_qmp_command *command, const struct vst_error *err);

#endif

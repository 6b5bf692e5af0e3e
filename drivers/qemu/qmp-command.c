/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One command on its way: making it, writing it with its descriptor, telling its end. The order of
 * commands and the meaning of replies are in qmp.c.
 */
#include "qmp-command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"

static void command_free(struct vst_qmp_command *command)
{
    if (command->fd >= 0)
        close(command->fd);
    free(command->line);
    free(command->name);
    free(command);
}

struct vst_qmp_command *vst_qmp_command_new(struct vst_qmp_codec *codec, const char *name,
                                            struct json_object *arguments, int64_t id,
                                            double seconds, struct vst_qmp_reply reply,
                                            struct vst_error *ret_err)
{
    struct vst_qmp_command *command = calloc(1, sizeof(*command));

    if (!command || !(command->name = strdup(name))) {
        free(command);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    command->fd = -1;
    if (vst_qmp_codec_encode(codec, name, arguments, id, &command->line, &command->length,
                             ret_err) < 0) {
        command_free(command);
        return NULL;
    }
    command->id = id;
    vst_qmp_command_set_deadline(command, seconds);
    command->reply = reply;
    return command;
}

void vst_qmp_command_set_deadline(struct vst_qmp_command *command, double seconds)
{
    const double most = 1e9; /* far beyond any use, and far from overflow */

    command->seconds = seconds;
    command->deadline = vst_now_us() + (int64_t)((seconds < most ? seconds : most) * 1e6);
}

/* The descriptor goes with the first byte, so that it can belong to no other command. */
static ssize_t write_some(const struct vst_qmp_command *command, int socket_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec rest = {command->line + command->sent, command->length - command->sent};
    struct msghdr message = {.msg_iov = &rest, .msg_iovlen = 1};

    if (command->fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &command->fd, sizeof(int));
    }
    return sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int vst_qmp_command_write(struct vst_qmp_command *command, int socket_fd)
{
    while (command->sent < command->length) {
        ssize_t n = write_some(command, socket_fd);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0)
            return -1;
        command->sent += (size_t)n;
        if (command->fd >= 0) /* while a copy stays here, its other end never reads EOF */
            close(command->fd);
        command->fd = -1;
    }
    return 1;
}

bool vst_qmp_command_is_out(const struct vst_qmp_command *command)
{
    return command->sent + 1 >= command->length;
}

void vst_qmp_command_complete(struct vst_qmp_command *command, struct json_object *value,
                              const struct vst_error *err)
{
    struct vst_qmp_reply reply = command->reply;

    command_free(command);
    if (reply.fn)
        reply.fn(reply.opaque, value, err);
}

void vst_qmp_command_abandon(struct vst_qmp_command *command, const struct vst_error *err)
{
    struct vst_qmp_reply reply = command->reply;

    command->reply = (struct vst_qmp_reply){0};
    command->deadline = VST_QMP_NEVER;
    if (reply.fn)
        reply.fn(reply.opaque, NULL, err);
}

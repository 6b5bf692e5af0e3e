/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking for a password on the terminal.
 */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "output.h"

enum { PASSWORD_MAX = 1024 };

struct asking {
    int fd; /* of the terminal */
    struct termios before;
    struct event *event;
    struct vst_question *question;
};

void ask_end(struct tool *tool)
{
    struct asking *asking = tool->asking;

    if (!asking)
        return;
    tool->asking = NULL;
    tcsetattr(asking->fd, TCSAFLUSH, &asking->before);
    dprintf(asking->fd, "\n");
    if (asking->event)
        event_free(asking->event);
    close(asking->fd);
    vst_question_answer(&asking->question, NULL);
    free(asking);
}

/* A terminal gives whole lines. */
static void typed(evutil_socket_t fd, short what, void *opaque)
{
    struct tool *tool = opaque;
    char line[PASSWORD_MAX + 2];
    ssize_t n = read(fd, line, sizeof(line) - 1);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    vst_question_answer(&tool->asking->question, n > 0 ? line : NULL);
    explicit_bzero(line, sizeof(line));
    ask_end(tool);
}

static int begin(struct tool *tool, struct asking *asking)
{
    struct termios silent;

    if (tcgetattr(asking->fd, &asking->before) < 0)
        return -1;
    asking->event = event_new(tool->base, asking->fd, EV_READ | EV_PERSIST, typed, tool);
    if (!asking->event || event_add(asking->event, NULL) < 0)
        return -1;
    silent = asking->before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    return tcsetattr(asking->fd, TCSAFLUSH, &silent);
}

static struct asking *open_terminal(struct tool *tool)
{
    struct asking *asking = calloc(1, sizeof(*asking));

    if (!asking)
        return NULL;
    asking->fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (asking->fd >= 0 && begin(tool, asking) == 0)
        return asking;
    if (asking->event)
        event_free(asking->event);
    if (asking->fd >= 0)
        close(asking->fd);
    free(asking);
    return NULL;
}

void ask_password(struct vst_question *question, void *opaque)
{
    struct tool *tool = opaque;

    tool->asking = open_terminal(tool);
    if (!tool->asking) {
        output_note(tool,
                    "no terminal to ask for the password of %s on; say password-file=FILE "
                    "in the URI",
                    vst_question_get_user(question));
        vst_question_answer(&question, NULL);
        return;
    }
    tool->asking->question = question;
    dprintf(tool->asking->fd, "Password of %s for %s: ", vst_question_get_user(question),
            vst_question_get_uri(question));
}

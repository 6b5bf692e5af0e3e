/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw mode. The signals that could end the command meanwhile are events of the loop, so that the
 * way out always leads past terminal_leave_raw().
 */
#include "terminal.h"

#include <unistd.h>

int terminal_enter_raw(struct terminal *terminal)
{
    struct termios raw;

    *terminal = (struct terminal){.raw = false};
    if (!isatty(STDIN_FILENO))
        return 0;
    if (tcgetattr(STDIN_FILENO, &terminal->before) < 0)
        return -1;
    raw = terminal->before;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return -1;
    terminal->raw = true;
    return 0;
}

void terminal_leave_raw(struct terminal *terminal)
{
    if (terminal->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->before);
    terminal->raw = false;
}

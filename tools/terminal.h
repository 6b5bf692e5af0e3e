/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The terminal as a guest's: every key goes to the guest, none to this host.
 */
#ifndef VIRSTREAM_TOOLS_TERMINAL_H
#define VIRSTREAM_TOOLS_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

struct terminal {
    struct termios before;
    bool raw;
};

/* Of standard input; does nothing if that is no terminal. 0, or -1 with errno. */
int terminal_enter_raw(struct terminal *terminal);

/* As it was. Idempotent. */
void terminal_leave_raw(struct terminal *terminal);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking for a password on the terminal, without an echo, while the loop runs: so Ctrl-C cancels
 * as it does anywhere else.
 */
#ifndef VIRSTREAM_TOOLS_ASK_H
#define VIRSTREAM_TOOLS_ASK_H

#include "tool.h"

/* For vst_conn_options; `opaque` is the tool. Without a terminal the answer is none, and a note
 * says so. */
void ask_password(struct vst_question *question, void *opaque);

/* The terminal as it was; a question that is still open is answered with nothing. Idempotent. */
void ask_end(struct tool *tool);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a definition to the command line of QEMU. A pure function: it opens nothing, asks nothing,
 * and gives the same words for the same definition, which a restored guest depends on.
 *
 * Everything that QEMU is to open comes to it as an inherited descriptor, so that it needs no
 * right to any file: sockets to listen on, disks and the console's log. Only kernel, initrd and
 * firmware are opened by QEMU itself.
 */
#ifndef VST_QEMU_COMMAND_LINE_H
#define VST_QEMU_COMMAND_LINE_H

#include <stdbool.h>

#include "core/definition.h"

/* The numbers in QEMU; see files.h for what is behind them. */
enum vst_qemu_fd {
    VST_QEMU_FD_MONITOR = 3, /* a listening socket, for QMP */
    VST_QEMU_FD_CONSOLE,     /* a listening socket; unused without a console */
    VST_QEMU_FD_CONSOLE_LOG, /* unused without a log */
    VST_QEMU_FD_DISKS,       /* the first of them; the others follow */
};

/*
 * The words, beginning with `program` and ending with NULL. The guest is always held (-S);
 * `incoming`: it waits for migrate-incoming. The definition's own args come last and may override.
 */
char **vst_command_line(const struct vst_definition *def, const char *program, bool incoming,
                        struct vst_error *ret_err);

/* Sets *words to NULL. Accepts NULL. */
void vst_command_line_free(char ***words);

#endif

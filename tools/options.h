/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line: one table of options, from which come its reading and its help.
 */
#ifndef VIRSTREAM_TOOLS_OPTIONS_H
#define VIRSTREAM_TOOLS_OPTIONS_H

#include <stdio.h>

#include "tool.h"

/*
 * Fills tool->opt from the options in argv, and moves tool->args to the first word that is none.
 * `allowed` is a mask of option_set. `leading`: stops at the first word. Mistakes are recorded
 * (the first one wins) and reading goes on, so that --json counts wherever it stands.
 */
void options_read(struct tool *tool, unsigned allowed, bool leading, char **argv);

/* The lines of --help about the options of `set`. */
void options_print(FILE *to, unsigned set);

/* NULL if there is none. `next` is the word after it, or NULL. */
const struct command *command_find(const char *word, const char *next);
/* The words that may follow `word`, for people; "" if no command of two words begins with it. */
void command_seconds(const char *word, char *ret, size_t size);

void help_print(FILE *to, const struct command *command);
void help_print_all(FILE *to);

#endif

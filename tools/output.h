/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the command prints: results, errors and notes, for people or as JSON. What goes wrong while
 * it is made is an error like any other.
 */
#ifndef VIRSTREAM_TOOLS_OUTPUT_H
#define VIRSTREAM_TOOLS_OUTPUT_H

#include <json-c/json.h>
#include <stdint.h>

#include "tool.h"

/* tool->err, where --json wants it. */
void output_error(struct tool *tool);

/* A line on standard error, unless --quiet. */
void output_note(const struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line that says that it worked, unless --quiet or --json. */
void output_done(const struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* {"name": value} as the one object of --json. Takes `value`; NULL stands for no memory. */
int output_json(struct tool *tool, const char *name, struct json_object *value);

/* Adds a member; `to` may be NULL, and so may `text`. */
void put_text(struct json_object *to, const char *name, const char *text);
void put_number(struct json_object *to, const char *name, uint64_t number);
/* "total": null when it is not known, which is 0. */
void put_total(struct json_object *to, uint64_t total);
void put_flag(struct json_object *to, const char *name, bool flag);
/* Seconds, to the millisecond. */
void put_seconds(struct json_object *to, const char *name, int64_t us);
/* As "2024-05-01T12:00:00Z". */
void put_time(struct json_object *to, const char *name, int64_t since_1970);

/* ---- text.c ---- */

struct text {
    char s[32];
};
/* "1.4 GiB" */
struct text text_size(uint64_t bytes);
/* "0:03", "1:02:03" */
struct text text_duration(int64_t us);
/* "0.21 s" */
struct text text_seconds(int64_t us);
/* "2024-05-01 12:00:00" in the local time */
struct text text_time(int64_t since_1970);
/* The same in the fewest letters: the time if it is today, else the day. */
struct text text_time_short(int64_t since_1970);

/* What a terminal might obey, and what is not UTF-8, becomes `?`; new lines stay. */
void text_clean(char *text);

/* Columns of the terminal that `fd` is, or 0. */
unsigned text_columns(int fd);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Results, errors and notes of the command.
 */
#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What helps whatever it is about; NULL: nothing. */
static const char *hint_for_all(const struct vst_error *err)
{
    switch (err->code) {
    case VST_ERR_NO_MEMORY:
        return "try again when this host has more memory free";
    case VST_ERR_SYSTEM:
        return err->system == ENOSPC || err->system == EDQUOT ? "make room there, and try again"
                                                              : NULL;
    case VST_ERR_CONNECT:
        return "is the URI right, and what it names running? See --connect";
    case VST_ERR_AUTH:
        return "`virstream doctor URI` tells what each side has shown";
    case VST_ERR_STALLED:
        return "a larger --stall allows for longer pauses";
    case VST_ERR_DAMAGED:
    case VST_ERR_TRUNCATED:
        return "nothing of it was used; take another copy";
    default:
        return NULL;
    }
}

static const char *hint_for_volume(const struct vst_error *err)
{
    switch (err->code) {
    case VST_ERR_NOT_FOUND:
        return err->side == VST_SIDE_HOST
                   ? "`virstream volumes` names the volumes that there are"
                   : "the file is looked for here, where this command runs: is its path right?";
    case VST_ERR_BUSY:
        return "try again when that has finished";
    default:
        return hint_for_all(err);
    }
}

static const char *hint_for_guest(const struct vst_error *err)
{
    switch (err->code) {
    case VST_ERR_ACCESS:
        return err->system || err->side != VST_SIDE_HOST
                   ? "is it yours? Perhaps another user may"
                   : "[access] in the daemon's virstreamd.conf gives the roles";
    case VST_ERR_NOT_FOUND:
        return err->system || err->side == VST_SIDE_CLIENT
                   ? NULL
                   : "`virstream list` names the guests that there are";
    case VST_ERR_EXISTS:
        return "choose another name, or end the guest that has it";
    case VST_ERR_STATE:
        return "`virstream info` tells its state";
    case VST_ERR_BUSY:
        return "try again when that has finished; `virstream list` shows who is at it";
    case VST_ERR_TIMEOUT:
        return "a larger --timeout gives it more time";
    case VST_ERR_IN_DOUBT:
        return "the hosts go on trying; `virstream migrations` tells what they wait for";
    case VST_ERR_CLEANUP:
        return "it is done; look at what is left with `virstream info`";
    default:
        return hint_for_all(err);
    }
}

static bool is_of_a_migration(int (*run)(struct tool *))
{
    return run == command_migration_cancel || run == command_migration_set ||
           run == command_migration_resolve || run == command_migration_post_copy;
}

/* For what means something else in one command; NULL: it does not. */
static const char *hint_for_command(enum vst_code code, int (*run)(struct tool *))
{
    if (code == VST_ERR_INVALID && run == command_start)
        return "docs/definition.md tells what belongs into a definition";
    if (code == VST_ERR_TIMEOUT && run == command_shutdown)
        return "perhaps it does not listen; `virstream destroy` ends it at once";
    if (code == VST_ERR_BUSY && run == command_restore)
        return "try again when that has finished"; /* what is being restored is listed by nobody */
    if (code == VST_ERR_NOT_FOUND && run == command_volumes)
        return "[pool NAME] of the daemon, or pool.NAME= of the URI, says where a pool is";
    if (code == VST_ERR_AUTH && run == command_doctor)
        return "what each side has shown stands above";
    if (code == VST_ERR_INCOMPATIBLE && run == command_migrate)
        return "nothing was started; `virstream migrate --check` tells whether all is well";
    if (code == VST_ERR_ACCESS && run == command_migrate)
        return "[access] and [migrate] in virstreamd.conf of the host that refuses say who may";
    if ((code == VST_ERR_STATE && is_of_a_migration(run)) ||
        (code == VST_ERR_BUSY && run == command_migration_relay))
        return "`virstream migrations` tells how it is";
    return NULL;
}

/* What to do about it. */
static const char *hint_for(const struct tool *tool, char buf[static 80])
{
    const struct command *command = tool->command;
    const char *hint;

    if (tool->bad_usage) {
        snprintf(buf, 80, "virstream %s%s--help", command ? command->name : "", command ? " " : "");
        return buf;
    }
    if (tool->hint)
        return tool->hint;
    if (!command)
        return hint_for_all(&tool->err);
    hint = hint_for_command(tool->err.code, command->run);
    if (!hint && command->subject == ABOUT_GUESTS)
        hint = hint_for_guest(&tool->err);
    if (!hint && command->subject == ABOUT_VOLUMES)
        hint = hint_for_volume(&tool->err);
    return hint;
}

/* Everything that goes with an error comes indented below it. */
static void print_error(const struct tool *tool, const char *hint)
{
    const struct vst_error *err = &tool->err;
    const char *side = vst_side_name(err->side);

    fprintf(stderr, "virstream: %s%s", tool->command ? tool->command->name : "",
            tool->command ? ": " : "");
    for (const char *at = err->text; *at; at++) {
        fputc(*at, stderr);
        if (*at == '\n')
            fputs("    ", stderr);
    }
    fputc('\n', stderr);
    if (*side || *err->phase)
        fprintf(stderr, "  where: %s%s%s\n", side, *side && *err->phase ? ", " : "", err->phase);
    if (hint)
        fprintf(stderr, "  hint: %s\n", hint);
}

static void put(struct json_object *to, const char *name, struct json_object *value)
{
    if (!to || json_object_object_add(to, name, value) != 0)
        json_object_put(value);
}

void output_error(struct tool *tool)
{
    char buf[80];
    const char *hint = hint_for(tool, buf);
    struct json_object *error;

    text_clean(tool->err.text);
    text_clean(tool->err.phase);
    if (!tool->opt.json) {
        print_error(tool, hint);
        return;
    }
    error = json_object_new_object();
    put_text(error, "code", vst_code_name(tool->err.code));
    put_text(error, "side", vst_side_name(tool->err.side));
    put_text(error, "phase", tool->err.phase);
    put_text(error, "cause", tool->err.text);
    if (tool->err.system > 0)
        put_number(error, "system", (uint64_t)tool->err.system);
    if (hint)
        put_text(error, "hint", hint);
    if (tool->err_files)
        put(error, "files", tool->err_files);
    tool->err_files = NULL;
    output_json(tool, "error", error);
}

static void print_line(FILE *to, const char *prefix, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void print_line(FILE *to, const char *prefix, const char *format, va_list args)
{
    fputs(prefix, to);
    vfprintf(to, format, args);
    fputc('\n', to);
}

void output_note(const struct tool *tool, const char *format, ...)
{
    va_list args;

    if (tool->opt.quiet)
        return;
    va_start(args, format);
    print_line(stderr, "virstream: ", format, args);
    va_end(args);
}

void output_done(const struct tool *tool, const char *format, ...)
{
    va_list args;

    if (tool->opt.quiet || tool->opt.json)
        return;
    va_start(args, format);
    print_line(tool->data_on_stdout ? stderr : stdout, "", format, args);
    va_end(args);
}

int output_json(struct tool *tool, const char *name, struct json_object *value)
{
    struct json_object *whole = json_object_new_object();
    const char *text = NULL;

    if (whole && value && json_object_object_add(whole, name, value) == 0)
        text = json_object_to_json_string_ext(whole, JSON_C_TO_STRING_PLAIN |
                                                         JSON_C_TO_STRING_NOSLASHESCAPE);
    else
        json_object_put(value);
    if (text)
        fprintf(tool->data_on_stdout ? stderr : stdout, "%s\n", text);
    else
        tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    json_object_put(whole);
    return text ? 0 : -1;
}

/* Names of files may be any bytes; JSON is UTF-8. */
void put_text(struct json_object *to, const char *name, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    if (copy)
        text_clean(copy);
    put(to, name, copy ? json_object_new_string(copy) : NULL);
    free(copy);
}

void put_number(struct json_object *to, const char *name, uint64_t number)
{
    put(to, name, json_object_new_uint64(number));
}

void put_total(struct json_object *to, uint64_t total)
{
    put(to, "total", total ? json_object_new_uint64(total) : NULL);
}

void put_flag(struct json_object *to, const char *name, bool flag)
{
    put(to, name, json_object_new_boolean(flag));
}

void put_seconds(struct json_object *to, const char *name, int64_t us)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%.3f", (double)us / 1e6);
    put(to, name, json_object_new_double_s((double)us / 1e6, digits));
}

void put_time(struct json_object *to, const char *name, int64_t since_1970)
{
    time_t when = (time_t)since_1970;
    struct tm parts;
    char text[32];

    if (gmtime_r(&when, &parts) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts))
        put_text(to, name, text);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The virstream command: one run of one command. What the commands do is in cmd-*.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "ends.h"
#include "options.h"
#include "output.h"
#include "tool.h"

static void vfail(struct tool *tool, enum vst_code code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void vfail(struct tool *tool, enum vst_code code, const char *format, va_list args)
{
    if (tool->err.code != VST_ERR_OK)
        return;
    tool->err.code = code;
    vsnprintf(tool->err.text, sizeof(tool->err.text), format, args);
}

int tool_fail(struct tool *tool, enum vst_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfail(tool, code, format, args);
    va_end(args);
    return -1;
}

int tool_usage(struct tool *tool, const char *format, ...)
{
    va_list args;

    if (tool->err.code == VST_ERR_OK)
        tool->bad_usage = true;
    va_start(args, format);
    vfail(tool, VST_ERR_INVALID, format, args);
    va_end(args);
    return -1;
}

int tool_fail_system(struct tool *tool, int number, const char *what)
{
    static const struct {
        int number;
        enum vst_code code;
    } codes[] = {
        {ENOMEM, VST_ERR_NO_MEMORY}, {ENOENT, VST_ERR_NOT_FOUND}, {EEXIST, VST_ERR_EXISTS},
        {EACCES, VST_ERR_ACCESS},    {EPERM, VST_ERR_ACCESS},
    };
    enum vst_code code = VST_ERR_SYSTEM;

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        if (codes[i].number == number)
            code = codes[i].code;
    tool_fail(tool, code, "%s: %s", what, strerror(number));
    tool->err.system = number;
    tool->err.side = VST_SIDE_APPLICATION;
    return -1;
}

static void trace_line(unsigned category, const char *line, void *opaque)
{
    const struct timespec *start = opaque;
    struct timespec now;
    double seconds;

    (void)category;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
    fprintf(stderr, "[%11.6f] %s\n", seconds, line);
}

/* What follows is read all the same: --json says how the mistake is to be told. */
static void refuse_command(struct tool *tool)
{
    char seconds[64];

    command_seconds(tool->args[0], seconds, sizeof(seconds));
    if (*seconds)
        tool_usage(tool, "`%s` is half a command; after it comes one of: %s", tool->args[0],
                   seconds);
    else
        tool_usage(tool, "no such command: `%s`", tool->args[0]);
    options_read(tool, OPTION_EVERYWHERE, false, tool->args);
}

/* Everything that can be wrong with the command line, and only the first of it, ends up in err. */
static void read_command_line(struct tool *tool, char **argv)
{
    int count = 0;

    options_read(tool, OPTION_EVERYWHERE, true, argv);
    if (!tool->args[0]) {
        if (!tool->opt.help && !tool->opt.version)
            tool_usage(tool, "no command given");
        return;
    }
    tool->command = command_find(tool->args[0], tool->args[1]);
    if (!tool->command) {
        refuse_command(tool);
        return;
    }
    /* getopt passes over the word before the options: the second one of two. */
    if (strchr(tool->command->name, ' '))
        tool->args++;
    options_read(tool, OPTION_EVERYWHERE | tool->command->options, false, tool->args);
    while (tool->args[count])
        count++;
    if ((count > tool->command->count ||
         (count < tool->command->count && tool->command->arguments[0] != '[')) &&
        !tool->opt.help && !tool->opt.version)
        tool_usage(tool, tool->command->count ? "takes %s" : "takes no arguments%s",
                   tool->command->arguments);
}

/*
 * A standard descriptor that is closed would be the next that is opened, and get what is meant for
 * the standard one. What stands there instead refuses that.
 */
static void fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static int run(struct tool *tool, struct timespec *start)
{
    struct vst_trace trace = {tool->opt.trace, trace_line, start};

    if (tool->err.code != VST_ERR_OK)
        return -1;
    if (tool->opt.version) {
        printf("virstream %s\n", PACKAGE_VERSION);
        return 0;
    }
    if (tool->opt.help && tool->command)
        help_print(stdout, tool->command);
    else if (tool->opt.help)
        help_print_all(stdout);
    if (tool->opt.help)
        return 0;
    if (trace.categories)
        vst_trace_set(&trace);
    tool->deadline = *start;
    tool->deadline.tv_sec += tool->opt.timeout;
    tool->base = event_base_new();
    if (!tool->base)
        return tool_fail(tool, VST_ERR_NO_MEMORY, "out of memory");
    return tool->command->run(tool);
}

int main(int argc, char **argv)
{
    struct tool tool = {0};
    struct timespec start;

    (void)argc;
    fill_standard();
    clock_gettime(CLOCK_MONOTONIC, &start);
    signal(SIGPIPE, SIG_IGN);
    read_command_line(&tool, argv);
    if (run(&tool, &start) == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        tool_fail_system(&tool, errno, "standard output");
    tool_close(&tool);
    ends_restore(&tool);
    if (tool.err.code != VST_ERR_OK)
        output_error(&tool);
    vst_trace_set(NULL);
    return vst_code_exit(tool.err.code);
}

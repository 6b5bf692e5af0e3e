/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command virstreamd: its options, and the checks that need no running daemon.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "core/trace.h"
#include "daemon.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: virstreamd [--config FILE] [--check-config] [--trace LIST]\n"
    "\n"
    "Serves the guests of this host over UNIX sockets, TCP and TLS; see virstreamd(8).\n"
    "\n"
    "  -c, --config FILE   the configuration, in place of " SYSCONFDIR
    "/virstream/virstreamd.conf;\n"
    "                      see virstreamd.conf(5)\n"
    "      --check-config  says what is wrong with it, and with the certificates, and ends\n"
    "      --trace LIST    shows on stderr what it does: state,pump,qmp,process,wire or all\n"
    "  -h, --help          this\n"
    "  -V, --version       the version\n";

struct options {
    const char *file;
    bool check;
    unsigned trace;
};

static void trace_line(unsigned category, const char *line, void *opaque)
{
    (void)category, (void)opaque;
    fprintf(stderr, "%s\n", line);
}

static int read_trace(const char *list, unsigned *ret_categories)
{
    const char *unknown = vst_trace_parse(list, ret_categories);

    if (unknown)
        fprintf(stderr,
                "virstreamd: `%.*s` is not to be traced: state, pump, qmp, process, wire or all\n",
                (int)strcspn(unknown, ","), unknown);
    return unknown ? -1 : 0;
}

static void complain(void *opaque, unsigned line, const char *text)
{
    const struct options *options = opaque;

    if (line)
        fprintf(stderr, "%s:%u: %s\n", options->file, line, text);
    else
        fprintf(stderr, "%s: %s\n", options->file, text);
}

static void warn(void *opaque, unsigned line, const char *text)
{
    char warning[700];

    snprintf(warning, sizeof(warning), "warning: %s", text);
    complain(opaque, line, warning);
}

/* Exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct options *ret_options)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'k'},
        {"trace", required_argument, NULL, 't'},  {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "c:hV", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret_options->file = optarg;
            break;
        case 'k':
            ret_options->check = true;
            break;
        case 't':
            if (read_trace(optarg, &ret_options->trace) < 0)
                return EXIT_USAGE;
            break;
        case 'h':
            return fputs(usage, stdout) < 0;
        case 'V':
            return puts(PACKAGE_STRING) < 0;
        default:
            fputs("Try virstreamd --help.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == argc)
        return -1;
    fprintf(stderr, "virstreamd: `%s`: there are options only; try virstreamd --help\n",
            argv[optind]);
    return EXIT_USAGE;
}

static struct vst_log *open_log(const struct vst_config *config, struct vst_error *ret_err)
{
    bool journal = strcmp(config->log, "journal") == 0 ||
                   (strcmp(config->log, "auto") == 0 &&
                    vst_log_is_journal(STDERR_FILENO, getenv("JOURNAL_STREAM")));

    return vst_log_new(STDERR_FILENO, journal ? VST_JOURNAL_SOCKET : NULL, ret_err);
}

/* Before any thread begins: the environment is changed. */
static int run(const struct options *options, struct vst_config *config)
{
    struct vst_daemon_start start = {.file = options->file, .config = config};
    struct vst_trace trace = {options->trace, trace_line, NULL};
    struct vst_error err = {0};

    vst_trace_set(&trace);

    if (vst_notify_open(&start.notify, &err) == 0 &&
        (start.fd_count = vst_listen_fds(&start.fd_names, &err)) >= 0 &&
        (start.log = open_log(config, &err)))
        return vst_daemon_run(&start);
    fprintf(stderr, "virstreamd: %s\n", err.text);
    vst_config_free(&config);
    return 1;
}

int main(int argc, char **argv)
{
    struct options options = {.file = SYSCONFDIR "/virstream/virstreamd.conf"};
    int status = parse(argc, argv, &options);
    struct vst_config *config;

    if (status >= 0)
        return status;
    config = vst_daemon_read(options.file, complain, warn, &options);
    if (!config)
        return EXIT_USAGE;
    if (!options.check)
        return run(&options, config);
    vst_config_free(&config);
    return printf("%s: good\n", options.file) < 0;
}

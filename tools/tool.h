/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the virstream command share: the row of a command, what the command line said,
 * and the one run of the one command that a process is.
 *
 * A command's function does its work in straight lines, by tool_wait(), and returns 0, or -1 with
 * tool->err filled; main() alone prints errors and makes exit codes of them.
 */
#ifndef VIRSTREAM_TOOLS_TOOL_H
#define VIRSTREAM_TOOLS_TOOL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <virstream/virstream.h>

#include "terminal.h"

struct tool;

/* Which options a command has, besides those of every command. */
enum option_set {
    OPTION_PAUSED = 1 << 0,
    OPTION_LIVE = 1 << 1,
    OPTION_KEEP_RUNNING = 1 << 2,
    OPTION_COMPRESS = 1 << 3,
    OPTION_RATE = 1 << 4,
    OPTION_STALL = 1 << 5,
    OPTION_NAME = 1 << 6,
    OPTION_READ_ONLY = 1 << 7,
    OPTION_HOSTS = 1 << 8,
    OPTION_CLIENT = 1 << 9,
    OPTION_COUNT = 1 << 10,
    OPTION_OFFSET = 1 << 11,
    OPTION_LENGTH = 1 << 12,
    OPTION_MIGRATE = 1 << 13,
    OPTION_CHANGE = 1 << 14,
    OPTION_RESOLVE = 1 << 15,
    OPTION_WATCH = 1 << 16,
    OPTION_FORGET = 1 << 17,
    OPTION_EVERYWHERE = 1 << 18,
};

/* A number of bytes that may have been given. */
struct size_option {
    bool given;
    uint64_t bytes;
};

/* What a command is about, and so what can be wrong. */
enum subject { ABOUT_GUESTS, ABOUT_VOLUMES, ABOUT_CERTIFICATES };

struct command {
    const char *name; /* one word, or two with one space */
    const char *arguments;
    int count; /* how many arguments it takes; or fewer, if they are in brackets */
    unsigned options;
    const char *summary;
    const char *details;
    const char *
        undo; /* what a cancelled run waits for, said at the second Ctrl-C, and left at the third */
    int (*run)(struct tool *);
    enum subject subject;
};

extern const struct command commands[]; /* ends with a row without a name */

enum progress_kind { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_JSON, PROGRESS_NONE };

/* The values of an option that may be given again and again. */
enum { WORDS_MAX = 32 };
struct words {
    const char *word[WORDS_MAX];
    unsigned count;
};

struct options {
    const char *uri;
    const char *name;
    const char *client;
    bool json;
    bool quiet;
    bool help;
    bool version;
    bool paused;
    bool live;
    bool keep_running;
    bool read_only;
    bool check;
    bool offline;
    bool keep_source;
    bool auto_converge;
    bool post_copy;
    bool copy_disks;
    bool detach;
    bool relay;
    bool watch;
    enum vst_migrate_then then;
    enum vst_migration_order owner; /* CANCEL: not said */
    bool host_is_lost;
    unsigned post_copy_after; /* passes; 0: not by itself */
    unsigned downtime;        /* milliseconds; 0: the library's default, or as it is */
    enum progress_kind progress;
    unsigned count;   /* of pings; 0: some */
    unsigned timeout; /* seconds; 0: none */
    unsigned stall;   /* seconds; 0: the library's default */
    unsigned trace;   /* mask of vst_trace_category */
    int zstd_level;
    uint64_t rate; /* bytes per second; 0: no limit */
    struct size_option offset;
    struct size_option length;
    struct words hosts;
    struct words addresses;
    struct words uris;
};

enum { TOOL_SIGNALS = 3 };

struct json_object;

struct tool {
    const struct command *command; /* NULL until it is known */
    struct options opt;
    char **args;
    struct event_base *base;
    struct event *signals[TOOL_SIGNALS];
    struct vst_conn *conn;
    struct vst_conn *other; /* the destination, of what goes through this process */
    struct vst_domain *domain;
    struct vst_op *op;     /* in flight; NULL between two */
    struct asking *asking; /* for a password; NULL: not now */
    struct timespec deadline;
    unsigned interrupts;
    struct terminal terminal; /* raw, while it is the guest's */
    bool shared[2];           /* standard input, output: their flags are to be put back */
    int flags[2];
    bool data_on_stdout; /* so that results go to standard error */
    bool bad_usage;
    const char *hint; /* about the error, from who knows more than its code says; or NULL */
    struct vst_error err;
    struct json_object *err_files; /* with --json: which files the error is of, and why */
};

/* ---- virstream.c ---- */

/* Sets the error unless one is there. Always returns -1. */
int tool_fail(struct tool *tool, enum vst_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a command line that is wrong: the hint names the help. */
int tool_usage(struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a failed system call, with its errno. */
int tool_fail_system(struct tool *tool, int number, const char *what);

/* ---- wait.c: the loop ---- */

/* Opens the connection; from here on signals cancel instead of ending the process. */
int tool_connect(struct tool *tool);
/* The other connection, after that. */
int tool_connect_other(struct tool *tool, const char *uri);
/* The first one, and finds the domain that the first argument names. */
int tool_find_domain(struct tool *tool);
/* Signals cancel what tool_wait() waits for. Part of tool_connect(). */
int tool_watch_signals(struct tool *tool);
/* What is left until the deadline of --timeout; a passed one ends an operation in the next turn. */
struct timeval tool_time_left(const struct tool *tool);
/* Runs the loop until `op` has completed. */
int tool_wait(struct tool *tool, struct vst_op *op);
/* Runs the loop until the command is cancelled, its time is over, or an error is recorded. */
int tool_follow(struct tool *tool);
void tool_close(struct tool *tool);
/* For calls that give a domain: it becomes tool->domain. */
struct vst_domain_cb tool_domain_cb(struct tool *tool);

/* ---- commands ---- */

int command_start(struct tool *tool);
int command_list(struct tool *tool);
int command_info(struct tool *tool);
int command_suspend(struct tool *tool);
int command_resume(struct tool *tool);
int command_shutdown(struct tool *tool);
int command_destroy(struct tool *tool);
int command_save(struct tool *tool);
int command_restore(struct tool *tool);
int command_console(struct tool *tool);
int command_screenshot(struct tool *tool);
int command_upload(struct tool *tool);
int command_download(struct tool *tool);
int command_volumes(struct tool *tool);
int command_volume_delete(struct tool *tool);
int command_image_info(struct tool *tool);
int command_image_check(struct tool *tool);
int command_pki_init(struct tool *tool);
int command_pki_issue(struct tool *tool);
int command_pki_revoke(struct tool *tool);
int command_pki_check(struct tool *tool);
int command_ping(struct tool *tool);
int command_stats(struct tool *tool);
int command_events(struct tool *tool);
int command_doctor(struct tool *tool);
int command_migrate(struct tool *tool);
int command_migrations(struct tool *tool);
int command_migration_relay(struct tool *tool);
int command_migration_cancel(struct tool *tool);
int command_migration_resolve(struct tool *tool);
int command_migration_forget(struct tool *tool);
int command_migration_set(struct tool *tool);
int command_migration_post_copy(struct tool *tool);

/* For vst_conn_options: what doctor says of each step of the opening. */
void doctor_step(const struct vst_conn_step *step, void *opaque);

#endif

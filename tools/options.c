/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of the command line, by table. What they mean for a command is the command's.
 */
#include "options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/size.h"

enum {
    SECONDS_MAX = 7 * 24 * 3600,
    COUNT_MAX = 1000000,
    MILLISECONDS_MAX = 3600 * 1000,
    ZSTD_LEVEL = 3,
    ZSTD_LEVEL_MAX = 19,
    LONG_ONLY = 256, /* getopt's value for row i is LONG_ONLY + i */
};

struct row {
    const char *name;
    const char *value; /* what --help calls its value, "[=VALUE]" if it may be left out; NULL: it
                          has none */
    const char *help;
    int letter; /* 0: none */
    unsigned set;
    size_t offset; /* in struct options */
    int (*read)(struct tool *tool, void *into, const char *value);
};

static int read_flag(struct tool *tool, void *into, const char *value)
{
    (void)tool, (void)value;
    *(bool *)into = true;
    return 0;
}

static int read_text(struct tool *tool, void *into, const char *value)
{
    (void)tool;
    *(const char **)into = value;
    return 0;
}

static int read_word(struct tool *tool, void *into, const char *value)
{
    struct words *words = into;

    if (words->count == WORDS_MAX)
        return tool_usage(tool, "`%s` is one too many: there may be %d", value, WORDS_MAX);
    words->word[words->count++] = value;
    return 0;
}

/* A whole number from `min` to `max`. */
static int read_number(const char *value, unsigned long min, unsigned long max,
                       unsigned long *ret_number)
{
    unsigned long number;
    char *end;

    if (*value < '0' || *value > '9')
        return -1;
    errno = 0;
    number = strtoul(value, &end, 10);
    if (*end || errno || number < min || number > max)
        return -1;
    *ret_number = number;
    return 0;
}

static int read_seconds(struct tool *tool, void *into, const char *value)
{
    unsigned long seconds;

    if (read_number(value, 1, SECONDS_MAX, &seconds) < 0)
        return tool_usage(tool, "`%s` is not a number of seconds from 1 to %d", value, SECONDS_MAX);
    *(unsigned *)into = (unsigned)seconds;
    return 0;
}

static int read_count(struct tool *tool, void *into, const char *value)
{
    unsigned long count;

    if (read_number(value, 1, COUNT_MAX, &count) < 0)
        return tool_usage(tool, "`%s` is not a number from 1 to %d", value, COUNT_MAX);
    *(unsigned *)into = (unsigned)count;
    return 0;
}

static int read_milliseconds(struct tool *tool, void *into, const char *value)
{
    unsigned long milliseconds;

    if (read_number(value, 1, MILLISECONDS_MAX, &milliseconds) < 0)
        return tool_usage(tool, "`%s` is not a number of milliseconds from 1 to %d", value,
                          MILLISECONDS_MAX);
    *(unsigned *)into = (unsigned)milliseconds;
    return 0;
}

static int read_rate(struct tool *tool, void *into, const char *value)
{
    uint64_t rate;

    if (vst_size_parse(value, &rate) < 0 || !rate)
        return tool_usage(tool, "`%s` is not a number of bytes per second, as 65536, 10M or 1GiB",
                          value);
    *(uint64_t *)into = rate;
    return 0;
}

static int read_size(struct tool *tool, void *into, const char *value)
{
    struct size_option *size = into;

    if (vst_size_parse(value, &size->bytes) < 0)
        return tool_usage(tool, "`%s` is not a number of bytes, as 65536, 10M or 1GiB", value);
    size->given = true;
    return 0;
}

static int read_compress(struct tool *tool, void *into, const char *value)
{
    unsigned long level = ZSTD_LEVEL;

    if (strcmp(value, "zstd") != 0 &&
        (strncmp(value, "zstd:", 5) != 0 || read_number(value + 5, 1, ZSTD_LEVEL_MAX, &level) < 0))
        return tool_usage(tool, "`%s` is not a compression: zstd, or zstd:1 to zstd:%d", value,
                          ZSTD_LEVEL_MAX);
    *(int *)into = (int)level;
    return 0;
}

/* Of a migration, where the kind may be left out. */
static int read_level(struct tool *tool, void *into, const char *value)
{
    unsigned long level = ZSTD_LEVEL;

    if (value && strncmp(value, "zstd", 4) == 0)
        return read_compress(tool, into, value);
    if (value && read_number(value, 1, ZSTD_LEVEL_MAX, &level) < 0)
        return tool_usage(tool, "`%s` is not a level of compression from 1 to %d", value,
                          ZSTD_LEVEL_MAX);
    *(int *)into = (int)level;
    return 0;
}

static int read_then(struct tool *tool, void *into, const char *value)
{
    static const char *const names[] = {
        [VST_MIGRATE_THEN_ABORT] = "abort",
        [VST_MIGRATE_THEN_SUSPEND] = "suspend",
        [VST_MIGRATE_THEN_POST_COPY] = "post-copy",
    };

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(value, names[i]) == 0) {
            *(enum vst_migrate_then *)into = i;
            return 0;
        }
    }
    return tool_usage(tool, "`%s` is not what can be done then: abort, suspend or post-copy",
                      value);
}

static int read_owner(struct tool *tool, void *into, const char *value)
{
    enum vst_migration_order *owner = into;

    if (strcmp(value, "source") == 0)
        *owner = VST_MIGRATION_RUNS_ON_SOURCE;
    else if (strcmp(value, "destination") == 0)
        *owner = VST_MIGRATION_RUNS_ON_DESTINATION;
    else
        return tool_usage(tool, "`%s` is not where the guest runs: source or destination", value);
    return 0;
}

static int read_progress(struct tool *tool, void *into, const char *value)
{
    static const char *const names[] = {
        [PROGRESS_AUTO] = "auto",
        [PROGRESS_BAR] = "bar",
        [PROGRESS_JSON] = "json",
        [PROGRESS_NONE] = "none",
    };

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(value, names[i]) == 0) {
            *(enum progress_kind *)into = i;
            return 0;
        }
    }
    return tool_usage(tool, "`%s` is not a kind of progress: auto, bar, json or none", value);
}

static int read_trace(struct tool *tool, void *into, const char *value)
{
    const char *unknown = vst_trace_parse(value, into);

    if (!unknown)
        return 0;
    return tool_usage(tool, "`%.*s` is not to be traced: state, pump, qmp, process, wire or all",
                      (int)strcspn(unknown, ","), unknown);
}

#define AT(field) offsetof(struct options, field)

static const struct row rows[] = {
    {"paused", NULL, "leave the guest paused; `resume` lets it run", 0, OPTION_PAUSED, AT(paused),
     read_flag},
    {"live", NULL, "let the guest run on meanwhile and afterwards", 0, OPTION_LIVE, AT(live),
     read_flag},
    {"keep-running", NULL, "let the guest run on once it is saved", 0, OPTION_KEEP_RUNNING,
     AT(keep_running), read_flag},
    {"compress", "zstd[:LEVEL]", "compress the image; LEVEL is 1 to 19, or 3", 0, OPTION_COMPRESS,
     AT(zstd_level), read_compress},
    {"rate", "RATE", "at most so many bytes a second: 65536, 10M, 1GiB", 0, OPTION_RATE, AT(rate),
     read_rate},
    {"stall", "SECONDS", "give up when no byte moves for so long, or 60", 0, OPTION_STALL,
     AT(stall), read_seconds},
    {"name", "NAME", "give the guest another name than it had", 0, OPTION_NAME, AT(name),
     read_text},
    {"offset", "BYTES", "where in the volume to begin", 0, OPTION_OFFSET, AT(offset), read_size},
    {"length", "BYTES", "how much of the volume; or all of the rest", 0, OPTION_LENGTH, AT(length),
     read_size},
    {"read-only", NULL, "show what the guest prints, send it nothing", 0, OPTION_READ_ONLY,
     AT(read_only), read_flag},
    {"host", "NAME", "name of the host, as clients call it; may be repeated", 0, OPTION_HOSTS,
     AT(hosts), read_word},
    {"ip", "ADDRESS", "address of the host; may be repeated", 0, OPTION_HOSTS, AT(addresses),
     read_word},
    {"client", "NAME", "name of a client", 0, OPTION_CLIENT, AT(client), read_text},
    {"uri", "URI", "one more identity of the client; may be repeated", 0, OPTION_CLIENT, AT(uris),
     read_word},
    {"check", NULL, "only list what stands in the way", 0, OPTION_MIGRATE, AT(check), read_flag},
    {"rename", "NAME", "give the guest another name there", 0, OPTION_MIGRATE, AT(name), read_text},
    {"offline", NULL, "pause the guest before it begins", 0, OPTION_MIGRATE, AT(offline),
     read_flag},
    {"bandwidth", "RATE", "at most so many bytes a second: 65536, 10M, 1GiB", 0,
     OPTION_MIGRATE | OPTION_CHANGE, AT(rate), read_rate},
    {"downtime", "MS", "how many milliseconds the guest may stand still; 300", 0,
     OPTION_MIGRATE | OPTION_CHANGE, AT(downtime), read_milliseconds},
    {"auto-converge", NULL, "slow the guest down if it is too fast to be followed", 0,
     OPTION_MIGRATE, AT(auto_converge), read_flag},
    {"post-copy", NULL, "allow that it runs there before all of its memory is there", 0,
     OPTION_MIGRATE, AT(post_copy), read_flag},
    {"post-copy-after", "N", "the same, after N passes over its memory", 0, OPTION_MIGRATE,
     AT(post_copy_after), read_count},
    {"then", "WHAT", "when --timeout is over: abort, suspend or post-copy", 0, OPTION_MIGRATE,
     AT(then), read_then},
    {"copy-disks", NULL, "copy its disks, which else are shared", 0, OPTION_MIGRATE, AT(copy_disks),
     read_flag},
    {"compress", "[=LEVEL]", "compress what is sent; LEVEL is 1 to 19, or 3", 0, OPTION_MIGRATE,
     AT(zstd_level), read_level},
    {"keep-source", NULL, "keep the paused guest here, never to run again", 0, OPTION_MIGRATE,
     AT(keep_source), read_flag},
    {"detach", NULL, "leave when it has begun; it goes on", 0, OPTION_MIGRATE, AT(detach),
     read_flag},
    {"relay", NULL, "through this command, where the hosts do not reach each other", 0,
     OPTION_MIGRATE, AT(relay), read_flag},
    {"guest-runs-on", "SIDE", "source or destination: whose the guest is from now on", 0,
     OPTION_RESOLVE, AT(owner), read_owner},
    {"other-host-is-lost", NULL, "it will never come back, or nothing of the guest is there", 0,
     OPTION_FORGET, AT(host_is_lost), read_flag},
    {"watch", NULL, "show them again and again, until Ctrl-C", 0, OPTION_WATCH, AT(watch),
     read_flag},
    {"count", "COUNT", "how many; 4", 'n', OPTION_COUNT, AT(count), read_count},
    {"connect", "URI", "where the guests are; or $VIRSTREAM_DEFAULT_URI, or qemu:///", 'c',
     OPTION_EVERYWHERE, AT(uri), read_text},
    {"json", NULL, "print the result, or the error, as one JSON object", 0, OPTION_EVERYWHERE,
     AT(json), read_flag},
    {"progress", "KIND", "auto (a bar on a terminal), bar, json or none", 0, OPTION_EVERYWHERE,
     AT(progress), read_progress},
    {"quiet", NULL, "print no progress, and nothing that only says it worked", 'q',
     OPTION_EVERYWHERE, AT(quiet), read_flag},
    {"timeout", "SECONDS", "cancel the whole after so long", 0, OPTION_EVERYWHERE, AT(timeout),
     read_seconds},
    {"trace", "LIST", "show the library at work: state,pump,qmp,process,wire or all", 0,
     OPTION_EVERYWHERE, AT(trace), read_trace},
    {"help", NULL, "print help and exit", 'h', OPTION_EVERYWHERE, AT(help), read_flag},
    {"version", NULL, "print the version and exit", 'V', OPTION_EVERYWHERE, AT(version), read_flag},
};

enum { ROWS = sizeof(rows) / sizeof(*rows) };

static int takes(const struct row *row)
{
    if (!row->value)
        return no_argument;
    return row->value[0] == '[' ? optional_argument : required_argument;
}

/* getopt's two forms of those rows that `allowed` names. */
static void make_tables(unsigned allowed, bool leading, struct option longs[ROWS + 1],
                        char shorts[2 * ROWS + 3])
{
    struct option *at = longs;

    if (leading)
        *shorts++ = '+';
    *shorts++ = ':';
    for (int i = 0; i < ROWS; i++) {
        if (!(rows[i].set & allowed))
            continue;
        *at++ = (struct option){rows[i].name, takes(&rows[i]), NULL, LONG_ONLY + i};
        if (!rows[i].letter)
            continue;
        *shorts++ = (char)rows[i].letter;
        if (rows[i].value)
            *shorts++ = ':';
    }
    *at = (struct option){0};
    *shorts = '\0';
}

static const struct row *find_row(int value)
{
    for (int i = 0; i < ROWS; i++)
        if (value == LONG_ONLY + i || (rows[i].letter && value == rows[i].letter))
            return &rows[i];
    return NULL;
}

/* getopt has returned '?' or ':'. `word` is what it was looking at. */
static void complain(struct tool *tool, int kind, const char *word)
{
    const struct row *row = find_row(optopt);

    if (kind == ':' && row)
        tool_usage(tool, "--%s needs a value: %s", row->name, row->value);
    else if (row && strncmp(word, "--", 2) == 0)
        tool_usage(tool, "--%s takes no value", row->name);
    else if (strncmp(word, "--", 2) == 0)
        tool_usage(tool, "no such option here: `%s`", word);
    else
        tool_usage(tool, "no such option here: `-%c`", optopt);
}

void options_read(struct tool *tool, unsigned allowed, bool leading, char **argv)
{
    struct option longs[ROWS + 1];
    char shorts[2 * ROWS + 3];
    int argc = 0;
    int value;

    make_tables(allowed, leading, longs, shorts);
    while (argv[argc])
        argc++;
    opterr = 0;
    optind = 0;
    while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct row *row = value == '?' || value == ':' ? NULL : find_row(value);

        if (row)
            row->read(tool, (char *)&tool->opt + row->offset, optarg);
        else
            complain(tool, value, argv[optind - 1]);
    }
    tool->args = argv + optind;
}

void options_print(FILE *to, unsigned set)
{
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        char form[40];

        if (!(row->set & set))
            continue;
        snprintf(form, sizeof(form), "%c%c%c --%s%s%s", row->letter ? '-' : ' ',
                 row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
                 takes(row) == required_argument ? " " : "", row->value ? row->value : "");
        fprintf(to, "  %-27s %s\n", form, row->help);
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From text to lines and from lines to keys: inih does it, with a reader of ours that counts lines
 * and lets nothing pass that inih would cut or misread without a word.
 */
#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/handover.h"
#include "daemon-config-private.h"

enum {
    WORD_MAX = 49,  /* what inih has room for: of a section's name, and of a key */
    FAVOURED = -10, /* weighs as much as nine ordinary processes: sched(7) */
};

struct text {
    const char *at;
    const char *end;
    struct reading *reading;
};

void vst_config_tell(struct reading *reading, const char *format, ...)
{
    char text[600];
    va_list args;

    if (++reading->faults > VST_CONFIG_FAULTS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reading->complain(reading->opaque, reading->line, text);
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Looks where inih does: not behind a comment. */
static bool has_one_of(const char *line, size_t length, const char *letters)
{
    bool blank = false;

    for (size_t i = 0; i < length; i++) {
        if (blank && line[i] == ';')
            return false;
        if (line[i] && strchr(letters, line[i]))
            return true;
        blank = isspace((unsigned char)line[i]);
    }
    return false;
}

/* Whether it is one of the three kinds of line that there are. Of others inih tells the first only.
 */
static bool is_a_line(const struct reading *reading, const char *line, size_t length)
{
    size_t end = length && line[length - 1] == '\n' ? length - 1 : length;

    if (end && line[end - 1] == '\r')
        end--;
    if (!end || strchr("#;", *line) || (reading->line == 1 && memcmp(line, "\xef", 1) == 0))
        return true;
    return *line == '[' ? has_one_of(line + 1, end - 1, "]") : has_one_of(line, end, "=:");
}

/* Whether inih will take the line as it is. An empty one takes the place of a bad one. */
static bool is_good(struct reading *reading, const char *line, size_t length, size_t room)
{
    size_t word = 0;

    while (word < length && !strchr("=:]\n", line[word]))
        word++;
    if (memchr(line, '\0', length))
        vst_config_tell(reading, "has a NUL in it");
    else if (length + 2 > room)
        vst_config_tell(reading, "is longer than the %zu bytes that a line may have", room - 2);
    else if (word > WORD_MAX && *line != '#' && *line != ';')
        vst_config_tell(reading, "has a name of more than %d letters", WORD_MAX);
    else if (!is_a_line(reading, line, length))
        vst_config_tell(reading, "is neither [SECTION] nor KEY = VALUE");
    else
        return true;
    return false;
}

/* inih tells of a section with its first key only, so not of one without. */
static void tell_bare_pool(struct reading *reading)
{
    unsigned line = reading->line;

    if (!reading->bare_pool)
        return;
    reading->line = reading->bare_pool;
    vst_config_tell(reading, "this pool has no path");
    reading->line = line;
    reading->bare_pool = 0;
}

static void see_section(struct reading *reading, const char *line, size_t length)
{
    static const char pool[] = "[pool ";

    if (!length || *line != '[')
        return;
    tell_bare_pool(reading);
    if (length > strlen(pool) && memcmp(line, pool, strlen(pool)) == 0)
        reading->bare_pool = reading->line;
}

/*
 * As fgets(). Blanks in front go: to inih they would mean that the line before continues.
 */
static char *next_line(char *line, int room, void *opaque)
{
    struct text *text = opaque;
    const char *at = text->at, *end;
    size_t length;

    if (at == text->end)
        return NULL;
    end = memchr(at, '\n', (size_t)(text->end - at));
    text->at = end ? end + 1 : text->end;
    text->reading->line++;
    at = skip_blanks(at, text->at);
    length = (size_t)(text->at - at);
    if (!is_good(text->reading, at, length, (size_t)room)) {
        at = "\n";
        length = 1;
    }
    see_section(text->reading, at, length);
    memcpy(line, at, length);
    line[length] = '\0';
    return line;
}

/* Always a success: what is wrong has been told. */
static int take(void *opaque, const char *section, const char *name, const char *value)
{
    struct reading *reading = opaque;

    reading->bare_pool = 0;
    vst_config_set(opaque, section, name, value);
    return 1;
}

/* A line that inih does not take nevertheless; -2 is no memory. */
static void tell_result(struct reading *reading, int result)
{
    reading->line = result > 0 ? (unsigned)result : 0;
    if (result > 0)
        vst_config_tell(reading, "is neither [SECTION] nor KEY = VALUE");
    else if (result < 0)
        vst_config_tell(reading, "out of memory");
}

static void tell_of_more(struct reading *reading)
{
    char text[64];

    if (reading->faults <= VST_CONFIG_FAULTS_MAX)
        return;
    snprintf(text, sizeof(text), "and %u faults more", reading->faults - VST_CONFIG_FAULTS_MAX);
    reading->complain(reading->opaque, 0, text);
}

static int fill(struct vst_config *config)
{
    struct vst_error err = {0};

    config->limits = VST_LIMITS_DEFAULT;
    config->patience_seconds = VST_HANDOVER_PATIENCE;
    config->require_client_cert = true;
    config->nice = FAVOURED;
    config->access = vst_access_new(&err);
    config->accept = vst_access_new(&err);
    return config->access && config->accept ? 0 : -1;
}

static int fill_defaults(struct vst_config *config)
{
    if (!config->log)
        config->log = strdup("auto");
    return config->log ? 0 : -1;
}

struct vst_config *vst_config_parse(const char *text, size_t length, vst_config_complain *complain,
                                    void *opaque)
{
    struct vst_config *config = calloc(1, sizeof(*config));
    struct reading reading = {.config = config, .complain = complain, .opaque = opaque};
    struct text lines = {text, text + length, &reading};

    if (!config || fill(config) < 0)
        vst_config_tell(&reading, "out of memory");
    else if (length > VST_CONFIG_MAX)
        vst_config_tell(&reading, "is longer than a configuration may be");
    else
        tell_result(&reading, ini_parse_stream(next_line, &lines, take, &reading));
    tell_bare_pool(&reading);
    reading.line = 0;
    if (config && config->accept)
        vst_config_check_whole(&reading);
    if (!reading.faults && fill_defaults(config) < 0)
        vst_config_tell(&reading, "out of memory");
    tell_of_more(&reading);
    if (reading.faults)
        vst_config_free(&config);
    return config;
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void vst_config_free(struct vst_config **slot)
{
    struct vst_config *config = *slot;

    *slot = NULL;
    if (!config)
        return;
    free(config->root);
    free(config->user);
    free(config->log);
    free_list(config->serve);
    free_list(config->unix_paths);
    free_list(config->tcp);
    free_list(config->tls);
    free(config->files.ca);
    free(config->files.cert);
    free(config->files.key);
    free(config->files.crl);
    free(config->mechanisms);
    free(config->database);
    free(config->saslauthd);
    vst_access_free(&config->access);
    vst_access_free(&config->accept);
    free_list(config->allow_paths);
    for (size_t i = 0; i < config->pool_count; i++) {
        free(config->pools[i].name);
        free(config->pools[i].path);
    }
    free(config->pools);
    free(config->metrics);
    free(config);
}

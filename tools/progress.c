/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bar and the lines of progress.
 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

enum {
    BAR_US = 200000,
    BAR_MAX = 40,
    BAR_MIN = 10,
    LINE_MAX_COLUMNS = 200,
    IDLE_US = 2000000, /* a pause worth a word */
};

static uint64_t bytes_of(const struct vst_progress *now)
{
    return now->up_bytes > now->down_bytes ? now->up_bytes : now->down_bytes;
}

/* Which side keeps us waiting, in the words of the command; or NULL. */
static const char *waits_for(const struct tool *tool, const struct vst_progress *now)
{
    const char *file;

    if (now->idle_us < IDLE_US || now->waits_for == VST_STALLED_ON_NOTHING)
        return NULL;
    if (now->waits_for == VST_STALLED_ON_DRIVER)
        return "the guest";
    file = tool->args[tool->command->count - 1];
    return strcmp(file, "-") == 0 ? "the other end" : file;
}

/* "[=====>    ]  45%", as wide as there is room; empty if there is none or the total is unknown. */
static void draw_bar(char *into, size_t size, uint64_t bytes, uint64_t total, unsigned room)
{
    double part = total ? (double)bytes / (double)total : 0;
    int width, filled;

    *into = '\0';
    if (!total || room < BAR_MIN + 8)
        return;
    width = room - 8 > BAR_MAX ? BAR_MAX : (int)room - 8;
    if (part > 1)
        part = 1;
    filled = (int)(part * width);
    snprintf(into, size, "[%.*s%s%*s] %3d%%  ", filled,
             "========================================", filled < width ? ">" : "",
             filled < width ? width - filled - 1 : 0, "", (int)(part * 100));
}

static void show_bar(struct progress *progress, const struct vst_progress *now, uint64_t total)
{
    unsigned columns = text_columns(STDERR_FILENO);
    const char *waits = waits_for(progress->tool, now);
    uint64_t bytes = bytes_of(now);
    char bar[BAR_MAX + 16];
    char line[LINE_MAX_COLUMNS];
    int length;

    length =
        snprintf(line, sizeof(line), "%s  %s/s  %s%s%s", text_size(bytes).s, text_size(now->rate).s,
                 text_duration(now->elapsed_us).s, waits ? "  waits for " : "", waits ? waits : "");
    if (!columns)
        columns = 80;
    draw_bar(bar, sizeof(bar), bytes, total,
             (unsigned)length + 1 < columns ? columns - (unsigned)length - 1 : 0);
    /* Back to the first column, the line, and nothing of the one before. */
    fprintf(stderr, "\r%s%.*s\033[K", bar, (int)columns - 1, line);
    fflush(stderr);
    progress->drawn = true;
}

void progress_print(struct json_object *line)
{
    struct json_object *whole = json_object_new_object();

    if (whole && line && json_object_object_add(whole, "progress", line) == 0)
        fprintf(stderr, "%s\n",
                json_object_to_json_string_ext(whole, JSON_C_TO_STRING_PLAIN |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE));
    else
        json_object_put(line);
    json_object_put(whole);
}

static void show_json(const struct progress *progress, const struct vst_progress *now,
                      uint64_t total)
{
    struct json_object *line = json_object_new_object();

    put_number(line, "bytes", bytes_of(now));
    put_total(line, total);
    put_number(line, "rate", now->rate);
    put_seconds(line, "elapsed", now->elapsed_us);
    put_text(line, "waits-for", waits_for(progress->tool, now));
    put_flag(line, "over", progress->outcome != NULL);
    put_text(line, "outcome", progress->outcome);
    progress_print(line);
}

static void show(evutil_socket_t fd, short what, void *opaque)
{
    struct progress *progress = opaque;
    struct vst_progress now;
    uint64_t total;

    (void)fd, (void)what;
    vst_stream_get_progress(progress->stream, &now);
    total = now.total ? now.total : progress->total;
    if (progress->kind == PROGRESS_BAR)
        show_bar(progress, &now, total);
    else
        show_json(progress, &now, total);
}

enum progress_kind progress_choose(const struct options *opt)
{
    if (opt->quiet)
        return PROGRESS_NONE;
    if (opt->progress != PROGRESS_AUTO)
        return opt->progress;
    /* Lines of the trace would tear the bar apart. */
    return isatty(STDERR_FILENO) && !opt->trace ? PROGRESS_BAR : PROGRESS_NONE;
}

void progress_start(struct progress *progress, const struct tool *tool,
                    const struct vst_stream *stream, uint64_t total)
{
    static const struct timeval often = {0, BAR_US}, second = {1, 0};

    *progress = (struct progress){.tool = tool, .stream = stream, .total = total};
    progress->kind = progress_choose(&tool->opt);
    if (progress->kind == PROGRESS_NONE)
        return;
    progress->timer = event_new(tool->base, -1, EV_PERSIST, show, progress);
    if (progress->timer)
        event_add(progress->timer, progress->kind == PROGRESS_BAR ? &often : &second);
}

void progress_stop(struct progress *progress)
{
    if (!progress->timer)
        return;
    event_free(progress->timer);
    progress->timer = NULL;
    progress->outcome = vst_code_name(progress->tool->err.code);
    if (progress->kind == PROGRESS_JSON)
        show(-1, 0, progress);
    if (progress->drawn)
        fputs("\r\033[K", stderr);
}

int progress_wait(struct tool *tool, struct vst_stream **stream, uint64_t total, struct vst_op *op,
                  struct vst_progress *ret_outcome)
{
    struct progress progress;
    int status;

    progress_start(&progress, tool, *stream, total);
    status = tool_wait(tool, op);
    progress_stop(&progress);
    vst_stream_get_progress(*stream, ret_outcome);
    vst_stream_free(stream);
    return status;
}

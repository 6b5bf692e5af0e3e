/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Showing how far a stream is, on standard error: a bar on a terminal, lines of JSON elsewhere.
 */
#ifndef VIRSTREAM_TOOLS_PROGRESS_H
#define VIRSTREAM_TOOLS_PROGRESS_H

#include <json-c/json.h>

#include "tool.h"

struct progress {
    const struct tool *tool;
    const struct vst_stream *stream;
    struct event *timer; /* NULL: nothing is shown */
    uint64_t total;      /* 0: the library knows, or nobody */
    enum progress_kind kind;
    bool drawn;
    const char *outcome; /* the name of its code; NULL: it is not over */
};

/* One line of JSON: `line`, which it takes, as the member "progress". Who prints them ends with one
 * that has "over" true, and the "outcome". */
void progress_print(struct json_object *line);

/* Which kind is wanted, and makes sense here. */
enum progress_kind progress_choose(const struct options *opt);

/* Shows it until progress_stop(). Progress that cannot be shown is not worth failing for. */
void progress_start(struct progress *progress, const struct tool *tool,
                    const struct vst_stream *stream, uint64_t total);
void progress_stop(struct progress *progress);

/* Waits for a method, shows progress meanwhile, and frees its stream. */
int progress_wait(struct tool *tool, struct vst_stream **stream, uint64_t total, struct vst_op *op,
                  struct vst_progress *ret_outcome);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's log: one line an event, with fields that can be searched for. To stderr as text, or
 * to journald in its own form. Never blocks: what the journal does not take at once is counted and
 * said with the next line.
 *
 * What goes in is chosen where it is called; no secret ever gets there.
 */
#ifndef VST_REMOTE_LOG_H
#define VST_REMOTE_LOG_H

#include "core/error.h"

/* The numbers of syslog(3). */
enum vst_log_level {
    VST_LOG_ERROR = 3,
    VST_LOG_WARNING = 4,
    VST_LOG_NOTICE = 5,
    VST_LOG_INFO = 6,
};

/* Names are lower case: `client=12` as text, VIRSTREAM_CLIENT=12 in the journal. A value NULL is
 * left out, a long one is cut. The list ends with a name NULL. */
struct vst_log_field {
    const char *name;
    const char *value;
};

struct vst_log;

/* `journal` NULL: text to `fd`, which stays the caller's. Else the path of journald's socket. */
struct vst_log *vst_log_new(int fd, const char *journal, struct vst_error *ret_err);
/* Sets *log to NULL. Accepts NULL. */
void vst_log_free(struct vst_log **log);

/* `log` NULL: nowhere. `fields` may be NULL. */
void vst_log_write(struct vst_log *log, enum vst_log_level level,
                   const struct vst_log_field *fields, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Whether stderr, with this number, is connected to the journal already, by what systemd says in
 * `stream` ("device:inode", $JOURNAL_STREAM; may be NULL). */
int vst_log_is_journal(int fd, const char *stream);

#define VST_JOURNAL_SOCKET "/run/systemd/journal/socket"

#endif

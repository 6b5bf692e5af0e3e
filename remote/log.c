/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines as text, and in the journal's native protocol (systemd, JOURNAL_NATIVE_PROTOCOL): a
 * datagram of NAME=VALUE lines, where a value with newlines in it is given by its length.
 */
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/fd.h"

enum {
    TEXT_MAX = 1024,
    VALUE_MAX = 384, /* of a field: any name fits, and not all that a peer says */
};

struct vst_log {
    int fd;      /* the caller's; -1 when it is the journal */
    int journal; /* ours; or -1 */
    struct sockaddr_un address;
    unsigned long lost; /* lines since the last that went through */
    struct evbuffer *line;
};

static int open_journal(struct vst_log *log, const char *path, struct vst_error *ret_err)
{
    log->address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(log->address.sun_path))
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: too long for a socket", path);
    memcpy(log->address.sun_path, path, strlen(path) + 1);
    log->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (log->journal < 0)
        return vst_error_system(ret_err, errno, "the journal's socket");
    if (access(path, W_OK) < 0)
        return vst_error_system(ret_err, errno, "the journal's socket %s", path);
    return 0;
}

struct vst_log *vst_log_new(int fd, const char *journal, struct vst_error *ret_err)
{
    struct vst_log *log = calloc(1, sizeof(*log));

    if (!log) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    *log = (struct vst_log){.fd = fd, .journal = -1, .line = evbuffer_new()};
    if (!log->line)
        vst_error_no_memory(ret_err);
    else if (!journal || open_journal(log, journal, ret_err) == 0)
        return log;
    vst_log_free(&log);
    return NULL;
}

void vst_log_free(struct vst_log **slot)
{
    struct vst_log *log = *slot;

    *slot = NULL;
    if (!log)
        return;
    vst_close(&log->journal);
    if (log->line)
        evbuffer_free(log->line);
    free(log);
}

int vst_log_is_journal(int fd, const char *stream)
{
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(fd, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

struct value {
    char text[VALUE_MAX + 1];
};

/* The name of a guest that there is not can have megabytes: its line must come out all the same. */
static struct value bounded(const char *text)
{
    struct value value;

    snprintf(value.text, sizeof(value.text), "%s", text);
    return value;
}

/* ---- text ---- */

static const char *level_name(enum vst_log_level level)
{
    switch (level) {
    case VST_LOG_ERROR:
        return "error";
    case VST_LOG_WARNING:
        return "warning";
    case VST_LOG_NOTICE:
        return "notice";
    case VST_LOG_INFO:
        break;
    }
    return "info";
}

/* What comes from a peer starts no line of its own, and moves no cursor. */
static void add_clean(struct evbuffer *line, const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            evbuffer_add_printf(line, "\\x%02x", (unsigned char)*text);
        else
            evbuffer_add(line, text, 1);
}

static void add_value(struct evbuffer *line, const char *value)
{
    if (*value && !strpbrk(value, " \"\\")) {
        add_clean(line, value);
        return;
    }
    evbuffer_add(line, "\"", 1);
    for (; *value; value++) {
        char letter[2] = {*value, '\0'};

        if (*value == '"' || *value == '\\')
            evbuffer_add(line, "\\", 1);
        add_clean(line, letter);
    }
    evbuffer_add(line, "\"", 1);
}

static void make_text(struct evbuffer *line, enum vst_log_level level,
                      const struct vst_log_field *fields, const char *text)
{
    time_t now = time(NULL);
    char stamp[32];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
    evbuffer_add_printf(line, "%s %s: ", stamp, level_name(level));
    add_clean(line, text);
    for (; fields && fields->name; fields++)
        if (fields->value) {
            evbuffer_add_printf(line, " %s=", fields->name);
            add_value(line, bounded(fields->value).text);
        }
    evbuffer_add(line, "\n", 1);
}

/* ---- journal ---- */

static void add_field(struct evbuffer *line, const char *prefix, const char *name,
                      const char *value)
{
    uint64_t length = strlen(value);

    evbuffer_add_printf(line, "%s", prefix);
    for (; *name; name++)
        evbuffer_add_printf(line, "%c", *name == '-' ? '_' : toupper((unsigned char)*name));
    if (!strchr(value, '\n')) {
        evbuffer_add_printf(line, "=%s\n", value);
        return;
    }
    /* Little-endian, as that protocol wants it. */
    evbuffer_add(line, "\n", 1);
    for (int i = 0; i < 8; i++)
        evbuffer_add(line, &(unsigned char){(unsigned char)(length >> (8 * i))}, 1);
    evbuffer_add(line, value, length);
    evbuffer_add(line, "\n", 1);
}

static void make_entry(struct evbuffer *line, enum vst_log_level level,
                       const struct vst_log_field *fields, const char *text)
{
    char number[2] = {(char)('0' + level), '\0'};

    add_field(line, "", "MESSAGE", text);
    add_field(line, "", "PRIORITY", number);
    add_field(line, "", "SYSLOG_IDENTIFIER", "virstreamd");
    for (; fields && fields->name; fields++)
        if (fields->value)
            add_field(line, "VIRSTREAM_", fields->name, bounded(fields->value).text);
}

/* ---- both ---- */

/* A pipe that polls as writable takes PIPE_BUF bytes at once, and no line has more. Its description
 * is shared with others, so that it is not ours to make non-blocking. */
static int has_room(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLOUT};

    return poll(&one, 1, 0) == 1 && (one.revents & POLLOUT);
}

/* Cut to what a pipe takes at once: nearly all of it would have to be escapes. */
static size_t cut(unsigned char *line, size_t length)
{
    if (length <= PIPE_BUF)
        return length;
    line[PIPE_BUF - 1] = '\n';
    return PIPE_BUF;
}

/* A whole line or nothing; a pipe that is full loses lines rather than time. */
static int send_line(struct vst_log *log)
{
    size_t length = evbuffer_get_length(log->line);
    unsigned char *bytes = evbuffer_pullup(log->line, -1);
    ssize_t n;

    if (!bytes)
        return -1;
    if (log->journal < 0)
        length = cut(bytes, length);
    if (log->journal >= 0)
        n = sendto(log->journal, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL,
                   (struct sockaddr *)&log->address, sizeof(log->address));
    else
        n = has_room(log->fd) ? write(log->fd, bytes, length) : -1;
    return n == (ssize_t)length ? 0 : -1;
}

void vst_log_write(struct vst_log *log, enum vst_log_level level,
                   const struct vst_log_field *fields, const char *format, ...)
{
    char text[TEXT_MAX];
    int used = 0;
    va_list args;

    if (!log)
        return;
    if (log->lost)
        used = snprintf(text, sizeof(text), "(%lu lines lost) ", log->lost);
    va_start(args, format);
    vsnprintf(text + used, sizeof(text) - (size_t)used, format, args);
    va_end(args);
    evbuffer_drain(log->line, evbuffer_get_length(log->line));
    if (log->journal >= 0)
        make_entry(log->line, level, fields, text);
    else
        make_text(log->line, level, fields, text);
    log->lost = send_line(log) == 0 ? 0 : log->lost + 1;
}

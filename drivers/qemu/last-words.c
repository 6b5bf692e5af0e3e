/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the tail of a log to one line. The log is in memory or nearly so: it is read at once.
 */
#include "last-words.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAIL_MAX = 4096, BLOCK = 512 };

static const char mark[] = "virstream: ";

/* Whole lines only. */
static void read_lines(int fd, char lines[TAIL_MAX + 1])
{
    struct stat st = {.st_size = 0};
    ssize_t length;
    off_t from;
    char *line;

    lines[0] = '\0';
    if (fstat(fd, &st) < 0)
        return;
    from = st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0;
    length = pread(fd, lines, TAIL_MAX, from);
    lines[length > 0 ? length : 0] = '\0';
    for (ssize_t i = 0; i < length; i++)
        if (((unsigned char)lines[i] < ' ' && lines[i] != '\n') || lines[i] == 0x7f)
            lines[i] = '?';
    line = from > 0 ? strchr(lines, '\n') : NULL;
    if (line)
        memmove(lines, line + 1, strlen(line));
}

bool vst_last_words_shutdown(int log_fd)
{
    char lines[TAIL_MAX + 1];

    read_lines(log_fd, lines);
    return strstr(lines, VST_SHUTDOWN_TRACE " reason=") != NULL;
}

void vst_last_words_mark(int log_fd, const char *what)
{
    dprintf(log_fd, "%s%s\n", mark, what);
}

void vst_last_words_trim(int log_fd)
{
    struct stat st;

    if (fstat(log_fd, &st) < 0 || st.st_blocks <= VST_LOG_MAX / BLOCK || st.st_size <= VST_LOG_KEPT)
        return;
    fallocate(log_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size - VST_LOG_KEPT);
}

/* The length of "qemu-system-x86_64: ", or the like. */
static size_t own_prefix(const char *line)
{
    size_t length = strcspn(line, ": ");

    if (strncmp(line, "qemu-", 5) == 0 && line[length] == ':' && line[length + 1] == ' ')
        return length + 2;
    return 0;
}

static bool is_mark(const char *line)
{
    return strncmp(line, mark, strlen(mark)) == 0;
}

static void join_lines(char *lines, char words[2 * TAIL_MAX + 1])
{
    char *at = words, *line;

    while ((line = strsep(&lines, "\n"))) {
        line += own_prefix(line);
        if (is_mark(line))
            at = words;
        if (!*line || is_mark(line) || strstr(line, VST_SHUTDOWN_TRACE))
            continue;
        if (at != words)
            at = stpcpy(at, "; ");
        at = stpcpy(at, line);
    }
    *at = '\0';
}

void vst_last_words(int log_fd, char *ret_text, size_t room)
{
    char lines[TAIL_MAX + 1], words[2 * TAIL_MAX + 1];
    const char *from = words;
    bool all;

    read_lines(log_fd, lines);
    join_lines(lines, words);
    all = strlen(words) < room;
    if (!all)
        from = words + strlen(words) - (room - sizeof("..."));
    while (!all && ((unsigned char)*from & 0xc0) == 0x80)
        from++; /* not in the middle of a character */
    snprintf(ret_text, room, "%s%s", all ? "" : "...", from);
}

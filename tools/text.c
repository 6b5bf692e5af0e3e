/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers and times as people read them, and text that is safe to print.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "output.h"

struct text text_size(uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    double number = (double)bytes / 1024;
    struct text text;
    int unit = 0;

    if (bytes < 1024) {
        snprintf(text.s, sizeof(text.s), "%u B", (unsigned)bytes);
        return text;
    }
    for (; number >= 1023.95 && units[unit + 1]; unit++)
        number /= 1024;
    snprintf(text.s, sizeof(text.s), "%.1f %ciB", number, units[unit]);
    return text;
}

struct text text_duration(int64_t us)
{
    long long seconds = us / 1000000;
    struct text text;

    if (seconds < 3600)
        snprintf(text.s, sizeof(text.s), "%lld:%02lld", seconds / 60, seconds % 60);
    else
        snprintf(text.s, sizeof(text.s), "%lld:%02lld:%02lld", seconds / 3600, seconds / 60 % 60,
                 seconds % 60);
    return text;
}

struct text text_seconds(int64_t us)
{
    struct text text;

    snprintf(text.s, sizeof(text.s), "%.2f s", (double)us / 1e6);
    return text;
}

struct text text_time(int64_t since_1970)
{
    time_t when = (time_t)since_1970;
    struct text text = {"?"};
    struct tm parts;

    if (localtime_r(&when, &parts))
        strftime(text.s, sizeof(text.s), "%Y-%m-%d %H:%M:%S", &parts);
    return text;
}

struct text text_time_short(int64_t since_1970)
{
    enum { DAY = 10 };
    struct text now = text_time(time(NULL));
    struct text when = text_time(since_1970);

    if (strlen(when.s) > DAY && strncmp(when.s, now.s, DAY) == 0)
        memmove(when.s, when.s + DAY + 1, sizeof(when.s) - DAY - 1);
    else
        when.s[DAY] = '\0';
    return when;
}

/*
 * The length of the UTF-8 sequence at `at` (RFC 3629), or 0: not one, or a control character.
 */
static size_t printable(const unsigned char *at)
{
    static const unsigned long least[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    unsigned long letter = at[0];
    size_t length = 1;

    if (letter >= 0xf0 && letter < 0xf8)
        length = 4, letter &= 0x07;
    else if (letter >= 0xe0 && letter < 0xf0)
        length = 3, letter &= 0x0f;
    else if (letter >= 0xc0 && letter < 0xe0)
        length = 2, letter &= 0x1f;
    else if (letter >= 0x7f)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        letter = letter << 6 | (at[i] & 0x3f);
    }
    if (letter < least[length] || letter > 0x10ffff || (letter >= 0xd800 && letter < 0xe000))
        return 0;
    return length;
}

void text_clean(char *text)
{
    unsigned char *at = (unsigned char *)text;

    while (*at) {
        size_t length = printable(at);

        if (!length && *at != '\n')
            *at = '?';
        at += length ? length : 1;
    }
}

unsigned text_columns(int fd)
{
    struct winsize size;

    if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
        return 0;
    return size.ws_col ? size.ws_col : 80;
}

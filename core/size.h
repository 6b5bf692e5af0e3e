/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes as people write them: "4096", "64K", "64MiB". K, M, G, T are powers of
 * 1024, with or without "iB"; "kB", "MB" and so on, powers of 1000 elsewhere, are refused.
 */
#ifndef VST_CORE_SIZE_H
#define VST_CORE_SIZE_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline int vst_size_parse(const char *text, uint64_t *ret_size)
{
    static const char units[] = "KMGT";
    unsigned long long number;
    const char *unit;
    unsigned shift = 0;
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno)
        return -1;
    if (*end) {
        unit = strchr(units, *end);
        if (!unit || (end[1] && strcmp(end + 1, "iB") != 0))
            return -1;
        shift = (unsigned)(unit - units + 1) * 10;
    }
    if (number > UINT64_MAX >> shift)
        return -1;
    *ret_size = (uint64_t)number << shift;
    return 0;
}

#endif

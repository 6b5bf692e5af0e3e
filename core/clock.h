/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The time since some moment, by a clock that nobody sets: for how long things take.
 */
#ifndef VST_CORE_CLOCK_H
#define VST_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t vst_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t vst_now_us(void)
{
    return vst_now_ns() / 1000;
}

#endif

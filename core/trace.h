/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One hook through which the library tells what it does, by category. Off, it costs one test.
 * Never traced: passwords, keys, SASL exchanges, and the bytes of a guest.
 */
#ifndef VST_CORE_TRACE_H
#define VST_CORE_TRACE_H

#include "virstream/trace.h"

extern struct vst_trace vst_trace_hook; /* set once, before use, by the application */

void vst_trace_emit(unsigned category, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define vst_trace(category, ...)                                         \
    do {                                                                 \
        if (__builtin_expect(vst_trace_hook.categories & (category), 0)) \
            vst_trace_emit((category), __VA_ARGS__);                     \
    } while (0)

#endif

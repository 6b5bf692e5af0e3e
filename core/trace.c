/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trace hook: formats a line and hands it to the application. It keeps nothing.
 */
#include "trace.h"

#include <stdarg.h>
#include <stdio.h>

struct vst_trace vst_trace_hook;

void vst_trace_set(const struct vst_trace *trace)
{
    vst_trace_hook = (trace && trace->fn) ? *trace : (struct vst_trace){0};
}

void vst_trace_emit(unsigned category, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    vst_trace_hook.fn(category, line, vst_trace_hook.opaque);
}

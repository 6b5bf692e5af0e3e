/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trace hook: formats a line and hands it to the application. It keeps nothing.
 */
#include "trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct vst_trace vst_trace_hook;

void vst_trace_set(const struct vst_trace *trace)
{
    vst_trace_hook = (trace && trace->fn) ? *trace : (struct vst_trace){0};
}

static unsigned category_of(const char *name, size_t length)
{
    static const struct {
        const char *name;
        unsigned category;
    } all[] = {
        {"state", VST_TRACE_STATE},     {"pump", VST_TRACE_PUMP}, {"qmp", VST_TRACE_QMP},
        {"process", VST_TRACE_PROCESS}, {"wire", VST_TRACE_WIRE}, {"all", (unsigned)VST_TRACE_ALL},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strlen(all[i].name) == length && strncmp(all[i].name, name, length) == 0)
            return all[i].category;
    return 0;
}

const char *vst_trace_parse(const char *list, unsigned *categories)
{
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        unsigned category = category_of(at, length);

        if (!category)
            return at;
        *categories |= category;
        at += length;
        if (!*at)
            return NULL;
    }
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watching the library at work. The library itself never prints.
 */
#ifndef VIRSTREAM_TRACE_H
#define VIRSTREAM_TRACE_H

#ifdef __cplusplus
extern "C" {
#endif

enum vst_trace_category {
    VST_TRACE_STATE = 1 << 0,   /* every edge of every machine: "save g1: SETUP -> ACTIVE" */
    VST_TRACE_PUMP = 1 << 1,    /* every turn of a pump, with bytes */
    VST_TRACE_QMP = 1 << 2,     /* every line to and from QEMU's monitor */
    VST_TRACE_PROCESS = 1 << 3, /* processes started and ended */
    VST_TRACE_WIRE = 1 << 4,    /* frames of the wire protocol, headers only */
    VST_TRACE_ALL = ~0,
};

/*
 * `fn` gets one line without a newline. It may be called from any thread that runs the library
 * and must not call back into it.
 */
struct vst_trace {
    unsigned categories; /* mask of vst_trace_category; 0 is off */
    void (*fn)(unsigned category, const char *line, void *opaque);
    void *opaque;
};

/* Sets the hook of this process; NULL turns it off. Call it before the first connection. */
void vst_trace_set(const struct vst_trace *trace);

/* Adds the categories of a list such as "state,qmp", or "all", to *categories. Returns NULL, or
 * where in `list` the first word stands that is none of them. */
const char *vst_trace_parse(const char *list, unsigned *categories);

#ifdef __cplusplus
}
#endif

#endif

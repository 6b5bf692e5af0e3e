/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filling in errors. The type and the codes are in <virstream/error.h>.
 *
 * The first error wins: every function here leaves an error that is already set alone, because
 * what comes later is nearly always a consequence. A NULL target is allowed and ignored.
 */
#ifndef VST_CORE_ERROR_H
#define VST_CORE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#include "virstream/error.h"

static inline bool vst_error_is_set(const struct vst_error *err)
{
    return err && err->code != VST_ERR_OK;
}

/* Sets code and text, unless an error is there already. Always returns -1. */
int vst_error_set(struct vst_error *err, enum vst_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int vst_error_vset(struct vst_error *err, enum vst_code code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/*
 * The same for a failed system call: appends ": " and the text of `number`. The code follows from
 * the number: ENOMEM no-memory, ENOENT not-found, EEXIST exists, EACCES and EPERM access,
 * ECONNRESET, EPIPE and ETIMEDOUT lost, else system. Always returns -1.
 */
int vst_error_system(struct vst_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Always returns -1. */
int vst_error_no_memory(struct vst_error *err);

/* Where it happened; each fills only what is still empty. */
void vst_error_where(struct vst_error *err, enum vst_side side, const char *phase);

/* Puts "prefix: " before the text: the name of what failed, going outwards. */
void vst_error_prefix(struct vst_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Copies `from` when nothing is set yet. Always returns -1. */
int vst_error_copy(struct vst_error *err, const struct vst_error *from);

#endif

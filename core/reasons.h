/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that stands in the way of something, to be told as one error: one reason a line, and
 * how many there was no room for. A reason is never cut off, unless it is the first and too long by
 * itself.
 */
#ifndef VST_CORE_REASONS_H
#define VST_CORE_REASONS_H

#include "error.h"

enum { VST_REASONS_MAX = sizeof(((struct vst_error *)0)->text) - 24 }; /* "\nand N more" follows */

/* All zero: there are none. */
struct vst_reasons {
    unsigned count; /* in all */
    unsigned left_out;
    char text[VST_REASONS_MAX];
};

void vst_reasons_add(struct vst_reasons *reasons, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* -1, with all of them; or 0 when there are none. */
int vst_reasons_tell(const struct vst_reasons *reasons, enum vst_code code,
                     struct vst_error *ret_err);

#endif

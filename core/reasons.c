/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reasons, as lines of a text of a fixed size.
 */
#include "reasons.h"

#include <stdio.h>
#include <string.h>

void vst_reasons_add(struct vst_reasons *reasons, const char *format, ...)
{
    size_t used = strlen(reasons->text), room = sizeof(reasons->text) - used;
    char reason[sizeof(reasons->text)];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    reasons->count++;
    if (length >= 0 && (!used || (size_t)length + 1 < room)) /* the first is cut, if need be */
        snprintf(reasons->text + used, room, "%s%s", used ? "\n" : "", reason);
    else
        reasons->left_out++;
}

int vst_reasons_tell(const struct vst_reasons *reasons, enum vst_code code,
                     struct vst_error *ret_err)
{
    char more[24] = "";

    if (!reasons->count)
        return 0;
    if (reasons->left_out)
        snprintf(more, sizeof(more), "%sand %u more", reasons->text[0] ? "\n" : "",
                 reasons->left_out);
    return vst_error_set(ret_err, code, "%s%s", reasons->text, more);
}

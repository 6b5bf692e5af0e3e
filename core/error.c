/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors as values: names, exit codes, and the rule that the first one wins. Nothing here
 * allocates, so that running out of memory can be reported.
 */
#include "error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

struct code {
    const char *name;
    int exit;
};

static const struct code codes[] = {
#define CODE_ROW(id, text, number, meaning) [VST_ERR_##id] = {text, number},
    VST_CODES(CODE_ROW)
#undef CODE_ROW
};

static const char *const sides[] = {
    [VST_SIDE_NONE] = "",
    [VST_SIDE_APPLICATION] = "application",
    [VST_SIDE_CLIENT] = "client",
    [VST_SIDE_HOST] = "host",
    [VST_SIDE_SOURCE] = "source host",
    [VST_SIDE_DESTINATION] = "destination host",
    [VST_SIDE_QEMU] = "qemu",
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

const char *vst_code_name(enum vst_code code)
{
    return (unsigned)code < LENGTH(codes) ? codes[code].name : "unknown";
}

int vst_code_exit(enum vst_code code)
{
    return (unsigned)code < LENGTH(codes) ? codes[code].exit : 1;
}

const char *vst_side_name(enum vst_side side)
{
    return (unsigned)side < LENGTH(sides) ? sides[side] : "";
}

int vst_error_vset(struct vst_error *err, enum vst_code code, const char *format, va_list args)
{
    if (!err || vst_error_is_set(err))
        return -1;
    err->code = code;
    vsnprintf(err->text, sizeof(err->text), format, args);
    vst_utf8_mend(err->text);
    return -1;
}

int vst_error_set(struct vst_error *err, enum vst_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vst_error_vset(err, code, format, args);
    va_end(args);
    return -1;
}

static enum vst_code code_of_errno(int number)
{
    switch (number) {
    case ENOMEM:
        return VST_ERR_NO_MEMORY;
    case ENOENT:
        return VST_ERR_NOT_FOUND;
    case EEXIST:
        return VST_ERR_EXISTS;
    case EACCES:
    case EPERM:
        return VST_ERR_ACCESS;
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
        return VST_ERR_LOST;
    default:
        return VST_ERR_SYSTEM;
    }
}

int vst_error_system(struct vst_error *err, int number, const char *format, ...)
{
    va_list args;
    size_t used;

    if (!err || vst_error_is_set(err))
        return -1;
    va_start(args, format);
    vst_error_vset(err, code_of_errno(number), format, args);
    va_end(args);
    err->system = number;
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerrordesc_np(number));
    return -1;
}

int vst_error_no_memory(struct vst_error *err)
{
    return vst_error_set(err, VST_ERR_NO_MEMORY, "out of memory");
}

void vst_error_where(struct vst_error *err, enum vst_side side, const char *phase)
{
    if (!err)
        return;
    if (err->side == VST_SIDE_NONE)
        err->side = side;
    if (phase && !err->phase[0])
        snprintf(err->phase, sizeof(err->phase), "%s", phase);
}

void vst_error_prefix(struct vst_error *err, const char *format, ...)
{
    char text[sizeof(err->text)];
    va_list args;
    size_t used;

    if (!vst_error_is_set(err))
        return;
    memcpy(text, err->text, sizeof(text));
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", text);
    vst_utf8_mend(err->text);
}

int vst_error_copy(struct vst_error *err, const struct vst_error *from)
{
    if (err && !vst_error_is_set(err))
        *err = *from;
    return -1;
}

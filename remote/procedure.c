/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of procedures and roles.
 */
#include "procedure.h"

#include <string.h>

const struct vst_procedure_row vst_procedures[VST_PROCEDURE_COUNT] = {
#define VST_PROCEDURE_ROW(name, text, role, dirs, sparse) \
    [VST_PROCEDURE_##name] = {text, VST_ROLE_##role, dirs, sparse},
    VST_PROCEDURES(VST_PROCEDURE_ROW)
#undef VST_PROCEDURE_ROW
};

static const char *const role_names[] = {
#define VST_ROLE_TEXT(name, text, meaning) text,
    VST_ROLES(VST_ROLE_TEXT)
#undef VST_ROLE_TEXT
};

enum { ROLE_COUNT = sizeof(role_names) / sizeof(*role_names) };

const char *vst_role_name(enum vst_role role)
{
    return (unsigned)role < ROLE_COUNT ? role_names[role] : "unknown";
}

int vst_role_find(const char *name)
{
    for (int role = 0; role < ROLE_COUNT; role++)
        if (strcmp(role_names[role], name) == 0)
            return role;
    return -1;
}

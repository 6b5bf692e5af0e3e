/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations as people and programs read them, and asking for them.
 */
#ifndef VIRSTREAM_TOOLS_MOVING_H
#define VIRSTREAM_TOOLS_MOVING_H

#include "output.h"

/* A copy of what the library told; its texts are safe to print. */
struct moving_list {
    struct vst_migration_info *infos; /* the oldest first */
    size_t count;
    bool no_memory;
};

/* For vst_conn_list_migrations(); frees what the list had before, and leaves that on an error. */
struct vst_migrations_cb moving_list_cb(struct moving_list *list);
void moving_list_clear(struct moving_list *list);
/* Asks, and waits. */
int moving_list_get(struct tool *tool, struct moving_list *list);

/* Which is meant first by the name of a guest. */
enum moving_names {
    MOVING_NAMES_GUEST,    /* that of a guest which migrates, or is in doubt */
    MOVING_NAMES_CLEAN_UP, /* that of which only words are left */
};
/* The one that the first argument names; connects first. */
int moving_find(struct tool *tool, enum moving_names names, struct vst_migration_info *ret_info);

struct json_object *moving_json(const struct vst_migration_info *info);

enum { MOVING_LINE = 400 };
/* How it is: "pass 3: 210.0 MiB left, 118.0 MiB/s, ..." One line; empty if there is nothing to
 * say. */
void moving_describe(const struct vst_migration_info *info, char ret_line[MOVING_LINE]);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Procedures: what can be called over a connection, as one table that client, server, access check
 * and manual share, and the JSON of their arguments and results as structs. Pure.
 *
 *     CALL   {"procedure": "save", "arguments": {...}}
 *     REPLY  {"result": {...}}
 *     ERROR, STOP, GOAWAY  {"code": "damaged", "side": "qemu", "phase": "load", "text": "...",
 * "system": 5}
 *
 * Unknown members are ignored, so that newer peers may say more; what is required must be there.
 */
#ifndef VST_REMOTE_PROCEDURE_H
#define VST_REMOTE_PROCEDURE_H

#include "core/error.h"
#include "core/json.h"
#include "virstream/domain.h"

/* Roles, each of which may do what those before it may. */
#define VST_ROLES(X)                                                         \
    X(NONE, "none", "nothing")                                               \
    X(OBSERVE, "observe", "look: lists, states, events, screenshots")        \
    X(OPERATE, "operate", "use: start and stop guests, consoles")            \
    X(TRANSFER, "transfer", "move state: save, restore, volumes, migration") \
    X(ADMIN, "admin", "everything, raw QEMU arguments included")

enum vst_role {
#define VST_ROLE_ENUM(name, text, meaning) VST_ROLE_##name,
    VST_ROLES(VST_ROLE_ENUM)
#undef VST_ROLE_ENUM
};

/* name, wire name, least role, directions of its stream, whether runs of zeros travel as holes */
#define VST_PROCEDURES(X)                                                   \
    X(LIST, "list", OBSERVE, 0, false)                                      \
    X(LOOKUP, "lookup", OBSERVE, 0, false)                                  \
    X(INFO, "info", OBSERVE, 0, false)                                      \
    X(EVENTS, "events", OBSERVE, 0, false)                                  \
    X(STATS, "stats", OBSERVE, 0, false)                                    \
    X(SCREENSHOT, "screenshot", OBSERVE, VST_DOWN, false)                   \
    X(START, "start", OPERATE, 0, false)                                    \
    X(CONTROL, "control", OPERATE, 0, false)                                \
    X(CONSOLE, "console", OPERATE, VST_UP | VST_DOWN, false)                \
    X(SAVE, "save", TRANSFER, VST_DOWN, false)                              \
    X(RESTORE, "restore", TRANSFER, VST_UP, false)                          \
    X(VOLUMES, "volumes", OBSERVE, 0, false)                                \
    X(VOLUME_UPLOAD, "volume-upload", TRANSFER, VST_UP, true)               \
    X(VOLUME_DOWNLOAD, "volume-download", TRANSFER, VST_DOWN, true)         \
    X(VOLUME_DELETE, "volume-delete", TRANSFER, 0, false)                   \
    X(MIGRATE, "migrate", TRANSFER, 0, false)                               \
    X(MIGRATIONS, "migrations", OBSERVE, 0, false)                          \
    X(MIGRATION_ORDER, "migration-order", TRANSFER, 0, false)               \
    X(MIGRATE_MESSAGE, "migrate-message", TRANSFER, 0, false)               \
    X(MIGRATE_STREAM, "migrate-stream", TRANSFER, VST_UP | VST_DOWN, false) \
    X(RELAY_BEGIN, "relay-begin", TRANSFER, 0, false)                       \
    X(RELAY_FETCH, "relay-fetch", TRANSFER, 0, false)                       \
    X(RELAY_ANSWER, "relay-answer", TRANSFER, 0, false)                     \
    X(RELAY_STREAM, "relay-stream", TRANSFER, VST_UP | VST_DOWN, false)

enum vst_procedure {
#define VST_PROCEDURE_ENUM(name, text, role, dirs, sparse) VST_PROCEDURE_##name,
    VST_PROCEDURES(VST_PROCEDURE_ENUM)
#undef VST_PROCEDURE_ENUM
        VST_PROCEDURE_COUNT
};

struct vst_procedure_row {
    const char *name;
    enum vst_role role;
    unsigned dirs; /* mask of vst_direction */
    bool sparse;
};
extern const struct vst_procedure_row vst_procedures[VST_PROCEDURE_COUNT];

const char *vst_role_name(enum vst_role role);
/* -1: there is no such role. */
int vst_role_find(const char *name);

#endif

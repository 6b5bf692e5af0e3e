/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The words of QEMU's migration commands (qapi/migration.json), and nothing of when to use them.
 */
#include "migration.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/json.h"

enum { SOCKET_BUFFER = 1024 * 1024, DEEP_BUFFER = 4 * SOCKET_BUFFER };

static const struct {
    const char *name;
    enum vst_migration_status status;
} statuses[] = {
    {"none", VST_MIGRATION_NONE},
    {"pre-switchover", VST_MIGRATION_PRE_SWITCHOVER},
    {"completed", VST_MIGRATION_COMPLETED},
    {"cancelled", VST_MIGRATION_CANCELLED},
    {"failed", VST_MIGRATION_FAILED},
    {"postcopy-active", VST_MIGRATION_POST_COPY},
    {"postcopy-paused", VST_MIGRATION_POST_COPY_PAUSED},
};

enum vst_migration_status vst_migration_status(struct json_object *from)
{
    const char *name = vst_json_string(from, "status");

    if (!name)
        return VST_MIGRATION_NONE; /* query-migrate of a QEMU that never migrated: {} */
    for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
        if (strcmp(name, statuses[i].name) == 0)
            return statuses[i].status;
    return VST_MIGRATION_ACTIVE;
}

uint64_t vst_migration_moved(struct json_object *from)
{
    struct json_object *ram;

    return json_object_object_get_ex(from, "ram", &ram) ? vst_json_number(ram, "transferred") : 0;
}

const char *vst_migration_reason(struct json_object *from)
{
    return vst_json_string(from, "error-desc");
}

static int add_capability(struct json_object *list, const char *name, bool on)
{
    struct json_object *item = json_object_new_object();

    if (vst_json_add(item, "capability", json_object_new_string(name)) == 0 &&
        vst_json_add(item, "state", json_object_new_boolean(on)) == 0 &&
        json_object_array_add(list, item) == 0)
        return 0;
    json_object_put(item);
    return -1;
}

static bool is_in(const char *const *list, const char *name)
{
    while (*list && strcmp(*list, name) != 0)
        list++;
    return *list;
}

struct json_object *vst_migration_capabilities(const char *const *on)
{
    static const char *const ours[] = {
        "auto-converge",           "background-snapshot", "events",      "late-block-activate",
        "pause-before-switchover", "postcopy-ram",        "return-path", NULL};
    struct json_object *list = json_object_new_array();
    int failed = list ? 0 : -1;

    for (const char *const *name = ours; !failed && *name; name++)
        failed = add_capability(list, *name, is_in(on, *name));
    if (!failed)
        return list;
    json_object_put(list);
    return NULL;
}

struct json_object *vst_migration_unlimited(void)
{
    return json_object_new_int64(INT64_MAX);
}

static void enlarge(int fd, int size)
{
    /* Only speed depends on it, and the system may allow less. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

void vst_migration_deepen(int qemus)
{
    enlarge(qemus, DEEP_BUFFER);
}

void vst_migration_break(int ours)
{
    shutdown(ours, SHUT_RDWR);
}

int vst_migration_sockets(int *ret_ours, int *ret_qemus, struct vst_error *ret_err)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return vst_error_system(ret_err, errno, "a socket pair for QEMU");
    enlarge(ends[0], SOCKET_BUFFER);
    enlarge(ends[1], SOCKET_BUFFER);
    *ret_ours = ends[0];
    *ret_qemus = ends[1];
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names, questions and commands of one copy; departure-disks.c and mend-copies.c say when.
 */
#include "copy-node.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "core/definition.h"
#include "core/json.h"
#include "qmp.h"

#define PREFIX "copy-"
/* QEMU copies no less at once, and by itself no more. */
enum { TOKEN_LETTERS = 8, PIECE_MIN = 65536, PIECE_MAX = 16 * 1024 * 1024 };

void vst_copy_put_name(char ret_name[VST_COPY_NAME_MAX + 1], const char *token, size_t number)
{
    snprintf(ret_name, VST_COPY_NAME_MAX + 1, PREFIX "%.*s-%zu", TOKEN_LETTERS, token, number);
}

static bool is_name(const char *name)
{
    size_t prefix = strlen(PREFIX), digits;

    if (!name || strncmp(name, PREFIX, prefix) != 0 ||
        strspn(name + prefix, "0123456789abcdef") != TOKEN_LETTERS ||
        name[prefix + TOKEN_LETTERS] != '-')
        return false;
    name += prefix + TOKEN_LETTERS + 1;
    digits = strspn(name, "0123456789");
    return digits && !name[digits];
}

const char *vst_copy_of_job(struct json_object *job)
{
    const char *name = vst_json_string(job, "device");

    return is_name(name) && vst_json_says(job, "type", "mirror") ? name : NULL;
}

const char *vst_copy_of_node(struct json_object *node, const struct vst_definition *def)
{
    const char *name = vst_json_string(node, "node-name");

    if (!is_name(name) || !vst_json_says(node, "drv", "nbd"))
        return NULL;
    for (struct vst_disk **disk = def->disks; disk && *disk; disk++)
        if (strcmp((*disk)->name, name) == 0)
            return NULL;
    return name;
}

void vst_copy_close(struct vst_qmp *qmp, const char *name)
{
    vst_qmp_execute(qmp, "closefd", (struct vst_qmp_reply){0}, NULL, "fdname",
                    json_object_new_string(name), NULL);
}

/* {"type": "fd", "str": NAME} */
static struct json_object *server_of(const char *copy)
{
    struct json_object *server = vst_json_object("type", json_object_new_string("fd"));

    if (vst_json_add(server, "str", json_object_new_string(copy)) == 0)
        return server;
    json_object_put(server);
    return NULL;
}

int vst_copy_add(struct vst_qmp *qmp, const char *name, const char *disk,
                 struct vst_qmp_reply reply, struct vst_error *ret_err)
{
    return vst_qmp_execute(qmp, "blockdev-add", reply, ret_err, "driver",
                           json_object_new_string("nbd"), "node-name", json_object_new_string(name),
                           "server", server_of(name), "export", json_object_new_string(disk),
                           "discard", json_object_new_string("unmap"), NULL);
}

/* 0 is unlimited. */
static struct json_object *speed_of(uint64_t bandwidth)
{
    return json_object_new_int64(bandwidth < INT64_MAX ? (int64_t)bandwidth : 0);
}

/* With 16 MiB, as QEMU has it, a slow copy would seem to stand still. */
uint64_t vst_copy_piece(uint64_t bandwidth)
{
    uint64_t quarter = bandwidth / 4;

    if (!quarter || quarter > PIECE_MAX)
        quarter = PIECE_MAX;
    return quarter > PIECE_MIN ? quarter : PIECE_MIN;
}

int vst_copy_start(struct vst_qmp *qmp, const char *name, const char *disk, uint64_t bandwidth,
                   struct vst_qmp_reply reply, struct vst_error *ret_err)
{
    return vst_qmp_execute(
        qmp, "blockdev-mirror", reply, ret_err, "job-id", json_object_new_string(name), "device",
        json_object_new_string(disk), "target", json_object_new_string(name), "sync",
        json_object_new_string("full"), "copy-mode", json_object_new_string("write-blocking"),
        "speed", speed_of(bandwidth), "buf-size",
        json_object_new_int64((int64_t)vst_copy_piece(bandwidth)), NULL);
}

int vst_copy_set_speed(struct vst_qmp *qmp, const char *name, uint64_t bandwidth,
                       struct vst_qmp_reply reply, struct vst_error *ret_err)
{
    return vst_qmp_execute(qmp, "block-job-set-speed", reply, ret_err, "device",
                           json_object_new_string(name), "speed", speed_of(bandwidth), NULL);
}

/* [{"type": "block-node", "node-name": NAME}] */
static struct json_object *instances_of(const char *copy)
{
    struct json_object *list = json_object_new_array();
    struct json_object *one = vst_json_object("type", json_object_new_string("block-node"));

    if (vst_json_add(one, "node-name", json_object_new_string(copy)) == 0 && list &&
        json_object_array_add(list, one) == 0)
        return list;
    json_object_put(one);
    json_object_put(list);
    return NULL;
}

void vst_copy_yank(struct vst_qmp *qmp, const char *name)
{
    struct json_object *instances = instances_of(name);

    if (instances)
        vst_qmp_execute(qmp, "yank", (struct vst_qmp_reply){0}, NULL, "instances", instances, NULL);
}

int vst_copy_cancel(struct vst_qmp *qmp, const char *name, bool force, struct vst_error *ret_err)
{
    return vst_qmp_execute(qmp, "block-job-cancel", (struct vst_qmp_reply){0}, ret_err, "device",
                           json_object_new_string(name), "force", json_object_new_boolean(force),
                           NULL);
}

void vst_copy_delete(struct vst_qmp *qmp, const char *name)
{
    vst_qmp_execute(qmp, "blockdev-del", (struct vst_qmp_reply){0}, NULL, "node-name",
                    json_object_new_string(name), NULL);
}

static const char *file_of(const struct vst_definition *def, const char *disk)
{
    struct vst_disk **list = def->disks;

    while (strcmp((*list)->name, disk) != 0)
        list++;
    return (*list)->file;
}

/* QEMU has its reason from the C library, and NBD carries the want of space from the other end;
 * nothing is written on this one. */
void vst_copy_explain(const struct vst_definition *def, const char *disk, const char *to,
                      const char *reason, struct vst_error *ret_err)
{
    if (!reason || strcmp(reason, strerrordesc_np(ENOSPC)) != 0) {
        ret_err->side = VST_SIDE_QEMU;
        vst_error_set(ret_err, VST_ERR_DRIVER, "the copy failed: %s",
                      reason ? reason : "QEMU has cancelled it");
        return;
    }
    ret_err->side = VST_SIDE_DESTINATION;
    ret_err->system = ENOSPC;
    vst_error_set(ret_err, VST_ERR_SYSTEM, "no space left at %s for its copy, %s", to,
                  file_of(def, disk));
}

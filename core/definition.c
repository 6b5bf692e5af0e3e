/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions: the tables that say what a definition may hold, and the rules that no table can
 * say. How JSON is read is in json.c; what QEMU makes of a definition is in drivers/qemu.
 */
#include "definition.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "json.h"
#include "uuid.h"

enum {
    DISK_NAME_MAX = 31, /* what QEMU has room for */
};

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_LETTERS LETTERS "0123456789._-"

/* ---- what strings may be ---- */

static const char *check_name(const char *text)
{
    size_t length = strspn(text, NAME_LETTERS);

    if (text[length] || length < 1 || length > VST_NAME_MAX || text[0] == '.' || text[0] == '-')
        return "must be 1 to 63 of A-Z, a-z, 0-9, `.`, `_`, `-`, not beginning with `.` or `-`";
    return NULL;
}

static const char *check_uuid(const char *text)
{
    unsigned char uuid[VST_UUID_BYTES];

    return vst_uuid_parse(text, uuid) < 0 ? "must be a UUID (8-4-4-4-12 hexadecimal digits)" : NULL;
}

/* Guests are asked for by either. */
static const char *check_domain_name(const char *text)
{
    if (!check_uuid(text))
        return "must not have the form of a UUID, by which guests are found, too";
    return check_name(text);
}

static const char *check_machine(const char *text)
{
    if (strchr(text, ','))
        return "must be a machine type alone; its options go into args, after \"-machine\"";
    return check_name(text) ? "must be a machine type" : NULL;
}

static const char *check_path(const char *text)
{
    return text[0] == '/' ? NULL : "must be an absolute path";
}

static const char *check_firmware(const char *text)
{
    if (text[0] == '/' || (text[0] && !strchr(text, '/')))
        return NULL;
    return "must be an absolute path, or the name of a file that QEMU brings";
}

static const char *check_disk_name(const char *text)
{
    size_t length = strspn(text, NAME_LETTERS);

    if (text[length] || length < 1 || length > DISK_NAME_MAX || !strchr(LETTERS, text[0]))
        return "must be 1 to 31 of A-Z, a-z, 0-9, `.`, `_`, `-`, beginning with a letter";
    return NULL;
}

static const char *check_not_empty(const char *text)
{
    return text[0] ? NULL : "must not be empty";
}

/* ---- the tables ---- */

static const char *const accels[] = {"tcg", "kvm", NULL};
static const char *const formats[] = {"raw", "qcow2", NULL};
static const char *const buses[] = {"virtio", "ide", "scsi", "floppy", NULL};

#define MEMBER(kind, text, field) .name = text, .offset = offsetof(struct kind, field)
#define STRING(kind, text, field) MEMBER(kind, text, field), .type = VST_JSON_STRING

static const struct vst_json_member disk_members[] = {
    {STRING(vst_disk, "name", name), .required = true, .check = check_disk_name},
    {STRING(vst_disk, "file", file), .required = true, .check = check_path},
    {STRING(vst_disk, "format", format), .required = true, .choices = formats},
    {STRING(vst_disk, "bus", bus), .otherwise = "virtio", .choices = buses},
    {MEMBER(vst_disk, "readonly", readonly), .type = VST_JSON_FLAG},
};

static const struct vst_json_member console_members[] = {
    {STRING(vst_console, "log", log), .check = check_path},
};

static const struct vst_json_table disk_table = {VST_JSON_TABLE(disk_members, vst_disk)};
static const struct vst_json_table console_table = {VST_JSON_TABLE(console_members, vst_console)};

#define DEFINITION(text, field) STRING(vst_definition, text, field)
#define NUMBER(text, field) MEMBER(vst_definition, text, field), .type = VST_JSON_NUMBER
#define STRUCT(text, field) MEMBER(vst_definition, text, field), .type = VST_JSON_STRUCT

static const struct vst_json_member definition_members[] = {
    {DEFINITION("name", name), .required = true, .check = check_domain_name},
    {DEFINITION("uuid", uuid), .check = check_uuid},
    {DEFINITION("machine", machine), .required = true, .check = check_machine},
    {DEFINITION("accel", accels), .required = true, .shape = VST_JSON_ONE_OR_LIST,
     .choices = accels},
    {DEFINITION("cpu", cpu), .check = check_not_empty},
    {NUMBER("memory-mib", memory_mib), .required = true, .min = 1, .max = 16 * 1024 * 1024},
    {NUMBER("vcpus", vcpus), .required = true, .min = 1, .max = 512},
    {DEFINITION("firmware", firmware), .check = check_firmware},
    {DEFINITION("kernel", kernel), .check = check_path},
    {DEFINITION("initrd", initrd), .check = check_path},
    {DEFINITION("append", append)},
    {STRUCT("disks", disks), .shape = VST_JSON_LIST, .table = &disk_table},
    {STRUCT("console", console), .table = &console_table},
    {DEFINITION("args", args), .shape = VST_JSON_LIST},
};

static const struct vst_json_table definition_table = {
    VST_JSON_TABLE(definition_members, vst_definition)};

/* ---- the rules ---- */

static int make_uuid(char **ret_uuid, struct vst_error *ret_err)
{
    unsigned char b[16];

    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        return vst_error_system(ret_err, errno, "getrandom");
    b[6] = (unsigned char)(0x40 | (b[6] & 0x0f)); /* version 4, variant 10: RFC 4122, 4.4 */
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    if (asprintf(ret_uuid, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                 b[13], b[14], b[15]) < 0) {
        *ret_uuid = NULL;
        return vst_error_no_memory(ret_err);
    }
    return 0;
}

static int settle_uuid(struct vst_definition *def, struct vst_error *ret_err)
{
    if (!def->uuid)
        return make_uuid(&def->uuid, ret_err);
    for (char *letter = def->uuid; *letter; letter++)
        if (*letter >= 'A' && *letter <= 'F')
            *letter = (char)(*letter - 'A' + 'a');
    return 0;
}

static int check_whole(const struct vst_definition *def, struct vst_error *ret_err)
{
    if (!def->accels[0])
        return vst_error_set(ret_err, VST_ERR_INVALID, "definition: accel: must not be empty");
    if (!def->kernel && (def->initrd || def->append))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "definition: %s: means nothing without `kernel`",
                             def->initrd ? "initrd" : "append");
    for (size_t i = 0; def->disks && def->disks[i]; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(def->disks[i]->name, def->disks[j]->name) == 0)
                return vst_error_set(
                    ret_err, VST_ERR_INVALID,
                    "definition: disks[%zu].name: `%s` is the name of disks[%zu] already", i,
                    def->disks[i]->name, j);
    return 0;
}

struct vst_definition *vst_definition_decode(struct json_object *from, struct vst_error *ret_err)
{
    struct vst_definition *def = calloc(1, sizeof(*def));

    if (!def)
        vst_error_no_memory(ret_err);
    else if (vst_json_decode(&definition_table, from, "definition", def, ret_err) < 0 ||
             check_whole(def, ret_err) < 0 || settle_uuid(def, ret_err) < 0)
        vst_definition_free(&def);
    return def;
}

struct vst_definition *vst_definition_parse(const char *text, size_t length,
                                            struct vst_error *ret_err)
{
    struct json_object *object =
        vst_json_parse(text, length, VST_DEFINITION_MAX, "definition", ret_err);
    struct vst_definition *def = NULL;

    if (object)
        def = vst_definition_decode(object, ret_err);
    json_object_put(object);
    return def;
}

struct json_object *vst_definition_encode(const struct vst_definition *def,
                                          struct vst_error *ret_err)
{
    return vst_json_encode(&definition_table, def, ret_err);
}

char *vst_definition_to_json(const struct vst_definition *def, struct vst_error *ret_err)
{
    struct json_object *object = vst_definition_encode(def, ret_err);
    char *text = object ? vst_json_print(object, ret_err) : NULL;

    json_object_put(object);
    return text;
}

int vst_name_check(const char *name, struct vst_error *ret_err)
{
    const char *complaint = check_name(name);

    return complaint ? vst_error_set(ret_err, VST_ERR_INVALID, "name: %s", complaint) : 0;
}

struct vst_definition *vst_definition_copy(const struct vst_definition *def,
                                           struct vst_error *ret_err)
{
    struct json_object *json = vst_definition_encode(def, ret_err);
    struct vst_definition *copy = json ? vst_definition_decode(json, ret_err) : NULL;

    json_object_put(json);
    return copy;
}

int vst_definition_check_no_args(const struct vst_definition *def, struct vst_error *ret_err)
{
    if (!def->args || !def->args[0])
        return 0;
    return vst_error_set(ret_err, VST_ERR_ACCESS,
                         "the definition of %s has raw arguments for QEMU (`args`), which only the "
                         "role admin may give",
                         def->name);
}

int vst_definition_rename(struct vst_definition *def, const char *name, struct vst_error *ret_err)
{
    const char *complaint = check_domain_name(name);
    char *copy, *uuid = NULL;

    if (complaint)
        return vst_error_set(ret_err, VST_ERR_INVALID, "name: %s", complaint);
    if (make_uuid(&uuid, ret_err) < 0)
        return -1;
    copy = strdup(name);
    if (!copy) {
        free(uuid);
        return vst_error_no_memory(ret_err);
    }
    free(def->name);
    free(def->uuid);
    def->name = copy;
    def->uuid = uuid;
    return 0;
}

void vst_definition_free(struct vst_definition **def)
{
    if (*def)
        vst_json_clear(&definition_table, *def);
    free(*def);
    *def = NULL;
}

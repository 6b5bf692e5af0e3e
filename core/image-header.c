/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HEADER of an image, from and to JSON. It comes from a file that anybody may have written, and
 * decides what is started, so nothing in it is taken on trust: unknown members are errors.
 *
 *     {"driver": "qemu", "qemu-version": "7.2.22", "machine": "pc-i440fx-7.2", "running": true,
 *      "created-at": 1760000000, "created-by": "virstream 0.1.0", "compression": "zstd",
 *      "definition": {...}}
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "json.h"

static const char *const compressions[] = {"none", "zstd", NULL};
static const char *const methods[] = {"post-copy", NULL};

#define MEMBER(text, field) .name = text, .offset = offsetof(struct vst_image_header, field)
#define STRING(text, field) MEMBER(text, field), .type = VST_JSON_STRING

static const struct vst_json_member copy_members[] = {
    {.name = "disk",
     .type = VST_JSON_STRING,
     .required = true,
     .offset = offsetof(struct vst_disk_copy, disk)},
    {.name = "size",
     .type = VST_JSON_NUMBER,
     .required = true,
     .min = 1,
     .max = INT64_MAX,
     .offset = offsetof(struct vst_disk_copy, size)},
};

static const struct vst_json_table copy_table = {VST_JSON_TABLE(copy_members, vst_disk_copy)};

static const struct vst_json_member disk_members[] = {
    {.name = "disk",
     .type = VST_JSON_STRING,
     .required = true,
     .offset = offsetof(struct vst_disk_size, disk)},
    {.name = "size",
     .type = VST_JSON_NUMBER,
     .required = true,
     .min = 1,
     .max = INT64_MAX,
     .offset = offsetof(struct vst_disk_size, size)},
    {.name = "allocated",
     .type = VST_JSON_NUMBER,
     .max = INT64_MAX,
     .offset = offsetof(struct vst_disk_size, allocated)},
};

static const struct vst_json_table disk_table = {VST_JSON_TABLE(disk_members, vst_disk_size),
                                                 .open = true};

static const struct vst_json_member members[] = {
    {STRING("driver", driver), .required = true},
    {STRING("qemu-version", qemu_version)},
    {STRING("machine", machine)},
    {MEMBER("running", running), .type = VST_JSON_FLAG, .required = true},
    {MEMBER("created-at", created_at), .type = VST_JSON_NUMBER, .required = true, .max = INT64_MAX},
    {STRING("created-by", created_by), .required = true},
    {STRING("compression", compression), .required = true, .choices = compressions},
    {STRING("method", method), .choices = methods},
    {MEMBER("copies", copies), .type = VST_JSON_STRUCT, .shape = VST_JSON_LIST,
     .table = &copy_table},
    {MEMBER("disks", disks), .type = VST_JSON_STRUCT, .shape = VST_JSON_LIST, .table = &disk_table},
};

static const struct vst_json_table table = {VST_JSON_TABLE(members, vst_image_header)};
static const struct vst_json_table offer_table = {VST_JSON_TABLE(members, vst_image_header),
                                                  .open = true};

static struct json_object *encode(const struct vst_image_header *header, struct vst_error *ret_err)
{
    struct json_object *object = vst_json_encode(&table, header, ret_err);
    struct json_object *definition = NULL;

    if (object)
        definition = vst_definition_encode(header->definition, ret_err);
    if (vst_json_add(object, "definition", definition) == 0)
        return object;
    vst_error_no_memory(ret_err);
    json_object_put(object);
    return NULL;
}

char *vst_image_header_to_json(const struct vst_image_header *header, struct vst_error *ret_err)
{
    struct json_object *object = encode(header, ret_err);
    char *text = object ? vst_json_print(object, ret_err) : NULL;

    json_object_put(object);
    return text;
}

/* The definition has rules that no table can say, so it is decoded on its own. */
static int decode(struct json_object *object, const struct vst_json_table *by,
                  struct vst_image_header *header, struct vst_error *ret_err)
{
    struct json_object *inner;
    struct vst_definition *definition;

    if (!json_object_object_get_ex(object, "definition", &inner))
        return vst_error_set(ret_err, VST_ERR_INVALID, "definition: missing");
    definition = vst_definition_decode(inner, ret_err);
    json_object_object_del(object, "definition");
    if (definition && vst_json_decode(by, object, "header", header, ret_err) == 0) {
        header->definition = definition;
        return 0;
    }
    vst_definition_free(&definition);
    return -1;
}

static struct vst_image_header *parse(const char *text, size_t length,
                                      const struct vst_json_table *by, struct vst_error *ret_err)
{
    struct vst_image_header *header = calloc(1, sizeof(*header));
    struct json_object *object = NULL;

    if (!header)
        vst_error_no_memory(ret_err);
    else
        object = vst_json_parse(text, length, VST_RECORD_HEADER_MAX, "header", ret_err);
    if (!object || decode(object, by, header, ret_err) < 0) {
        free(header);
        header = NULL;
    }
    json_object_put(object);
    return header;
}

struct vst_image_header *vst_image_header_parse(const char *text, size_t length,
                                                struct vst_error *ret_err)
{
    struct vst_error err = {0};
    struct vst_image_header *header = parse(text, length, &table, &err);

    if (header)
        return header;
    /* To whoever restores it is the image that is wrong, not an argument. */
    if (err.code == VST_ERR_INVALID)
        err.code = VST_ERR_DAMAGED;
    vst_error_prefix(&err, "image");
    vst_error_copy(ret_err, &err);
    return NULL;
}

struct vst_image_header *vst_offer_parse(const char *text, size_t length, struct vst_error *ret_err)
{
    struct vst_error err = {0};
    struct vst_image_header *offer = parse(text, length, &offer_table, &err);

    vst_error_prefix(&err, "the offer");
    vst_error_copy(ret_err, &err);
    return offer;
}

void vst_image_header_free(struct vst_image_header **slot)
{
    struct vst_image_header *header = *slot;

    *slot = NULL;
    if (!header)
        return;
    vst_definition_free(&header->definition);
    vst_json_clear(&table, header);
    free(header);
}

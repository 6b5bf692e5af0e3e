/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of volumes: struct vst_volume_info to JSON and back.
 */
#include <stdio.h>

#include "core/definition.h"
#include "core/pool.h"
#include "message-table.h"

struct vst_volume_text {
    char *name;
    uint64_t size, allocated, changed;
    char *code; /* of a pool that cannot be looked into; NULL: it is a volume */
    uint64_t system;
};

static const char *check_name(const char *text)
{
    return vst_volume_fits(text) || vst_name_check(text, NULL) == 0
               ? NULL
               : "must be the name of a volume or a pool";
}

static const struct vst_json_member volume_text_members[] = {
    {"name", VST_JSON_STRING, .required = true, .check = check_name,
     .offset = offsetof(struct vst_volume_text, name)},
    NUMBER(vst_volume_text, "size", size, UINT64_MAX),
    NUMBER(vst_volume_text, "allocated", allocated, UINT64_MAX),
    NUMBER(vst_volume_text, "changed", changed, INT64_MAX),
    STRING(vst_volume_text, "code", code),
    NUMBER(vst_volume_text, "system", system, INT32_MAX),
};

const struct vst_json_table vst_volume_text_table = TABLE(volume_text);

/* Nothing is copied. */
static void show(const void *entry, void *ret_text)
{
    const struct vst_volume_info *info = entry;

    *(struct vst_volume_text *)ret_text = (struct vst_volume_text){
        .name = (char *)info->name,
        .size = info->size,
        .allocated = info->allocated,
        .changed = info->changed < 0 ? 0 : (uint64_t)info->changed,
        .code = info->code == VST_ERR_OK ? NULL : (char *)vst_code_name(info->code),
        .system = (uint64_t)info->system,
    };
}

static int read_info(const void *from, void *ret_entry, struct vst_error *ret_err)
{
    const struct vst_volume_text *text = from;
    struct vst_volume_info *info = ret_entry;

    *info = (struct vst_volume_info){
        .size = text->size,
        .allocated = text->allocated,
        .changed = (int64_t)text->changed,
        .code = text->code ? vst_message_code(text->code) : VST_ERR_OK,
        .system = (int)text->system,
    };
    if ((info->code == VST_ERR_OK) != vst_volume_fits(text->name))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the peer lists what is no volume");
    snprintf(info->name, sizeof(info->name), "%s", text->name);
    return 0;
}

const struct vst_listing vst_volume_listing = {
    .size = sizeof(struct vst_volume_info),
    .room = sizeof(struct vst_volume_text),
    .show = show,
    .read = read_info,
};

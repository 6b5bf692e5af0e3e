/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is told of volumes: struct vst_volume_info to JSON and back, and lists of them in pages.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/definition.h"
#include "core/pool.h"
#include "message-private.h"

struct vst_volume_text {
    char *name;
    uint64_t size, allocated, changed;
    char *code; /* of a pool that cannot be looked into; NULL: it is a volume */
    uint64_t system;
};

#define NUMBER(name, member, most)                                                               \
    {                                                                                            \
        name, VST_JSON_NUMBER, .offset = offsetof(struct vst_volume_text, member), .max = (most) \
    }

static const char *check_name(const char *text)
{
    return vst_volume_fits(text) || vst_name_check(text, NULL) == 0
               ? NULL
               : "must be the name of a volume or a pool";
}

static const struct vst_json_member volume_members[] = {
    {"name", VST_JSON_STRING, .required = true, .check = check_name,
     .offset = offsetof(struct vst_volume_text, name)},
    NUMBER("size", size, UINT64_MAX),
    NUMBER("allocated", allocated, UINT64_MAX),
    NUMBER("changed", changed, INT64_MAX),
    {"code", VST_JSON_STRING, .offset = offsetof(struct vst_volume_text, code)},
    NUMBER("system", system, INT32_MAX),
};

const struct vst_json_table vst_volume_text_table = {
    VST_JSON_TABLE(volume_members, vst_volume_text), .open = true};

/* Nothing is copied. */
static char *print(const struct vst_volume_info *infos, size_t count, bool more,
                   struct vst_error *ret_err)
{
    struct vst_volume_text *texts = calloc(count + 1, sizeof(*texts));
    struct vst_volume_text **list = calloc(count + 1, sizeof(void *));
    char *body = NULL;

    for (size_t i = 0; texts && list && i < count; i++) {
        texts[i] = (struct vst_volume_text){
            .name = (char *)infos[i].name,
            .size = infos[i].size,
            .allocated = infos[i].allocated,
            .changed = infos[i].changed < 0 ? 0 : (uint64_t)infos[i].changed,
            .code = infos[i].code == VST_ERR_OK ? NULL : (char *)vst_code_name(infos[i].code),
            .system = (uint64_t)infos[i].system,
        };
        list[i] = &texts[i];
    }
    if (texts && list)
        body = vst_reply_print(VST_PROCEDURE_VOLUMES, &(union vst_results){.volumes = {list, more}},
                               ret_err);
    else
        vst_error_no_memory(ret_err);
    free(texts);
    free(list);
    return body;
}

char *vst_volumes_print(const struct vst_volume_info *infos, size_t count, const char *after,
                        struct vst_error *ret_err)
{
    size_t first = 0, size;

    while (after && first < count && strcmp(infos[first].name, after) <= 0)
        first++;
    size = count - first < VST_PAGE ? count - first : VST_PAGE;
    return print(infos + first, size, first + size < count, ret_err);
}

static int read_infos(struct vst_volume_text *const *list, struct vst_volume_info **ret_infos,
                      size_t *ret_count, struct vst_error *ret_err)
{
    struct vst_volume_info *infos;
    size_t count = 0;

    while (list && list[count])
        count++;
    infos = calloc(count + 1, sizeof(*infos));
    if (!infos)
        return vst_error_no_memory(ret_err);
    for (size_t i = 0; i < count; i++) {
        infos[i].code = list[i]->code ? vst_message_code(list[i]->code) : VST_ERR_OK;
        if ((infos[i].code == VST_ERR_OK) != vst_volume_fits(list[i]->name)) {
            free(infos);
            return vst_error_set(ret_err, VST_ERR_PROTOCOL, "the peer lists what is no volume");
        }
        snprintf(infos[i].name, sizeof(infos[i].name), "%s", list[i]->name);
        infos[i].size = list[i]->size;
        infos[i].allocated = list[i]->allocated;
        infos[i].changed = (int64_t)list[i]->changed;
        infos[i].system = (int)list[i]->system;
    }
    *ret_infos = infos;
    *ret_count = count;
    return 0;
}

int vst_volumes_parse(const char *body, size_t length, struct vst_volume_info **ret_infos,
                      size_t *ret_count, bool *ret_more, struct vst_error *ret_err)
{
    union vst_results result;
    int status;

    if (vst_reply_parse(VST_PROCEDURE_VOLUMES, body, length, &result, ret_err) < 0)
        return -1;
    status = read_infos(result.volumes.volumes, ret_infos, ret_count, ret_err);
    if (status == 0)
        *ret_more = result.volumes.more;
    vst_results_clear(VST_PROCEDURE_VOLUMES, &result);
    return status;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Objects that no table describes: one member looked up, or put in.
 */
#include "json.h"

#include <json-c/json.h>
#include <string.h>

static struct json_object *member_of(struct json_object *from, const char *name)
{
    struct json_object *value;

    return from && json_object_object_get_ex(from, name, &value) ? value : NULL;
}

const char *vst_json_string(struct json_object *from, const char *name)
{
    struct json_object *value = member_of(from, name);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

bool vst_json_says(struct json_object *from, const char *name, const char *text)
{
    const char *said = vst_json_string(from, name);

    return said && strcmp(said, text) == 0;
}

uint64_t vst_json_number(struct json_object *from, const char *name)
{
    return json_object_get_uint64(member_of(from, name));
}

int vst_json_add(struct json_object *to, const char *name, struct json_object *value)
{
    if (to && value && json_object_object_add(to, name, value) == 0)
        return 0;
    json_object_put(value);
    return -1;
}

struct json_object *vst_json_object(const char *name, struct json_object *value)
{
    struct json_object *object = json_object_new_object();

    if (vst_json_add(object, name, value) == 0)
        return object;
    json_object_put(object);
    return NULL;
}

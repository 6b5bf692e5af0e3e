/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How tables of messages are written down, for message*.c only: a row for each kind of member.
 */
#ifndef VST_REMOTE_MESSAGE_TABLE_H
#define VST_REMOTE_MESSAGE_TABLE_H

#include "message-private.h"

#define STRING(kind, name, member)                                     \
    {                                                                  \
        name, VST_JSON_STRING, .offset = offsetof(struct kind, member) \
    }
#define NEEDED(kind, name, member)                                                       \
    {                                                                                    \
        name, VST_JSON_STRING, .required = true, .offset = offsetof(struct kind, member) \
    }
#define NUMBER(kind, name, member, most)                                              \
    {                                                                                 \
        name, VST_JSON_NUMBER, .offset = offsetof(struct kind, member), .max = (most) \
    }
#define FLAG(kind, name, member)                                     \
    {                                                                \
        name, VST_JSON_FLAG, .offset = offsetof(struct kind, member) \
    }

#define TOKEN(kind, name, member)                                                 \
    {                                                                             \
        name, VST_JSON_STRING, .required = true, .check = vst_message_check_uuid, \
                               .offset = offsetof(struct kind, member)            \
    }
#define DOMAIN_NAME(kind, member)                                                   \
    {                                                                               \
        "name", VST_JSON_STRING, .required = true, .check = vst_message_check_name, \
                                 .offset = offsetof(struct kind, member)            \
    }
#define DOMAIN_UUID(kind, member) TOKEN(kind, "uuid", member)

/* Of struct vst_KIND, with the array KIND_members. */
#define TABLE(kind)                                              \
    {                                                            \
        VST_JSON_TABLE(kind##_members, vst_##kind), .open = true \
    }
#define OPEN_TABLE(kind) static const struct vst_json_table kind##_table = TABLE(kind)

#endif

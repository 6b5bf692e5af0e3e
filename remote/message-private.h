/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of message.h share: tables that others are made of, and the checks of what
 * comes from a peer.
 */
#ifndef VST_REMOTE_MESSAGE_PRIVATE_H
#define VST_REMOTE_MESSAGE_PRIVATE_H

#include "message.h"

extern const struct vst_json_table vst_info_text_table;
extern const struct vst_json_table vst_stats_result_table;
extern const struct vst_json_table vst_volume_text_table;
extern const struct vst_json_table vst_migration_text_table;
extern const struct vst_json_table vst_domains_result_table;
extern const struct vst_json_table vst_volumes_result_table;
extern const struct vst_json_table vst_migrate_arguments_table;
extern const struct vst_json_table vst_order_arguments_table;
extern const struct vst_json_table vst_handover_arguments_table;
extern const struct vst_json_table vst_incoming_arguments_table;
extern const struct vst_json_table vst_migrations_result_table;
extern const struct vst_json_table vst_answer_result_table;
extern const struct vst_json_table vst_fetch_arguments_table;
extern const struct vst_json_table vst_relay_answer_arguments_table;
extern const struct vst_json_table vst_errand_result_table;

/* How entries of one kind travel in lists. They begin with the text by which they are sorted. */
struct vst_listing {
    size_t size; /* of an entry */
    size_t room; /* of its text: the struct that its table is of, and what show() puts behind it */
    void (*show)(const void *entry, void *ret_text); /* nothing is copied */
    int (*read)(const void *text, void *ret_entry, struct vst_error *ret_err);
};
extern const struct vst_listing vst_domain_listing;
extern const struct vst_listing vst_volume_listing;
extern const struct vst_listing vst_migration_listing;

/* For tables: NULL if good, else "must be ...". */
const char *vst_message_check_name(const char *text);
const char *vst_message_check_uuid(const char *text);
const char *vst_message_check_question(const char *text);
const char *vst_message_check_answer(const char *text);
/* The place of a name that its table has let pass. */
int vst_message_find(const char *name, const char *const *list);
/* DRIVER if it has no such name. */
enum vst_code vst_message_code(const char *name);
/* Of a name that was checked. */
enum vst_handover_event vst_message_event(const char *name);

/* Copies as much as fits: whole characters, and no control characters but newlines. In place, too.
 */
void vst_message_clean(char *into, size_t size, const char *from);

#endif

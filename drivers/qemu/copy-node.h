/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy of a disk in the QEMU that it leaves: an NBD node, and a mirror job, both of one name
 * that nothing else has. Whoever begins them knows them by that name, and so does whoever finds
 * them after that one has died. Says the words to QEMU; decides nothing.
 */
#ifndef VST_DRIVERS_QEMU_COPY_NODE_H
#define VST_DRIVERS_QEMU_COPY_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct json_object;
struct vst_definition;
struct vst_qmp;

enum { VST_COPY_NAME_MAX = 23 };

/* Another one in each migration, by its token. */
void vst_copy_put_name(char ret_name[VST_COPY_NAME_MAX + 1], const char *token, size_t number);

/* The name of one of query-block-jobs, or of query-named-block-nodes, that is such a copy; else
 * NULL. Valid as long as that. No disk of the guest's definition is one, whatever its name is. */
const char *vst_copy_of_job(struct json_object *job);
const char *vst_copy_of_node(struct json_object *node, const struct vst_definition *def);

/* The NBD client shuts its socket, and makes no other connection. */
void vst_copy_yank(struct vst_qmp *qmp, const char *name);
/* Without force one that is in step is completed by this. */
int vst_copy_cancel(struct vst_qmp *qmp, const char *name, bool force, struct vst_error *ret_err);
/* QEMU refuses as long as there is a job. */
void vst_copy_delete(struct vst_qmp *qmp, const char *name);

#endif

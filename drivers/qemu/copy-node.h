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
#include "qmp.h"

struct json_object;
struct vst_definition;

enum { VST_COPY_NAME_MAX = 23 };

/* Another one in each migration, by its token. */
void vst_copy_put_name(char ret_name[VST_COPY_NAME_MAX + 1], const char *token, size_t number);

/* The name of one of query-block-jobs, or of query-named-block-nodes, that is such a copy; else
 * NULL. Valid as long as that. No disk of the guest's definition is one, whatever its name is. */
const char *vst_copy_of_job(struct json_object *job);
const char *vst_copy_of_node(struct json_object *node, const struct vst_definition *def);

/* What QEMU was given (getfd) and has not used. That there is none is no harm. */
void vst_copy_close(struct vst_qmp *qmp, const char *name);

/* The node: QEMU has a descriptor of this name (getfd), behind which is an NBD server that exports
 * `disk`. Replied when NBD is negotiated. */
int vst_copy_add(struct vst_qmp *qmp, const char *name, const char *disk,
                 struct vst_qmp_reply reply, struct vst_error *ret_err);
/* Bytes that the job copies at once, if it is begun with this bandwidth; then it waits until that
 * was no more than its speed. It stays so when the speed is set to another. */
uint64_t vst_copy_piece(uint64_t bandwidth);
/* The job: all of `disk`, and then what is written to it. `bandwidth`: bytes a second, 0 for as
 * fast as it goes. */
int vst_copy_start(struct vst_qmp *qmp, const char *name, const char *disk, uint64_t bandwidth,
                   struct vst_qmp_reply reply, struct vst_error *ret_err);
int vst_copy_set_speed(struct vst_qmp *qmp, const char *name, uint64_t bandwidth,
                       struct vst_qmp_reply reply, struct vst_error *ret_err);

/* The NBD client shuts its socket, and makes no other connection. */
void vst_copy_yank(struct vst_qmp *qmp, const char *name);
/* Without force one that is in step is completed by this. */
int vst_copy_cancel(struct vst_qmp *qmp, const char *name, bool force, struct vst_error *ret_err);
/* QEMU refuses as long as there is a job. */
void vst_copy_delete(struct vst_qmp *qmp, const char *name);

/* Why the copy of a disk of `def` failed, of which the job says `reason`; NULL: nothing. `to` is
 * the destination, for people. */
void vst_copy_explain(const struct vst_definition *def, const char *disk, const char *to,
                      const char *reason, struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules for guests that come and go: where a client may send one, from whom one is taken, and
 * which files it may name; besides what its role says. Pure.
 *
 * Where they go the host connects to with its own identity, and where they come from the client has
 * written their definition: both are looked at before the driver hears of them.
 */
#ifndef VST_REMOTE_MOVE_RULES_H
#define VST_REMOTE_MOVE_RULES_H

#include "access.h"
#include "core/driver.h"

/*
 * Whether a client may send guests of this host there: only where another host is, and unless it
 * has `args`, the right to raw arguments, without parameters that name files, because it is this
 * host that would read them, and not to a UNIX socket, which knows this host by its uid. INVALID or
 * ACCESS.
 */
int vst_move_rules_check_destination(const char *destination, bool args, struct vst_error *ret_err);

/* Whether guests may come from there: `accept` empty or NULL, from whomever the roles allow it. */
int vst_move_rules_check_source(const struct vst_access *accept,
                                const struct vst_identity *identity, struct vst_error *ret_err);

/*
 * Whether the guest may come that this offer is of, JSON with a definition in it. Its files must be
 * below one of the directories `paths`, which ends in NULL, or anywhere if that is NULL. 0, with
 * all that stands in the way, or NULL; INVALID or NO_MEMORY. Names are compared, nothing is looked
 * up: a link below the directory leads where it leads.
 */
int vst_move_rules_check_offer(const char *offer, char *const *paths, bool args,
                               struct vst_objection **ret_objections, struct vst_error *ret_err);
/* -1 and ACCESS with all of them, and `more`, one a line; or 0 when there are none. NULL: none. */
int vst_objections_tell(const struct vst_objection *objections, const char *more,
                        struct vst_error *ret_err);
/* Sets *objections to NULL. Accepts NULL. */
void vst_objections_free(struct vst_objection **objections);

#endif

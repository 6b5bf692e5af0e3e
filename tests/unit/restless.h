/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations between two roots of one process, of a guest whose QEMU is made up (fake-qemu.h): the
 * test itself is that QEMU when it is started under its name. What is to go wrong is QEMU's part.
 */
#ifndef VST_TESTS_UNIT_RESTLESS_H
#define VST_TESTS_UNIT_RESTLESS_H

#include "fake-qemu.h"
#include "far.h"

extern struct vst_host source;         /* the source */
extern struct vst_conn *destination;   /* the destination */
extern char destination_uri[128];      /* its URI */
extern struct vst_migration_info seen; /* when it was looked at last */
extern struct restless_outcome {
    bool done;
    struct vst_error err;
} outcome; /* of the migration */

/* With a guest, g, whose QEMU misbehaves in these ways; a way may be "". */
void restless_begin(const char *how, const char *also);
int restless_end(void **state);

struct vst_op *restless_move(const struct vst_migrate_options *opt);
/* Until it is over. */
void restless_await(void);
void restless_look(void);
/* One that begins like this, and it is not over before. */
void restless_await_verdict(const char *beginning);

#endif

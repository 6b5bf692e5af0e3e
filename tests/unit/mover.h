/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection of the test driver whose migrations are made up: they go from phase to phase by a
 * clock, and no guest moves. For tests of all that is between the driver and a user, or between two
 * hosts. The host in the destination says what happens:
 *
 *     full    INCOMPATIBLE, with two blockers
 *     slow    it stays in the phase "memory", until it is ordered otherwise
 *     doubt   the same, but giving it up ends IN_DOUBT
 *     left    CLEANUP, in the end
 *     lost    LOST, in the end, by the destination's fault
 *     words   well, but then the hosts still have something to say to each other
 *     apart   it runs there and lacks memory, for ever
 *
 * and with any other it comes to an end by itself.
 */
#ifndef VST_TESTS_UNIT_MOVER_H
#define VST_TESTS_UNIT_MOVER_H

#include <event2/event_struct.h>

#include "core/migration.h"

enum { MOVES_MAX = 1024 };

struct mover;

struct move {
    struct mover *mover;
    struct vst_migration_info info;
    struct vst_op *op; /* NULL: nobody waits for it */
    bool doubt, left, lost, slow, words, apart;
    unsigned steps;
};

struct mover {
    struct vst_driver driver; /* first: by it the methods find the rest */
    struct vst_conn *conn;
    struct event tick;
    struct move moves[MOVES_MAX];
    size_t count;
    unsigned checks;
    unsigned closed; /* moves whose connection was closed meanwhile */
    /* The last that was said. */
    struct vst_migrate_options opt;
    char new_name[64];
    enum vst_migration_order order;
    struct vst_migration_change change;
    struct vst_migrate_message message;
    char barred[64]; /* the file of the first objection to it */
    unsigned messages;
    /* What is said to a check: REFUSED with this, or no answer but this; NULL: neither. */
    const char *refuses;
    const char *fails;
    struct vst_caller caller;
    char part[64];
};

/* Takes the place of the driver of an open connection, which it outlives. One tick is a step of
 * each migration. */
void mover_begin(struct mover *mover, struct vst_conn *conn, unsigned milliseconds);
void mover_end(struct mover *mover);

/* One more, that is over. */
struct vst_migration_info *mover_add(struct mover *mover, const char *name);

#endif

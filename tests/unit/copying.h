/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations that take their disks along, between two roots of one process, with real guests. Both
 * hosts have one file system here, so the folder of the disks is moved away as soon as the guest
 * has opened them: to the destination they are not there.
 */
#ifndef VST_TESTS_UNIT_COPYING_H
#define VST_TESTS_UNIT_COPYING_H

#include "far.h"

enum {
    CLUSTER = 65536,
    CLUSTERS = 64,
    SIZE = CLUSTER * CLUSTERS,
    FIRST_FREE = 4,
    DISKS_MAX = 12000 /* bytes, of what defines them */
};

extern struct vst_host host; /* the source */
extern struct vst_conn *far; /* the destination, in a folder of the source's directory */
extern char there[128];      /* its URI */
extern uint64_t disk_size;   /* of those that are made from now on */
extern const struct vst_migrate_options with_disks;

int copying_begin(void **state);
int copying_end(void **state);

/* ---- disks ---- */

void copying_path_of(char path[160], const char *folder, const char *name);
void copying_make_folder(const char *name);
/* All of it at that place, or the test fails. */
void copying_put(int fd, const void *data, size_t length, off_t offset);
/* One cluster. */
void copying_put_random(int fd, off_t offset);
/* Opened. In the folder "disks", as all of them. */
int copying_make_disk(const char *name, const char *format, uint64_t size);
/* Data and holes in turn. */
void copying_make_raw(const char *name);
void copying_remove_disk(const char *name);
/* Everything to the folder "moved"; "disks" is empty. */
void copying_move_away(void);
/* What was moved away, and what came. */
void copying_expect_same(const char *name, bool qcow2);

/* ---- the guest, "g" ---- */

/* Adds the definition of a disk to those before it. */
void copying_describe(char disks[DISKS_MAX], const char *name, const char *format);
/* It counts, and has these disks, which are away by now. */
void copying_start_with(const char *disks);
/* With a raw disk "a" and a qcow2 disk "b". */
void copying_start(void);
void copying_end_at(struct vst_conn *conn);
void copying_pause_there(void);
/* 0, or -1 with the outcome. */
int copying_migrate(const struct vst_migrate_options *opt, bool check, struct vst_error *ret_err);

#endif

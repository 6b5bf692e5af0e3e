/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of files as channels: a directory of its own, and calls of a disk that can be full,
 * broken, slow, or stuck, in place of the system's.
 */
#ifndef VST_TESTS_UNIT_DISK_H
#define VST_TESTS_UNIT_DISK_H

#include <semaphore.h>
#include <stdatomic.h>

#include "core/file.h"
#include "loop.h"

enum { SIZE = 1500 * 1000 + 7, SHORTEST = 100 * 1000 };

struct disk {
    struct event_base *base;
    struct vst_worker *worker;
    char dir[32];
    char path[64];        /* in it */
    unsigned char *bytes; /* SIZE, for the file */
    atomic_int fail_with; /* errno of the n-th call that `n` counts down to */
    atomic_int reads_left;
    atomic_int writes_left;
    atomic_int syncs_left;
    atomic_int stuck; /* calls that wait at the gate now */
    atomic_bool gated;
    sem_t gate;
    atomic_uint writes;     /* calls */
    atomic_size_t shortest; /* no write moves more, if set, and every second one is interrupted */
    atomic_bool unnamed_refused;
    atomic_bool gate_at_sync;
    atomic_int links_left;
    atomic_int renames_left;
    atomic_int creates_left;
    atomic_uint calls;
};
extern struct disk disk; /* all zero for each test: it works */

/* For who starts another worker. */
extern const struct vst_file_calls disk_calls;

int disk_make(void **state);
int disk_drop(void **state);

/* How many entries the directory has; and the name of one, if `ret_name` has 256 bytes for it. */
unsigned disk_entries(char *ret_name);
void disk_put_file(const char *text, size_t len);
void disk_expect_file(const void *expected, size_t len);
/* Of the file, as it is, and of a new one. */
struct vst_channel *disk_open_path(int flags);
struct vst_channel *disk_new_file(unsigned flags);
/* In chunks of `max`. */
void disk_expect_reads(struct vst_channel *ch, size_t max, const void *expected, size_t len);
/* Seconds. */
double disk_now(void);
/* Lets those go that are stuck. */
void disk_all_threads_end(void);
/* Until a call waits at the gate. */
void disk_wait_until_stuck(void);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the root and its places: a root in a directory of its own, a definition of g1, and
 * processes in the place of QEMU.
 */
#ifndef VST_TESTS_UNIT_HERE_H
#define VST_TESTS_UNIT_HERE_H

#include "test.h"

#include "drivers/qemu/root.h"

struct here {
    char path[64];
    struct vst_root *root;
    struct vst_definition *def; /* of g1 */
};

#define HERE_TEST(function) VST_TEST_WITH(function, here_begin, here_end)

struct vst_definition *here_define(const char *name);
int here_begin(void **state);
/* Fails unless the root is empty by then. */
int here_end(void **state);
/* The place of a guest that is whole. */
struct vst_place *here_create(struct here *here);
struct vst_place *here_reopen(struct here *here);
void here_expect_open(struct here *here, const char *name, enum vst_code code, const char *text);
struct vst_glance here_glance(struct here *here);
/* A child of ours in the place of QEMU, on record as vst_spawn() does it. */
struct vst_process_id here_start(struct vst_place *place);
void here_kill(const struct vst_process_id *id);
/* What `body` returns, in another process. */
int here_in_another_process(int (*body)(struct here *), struct here *here);
bool here_has(struct here *here, const char *entry);
void here_write(struct here *here, const char *file, const char *text);
void here_read(struct here *here, const char *file, char *ret_text, size_t room);

#endif

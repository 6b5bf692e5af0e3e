/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of processes: one of them, its log and its identity, and what it is told.
 */
#ifndef VST_TESTS_UNIT_ONE_PROCESS_H
#define VST_TESTS_UNIT_ONE_PROCESS_H

#include "test.h"

#include "drivers/qemu/process.h"

struct one {
    struct event_base *base;
    struct vst_process *process;
    struct vst_spawn spawn;
    struct vst_error why;
    int gone; /* how often it has been told */
};

#define ONE_TEST(function) VST_TEST_WITH(function, one_begin, one_end)

/* What it is told goes here, unless a test has it told elsewhere. */
void one_note_gone(void *opaque, const struct vst_error *why);
const struct vst_process_cb *one_callback(struct one *one);
int one_begin(void **state);
int one_end(void **state);
/* Has it started; it has not been yet. */
void one_order(struct one *one, char **words);
/* Until it has been started, or will not be. */
void one_await(struct one *one);
void one_start(struct one *one, char **words);
void one_run_to_end(struct one *one);
/* What a program prints, line by line in *ret_text. */
void one_run(struct one *one, char **words, char *ret_text, size_t size);
void one_shell(struct one *one, const char *script);

#endif

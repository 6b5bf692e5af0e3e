/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A user of channels, for their unit tests: it waits as the contract says, with try first and want
 * after AGAIN, and moves text in and out. And the threads that work for them.
 */
#ifndef VST_TESTS_UNIT_LOOP_H
#define VST_TESTS_UNIT_LOOP_H

#include "core/channel.h"
#include "test.h"

/* Runs the loop until `dir` is announced, and stops wanting it. */
void vst_test_wait(struct vst_channel *ch, enum vst_dir dir);

/* Runs the loop for that long; true if `dir` was announced meanwhile. */
bool vst_test_announced(struct vst_channel *ch, enum vst_dir dir, unsigned milliseconds);

/* Moves all of it, waiting where need be, and returns the last result: OK, or FAIL. */
enum vst_io vst_test_send(struct vst_channel *ch, const void *data, size_t len);

/* Until the end, in reads of at most `max`; EOF or FAIL. */
enum vst_io vst_test_drain(struct vst_channel *ch, struct evbuffer *into, size_t max);

/* Finish, or open, waiting where need be. */
enum vst_io vst_test_finish(struct vst_channel *ch);
enum vst_io vst_test_open(struct vst_channel *ch);

/* Reads once without waiting; *ret_text is terminated. */
enum vst_io vst_test_read_text(struct vst_channel *ch, char *ret_text, size_t room);

/* Fills with what a counter and a seed give, so that misplaced bytes show. */
void vst_test_fill(unsigned char *bytes, size_t len, unsigned seed);

/* The threads that the library has in this process now. And: waits until there is none. */
unsigned vst_test_threads(void);
void vst_test_threads_end(void);

#endif

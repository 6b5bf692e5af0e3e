/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a test guest: bytes that follow from who the guest is, made and checked as they
 * pass, so that a guest of any size takes no memory. What is moved is
 *
 *     8 bytes "VSTTEST1", 8 bytes generation, 8 bytes size (both big-endian), `size` bytes
 *
 * of which every fourth 4 KiB page is zero and the rest random, as in a guest.
 */
#ifndef VST_DRIVERS_TEST_STATE_H
#define VST_DRIVERS_TEST_STATE_H

#include "core/channel.h"

/* Whose state it is. All of it decides what the bytes are. */
struct vst_test_identity {
    char name[64];
    char uuid[37];
    uint64_t generation; /* 0 when started, one more with each restore */
    uint64_t size;
};

enum { VST_TEST_PROLOGUE = 24 };

/* The state, read. Its end is EOF. */
struct vst_channel *vst_test_state_source(struct event_base *base,
                                          const struct vst_test_identity *of,
                                          struct vst_error *ret_err);

/*
 * The state, written, and each byte compared. `of` says name and UUID; generation and size are
 * learnt. More than `most` bytes of state, and anything else than the very bytes, is DAMAGED; an
 * early end is TRUNCATED.
 */
struct vst_channel *vst_test_state_sink(struct event_base *base, const struct vst_test_identity *of,
                                        uint64_t most, struct vst_error *ret_err);

/* What the sink has learnt; complete once its finish() was OK. */
const struct vst_test_identity *vst_test_state_identity(const struct vst_channel *sink);

/* The number behind the bytes; also seeds the screen. */
uint64_t vst_test_seed(const struct vst_test_identity *of);

#endif

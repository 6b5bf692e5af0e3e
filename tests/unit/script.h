/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A leaf that follows a script, one line of it per call, and keeps what was done to it.
 *
 * AGAIN holds until it has been waited for: a user that tries without having wanted gets it for
 * ever, and the test stops. When the script of a direction is at its end, reads wait for more of it
 * (there is nothing that announces), writes take everything, finish() is OK.
 */
#ifndef VST_TESTS_UNIT_SCRIPT_H
#define VST_TESTS_UNIT_SCRIPT_H

#include "core/channel.h"

struct vst_channel *script_new(struct event_base *base);

/* Lines for reads: some bytes, given by one read at most; or AGAIN, EOF, FAIL. */
void script_give(struct vst_channel *script, const void *bytes, size_t len);
void script_read(struct vst_channel *script, enum vst_io io);

/* `len` bytes in lines of `chunk` bytes, with an AGAIN between two. */
void script_give_chunks(struct vst_channel *script, const void *bytes, size_t len, size_t chunk);

/* Lines for writes: take at most `n`; or AGAIN, FAIL. */
void script_take(struct vst_channel *script, size_t n);
void script_write(struct vst_channel *script, enum vst_io io);

/* Not writable beyond the lines for writes, or again. */
void script_stop_writes(struct vst_channel *script, bool stop);

/* Lines for finish(): AGAIN, FAIL. */
void script_finish(struct vst_channel *script, enum vst_io io);

struct script_seen {
    struct evbuffer *written;
    unsigned writes;   /* calls that took something */
    unsigned finished; /* calls that said OK */
    unsigned aborted;
    enum vst_code why;  /* of the last abort */
    unsigned announced; /* directions, counted one by one: a user that spins shows here */
};

/* Lives as long as the script. */
const struct script_seen *script_seen(const struct vst_channel *script);

/* What FAIL fails with. */
#define SCRIPT_ERROR VST_ERR_LOST

#endif

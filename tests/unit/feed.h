/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drives a codec without any channel, in pieces of a chosen size.
 */
#ifndef VST_TESTS_UNIT_FEED_H
#define VST_TESTS_UNIT_FEED_H

#include "core/codec.h"

struct feed {
    size_t chunk; /* bytes of input between two steps; 0: all at once */
    size_t max;   /* what each step may put out; 0: no bound */
};

/* Feeds all and then `last`. Returns 0, or -1 with the error; `out` has what came out anyway. */
int feed(struct vst_codec *codec, struct feed how, const void *bytes, size_t len,
         struct evbuffer *out, struct vst_error *ret_err);

/* `len` bytes that look random and depend on `seed` alone. The caller frees them. */
unsigned char *feed_random(size_t len, uint64_t seed);

/* The content of a file, which the caller frees. */
unsigned char *feed_file(const char *path, size_t *ret_len);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sums of DATA, whose bytes come and go in pieces. Where TLS or SASL protect the bytes there are
 * none, and this costs nothing.
 */
#include "core/buffer.h"
#include "mux-private.h"

int mux_sum_begin(XXH3_state_t **sum)
{
    if (!*sum)
        *sum = XXH3_createState();
    return *sum && XXH3_64bits_reset(*sum) == XXH_OK ? 0 : -1;
}

static void add(void *opaque, const void *bytes, size_t n)
{
    XXH3_64bits_update(opaque, bytes, n);
}

void mux_sum_add(XXH3_state_t *sum, struct evbuffer *bytes, size_t offset, size_t n)
{
    vst_buffer_walk(bytes, offset, n, add, sum);
}

int mux_sum(XXH3_state_t **sum, struct evbuffer *bytes, size_t n, uint32_t *ret_sum)
{
    if (mux_sum_begin(sum) < 0)
        return -1;
    mux_sum_add(*sum, bytes, 0, n);
    *ret_sum = vst_frame_fold(XXH3_64bits_digest(*sum));
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layers when memory runs out: each allocation of a transfer through all of them fails once,
 * theirs, libevent's, and what xxHash and zstd allocate. Then there is an error and no crash, or
 * everything has arrived: never a success with other bytes.
 */
#include "test.h"

#include <time.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/record.h"
#include "loop.h"
#include "shortage.h"

enum { LEN = 12000, SECONDS_MAX = 5 };

/* ---- what runs out in libraries ---- */

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */

#define ZSTD_FAILURE ((size_t)-ZSTD_error_memory_allocation)

SHORTAGE_WRAP(XXH3_state_t *, NULL, XXH3_createState, (void), ())
SHORTAGE_WRAP(ZSTD_CCtx *, NULL, ZSTD_createCCtx, (void), ())
SHORTAGE_WRAP(ZSTD_DCtx *, NULL, ZSTD_createDCtx, (void), ())
SHORTAGE_WRAP(size_t, ZSTD_FAILURE, ZSTD_compressStream2,
              (ZSTD_CCtx * zstd, ZSTD_outBuffer *out, ZSTD_inBuffer *in, ZSTD_EndDirective end),
              (zstd, out, in, end))
SHORTAGE_WRAP(size_t, ZSTD_FAILURE, ZSTD_decompressStream,
              (ZSTD_DCtx * zstd, ZSTD_outBuffer *out, ZSTD_inBuffer *in), (zstd, out, in))

/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- a transfer through every layer, both ways ---- */

static bool on_codecs(struct vst_channel **ch, struct vst_codec *reading, struct vst_codec *writing,
                      size_t limit, struct vst_error *err)
{
    struct vst_channel *layer = NULL;

    if (reading && writing)
        layer = vst_channel_codec(*ch, reading, writing, limit, err);
    if (!layer) {
        vst_codec_free(&reading);
        vst_codec_free(&writing);
        return false;
    }
    *ch = layer;
    return true;
}

static bool on_layer(struct vst_channel **ch, struct vst_channel *layer)
{
    if (layer)
        *ch = layer;
    return layer != NULL;
}

static int on_header(void *opaque, const char *json, size_t len, struct vst_error *ret_err)
{
    (void)opaque, (void)json, (void)len, (void)ret_err;
    return 0;
}

static bool stack(struct vst_channel **ch, struct vst_error *err)
{
    static const struct vst_record_cb cb = {.header = on_header};
    struct vst_fault delay = {.kind = VST_FAULT_DELAY, .offset = LEN - 500, .delay_us = 10};
    struct vst_fault flip = {.kind = VST_FAULT_FLIP, .offset = 100};

    return on_codecs(ch, vst_codec_records_decode(&cb, err), vst_codec_records_encode("{}", 2, err),
                     4000, err) &&
           on_codecs(ch, vst_codec_zstd_expand(err), vst_codec_zstd_compress(1, err), 4000, err) &&
           on_layer(ch, vst_channel_fault(*ch, &flip, err)) &&
           on_layer(ch, vst_channel_fault(*ch, &delay, err)) &&
           on_layer(ch, vst_channel_rate(*ch, 10000000, 5000, err)) &&
           on_layer(ch, vst_channel_gate(*ch, err)) && on_layer(ch, vst_channel_digest(*ch, err));
}

/* Moves what it can; what each of the two has said last. */
static void move(struct vst_channel *ends[2], struct evbuffer *from, struct evbuffer *into,
                 enum vst_io *out, enum vst_io *in)
{
    size_t n;

    if (evbuffer_get_length(from))
        *out = vst_channel_write(ends[0], from, 3000, &n);
    else if (*out != VST_IO_EOF && (*out = vst_channel_finish(ends[0])) == VST_IO_OK)
        *out = VST_IO_EOF;
    *in = vst_channel_read(ends[1], into, 3000, &n);
    vst_channel_want(ends[0], VST_WRITE, *out == VST_IO_AGAIN);
    vst_channel_want(ends[1], VST_READ, *in == VST_IO_AGAIN);
}

/* Returns 0 when it has succeeded, or -1 with the error. */
static int transfer(struct event_base *base, struct vst_channel *ends[2], struct evbuffer *from,
                    struct evbuffer *into, struct vst_error *err)
{
    enum vst_io out = VST_IO_OK, in = VST_IO_OK;
    time_t began = time(NULL);

    if (!stack(&ends[0], err) || !stack(&ends[1], err))
        return -1;
    vst_gate_open(ends[0]->lower);
    vst_gate_open(ends[1]->lower);
    while (out != VST_IO_EOF || in != VST_IO_EOF) {
        move(ends, from, into, &out, &in);
        if (out == VST_IO_FAIL)
            return vst_error_copy(err, vst_channel_error(ends[0]));
        if (in == VST_IO_FAIL)
            return vst_error_copy(err, vst_channel_error(ends[1]));
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        assert_true(time(NULL) - began < SECONDS_MAX);
    }
    return 0;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    vst_test_seconds(60);
    assert_in_range(shortage_sweep(transfer, LEN), 100, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(each_allocation_may_fail),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layers when memory runs out: each allocation of a transfer through all of them fails once,
 * theirs, libevent's, and what xxHash and zstd allocate. Then there is an error and no crash, or
 * everything has arrived: never a success with other bytes.
 */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/record.h"
#include "loop.h"

enum { LEN = 12000, SECONDS_MAX = 5, TIMERS = 64 };

/* ---- memory that runs out ---- */

static long until_failure = -1; /* allocations; negative: none fails */

static int fails(void)
{
    if (until_failure < 0 || until_failure-- > 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */

/* The linker puts these in the place of what the code of the library calls (ld's --wrap). */
#define WRAP(type, failure, name, parameters, arguments)      \
    type __real_##name parameters;                            \
    type __wrap_##name parameters;                            \
    type __wrap_##name parameters                             \
    {                                                         \
        return fails() ? (failure) : __real_##name arguments; \
    }

#define ZSTD_FAILURE ((size_t)-ZSTD_error_memory_allocation)

WRAP(void *, NULL, malloc, (size_t size), (size))
WRAP(void *, NULL, calloc, (size_t count, size_t size), (count, size))
WRAP(XXH3_state_t *, NULL, XXH3_createState, (void), ())
WRAP(ZSTD_CCtx *, NULL, ZSTD_createCCtx, (void), ())
WRAP(ZSTD_DCtx *, NULL, ZSTD_createDCtx, (void), ())
WRAP(size_t, ZSTD_FAILURE, ZSTD_compressStream2,
     (ZSTD_CCtx * zstd, ZSTD_outBuffer *out, ZSTD_inBuffer *in, ZSTD_EndDirective end),
     (zstd, out, in, end))
WRAP(size_t, ZSTD_FAILURE, ZSTD_decompressStream,
     (ZSTD_DCtx * zstd, ZSTD_outBuffer *out, ZSTD_inBuffer *in), (zstd, out, in))

/* NOLINTEND(bugprone-reserved-identifier) */

static void *event_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *event_realloc(void *memory, size_t size)
{
    return fails() ? NULL : realloc(memory, size);
}

/* ---- a transfer through every layer, both ways ---- */

static struct event_base *base;
static struct event *timers[TIMERS];
static unsigned char data[LEN];

static void nothing(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
}

/* A base whose loop has room for timers: when that runs out libevent may not say so. */
static void make_base(void)
{
    static const struct timeval now = {0, 0};
    struct timeval late = {1000, 0};

    base = event_base_new();
    event_base_init_common_timeout(base, &now);
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = evtimer_new(base, nothing, NULL);
        event_add(timers[i], &late);
    }
    for (int i = 0; i < TIMERS; i++)
        event_del(timers[i]);
}

static void free_base(void)
{
    for (int i = 0; i < TIMERS; i++)
        event_free(timers[i]);
    event_base_free(base);
}

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
static int transfer(struct vst_channel *ends[2], struct evbuffer *from, struct evbuffer *into,
                    struct vst_error *err)
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

/* One transfer, in which allocation `number` fails; whether there were as many. */
static bool try_failure(long number)
{
    struct evbuffer *from = evbuffer_new(), *into = evbuffer_new();
    struct vst_error err = {0};
    struct vst_channel *ends[2];
    bool failed;
    int result;

    make_base();
    assert_int_equal(vst_channel_pair(base, 1000000, ends, NULL), 0);
    evbuffer_add(from, data, LEN);
    until_failure = number;
    result = transfer(ends, from, into, &err);
    failed = until_failure < 0;
    until_failure = -1;
    if (result == 0) {
        assert_int_equal(evbuffer_get_length(into), LEN);
        assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
    } else {
        assert_true(failed);
        assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    }
    vst_channel_free(&ends[0]);
    vst_channel_free(&ends[1]);
    evbuffer_free(from);
    evbuffer_free(into);
    free_base();
    return failed;
}

static void each_allocation_may_fail(void **state)
{
    long number = 0;

    (void)state;
    vst_test_seconds(60);
    vst_test_fill(data, LEN, 5);
    while (try_failure(number))
        number++;
    assert_in_range(number, 100, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(each_allocation_may_fail),
    };

    event_set_mem_functions(event_malloc, event_realloc, free); /* before libevent has any */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

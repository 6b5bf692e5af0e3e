/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The running digest: the same sum whatever the sizes, each direction its own, and no byte changed.
 */
#include "test.h"

#include <string.h>
#include <xxhash.h>

#include "loop.h"
#include "script.h"

enum { LEN = 200000 };

static struct event_base *base;
static struct vst_channel *below;
static struct vst_channel *top;
static unsigned char data[LEN];

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    below = script_new(base);
    top = vst_channel_digest(below, NULL);
    assert_non_null(top);
    vst_test_fill(data, LEN, 11);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&top);
    event_base_free(base);
    return 0;
}

static void assert_sum(enum vst_dir dir, size_t len)
{
    XXH128_canonical_t wanted;
    unsigned char sum[16];

    XXH128_canonicalFromHash(&wanted, XXH3_128bits(data, len));
    vst_digest_get(top, dir, sum);
    assert_memory_equal(sum, wanted.digest, sizeof(sum));
}

static void sum_of_what_is_read_does_not_depend_on_sizes(void **state)
{
    static const size_t sizes[] = {97, 4096, 100000, LEN};

    for (size_t i = 0; i < 4; i++) {
        struct evbuffer *into = evbuffer_new();

        drop(state);
        make(state);
        assert_sum(VST_READ, 0);
        script_give_chunks(below, data, LEN, sizes[i]);
        script_read(below, VST_IO_EOF);
        assert_int_equal(vst_test_drain(top, into, sizes[3 - i]), VST_IO_EOF);
        assert_int_equal(evbuffer_get_length(into), LEN);
        assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
        assert_sum(VST_READ, LEN);
        assert_sum(VST_WRITE, 0);
        evbuffer_free(into);
    }
}

static void each_written_byte_counts_once_however_little_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < 300; i++) {
        script_take(below, i + 1);
        script_write(below, VST_IO_AGAIN);
    }
    assert_int_equal(vst_test_send(top, data, LEN), VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_int_equal(script_seen(below)->finished, 1);
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), LEN);
    assert_memory_equal(evbuffer_pullup(script_seen(below)->written, -1), data, LEN);
    assert_sum(VST_WRITE, LEN);
    assert_sum(VST_READ, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(sum_of_what_is_read_does_not_depend_on_sizes, make, drop),
        VST_TEST_WITH(each_written_byte_counts_once_however_little_is_taken, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

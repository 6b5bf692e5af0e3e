/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of test guests: the same each time, the same in every chunking, and nothing else is
 * taken for it. No record layer is in between that would find it first.
 */
#include "drivers/test/state.h"

#include <stdlib.h>
#include <string.h>

#include "loop.h"

enum { SIZE = 20000 };

static const struct vst_test_identity guest = {
    .name = "g1",
    .uuid = "12345678-1234-4234-8234-123456789abc",
    .generation = 3,
    .size = SIZE,
};

static struct event_base *base;
static struct evbuffer *bytes; /* its state, as it is moved */

static void collect(const struct vst_test_identity *of, size_t max, struct evbuffer *into)
{
    struct vst_channel *source = vst_test_state_source(base, of, NULL);

    assert_non_null(source);
    assert_int_equal(vst_test_drain(source, into, max), VST_IO_EOF);
    vst_channel_free(&source);
}

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    bytes = evbuffer_new();
    collect(&guest, 4096, bytes);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    evbuffer_free(bytes);
    event_base_free(base);
    return 0;
}

static unsigned char *at(size_t offset)
{
    return evbuffer_pullup(bytes, -1) + offset;
}

/* What a sink that expects `of` says to `n` bytes, in pieces. */
static enum vst_code judge(const struct vst_test_identity *of, uint64_t most, size_t n,
                           size_t piece, struct vst_test_identity *ret_learnt)
{
    struct vst_test_identity expected = {.generation = 0};
    struct vst_channel *sink;
    enum vst_code code = VST_ERR_OK;
    enum vst_io io = VST_IO_OK;

    memcpy(expected.name, of->name, sizeof(expected.name));
    memcpy(expected.uuid, of->uuid, sizeof(expected.uuid));
    sink = vst_test_state_sink(base, &expected, most, NULL);
    for (size_t i = 0; i < n && io == VST_IO_OK; i += piece)
        io = vst_test_send(sink, at(i), n - i < piece ? n - i : piece);
    if (io == VST_IO_OK)
        io = vst_test_finish(sink);
    if (io == VST_IO_FAIL)
        code = vst_channel_error(sink)->code;
    if (ret_learnt)
        *ret_learnt = *vst_test_state_identity(sink);
    vst_channel_free(&sink);
    return code;
}

static enum vst_code judge_whole(void)
{
    return judge(&guest, SIZE, evbuffer_get_length(bytes), 5000, NULL);
}

static void state_is_the_same_in_every_chunking(void **state)
{
    (void)state;
    assert_int_equal(evbuffer_get_length(bytes), VST_TEST_PROLOGUE + SIZE);
    for (size_t max = 1; max < 2 * SIZE; max += 1 + max / 3) {
        struct evbuffer *again = evbuffer_new();

        collect(&guest, max, again);
        assert_int_equal(evbuffer_get_length(again), evbuffer_get_length(bytes));
        assert_memory_equal(evbuffer_pullup(again, -1), at(0), evbuffer_get_length(bytes));
        evbuffer_free(again);
    }
}

static void state_is_taken_in_every_chunking(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 2 * SIZE; piece += 1 + piece / 3) {
        struct vst_test_identity learnt;

        assert_int_equal(judge(&guest, SIZE, evbuffer_get_length(bytes), piece, &learnt),
                         VST_ERR_OK);
        assert_int_equal(learnt.generation, guest.generation);
        assert_int_equal(learnt.size, SIZE);
    }
}

static void every_altered_byte_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < VST_TEST_PROLOGUE + SIZE; i += i < 100 ? 1 : 97) {
        *at(i) ^= 0x10;
        if (judge_whole() == VST_ERR_OK)
            fail_msg("byte %zu altered, and taken", i);
        *at(i) ^= 0x10;
    }
    assert_int_equal(judge_whole(), VST_ERR_OK);
}

static void early_end_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < VST_TEST_PROLOGUE + SIZE; n += n < 50 ? 1 : 501)
        assert_int_equal(judge(&guest, SIZE, n, 5000, NULL), VST_ERR_TRUNCATED);
}

static void late_end_is_refused(void **state)
{
    (void)state;
    evbuffer_add(bytes, "x", 1);
    assert_int_equal(judge_whole(), VST_ERR_DAMAGED);
}

static void another_guests_state_is_refused(void **state)
{
    struct vst_test_identity other = guest;

    (void)state;
    other.name[1] = '2';
    assert_int_equal(judge(&other, SIZE, evbuffer_get_length(bytes), 5000, NULL), VST_ERR_DAMAGED);
    other = guest;
    other.uuid[0] = '2';
    assert_int_equal(judge(&other, SIZE, evbuffer_get_length(bytes), 5000, NULL), VST_ERR_DAMAGED);
}

static void more_than_the_memory_is_refused(void **state)
{
    (void)state;
    assert_int_equal(judge(&guest, SIZE - 1, evbuffer_get_length(bytes), 5000, NULL),
                     VST_ERR_DAMAGED);
}

static void guest_of_any_size_takes_no_memory(void **state)
{
    struct vst_test_identity large = guest;
    struct vst_channel *source;
    struct evbuffer *some = evbuffer_new();
    size_t n;

    (void)state;
    large.size = UINT64_C(1) << 60;
    source = vst_test_state_source(base, &large, NULL);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(vst_channel_read(source, some, 4096, &n), VST_IO_OK);
        evbuffer_drain(some, n);
    }
    vst_channel_free(&source);
    evbuffer_free(some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(state_is_the_same_in_every_chunking, make, drop),
        VST_TEST_WITH(state_is_taken_in_every_chunking, make, drop),
        VST_TEST_WITH(every_altered_byte_is_refused, make, drop),
        VST_TEST_WITH(early_end_is_refused, make, drop),
        VST_TEST_WITH(late_end_is_refused, make, drop),
        VST_TEST_WITH(another_guests_state_is_refused, make, drop),
        VST_TEST_WITH(more_than_the_memory_is_refused, make, drop),
        VST_TEST_WITH(guest_of_any_size_takes_no_memory, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zeros are added without memory, and found again wherever they are and however a buffer is cut.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/zeros.h"

enum { LEN = 40000, LEAST = VST_ZEROS_LEAST };

static void a_gigabyte_takes_next_to_no_memory(void **state)
{
    struct evbuffer *buf = evbuffer_new();
    size_t n = 1 << 30;
    bool zeros;

    (void)state;
    assert_int_equal(vst_zeros_add(buf, n), 0);
    assert_int_equal(evbuffer_get_length(buf), n);
    assert_in_range(evbuffer_peek(buf, -1, NULL, NULL, 0), 1, n / VST_ZEROS_BLOCK);
    assert_int_equal(vst_zeros_run(buf, NULL, n, 0, &zeros), n);
    assert_true(zeros);
    assert_int_equal(vst_zeros_tail(buf, NULL, n), n);
    evbuffer_free(buf);
}

/* ---- against looking at every byte ---- */

/* The definition. */
static size_t plain_run(const unsigned char *bytes, size_t n, size_t before, bool *ret_zeros)
{
    size_t run = 0;

    for (size_t at = 0; at <= n; at++) {
        if (at < n && !bytes[at]) {
            run++;
            continue;
        }
        if (run && run == at && run + before >= LEAST) {
            *ret_zeros = true;
            return run;
        }
        if (run >= LEAST) {
            *ret_zeros = false;
            return at - run;
        }
        run = 0;
    }
    *ret_zeros = false;
    return n;
}

/* Cut into blocks of their own; large runs of zeros may be ours. */
static struct evbuffer *cut(const unsigned char *bytes, size_t n, size_t most)
{
    struct evbuffer *buf = evbuffer_new();

    for (size_t at = 0; at < n;) {
        size_t len = vst_least(1 + (size_t)rand() % most, n - at);

        evbuffer_add_reference(buf, bytes + at, len, NULL, NULL);
        at += len;
    }
    return buf;
}

static void expect_same(const unsigned char *bytes, size_t n, size_t most)
{
    struct evbuffer *buf = cut(bytes, n, most);
    struct evbuffer_ptr ptr;
    size_t before = 0, tail = 0;

    evbuffer_ptr_set(buf, &ptr, 0, EVBUFFER_PTR_SET);
    for (size_t at = 0; at < n;) {
        bool expected_zeros, zeros;
        size_t expected = plain_run(bytes + at, n - at, before, &expected_zeros);

        assert_int_equal(vst_zeros_run(buf, &ptr, n - at, before, &zeros), expected);
        assert_int_equal(zeros, expected_zeros);
        at += expected;
        before = at % 3 ? 0 : (size_t)rand() % LEAST;
        if (at < n)
            evbuffer_ptr_set(buf, &ptr, expected, EVBUFFER_PTR_ADD);
    }
    while (tail < n && !bytes[n - 1 - tail])
        tail++;
    assert_int_equal(vst_zeros_tail(buf, NULL, n), tail);
    evbuffer_free(buf);
}

static size_t any_length(void)
{
    static const size_t lengths[] = {1, 2, 7, LEAST - 1, LEAST, LEAST + 1, 2 * LEAST - 1, 9000};

    return rand() % 2 ? lengths[(size_t)rand() % 8] : (size_t)rand() % 300;
}

/* Data and zeros in turn; some of the data has many zeros of its own. */
static void fill(unsigned char *bytes, size_t n)
{
    int often = 1 + rand() % 200;

    memset(bytes, 0, n);
    for (size_t at = rand() % 2 ? any_length() : 0; at < n; at += any_length())
        for (size_t end = vst_least(n, at + any_length()); at < end; at++)
            if (rand() % often == 0 || at + 1 == end)
                bytes[at] = (unsigned char)(1 + rand() % 255);
}

static void runs_are_found_wherever_they_are(void **state)
{
    static const size_t mosts[] = {1, 100, 5000, LEN};
    unsigned char *bytes = malloc(LEN);

    (void)state;
    assert_non_null(bytes);
    srand(1);
    for (int round = 0; round < 1000; round++) {
        size_t n = 1 + (size_t)rand() % LEN;

        fill(bytes, n);
        expect_same(bytes, n, mosts[round % 4]);
    }
    free(bytes);
}

static void looking_ends_where_it_is_told_to(void **state)
{
    struct evbuffer *buf = evbuffer_new();
    bool zeros;

    (void)state;
    evbuffer_add(buf, "data", 4);
    assert_int_equal(vst_zeros_add(buf, 3 * LEAST), 0);
    assert_int_equal(vst_zeros_run(buf, NULL, 4 + LEAST - 1, 0, &zeros), 4 + LEAST - 1);
    assert_false(zeros);
    assert_int_equal(vst_zeros_run(buf, NULL, 4 + LEAST, 0, &zeros), 4);
    assert_false(zeros);
    assert_int_equal(vst_zeros_tail(buf, NULL, 100), 96);
    evbuffer_drain(buf, 4);
    assert_int_equal(vst_zeros_run(buf, NULL, LEAST + 5, 0, &zeros), LEAST + 5);
    assert_true(zeros);
    /* Short, but it goes on from what came before. */
    assert_int_equal(vst_zeros_run(buf, NULL, 10, LEAST - 11, &zeros), 10);
    assert_false(zeros);
    assert_int_equal(vst_zeros_run(buf, NULL, 10, LEAST - 10, &zeros), 10);
    assert_true(zeros);
    evbuffer_free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(a_gigabyte_takes_next_to_no_memory),
        VST_TEST(runs_are_found_wherever_they_are),
        VST_TEST(looking_ends_where_it_is_told_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

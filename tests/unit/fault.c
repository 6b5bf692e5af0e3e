/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault layer: each kind, in both directions, exactly where it was told to.
 */
#include "test.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "loop.h"
#include "script.h"

#define TEXT "0123456789"

static struct event_base *base;
static struct vst_channel *below;
static struct vst_channel *top;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    below = script_new(base);
    top = NULL;
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(top ? &top : &below);
    event_base_free(base);
    return 0;
}

static void put(struct vst_fault what)
{
    script_give(below, TEXT, 10);
    script_read(below, VST_IO_EOF);
    top = vst_channel_fault(below, &what, NULL);
    assert_non_null(top);
}

/* Reads to the end, or to the failure, and compares what came. */
static enum vst_io read_all(const char *wanted)
{
    struct evbuffer *into = evbuffer_new();
    enum vst_io io = vst_test_drain(top, into, 100);

    assert_int_equal(evbuffer_get_length(into), strlen(wanted));
    assert_int_equal(
        memcmp(evbuffer_pullup(into, -1) ?: (unsigned char *)"", wanted, strlen(wanted)), 0);
    evbuffer_free(into);
    return io;
}

static enum vst_io write_all(void)
{
    return vst_test_send(top, TEXT, 10);
}

static void assert_written(const char *wanted)
{
    struct evbuffer *written = script_seen(below)->written;

    assert_int_equal(evbuffer_get_length(written), strlen(wanted));
    assert_int_equal(
        memcmp(evbuffer_pullup(written, -1) ?: (unsigned char *)"", wanted, strlen(wanted)), 0);
}

static void fails_at_every_offset_with_the_number(void **state)
{
    for (size_t at = 0; at < 10; at++) {
        char start[11] = TEXT;

        start[at] = '\0';
        put((struct vst_fault){.kind = VST_FAULT_FAIL, .offset = at, .number = ENOSPC});
        assert_int_equal(read_all(start), VST_IO_FAIL);
        assert_int_equal(vst_channel_error(top)->system, ENOSPC);
        assert_non_null(strstr(vst_channel_error(top)->text, "while reading"));
        drop(state);
        make(state);
        put((struct vst_fault){.kind = VST_FAULT_FAIL, .offset = at, .number = EIO});
        assert_int_equal(write_all(), VST_IO_FAIL);
        assert_int_equal(vst_channel_error(top)->system, EIO);
        assert_written(start);
        drop(state);
        make(state);
    }
}

static void fails_in_finish_when_the_offset_is_the_end(void **state)
{
    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_FAIL, .offset = 10, .number = ENOSPC});
    assert_int_equal(write_all(), VST_IO_OK);
    assert_int_equal(vst_channel_finish(top), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->system, ENOSPC);
    assert_int_equal(script_seen(below)->finished, 0);
}

static void cut_ends_reads_and_breaks_the_pipe(void **state)
{
    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_CUT, .offset = 4});
    assert_int_equal(read_all("0123"), VST_IO_EOF);
    assert_int_equal(write_all(), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(top)->system, EPIPE);
    assert_written("0123");
}

static void stall_waits_for_ever_without_turning_the_loop(void **state)
{
    struct evbuffer *buf = evbuffer_new();
    size_t n;

    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_STALL, .offset = 4});
    assert_int_equal(vst_channel_read(top, buf, 100, &n), VST_IO_OK);
    assert_int_equal(n, 4);
    assert_int_equal(vst_channel_read(top, buf, 100, &n), VST_IO_AGAIN);
    assert_false(vst_test_announced(top, VST_READ, 20));
    assert_int_equal(vst_channel_write(top, buf, 4, &n), VST_IO_OK);
    evbuffer_add(buf, TEXT, 10);
    assert_int_equal(vst_channel_write(top, buf, 10, &n), VST_IO_AGAIN);
    assert_false(vst_test_announced(top, VST_WRITE, 20));
    assert_int_equal(vst_channel_finish(top), VST_IO_AGAIN);
    assert_int_equal(script_seen(below)->announced, 0);
    assert_int_equal(vst_channel_buffered(top), 0);
    evbuffer_free(buf);
}

static double seconds(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void delay_holds_each_operation_from_the_offset_on(void **state)
{
    struct evbuffer *buf = evbuffer_new();
    double began = seconds();
    size_t n;

    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_DELAY, .offset = 8, .delay_us = 20000});
    assert_int_equal(vst_channel_read(top, buf, 100, &n), VST_IO_OK);
    assert_int_equal(n, 8);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vst_channel_read(top, buf, 1, &n), VST_IO_AGAIN);
        vst_test_wait(top, VST_READ);
        assert_int_equal(vst_channel_read(top, buf, 1, &n), VST_IO_OK);
    }
    assert_true(seconds() - began >= 0.04);
    /* The script was not asked to watch while the time ran. */
    assert_in_range(script_seen(below)->announced, 0, 2);
    began = seconds();
    assert_int_equal(write_all(), VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_true(seconds() - began >= 0.04);
    assert_written(TEXT);
    evbuffer_free(buf);
}

static void flip_changes_one_bit_of_one_byte(void **state)
{
    for (unsigned bit = 0; bit < 8; bit++) {
        for (size_t at = 0; at < 10; at++) {
            struct vst_fault what = {.kind = VST_FAULT_FLIP, .offset = at, .bit = bit};
            char wanted[11] = TEXT;

            wanted[at] = (char)(wanted[at] ^ (1 << bit));
            script_write(below, VST_IO_AGAIN);
            put(what);
            assert_int_equal(read_all(wanted), VST_IO_EOF);
            assert_int_equal(write_all(), VST_IO_OK);
            assert_int_equal(vst_test_finish(top), VST_IO_OK);
            assert_written(wanted);
            drop(state);
            make(state);
        }
    }
}

static void short_moves_little_and_loses_nothing(void **state)
{
    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_SHORT, .number = 3});
    assert_int_equal(read_all(TEXT), VST_IO_EOF);
    assert_int_equal(write_all(), VST_IO_OK);
    assert_int_equal(script_seen(below)->writes, 4);
    assert_written(TEXT);
}

static void offset_beyond_the_end_is_never_met(void **state)
{
    (void)state;
    put((struct vst_fault){.kind = VST_FAULT_FAIL, .offset = 11, .number = EIO});
    assert_int_equal(read_all(TEXT), VST_IO_EOF);
    assert_int_equal(write_all(), VST_IO_OK);
    assert_int_equal(vst_test_finish(top), VST_IO_OK);
    assert_written(TEXT);
}

static void faults_that_do_not_exist_are_refused(void **state)
{
    static const struct vst_fault wrong[] = {
        {.kind = (enum vst_fault_kind)99},
        {.kind = VST_FAULT_FAIL, .number = 0},
        {.kind = VST_FAULT_SHORT, .number = 0},
        {.kind = VST_FAULT_FLIP, .bit = 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct vst_error err = {0};

        assert_null(vst_channel_fault(below, &wrong[i], &err));
        assert_int_equal(err.code, VST_ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(fails_at_every_offset_with_the_number, make, drop),
        VST_TEST_WITH(fails_in_finish_when_the_offset_is_the_end, make, drop),
        VST_TEST_WITH(cut_ends_reads_and_breaks_the_pipe, make, drop),
        VST_TEST_WITH(stall_waits_for_ever_without_turning_the_loop, make, drop),
        VST_TEST_WITH(delay_holds_each_operation_from_the_offset_on, make, drop),
        VST_TEST_WITH(flip_changes_one_bit_of_one_byte, make, drop),
        VST_TEST_WITH(short_moves_little_and_loses_nothing, make, drop),
        VST_TEST_WITH(offset_beyond_the_end_is_never_met, make, drop),
        VST_TEST_WITH(faults_that_do_not_exist_are_refused, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

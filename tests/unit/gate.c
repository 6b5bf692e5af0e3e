/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The gate: an end is believed when its owner says so, and not before.
 */
#include "test.h"

#include "loop.h"
#include "script.h"

static struct event_base *base;
static struct vst_channel *below;
static struct vst_channel *gate;

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    below = script_new(base);
    gate = vst_channel_gate(below, NULL);
    assert_non_null(gate);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&gate);
    event_base_free(base);
    return 0;
}

static enum vst_io read_some(void)
{
    char text[16];

    return vst_test_read_text(gate, text, sizeof(text));
}

static void bytes_pass_a_closed_gate(void **state)
{
    char text[16];

    (void)state;
    script_give(below, "state", 5);
    assert_int_equal(vst_test_read_text(gate, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "state");
    assert_int_equal(vst_test_send(gate, "reply", 5), VST_IO_OK);
    assert_int_equal(vst_test_finish(gate), VST_IO_OK);
    assert_int_equal(evbuffer_get_length(script_seen(below)->written), 5);
}

static void end_is_kept_back_without_watching_it(void **state)
{
    (void)state;
    script_read(below, VST_IO_EOF);
    assert_int_equal(read_some(), VST_IO_AGAIN);
    assert_false(vst_test_announced(gate, VST_READ, 20));
    assert_int_equal(script_seen(below)->announced, 0);
    assert_int_equal(read_some(), VST_IO_AGAIN);
}

static void opening_lets_the_end_through(void **state)
{
    (void)state;
    script_read(below, VST_IO_EOF);
    assert_int_equal(read_some(), VST_IO_AGAIN);
    vst_gate_open(gate);
    vst_test_wait(gate, VST_READ);
    assert_int_equal(read_some(), VST_IO_EOF);
}

static void gate_opened_early_is_not_noticed(void **state)
{
    (void)state;
    vst_gate_open(gate);
    script_give(below, "x", 1);
    script_read(below, VST_IO_EOF);
    assert_int_equal(read_some(), VST_IO_OK);
    assert_int_equal(read_some(), VST_IO_EOF);
}

static void failure_below_is_kept_back_too(void **state)
{
    (void)state;
    script_read(below, VST_IO_FAIL);
    assert_int_equal(read_some(), VST_IO_AGAIN);
    vst_gate_open(gate);
    assert_int_equal(read_some(), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(gate)->code, SCRIPT_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(bytes_pass_a_closed_gate, make, drop),
        VST_TEST_WITH(end_is_kept_back_without_watching_it, make, drop),
        VST_TEST_WITH(opening_lets_the_end_through, make, drop),
        VST_TEST_WITH(gate_opened_early_is_not_noticed, make, drop),
        VST_TEST_WITH(failure_below_is_kept_back_too, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

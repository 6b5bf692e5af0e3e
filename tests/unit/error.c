/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error type: codes, first error wins, where it happened.
 */
#include "test.h"

#include "core/error.h"
#include "core/reasons.h"
#include "core/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void first_error_wins(void **state)
{
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_error_set(&err, VST_ERR_DAMAGED, "record %d", 7), -1);
    assert_int_equal(vst_error_set(&err, VST_ERR_LOST, "later"), -1);
    assert_int_equal(err.code, VST_ERR_DAMAGED);
    assert_string_equal(err.text, "record 7");
}

static void every_code_has_a_name_and_an_exit_code(void **state)
{
    (void)state;
#define CHECK(name, text, exit, meaning)                      \
    assert_string_equal(vst_code_name(VST_ERR_##name), text); \
    assert_int_equal(vst_code_exit(VST_ERR_##name), exit);
    VST_CODES(CHECK)
#undef CHECK
    assert_non_null(vst_code_name((enum vst_code)9999));
}

/* Messages carry names and paths, and bytes of logs. */
static void text_is_utf8_wherever_it_was_cut(void **state)
{
    struct vst_error err = {0};
    char long_path[sizeof(err.text)] = "/";

    (void)state;
    for (size_t i = 1; i + 2 < sizeof(long_path); i += 2)
        memcpy(long_path + i, "\xc3\xbc", 2);
    for (int more = 0; more < 2; more++) {
        err = (struct vst_error){0};
        vst_error_set(&err, VST_ERR_NOT_FOUND, "%*s%s%s", 1 + more, "", long_path, long_path);
        assert_true(vst_utf8_check(err.text));
        assert_in_range(strlen(err.text), sizeof(err.text) - 2, sizeof(err.text) - 1);
        vst_error_prefix(&err, "a");
        assert_true(vst_utf8_check(err.text));
    }
    err = (struct vst_error){0};
    vst_error_set(&err, VST_ERR_DRIVER, "\xfc and \xc3\xbc and \xe2\x82\xac and \xe2\x82");
    assert_string_equal(err.text, "? and \xc3\xbc and \xe2\x82\xac and ");
    err = (struct vst_error){0};
    vst_error_set(&err, VST_ERR_DRIVER, "\xe2\x82 \xed\xa0\x80.");
    assert_string_equal(err.text, "?? ???.");
}

static void system_error_follows_from_the_number(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_error_system(&err, ENOSPC, "write");
    assert_int_equal(err.code, VST_ERR_SYSTEM);
    assert_int_equal(err.system, ENOSPC);
    assert_non_null(strstr(err.text, strerror(ENOSPC)));
}

static void where_fills_only_what_is_empty(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_error_set(&err, VST_ERR_DRIVER, "load failed");
    vst_error_where(&err, VST_SIDE_QEMU, "load");
    vst_error_where(&err, VST_SIDE_HOST, "restore");
    assert_int_equal(err.side, VST_SIDE_QEMU);
    assert_string_equal(err.phase, "load");
}

static void every_reason_that_fits_is_told_whole_and_the_others_are_counted(void **state)
{
    struct vst_reasons reasons = {0};
    struct vst_error err = {0};
    char wide[VST_REASONS_MAX], expected[sizeof(err.text)];

    (void)state;
    assert_int_equal(vst_reasons_tell(&reasons, VST_ERR_ACCESS, &err), 0);
    assert_int_equal(err.code, VST_ERR_OK);
    memset(wide, 'w', sizeof(wide));
    wide[sizeof(wide) - 1] = '\0';
    vst_reasons_add(&reasons, "one %d", 1);
    vst_reasons_add(&reasons, "%s", wide);
    wide[sizeof(wide) - sizeof("one 1\n")] = '\0'; /* as much as there is room for */
    vst_reasons_add(&reasons, "%sw", wide);
    vst_reasons_add(&reasons, "%s", wide);
    assert_int_equal(vst_reasons_tell(&reasons, VST_ERR_ACCESS, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    snprintf(expected, sizeof(expected), "one 1\n%s\nand 2 more", wide);
    assert_string_equal(err.text, expected);
}

static void one_reason_that_is_too_long_is_told_as_far_as_it_goes(void **state)
{
    struct vst_reasons reasons = {0};
    struct vst_error err = {0};

    (void)state;
    vst_reasons_add(&reasons, "%0*d", VST_REASONS_MAX, 7);
    vst_reasons_add(&reasons, "another");
    assert_int_equal(vst_reasons_tell(&reasons, VST_ERR_ACCESS, &err), -1);
    assert_memory_equal(err.text, "0000000", 7);
    assert_string_equal(err.text + VST_REASONS_MAX - 1, "\nand 1 more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(first_error_wins),
        VST_TEST(text_is_utf8_wherever_it_was_cut),
        VST_TEST(every_code_has_a_name_and_an_exit_code),
        VST_TEST(system_error_follows_from_the_number),
        VST_TEST(where_fills_only_what_is_empty),
        VST_TEST(every_reason_that_fits_is_told_whole_and_the_others_are_counted),
        VST_TEST(one_reason_that_is_too_long_is_told_as_far_as_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

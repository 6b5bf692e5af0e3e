/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the command makes of numbers, and of text that others have written.
 */
#include <string.h>

#include "test.h"
#include "tools/output.h"

static void assert_cleaned(const char *text, const char *expected)
{
    char copy[64] = "";

    strncpy(copy, text, sizeof(copy) - 1);
    text_clean(copy);
    assert_string_equal(copy, expected);
}

static void good_text_stays_as_it_is(void **state)
{
    static const char *const good[] = {"", "plain, and\nmore",
                                       "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7"};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_cleaned(good[i], good[i]);
}

static void what_a_terminal_obeys_is_replaced(void **state)
{
    (void)state;
    assert_cleaned("\033[2J\a\r\x7f", "?[2J???");
    assert_cleaned("a\xc2\x9b"
                   "b",
                   "a??b"); /* CSI as one control character of C1 */
}

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    assert_cleaned("\xff\xfe", "??");
    assert_cleaned("cut \xe2\x82", "cut ??");
    assert_cleaned("\xc0\xaf", "??");           /* longer than need be */
    assert_cleaned("\xed\xa0\x80", "???");      /* half of a surrogate pair */
    assert_cleaned("\xf4\x90\x80\x80", "????"); /* beyond the last character */
    assert_cleaned("\xe2\x28\xa1", "?(?");
}

static void sizes_have_four_digits_at_most(void **state)
{
    (void)state;
    assert_string_equal(text_size(0).s, "0 B");
    assert_string_equal(text_size(1023).s, "1023 B");
    assert_string_equal(text_size(1024).s, "1.0 KiB");
    assert_string_equal(text_size(1536).s, "1.5 KiB");
    assert_string_equal(text_size(1024 * 1024 - 1).s, "1.0 MiB");
    assert_string_equal(text_size(UINT64_C(1) << 30).s, "1.0 GiB");
    assert_string_equal(text_size(UINT64_MAX).s, "16.0 EiB");
}

static void durations_are_a_clock(void **state)
{
    (void)state;
    assert_string_equal(text_duration(0).s, "0:00");
    assert_string_equal(text_duration(61999999).s, "1:01");
    assert_string_equal(text_duration(INT64_C(3600) * 1000000).s, "1:00:00");
    assert_string_equal(text_seconds(1234567).s, "1.23 s");
}

static void times_are_short_when_they_are_today(void **state)
{
    (void)state;
    assert_int_equal(strlen(text_time_short(time(NULL)).s), strlen("12:34:56"));
    assert_int_equal(strlen(text_time_short(1).s), strlen("1970-01-01"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(good_text_stays_as_it_is),    VST_TEST(what_a_terminal_obeys_is_replaced),
        VST_TEST(what_is_no_utf8_is_replaced), VST_TEST(sizes_have_four_digits_at_most),
        VST_TEST(durations_are_a_clock),       VST_TEST(times_are_short_when_they_are_today),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

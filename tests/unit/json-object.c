/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Objects of JSON that no table describes: what is not there, or is of another kind, is none.
 */
#include <json-c/json.h>

#include "core/json.h"
#include "test.h"

static struct json_object *object, *list;

static int make(void **state)
{
    (void)state;
    object =
        json_tokener_parse("{\"s\":\"text\",\"n\":18446744073709551615,\"less\":-1,\"no\":null}");
    list = json_tokener_parse("[\"s\"]");
    return object && list ? 0 : -1;
}

static int drop(void **state)
{
    (void)state;
    json_object_put(object);
    json_object_put(list);
    return 0;
}

static void strings_are_found_or_there_is_none(void **state)
{
    (void)state;
    assert_string_equal(vst_json_string(object, "s"), "text");
    assert_null(vst_json_string(object, "n"));
    assert_null(vst_json_string(object, "no"));
    assert_null(vst_json_string(object, "other"));
    assert_null(vst_json_string(list, "s"));
    assert_null(vst_json_string(NULL, "s"));
    assert_true(vst_json_says(object, "s", "text"));
    assert_false(vst_json_says(object, "s", "tex"));
    assert_false(vst_json_says(object, "other", ""));
}

static void numbers_are_found_or_zero(void **state)
{
    (void)state;
    assert_int_equal(vst_json_number(object, "n"), UINT64_MAX);
    assert_int_equal(vst_json_number(object, "less"), 0);
    assert_int_equal(vst_json_number(object, "no"), 0);
    assert_int_equal(vst_json_number(object, "other"), 0);
    assert_int_equal(vst_json_number(list, "n"), 0);
    assert_int_equal(vst_json_number(NULL, "n"), 0);
}

/* A leak would be found by the sanitizer. */
static void member_is_taken_whatever_comes_of_it(void **state)
{
    struct json_object *outer = vst_json_object("inner", vst_json_object("a", NULL));

    (void)state;
    assert_null(outer);
    outer = vst_json_object("inner", json_object_new_string("x"));
    assert_int_equal(vst_json_add(outer, "more", json_object_new_int(7)), 0);
    assert_int_equal(vst_json_add(outer, "nothing", NULL), -1);
    assert_int_equal(vst_json_add(NULL, "more", json_object_new_int(7)), -1);
    assert_string_equal(json_object_to_json_string_ext(outer, JSON_C_TO_STRING_PLAIN),
                        "{\"inner\":\"x\",\"more\":7}");
    json_object_put(outer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(strings_are_found_or_there_is_none, make, drop),
        VST_TEST_WITH(numbers_are_found_or_zero, make, drop),
        VST_TEST(member_is_taken_whatever_comes_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions: what is read comes back, and everything that is wrong is named.
 */
#include "test.h"

#include "core/definition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST "\"name\":\"g1\",\"machine\":\"pc\",\"accel\":\"tcg\",\"memory-mib\":64,\"vcpus\":1"
#define UUID "12345678-9abc-4def-8123-456789abcdef"

static struct vst_definition *parse(const char *text)
{
    struct vst_error err = {0};
    struct vst_definition *def = vst_definition_parse(text, strlen(text), &err);

    if (!def)
        print_error("%s\n", err.text);
    assert_non_null(def);
    return def;
}

static void refuse(const char *text, size_t length, const char *complaint)
{
    struct vst_error err = {0};
    struct vst_definition *def = vst_definition_parse(text, length, &err);

    assert_null(def);
    assert_int_equal(err.code, VST_ERR_INVALID);
    if (!strstr(err.text, complaint))
        fail_msg("%s\n  gives  %s\n  and not  %s", text, err.text, complaint);
}

/* `text` instead of a member of the least definition, or added to it. */
static void refuse_member(const char *name, const char *value, const char *complaint)
{
    static const char *const least[][2] = {
        {"name", "\"g1\""},   {"machine", "\"pc\""}, {"accel", "\"tcg\""},
        {"memory-mib", "64"}, {"vcpus", "1"},
    };
    char text[1024];
    int used = snprintf(text, sizeof(text), "{\"%s\":%s", name, value);

    for (size_t i = 0; i < sizeof(least) / sizeof(least[0]); i++)
        if (strcmp(least[i][0], name) != 0)
            used += snprintf(text + used, sizeof(text) - (size_t)used, ",\"%s\":%s", least[i][0],
                             least[i][1]);
    snprintf(text + used, sizeof(text) - (size_t)used, "}");
    refuse(text, strlen(text), complaint);
}

static void every_member_comes_back(void **state)
{
    static const char canonical[] =
        "{\"name\":\"g1\",\"uuid\":\"" UUID "\",\"machine\":\"pc\",\"accel\":[\"kvm\",\"tcg\"],"
        "\"cpu\":\"max,-x2apic\",\"memory-mib\":64,\"vcpus\":2,\"firmware\":\"/f\","
        "\"kernel\":\"/k\",\"initrd\":\"/i\",\"append\":\"mode=P a,b\","
        "\"disks\":[{\"name\":\"root\",\"file\":\"/d,1\",\"format\":\"qcow2\",\"bus\":\"ide\","
        "\"readonly\":true}],\"console\":{\"log\":\"/l\"},\"args\":[\"-device\",\"\"]}";
    struct vst_definition *def = parse(canonical);
    char *text = vst_definition_to_json(def, NULL);

    (void)state;
    assert_string_equal(text, canonical);
    assert_string_equal(def->accels[1], "tcg");
    assert_null(def->accels[2]);
    assert_true(def->disks[0]->readonly);
    assert_null(def->disks[1]);
    assert_string_equal(def->console->log, "/l");
    free(text);
    vst_definition_free(&def);
    assert_null(def);
}

static void what_is_absent_has_its_default(void **state)
{
    struct vst_definition *def =
        parse(" {" LEAST ",\"disks\":[{\"name\":\"d\",\"file\":\"/d\",\"format\":\"raw\"}]} \n");

    (void)state;
    assert_string_equal(def->accels[0], "tcg");
    assert_null(def->accels[1]);
    assert_string_equal(def->disks[0]->bus, "virtio");
    assert_false(def->disks[0]->readonly);
    assert_null(def->console);
    assert_null(def->kernel);
    assert_null(def->args);
    vst_definition_free(&def);
}

static void absent_and_empty_lists_are_the_same_in_json(void **state)
{
    struct vst_definition *def = parse("{" LEAST ",\"uuid\":\"" UUID "\",\"disks\":[],"
                                       "\"args\":[],\"console\":{}}");
    char *text = vst_definition_to_json(def, NULL);

    (void)state;
    assert_non_null(def->console);
    assert_null(strstr(text, "disks"));
    assert_null(strstr(text, "args"));
    assert_non_null(strstr(text, "\"console\":{}"));
    free(text);
    vst_definition_free(&def);
}

static void a_uuid_is_made_when_absent_and_never_twice(void **state)
{
    struct vst_definition *one = parse("{" LEAST "}"), *two = parse("{" LEAST "}");

    (void)state;
    assert_int_equal(strlen(one->uuid), 36);
    assert_int_equal(one->uuid[14], '4');
    assert_non_null(strchr("89ab", one->uuid[19]));
    assert_string_not_equal(one->uuid, two->uuid);
    vst_definition_free(&one);
    vst_definition_free(&two);
}

static void a_uuid_becomes_lower_case(void **state)
{
    struct vst_definition *def =
        parse("{" LEAST ",\"uuid\":\"12345678-9ABC-4DEF-8123-456789ABCDEF\"}");

    (void)state;
    assert_string_equal(def->uuid, UUID);
    vst_definition_free(&def);
}

static void unknown_members_are_named_with_their_path(void **state)
{
    static const char disks[] = "[{\"name\":\"a\",\"file\":\"/a\",\"format\":\"raw\"},"
                                "{\"name\":\"b\",\"file\":\"/b\",\"formt\":\"raw\"}]";

    (void)state;
    refuse_member("memroy-mib", "64",
                  "definition: memroy-mib: unknown member; did you mean `memory-mib`?");
    refuse_member("disks", disks,
                  "definition: disks[1].formt: unknown member; did you mean `format`?");
    refuse_member("console", "{\"file\":\"/x\"}", "console.file: unknown member");
    refuse_member("a\\u001b[31mb", "1", "definition: a?[31mb: unknown member");
    refuse_member("", "1", "unknown member");
}

static void missing_members_are_named(void **state)
{
    (void)state;
    refuse("{}", 2, "definition: name: missing");
    refuse_member("disks", "[{\"name\":\"a\",\"file\":\"/a\"}]", "disks[0].format: missing");
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    refuse_member("name", "7", "name: must be a string");
    refuse_member("name", "null", "name: must be a string");
    refuse_member("name", "\"a\\u0000b\"", "name: must not contain a zero byte");
    refuse_member("memory-mib", "\"64\"", "memory-mib: must be a whole number");
    refuse_member("memory-mib", "64.0", "memory-mib: must be a whole number");
    refuse_member("disks", "{}", "disks: must be a list");
    refuse_member("disks", "[7]", "disks[0]: must be an object");
    refuse_member("console", "\"/log\"", "console: must be an object");
    refuse_member("accel", "[\"tcg\",7]", "accel[1]: must be a string");
    refuse_member("accel", "7", "accel: must be a string");
    refuse_member("args", "\"-S\"", "args: must be a list");
    refuse_member("disks", "[{\"name\":\"a\",\"file\":\"/a\",\"format\":\"raw\",\"readonly\":1}]",
                  "disks[0].readonly: must be true or false");
}

static void numbers_have_their_range(void **state)
{
    (void)state;
    refuse_member("memory-mib", "0", "memory-mib: must be from 1 to 16777216, not 0");
    refuse_member("memory-mib", "-1", "memory-mib: must be from 1 to 16777216, not -1");
    refuse_member("memory-mib", "16777217", "memory-mib: must be from 1 to");
    refuse_member("memory-mib", "18446744073709551615", "memory-mib: must be from 1 to");
    refuse_member("memory-mib", "99999999999999999999999", "memory-mib: must be");
    refuse_member("vcpus", "513", "vcpus: must be from 1 to 512, not 513");
}

static void names_that_make_bad_directories_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".g", "-g", "a/b", "a b", "\xc3\xa4", "a\n"};
    char long_name[VST_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(vst_name_check(bad[i], NULL), -1);
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(vst_name_check(long_name, NULL), -1);
    long_name[VST_NAME_MAX] = '\0';
    assert_int_equal(vst_name_check(long_name, NULL), 0);
    assert_int_equal(vst_name_check("G_1.a-b", NULL), 0);
    refuse_member("name", "\"../x\"", "name: must be 1 to 63 of");
    refuse_member("name", "\"" UUID "\"", "name: must not have the form of a UUID");
}

static void strings_have_their_rules(void **state)
{
    (void)state;
    refuse_member("uuid", "\"1234\"", "uuid: must be a UUID");
    refuse_member("uuid", "\"12345678-9abc-4def-8123-456789abcdeg\"", "uuid: must be a UUID");
    refuse_member("uuid", "\"" UUID "0\"", "uuid: must be a UUID");
    refuse_member("machine", "\"pc,acpi=off\"", "options go into args");
    refuse_member("accel", "[]", "accel: must not be empty");
    refuse_member("accel", "\"tgc\"", "accel: must be one of `tcg`, `kvm`, not `tgc`");
    refuse_member("kernel", "\"guest.elf\"", "kernel: must be an absolute path, not `guest.elf`");
    refuse_member("firmware", "\"a/b\"", "firmware: must be an absolute path, or the name");
    refuse_member("append", "\"quiet\"", "append: means nothing without `kernel`");
    refuse_member("disks", "[{\"name\":\"0\",\"file\":\"/a\",\"format\":\"raw\"}]",
                  "disks[0].name: must be 1 to 31");
    refuse_member("disks",
                  "[{\"name\":\"a\",\"file\":\"/a\",\"format\":\"raw\"},"
                  "{\"name\":\"a\",\"file\":\"/b\",\"format\":\"raw\"}]",
                  "disks[1].name: `a` is the name of disks[0] already");
}

static void bad_syntax_is_an_error_with_its_place(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "7",
        "[]",
        "\"x\"",
        "{",
        "{" LEAST,
        "{" LEAST ",}",
        "{" LEAST "} {}",
        "{" LEAST "}x",
        "{'name':'g'}",
        "{\"a\":\"\xff\"}",
        "{" LEAST "} // x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(bad[i], strlen(bad[i]), "definition: not JSON at line 1, column ");
    refuse("{\n \"name\" 7}", 12, "line 2, column 9");
    refuse("{\0}", 3, "line 1, column 2: a zero byte");
}

static void every_truncation_is_refused(void **state)
{
    static const char text[] = "{" LEAST ",\"disks\":[{\"name\":\"a\",\"file\":\"/a\","
                               "\"format\":\"raw\"}],\"args\":[\"-S\"]}";

    (void)state;
    for (size_t length = 0; length < sizeof(text) - 1; length++)
        refuse(text, length, "definition: not JSON");
}

/* Of which a few bytes of text each would become hundreds in memory. */
static void refuse_values(int count)
{
    char *text = malloc(64 + strlen(LEAST) + 3 * (size_t)count), *at = text;

    at += sprintf(at, "{" LEAST ",\"args\":[");
    for (int i = 0; i < count; i++)
        at += sprintf(at, "%s{}", i ? "," : "");
    at += sprintf(at, "]}");
    refuse(text, (size_t)(at - text), "more than the 4096 values allowed");
    free(text);
}

static void size_and_depth_and_values_are_bounded(void **state)
{
    char *large = malloc(VST_DEFINITION_MAX + 1);
    char deep[2048];
    size_t used = (size_t)snprintf(deep, sizeof(deep), "{" LEAST ",\"args\":");

    (void)state;
    memset(large, ' ', VST_DEFINITION_MAX + 1);
    refuse(large, VST_DEFINITION_MAX + 1, "bytes, the most allowed is 1048576");
    free(large);
    memset(deep + used, '[', 500);
    memset(deep + used + 500, ']', 500);
    deep[used + 1000] = '}';
    refuse(deep, used + 1001, "nesting too deep");
    refuse_values(4096);
}

static void a_guest_with_another_name_has_another_uuid(void **state)
{
    struct vst_definition *def = parse("{" LEAST ",\"uuid\":\"" UUID "\"}");
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_definition_rename(def, "g2", NULL), 0);
    assert_string_equal(def->name, "g2");
    assert_string_not_equal(def->uuid, UUID);
    assert_int_equal(vst_definition_rename(def, "a/b", &err), -1);
    assert_int_equal(err.code, VST_ERR_INVALID);
    assert_string_equal(def->name, "g2");
    vst_definition_free(&def);
}

static void refused_raw_arguments_name_the_role_that_may_give_them(void **state)
{
    char *args[] = {(char *)"-S", NULL};
    const struct vst_definition with = {.name = (char *)"g", .args = args};
    const struct vst_definition without = {.name = (char *)"g"};
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_definition_check_no_args(&without, NULL), 0);
    assert_int_equal(vst_definition_check_no_args(&with, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    assert_non_null(strstr(err.text, "only the role admin may give"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_member_comes_back),
        VST_TEST(what_is_absent_has_its_default),
        VST_TEST(absent_and_empty_lists_are_the_same_in_json),
        VST_TEST(a_uuid_is_made_when_absent_and_never_twice),
        VST_TEST(a_uuid_becomes_lower_case),
        VST_TEST(unknown_members_are_named_with_their_path),
        VST_TEST(missing_members_are_named),
        VST_TEST(wrong_types_are_named),
        VST_TEST(numbers_have_their_range),
        VST_TEST(names_that_make_bad_directories_are_refused),
        VST_TEST(strings_have_their_rules),
        VST_TEST(bad_syntax_is_an_error_with_its_place),
        VST_TEST(every_truncation_is_refused),
        VST_TEST(size_and_depth_and_values_are_bounded),
        VST_TEST(a_guest_with_another_name_has_another_uuid),
        VST_TEST(refused_raw_arguments_name_the_role_that_may_give_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

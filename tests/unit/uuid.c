/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is a UUID, and what is not.
 */
#include "core/uuid.h"

#include <string.h>

#include "test.h"

static void both_cases_are_read(void **state)
{
    static const unsigned char expected[VST_UUID_BYTES] = {
        0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
        0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    };
    unsigned char uuid[VST_UUID_BYTES];

    (void)state;
    assert_int_equal(vst_uuid_parse("00112233-4455-6677-8899-aabbccddeeff", uuid), 0);
    assert_memory_equal(uuid, expected, sizeof(uuid));
    memset(uuid, 0, sizeof(uuid));
    assert_int_equal(vst_uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", uuid), 0);
    assert_memory_equal(uuid, expected, sizeof(uuid));
}

static void nothing_else_is_read(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "00112233-4455-6677-8899-aabbccddeefg",
        "0011223-34455-6677-8899-aabbccddeeff",
        "----00112233445566778899aabbccddeeff",
        "00112233445566778899aabbccddeeff----",
        "00112233445566778899aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddee 1",
        "00112233-4455-6677-8899-aabbccddee+1",
        "00112233-4455-6677-8899-aabbccdd-1ff",
        " 0112233-4455-6677-8899-aabbccddeeff",
        "0x112233-4455-6677-8899-aabbccddeeff",
    };
    unsigned char uuid[VST_UUID_BYTES] = {7};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (vst_uuid_parse(bad[i], uuid) == 0)
            fail_msg("`%s` was read", bad[i]);
    assert_int_equal(uuid[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_cases_are_read),
        cmocka_unit_test(nothing_else_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

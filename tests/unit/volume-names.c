/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of volumes and of pools: one stays in its pool, whatever it says and whatever it is a link
 * to.
 */
#include <string.h>
#include <unistd.h>

#include "volumes.h"

/* ---- names ---- */

static void a_name_cannot_leave_its_pool(void **state)
{
    static const char *const names[] = {
        "",
        "p",
        "p/",
        "/p/x",
        "p/.",
        "p/..",
        "p/../other/x",
        "p/a/b",
        "p//x",
        "../p/x",
        "p/.hidden",
        "p/\n",
        "p/\x7f",
        "p/\xc3\x28",
        "p/\xed\xa0\x80",
        "p/\xc0\xaf",
        "p/\xf5\x80\x80\x80",
        "p/x\xc2\x85y",
        "p/x\xe2\x82",
    };

    (void)state;
    volumes_put("../other/x", "secret");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        enum vst_code codes[] = {volumes_upload(names[i], "text", NULL),
                                 volumes_download(names[i], NULL), volumes_delete(names[i])};

        for (int j = 0; j < 3; j++)
            if (codes[j] != VST_ERR_INVALID && codes[j] != VST_ERR_NOT_FOUND)
                fail_msg("`%s`: %s", names[i], vst_code_name(codes[j]));
        assert_string_equal(volumes.got, "");
    }
    volumes_expect_entries(0);
    volumes_expect_file("../other/x", "secret");
}

static void a_name_may_be_long_and_of_any_script(void **state)
{
    char name[300] = "p/";

    (void)state;
    memset(name + 2, 'n', 255);
    assert_int_equal(volumes_upload(name, "long", NULL), VST_ERR_OK);
    assert_int_equal(volumes_download(name, NULL), VST_ERR_OK);
    name[257] = 'n';
    assert_int_equal(volumes_upload(name, "too long", NULL), VST_ERR_INVALID);
    assert_int_equal(volumes_upload("p/Gr\xc3\xb6\xc3\x9f"
                                    "e \xe7\xa3\x81 \xf0\x9f\x92\xbe -x",
                                    "x", NULL),
                     VST_ERR_OK);
    volumes_expect_entries(2);
    assert_int_equal(volumes_list("p"), VST_ERR_OK);
    assert_non_null(strstr(volumes.listed, "p/Gr\xc3\xb6\xc3\x9f"
                                           "e \xe7\xa3\x81 \xf0\x9f\x92\xbe -x 1\n"));
}

static void nothing_is_followed(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    static const char *const names[] = {"p/link", "p/dangling", "p/directory", "p/fifo"};

    (void)state;
    volumes_put("../other/x", "secret");
    assert_int_equal(symlink("../other/x", volumes_path("link")), 0);
    assert_int_equal(symlink("../other/new", volumes_path("dangling")), 0);
    assert_int_equal(mkdir(volumes_path("directory"), 0700), 0);
    assert_int_equal(mkfifo(volumes_path("fifo"), 0700), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(volumes_upload(names[i], "text", NULL), VST_ERR_INVALID);
        assert_int_equal(volumes_upload(names[i], "text", &in_place), VST_ERR_INVALID);
        assert_int_equal(volumes_download(names[i], NULL), VST_ERR_INVALID);
        assert_int_equal(volumes_delete(names[i]), VST_ERR_INVALID);
    }
    volumes_expect_entries(4);
    volumes_expect_file("../other/x", "secret");
    assert_int_equal(access(volumes_path("../other/new"), F_OK), -1);
}

static void pools_are_told_when_one_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(volumes_upload("nowhere/x", "text", NULL), VST_ERR_NOT_FOUND);
    assert_string_equal(volumes.err.text, "no pool `nowhere`; there are: other, p");
    assert_int_equal(rmdir(volumes.pool), 0);
    assert_int_equal(volumes_upload("p/x", "text", NULL), VST_ERR_NOT_FOUND);
    assert_non_null(strstr(volumes.err.text, "directory of pool p"));
    assert_int_equal(volumes.err.side, VST_SIDE_HOST);
    assert_int_equal(mkdir(volumes.pool, 0700), 0);
}

static void pools_of_a_uri_are_checked(void **state)
{
    static const char *const uris[] = {
        "test:///?pool.=/tmp",     "test:///?pool.a=tmp", "test:///?pool.a=/tmp&pool.a=/tmp",
        "test:///?pool.../x=/tmp", "test:///?pools=/tmp",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(*uris); i++) {
        struct outcome outcome = {0};

        vst_conn_open(volumes.app.base, uris[i], NULL, outcome_conn(&outcome));
        assert_int_equal(volumes_await(&outcome), VST_ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VOLUME_TEST(a_name_cannot_leave_its_pool),
        VOLUME_TEST(a_name_may_be_long_and_of_any_script),
        VOLUME_TEST(nothing_is_followed),
        VOLUME_TEST(pools_are_told_when_one_is_unknown),
        VOLUME_TEST(pools_of_a_uri_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

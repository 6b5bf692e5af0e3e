/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes of a connection in this process: what is uploaded is downloaded, whole or in parts, and
 * whoever comes in between or goes leaves the old volume or the new one.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "volumes.h"

/* ---- whole volumes ---- */

static void what_is_uploaded_is_downloaded(void **state)
{
    (void)state;
    assert_int_equal(volumes_upload("p/one", "some text", NULL), VST_ERR_OK);
    volumes_expect_file("one", "some text");
    volumes_expect_entries(1);
    assert_int_equal(volumes_stat("one").st_mode & 07777, 0600);
    assert_int_equal(volumes_download("p/one", NULL), VST_ERR_OK);
    assert_string_equal(volumes.got, "some text");
    assert_int_equal(volumes.total, 9);
}

static void an_empty_volume_is_one(void **state)
{
    (void)state;
    assert_int_equal(volumes_upload("p/empty", "", NULL), VST_ERR_OK);
    volumes_expect_file("empty", "");
    assert_int_equal(volumes_download("p/empty", NULL), VST_ERR_OK);
    assert_string_equal(volumes.got, "");
}

static void a_replaced_volume_keeps_owner_and_mode(void **state)
{
    (void)state;
    volumes_put("one", "old");
    assert_int_equal(chmod(volumes_path("one"), 0640), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(volumes_path("one"), 12345, 23456), 0);
    assert_int_equal(volumes_upload("p/one", "new", NULL), VST_ERR_OK);
    volumes_expect_file("one", "new");
    assert_int_equal(volumes_stat("one").st_mode & 07777, 0640);
    if (geteuid() == 0) {
        assert_int_equal(volumes_stat("one").st_uid, 12345);
        assert_int_equal(volumes_stat("one").st_gid, 23456);
    }
}

static void list_has_every_volume_and_nothing_else(void **state)
{
    (void)state;
    volumes_put("b", "12");
    volumes_put("a", "1");
    volumes_put(".hidden", "");
    volumes_put("with\nline", "");
    assert_int_equal(mkdir(volumes_path("directory"), 0700), 0);
    assert_int_equal(mkfifo(volumes_path("fifo"), 0700), 0);
    assert_int_equal(symlink("a", volumes_path("link")), 0);
    volumes_put("../other/c", "123");
    assert_int_equal(volumes_list(NULL), VST_ERR_OK);
    assert_string_equal(volumes.listed, "other/c 3\np/a 1\np/b 2\n");
    assert_int_equal(volumes_list("p"), VST_ERR_OK);
    assert_string_equal(volumes.listed, "p/a 1\np/b 2\n");
    assert_int_equal(volumes_list("q"), VST_ERR_NOT_FOUND);
    assert_non_null(strstr(volumes.err.text, "there are: other, p"));
}

/* It hides no other; alone it is an error. */
static void pool_that_is_not_there_has_a_place_in_the_list(void **state)
{
    (void)state;
    volumes_put("a", "1");
    assert_int_equal(rmdir(volumes.other), 0);
    assert_int_equal(volumes_list(NULL), VST_ERR_OK);
    assert_string_equal(volumes.listed, "other not-found 2\np/a 1\n");
    assert_int_equal(volumes_list("other"), VST_ERR_NOT_FOUND);
    assert_int_equal(mkdir(volumes.other, 0700), 0);
    assert_int_equal(volumes_list(NULL), VST_ERR_OK);
    assert_string_equal(volumes.listed, "p/a 1\n");
}

static void a_deleted_volume_is_gone(void **state)
{
    (void)state;
    volumes_put("one", "text");
    assert_int_equal(volumes_delete("p/one"), VST_ERR_OK);
    volumes_expect_entries(0);
    assert_int_equal(volumes_delete("p/one"), VST_ERR_NOT_FOUND);
    assert_int_equal(volumes_download("p/one", NULL), VST_ERR_NOT_FOUND);
}

/* ---- parts ---- */

static void parts_are_read(void **state)
{
    static const struct {
        struct vst_volume_download_options opt;
        const char *text; /* NULL: there is no such part */
    } parts[] = {
        {{.offset = 0}, "0123456789"},
        {{.offset = 3}, "3456789"},
        {{.offset = 10}, ""},
        {{.offset = 11}, NULL},
        {{.offset = UINT64_MAX}, NULL},
        {{.offset = 3, .has_length = true, .length = 4}, "3456"},
        {{.offset = 0, .has_length = true, .length = 10}, "0123456789"},
        {{.offset = 9, .has_length = true, .length = 1}, "9"},
        {{.offset = 3, .has_length = true, .length = 0}, ""},
        {{.offset = 10, .has_length = true, .length = 0}, ""},
        {{.offset = 11, .has_length = true, .length = 0}, NULL},
        {{.offset = 0, .has_length = true, .length = 11}, NULL},
        {{.offset = 10, .has_length = true, .length = 1}, NULL},
        {{.offset = 1, .has_length = true, .length = UINT64_MAX}, NULL},
        {{.offset = 0, .has_length = true, .length = UINT64_MAX}, NULL},
    };

    (void)state;
    volumes_put("one", "0123456789");
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        assert_int_equal(volumes_download("p/one", &parts[i].opt),
                         parts[i].text ? VST_ERR_OK : VST_ERR_INVALID);
        assert_string_equal(volumes.got, parts[i].text ? parts[i].text : "");
    }
}

static void parts_are_written_in_place(void **state)
{
    struct vst_volume_upload_options opt = {.in_place = true, .offset = 3};
    ino_t before;

    (void)state;
    volumes_put("one", "0123456789");
    before = volumes_stat("one").st_ino;
    assert_int_equal(volumes_upload("p/one", "abc", &opt), VST_ERR_OK);
    volumes_expect_file("one", "012abc6789");
    opt.offset = 10;
    assert_int_equal(volumes_upload("p/one", "more", &opt), VST_ERR_OK);
    volumes_expect_file("one", "012abc6789more");
    opt.offset = 0;
    assert_int_equal(volumes_upload("p/one", "ZZ", &opt), VST_ERR_OK);
    volumes_expect_file("one", "ZZ2abc6789more");
    assert_int_equal(volumes_stat("one").st_ino, before);
    opt.offset = 15;
    assert_int_equal(volumes_upload("p/one", "x", &opt), VST_ERR_INVALID);
    assert_int_equal(volumes_upload("p/none", "x", &opt), VST_ERR_NOT_FOUND);
    opt.in_place = false;
    assert_int_equal(volumes_upload("p/one", "x", &opt), VST_ERR_INVALID);
    volumes_expect_entries(1);
}

static void a_length_that_was_told_is_kept_to(void **state)
{
    struct vst_volume_upload_options opt = {.has_length = true, .length = 4};

    (void)state;
    volumes_put("one", "old");
    assert_int_equal(volumes_upload("p/one", "123", &opt), VST_ERR_TRUNCATED);
    assert_int_equal(volumes_upload("p/one", "12345", &opt), VST_ERR_INVALID);
    volumes_expect_file("one", "old");
    assert_int_equal(volumes_upload("p/one", "1234", &opt), VST_ERR_OK);
    volumes_expect_file("one", "1234");
    opt.length = 0;
    assert_int_equal(volumes_upload("p/one", "1", &opt), VST_ERR_INVALID);
    volumes_expect_file("one", "1234");
    assert_int_equal(volumes_upload("p/one", "", &opt), VST_ERR_OK);
    volumes_expect_file("one", "");
    opt.has_length = false;
    assert_int_equal(volumes_upload("p/one", "12345", &opt), VST_ERR_OK);
    volumes_expect_entries(1);
}

/* ---- several at once ---- */

static void who_writes_in_place_is_alone(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    int fd;

    (void)state;
    volumes_put("one", "text");
    fd = open(volumes_path("one"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    assert_int_equal(volumes_download("p/one", NULL), VST_ERR_OK);
    assert_int_equal(volumes_upload("p/one", "x", &in_place), VST_ERR_BUSY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(volumes_download("p/one", NULL), VST_ERR_BUSY);
    close(fd);
    assert_int_equal(volumes_upload("p/one", "x", &in_place), VST_ERR_OK);
    volumes_expect_file("one", "xext");
}

static void the_upload_that_ends_last_stays(void **state)
{
    struct outcome a = {0}, b = {0};
    struct vst_stream *first = volumes_begin_upload("first", NULL, &a);
    struct vst_stream *second = volumes_begin_upload("second", NULL, &b);

    (void)state;
    vst_stream_finish(second);
    assert_int_equal(volumes_await(&b), VST_ERR_OK);
    volumes_expect_file("one", "second");
    vst_stream_finish(first);
    assert_int_equal(volumes_await(&a), VST_ERR_OK);
    volumes_expect_file("one", "first");
    volumes_expect_entries(1);
    vst_stream_free(&first);
    vst_stream_free(&second);
}

static void written_in_place_into_what_is_gone_is_an_error(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    struct outcome outcome = {0};
    struct vst_stream *stream;

    (void)state;
    volumes_put("one", "old");
    stream = volumes_begin_upload("new", &in_place, &outcome);
    assert_int_equal(volumes_delete("p/one"), VST_ERR_OK);
    vst_stream_finish(stream);
    assert_int_equal(volumes_await(&outcome), VST_ERR_STATE);
    vst_stream_free(&stream);
    volumes_expect_entries(0);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
    struct outcome outcome = {0};
    struct vst_stream *stream;

    (void)state;
    volumes_put("one", "old");
    stream = volumes_begin_upload("new", NULL, &outcome);
    vst_stream_abort(stream, NULL);
    assert_int_equal(volumes_await(&outcome), VST_ERR_CANCELLED);
    vst_stream_free(&stream);
    volumes_disconnect();
    volumes_expect_file("one", "old");
    volumes_expect_entries(1);
    volumes_connect();
}

static void operations_end_when_the_connection_is_closed(void **state)
{
    struct outcome outcomes[3] = {{0}};
    struct vst_volume_cb cb = volumes_list_cb(&outcomes[0]);
    struct vst_stream *stream = vst_stream_new(volumes.app.base, NULL);

    (void)state;
    volumes_put("one", "old");
    vst_volume_list(volumes.app.conn, NULL, &cb);
    vst_volume_upload(volumes.app.conn, "p/one", stream, NULL, outcome_done(&outcomes[1]));
    vst_volume_delete(volumes.app.conn, "p/gone", outcome_done(&outcomes[2]));
    vst_conn_close(&volumes.app.conn);
    while (!outcomes[0].released || !outcomes[1].released || !outcomes[2].released)
        assert_int_equal(event_base_loop(volumes.app.base, EVLOOP_ONCE), 0);
    /* What a thread has done already may come to its own end. */
    assert_int_equal(outcomes[1].err.code, VST_ERR_CANCELLED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].calls, 1);
    vst_stream_free(&stream);
    volumes_expect_file("one", "old");
    volumes_expect_entries(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VOLUME_TEST(what_is_uploaded_is_downloaded),
        VOLUME_TEST(an_empty_volume_is_one),
        VOLUME_TEST(a_replaced_volume_keeps_owner_and_mode),
        VOLUME_TEST(list_has_every_volume_and_nothing_else),
        VOLUME_TEST(pool_that_is_not_there_has_a_place_in_the_list),
        VOLUME_TEST(a_deleted_volume_is_gone),
        VOLUME_TEST(parts_are_read),
        VOLUME_TEST(parts_are_written_in_place),
        VOLUME_TEST(a_length_that_was_told_is_kept_to),
        VOLUME_TEST(who_writes_in_place_is_alone),
        VOLUME_TEST(the_upload_that_ends_last_stays),
        VOLUME_TEST(written_in_place_into_what_is_gone_is_an_error),
        VOLUME_TEST(an_aborted_upload_leaves_nothing),
        VOLUME_TEST(operations_end_when_the_connection_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

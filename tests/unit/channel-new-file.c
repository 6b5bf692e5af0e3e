/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new file appears whole or not at all, whatever the disk does.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void new_file_appears_whole_and_private_when_finished(void **state)
{
    struct vst_channel *ch = disk_new_file(0);
    struct stat st;

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, disk.bytes, SIZE), VST_IO_OK);
    assert_int_equal(access(disk.path, F_OK), -1);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    assert_int_equal(vst_channel_finish(ch), VST_IO_OK);
    disk_expect_file(disk.bytes, SIZE);
    vst_channel_free(&ch);
    stat(disk.path, &st);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(disk_entries(NULL), 1);
}

static void new_file_replaces_the_old_one_at_once(void **state)
{
    struct vst_channel *ch = disk_new_file(0);

    (void)state;
    disk_put_file("old", 3);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "newer", 5), VST_IO_OK);
    disk_expect_file("old", 3);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    disk_expect_file("newer", 5);
    vst_channel_free(&ch);
    assert_int_equal(disk_entries(NULL), 1);
}

static void empty_new_file_is_a_file(void **state)
{
    struct vst_channel *ch = disk_new_file(0);

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    disk_expect_file("", 0);
}

static void file_system_without_unnamed_files_gets_a_hidden_name(void **state)
{
    struct vst_channel *ch = disk_new_file(0);
    char name[256];

    (void)state;
    disk.unnamed_refused = true;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, disk.bytes, 1000), VST_IO_OK);
    assert_int_equal(disk_entries(name), 1);
    assert_int_equal(name[0], '.');
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    disk_expect_file(disk.bytes, 1000);
    assert_int_equal(disk_entries(NULL), 1);
}

/* How a new file can come to nothing. */
static void by_abort(struct vst_channel **ch)
{
    struct vst_error why = {.code = VST_ERR_CANCELLED, .text = "as told"};

    vst_channel_abort(*ch, &why);
    vst_channel_abort(*ch, &why);
    assert_int_equal(vst_channel_finish(*ch), VST_IO_FAIL);
    assert_string_equal(vst_channel_error(*ch)->text, "as told");
    vst_channel_free(ch);
}

static void by_destroy(struct vst_channel **ch)
{
    vst_channel_free(ch);
}

static void nothing_remains(void (*how)(struct vst_channel **), bool unnamed, bool opened,
                            size_t written)
{
    struct vst_channel *ch = disk_new_file(0);

    disk_put_file("old", 3);
    disk.unnamed_refused = !unnamed;
    vst_channel_open(ch);
    if (opened)
        assert_int_equal(vst_test_open(ch), VST_IO_OK);
    if (written)
        assert_int_equal(vst_test_send(ch, disk.bytes, written), VST_IO_OK);
    how(&ch);
    vst_worker_put(&disk.worker);
    disk_all_threads_end();
    assert_int_equal(disk_entries(NULL), 1);
    disk_expect_file("old", 3);
    disk.worker = vst_worker_get(disk.base, NULL);
    vst_worker_set_file_calls(disk.worker, &disk_calls);
}

static void unfinished_new_file_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        nothing_remains(by_abort, unnamed, false, 0);
        nothing_remains(by_abort, unnamed, true, 0);
        nothing_remains(by_abort, unnamed, true, SIZE);
        nothing_remains(by_destroy, unnamed, false, 0);
        nothing_remains(by_destroy, unnamed, true, SIZE);
    }
}

static void new_file_aborted_while_it_syncs_does_not_appear(void **state)
{
    struct vst_channel *ch = disk_new_file(0);

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    disk.links_left = disk.renames_left = disk.creates_left = 0;
    disk.gated = disk.gate_at_sync = true;
    assert_int_equal(vst_channel_finish(ch), VST_IO_AGAIN);
    disk_wait_until_stuck();
    by_abort(&ch);
    disk_all_threads_end();
    assert_int_equal(disk_entries(NULL), 0);
}

/* Sends and finishes with the n-th call of that kind failing; true if it came so far. */
static bool fails_at(atomic_int *left, int n, int number)
{
    struct vst_channel *ch = disk_new_file(0);
    enum vst_io io;
    bool reached;

    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    disk.fail_with = number;
    *left = n;
    io = vst_test_send(ch, disk.bytes, SIZE);
    if (io == VST_IO_OK)
        io = vst_test_finish(ch);
    reached = *left == 0;
    *left = 0;
    assert_int_equal(io, reached ? VST_IO_FAIL : VST_IO_OK);
    if (reached) {
        assert_int_equal(vst_channel_error(ch)->system, number);
        assert_non_null(strstr(vst_channel_error(ch)->text, disk.path));
        /* Nothing is left by the time that it is told, with or without a hidden name. */
        assert_int_equal(disk_entries(NULL), 1);
    }
    vst_channel_free(&ch);
    vst_worker_put(&disk.worker);
    disk_all_threads_end();
    disk.worker = vst_worker_get(disk.base, NULL);
    vst_worker_set_file_calls(disk.worker, &disk_calls);
    return reached;
}

static void every_write_and_sync_that_fails_leaves_the_old_file(void **state)
{
    static const int numbers[] = {ENOSPC, EIO};

    (void)state;
    for (int i = 0; i < 2; i++) {
        int writes = 1;

        disk.unnamed_refused = i;
        disk.shortest = SHORTEST;
        disk_put_file("old", 3);
        while (fails_at(&disk.writes_left, writes, numbers[i])) {
            disk_expect_file("old", 3);
            assert_int_equal(disk_entries(NULL), 1);
            writes++;
        }
        assert_true(writes > SIZE / SHORTEST);
        disk.shortest = 0;
        disk_expect_file(disk.bytes, SIZE);
        disk_put_file("old", 3);
        assert_true(fails_at(&disk.syncs_left, 1, numbers[i]));
        disk_expect_file("old", 3);
        /* The second is that of the directory: the file is there, but maybe not for long. */
        assert_true(fails_at(&disk.syncs_left, 2, numbers[i]));
        disk_expect_file(disk.bytes, SIZE);
        assert_false(fails_at(&disk.syncs_left, 3, numbers[i]));
    }
}

static void failed_naming_leaves_the_old_file(void **state)
{
    (void)state;
    disk_put_file("old", 3);
    assert_true(fails_at(&disk.links_left, 1, EMLINK));
    assert_true(fails_at(&disk.renames_left, 1, EIO));
    disk_expect_file("old", 3);
    assert_int_equal(disk_entries(NULL), 1);
}

static void name_that_is_taken_is_no_failure_as_there_are_others(void **state)
{
    (void)state;
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        atomic_int *left = unnamed ? &disk.links_left : &disk.creates_left;
        struct vst_channel *ch = disk_new_file(0);

        disk.unnamed_refused = !unnamed;
        disk.fail_with = EEXIST;
        *left = 1;
        assert_int_equal(vst_test_open(ch), VST_IO_OK);
        assert_int_equal(vst_test_send(ch, disk.bytes, SIZE), VST_IO_OK);
        assert_int_equal(vst_test_finish(ch), VST_IO_OK);
        assert_int_equal(*left, 0);
        vst_channel_free(&ch);
        disk_expect_file(disk.bytes, SIZE);
        assert_int_equal(disk_entries(NULL), 1);
    }
}

static void file_that_cannot_be_created_is_an_error_at_opening(void **state)
{
    struct vst_channel *ch = disk_new_file(0);

    (void)state;
    disk.unnamed_refused = true;
    disk.fail_with = EACCES;
    disk.creates_left = 1;
    assert_int_equal(vst_test_open(ch), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_ACCESS);
    vst_channel_free(&ch);
}

static void path_without_a_slash_is_in_this_directory(void **state)
{
    struct vst_channel *ch = vst_channel_new_file(disk.base, "image", 0, NULL);
    int before = open(".", O_PATH | O_CLOEXEC);

    (void)state;
    assert_int_equal(chdir(disk.dir), 0);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "here", 4), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_int_equal(fchdir(before), 0);
    close(before);
    disk_expect_file("here", 4);
}

static void existing_file_is_kept_when_told_so(void **state)
{
    struct vst_channel *ch = disk_new_file(VST_FILE_NO_REPLACE);

    (void)state;
    disk_put_file("old", 3);
    assert_int_equal(vst_test_open(ch), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_EXISTS);
    vst_channel_free(&ch);
    remove(disk.path);
    ch = disk_new_file(VST_FILE_NO_REPLACE);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "new", 3), VST_IO_OK);
    disk_put_file("meanwhile", 9);
    assert_int_equal(vst_test_finish(ch), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_EXISTS);
    vst_channel_free(&ch);
    disk_all_threads_end();
    disk_expect_file("meanwhile", 9);
    assert_int_equal(disk_entries(NULL), 1);
}

static enum vst_code code_of_opening(struct vst_channel *ch)
{
    enum vst_code code = VST_ERR_OK;

    if (vst_test_open(ch) == VST_IO_FAIL)
        code = vst_channel_error(ch)->code;
    vst_channel_free(&ch);
    return code;
}

static void only_regular_files_are_replaced(void **state)
{
    char other[80];

    (void)state;
    snprintf(other, sizeof(other), "%s/", disk.dir);
    assert_int_equal(code_of_opening(vst_channel_new_file(disk.base, other, 0, NULL)),
                     VST_ERR_INVALID);
    snprintf(other, sizeof(other), "%s/none/image", disk.dir);
    assert_int_equal(code_of_opening(vst_channel_new_file(disk.base, other, 0, NULL)),
                     VST_ERR_NOT_FOUND);
    assert_int_equal(code_of_opening(vst_channel_new_file(disk.base, "/dev/null", 0, NULL)),
                     VST_ERR_INVALID);
    assert_int_equal(symlink("/etc/passwd", disk.path), 0);
    assert_int_equal(code_of_opening(disk_new_file(0)), VST_ERR_INVALID);
    remove(disk.path);
    assert_int_equal(mkdir(disk.path, 0700), 0);
    assert_int_equal(code_of_opening(disk_new_file(0)), VST_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(new_file_appears_whole_and_private_when_finished, disk_make, disk_drop),
        VST_TEST_WITH(new_file_replaces_the_old_one_at_once, disk_make, disk_drop),
        VST_TEST_WITH(empty_new_file_is_a_file, disk_make, disk_drop),
        VST_TEST_WITH(file_system_without_unnamed_files_gets_a_hidden_name, disk_make, disk_drop),
        VST_TEST_WITH(unfinished_new_file_leaves_nothing_behind, disk_make, disk_drop),
        VST_TEST_WITH(new_file_aborted_while_it_syncs_does_not_appear, disk_make, disk_drop),
        VST_TEST_WITH(every_write_and_sync_that_fails_leaves_the_old_file, disk_make, disk_drop),
        VST_TEST_WITH(failed_naming_leaves_the_old_file, disk_make, disk_drop),
        VST_TEST_WITH(name_that_is_taken_is_no_failure_as_there_are_others, disk_make, disk_drop),
        VST_TEST_WITH(file_that_cannot_be_created_is_an_error_at_opening, disk_make, disk_drop),
        VST_TEST_WITH(path_without_a_slash_is_in_this_directory, disk_make, disk_drop),
        VST_TEST_WITH(existing_file_is_kept_when_told_so, disk_make, disk_drop),
        VST_TEST_WITH(only_regular_files_are_replaced, disk_make, disk_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

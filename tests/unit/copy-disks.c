/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations that take their disks along: what was copied is compared with what the guest had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "copying.h"

static void disks_go_with_a_running_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    copying_start();
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_expect_counting(&host, "g", 3);
    copying_pause_there();
    copying_expect_same("a", false);
    copying_expect_same("b", true);
    copying_end_at(far);
    vst_host_expect_gapless(&host, "g");
}

static void disks_go_with_a_paused_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    copying_start();
    assert_int_equal(vst_host_suspend(&host, "g", NULL), 0);
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    copying_expect_same("a", false);
    copying_expect_same("b", true);
    copying_end_at(far);
}

/* So small that each is in step while the next one is being begun. */
static void six_small_disks_go_one_after_the_other(void **state)
{
    char disks[DISKS_MAX] = "", name[] = "d0";
    struct vst_error err = {0};

    (void)state;
    copying_make_folder("disks");
    for (; name[1] < '6'; name[1]++) {
        close(copying_make_disk(name, "raw", CLUSTER));
        copying_describe(disks, name, "raw");
    }
    copying_start_with(disks);
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_expect_counting(&host, "g", 3);
    copying_end_at(far);
    vst_host_expect_gapless(&host, "g");
}

/* A boot sector that writes 1 into the next sector, 2 into the one after it, and so on. */
static const unsigned char writer[] = {
    0x31, 0xc0,                                           /*     xor  %ax, %ax          */
    0x8e, 0xd8, 0x8e, 0xd0,                               /*     mov  %ax, %ds; %ss     */
    0xbc, 0x00, 0x7c,                                     /*     mov  $0x7c00, %sp      */
    0x66, 0xc7, 0x06, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, /*     movl $1, 0x8000        */
    0x66, 0xa1, 0x00, 0x80,                               /* 1:  mov  0x8000, %eax      */
    0x66, 0xa3, 0x38, 0x7c,                               /*     mov  %eax, 3f + 8      */
    0xbe, 0x30, 0x7c,                                     /*     mov  $3f, %si          */
    0xb8, 0x00, 0x43, 0xb2, 0x80,                         /*     extended write, disk 1 */
    0xcd, 0x13,                                           /*     int  $0x13             */
    0x72, 0x07,                                           /*     jc   2f                */
    0x66, 0xff, 0x06, 0x00, 0x80,                         /*     incl 0x8000            */
    0xeb, 0xe5,                                           /*     jmp  1b                */
    0xf4, 0xeb, 0xfd,                                     /* 2:  hlt; jmp 2b            */
    0x10, 0x00, 0x01, 0x00, 0x00, 0x80, 0x00, 0x00,       /* 3:  one sector from 0x8000 */
};

enum { WRITTEN_SIZE = 256 * 1024 * 1024, SECTOR = 512 };

/* How far it has come without a gap. */
static uint32_t count_written(const char *folder)
{
    uint32_t value, count = 0;
    char path[160];
    int fd;

    copying_path_of(path, folder, "w");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    while (pread(fd, &value, sizeof(value), (off_t)(count + 1) * SECTOR) == sizeof(value) &&
           value == count + 1)
        count++;
    close(fd);
    return count;
}

/* It is paused: nothing is there behind what it has come to. */
static void expect_no_gap(const char *folder)
{
    uint32_t value, count = count_written(folder);
    char path[160];
    int fd;

    copying_path_of(path, folder, "w");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint32_t after = count + 1; after < count + 1000; after++)
        if (pread(fd, &value, sizeof(value), (off_t)after * SECTOR) == sizeof(value) && value)
            fail_msg("sector %u is missing, %u is there", count + 1, after);
    close(fd);
}

static void await_written(const char *folder, uint32_t more)
{
    uint32_t wanted = count_written(folder) + more;

    for (int tries = 0; count_written(folder) < wanted; tries++) {
        if (tries == 500)
            fail_msg("the guest writes no more than %u", count_written(folder));
        vst_host_run(&host, 20);
    }
}

static void start_writer(void)
{
    const unsigned char bootable[] = {0x55, 0xaa};
    struct vst_error err = {0};
    char *definition;
    int fd;

    copying_make_folder("disks");
    fd = copying_make_disk("w", "raw", WRITTEN_SIZE);
    copying_put(fd, writer, sizeof(writer), 0);
    copying_put(fd, bootable, sizeof(bootable), SECTOR - sizeof(bootable));
    copying_put_random(fd, WRITTEN_SIZE - CLUSTER);
    close(fd);
    assert_true(asprintf(&definition,
                         "{\"name\": \"g\", \"machine\": \"pc\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 8, \"vcpus\": 1, \"disks\": [{\"name\": \"w\", "
                         "\"file\": \"%s/disks/w\", \"format\": \"raw\", \"bus\": \"ide\"}]}",
                         host.dir) > 0);
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    copying_move_away();
    await_written("moved", 10);
}

static void nothing_that_is_written_meanwhile_is_missing(void **state)
{
    struct vst_error err = {0};
    uint32_t before, at_switch;

    (void)state;
    start_writer();
    before = count_written("moved");
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    at_switch = count_written("moved");
    await_written("disks", 100);
    copying_pause_there();
    expect_no_gap("moved");
    expect_no_gap("disks");
    print_message("%u sectors before, %u at the switch, %u at last\n", before, at_switch,
                  count_written("disks"));
    assert_true(at_switch > before);
    assert_true(count_written("disks") > at_switch);
    copying_end_at(far);
}

static void missing_disks_are_no_blocker_when_they_are_copied(void **state)
{
    struct vst_error err = {0};

    (void)state;
    copying_start();
    if (copying_migrate(&with_disks, true, &err) < 0)
        fail_msg("check: %s", err.text);
    assert_int_equal(vst_host_entries(&host, "disks"), 0);
    assert_int_equal(copying_migrate(NULL, true, &err), -1);
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    copying_end_at(host.conn);
}

/* To the destination, which has other files by the same names. */
static void disks_of_another_size_keep_the_guest(void **state)
{
    struct vst_error err = {0};

    (void)state;
    copying_start();
    close(copying_make_disk("a", "raw", SIZE));
    close(copying_make_disk("b", "qcow2", SIZE));
    if (copying_migrate(NULL, true, &err) < 0)
        fail_msg("check: %s", err.text);
    copying_remove_disk("a");
    copying_remove_disk("b");
    close(copying_make_disk("a", "raw", SIZE / 2));
    close(copying_make_disk("b", "qcow2", 2 * SIZE));
    for (int check = 1; check >= 0; check--) {
        err = (struct vst_error){0};
        assert_int_equal(copying_migrate(NULL, check, &err), -1);
        assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
        assert_non_null(strstr(err.text, "disks/a: has 2097152 bytes here, and 4194304 at "));
        assert_non_null(strstr(err.text, "disks/b: has 8388608 bytes here, and 4194304 at "));
    }
    vst_host_expect_counting(&host, "g", 3);
    copying_end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

/* Far more than there is room for, and nearly all of it a hole. */
static void hole_needs_no_room(void **state)
{
    struct vst_error err = {0};
    struct statvfs fs;
    struct stat st;
    char path[160];

    (void)state;
    disk_size = (uint64_t)1 << 42;
    copying_start();
    disk_size = SIZE;
    copying_path_of(path, "moved", "a");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(statvfs(path, &fs), 0);
    assert_true((uint64_t)st.st_size > (uint64_t)fs.f_bavail * fs.f_frsize);
    if (copying_migrate(&with_disks, true, &err) < 0)
        fail_msg("check: %s", err.text);
    copying_end_at(host.conn);
}

static void file_that_is_there_is_not_written_over(void **state)
{
    struct vst_error err = {0};

    (void)state;
    copying_start();
    close(copying_make_disk("b", "raw", SIZE));
    assert_int_equal(copying_migrate(&with_disks, false, &err), -1);
    assert_int_equal(err.code, VST_ERR_INCOMPATIBLE);
    assert_non_null(strstr(err.text, "is there already"));
    assert_int_equal(vst_host_entries(&host, "disks"), 1);
    vst_host_expect_counting(&host, "g", 3);
    copying_end_at(host.conn);
    vst_host_expect_gapless(&host, "g");
}

static void seventy_disks_go(void **state)
{
    enum { MANY = 70 };
    char disks[DISKS_MAX] = "", name[8];
    struct vst_error err = {0};
    size_t at;

    (void)state;
    vst_test_seconds(120);
    copying_make_folder("disks");
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        close(copying_make_disk(name, "raw", CLUSTER));
        copying_describe(disks, name, "raw");
        assert_int_equal(disks[strlen(disks) - 1], '}');
        at = strlen(disks) - 1;
        snprintf(disks + at, sizeof(disks) - at, ", \"bus\": \"scsi\"}");
    }
    copying_start_with(disks);
    if (copying_migrate(&with_disks, false, &err) < 0)
        fail_msg("migrate: %s", err.text);
    vst_host_expect_counting(&host, "g", 3);
    assert_int_equal(vst_host_entries(&host, "disks"), MANY);
    copying_end_at(far);
    vst_host_expect_gapless(&host, "g");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(disks_go_with_a_running_guest, copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(disks_go_with_a_paused_guest, copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(six_small_disks_go_one_after_the_other, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(nothing_that_is_written_meanwhile_is_missing, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(missing_disks_are_no_blocker_when_they_are_copied,
                                        copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(disks_of_another_size_keep_the_guest, copying_begin,
                                        copying_end),
        cmocka_unit_test_setup_teardown(hole_needs_no_room, copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(seventy_disks_go, copying_begin, copying_end),
        cmocka_unit_test_setup_teardown(file_that_is_there_is_not_written_over, copying_begin,
                                        copying_end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes and the disk that they are on: their holes, a disk that is full or broken, and processes
 * that die in the middle. Whatever fails leaves the old volume and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "volumes.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

/* ---- holes ---- */

static uint64_t room_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void holes_survive_the_round_trip(void **state)
{
    char from[80] = "", to[80], command[300];
    struct vst_stream *stream;
    struct outcome outcome = {0};
    int fd;

    (void)state;
    snprintf(from, sizeof(from), "%s/from", volumes.dir);
    snprintf(to, sizeof(to), "%s/to", volumes.dir);
    fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)1 << 32), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pwrite(fd, from, 40, (off_t)i * 500 * MIB), 40);
    close(fd);
    assert_int_equal(volumes_upload_file("p/sparse", from, NULL), VST_ERR_OK);
    assert_in_range(room_of(volumes_path("sparse")), 8 * 4 * KIB, room_of(from) + 16 * KIB);
    stream = vst_stream_new(volumes.app.base, NULL);
    assert_int_equal(vst_stream_set_sink_file(stream, to), 0);
    vst_volume_download(volumes.app.conn, "p/sparse", stream, NULL, outcome_done(&outcome));
    assert_int_equal(volumes_await(&outcome), VST_ERR_OK);
    vst_stream_free(&stream);
    assert_in_range(room_of(to), 8 * 4 * KIB, room_of(from) + 16 * KIB);
    snprintf(command, sizeof(command), "cmp %s %s", from, to);
    assert_int_equal(truncate(from, 600 * MIB), 0);
    assert_int_equal(truncate(to, 600 * MIB), 0);
    assert_int_equal(system(command), 0);
}

/* What was there before makes way. */
static void zeros_written_in_place_make_holes(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true, .offset = 100};
    static unsigned char ones[4 * MIB];
    static unsigned char back[4 * MIB];
    char from[80];
    int fd;

    (void)state;
    memset(ones, 1, sizeof(ones));
    snprintf(from, sizeof(from), "%s/from", volumes.dir);
    fd = open(volumes_path("one"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, ones, sizeof(ones)), sizeof(ones));
    close(fd);
    close(open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(truncate(from, 3 * MIB), 0);
    assert_int_equal(volumes_upload_file("p/one", from, &in_place), VST_ERR_OK);
    assert_in_range(room_of(volumes_path("one")), MIB, MIB + 16 * KIB);
    fd = open(volumes_path("one"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, back, sizeof(back)), sizeof(back));
    close(fd);
    for (size_t i = 0; i < sizeof(back); i++)
        if (back[i] != (i < 100 || i >= 100 + 3 * MIB))
            fail_msg("byte %zu", i);
}

/* ---- disks that are full or broken ---- */

static struct {
    int writes_left, syncs_left, renames_left, unlinks_left;
    bool no_unnamed, no_holes;
    int number;
} disk;

static int bad(int *left)
{
    if (!*left || --*left)
        return 0;
    errno = disk.number;
    return -1;
}

static int bad_openat(int at, const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && disk.no_unnamed) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return openat(at, path, flags, mode);
}

static ssize_t bad_writev(int fd, const struct iovec *from, int count)
{
    return bad(&disk.writes_left) ? -1 : writev(fd, from, count);
}

static int bad_fsync(int fd)
{
    return bad(&disk.syncs_left) ? -1 : fsync(fd);
}

static int bad_fallocate(int fd, int mode, off_t offset, off_t length)
{
    if (!disk.no_holes)
        return fallocate(fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}

static int bad_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return bad(&disk.renames_left) ? -1 : renameat2(from_dir, from, to_dir, to, flags);
}

static int bad_unlinkat(int at, const char *name, int flags)
{
    return bad(&disk.unlinks_left) ? -1 : unlinkat(at, name, flags);
}

static void use_bad_disk(void)
{
    static struct vst_file_calls calls;

    calls = vst_file_calls_real;
    calls.openat = bad_openat;
    calls.writev = bad_writev;
    calls.fsync = bad_fsync;
    calls.fallocate = bad_fallocate;
    calls.renameat2 = bad_renameat2;
    calls.unlinkat = bad_unlinkat;
    memset(&disk, 0, sizeof(disk));
    vst_worker_set_file_calls(volumes.worker, &calls);
}

static void a_failing_disk_leaves_the_old_volume(void **state)
{
    int *const lefts[] = {&disk.writes_left, &disk.syncs_left, &disk.renames_left};

    (void)state;
    use_bad_disk();
    volumes_put("one", "old");
    for (int i = 0; i < 12; i++) {
        disk.number = i % 2 ? ENOSPC : EIO;
        disk.no_unnamed = i % 4 > 1;
        *lefts[i % 3] = 1;
        assert_int_equal(volumes_upload("p/one", "new", NULL), VST_ERR_SYSTEM);
        assert_int_equal(volumes.err.system, disk.number);
        assert_int_equal(volumes.err.side, VST_SIDE_HOST);
        assert_string_equal(volumes.err.phase, "upload");
        volumes_expect_file("one", "old");
        volumes_expect_entries(1);
    }
    disk.unlinks_left = 1;
    assert_int_equal(volumes_delete("p/one"), VST_ERR_SYSTEM);
    volumes_expect_file("one", "old");
    disk.syncs_left = 1;
    assert_int_equal(volumes_delete("p/one"), VST_ERR_SYSTEM);
}

static void a_disk_without_holes_is_written_zeros(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    char from[80], back[8192] = "";
    int fd;

    (void)state;
    use_bad_disk();
    disk.no_holes = true;
    snprintf(from, sizeof(from), "%s/from", volumes.dir);
    close(open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(truncate(from, 6000), 0);
    fd = open(volumes_path("one"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    memset(back, 'x', sizeof(back));
    assert_int_equal(write(fd, back, sizeof(back)), sizeof(back));
    assert_int_equal(volumes_upload_file("p/one", from, &in_place), VST_ERR_OK);
    assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
    close(fd);
    for (size_t i = 0; i < sizeof(back); i++)
        assert_int_equal(back[i], i < 6000 ? 0 : 'x');
}

/* A real one: a small file system in memory, where that may be mounted. */
static void a_disk_that_fills_with_the_last_block(void **state)
{
    char from[80];
    int fd;

    (void)state;
    if (mount("none", volumes.pool, "tmpfs", 0, "size=1m") < 0) {
        print_message("# not run: mounting: %s\n", strerror(errno));
        return;
    }
    volumes_put("one", "old");
    snprintf(from, sizeof(from), "%s/from", volumes.dir);
    fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 256; i++)
        assert_int_equal(write(fd, memset((char[4096]){0}, i | 1, 4096), 4096), 4096);
    close(fd);
    /* One block is taken by the old volume: the last one of the new one does not fit. */
    assert_int_equal(volumes_upload_file("p/one", from, NULL), VST_ERR_SYSTEM);
    assert_int_equal(volumes.err.system, ENOSPC);
    volumes_expect_file("one", "old");
    volumes_expect_entries(1);
    assert_int_equal(truncate(from, 255 * 4096), 0);
    assert_int_equal(volumes_upload_file("p/one", from, NULL), VST_ERR_OK);
    volumes_expect_entries(1);
    assert_int_equal(volumes_stat("one").st_size, 255 * 4096);
    assert_int_equal(umount2(volumes.pool, MNT_DETACH), 0);
}

/* ---- killed processes ---- */

static void what_a_killed_process_left_is_removed(void **state)
{
    static const char left[] = ".virstream-0123456789abcdef",
                      used[] = ".virstream-fedcba9876543210";
    int fd;

    (void)state;
    volumes_put(left, "half a volume");
    volumes_put(used, "under way");
    volumes_put(".virstream-other", "not ours");
    fd = open(volumes_path(used), O_WRONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(volumes_list("p"), VST_ERR_OK);
    assert_string_equal(volumes.listed, "");
    assert_int_equal(access(volumes_path(left), F_OK), -1);
    volumes_expect_entries(2);
    /* Once is enough: whatever comes later is somebody's. */
    volumes_put(left, "new");
    assert_int_equal(volumes_list("p"), VST_ERR_OK);
    volumes_expect_entries(3);
    close(fd);
}

/* In a process of its own, which dies with the upload under way, or a moment before the rename. */
static void die_in_upload(bool no_unnamed, bool at_rename)
{
    pid_t pid = vst_test_fork();
    int status;

    if (pid == 0) {
        struct outcome outcome = {0};
        struct vst_stream *stream;

        event_reinit(volumes.app.base);
        volumes_connect();
        use_bad_disk();
        disk.no_unnamed = no_unnamed;
        stream = volumes_begin_upload("new", NULL, &outcome);
        if (at_rename) {
            disk.renames_left = 1;
            vst_stream_finish(stream);
        }
        while (at_rename && disk.renames_left)
            event_base_loop(volumes.app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void a_killed_upload_leaves_the_old_volume(void **state)
{
    (void)state;
    volumes_put("one", "old");
    for (int round = 0; round < 8; round++) {
        die_in_upload(round % 2, round & 2);
        volumes_expect_file("one", "old");
        assert_int_equal(volumes_list("p"), VST_ERR_OK);
        volumes_disconnect();
        volumes_connect();
        assert_int_equal(volumes_list("p"), VST_ERR_OK);
        volumes_expect_entries(1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VOLUME_TEST(holes_survive_the_round_trip),
        VOLUME_TEST(zeros_written_in_place_make_holes),
        VOLUME_TEST(a_failing_disk_leaves_the_old_volume),
        VOLUME_TEST(a_disk_without_holes_is_written_zeros),
        VOLUME_TEST(a_disk_that_fills_with_the_last_block),
        VOLUME_TEST(what_a_killed_process_left_is_removed),
        VOLUME_TEST(a_killed_upload_leaves_the_old_volume),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

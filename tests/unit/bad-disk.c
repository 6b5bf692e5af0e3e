/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saves onto a disk that is full or broken, at each thing that is asked of it: the save fails and
 * names the cause, the old image stays, no other file is left, and the guest counts on.
 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/worker.h"

static const char old_image[] = "the image that was there before\n";

/* ---- the disk ---- */

enum call { OPEN, WRITE, SYNC, LINK, RENAME, CALLS };
static const char *const call_names[] = {"open", "write", "sync", "link", "rename"};

/* What fails is the n-th call of one kind, and, for ever, whatever comes after it. But clean-up
 * always works: nobody could do without. */
static struct {
    enum call call;
    unsigned n;
    bool for_ever;
    int number; /* errno */
    unsigned seen;
    atomic_bool failed; /* set by a thread; all else is that thread's during a save */
} disk;

static bool fails(enum call call)
{
    bool due = call == disk.call && ++disk.seen == disk.n;

    if (!due && !(disk.for_ever && disk.failed))
        return false;
    disk.failed = true;
    errno = disk.number;
    return true;
}

static int bad_openat(int dir, const char *path, int flags, mode_t mode)
{
    return fails(OPEN) ? -1 : vst_file_calls_real.openat(dir, path, flags, mode);
}

static ssize_t bad_readv(int fd, const struct iovec *into, int count)
{
    return vst_file_calls_real.readv(fd, into, count);
}

static ssize_t bad_writev(int fd, const struct iovec *from, int count)
{
    return fails(WRITE) ? -1 : vst_file_calls_real.writev(fd, from, count);
}

static int bad_fsync(int fd)
{
    return fails(SYNC) ? -1 : vst_file_calls_real.fsync(fd);
}

static int bad_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return fails(LINK) ? -1 : vst_file_calls_real.linkat(from_dir, from, to_dir, to, flags);
}

static int bad_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return fails(RENAME) ? -1 : vst_file_calls_real.renameat2(from_dir, from, to_dir, to, flags);
}

static int bad_unlinkat(int dir, const char *name, int flags)
{
    return vst_file_calls_real.unlinkat(dir, name, flags);
}

static const struct vst_file_calls bad_calls = {
    .openat = bad_openat,
    .readv = bad_readv,
    .writev = bad_writev,
    .lseek = lseek,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fsync = bad_fsync,
    .linkat = bad_linkat,
    .renameat2 = bad_renameat2,
    .unlinkat = bad_unlinkat,
};

/* ---- a guest, and an old image ---- */

static struct vst_host host;
static struct vst_worker *worker;
static char image[100];

static int begin(void **state)
{
    struct vst_error err = {0};
    char *definition, dir[80];

    (void)state;
    vst_test_seconds(120);
    vst_host_make(&host);
    snprintf(dir, sizeof(dir), "%s/images", host.dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(image, sizeof(image), "%s/g.image", dir);
    worker = vst_worker_get(host.base, NULL);
    assert_non_null(worker);
    definition = vst_host_counting(&host, "g", "F");
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    vst_host_expect_counting(&host, "g", 2);
    return 0;
}

/* Through all that failed it has counted on. */
static int end(void **state)
{
    (void)state;
    vst_host_expect_gapless(&host, "g");
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
    vst_worker_put(&worker);
    vst_host_clear(&host);
    return 0;
}

static void put_old_image(void)
{
    FILE *file = fopen(image, "we");

    assert_non_null(file);
    fputs(old_image, file);
    fclose(file);
}

static bool is_old_image(void)
{
    char text[sizeof(old_image)] = "";
    FILE *file = fopen(image, "re");
    size_t length;

    assert_non_null(file);
    length = fread(text, 1, sizeof(text), file);
    fclose(file);
    return length == strlen(old_image) && memcmp(text, old_image, length) == 0;
}

static int save(struct vst_stream *stream, struct vst_error *ret_err)
{
    struct vst_save_options opt = {.keep_running = true, .stall_seconds = 10};

    return vst_host_save(&host, "g", stream, &opt, ret_err);
}

static void expect_runs_on(void)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    if (vst_host_get_info(&host, "g", &info, &err) < 0)
        fail_msg("info: %s", err.text);
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    vst_host_expect_counting(&host, "g", 2);
}

static void expect_failed(int status, const struct vst_error *err, const char *where, int number)
{
    if (status == 0)
        fail_msg("%s: saved", where);
    if (err->system != number || vst_code_exit(err->code) == 0 || !strstr(err->text, image))
        fail_msg("%s: %s: %s (%d)", where, vst_code_name(err->code), err->text, err->system);
    if (!is_old_image())
        fail_msg("%s: the old image is gone", where);
    if (vst_host_entries(&host, "images") != 1)
        fail_msg("%s: a temporary file is left", where);
    expect_runs_on();
}

/* ---- the tests ---- */

/* False when the save did not do so much. */
static bool save_badly(enum call call, unsigned n, bool for_ever, int number)
{
    struct vst_error err = {0};
    char where[80];
    int status;

    put_old_image();
    memset(&disk, 0, sizeof(disk));
    disk.call = call;
    disk.n = n;
    disk.for_ever = for_ever;
    disk.number = number;
    vst_worker_set_file_calls(worker, &bad_calls);
    status = save(vst_host_sink_file(&host, image), &err);
    vst_worker_set_file_calls(worker, NULL);
    if (!disk.failed) {
        if (status < 0 || is_old_image())
            fail_msg("a good disk: %s", err.text);
        return false;
    }
    snprintf(where, sizeof(where), "%s number %u: %s", call_names[call], n, strerror(number));
    expect_failed(status, &err, where, number);
    return true;
}

/* The second sync is that of the directory: by then the new image is there, and whole; all that can
 * be said is that it may not last. */
static bool is_late(enum call call, unsigned n)
{
    return call == SYNC && n > 1;
}

static void fail_every(enum call call, bool for_ever, int number)
{
    unsigned n = 1;

    while (!is_late(call, n) && save_badly(call, n, for_ever, number))
        n++;
    print_message("# %s: %u\n", call_names[call], n - 1);
    assert_true(n > 1);
}

static void a_disk_that_is_full_from_some_moment_on(void **state)
{
    (void)state;
    for (enum call call = OPEN; call < CALLS; call++)
        fail_every(call, true, ENOSPC);
}

static void a_disk_that_is_broken_from_some_moment_on(void **state)
{
    (void)state;
    for (enum call call = OPEN; call < CALLS; call++)
        fail_every(call, true, EIO);
}

/* The kernel tells of a write that failed once, and never again. */
static void one_failure_of_a_write_is_enough(void **state)
{
    (void)state;
    fail_every(WRITE, false, EIO);
    fail_every(SYNC, false, EIO);
}

/* The application's own sink: whatever its number is, it comes back. */
static void a_sink_that_fails_at_any_byte(void **state)
{
    static const uint64_t offsets[] = {0, 1, 23, 24, 40, 1000, 4096, 65536, 1 << 20, 6 << 20};
    static const int numbers[] = {ENOSPC, EIO, EDQUOT, EFBIG};

    (void)state;
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        struct vst_layer_spec layer = {
            .kind = VST_LAYER_FAULT,
            .fault = {VST_FAULT_FAIL, .offset = offsets[i], .number = numbers[i % 4]},
        };
        struct vst_stream *stream;
        struct vst_error err = {0};

        put_old_image();
        stream = vst_host_sink_file(&host, image);
        assert_int_equal(vst_stream_push_layer(stream, VST_DOWN, &layer), 0);
        assert_int_equal(save(stream, &err), -1);
        assert_int_equal(err.system, numbers[i % 4]);
        assert_true(is_old_image());
        assert_int_equal(vst_host_entries(&host, "images"), 1);
        expect_runs_on();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_disk_that_is_full_from_some_moment_on, begin, end),
        VST_TEST_WITH(a_disk_that_is_broken_from_some_moment_on, begin, end),
        VST_TEST_WITH(one_failure_of_a_write_is_enough, begin, end),
        VST_TEST_WITH(a_sink_that_fails_at_any_byte, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

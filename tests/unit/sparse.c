/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files with holes: what is read has the same bytes, what is written has its holes again, and
 * neither costs the time or the room of what is not there.
 */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/pump.h"

enum { KIB = 1024, MIB = 1024 * 1024, PIECE = 64 * KIB };

static struct event_base *base;
static struct vst_worker *worker;
static char dir[32], from[64], to[64];

/* ---- the disk: the real one, which counts what is read, and may know no holes ---- */

static struct {
    atomic_size_t bytes_read;
    atomic_bool knows_no_holes;
} disk;

static ssize_t counted_readv(int fd, const struct iovec *into, int count)
{
    ssize_t n = readv(fd, into, count);

    if (n > 0)
        disk.bytes_read += (size_t)n;
    return n;
}

static off_t maybe_lseek(int fd, off_t offset, int whence)
{
    if (disk.knows_no_holes && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
        errno = EINVAL;
        return -1;
    }
    return lseek(fd, offset, whence);
}

static int make(void **state)
{
    static struct vst_file_calls calls;

    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vst-sparse-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(from, sizeof(from), "%s/from", dir);
    snprintf(to, sizeof(to), "%s/to", dir);
    disk.bytes_read = 0;
    disk.knows_no_holes = false;
    calls = vst_file_calls_real;
    calls.readv = counted_readv;
    calls.lseek = maybe_lseek;
    base = event_base_new();
    worker = vst_worker_get(base, NULL);
    vst_worker_set_file_calls(worker, &calls);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_worker_put(&worker);
    vst_test_threads_end();
    event_base_free(base);
    unlink(from);
    unlink(to);
    return rmdir(dir);
}

/* ---- a copy through channels ---- */

static void copied(void *opaque, const struct vst_error *err)
{
    if (err)
        fail_msg("%s", err->text);
    *(bool *)opaque = true;
}

/* No more than `limit` bytes are under way. */
static void copy(size_t limit)
{
    struct vst_channel *source = vst_channel_open_file(base, from, NULL);
    struct vst_channel *sink = vst_channel_new_file(base, to, 0, NULL);
    bool done = false;
    struct vst_pump *pump = vst_pump_new(base, limit, copied, &done, NULL);

    vst_pump_set_source(pump, source);
    vst_pump_set_sink(pump, sink);
    while (!done)
        event_base_loop(base, EVLOOP_ONCE);
    vst_pump_free(&pump);
    vst_channel_free(&source);
    vst_channel_free(&sink);
}

static uint64_t room_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void expect_same_bytes(void)
{
    static unsigned char a[PIECE], b[PIECE];
    int fd_a = open(from, O_RDONLY | O_CLOEXEC), fd_b = open(to, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_int_equal(size_of(from), size_of(to));
    while ((n = read(fd_a, a, sizeof(a))) > 0) {
        assert_int_equal(read(fd_b, b, sizeof(b)), n);
        assert_memory_equal(a, b, n);
    }
    close(fd_a);
    close(fd_b);
}

/* ---- files ---- */

static int new_from(uint64_t size)
{
    int fd = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void put_data(int fd, uint64_t at, size_t n)
{
    unsigned char *bytes = malloc(n);

    vst_test_fill(bytes, n, (unsigned)at + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] |= 1;
    assert_int_equal(pwrite(fd, bytes, n, (off_t)at), n);
    free(bytes);
}

/* ---- tests ---- */

static void a_large_hole_costs_neither_time_nor_room(void **state)
{
    const uint64_t size = (uint64_t)100 << 30;
    int fd = new_from(size);

    (void)state;
    put_data(fd, 5 * MIB, 300 * KIB);
    put_data(fd, size / 2 + 12345, 1);
    close(fd);
    copy(256 * KIB);
    assert_int_equal(size_of(to), size);
    assert_in_range(room_of(to), 301 * KIB, room_of(from) + 16 * KIB);
    assert_in_range(disk.bytes_read, 300 * KIB + 1, 300 * KIB + 4 * PIECE);
    /* And the data is where it was. */
    assert_int_equal(truncate(from, 6 * MIB), 0);
    assert_int_equal(truncate(to, 6 * MIB), 0);
    expect_same_bytes();
}

static void a_file_that_is_one_hole_stays_one(void **state)
{
    static const uint64_t sizes[] = {1, 4095, 4096, 4097, PIECE, PIECE + 1, (uint64_t)3 << 30};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        close(new_from(sizes[i]));
        copy(100 * KIB);
        assert_int_equal(size_of(to), sizes[i]);
        assert_in_range(room_of(to), 0, sizes[i] < 4096 ? 4096 : 0);
    }
}

static void an_empty_file_is_copied(void **state)
{
    (void)state;
    close(new_from(0));
    copy(100 * KIB);
    assert_int_equal(size_of(to), 0);
}

/* Data and holes of any length in turn, on and off the edges of blocks. */
static void fill_at_random(void)
{
    static const size_t lengths[] = {1, 4095, 4096, 4097, 20000, PIECE - 1, PIECE, 200000, MIB};
    uint64_t at = rand() % 2 ? 0 : lengths[rand() % 9];
    int fd = new_from(0);

    for (int extents = rand() % 12; extents >= 0; extents--) {
        size_t n = lengths[rand() % 9];

        put_data(fd, at, n);
        at += n + lengths[rand() % 9];
    }
    if (rand() % 2)
        assert_int_equal(ftruncate(fd, (off_t)at), 0);
    close(fd);
}

static void any_layout_comes_back(void **state)
{
    static const size_t limits[] = {1000, 5000, PIECE, MIB};

    (void)state;
    srand(2);
    for (int round = 0; round < 60; round++) {
        disk.knows_no_holes = round % 3 == 0;
        fill_at_random();
        copy(limits[round % 4]);
        expect_same_bytes();
        if (room_of(to) > room_of(from) + 8 * KIB)
            fail_msg("round %d: %llu became %llu", round, (unsigned long long)room_of(from),
                     (unsigned long long)room_of(to));
    }
}

/* Zeros that somebody wrote are left out just as well. */
static void written_zeros_become_a_hole(void **state)
{
    static unsigned char zeros[MIB];
    int fd = new_from(0);

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
        put_data(fd, (uint64_t)i * 2 * MIB + MIB, MIB);
        lseek(fd, MIB, SEEK_CUR);
    }
    close(fd);
    assert_true(room_of(from) >= 8 * MIB);
    copy(MIB);
    expect_same_bytes();
    assert_in_range(room_of(to), 4 * MIB, 4 * MIB + 32 * KIB);
}

static void short_runs_are_written(void **state)
{
    int fd = new_from(MIB);

    (void)state;
    for (uint64_t at = 0; at < MIB; at += 4000)
        put_data(fd, at, 1);
    close(fd);
    copy(PIECE);
    expect_same_bytes();
    assert_true(room_of(to) >= MIB - 4 * KIB);
}

static void a_file_handed_over_is_passed_over_its_holes_from_its_offset(void **state)
{
    struct vst_channel *ch;
    struct evbuffer *into = evbuffer_new();
    int fd = new_from(4 * MIB);

    (void)state;
    put_data(fd, 3 * MIB, 1);
    close(fd);
    fd = open(from, O_RDONLY | O_CLOEXEC);
    lseek(fd, 10, SEEK_SET);
    ch = vst_channel_file(base, &fd, NULL);
    assert_int_equal(vst_test_drain(ch, into, 100 * KIB), VST_IO_EOF);
    assert_int_equal(evbuffer_get_length(into), 4 * MIB - 10);
    assert_in_range(disk.bytes_read, 1, 2 * PIECE);
    evbuffer_free(into);
    vst_channel_free(&ch);
}

/* ---- holes that no time would suffice for, were they zeros ---- */

#define VAST (UINT64_C(1) << 62)

/* One byte, the hole, one byte: in memory, where files may be as long as their length can say. */
static struct vst_channel *vast_file(void)
{
    int fd = memfd_create("vast", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "a", 1, 0), 1);
    assert_int_equal(pwrite(fd, "z", 1, (off_t)VAST), 1);
    return vst_channel_file(base, &fd, NULL);
}

static struct vst_pump_stats pass(struct vst_channel *source, struct vst_channel *sink)
{
    bool done = false;
    struct vst_pump *pump = vst_pump_new(base, 100 * KIB, copied, &done, NULL);
    struct vst_pump_stats stats;

    vst_pump_set_source(pump, source);
    vst_pump_set_sink(pump, sink);
    while (!done)
        event_base_loop(base, EVLOOP_ONCE);
    vst_pump_get_stats(pump, &stats);
    vst_pump_free(&pump);
    vst_channel_free(&source);
    vst_channel_free(&sink);
    return stats;
}

static void a_vast_hole_passes_as_a_number(void **state)
{
    struct vst_pump_stats stats = pass(vast_file(), vst_channel_null(base, NULL));

    (void)state;
    assert_int_equal(stats.taken, VAST + 1);
    assert_int_equal(stats.delivered, VAST + 1);
    assert_in_range(disk.bytes_read, 2, 4 * PIECE);
}

static void a_rate_does_not_count_holes(void **state)
{
    struct vst_channel *slow = vst_channel_rate(vast_file(), MIB, 0, NULL);
    struct vst_pump_stats stats =
        pass(slow, vst_channel_rate(vst_channel_null(base, NULL), MIB, 0, NULL));

    (void)state;
    assert_int_equal(stats.delivered, VAST + 1);
}

static void a_hole_is_zeros_for_who_knows_none(void **state)
{
    struct vst_channel *digest;
    int fd = new_from(3 * MIB);

    (void)state;
    put_data(fd, MIB, 1);
    close(fd);
    digest = vst_channel_digest(vst_channel_new_file(base, to, 0, NULL), NULL);
    assert_false(vst_channel_takes_holes(digest));
    pass(vst_channel_open_file(base, from, NULL), digest);
    expect_same_bytes();
    assert_in_range(room_of(to), 1, 16 * KIB);
}

static void a_hole_does_not_overtake_what_the_sink_takes_in_pieces(void **state)
{
    struct vst_channel *sink = vst_channel_new_file(base, to, 0, NULL);
    int fd = new_from(3 * MIB);

    (void)state;
    put_data(fd, 0, 100 * KIB);
    put_data(fd, 2 * MIB, 100 * KIB);
    close(fd);
    pass(vst_channel_open_file(base, from, NULL), vst_channel_rate(sink, MIB, 10 * KIB, NULL));
    expect_same_bytes();
}

/* It is neither overtaken by the bytes around it, nor does it wait for them. */
static void a_hole_keeps_its_place_while_the_sink_is_at_work(void **state)
{
    struct vst_channel *sink = vst_channel_new_file(base, to, 0, NULL);
    uint64_t left = 3 * MIB, n = 0;
    int fd = new_from(3 * MIB + 2 * PIECE);
    unsigned char *bytes = malloc(PIECE);

    (void)state;
    memset(bytes, 7, PIECE);
    assert_int_equal(pwrite(fd, bytes, PIECE, 0), PIECE);
    assert_int_equal(pwrite(fd, bytes, PIECE, 3 * MIB + PIECE), PIECE);
    close(fd);
    assert_int_equal(vst_test_open(sink), VST_IO_OK);
    assert_int_equal(vst_test_send(sink, bytes, PIECE), VST_IO_OK);
    while (left) {
        enum vst_io io = vst_channel_write_hole(sink, left, &n);

        assert_int_not_equal(io, VST_IO_FAIL);
        if (io == VST_IO_OK)
            left -= n;
        else
            vst_test_wait(sink, VST_WRITE);
    }
    assert_int_equal(vst_test_send(sink, bytes, PIECE), VST_IO_OK);
    assert_int_equal(vst_test_finish(sink), VST_IO_OK);
    vst_channel_free(&sink);
    free(bytes);
    expect_same_bytes();
    assert_in_range(room_of(to), 2 * PIECE, 2 * PIECE + 16 * KIB);
}

/* What no file can have is told before anything else comes. */
static void more_zeros_than_a_length_can_say_are_refused(void **state)
{
    struct vst_channel *sink = vst_channel_new_file(base, to, 0, NULL);
    enum vst_io io = VST_IO_OK;
    uint64_t n;

    (void)state;
    assert_int_equal(vst_test_open(sink), VST_IO_OK);
    while (io != VST_IO_FAIL) {
        io = vst_channel_write_hole(sink, INT64_MAX, &n);
        if (io == VST_IO_AGAIN)
            vst_test_wait(sink, VST_WRITE);
    }
    assert_non_null(strstr(vst_channel_error(sink)->text, "a hole: File too large"));
    vst_channel_free(&sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_large_hole_costs_neither_time_nor_room, make, drop),
        VST_TEST_WITH(a_file_that_is_one_hole_stays_one, make, drop),
        VST_TEST_WITH(an_empty_file_is_copied, make, drop),
        VST_TEST_WITH(any_layout_comes_back, make, drop),
        VST_TEST_WITH(written_zeros_become_a_hole, make, drop),
        VST_TEST_WITH(short_runs_are_written, make, drop),
        VST_TEST_WITH(a_file_handed_over_is_passed_over_its_holes_from_its_offset, make, drop),
        VST_TEST_WITH(a_vast_hole_passes_as_a_number, make, drop),
        VST_TEST_WITH(a_rate_does_not_count_holes, make, drop),
        VST_TEST_WITH(a_hole_is_zeros_for_who_knows_none, make, drop),
        VST_TEST_WITH(a_hole_does_not_overtake_what_the_sink_takes_in_pieces, make, drop),
        VST_TEST_WITH(a_hole_keeps_its_place_while_the_sink_is_at_work, make, drop),
        VST_TEST_WITH(more_zeros_than_a_length_can_say_are_refused, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

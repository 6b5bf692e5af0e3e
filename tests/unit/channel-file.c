/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files as channels, on disks that are full, broken, slow, or stuck.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static void file_is_read_whole_in_any_chunking(void **state)
{
    static const size_t chunks[] = {1000, 65536, 65537, 1 << 20, 1 << 30};

    (void)state;
    disk_put_file((char *)disk.bytes, SIZE);
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        struct vst_channel *ch = disk_open_path(O_RDONLY);

        disk_expect_reads(ch, chunks[i], disk.bytes, SIZE);
        vst_channel_free(&ch);
    }
}

static void reading_begins_at_the_present_offset(void **state)
{
    int fd;
    struct vst_channel *ch;

    (void)state;
    disk_put_file("0123456789", 10);
    fd = open(disk.path, O_RDONLY);
    lseek(fd, 7, SEEK_SET);
    ch = vst_channel_file(disk.base, &fd, NULL);
    disk_expect_reads(ch, 100, "789", 3);
    vst_channel_free(&ch);
}

/* As a shell expects of "(echo a; program; echo b) > file". */
static void writing_moves_the_offset_that_is_shared(void **state)
{
    int fd, shared;
    struct vst_channel *ch;

    (void)state;
    disk_put_file("", 0);
    shared = open(disk.path, O_WRONLY);
    assert_int_equal(write(shared, "a", 1), 1);
    fd = dup(shared);
    ch = vst_channel_file(disk.base, &fd, NULL);
    assert_int_equal(vst_test_send(ch, "middle", 6), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_int_equal(write(shared, "b", 1), 1);
    close(shared);
    disk_expect_file("amiddleb", 8);
}

static void short_and_interrupted_writes_are_continued(void **state)
{
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);

    (void)state;
    disk.shortest = 9999;
    assert_int_equal(vst_test_send(ch, disk.bytes, SIZE), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    disk_expect_file(disk.bytes, SIZE);
}

static void devices_that_cannot_be_polled_are_files(void **state)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct vst_channel *ch = vst_channel_any_fd(disk.base, &fd, NULL);

    (void)state;
    assert_string_equal(ch->ops->name, "file");
    assert_int_equal(vst_test_send(ch, disk.bytes, SIZE), VST_IO_OK);
    disk_expect_reads(ch, 10, "", 0);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
}

static void what_was_read_comes_before_the_error(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_channel *ch;

    (void)state;
    disk_put_file((char *)disk.bytes, SIZE);
    ch = disk_open_path(O_RDONLY);
    disk.reads_left = 10;
    disk.fail_with = EIO;
    assert_int_equal(vst_test_drain(ch, into, 100000), VST_IO_FAIL);
    assert_true(evbuffer_get_length(into) >= 9 * 60000);
    assert_memory_equal(evbuffer_pullup(into, -1), disk.bytes, evbuffer_get_length(into));
    assert_int_equal(vst_channel_error(ch)->system, EIO);
    vst_channel_free(&ch);
    evbuffer_free(into);
}

/* How far one can write into a channel before it says AGAIN. */
static size_t fill_up(struct vst_channel *ch)
{
    struct evbuffer *from = evbuffer_new();
    size_t n, sum = 0;

    evbuffer_add(from, disk.bytes, SIZE);
    while (evbuffer_get_length(from) && vst_channel_write(ch, from, 50000, &n) == VST_IO_OK)
        sum += n;
    evbuffer_free(from);
    return sum;
}

/* Sleeps between the turns: who uses up the processor has it taken away for longer than this. */
static double longest_turn(unsigned turns)
{
    double longest = 0;

    while (turns--) {
        double turn = disk_now();

        event_base_loop(disk.base, EVLOOP_NONBLOCK);
        turn = disk_now() - turn;
        longest = turn > longest ? turn : longest;
        usleep(1000);
    }
    return longest;
}

/* The best of some tries, for the same reason. */
static void stalled_disk_takes_one_buffer_and_leaves_the_loop_free(void **state)
{
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);
    double longest = 1;
    size_t taken;

    (void)state;
    disk.gated = true;
    taken = fill_up(ch);
    assert_true(taken <= VST_FILE_BUFFER && taken > VST_FILE_BUFFER - VST_BLOCK);
    disk_wait_until_stuck();
    for (int tries = 0; tries < 10 && longest >= 0.010; tries++)
        longest = longest_turn(200);
    print_message("# longest turn of the loop with a stuck disk: %.3f ms\n", longest * 1e3);
    assert_true(longest < 0.010);
    /* Were one of these to wait for the disk, the time guard would tell. */
    vst_channel_free(&ch);
    vst_worker_put(&disk.worker);
    assert_int_equal(disk.stuck, 1);
}

static void reads_ahead_no_more_than_one_buffer(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_channel *ch;
    size_t n;
    int fd;

    (void)state;
    disk_put_file((char *)disk.bytes, SIZE);
    fd = open(disk.path, O_RDONLY);
    n = (size_t)dup(fd);
    ch = vst_channel_file(disk.base, &fd, NULL);
    fd = (int)n;
    assert_int_equal(vst_channel_read(ch, into, 1, &n), VST_IO_AGAIN);
    while (!vst_test_announced(ch, VST_READ, 20))
        ;
    vst_test_announced(ch, VST_WRITE, 50);
    assert_true(lseek(fd, 0, SEEK_CUR) > VST_FILE_JOB / 2);
    assert_true(lseek(fd, 0, SEEK_CUR) <= VST_FILE_BUFFER);
    vst_channel_free(&ch);
    evbuffer_free(into);
    close(fd);
}

static atomic_uint released_elsewhere, released;
static pthread_t loop_thread;

static void release(const void *data, size_t len, void *opaque)
{
    (void)data, (void)len, (void)opaque;
    released++;
    if (!pthread_equal(pthread_self(), loop_thread))
        released_elsewhere++;
}

static void application_memory_is_released_on_the_loop(void **state)
{
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    loop_thread = pthread_self();
    evbuffer_add_reference(from, disk.bytes, 70000, release, NULL);
    assert_int_equal(vst_channel_write(ch, from, 70000, &n), VST_IO_OK);
    assert_int_equal(n, 70000);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    assert_int_equal(released, 1);
    assert_int_equal(released_elsewhere, 0);
    vst_channel_free(&ch);
    evbuffer_free(from);
    disk_expect_file(disk.bytes, 70000);
}

static off_t size_of_file(void)
{
    struct stat st;

    assert_int_equal(stat(disk.path, &st), 0);
    return st.st_size;
}

/* Nobody finishes, and nothing else makes them be written. */
static void pieces_that_come_together_are_written_together_and_soon(void **state)
{
    enum { PIECE = 10, PIECES = 100 };
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    evbuffer_add(from, disk.bytes, PIECE * PIECES);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(vst_channel_write(ch, from, PIECE, &n), VST_IO_OK);
    while (size_of_file() < PIECE * PIECES)
        event_base_loop(disk.base, EVLOOP_ONCE);
    assert_int_equal(disk.writes, 1);
    vst_channel_free(&ch);
    evbuffer_free(from);
}

static void half_a_buffer_is_written_at_once(void **state)
{
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    evbuffer_add(from, disk.bytes, VST_FILE_JOB);
    assert_int_equal(vst_channel_write(ch, from, VST_FILE_JOB, &n), VST_IO_OK);
    while (size_of_file() < VST_FILE_JOB) /* by no pass of the loop */
        usleep(1000);
    vst_channel_free(&ch);
    evbuffer_free(from);
}

static void failed_write_is_announced_to_who_waits(void **state)
{
    struct vst_channel *ch = disk_open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    disk.fail_with = ENOSPC;
    disk.writes_left = 1;
    fill_up(ch);
    vst_test_wait(ch, VST_WRITE);
    evbuffer_add(from, "x", 1);
    assert_int_equal(vst_channel_write(ch, from, 1, &n), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->system, ENOSPC);
    assert_int_equal(vst_channel_finish(ch), VST_IO_FAIL);
    evbuffer_free(from);
    vst_channel_free(&ch);
}

static enum vst_code code_of_opening(struct vst_channel *ch)
{
    enum vst_code code = VST_ERR_OK;

    if (vst_test_open(ch) == VST_IO_FAIL)
        code = vst_channel_error(ch)->code;
    vst_channel_free(&ch);
    return code;
}

static void opening_tells_what_is_missing_or_unfit(void **state)
{
    (void)state;
    assert_int_equal(code_of_opening(vst_channel_open_file(disk.base, disk.path, NULL)),
                     VST_ERR_NOT_FOUND);
    assert_int_equal(mkfifo(disk.path, 0600), 0);
    assert_int_equal(code_of_opening(vst_channel_open_file(disk.base, disk.path, NULL)),
                     VST_ERR_INVALID);
}

static void opened_file_is_read(void **state)
{
    struct vst_channel *ch;

    (void)state;
    disk_put_file((char *)disk.bytes, SIZE);
    ch = vst_channel_open_file(disk.base, disk.path, NULL);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_channel_open(ch), VST_IO_OK);
    disk_expect_reads(ch, 65536, disk.bytes, SIZE);
    vst_channel_free(&ch);
}

static void reading_before_opening_is_refused(void **state)
{
    struct vst_channel *ch = vst_channel_open_file(disk.base, disk.path, NULL);
    struct evbuffer *into = evbuffer_new();
    size_t n;

    (void)state;
    assert_int_equal(vst_channel_read(ch, into, 1, &n), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_STATE);
    vst_channel_free(&ch);
    evbuffer_free(into);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(file_is_read_whole_in_any_chunking, disk_make, disk_drop),
        VST_TEST_WITH(reading_begins_at_the_present_offset, disk_make, disk_drop),
        VST_TEST_WITH(writing_moves_the_offset_that_is_shared, disk_make, disk_drop),
        VST_TEST_WITH(short_and_interrupted_writes_are_continued, disk_make, disk_drop),
        VST_TEST_WITH(pieces_that_come_together_are_written_together_and_soon, disk_make,
                      disk_drop),
        VST_TEST_WITH(half_a_buffer_is_written_at_once, disk_make, disk_drop),
        VST_TEST_WITH(devices_that_cannot_be_polled_are_files, disk_make, disk_drop),
        VST_TEST_WITH(what_was_read_comes_before_the_error, disk_make, disk_drop),
        VST_TEST_WITH(stalled_disk_takes_one_buffer_and_leaves_the_loop_free, disk_make, disk_drop),
        VST_TEST_WITH(reads_ahead_no_more_than_one_buffer, disk_make, disk_drop),
        VST_TEST_WITH(application_memory_is_released_on_the_loop, disk_make, disk_drop),
        VST_TEST_WITH(failed_write_is_announced_to_who_waits, disk_make, disk_drop),
        VST_TEST_WITH(opening_tells_what_is_missing_or_unfit, disk_make, disk_drop),
        VST_TEST_WITH(opened_file_is_read, disk_make, disk_drop),
        VST_TEST_WITH(reading_before_opening_is_refused, disk_make, disk_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

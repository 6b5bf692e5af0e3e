/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files as channels, on disks that are full, broken, slow, or stuck; and that a new file appears
 * whole or not at all.
 */
#include "loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"

enum { SIZE = 1500 * 1000 + 7, SHORTEST = 100 * 1000 };

static struct event_base *base;
static struct vst_worker *worker;
static char dir[32];
static char path[64];
static unsigned char *bytes;

/* ---- the disk ---- */

static struct disk {
    atomic_int fail_with; /* errno of the n-th call that `n` counts down to */
    atomic_int reads_left;
    atomic_int writes_left;
    atomic_int syncs_left;
    atomic_int stuck; /* calls that wait at the gate now */
    atomic_bool gated;
    sem_t gate;
    atomic_uint writes;     /* calls */
    atomic_size_t shortest; /* no write moves more, if set, and every second one is interrupted */
    atomic_bool unnamed_refused;
    atomic_bool gate_at_sync;
    atomic_int links_left;
    atomic_int renames_left;
    atomic_int creates_left;
    atomic_uint calls;
} disk;

static int fails(atomic_int *left)
{
    if (atomic_load(left) == 0 || atomic_fetch_sub(left, 1) != 1)
        return 0;
    errno = disk.fail_with;
    return -1;
}

static void wait_at_gate(bool here)
{
    if (!disk.gated || !here)
        return;
    disk.stuck++;
    sem_wait(&disk.gate);
    disk.stuck--;
}

static int disk_openat(int at, const char *name, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && disk.unnamed_refused) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if ((flags & O_CREAT) && fails(&disk.creates_left) < 0)
        return -1;
    return openat(at, name, flags, mode);
}

static ssize_t disk_readv(int fd, const struct iovec *into, int count)
{
    wait_at_gate(!disk.gate_at_sync);
    return fails(&disk.reads_left) < 0 ? -1 : readv(fd, into, count);
}

static ssize_t disk_writev(int fd, const struct iovec *from, int count)
{
    struct iovec first = *from;

    disk.writes++;
    wait_at_gate(!disk.gate_at_sync);
    if (fails(&disk.writes_left) < 0)
        return -1;
    if (!disk.shortest)
        return writev(fd, from, count);
    if (disk.calls++ % 2) {
        errno = EINTR;
        return -1;
    }
    if (first.iov_len > disk.shortest)
        first.iov_len = disk.shortest;
    return writev(fd, &first, 1);
}

static int disk_fsync(int fd)
{
    wait_at_gate(disk.gate_at_sync);
    return fails(&disk.syncs_left) < 0 ? -1 : fsync(fd);
}

static int disk_linkat(int from, const char *old, int to, const char *name, int flags)
{
    return fails(&disk.links_left) < 0 ? -1 : linkat(from, old, to, name, flags);
}

static int disk_renameat2(int from, const char *old, int to, const char *name, unsigned flags)
{
    return fails(&disk.renames_left) < 0 ? -1 : renameat2(from, old, to, name, flags);
}

static const struct vst_file_calls disk_calls = {
    .openat = disk_openat,
    .readv = disk_readv,
    .writev = disk_writev,
    .lseek = lseek,
    .fallocate = fallocate,
    .ftruncate = ftruncate,
    .fsync = disk_fsync,
    .linkat = disk_linkat,
    .renameat2 = disk_renameat2,
    .unlinkat = unlinkat,
};

/* ---- around each test ---- */

static unsigned entries(char *ret_name)
{
    DIR *list = opendir(dir);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(list))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        count++;
        if (ret_name)
            snprintf(ret_name, 256, "%s", entry->d_name);
    }
    closedir(list);
    return count;
}

static int make(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vst-file-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/image", dir);
    bytes = malloc(SIZE);
    vst_test_fill(bytes, SIZE, 3);
    disk.fail_with = disk.reads_left = disk.writes_left = disk.syncs_left = 0;
    disk.links_left = disk.renames_left = disk.creates_left = 0;
    disk.gated = disk.gate_at_sync = disk.unnamed_refused = false;
    disk.writes = 0;
    disk.shortest = 0;
    sem_init(&disk.gate, 0, 0);
    base = event_base_new();
    worker = vst_worker_get(base, NULL);
    vst_worker_set_file_calls(worker, &disk_calls);
    return 0;
}

static void all_threads_end(void)
{
    if (worker)
        vst_worker_put(&worker);
    for (int calls = 0; disk.gated && calls < 100; calls++)
        sem_post(&disk.gate);
    vst_test_threads_end();
}

static int drop(void **state)
{
    char name[256];

    (void)state;
    all_threads_end();
    event_base_free(base);
    sem_destroy(&disk.gate);
    free(bytes);
    while (entries(name)) {
        char full[512];

        snprintf(full, sizeof(full), "%s/%s", dir, name);
        if (remove(full) < 0)
            return -1;
    }
    return rmdir(dir);
}

static void put_file(const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static void assert_file_is(const void *expected, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char *read_back = malloc(len + 1);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, read_back, len + 1), len);
    assert_memory_equal(read_back, expected, len);
    free(read_back);
    close(fd);
}

static struct vst_channel *open_path(int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    struct vst_channel *ch;

    assert_true(fd >= 0);
    ch = vst_channel_any_fd(base, &fd, NULL);
    assert_non_null(ch);
    assert_int_equal(fd, -1);
    return ch;
}

static struct vst_channel *new_file(unsigned flags)
{
    struct vst_channel *ch = vst_channel_new_file(base, path, flags, NULL);

    assert_non_null(ch);
    return ch;
}

static void assert_reads_as(struct vst_channel *ch, size_t max, const void *expected, size_t len)
{
    struct evbuffer *into = evbuffer_new();

    assert_int_equal(vst_test_drain(ch, into, max), VST_IO_EOF);
    assert_int_equal(evbuffer_get_length(into), len);
    assert_memory_equal(evbuffer_pullup(into, -1), expected, len);
    evbuffer_free(into);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- tests ---- */

static void file_is_read_whole_in_any_chunking(void **state)
{
    static const size_t chunks[] = {1000, 65536, 65537, 1 << 20, 1 << 30};

    (void)state;
    put_file((char *)bytes, SIZE);
    for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
        struct vst_channel *ch = open_path(O_RDONLY);

        assert_reads_as(ch, chunks[i], bytes, SIZE);
        vst_channel_free(&ch);
    }
}

static void reading_begins_at_the_present_offset(void **state)
{
    int fd;
    struct vst_channel *ch;

    (void)state;
    put_file("0123456789", 10);
    fd = open(path, O_RDONLY);
    lseek(fd, 7, SEEK_SET);
    ch = vst_channel_file(base, &fd, NULL);
    assert_reads_as(ch, 100, "789", 3);
    vst_channel_free(&ch);
}

/* As a shell expects of "(echo a; program; echo b) > file". */
static void writing_moves_the_offset_that_is_shared(void **state)
{
    int fd, shared;
    struct vst_channel *ch;

    (void)state;
    put_file("", 0);
    shared = open(path, O_WRONLY);
    assert_int_equal(write(shared, "a", 1), 1);
    fd = dup(shared);
    ch = vst_channel_file(base, &fd, NULL);
    assert_int_equal(vst_test_send(ch, "middle", 6), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_int_equal(write(shared, "b", 1), 1);
    close(shared);
    assert_file_is("amiddleb", 8);
}

static void short_and_interrupted_writes_are_continued(void **state)
{
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);

    (void)state;
    disk.shortest = 9999;
    assert_int_equal(vst_test_send(ch, bytes, SIZE), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_file_is(bytes, SIZE);
}

static void devices_that_cannot_be_polled_are_files(void **state)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct vst_channel *ch = vst_channel_any_fd(base, &fd, NULL);

    (void)state;
    assert_string_equal(ch->ops->name, "file");
    assert_int_equal(vst_test_send(ch, bytes, SIZE), VST_IO_OK);
    assert_reads_as(ch, 10, "", 0);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
}

static void what_was_read_comes_before_the_error(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_channel *ch;

    (void)state;
    put_file((char *)bytes, SIZE);
    ch = open_path(O_RDONLY);
    disk.reads_left = 10;
    disk.fail_with = EIO;
    assert_int_equal(vst_test_drain(ch, into, 100000), VST_IO_FAIL);
    assert_true(evbuffer_get_length(into) >= 9 * 60000);
    assert_memory_equal(evbuffer_pullup(into, -1), bytes, evbuffer_get_length(into));
    assert_int_equal(vst_channel_error(ch)->system, EIO);
    vst_channel_free(&ch);
    evbuffer_free(into);
}

/* How far one can write into a channel before it says AGAIN. */
static size_t fill_up(struct vst_channel *ch)
{
    struct evbuffer *from = evbuffer_new();
    size_t n, sum = 0;

    evbuffer_add(from, bytes, SIZE);
    while (evbuffer_get_length(from) && vst_channel_write(ch, from, 50000, &n) == VST_IO_OK)
        sum += n;
    evbuffer_free(from);
    return sum;
}

static void wait_until_stuck(void)
{
    while (!disk.stuck)
        usleep(1000);
}

/* Sleeps between the turns: who uses up the processor has it taken away for longer than this. */
static double longest_turn(unsigned turns)
{
    double longest = 0;

    while (turns--) {
        double turn = now();

        event_base_loop(base, EVLOOP_NONBLOCK);
        turn = now() - turn;
        longest = turn > longest ? turn : longest;
        usleep(1000);
    }
    return longest;
}

/* The best of some tries, for the same reason. */
static void stalled_disk_takes_one_buffer_and_leaves_the_loop_free(void **state)
{
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);
    double longest = 1;
    size_t taken;

    (void)state;
    disk.gated = true;
    taken = fill_up(ch);
    assert_true(taken <= VST_FILE_BUFFER && taken > VST_FILE_BUFFER - VST_BLOCK);
    wait_until_stuck();
    for (int tries = 0; tries < 10 && longest >= 0.010; tries++)
        longest = longest_turn(200);
    print_message("# longest turn of the loop with a stuck disk: %.3f ms\n", longest * 1e3);
    assert_true(longest < 0.010);
    /* Were one of these to wait for the disk, the time guard would tell. */
    vst_channel_free(&ch);
    vst_worker_put(&worker);
    assert_int_equal(disk.stuck, 1);
}

static void reads_ahead_no_more_than_one_buffer(void **state)
{
    struct evbuffer *into = evbuffer_new();
    struct vst_channel *ch;
    size_t n;
    int fd;

    (void)state;
    put_file((char *)bytes, SIZE);
    fd = open(path, O_RDONLY);
    n = (size_t)dup(fd);
    ch = vst_channel_file(base, &fd, NULL);
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
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    loop_thread = pthread_self();
    evbuffer_add_reference(from, bytes, 70000, release, NULL);
    assert_int_equal(vst_channel_write(ch, from, 70000, &n), VST_IO_OK);
    assert_int_equal(n, 70000);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    assert_int_equal(released, 1);
    assert_int_equal(released_elsewhere, 0);
    vst_channel_free(&ch);
    evbuffer_free(from);
    assert_file_is(bytes, 70000);
}

static off_t size_of_file(void)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Nobody finishes, and nothing else makes them be written. */
static void pieces_that_come_together_are_written_together_and_soon(void **state)
{
    enum { PIECE = 10, PIECES = 100 };
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    evbuffer_add(from, bytes, PIECE * PIECES);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(vst_channel_write(ch, from, PIECE, &n), VST_IO_OK);
    while (size_of_file() < PIECE * PIECES)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(disk.writes, 1);
    vst_channel_free(&ch);
    evbuffer_free(from);
}

static void half_a_buffer_is_written_at_once(void **state)
{
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);
    struct evbuffer *from = evbuffer_new();
    size_t n;

    (void)state;
    evbuffer_add(from, bytes, VST_FILE_JOB);
    assert_int_equal(vst_channel_write(ch, from, VST_FILE_JOB, &n), VST_IO_OK);
    while (size_of_file() < VST_FILE_JOB) /* by no pass of the loop */
        usleep(1000);
    vst_channel_free(&ch);
    evbuffer_free(from);
}

static void new_file_appears_whole_and_private_when_finished(void **state)
{
    struct vst_channel *ch = new_file(0);
    struct stat st;

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, bytes, SIZE), VST_IO_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    assert_int_equal(vst_channel_finish(ch), VST_IO_OK);
    assert_file_is(bytes, SIZE);
    vst_channel_free(&ch);
    stat(path, &st);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(entries(NULL), 1);
}

static void new_file_replaces_the_old_one_at_once(void **state)
{
    struct vst_channel *ch = new_file(0);

    (void)state;
    put_file("old", 3);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "newer", 5), VST_IO_OK);
    assert_file_is("old", 3);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    assert_file_is("newer", 5);
    vst_channel_free(&ch);
    assert_int_equal(entries(NULL), 1);
}

static void empty_new_file_is_a_file(void **state)
{
    struct vst_channel *ch = new_file(0);

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_file_is("", 0);
}

static void file_system_without_unnamed_files_gets_a_hidden_name(void **state)
{
    struct vst_channel *ch = new_file(0);
    char name[256];

    (void)state;
    disk.unnamed_refused = true;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, bytes, 1000), VST_IO_OK);
    assert_int_equal(entries(name), 1);
    assert_int_equal(name[0], '.');
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_file_is(bytes, 1000);
    assert_int_equal(entries(NULL), 1);
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
    struct vst_channel *ch = new_file(0);

    put_file("old", 3);
    disk.unnamed_refused = !unnamed;
    vst_channel_open(ch);
    if (opened)
        assert_int_equal(vst_test_open(ch), VST_IO_OK);
    if (written)
        assert_int_equal(vst_test_send(ch, bytes, written), VST_IO_OK);
    how(&ch);
    vst_worker_put(&worker);
    all_threads_end();
    assert_int_equal(entries(NULL), 1);
    assert_file_is("old", 3);
    worker = vst_worker_get(base, NULL);
    vst_worker_set_file_calls(worker, &disk_calls);
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
    struct vst_channel *ch = new_file(0);

    (void)state;
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    disk.links_left = disk.renames_left = disk.creates_left = 0;
    disk.gated = disk.gate_at_sync = true;
    assert_int_equal(vst_channel_finish(ch), VST_IO_AGAIN);
    wait_until_stuck();
    by_abort(&ch);
    all_threads_end();
    assert_int_equal(entries(NULL), 0);
}

/* Sends and finishes with the n-th call of that kind failing; true if it came so far. */
static bool fails_at(atomic_int *left, int n, int number)
{
    struct vst_channel *ch = new_file(0);
    enum vst_io io;
    bool reached;

    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    disk.fail_with = number;
    *left = n;
    io = vst_test_send(ch, bytes, SIZE);
    if (io == VST_IO_OK)
        io = vst_test_finish(ch);
    reached = *left == 0;
    *left = 0;
    assert_int_equal(io, reached ? VST_IO_FAIL : VST_IO_OK);
    if (reached) {
        assert_int_equal(vst_channel_error(ch)->system, number);
        assert_non_null(strstr(vst_channel_error(ch)->text, path));
        /* Nothing is left by the time that it is told, with or without a hidden name. */
        assert_int_equal(entries(NULL), 1);
    }
    vst_channel_free(&ch);
    vst_worker_put(&worker);
    all_threads_end();
    worker = vst_worker_get(base, NULL);
    vst_worker_set_file_calls(worker, &disk_calls);
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
        put_file("old", 3);
        while (fails_at(&disk.writes_left, writes, numbers[i])) {
            assert_file_is("old", 3);
            assert_int_equal(entries(NULL), 1);
            writes++;
        }
        assert_true(writes > SIZE / SHORTEST);
        disk.shortest = 0;
        assert_file_is(bytes, SIZE);
        put_file("old", 3);
        assert_true(fails_at(&disk.syncs_left, 1, numbers[i]));
        assert_file_is("old", 3);
        /* The second is that of the directory: the file is there, but maybe not for long. */
        assert_true(fails_at(&disk.syncs_left, 2, numbers[i]));
        assert_file_is(bytes, SIZE);
        assert_false(fails_at(&disk.syncs_left, 3, numbers[i]));
    }
}

static void failed_naming_leaves_the_old_file(void **state)
{
    (void)state;
    put_file("old", 3);
    assert_true(fails_at(&disk.links_left, 1, EMLINK));
    assert_true(fails_at(&disk.renames_left, 1, EIO));
    assert_file_is("old", 3);
    assert_int_equal(entries(NULL), 1);
}

static void name_that_is_taken_is_no_failure_as_there_are_others(void **state)
{
    (void)state;
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        atomic_int *left = unnamed ? &disk.links_left : &disk.creates_left;
        struct vst_channel *ch = new_file(0);

        disk.unnamed_refused = !unnamed;
        disk.fail_with = EEXIST;
        *left = 1;
        assert_int_equal(vst_test_open(ch), VST_IO_OK);
        assert_int_equal(vst_test_send(ch, bytes, SIZE), VST_IO_OK);
        assert_int_equal(vst_test_finish(ch), VST_IO_OK);
        assert_int_equal(*left, 0);
        vst_channel_free(&ch);
        assert_file_is(bytes, SIZE);
        assert_int_equal(entries(NULL), 1);
    }
}

static void file_that_cannot_be_created_is_an_error_at_opening(void **state)
{
    struct vst_channel *ch = new_file(0);

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
    struct vst_channel *ch = vst_channel_new_file(base, "image", 0, NULL);
    int before = open(".", O_PATH | O_CLOEXEC);

    (void)state;
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "here", 4), VST_IO_OK);
    assert_int_equal(vst_test_finish(ch), VST_IO_OK);
    vst_channel_free(&ch);
    assert_int_equal(fchdir(before), 0);
    close(before);
    assert_file_is("here", 4);
}

static void failed_write_is_announced_to_who_waits(void **state)
{
    struct vst_channel *ch = open_path(O_WRONLY | O_CREAT);
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

static void existing_file_is_kept_when_told_so(void **state)
{
    struct vst_channel *ch = new_file(VST_FILE_NO_REPLACE);

    (void)state;
    put_file("old", 3);
    assert_int_equal(vst_test_open(ch), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_EXISTS);
    vst_channel_free(&ch);
    remove(path);
    ch = new_file(VST_FILE_NO_REPLACE);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_test_send(ch, "new", 3), VST_IO_OK);
    put_file("meanwhile", 9);
    assert_int_equal(vst_test_finish(ch), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(ch)->code, VST_ERR_EXISTS);
    vst_channel_free(&ch);
    all_threads_end();
    assert_file_is("meanwhile", 9);
    assert_int_equal(entries(NULL), 1);
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
    snprintf(other, sizeof(other), "%s/", dir);
    assert_int_equal(code_of_opening(vst_channel_new_file(base, other, 0, NULL)), VST_ERR_INVALID);
    snprintf(other, sizeof(other), "%s/none/image", dir);
    assert_int_equal(code_of_opening(vst_channel_new_file(base, other, 0, NULL)),
                     VST_ERR_NOT_FOUND);
    assert_int_equal(code_of_opening(vst_channel_new_file(base, "/dev/null", 0, NULL)),
                     VST_ERR_INVALID);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(code_of_opening(new_file(0)), VST_ERR_INVALID);
    remove(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(code_of_opening(new_file(0)), VST_ERR_INVALID);
}

static void opening_tells_what_is_missing_or_unfit(void **state)
{
    (void)state;
    assert_int_equal(code_of_opening(vst_channel_open_file(base, path, NULL)), VST_ERR_NOT_FOUND);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(code_of_opening(vst_channel_open_file(base, path, NULL)), VST_ERR_INVALID);
}

static void opened_file_is_read(void **state)
{
    struct vst_channel *ch;

    (void)state;
    put_file((char *)bytes, SIZE);
    ch = vst_channel_open_file(base, path, NULL);
    assert_int_equal(vst_test_open(ch), VST_IO_OK);
    assert_int_equal(vst_channel_open(ch), VST_IO_OK);
    assert_reads_as(ch, 65536, bytes, SIZE);
    vst_channel_free(&ch);
}

static void reading_before_opening_is_refused(void **state)
{
    struct vst_channel *ch = vst_channel_open_file(base, path, NULL);
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
        VST_TEST_WITH(file_is_read_whole_in_any_chunking, make, drop),
        VST_TEST_WITH(reading_begins_at_the_present_offset, make, drop),
        VST_TEST_WITH(writing_moves_the_offset_that_is_shared, make, drop),
        VST_TEST_WITH(short_and_interrupted_writes_are_continued, make, drop),
        VST_TEST_WITH(pieces_that_come_together_are_written_together_and_soon, make, drop),
        VST_TEST_WITH(half_a_buffer_is_written_at_once, make, drop),
        VST_TEST_WITH(devices_that_cannot_be_polled_are_files, make, drop),
        VST_TEST_WITH(what_was_read_comes_before_the_error, make, drop),
        VST_TEST_WITH(stalled_disk_takes_one_buffer_and_leaves_the_loop_free, make, drop),
        VST_TEST_WITH(reads_ahead_no_more_than_one_buffer, make, drop),
        VST_TEST_WITH(application_memory_is_released_on_the_loop, make, drop),
        VST_TEST_WITH(new_file_appears_whole_and_private_when_finished, make, drop),
        VST_TEST_WITH(new_file_replaces_the_old_one_at_once, make, drop),
        VST_TEST_WITH(empty_new_file_is_a_file, make, drop),
        VST_TEST_WITH(file_system_without_unnamed_files_gets_a_hidden_name, make, drop),
        VST_TEST_WITH(unfinished_new_file_leaves_nothing_behind, make, drop),
        VST_TEST_WITH(new_file_aborted_while_it_syncs_does_not_appear, make, drop),
        VST_TEST_WITH(every_write_and_sync_that_fails_leaves_the_old_file, make, drop),
        VST_TEST_WITH(failed_naming_leaves_the_old_file, make, drop),
        VST_TEST_WITH(name_that_is_taken_is_no_failure_as_there_are_others, make, drop),
        VST_TEST_WITH(file_that_cannot_be_created_is_an_error_at_opening, make, drop),
        VST_TEST_WITH(path_without_a_slash_is_in_this_directory, make, drop),
        VST_TEST_WITH(failed_write_is_announced_to_who_waits, make, drop),
        VST_TEST_WITH(existing_file_is_kept_when_told_so, make, drop),
        VST_TEST_WITH(only_regular_files_are_replaced, make, drop),
        VST_TEST_WITH(opening_tells_what_is_missing_or_unfit, make, drop),
        VST_TEST_WITH(opened_file_is_read, make, drop),
        VST_TEST_WITH(reading_before_opening_is_refused, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

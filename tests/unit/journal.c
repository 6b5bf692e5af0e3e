/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's file: who may write it, what a restart finds, and disks that are full.
 */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "drivers/qemu/journal.h"

static char dir[] = "/tmp/virstream-journal.XXXXXX", path[64];
static struct event_base *base;
static struct vst_worker *worker;
static struct vst_journal_file *file;
static unsigned answers, errors;

static int make(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/virstream-journal.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/journal", dir);
    base = event_base_new();
    worker = vst_worker_get(base, NULL);
    answers = errors = 0;
    return vst_journal_open(dir, &file, NULL);
}

static int clear(void **state)
{
    char other[64];

    (void)state;
    vst_journal_close(&file);
    vst_worker_put(&worker);
    event_base_free(base);
    unlink(path);
    snprintf(other, sizeof(other), "%s/lock", dir);
    unlink(other);
    snprintf(other, sizeof(other), "%s/journal.new", dir);
    unlink(other);
    /* A job that was abandoned may still be at it. */
    for (unsigned tries = 0; rmdir(dir) < 0 && tries < 100; tries++)
        usleep(10000);
    return 0;
}

/* In the place of the C library's: which directories were synced. */
static ino_t synced[16];
static unsigned syncs;

int fsync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && syncs < sizeof(synced) / sizeof(*synced))
        synced[syncs++] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static bool is_synced(const char *directory)
{
    struct stat st;

    assert_int_equal(stat(directory, &st), 0);
    for (unsigned i = 0; i < syncs; i++)
        if (synced[i] == st.st_ino)
            return true;
    return false;
}

static void written(void *opaque, const struct vst_journal_entry *entry,
                    const struct vst_error *err)
{
    (void)opaque, (void)entry;
    answers++;
    errors += err != NULL;
}

static void append(unsigned token, enum vst_handover_record last)
{
    struct vst_journal_entry entry = {.role = VST_HANDOVER_SOURCE, .last = last, .guest = "g1"};

    memcpy(entry.token, &token, sizeof(token));
    assert_int_equal(vst_journal_append(file, worker, &entry, written, NULL, NULL), 0);
}

static void wait_for(unsigned wanted)
{
    while (answers < wanted)
        event_base_loop(base, EVLOOP_ONCE);
}

static void reopen(void)
{
    vst_journal_close(&file);
    assert_int_equal(vst_journal_open(dir, &file, NULL), 0);
}

static enum vst_handover_record last_of(unsigned token)
{
    unsigned char id[VST_HANDOVER_ID] = {0};
    const struct vst_journal_entry *entry;

    memcpy(id, &token, sizeof(token));
    entry = vst_journal_find(vst_journal_known(file), id, VST_HANDOVER_SOURCE);
    return entry ? entry->last : VST_HANDOVER_RECORD_NOTHING;
}

static void the_identity_is_made_once_and_another_each_time(void **state)
{
    unsigned char first[VST_HANDOVER_ID];

    (void)state;
    memcpy(first, vst_journal_known(file)->host, sizeof(first));
    reopen();
    assert_memory_equal(first, vst_journal_known(file)->host, sizeof(first));
    unlink(path);
    reopen();
    assert_memory_not_equal(first, vst_journal_known(file)->host, sizeof(first));
}

static void records_are_there_after_a_restart_in_their_order(void **state)
{
    (void)state;
    append(1, VST_HANDOVER_RECORD_BEGIN);
    append(2, VST_HANDOVER_RECORD_BEGIN);
    append(1, VST_HANDOVER_RECORD_SWITCHING);
    append(2, VST_HANDOVER_RECORD_DONE);
    assert_int_equal(answers, 0);
    wait_for(4);
    assert_int_equal(errors, 0);
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_SWITCHING);
    assert_int_equal(last_of(2), VST_HANDOVER_RECORD_NOTHING);
}

static void directories_that_are_made_stay_made(void **state)
{
    char in[64], deeper[64], entry[80];
    struct vst_journal_file *other;

    (void)state;
    snprintf(in, sizeof(in), "%s/in", dir);
    snprintf(deeper, sizeof(deeper), "%s/in/deeper", dir);
    syncs = 0;
    assert_int_equal(vst_journal_open(deeper, &other, NULL), 0);
    assert_true(is_synced(dir));
    assert_true(is_synced(in));
    assert_true(is_synced(deeper)); /* which has the journal */
    vst_journal_close(&other);
    syncs = 0;
    assert_int_equal(vst_journal_open(deeper, &other, NULL), 0);
    assert_int_equal(syncs, 0); /* nothing was made */
    vst_journal_close(&other);
    snprintf(entry, sizeof(entry), "%s/journal", deeper);
    unlink(entry);
    snprintf(entry, sizeof(entry), "%s/lock", deeper);
    unlink(entry);
    rmdir(deeper);
    rmdir(in);
}

static void a_torn_tail_is_cut_off_and_written_over(void **state)
{
    struct stat st;

    (void)state;
    append(1, VST_HANDOVER_RECORD_BEGIN);
    append(1, VST_HANDOVER_RECORD_HANDED_OVER);
    wait_for(2);
    assert_int_equal(truncate(path, 3 * VST_JOURNAL_RECORD - 100), 0);
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_BEGIN);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 2 * VST_JOURNAL_RECORD);
    append(1, VST_HANDOVER_RECORD_SWITCHING);
    wait_for(3);
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_SWITCHING);
}

static void damage_is_told_and_changes_nothing(void **state)
{
    struct vst_error err = {0};
    struct stat st;
    int fd;

    (void)state;
    append(1, VST_HANDOVER_RECORD_BEGIN);
    append(1, VST_HANDOVER_RECORD_HANDED_OVER);
    wait_for(2);
    vst_journal_close(&file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, VST_JOURNAL_RECORD + 30), 1);
    close(fd);
    assert_int_equal(vst_journal_open(dir, &file, &err), -1);
    assert_int_equal(err.code, VST_ERR_DAMAGED);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3 * VST_JOURNAL_RECORD);
}

static void one_process_has_it(void **state)
{
    struct vst_journal_file *other;
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_journal_open(dir, &other, &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
}

static void where_others_may_write_it_is_refused(void **state)
{
    struct vst_error err = {0};

    (void)state;
    vst_journal_close(&file);
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(vst_journal_open(dir, &file, &err), -1);
    assert_int_equal(err.code, VST_ERR_ACCESS);
}

static void a_long_journal_becomes_short(void **state)
{
    struct stat st;

    (void)state;
    vst_test_seconds(120);
    append(1, VST_HANDOVER_RECORD_HANDED_OVER);
    for (unsigned i = 0; i < VST_JOURNAL_SPARE + 200; i++)
        append(2, VST_HANDOVER_RECORD_BEGIN);
    wait_for(VST_JOURNAL_SPARE + 201);
    assert_int_equal(errors, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 100 * VST_JOURNAL_RECORD, 300 * VST_JOURNAL_RECORD);
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_HANDED_OVER);
    assert_int_equal(last_of(2), VST_HANDOVER_RECORD_BEGIN);
}

/* One that has as many tokens as it may. */
static void fill(void)
{
    unsigned char host[VST_HANDOVER_ID] = "some host", record[VST_JOURNAL_RECORD];
    int fd;

    vst_journal_close(&file);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    vst_journal_encode_host(host, 1, record);
    assert_int_equal(write(fd, record, sizeof(record)), sizeof(record));
    for (unsigned i = 0; i < VST_JOURNAL_TOKENS; i++) {
        struct vst_journal_entry entry = {.last = VST_HANDOVER_RECORD_HANDED_OVER, .guest = "g1"};

        memcpy(entry.token, &i, sizeof(i));
        vst_journal_encode(&entry, 2 + i, record);
        assert_int_equal(write(fd, record, sizeof(record)), sizeof(record));
    }
    close(fd);
    assert_int_equal(vst_journal_open(dir, &file, NULL), 0);
}

static void what_a_full_journal_cannot_take_is_not_written(void **state)
{
    struct stat before, after;

    (void)state;
    vst_test_seconds(120);
    fill();
    assert_int_equal(stat(path, &before), 0);
    for (unsigned i = 0; i < 20; i++)
        append(60000, VST_HANDOVER_RECORD_DISOWNED);
    wait_for(20);
    assert_int_equal(errors, 20);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    /* What began goes on, and after a restart, too. */
    append(1, VST_HANDOVER_RECORD_ABORTED);
    append(2, VST_HANDOVER_RECORD_DONE);
    append(60000, VST_HANDOVER_RECORD_BEGIN);
    wait_for(23);
    assert_int_equal(errors, 20);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino); /* not written anew: no write had failed */
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_ABORTED);
    assert_int_equal(last_of(2), VST_HANDOVER_RECORD_NOTHING);
    assert_int_equal(last_of(60000), VST_HANDOVER_RECORD_BEGIN);
}

static void after_a_full_disk_it_goes_on(void **state)
{
    struct rlimit was, small;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    append(1, VST_HANDOVER_RECORD_BEGIN);
    wait_for(1);
    getrlimit(RLIMIT_FSIZE, &was);
    small = (struct rlimit){2 * VST_JOURNAL_RECORD + 300, was.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    append(1, VST_HANDOVER_RECORD_HANDED_OVER); /* a part of it gets there */
    append(1, VST_HANDOVER_RECORD_HANDED_OVER);
    wait_for(3);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(errors, 2);
    append(1, VST_HANDOVER_RECORD_ABORTED);
    wait_for(4);
    assert_int_equal(errors, 2);
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_ABORTED);
}

static void what_could_not_be_written_comes_with_the_next_record(void **state)
{
    struct rlimit was, small;
    struct stat st;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    append(1, VST_HANDOVER_RECORD_BEGIN);
    append(2, VST_HANDOVER_RECORD_BEGIN);
    wait_for(2);
    getrlimit(RLIMIT_FSIZE, &was);
    small = (struct rlimit){300, was.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    append(1, VST_HANDOVER_RECORD_SWITCHING);
    append(1, VST_HANDOVER_RECORD_RETURNED);
    append(2, VST_HANDOVER_RECORD_DONE);
    append(3, VST_HANDOVER_RECORD_BEGIN);
    wait_for(6);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(errors, 4);
    assert_non_null(strstr(vst_journal_trouble(file)->text, "File too large"));
    append(4, VST_HANDOVER_RECORD_BEGIN);
    wait_for(7);
    assert_int_equal(errors, 4);
    assert_null(vst_journal_trouble(file));
    append(4, VST_HANDOVER_RECORD_SWITCHING); /* and it goes on as ever */
    wait_for(8);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5 * VST_JOURNAL_RECORD); /* the identity, 1, 3, and twice 4 */
    reopen();
    assert_int_equal(last_of(1), VST_HANDOVER_RECORD_RETURNED);
    assert_int_equal(last_of(2), VST_HANDOVER_RECORD_NOTHING);
    assert_int_equal(last_of(3), VST_HANDOVER_RECORD_BEGIN);
    assert_int_equal(last_of(4), VST_HANDOVER_RECORD_SWITCHING);
}

static void it_closes_with_writes_on_their_way(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        append(i, VST_HANDOVER_RECORD_BEGIN);
    vst_journal_close(&file);
    assert_null(file);
    assert_int_equal(answers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(the_identity_is_made_once_and_another_each_time, make, clear),
        VST_TEST_WITH(records_are_there_after_a_restart_in_their_order, make, clear),
        VST_TEST_WITH(directories_that_are_made_stay_made, make, clear),
        VST_TEST_WITH(a_torn_tail_is_cut_off_and_written_over, make, clear),
        VST_TEST_WITH(damage_is_told_and_changes_nothing, make, clear),
        VST_TEST_WITH(one_process_has_it, make, clear),
        VST_TEST_WITH(where_others_may_write_it_is_refused, make, clear),
        VST_TEST_WITH(a_long_journal_becomes_short, make, clear),
        VST_TEST_WITH(what_a_full_journal_cannot_take_is_not_written, make, clear),
        VST_TEST_WITH(after_a_full_disk_it_goes_on, make, clear),
        VST_TEST_WITH(what_could_not_be_written_comes_with_the_next_record, make, clear),
        VST_TEST_WITH(it_closes_with_writes_on_their_way, make, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

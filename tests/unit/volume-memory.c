/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation fails once in every method of volumes: then it says so, the volume is the old or
 * the new one, and nothing else is left. The sweep ends when a run passes without a failure.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app.h"
#include "loop.h"
#include "memory.h"

enum { MOST = 20000, LEN = 200 * 1000 };

static struct event_base *base;
static char dir[64], uri[128], path[80];
static unsigned char old_bytes[LEN], new_bytes[LEN];

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

static int make(void **state)
{
    (void)state;
    event_set_log_callback(discard); /* libevent tells of every failure */
    base = event_base_new();
    assert_non_null(mkdtemp(strcpy(dir, "/tmp/virstream-memory-XXXXXX")));
    snprintf(uri, sizeof(uri), "test:///?domains=0&pool.p=%s", dir);
    snprintf(path, sizeof(path), "%s/one", dir);
    vst_test_fill(old_bytes, LEN, 1);
    vst_test_fill(new_bytes, LEN, 2);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    unlink(path);
    return rmdir(dir);
}

/* ---- the volume ---- */

static void put_old(void)
{
    FILE *file = fopen(path, "we");

    assert_int_equal(fwrite(old_bytes, 1, LEN, file), LEN);
    fclose(file);
}

/* Without stdio, which needs memory, too. */
static bool is_file(const unsigned char *bytes)
{
    static unsigned char found[LEN + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = read(fd, found, sizeof(found)) == LEN && memcmp(found, bytes, LEN) == 0;

    close(fd);
    return same;
}

static unsigned entries(void)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(list)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(list);
    return count;
}

/* ---- calls that may find no memory ---- */

static bool succeeds(struct vst_op *op, struct outcome *outcome)
{
    while (!outcome->released)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    if (!op)
        return false;
    assert_int_equal(outcome->calls, 1);
    if (outcome->err.code != VST_ERR_OK && outcome->err.code != VST_ERR_NO_MEMORY)
        fail_msg("%s: %s", vst_code_name(outcome->err.code), outcome->err.text);
    return outcome->err.code == VST_ERR_OK;
}

static bool upload(struct vst_conn *conn, const struct vst_volume_upload_options *opt)
{
    struct vst_stream *stream = vst_stream_new(base, NULL);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    struct end end;
    bool good =
        stream && bytes && evbuffer_add_reference(bytes, new_bytes, LEN, NULL, NULL) == 0 &&
        end_feed(&end, base, stream, bytes, (struct manner){.chunk = 50000}) == 0 &&
        succeeds(vst_volume_upload(conn, "p/one", stream, opt, outcome_done(&outcome)), &outcome);

    vst_stream_free(&stream);
    if (bytes)
        evbuffer_free(bytes);
    return good;
}

static bool download(struct vst_conn *conn)
{
    struct vst_stream *stream = vst_stream_new(base, NULL);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    struct end end;
    bool good = stream && bytes && end_drain(&end, base, stream, bytes, (struct manner){0}) == 0 &&
                succeeds(vst_volume_download(conn, "p/one", stream, NULL, outcome_done(&outcome)),
                         &outcome);

    if (good)
        assert_int_equal(evbuffer_get_length(bytes), LEN);
    vst_stream_free(&stream);
    if (bytes)
        evbuffer_free(bytes);
    return good;
}

static void on_volumes(const struct vst_volume_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    struct outcome *outcome = opaque;

    if (!err) {
        assert_int_equal(count, 1);
        assert_string_equal(infos->name, "p/one");
    }
    outcome_done(outcome)->fn(err, outcome);
}

static void on_release(void *opaque)
{
    ((struct outcome *)opaque)->released++;
}

static bool list(struct vst_conn *conn)
{
    struct outcome outcome = {0};
    struct vst_volume_cb cb = {on_volumes, &outcome, on_release};

    return succeeds(vst_volume_list(conn, NULL, &cb), &outcome);
}

static bool delete (struct vst_conn *conn)
{
    struct outcome outcome = {0};

    return succeeds(vst_volume_delete(conn, "p/one", outcome_done(&outcome)), &outcome);
}

/* A whole life; true if an allocation failed in it. */
static bool live(bool in_place)
{
    struct vst_volume_upload_options opt = {.in_place = in_place};
    struct outcome outcome = {0};
    bool good = succeeds(vst_conn_open(base, uri, NULL, outcome_conn(&outcome)), &outcome);
    bool uploaded = good && upload(outcome.conn, &opt);
    bool there, deleted, failed;

    good = uploaded && list(outcome.conn) && download(outcome.conn);
    there = access(path, F_OK) == 0;
    if (there && !in_place)
        assert_true(uploaded ? is_file(new_bytes) : is_file(old_bytes) || is_file(new_bytes));
    deleted = good && delete (outcome.conn);
    failed = memory_stop_failing();
    assert_true(failed || deleted);
    vst_conn_close(&outcome.conn);
    event_base_dispatch(base);
    vst_test_threads_end();
    assert_int_equal(entries(), access(path, F_OK) == 0);
    return failed;
}

static void sweep(bool in_place)
{
    unsigned after = 0;
    bool failed = true;

    vst_test_seconds(vst_test_long() ? 600 : 120);
    for (; failed; after++) {
        assert_in_range(after, 0, MOST);
        put_old();
        memory_fail_once(after);
        failed = live(in_place);
    }
    print_message("# %u allocations\n", after);
    if (memory_can_fail())
        assert_in_range(after, 50, MOST);
}

static void a_volume_survives(void **state)
{
    (void)state;
    sweep(false);
}

static void writing_in_place_says_so(void **state)
{
    (void)state;
    sweep(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_volume_survives, make, drop),
        VST_TEST_WITH(writing_in_place_says_so, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Volumes of a connection in this process: what is uploaded is downloaded, a name stays in its
 * pool, and whatever fails leaves the old volume and nothing else.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app.h"
#include "core/file.h"
#include "loop.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static struct app app;
static struct vst_worker *worker;
static char dir[64], pool[80], other[80];

/* ---- around each test ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static void connect_to_pools(void)
{
    char uri[256];

    snprintf(uri, sizeof(uri), "test:///?domains=0&pool.p=%s&pool.other=%s/other", pool, dir);
    app_start(&app, uri);
    worker = vst_worker_get(app.base, NULL);
}

static void disconnect(void)
{
    vst_worker_put(&worker);
    app_stop(&app);
    vst_test_threads_end();
}

static int make(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vst-volume-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(pool, sizeof(pool), "%s/pool", dir);
    snprintf(other, sizeof(other), "%s/other", dir);
    if (mkdir(pool, 0700) < 0 || mkdir(other, 0700) < 0)
        return -1;
    connect_to_pools();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    disconnect();
    return nftw(dir, remove_one, 10, FTW_DEPTH | FTW_PHYS);
}

/* ---- files of the pool ---- */

static const char *in_pool(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", pool, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(in_pool(name), "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect_file(const char *name, const char *text)
{
    char found[200] = "";
    FILE *file = fopen(in_pool(name), "re");

    assert_non_null(file);
    found[fread(found, 1, sizeof(found) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(found, text);
}

static unsigned entries;

static int count_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)path, (void)st, (void)kind;
    entries += walk->level > 0;
    return 0;
}

/* Hidden ones count. */
static void expect_entries(unsigned expected)
{
    entries = 0;
    assert_int_equal(nftw(pool, count_one, 10, FTW_PHYS), 0);
    assert_int_equal(entries, expected);
}

static struct stat stat_of(const char *name)
{
    struct stat st;

    assert_int_equal(stat(in_pool(name), &st), 0);
    return st;
}

/* ---- methods as calls that wait ---- */

static struct vst_error err; /* of the last one */

static enum vst_code await(struct outcome *outcome)
{
    outcome_await(app.base, outcome);
    err = outcome->err;
    return err.code;
}

static enum vst_code upload(const char *volume, const char *text,
                            const struct vst_volume_upload_options *opt)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct outcome outcome = {0};
    size_t n;

    assert_int_equal(vst_stream_write(stream, text, strlen(text), &n), VST_IO_OK);
    assert_int_equal(n, strlen(text));
    vst_stream_finish(stream);
    vst_volume_upload(app.conn, volume, stream, opt, outcome_done(&outcome));
    await(&outcome);
    vst_stream_free(&stream);
    return err.code;
}

static enum vst_code upload_file(const char *volume, const char *path,
                                 const struct vst_volume_upload_options *opt)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct outcome outcome = {0};

    assert_int_equal(vst_stream_set_source_file(stream, path), 0);
    vst_volume_upload(app.conn, volume, stream, opt, outcome_done(&outcome));
    await(&outcome);
    vst_stream_free(&stream);
    return err.code;
}

static char got[200];
static uint64_t total;

static enum vst_code download(const char *volume, const struct vst_volume_download_options *opt)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    struct vst_progress progress;
    struct end end;

    end_drain(&end, app.base, stream, bytes, (struct manner){0});
    vst_volume_download(app.conn, volume, stream, opt, outcome_done(&outcome));
    await(&outcome);
    vst_stream_get_progress(stream, &progress);
    total = progress.total;
    vst_stream_free(&stream);
    got[evbuffer_remove(bytes, got, sizeof(got) - 1)] = '\0';
    evbuffer_free(bytes);
    return err.code;
}

static enum vst_code delete (const char *volume) {
    struct outcome outcome = {0};

    vst_volume_delete(app.conn, volume, outcome_done(&outcome));
    return await(&outcome);
}

static char listed[2000];

static void note_list(const struct vst_volume_info *infos, size_t count,
                      const struct vst_error *error, void *opaque)
{
    struct outcome *outcome = opaque;
    size_t used = 0;

    listed[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof(listed); i++)
        if (infos[i].code == VST_ERR_OK)
            used += (size_t)snprintf(listed + used, sizeof(listed) - used, "%s %llu\n",
                                     infos[i].name, (unsigned long long)infos[i].size);
        else
            used += (size_t)snprintf(listed + used, sizeof(listed) - used, "%s %s %d\n",
                                     infos[i].name, vst_code_name(infos[i].code), infos[i].system);
    outcome_done(outcome)->fn(error, outcome);
}

static void note_release(void *opaque)
{
    struct outcome *outcome = opaque;

    outcome_done(outcome)->release(outcome);
}

static enum vst_code list(const char *of)
{
    struct outcome outcome = {0};
    struct vst_volume_cb cb = {note_list, &outcome, note_release};

    vst_volume_list(app.conn, of, &cb);
    return await(&outcome);
}

/* ---- whole volumes ---- */

static void what_is_uploaded_is_downloaded(void **state)
{
    (void)state;
    assert_int_equal(upload("p/one", "some text", NULL), VST_ERR_OK);
    expect_file("one", "some text");
    expect_entries(1);
    assert_int_equal(stat_of("one").st_mode & 07777, 0600);
    assert_int_equal(download("p/one", NULL), VST_ERR_OK);
    assert_string_equal(got, "some text");
    assert_int_equal(total, 9);
}

static void an_empty_volume_is_one(void **state)
{
    (void)state;
    assert_int_equal(upload("p/empty", "", NULL), VST_ERR_OK);
    expect_file("empty", "");
    assert_int_equal(download("p/empty", NULL), VST_ERR_OK);
    assert_string_equal(got, "");
}

static void a_replaced_volume_keeps_owner_and_mode(void **state)
{
    (void)state;
    put("one", "old");
    assert_int_equal(chmod(in_pool("one"), 0640), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(in_pool("one"), 12345, 23456), 0);
    assert_int_equal(upload("p/one", "new", NULL), VST_ERR_OK);
    expect_file("one", "new");
    assert_int_equal(stat_of("one").st_mode & 07777, 0640);
    if (geteuid() == 0) {
        assert_int_equal(stat_of("one").st_uid, 12345);
        assert_int_equal(stat_of("one").st_gid, 23456);
    }
}

static void list_has_every_volume_and_nothing_else(void **state)
{
    (void)state;
    put("b", "12");
    put("a", "1");
    put(".hidden", "");
    put("with\nline", "");
    assert_int_equal(mkdir(in_pool("directory"), 0700), 0);
    assert_int_equal(mkfifo(in_pool("fifo"), 0700), 0);
    assert_int_equal(symlink("a", in_pool("link")), 0);
    put("../other/c", "123");
    assert_int_equal(list(NULL), VST_ERR_OK);
    assert_string_equal(listed, "other/c 3\np/a 1\np/b 2\n");
    assert_int_equal(list("p"), VST_ERR_OK);
    assert_string_equal(listed, "p/a 1\np/b 2\n");
    assert_int_equal(list("q"), VST_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "there are: other, p"));
}

/* It hides no other; alone it is an error. */
static void pool_that_is_not_there_has_a_place_in_the_list(void **state)
{
    (void)state;
    put("a", "1");
    assert_int_equal(rmdir(other), 0);
    assert_int_equal(list(NULL), VST_ERR_OK);
    assert_string_equal(listed, "other not-found 2\np/a 1\n");
    assert_int_equal(list("other"), VST_ERR_NOT_FOUND);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(list(NULL), VST_ERR_OK);
    assert_string_equal(listed, "p/a 1\n");
}

static void a_deleted_volume_is_gone(void **state)
{
    (void)state;
    put("one", "text");
    assert_int_equal(delete ("p/one"), VST_ERR_OK);
    expect_entries(0);
    assert_int_equal(delete ("p/one"), VST_ERR_NOT_FOUND);
    assert_int_equal(download("p/one", NULL), VST_ERR_NOT_FOUND);
}

/* ---- names ---- */

static void a_name_cannot_leave_its_pool(void **state)
{
    static const char *const names[] = {
        "",
        "p",
        "p/",
        "/p/x",
        "p/.",
        "p/..",
        "p/../other/x",
        "p/a/b",
        "p//x",
        "../p/x",
        "p/.hidden",
        "p/\n",
        "p/\x7f",
        "p/\xc3\x28",
        "p/\xed\xa0\x80",
        "p/\xc0\xaf",
        "p/\xf5\x80\x80\x80",
        "p/x\xc2\x85y",
        "p/x\xe2\x82",
    };

    (void)state;
    put("../other/x", "secret");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        enum vst_code codes[] = {upload(names[i], "text", NULL), download(names[i], NULL),
                                 delete (names[i])};

        for (int j = 0; j < 3; j++)
            if (codes[j] != VST_ERR_INVALID && codes[j] != VST_ERR_NOT_FOUND)
                fail_msg("`%s`: %s", names[i], vst_code_name(codes[j]));
        assert_string_equal(got, "");
    }
    expect_entries(0);
    expect_file("../other/x", "secret");
}

static void a_name_may_be_long_and_of_any_script(void **state)
{
    char name[300] = "p/";

    (void)state;
    memset(name + 2, 'n', 255);
    assert_int_equal(upload(name, "long", NULL), VST_ERR_OK);
    assert_int_equal(download(name, NULL), VST_ERR_OK);
    name[257] = 'n';
    assert_int_equal(upload(name, "too long", NULL), VST_ERR_INVALID);
    assert_int_equal(upload("p/Gr\xc3\xb6\xc3\x9f"
                            "e \xe7\xa3\x81 \xf0\x9f\x92\xbe -x",
                            "x", NULL),
                     VST_ERR_OK);
    expect_entries(2);
    assert_int_equal(list("p"), VST_ERR_OK);
    assert_non_null(strstr(listed, "p/Gr\xc3\xb6\xc3\x9f"
                                   "e \xe7\xa3\x81 \xf0\x9f\x92\xbe -x 1\n"));
}

static void nothing_is_followed(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    static const char *const names[] = {"p/link", "p/dangling", "p/directory", "p/fifo"};

    (void)state;
    put("../other/x", "secret");
    assert_int_equal(symlink("../other/x", in_pool("link")), 0);
    assert_int_equal(symlink("../other/new", in_pool("dangling")), 0);
    assert_int_equal(mkdir(in_pool("directory"), 0700), 0);
    assert_int_equal(mkfifo(in_pool("fifo"), 0700), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(upload(names[i], "text", NULL), VST_ERR_INVALID);
        assert_int_equal(upload(names[i], "text", &in_place), VST_ERR_INVALID);
        assert_int_equal(download(names[i], NULL), VST_ERR_INVALID);
        assert_int_equal(delete (names[i]), VST_ERR_INVALID);
    }
    expect_entries(4);
    expect_file("../other/x", "secret");
    assert_int_equal(access(in_pool("../other/new"), F_OK), -1);
}

static void pools_are_told_when_one_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(upload("nowhere/x", "text", NULL), VST_ERR_NOT_FOUND);
    assert_string_equal(err.text, "no pool `nowhere`; there are: other, p");
    assert_int_equal(rmdir(pool), 0);
    assert_int_equal(upload("p/x", "text", NULL), VST_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "directory of pool p"));
    assert_int_equal(err.side, VST_SIDE_HOST);
    assert_int_equal(mkdir(pool, 0700), 0);
}

static void pools_of_a_uri_are_checked(void **state)
{
    static const char *const uris[] = {
        "test:///?pool.=/tmp",     "test:///?pool.a=tmp", "test:///?pool.a=/tmp&pool.a=/tmp",
        "test:///?pool.../x=/tmp", "test:///?pools=/tmp",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(uris) / sizeof(*uris); i++) {
        struct outcome outcome = {0};

        vst_conn_open(app.base, uris[i], NULL, outcome_conn(&outcome));
        assert_int_equal(await(&outcome), VST_ERR_INVALID);
    }
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
    put("one", "0123456789");
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        assert_int_equal(download("p/one", &parts[i].opt),
                         parts[i].text ? VST_ERR_OK : VST_ERR_INVALID);
        assert_string_equal(got, parts[i].text ? parts[i].text : "");
    }
}

static void parts_are_written_in_place(void **state)
{
    struct vst_volume_upload_options opt = {.in_place = true, .offset = 3};
    ino_t before;

    (void)state;
    put("one", "0123456789");
    before = stat_of("one").st_ino;
    assert_int_equal(upload("p/one", "abc", &opt), VST_ERR_OK);
    expect_file("one", "012abc6789");
    opt.offset = 10;
    assert_int_equal(upload("p/one", "more", &opt), VST_ERR_OK);
    expect_file("one", "012abc6789more");
    opt.offset = 0;
    assert_int_equal(upload("p/one", "ZZ", &opt), VST_ERR_OK);
    expect_file("one", "ZZ2abc6789more");
    assert_int_equal(stat_of("one").st_ino, before);
    opt.offset = 15;
    assert_int_equal(upload("p/one", "x", &opt), VST_ERR_INVALID);
    assert_int_equal(upload("p/none", "x", &opt), VST_ERR_NOT_FOUND);
    opt.in_place = false;
    assert_int_equal(upload("p/one", "x", &opt), VST_ERR_INVALID);
    expect_entries(1);
}

static void a_length_that_was_told_is_kept_to(void **state)
{
    struct vst_volume_upload_options opt = {.has_length = true, .length = 4};

    (void)state;
    put("one", "old");
    assert_int_equal(upload("p/one", "123", &opt), VST_ERR_TRUNCATED);
    assert_int_equal(upload("p/one", "12345", &opt), VST_ERR_INVALID);
    expect_file("one", "old");
    assert_int_equal(upload("p/one", "1234", &opt), VST_ERR_OK);
    expect_file("one", "1234");
    opt.length = 0;
    assert_int_equal(upload("p/one", "1", &opt), VST_ERR_INVALID);
    expect_file("one", "1234");
    assert_int_equal(upload("p/one", "", &opt), VST_ERR_OK);
    expect_file("one", "");
    opt.has_length = false;
    assert_int_equal(upload("p/one", "12345", &opt), VST_ERR_OK);
    expect_entries(1);
}

/* ---- several at once ---- */

static void who_writes_in_place_is_alone(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    int fd;

    (void)state;
    put("one", "text");
    fd = open(in_pool("one"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    assert_int_equal(download("p/one", NULL), VST_ERR_OK);
    assert_int_equal(upload("p/one", "x", &in_place), VST_ERR_BUSY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(download("p/one", NULL), VST_ERR_BUSY);
    close(fd);
    assert_int_equal(upload("p/one", "x", &in_place), VST_ERR_OK);
    expect_file("one", "xext");
}

/* Begins, and waits until the bytes are on their way. */
static struct vst_stream *
begin_upload(const char *text, const struct vst_volume_upload_options *opt, struct outcome *outcome)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct vst_progress progress = {0};
    size_t n;

    vst_stream_write(stream, text, strlen(text), &n);
    vst_volume_upload(app.conn, "p/one", stream, opt, outcome_done(outcome));
    while (progress.up_bytes < strlen(text)) {
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        vst_stream_get_progress(stream, &progress);
    }
    return stream;
}

static void the_upload_that_ends_last_stays(void **state)
{
    struct outcome a = {0}, b = {0};
    struct vst_stream *first = begin_upload("first", NULL, &a);
    struct vst_stream *second = begin_upload("second", NULL, &b);

    (void)state;
    vst_stream_finish(second);
    assert_int_equal(await(&b), VST_ERR_OK);
    expect_file("one", "second");
    vst_stream_finish(first);
    assert_int_equal(await(&a), VST_ERR_OK);
    expect_file("one", "first");
    expect_entries(1);
    vst_stream_free(&first);
    vst_stream_free(&second);
}

static void written_in_place_into_what_is_gone_is_an_error(void **state)
{
    static const struct vst_volume_upload_options in_place = {.in_place = true};
    struct outcome outcome = {0};
    struct vst_stream *stream;

    (void)state;
    put("one", "old");
    stream = begin_upload("new", &in_place, &outcome);
    assert_int_equal(delete ("p/one"), VST_ERR_OK);
    vst_stream_finish(stream);
    assert_int_equal(await(&outcome), VST_ERR_STATE);
    vst_stream_free(&stream);
    expect_entries(0);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
    struct outcome outcome = {0};
    struct vst_stream *stream;

    (void)state;
    put("one", "old");
    stream = begin_upload("new", NULL, &outcome);
    vst_stream_abort(stream, NULL);
    assert_int_equal(await(&outcome), VST_ERR_CANCELLED);
    vst_stream_free(&stream);
    disconnect();
    expect_file("one", "old");
    expect_entries(1);
    connect_to_pools();
}

static void operations_end_when_the_connection_is_closed(void **state)
{
    struct outcome outcomes[3] = {{0}};
    struct vst_volume_cb cb = {note_list, &outcomes[0], note_release};
    struct vst_stream *stream = vst_stream_new(app.base, NULL);

    (void)state;
    put("one", "old");
    vst_volume_list(app.conn, NULL, &cb);
    vst_volume_upload(app.conn, "p/one", stream, NULL, outcome_done(&outcomes[1]));
    vst_volume_delete(app.conn, "p/gone", outcome_done(&outcomes[2]));
    vst_conn_close(&app.conn);
    while (!outcomes[0].released || !outcomes[1].released || !outcomes[2].released)
        assert_int_equal(event_base_loop(app.base, EVLOOP_ONCE), 0);
    /* What a thread has done already may come to its own end. */
    assert_int_equal(outcomes[1].err.code, VST_ERR_CANCELLED);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].calls, 1);
    vst_stream_free(&stream);
    expect_file("one", "old");
    expect_entries(1);
}

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
    snprintf(from, sizeof(from), "%s/from", dir);
    snprintf(to, sizeof(to), "%s/to", dir);
    fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, (off_t)1 << 32), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pwrite(fd, from, 40, (off_t)i * 500 * MIB), 40);
    close(fd);
    assert_int_equal(upload_file("p/sparse", from, NULL), VST_ERR_OK);
    assert_in_range(room_of(in_pool("sparse")), 8 * 4 * KIB, room_of(from) + 16 * KIB);
    stream = vst_stream_new(app.base, NULL);
    assert_int_equal(vst_stream_set_sink_file(stream, to), 0);
    vst_volume_download(app.conn, "p/sparse", stream, NULL, outcome_done(&outcome));
    assert_int_equal(await(&outcome), VST_ERR_OK);
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
    snprintf(from, sizeof(from), "%s/from", dir);
    fd = open(in_pool("one"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, ones, sizeof(ones)), sizeof(ones));
    close(fd);
    close(open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(truncate(from, 3 * MIB), 0);
    assert_int_equal(upload_file("p/one", from, &in_place), VST_ERR_OK);
    assert_in_range(room_of(in_pool("one")), MIB, MIB + 16 * KIB);
    fd = open(in_pool("one"), O_RDONLY | O_CLOEXEC);
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
    vst_worker_set_file_calls(worker, &calls);
}

static void a_failing_disk_leaves_the_old_volume(void **state)
{
    int *const lefts[] = {&disk.writes_left, &disk.syncs_left, &disk.renames_left};

    (void)state;
    use_bad_disk();
    put("one", "old");
    for (int i = 0; i < 12; i++) {
        disk.number = i % 2 ? ENOSPC : EIO;
        disk.no_unnamed = i % 4 > 1;
        *lefts[i % 3] = 1;
        assert_int_equal(upload("p/one", "new", NULL), VST_ERR_SYSTEM);
        assert_int_equal(err.system, disk.number);
        assert_int_equal(err.side, VST_SIDE_HOST);
        assert_string_equal(err.phase, "upload");
        expect_file("one", "old");
        expect_entries(1);
    }
    disk.unlinks_left = 1;
    assert_int_equal(delete ("p/one"), VST_ERR_SYSTEM);
    expect_file("one", "old");
    disk.syncs_left = 1;
    assert_int_equal(delete ("p/one"), VST_ERR_SYSTEM);
}

static void a_disk_without_holes_is_written_zeros(void **state)
{
    (void)state;
    use_bad_disk();
    disk.no_holes = true;
    {
        static const struct vst_volume_upload_options in_place = {.in_place = true};
        char from[80], back[8192] = "";
        int fd;

        snprintf(from, sizeof(from), "%s/from", dir);
        close(open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        assert_int_equal(truncate(from, 6000), 0);
        fd = open(in_pool("one"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        memset(back, 'x', sizeof(back));
        assert_int_equal(write(fd, back, sizeof(back)), sizeof(back));
        assert_int_equal(upload_file("p/one", from, &in_place), VST_ERR_OK);
        assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
        close(fd);
        for (size_t i = 0; i < sizeof(back); i++)
            assert_int_equal(back[i], i < 6000 ? 0 : 'x');
    }
}

/* A real one: a small file system in memory, where that may be mounted. */
static void a_disk_that_fills_with_the_last_block(void **state)
{
    char from[80];
    int fd;

    (void)state;
    if (mount("none", pool, "tmpfs", 0, "size=1m") < 0) {
        print_message("# not run: mounting: %s\n", strerror(errno));
        return;
    }
    put("one", "old");
    snprintf(from, sizeof(from), "%s/from", dir);
    fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 256; i++)
        assert_int_equal(write(fd, memset((char[4096]){0}, i | 1, 4096), 4096), 4096);
    close(fd);
    /* One block is taken by the old volume: the last one of the new one does not fit. */
    assert_int_equal(upload_file("p/one", from, NULL), VST_ERR_SYSTEM);
    assert_int_equal(err.system, ENOSPC);
    expect_file("one", "old");
    expect_entries(1);
    assert_int_equal(truncate(from, 255 * 4096), 0);
    assert_int_equal(upload_file("p/one", from, NULL), VST_ERR_OK);
    expect_entries(1);
    assert_int_equal(stat_of("one").st_size, 255 * 4096);
    assert_int_equal(umount2(pool, MNT_DETACH), 0);
}

/* ---- killed processes ---- */

static void what_a_killed_process_left_is_removed(void **state)
{
    static const char left[] = ".virstream-0123456789abcdef",
                      used[] = ".virstream-fedcba9876543210";
    int fd;

    (void)state;
    put(left, "half a volume");
    put(used, "under way");
    put(".virstream-other", "not ours");
    fd = open(in_pool(used), O_WRONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(list("p"), VST_ERR_OK);
    assert_string_equal(listed, "");
    assert_int_equal(access(in_pool(left), F_OK), -1);
    expect_entries(2);
    /* Once is enough: whatever comes later is somebody's. */
    put(left, "new");
    assert_int_equal(list("p"), VST_ERR_OK);
    expect_entries(3);
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

        event_reinit(app.base);
        connect_to_pools();
        use_bad_disk();
        disk.no_unnamed = no_unnamed;
        stream = begin_upload("new", NULL, &outcome);
        if (at_rename) {
            disk.renames_left = 1;
            vst_stream_finish(stream);
        }
        while (at_rename && disk.renames_left)
            event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void a_killed_upload_leaves_the_old_volume(void **state)
{
    (void)state;
    put("one", "old");
    for (int round = 0; round < 8; round++) {
        die_in_upload(round % 2, round & 2);
        expect_file("one", "old");
        assert_int_equal(list("p"), VST_ERR_OK);
        disconnect();
        connect_to_pools();
        assert_int_equal(list("p"), VST_ERR_OK);
        expect_entries(1);
    }
}

int main(void)
{
#define VOLUME_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        VOLUME_TEST(what_is_uploaded_is_downloaded),
        VOLUME_TEST(an_empty_volume_is_one),
        VOLUME_TEST(a_replaced_volume_keeps_owner_and_mode),
        VOLUME_TEST(list_has_every_volume_and_nothing_else),
        VOLUME_TEST(pool_that_is_not_there_has_a_place_in_the_list),
        VOLUME_TEST(a_deleted_volume_is_gone),
        VOLUME_TEST(a_name_cannot_leave_its_pool),
        VOLUME_TEST(a_name_may_be_long_and_of_any_script),
        VOLUME_TEST(nothing_is_followed),
        VOLUME_TEST(pools_are_told_when_one_is_unknown),
        VOLUME_TEST(pools_of_a_uri_are_checked),
        VOLUME_TEST(parts_are_read),
        VOLUME_TEST(parts_are_written_in_place),
        VOLUME_TEST(a_length_that_was_told_is_kept_to),
        VOLUME_TEST(who_writes_in_place_is_alone),
        VOLUME_TEST(the_upload_that_ends_last_stays),
        VOLUME_TEST(written_in_place_into_what_is_gone_is_an_error),
        VOLUME_TEST(an_aborted_upload_leaves_nothing),
        VOLUME_TEST(operations_end_when_the_connection_is_closed),
        VOLUME_TEST(holes_survive_the_round_trip),
        VOLUME_TEST(zeros_written_in_place_make_holes),
        VOLUME_TEST(a_failing_disk_leaves_the_old_volume),
        VOLUME_TEST(a_disk_without_holes_is_written_zeros),
        VOLUME_TEST(a_disk_that_fills_with_the_last_block),
        VOLUME_TEST(what_a_killed_process_left_is_removed),
        VOLUME_TEST(a_killed_upload_leaves_the_old_volume),
    };
#undef VOLUME_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection with two pools, and what is done with their volumes.
 */
#include "volumes.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/worker.h"
#include "loop.h"

struct volumes volumes;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

void volumes_connect(void)
{
    char uri[256];

    snprintf(uri, sizeof(uri), "test:///?domains=0&pool.p=%s&pool.other=%s/other", volumes.pool,
             volumes.dir);
    app_start(&volumes.app, uri);
    volumes.worker = vst_worker_get(volumes.app.base, NULL);
}

void volumes_disconnect(void)
{
    vst_worker_put(&volumes.worker);
    app_stop(&volumes.app);
    vst_test_threads_end();
}

int volumes_make(void **state)
{
    (void)state;
    snprintf(volumes.dir, sizeof(volumes.dir), "/tmp/vst-volume-XXXXXX");
    if (!mkdtemp(volumes.dir))
        return -1;
    snprintf(volumes.pool, sizeof(volumes.pool), "%s/pool", volumes.dir);
    snprintf(volumes.other, sizeof(volumes.other), "%s/other", volumes.dir);
    if (mkdir(volumes.pool, 0700) < 0 || mkdir(volumes.other, 0700) < 0)
        return -1;
    volumes_connect();
    return 0;
}

int volumes_drop(void **state)
{
    (void)state;
    volumes_disconnect();
    return nftw(volumes.dir, remove_one, 10, FTW_DEPTH | FTW_PHYS);
}

/* ---- files of the pool ---- */

const char *volumes_path(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", volumes.pool, name);
    return path;
}

void volumes_put(const char *name, const char *text)
{
    FILE *file = fopen(volumes_path(name), "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

void volumes_expect_file(const char *name, const char *text)
{
    char found[200] = "";
    FILE *file = fopen(volumes_path(name), "re");

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

void volumes_expect_entries(unsigned expected)
{
    entries = 0;
    assert_int_equal(nftw(volumes.pool, count_one, 10, FTW_PHYS), 0);
    assert_int_equal(entries, expected);
}

struct stat volumes_stat(const char *name)
{
    struct stat st;

    assert_int_equal(stat(volumes_path(name), &st), 0);
    return st;
}

/* ---- methods as calls that wait ---- */

enum vst_code volumes_await(struct outcome *outcome)
{
    outcome_await(volumes.app.base, outcome);
    volumes.err = outcome->err;
    return volumes.err.code;
}

enum vst_code volumes_upload(const char *volume, const char *text,
                             const struct vst_volume_upload_options *opt)
{
    struct vst_stream *stream = vst_stream_new(volumes.app.base, NULL);
    struct outcome outcome = {0};
    size_t n;

    assert_int_equal(vst_stream_write(stream, text, strlen(text), &n), VST_IO_OK);
    assert_int_equal(n, strlen(text));
    vst_stream_finish(stream);
    vst_volume_upload(volumes.app.conn, volume, stream, opt, outcome_done(&outcome));
    volumes_await(&outcome);
    vst_stream_free(&stream);
    return volumes.err.code;
}

enum vst_code volumes_upload_file(const char *volume, const char *path,
                                  const struct vst_volume_upload_options *opt)
{
    struct vst_stream *stream = vst_stream_new(volumes.app.base, NULL);
    struct outcome outcome = {0};

    assert_int_equal(vst_stream_set_source_file(stream, path), 0);
    vst_volume_upload(volumes.app.conn, volume, stream, opt, outcome_done(&outcome));
    volumes_await(&outcome);
    vst_stream_free(&stream);
    return volumes.err.code;
}

enum vst_code volumes_download(const char *volume, const struct vst_volume_download_options *opt)
{
    struct vst_stream *stream = vst_stream_new(volumes.app.base, NULL);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    struct vst_progress progress;
    struct end end;

    end_drain(&end, volumes.app.base, stream, bytes, (struct manner){0});
    vst_volume_download(volumes.app.conn, volume, stream, opt, outcome_done(&outcome));
    volumes_await(&outcome);
    vst_stream_get_progress(stream, &progress);
    volumes.total = progress.total;
    vst_stream_free(&stream);
    volumes.got[evbuffer_remove(bytes, volumes.got, sizeof(volumes.got) - 1)] = '\0';
    evbuffer_free(bytes);
    return volumes.err.code;
}

enum vst_code volumes_delete(const char *volume)
{
    struct outcome outcome = {0};

    vst_volume_delete(volumes.app.conn, volume, outcome_done(&outcome));
    return volumes_await(&outcome);
}

static void note_list(const struct vst_volume_info *infos, size_t count,
                      const struct vst_error *error, void *opaque)
{
    struct outcome *outcome = opaque;
    size_t used = 0;

    volumes.listed[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof(volumes.listed); i++)
        if (infos[i].code == VST_ERR_OK)
            used += (size_t)snprintf(volumes.listed + used, sizeof(volumes.listed) - used,
                                     "%s %llu\n", infos[i].name, (unsigned long long)infos[i].size);
        else
            used +=
                (size_t)snprintf(volumes.listed + used, sizeof(volumes.listed) - used, "%s %s %d\n",
                                 infos[i].name, vst_code_name(infos[i].code), infos[i].system);
    outcome_done(outcome)->fn(error, outcome);
}

static void note_release(void *opaque)
{
    struct outcome *outcome = opaque;

    outcome_done(outcome)->release(outcome);
}

struct vst_volume_cb volumes_list_cb(struct outcome *outcome)
{
    return (struct vst_volume_cb){note_list, outcome, note_release};
}

enum vst_code volumes_list(const char *pool)
{
    struct outcome outcome = {0};
    struct vst_volume_cb cb = volumes_list_cb(&outcome);

    vst_volume_list(volumes.app.conn, pool, &cb);
    return volumes_await(&outcome);
}

struct vst_stream *volumes_begin_upload(const char *text,
                                        const struct vst_volume_upload_options *opt,
                                        struct outcome *outcome)
{
    struct vst_stream *stream = vst_stream_new(volumes.app.base, NULL);
    struct vst_progress progress = {0};
    size_t n;

    vst_stream_write(stream, text, strlen(text), &n);
    vst_volume_upload(volumes.app.conn, "p/one", stream, opt, outcome_done(outcome));
    while (progress.up_bytes < strlen(text)) {
        event_base_loop(volumes.app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        vst_stream_get_progress(stream, &progress);
    }
    return stream;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of volumes: a connection of this process to two pools, `p` and `other`, the files in
 * them, and the methods of volumes as calls that wait.
 */
#ifndef VST_TESTS_UNIT_VOLUMES_H
#define VST_TESTS_UNIT_VOLUMES_H

#include <sys/stat.h>

#include "app.h"

struct volumes {
    struct app app;
    struct vst_worker *worker;
    char dir[64], pool[80], other[80]; /* of the two; and the directory that they are in */
    /* What came of the last call: */
    struct vst_error err;
    char got[200];     /* downloaded */
    uint64_t total;    /* as the stream told it then */
    char listed[2000]; /* "POOL/NAME SIZE" in lines, or "POOL CODE ERRNO" */
};

extern struct volumes volumes;

int volumes_make(void **state);
int volumes_drop(void **state);
#define VOLUME_TEST(function) VST_TEST_WITH(function, volumes_make, volumes_drop)

/* Within a test: the connection goes, and comes again. */
void volumes_connect(void);
void volumes_disconnect(void);

/* ---- files of the pool `p` ---- */

/* Valid until the next call. */
const char *volumes_path(const char *name);
void volumes_put(const char *name, const char *text);
void volumes_expect_file(const char *name, const char *text);
/* As many, hidden ones included. */
void volumes_expect_entries(unsigned expected);
struct stat volumes_stat(const char *name);

/* ---- methods ---- */

enum vst_code volumes_await(struct outcome *outcome);
enum vst_code volumes_upload(const char *volume, const char *text,
                             const struct vst_volume_upload_options *opt);
enum vst_code volumes_upload_file(const char *volume, const char *path,
                                  const struct vst_volume_upload_options *opt);
/* Of p/one: begins, and waits until the bytes are on their way. */
struct vst_stream *volumes_begin_upload(const char *text,
                                        const struct vst_volume_upload_options *opt,
                                        struct outcome *outcome);
enum vst_code volumes_download(const char *volume, const struct vst_volume_download_options *opt);
enum vst_code volumes_delete(const char *volume);
enum vst_code volumes_list(const char *pool);
struct vst_volume_cb volumes_list_cb(struct outcome *outcome);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of volumes: first a thread looks into the pool, then the file is one end of the
 * stream. What happens to the bytes of a file is file.c's and channel-new-file.c's.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fd.h"
#include "file.h"
#include "fsm.h"
#include "pool.h"

#define VOLUME_STATES(X)                                      \
    X(VOLUME_BEGUN, "nothing", "the arguments are looked at") \
    X(VOLUME_ASKING, "a thread", "it looks into the pool")    \
    X(VOLUME_MOVING, "the stream", "bytes move")              \
    X(VOLUME_OVER, "nothing", "the operation has been completed")
VST_FSM(volume, VOLUME_STATES)

struct volume_call {
    struct vst_conn *conn;
    struct vst_op *op;
    struct vst_stream *stream;    /* NULL: it moves no bytes */
    struct vst_volume_pool *pool; /* NULL: all */
    struct vst_worker *worker;
    struct vst_pool_work *work; /* NULL before, and once it is not needed any more */
    /* Goes on when the thread has looked: attaches to the stream, or completes. */
    int (*then)(struct volume_call *call, struct vst_error *ret_err);
    const char *phase;
    uint64_t length; /* of an upload; VST_LENGTH_NONE: not known */
    enum volume_state state;
    char *label;
};

static void enter(struct volume_call *call, enum volume_state state)
{
    vst_fsm_trace(volume, call->label ? call->label : "-", call->state, state);
    call->state = state;
}

static void call_free(void *opaque)
{
    struct volume_call *call = opaque;

    if (call->work)
        vst_pool_work_free(call->work);
    vst_worker_put(&call->worker);
    free(call->label);
    free(call);
}

/* A thread that is at it stays there, and cleans up when it comes back. */
static void let_go(struct volume_call *call)
{
    if (call->state != VOLUME_ASKING)
        return;
    vst_job_abandon(&call->work->job);
    call->work = NULL;
}

static void over(struct volume_call *call, const struct vst_error *err)
{
    struct vst_error why = {0};

    if (call->state == VOLUME_OVER)
        return;
    let_go(call);
    enter(call, VOLUME_OVER);
    if (!err) {
        vst_op_done(call->op);
        return;
    }
    vst_error_copy(&why, err);
    if (why.code != VST_ERR_CANCELLED && why.code != VST_ERR_TIMEOUT)
        vst_error_where(&why, VST_SIDE_HOST, NULL);
    vst_error_where(&why, VST_SIDE_NONE, call->phase);
    vst_op_fail(call->op, &why);
}

/* ---- the thread ---- */

static void work(struct vst_job *job)
{
    struct vst_pool_work *work_ = (struct vst_pool_work *)job;

    work_->step(work_);
}

static void dispose(struct vst_job *job)
{
    vst_pool_work_free((struct vst_pool_work *)job);
}

static void note_tidied(struct volume_call *call)
{
    for (size_t i = 0; i < call->work->place_count; i++)
        if (!call->work->places[i].tidies)
            vst_pools_find(call->conn->pools, call->work->places[i].name, NULL)->tidy = true;
}

static void looked(struct vst_job *job)
{
    struct volume_call *call = ((struct vst_pool_work *)job)->call;
    struct vst_error err = {0};

    enter(call, VOLUME_MOVING);
    note_tidied(call);
    if (vst_error_is_set(&call->work->error))
        over(call, &call->work->error);
    else if (call->then(call, &err) < 0)
        over(call, &err);
    vst_pool_work_free(call->work);
    call->work = NULL;
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    over(opaque, why);
}

/* ---- the beginning ---- */

static int prepare(struct volume_call *call, const char *volume, struct vst_error *ret_err)
{
    struct vst_volume_pools *pools = call->conn->pools;
    const char *name = NULL;

    if (volume && !(call->pool = vst_pools_split(pools, volume, &name, ret_err)))
        return -1;
    call->label = strdup(volume ? volume : "-");
    if (!call->label)
        return vst_error_no_memory(ret_err);
    call->worker = vst_worker_get(call->conn->base, ret_err);
    call->work = call->worker ? vst_pool_work_new(pools, call->pool, name, ret_err) : NULL;
    return call->work ? 0 : -1;
}

static void ask(struct volume_call *call, int (*step)(struct vst_pool_work *))
{
    struct vst_pool_work *asked = call->work;
    const struct vst_file_calls *calls = vst_worker_file_calls(call->worker);

    if (calls)
        asked->calls = calls;
    asked->call = call;
    asked->step = step;
    asked->job = (struct vst_job){.work = work, .done = looked, .dispose = dispose};
    vst_op_set_cancel(call->op, cancelled, call);
    enter(call, VOLUME_ASKING);
    vst_worker_submit(call->worker, &asked->job);
}

static struct volume_call *call_new(struct vst_conn *conn, struct vst_op *op, const char *phase)
{
    struct volume_call *call = calloc(1, sizeof(*call));
    struct vst_error err = {0};

    if (!call) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return NULL;
    }
    call->conn = conn;
    call->op = op;
    call->phase = phase;
    vst_op_own(op, call, call_free);
    return call;
}

/* ---- list and delete ---- */

static int take_list(struct volume_call *call, struct vst_error *ret_err)
{
    struct vst_volume_info *infos = call->work->infos;

    (void)ret_err;
    call->work->infos = NULL;
    enter(call, VOLUME_OVER);
    vst_driver_volumes(call->op, infos, call->work->info_count);
    return 0;
}

void vst_pool_list(struct vst_conn *conn, const char *pool, struct vst_op *op)
{
    struct volume_call *call = call_new(conn, op, "list");
    struct vst_error err = {0};

    if (!call)
        return;
    call->then = take_list;
    if ((pool && !(call->pool = vst_pools_find(conn->pools, pool, &err))) ||
        prepare(call, NULL, &err) < 0)
        over(call, &err);
    else
        ask(call, vst_pool_work_list);
}

static int deleted(struct volume_call *call, struct vst_error *ret_err)
{
    (void)ret_err;
    over(call, NULL);
    return 0;
}

void vst_pool_delete(struct vst_conn *conn, const char *volume, struct vst_op *op)
{
    struct volume_call *call = call_new(conn, op, "delete");
    struct vst_error err = {0};

    if (!call)
        return;
    call->then = deleted;
    if (prepare(call, volume, &err) < 0)
        over(call, &err);
    else
        ask(call, vst_pool_work_delete);
}

/* ---- upload and download ---- */

static void finished(void *opaque, enum vst_direction dir)
{
    (void)dir;
    over(opaque, NULL);
}

static void failed(void *opaque, const struct vst_error *err)
{
    over(opaque, err);
}

static char *path_of(const struct volume_call *call, struct vst_error *ret_err)
{
    char *path;

    if (asprintf(&path, "%s/%s", call->work->places->dir, call->work->name) >= 0)
        return path;
    vst_error_no_memory(ret_err);
    return NULL;
}

/* A call with its stream, that is about to ask; NULL when it has failed already. */
static struct volume_call *claim(struct vst_conn *conn, const char *volume,
                                 struct vst_stream *stream, unsigned stall_seconds,
                                 const char *phase, struct vst_op *op)
{
    struct volume_call *call = call_new(conn, op, phase);
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = call,
        .name = "the volume",
        .side = VST_SIDE_HOST,
        .stall_seconds = vst_stall_seconds(stall_seconds),
    };
    struct vst_error err = {0};

    if (!call)
        return NULL;
    call->stream = stream;
    if (vst_stream_claim(stream, op, &user, &err) == 0 && prepare(call, volume, &err) == 0)
        return call;
    over(call, &err);
    return NULL;
}

/* For the file that the thread has opened. */
static struct vst_file *opened_file(struct volume_call *call, size_t size,
                                    const struct vst_file_kind *kind, struct vst_error *ret_err)
{
    char *path = path_of(call, ret_err);
    struct vst_file *file = path ? vst_file_new(size, kind, path, ret_err) : NULL;

    free(path);
    return file;
}

/* Once nothing can fail any more. */
static void hand_over(int *from, int *to)
{
    *to = *from;
    *from = -1;
}

static const struct vst_file_kind reading = {0};

static int send_volume(struct volume_call *call, struct vst_error *ret_err)
{
    struct vst_file *file = opened_file(call, sizeof(*file), &reading, ret_err);
    struct vst_channel *source;

    if (!file)
        return -1;
    file->locked = true;
    file->left = call->work->length;
    source = vst_file_channel(call->conn->base, file, ret_err);
    if (!source)
        return -1;
    hand_over(&call->work->fd, &file->fd);
    if (vst_stream_attach(call->stream, source, NULL, ret_err) < 0)
        return -1;
    vst_stream_expect(call->stream, call->work->length);
    return 0;
}

void vst_pool_download(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                       const struct vst_volume_download_options *opt, struct vst_op *op)
{
    struct volume_call *call = claim(conn, volume, stream, opt->stall_seconds, "download", op);

    if (!call)
        return;
    call->then = send_volume;
    call->work->offset = opt->offset;
    call->work->length = vst_volume_length(opt->has_length, opt->length);
    ask(call, vst_pool_work_read);
}

/* Written in place: it must be there to the end, or nobody will find what was written. */
struct placed {
    struct vst_file file;
    int dir;
};

static int is_still_there(struct vst_file *file)
{
    const char *name = strrchr(file->path, '/') + 1;
    struct stat ours, there;

    if (fstat(file->fd, &ours) < 0)
        return vst_file_fail(file, "stat");
    if (fstatat(((struct placed *)file)->dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        there.st_dev == ours.st_dev && there.st_ino == ours.st_ino)
        return 0;
    return vst_error_set(&file->error, VST_ERR_STATE,
                         "%s: was replaced or deleted while it was written", file->path);
}

static void close_dir(struct vst_file *file)
{
    vst_close(&((struct placed *)file)->dir);
}

static const struct vst_file_kind placing = {.publish = is_still_there, .discard = close_dir};

static struct vst_channel *place_into_volume(struct volume_call *call, struct vst_error *ret_err)
{
    struct vst_file *file = opened_file(call, sizeof(struct placed), &placing, ret_err);
    struct vst_channel *sink;

    if (!file)
        return NULL;
    ((struct placed *)file)->dir = -1;
    file->locked = true;
    file->gap = (struct vst_gap){true, .at = call->work->offset, .end = call->work->size};
    file->left = call->length;
    sink = vst_file_channel(call->conn->base, file, ret_err);
    if (sink) {
        hand_over(&call->work->fd, &file->fd);
        hand_over(&call->work->dir, &((struct placed *)file)->dir);
    }
    return sink;
}

static struct vst_channel *make_volume(struct volume_call *call, struct vst_error *ret_err)
{
    char *path = path_of(call, ret_err);
    struct vst_file *file = path ? vst_new_file(path, VST_FILE_KEEP_OWNER, ret_err) : NULL;

    free(path);
    if (!file)
        return NULL;
    file->left = call->length;
    return vst_file_channel(call->conn->base, file, ret_err);
}

static int take_volume(struct volume_call *call, struct vst_error *ret_err)
{
    struct vst_channel *sink =
        call->work->fd >= 0 ? place_into_volume(call, ret_err) : make_volume(call, ret_err);

    if (!sink || vst_stream_attach(call->stream, NULL, sink, ret_err) < 0)
        return -1;
    if (call->length != VST_LENGTH_NONE)
        vst_stream_expect(call->stream, call->length);
    return 0;
}

void vst_pool_upload(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                     const struct vst_volume_upload_options *opt, struct vst_op *op)
{
    struct volume_call *call = claim(conn, volume, stream, opt->stall_seconds, "upload", op);
    struct vst_error err = {0};

    if (!call)
        return;
    if (opt->offset && !opt->in_place) {
        vst_error_set(&err, VST_ERR_INVALID, "an offset needs a volume that is written in place");
        over(call, &err);
        return;
    }
    call->then = take_volume;
    call->length = vst_volume_length(opt->has_length, opt->length);
    call->work->offset = opt->offset;
    ask(call, opt->in_place ? vst_pool_work_write : vst_pool_work_prepare);
}

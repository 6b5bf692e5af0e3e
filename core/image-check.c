/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking an image: a restore with nothing behind it. What is wrong with an image is said by the
 * same code as in a restore.
 */
#include <stdlib.h>

#include "image.h"
#include "op.h"
#include "stream.h"
#include "virstream/image.h"

struct check {
    struct vst_op *op;
    struct vst_stream *stream;
    struct vst_channel *image; /* the stream's */
    char *header;
    bool header_only;
    struct vst_image_report report;
};

static void deliver_report(const struct vst_callback *cb, struct vst_result *result,
                           const struct vst_error *err)
{
    void (*fn)(const struct vst_image_report *, const struct vst_error *, void *) =
        (void (*)(const struct vst_image_report *, const struct vst_error *, void *))cb->fn;

    fn(err ? NULL : result->value, err, cb->opaque);
}

static void check_free(void *opaque)
{
    struct check *check = opaque;

    free(check->header);
    free(check);
}

static void failed(void *opaque, const struct vst_error *err)
{
    struct check *check = opaque;
    struct vst_error named = *err;

    vst_error_where(&named, VST_SIDE_CLIENT, "check");
    vst_op_fail(check->op, &named);
}

static void succeed(struct check *check)
{
    struct vst_record_stats stats;

    vst_image_get_stats(check->image, &stats);
    check->report = (struct vst_image_report){
        .header = check->header,
        .records = stats.records,
        .data_bytes = stats.data_bytes,
        .image_bytes = stats.image_bytes,
        .whole = stats.ended,
    };
    vst_op_succeed(check->op, (struct vst_result){&check->report, 1, NULL});
}

static void finished(void *opaque, enum vst_direction dir)
{
    (void)dir;
    succeed(opaque);
}

static int plug_nothing(const struct check *check, struct vst_error *ret_err)
{
    struct vst_channel *nothing = vst_channel_null(check->image->base, ret_err);

    if (!nothing)
        return -1;
    if (vst_image_plug(check->image, nothing, ret_err) == 0)
        return 0;
    vst_channel_free(&nothing);
    return -1;
}

static void take_header(void *opaque, const struct vst_image_header *header)
{
    struct check *check = opaque;
    struct vst_error err = {0};

    check->header = vst_image_header_to_json(header, &err);
    if (check->header && check->header_only)
        succeed(check);
    else if (!check->header || plug_nothing(check, &err) < 0)
        vst_stream_fail(check->stream, &err);
}

static int attach(struct check *check, struct event_base *base, struct vst_error *ret_err)
{
    struct vst_image_cb cb = {take_header, check};

    check->image = vst_image_decode(base, &cb, ret_err);
    if (!check->image)
        return -1;
    return vst_stream_attach(check->stream, NULL, check->image, ret_err);
}

static void begin(struct vst_op *op, struct event_base *base, struct vst_stream *stream,
                  const struct vst_image_options *opt)
{
    struct check *check = calloc(1, sizeof(*check));
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = check,
        .name = "the check",
        .side = VST_SIDE_CLIENT,
        .stall_seconds = vst_stall_seconds(opt ? opt->stall_seconds : 0),
    };
    struct vst_error err = {0};

    if (!check) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    *check = (struct check){.op = op, .stream = stream, .header_only = opt && opt->header_only};
    vst_op_own(op, check, check_free);
    if (vst_stream_claim(stream, op, &user, &err) < 0 || attach(check, base, &err) < 0)
        vst_op_fail(op, &err);
}

struct vst_op *vst_image_check(struct event_base *base, struct vst_stream *stream,
                               const struct vst_image_options *opt,
                               const struct vst_image_report_cb *cb)
{
    struct vst_callback erased = {0};
    struct vst_error err = {0};
    struct vst_op *op;

    if (cb)
        erased = (struct vst_callback){(void (*)(void))cb->fn, cb->opaque, cb->release};
    op = vst_op_new(base, NULL, deliver_report, erased);
    if (!op)
        return NULL;
    if (vst_stream_bind(stream, op, &err) < 0)
        vst_op_fail(op, &err);
    else
        begin(op, base, stream, opt);
    return op;
}

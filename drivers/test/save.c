/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Save: the state is made as fast as the stream takes it. A guest that is to stop stands still
 * meanwhile; it is gone once the application's end has everything.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/image.h"
#include "guest.h"

enum { STALL_SECONDS = 60 };

struct save {
    struct vst_test_host *host;
    struct vst_test_guest *guest; /* NULL: destroyed meanwhile */
    struct vst_op *op;
    enum vst_domain_state before;
    bool keep;
    char name[80];
};

/* The guest as it was; the operation may then end. */
static void release(struct save *save)
{
    struct vst_test_guest *guest = save->guest;

    if (guest) {
        guest->job = VST_JOB_NONE;
        guest->stream = NULL;
        vst_test_guest_set_state(guest, save->before);
    }
}

static void fail(struct save *save, const struct vst_error *err)
{
    struct vst_error copy = *err;

    vst_error_where(&copy, VST_SIDE_HOST, "save");
    vst_op_fail(save->op, &copy);
    release(save);
}

static void finished(void *opaque, enum vst_direction dir)
{
    struct save *save = opaque;
    struct vst_test_host *host = save->host;
    struct vst_test_guest *guest = save->guest;

    (void)dir;
    release(save);
    if (!save->keep) {
        vst_test_guest_tell(host, guest, VST_EVENT_STOPPED, "saved");
        vst_test_guest_free(host, guest);
    }
    vst_op_done(save->op);
}

static void failed(void *opaque, const struct vst_error *err)
{
    fail(opaque, err);
}

/* Destroyed under our hands: failed() follows. */
static void gone(void *opaque)
{
    struct save *save = opaque;
    struct vst_error err = {0};

    vst_error_set(&err, VST_ERR_DRIVER, "%s: the guest was destroyed", save->guest->identity.name);
    vst_stream_fail(save->guest->stream, &err);
    save->guest = NULL;
}

static struct vst_channel *open_source(struct save *save, int zstd_level, struct vst_error *ret_err)
{
    struct vst_test_guest *guest = save->guest;
    struct vst_image_header header = {
        .definition = guest->def,
        .driver = (char[]){"test"},
        .running = save->before == VST_DOMAIN_RUNNING,
    };
    struct vst_channel *raw =
        vst_test_state_source(save->host->conn->base, &guest->identity, ret_err);
    struct vst_channel *image = raw ? vst_image_encode(raw, &header, zstd_level, ret_err) : NULL;

    if (!image)
        vst_channel_free(&raw);
    return image;
}

static void begin(struct save *save, struct vst_stream *stream, const struct vst_save_options *opt)
{
    struct vst_test_guest *guest = save->guest;
    struct vst_error err = {0};
    struct vst_channel *image;

    guest->job = VST_JOB_SAVE;
    guest->stream = stream;
    guest->gone = gone;
    guest->job_opaque = save;
    if (!opt->live)
        vst_test_guest_set_state(guest, VST_DOMAIN_PAUSED);
    image = open_source(save, opt->zstd_level, &err);
    if (!image || vst_stream_attach(stream, image, NULL, &err) < 0) {
        fail(save, &err);
        return;
    }
    vst_stream_expect(stream, VST_TEST_PROLOGUE + guest->identity.size);
}

void vst_test_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                   const struct vst_save_options *opt, struct vst_op *op)
{
    struct vst_test_host *host = conn->impl;
    struct vst_error err = {0};
    struct vst_test_guest *guest = vst_test_guest_find_idle(host, name, &err);
    struct save *save = guest ? calloc(1, sizeof(*save)) : NULL;
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = save,
        .stall_seconds = opt->stall_seconds ? opt->stall_seconds : STALL_SECONDS,
    };

    if (!save) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    *save = (struct save){
        .host = host,
        .guest = guest,
        .op = op,
        .before = guest->state,
        .keep = opt->keep_running || opt->live,
    };
    snprintf(save->name, sizeof(save->name), "test guest %s", name);
    user.name = save->name;
    if (vst_stream_claim(stream, op, &user, &err) < 0) {
        vst_op_fail(op, &err);
        free(save);
        return;
    }
    vst_op_own(op, save, free);
    begin(save, stream, opt);
}

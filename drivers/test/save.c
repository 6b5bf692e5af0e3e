/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Save: the state is made as fast as the stream takes it. A guest that is to stop stands still
 * meanwhile; it is gone once the application's end has everything. It begins with a turn, because
 * a guest is paused from the loop only: somebody may be told of it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/image.h"
#include "guest.h"

struct save {
    struct vst_test_host *host;
    struct vst_test_guest *guest; /* NULL before it begins, and when the guest is gone */
    struct vst_test_watch watch;
    struct vst_stream *stream;
    struct vst_op *op;
    struct vst_save_options opt;
    bool was_running;
    char name[64];
    char label[80];
    struct vst_turn turn;
};

/* The guest as it was. It may hear then what it was asked meanwhile. */
static void release(struct save *save)
{
    struct vst_test_guest *guest = save->guest;

    save->guest = NULL;
    if (!guest)
        return;
    LIST_REMOVE(&save->watch, link);
    vst_test_guest_set_job(guest, VST_JOB_NONE, NULL);
    vst_test_guest_run(save->host, guest, save->was_running);
}

static void fail(struct save *save, const struct vst_error *err)
{
    struct vst_error copy = *err;

    vst_turn_cancel(&save->turn);
    vst_error_where(&copy, VST_SIDE_HOST, "save");
    vst_op_fail(save->op, &copy);
    release(save);
}

static void finished(void *opaque, enum vst_direction dir)
{
    struct save *save = opaque;
    struct vst_test_guest *guest = save->guest;

    (void)dir;
    vst_op_done(save->op);
    if (save->opt.keep_running || save->opt.live) {
        release(save);
        return;
    }
    LIST_REMOVE(&save->watch, link);
    save->guest = NULL;
    vst_test_guest_end(save->host, guest);
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

    save->guest = NULL;
    vst_error_set(&err, VST_ERR_DRIVER, "%s was destroyed", save->name);
    vst_stream_fail(save->stream, &err);
}

static struct vst_channel *open_image(struct save *save, struct vst_error *ret_err)
{
    struct vst_test_guest *guest = save->guest;
    char driver[] = "test";
    struct vst_image_header header = {
        .definition = guest->def,
        .driver = driver,
        .running = save->was_running,
    };
    struct vst_channel *raw =
        vst_test_state_source(save->host->conn->base, &guest->identity, ret_err);
    struct vst_channel *image =
        raw ? vst_image_encode(raw, &header, save->opt.zstd_level, ret_err) : NULL;

    if (!image)
        vst_channel_free(&raw);
    return image;
}

static int take_guest(struct save *save, struct vst_error *ret_err)
{
    struct vst_test_guest *guest = vst_test_guest_find_idle(save->host, save->name, ret_err);

    if (!guest)
        return -1;
    save->guest = guest;
    save->was_running = guest->state == VST_DOMAIN_RUNNING;
    vst_test_guest_watch(guest, &save->watch);
    vst_test_guest_set_job(guest, VST_JOB_SAVE, save->stream);
    if (!save->opt.live)
        vst_test_guest_run(save->host, guest, false);
    return 0;
}

static void begin(evutil_socket_t fd, short what, void *opaque)
{
    struct save *save = opaque;
    struct vst_error err = {0};
    struct vst_channel *image;

    (void)fd, (void)what;
    if (take_guest(save, &err) < 0) {
        fail(save, &err);
        return;
    }
    image = open_image(save, &err);
    if (!image || vst_stream_attach(save->stream, image, NULL, &err) < 0) {
        fail(save, &err);
        return;
    }
    vst_stream_expect(save->stream, VST_TEST_PROLOGUE + save->guest->identity.size);
}

static void save_free(void *state)
{
    struct save *save = state;

    vst_turn_cancel(&save->turn);
    free(save);
}

static struct save *save_new(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                             const struct vst_save_options *opt, struct vst_op *op,
                             struct vst_error *ret_err)
{
    struct save *save = calloc(1, sizeof(*save));

    if (!save) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    save->host = conn->impl;
    save->watch = (struct vst_test_watch){.gone = gone, .opaque = save};
    save->stream = stream;
    save->op = op;
    save->opt = *opt;
    snprintf(save->name, sizeof(save->name), "%s", name);
    snprintf(save->label, sizeof(save->label), "test guest %s", save->name);
    vst_turn_init(&save->turn, conn->base, begin, save);
    vst_op_own(op, save, save_free);
    return save;
}

void vst_test_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                   const struct vst_save_options *opt, struct vst_op *op)
{
    struct vst_error err = {0};
    struct save *save = save_new(conn, name, stream, opt, op, &err);
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = save,
        .name = save ? save->label : NULL,
        .side = VST_SIDE_HOST,
        .stall_seconds = vst_stall_seconds(opt->stall_seconds),
    };

    if (!save || vst_stream_claim(stream, op, &user, &err) < 0)
        vst_op_fail(op, &err);
    else
        vst_turn_schedule(&save->turn);
}

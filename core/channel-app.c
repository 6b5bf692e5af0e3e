/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The application's callbacks as a channel. AGAIN is remembered: the callback is not asked again
 * before the application has said so, however often the pump tries.
 */
#include "channel-app.h"

#include <stdlib.h>

#include "turn.h"

struct app {
    struct vst_channel base;
    struct vst_reader reader;
    struct vst_writer writer;
    bool asleep; /* the callback said AGAIN, and nobody woke it since it was called */
    bool muted;  /* the application is not to be called any more */
    struct vst_turn turn;
};

static struct app *app_of(struct vst_channel *ch)
{
    return (struct app *)ch;
}

/* What the callback answered, checked: it is not our code. */
static enum vst_io judge(struct app *app, enum vst_io io, size_t n, size_t max,
                         const struct vst_error *err)
{
    struct vst_error *failed;

    if (io != VST_IO_AGAIN)
        app->asleep = false;
    if (io == VST_IO_AGAIN || io == VST_IO_EOF || (io == VST_IO_OK && n >= 1 && n <= max))
        return io;
    failed = vst_channel_fail(&app->base);
    if (io == VST_IO_OK)
        vst_error_set(failed, VST_ERR_INVALID,
                      "the application's callback says it moved %zu bytes of %zu", n, max);
    else if (vst_error_is_set(err))
        vst_error_copy(failed, err);
    else
        vst_error_set(failed, VST_ERR_CANCELLED, "the application's callback failed");
    vst_error_where(failed, VST_SIDE_APPLICATION, NULL);
    return VST_IO_FAIL;
}

static enum vst_io app_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                            size_t *ret_n)
{
    struct app *app = app_of(ch);
    struct vst_error err = {0};
    struct evbuffer_iovec room[2];
    enum vst_io io;
    size_t n = 0;

    if (app->asleep || app->muted)
        return VST_IO_AGAIN;
    /* Two pieces, so that what the last read left free is used before there is a new block. */
    if (evbuffer_reserve_space(into, (ev_ssize_t)max, room, 2) < 1) {
        vst_error_no_memory(vst_channel_fail(ch));
        return VST_IO_FAIL;
    }
    if (room[0].iov_len > max)
        room[0].iov_len = max;
    app->asleep = true;
    io = app->reader.read(room[0].iov_base, room[0].iov_len, &n, &err, app->reader.opaque);
    io = judge(app, io, n, room[0].iov_len, &err);
    if (io != VST_IO_OK)
        return io;
    room[0].iov_len = n;
    evbuffer_commit_space(into, room, 1);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io app_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                             size_t *ret_n)
{
    struct app *app = app_of(ch);
    struct vst_error err = {0};
    struct evbuffer_iovec bytes;
    enum vst_io io;
    size_t n = 0;

    if (app->asleep || app->muted)
        return VST_IO_AGAIN;
    evbuffer_peek(from, (ev_ssize_t)max, NULL, &bytes, 1);
    if (bytes.iov_len > max)
        bytes.iov_len = max;
    app->asleep = true;
    io = app->writer.write(bytes.iov_base, bytes.iov_len, &n, &err, app->writer.opaque);
    if (io == VST_IO_EOF)
        io = VST_IO_FAIL;
    io = judge(app, io, n, bytes.iov_len, &err);
    if (io != VST_IO_OK)
        return io;
    evbuffer_drain(from, n);
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io app_finish(struct vst_channel *ch)
{
    struct app *app = app_of(ch);
    struct vst_error err = {0};
    enum vst_io io;

    if (app->asleep || app->muted)
        return VST_IO_AGAIN;
    if (!app->writer.finish)
        return VST_IO_OK;
    app->asleep = true;
    io = app->writer.finish(&err, app->writer.opaque);
    if (io == VST_IO_EOF)
        io = VST_IO_FAIL;
    return judge(app, io, 1, 1, &err);
}

/* Readiness is the application's to tell, by waking. */
static void app_arm(struct vst_channel *ch, unsigned dirs)
{
    (void)ch, (void)dirs;
}

static void app_destroy(struct vst_channel *ch)
{
    struct app *app = app_of(ch);

    vst_turn_cancel(&app->turn);
    if (app->reader.release)
        app->reader.release(app->reader.opaque);
    if (app->writer.release)
        app->writer.release(app->writer.opaque);
    free(app);
}

static enum vst_io never(struct vst_channel *ch, struct evbuffer *buf, size_t max, size_t *ret_n)
{
    (void)buf, (void)max, (void)ret_n;
    vst_error_set(vst_channel_fail(ch), VST_ERR_INTERNAL, "a %s has one direction", ch->ops->name);
    return VST_IO_FAIL;
}

static const struct vst_channel_ops reader_ops = {
    .name = "reader",
    .read = app_read,
    .write = never,
    .destroy = app_destroy,
    .arm = app_arm,
};

static const struct vst_channel_ops writer_ops = {
    .name = "writer",
    .read = never,
    .write = app_write,
    .finish = app_finish,
    .destroy = app_destroy,
    .arm = app_arm,
};

static void woken(evutil_socket_t fd, short what, void *opaque)
{
    struct app *app = opaque;

    (void)fd, (void)what;
    vst_channel_announce(&app->base, VST_READ | VST_WRITE);
}

static struct app *app_new(struct event_base *base, const struct vst_channel_ops *ops,
                           struct vst_error *ret_err)
{
    struct app *app = calloc(1, sizeof(*app));

    if (!app) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&app->base, ops, base, NULL);
    vst_turn_init(&app->turn, base, woken, app);
    return app;
}

struct vst_channel *vst_channel_reader(struct event_base *base, const struct vst_reader *reader,
                                       struct vst_error *ret_err)
{
    struct app *app = app_new(base, &reader_ops, ret_err);

    if (!app)
        return NULL;
    app->reader = *reader;
    return &app->base;
}

struct vst_channel *vst_channel_writer(struct event_base *base, const struct vst_writer *writer,
                                       struct vst_error *ret_err)
{
    struct app *app = app_new(base, &writer_ops, ret_err);

    if (!app)
        return NULL;
    app->writer = *writer;
    return &app->base;
}

static bool is_app(const struct vst_channel *ch)
{
    return ch->ops == &reader_ops || ch->ops == &writer_ops;
}

void vst_channel_app_wake(struct vst_channel *ch)
{
    if (!is_app(ch))
        return;
    app_of(ch)->asleep = false;
    vst_turn_schedule(&app_of(ch)->turn);
}

void vst_channel_app_mute(struct vst_channel *ch)
{
    if (is_app(ch))
        app_of(ch)->muted = true;
}

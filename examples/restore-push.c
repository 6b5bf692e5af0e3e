/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shapes 2 and 3: prepare, feed, finish. The application has an event of its own on a pipe or
 * socket, here standard input, and pushes what arrives: it could decrypt it first. When the stream
 * is full it stops reading, so the sender waits, and nobody else.
 *
 *     cat FILE | restore-push [URI]
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <virstream/virstream.h>

struct app {
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_stream *stream;
    struct evbuffer *arrived; /* not yet taken by the stream */
    struct event *readable;
    int status;
};

/* Pushes until it is all gone or the stream is full; `writable` goes on then. */
static void feed(struct app *app)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(app->arrived))
        io = vst_stream_write_buffer(app->stream, app->arrived, &n);
    if (io == VST_IO_OK)
        event_add(app->readable, NULL);
}

static void writable(struct vst_stream *stream, void *opaque)
{
    (void)stream;
    feed(opaque);
}

static void read_more(evutil_socket_t fd, short what, void *opaque)
{
    struct app *app = opaque;
    int n = evbuffer_read(app->arrived, fd, 256 * 1024);

    (void)what;
    if (n > 0)
        feed(app);
    else if (n == 0)
        vst_stream_finish(app->stream); /* the outcome comes to restored() */
    else if (errno == EAGAIN || errno == EINTR)
        event_add(app->readable, NULL);
    else
        vst_stream_abort(app->stream, strerror(errno)); /* likewise */
}

static void leave(struct app *app, const struct vst_error *err)
{
    if (err) {
        fprintf(stderr, "restore-push: %s\n", err->text);
        app->status = vst_code_exit(err->code);
    }
    event_del(app->readable);
    vst_stream_free(&app->stream);
    vst_conn_close(&app->conn);
}

static void restored(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    if (!err)
        printf("%s is restored\n", vst_domain_get_name(domain));
    vst_domain_free(&domain);
    leave(opaque, err);
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    static const struct vst_stream_callbacks callbacks = {.writable = writable};
    struct app *app = opaque;
    struct vst_domain_cb cb = {restored, app, NULL};
    struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

    app->conn = conn;
    if (err) {
        leave(app, err);
        return;
    }
    vst_stream_set_callbacks(app->stream, &callbacks, app);
    if (!vst_domain_restore(conn, app->stream, NULL, &cb))
        leave(app, &no_memory);
    else if (event_add(app->readable, NULL) < 0) /* a file cannot be polled: see restore-fd.c */
        vst_stream_abort(app->stream, "standard input is neither a pipe nor a socket");
}

int main(int argc, char **argv)
{
    struct app app = {.base = event_base_new(), .arrived = evbuffer_new()};
    struct vst_conn_cb cb = {opened, &app, NULL};

    if (!app.base || !app.arrived || evutil_make_socket_nonblocking(STDIN_FILENO) < 0)
        return 1;
    app.stream = vst_stream_new(app.base, NULL);
    app.readable = event_new(app.base, STDIN_FILENO, EV_READ, read_more, &app);
    if (!app.stream || !app.readable ||
        !vst_conn_open(app.base, argc > 1 ? argv[1] : NULL, NULL, &cb))
        return 1;
    event_base_dispatch(app.base);
    event_free(app.readable);
    evbuffer_free(app.arrived);
    event_base_free(app.base);
    return app.status;
}

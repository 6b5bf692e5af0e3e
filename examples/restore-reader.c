/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shapes 4 and 5: a callback that the stream asks for bytes. When it has none it says AGAIN at
 * once, and wakes the stream when there are some: so neither side ever waits for the other.
 *
 *     cat FILE | restore-reader [URI]
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <virstream/virstream.h>

struct app {
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_stream *stream;
    struct event *readable;
    int status;
};

/* The place to decrypt or to decompress: the stream takes whatever is put into buf. */
static enum vst_io reader(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                          void *opaque)
{
    struct app *app = opaque;
    ssize_t n = read(STDIN_FILENO, buf, len);

    if (n > 0) {
        *ret_n = (size_t)n;
        return VST_IO_OK;
    }
    if (n == 0)
        return VST_IO_EOF;
    if (errno == EAGAIN || errno == EINTR) {
        event_add(app->readable, NULL);
        return VST_IO_AGAIN;
    }
    ret_err->code = VST_ERR_SYSTEM;
    ret_err->system = errno;
    snprintf(ret_err->text, sizeof(ret_err->text), "standard input: %s", strerror(errno));
    return VST_IO_FAIL;
}

static void wake(evutil_socket_t fd, short what, void *opaque)
{
    struct app *app = opaque;

    (void)fd, (void)what;
    vst_stream_wake(app->stream);
}

static void leave(struct app *app, const struct vst_error *err)
{
    if (err) {
        fprintf(stderr, "restore-reader: %s\n", err->text);
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
    struct app *app = opaque;
    struct vst_domain_cb cb = {restored, app, NULL};
    struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

    app->conn = conn;
    if (err)
        leave(app, err);
    else if (!vst_domain_restore(conn, app->stream, NULL, &cb))
        leave(app, &no_memory);
}

int main(int argc, char **argv)
{
    struct app app = {.base = event_base_new()};
    struct vst_reader source = {reader, &app, NULL};
    struct vst_conn_cb cb = {opened, &app, NULL};

    if (!app.base || evutil_make_socket_nonblocking(STDIN_FILENO) < 0)
        return 1;
    app.readable = event_new(app.base, STDIN_FILENO, EV_READ, wake, &app);
    app.stream = vst_stream_new(app.base, NULL);
    if (!app.readable || !app.stream || vst_stream_set_source_reader(app.stream, &source) < 0 ||
        !vst_conn_open(app.base, argc > 1 ? argv[1] : NULL, NULL, &cb))
        return 1;
    event_base_dispatch(app.base);
    event_free(app.readable);
    event_base_free(app.base);
    return app.status;
}

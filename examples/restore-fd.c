/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shape 1: give the stream a descriptor. Its kind does not matter (file, pipe, socket), and nobody
 * waits: everything below happens in callbacks while the loop runs.
 *
 *     restore-fd FILE [URI]
 */
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <virstream/virstream.h>

struct app {
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_stream *stream;
    int fd;
    int status;
};

/* Once everything is let go, no event is left and the loop in main() ends by itself. */
static void leave(struct app *app, const struct vst_error *err)
{
    if (err) {
        fprintf(stderr, "restore-fd: %s\n", err->text);
        app->status = vst_code_exit(err->code);
    }
    vst_stream_free(&app->stream);
    vst_conn_close(&app->conn);
}

/* Success means: every byte was verified, and the guest is as it was when it was saved. */
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
    if (err) {
        leave(app, err);
        return;
    }
    app->stream = vst_stream_new(app->base, NULL);
    if (!app->stream || vst_stream_set_source_fd(app->stream, &app->fd) < 0 ||
        !vst_domain_restore(conn, app->stream, NULL, &cb))
        leave(app, &no_memory);
}

int main(int argc, char **argv)
{
    struct app app = {.fd = -1};
    struct vst_conn_cb cb = {opened, &app, NULL};

    if (argc < 2) {
        fprintf(stderr, "usage: restore-fd FILE [URI]\n");
        return 2;
    }
    app.base = event_base_new();
    app.fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (!app.base || app.fd < 0) {
        perror(argv[1]);
        return 1;
    }
    if (!vst_conn_open(app.base, argv[2], NULL, &cb))
        return 1;
    event_base_dispatch(app.base);
    if (app.fd >= 0)
        close(app.fd);
    event_base_free(app.base);
    return app.status;
}

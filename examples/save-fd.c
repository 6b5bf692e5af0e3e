/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saves a guest into a descriptor. The guest ends when everything was taken (and, for a file, is on
 * disk); after any failure it goes on as before.
 *
 *     save-fd NAME FILE [URI]
 */
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <virstream/virstream.h>

struct app {
    struct event_base *base;
    struct vst_conn *conn;
    struct vst_domain *domain;
    struct vst_stream *stream;
    const char *name;
    const char *file;
    int fd;
    int status;
};

static void leave(struct app *app, const struct vst_error *err)
{
    if (err) {
        fprintf(stderr, "save-fd: %s\n", err->text);
        app->status = vst_code_exit(err->code);
        unlink(app->file); /* ours, and not complete */
    }
    vst_stream_free(&app->stream);
    vst_domain_free(&app->domain);
    vst_conn_close(&app->conn);
}

static void saved(const struct vst_error *err, void *opaque)
{
    struct app *app = opaque;
    struct vst_progress progress;

    vst_stream_get_progress(app->stream, &progress);
    if (!err)
        printf("%s is saved: %llu bytes\n", app->name, (unsigned long long)progress.down_bytes);
    leave(app, err);
}

static void found(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    struct app *app = opaque;
    struct vst_done done = {saved, app, NULL};
    struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

    app->domain = domain;
    if (err) {
        leave(app, err);
        return;
    }
    app->stream = vst_stream_new(app->base, NULL);
    if (!app->stream || vst_stream_set_sink_fd(app->stream, &app->fd) < 0 ||
        !vst_domain_save(domain, app->stream, NULL, &done))
        leave(app, &no_memory);
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct app *app = opaque;
    struct vst_domain_cb cb = {found, app, NULL};
    struct vst_error no_memory = {.code = VST_ERR_NO_MEMORY, .text = "out of memory"};

    app->conn = conn;
    if (err)
        leave(app, err);
    else if (!vst_conn_lookup(conn, app->name, &cb))
        leave(app, &no_memory);
}

int main(int argc, char **argv)
{
    struct app app = {.fd = -1};
    struct vst_conn_cb cb = {opened, &app, NULL};

    if (argc < 3) {
        fprintf(stderr, "usage: save-fd NAME FILE [URI]\n");
        return 2;
    }
    app.name = argv[1];
    app.file = argv[2];
    app.base = event_base_new();
    app.fd = open(app.file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!app.base || app.fd < 0) {
        perror(app.file);
        return 1;
    }
    if (!vst_conn_open(app.base, argv[3], NULL, &cb))
        return 1;
    event_base_dispatch(app.base);
    if (app.fd >= 0)
        close(app.fd);
    event_base_free(app.base);
    return app.status;
}

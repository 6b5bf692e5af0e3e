/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library in the loop of an application that has other things to do: a timer that must be on
 * time, and two ends of a socket that play ping-pong. Both keep their pace while a guest is saved
 * in the same loop; the longest gap between two ticks is printed at the end.
 *
 *     in-your-loop NAME FILE [URI]
 */
#include <event2/event.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <virstream/virstream.h>

struct app {
    struct event *ticker, *ends[2];
    struct vst_conn *conn;
    struct vst_domain *domain;
    double last_tick, longest_gap;
    unsigned long ticks, pings;
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void tick(evutil_socket_t fd, short what, void *opaque)
{
    struct app *app = opaque;
    double at = now();

    (void)fd, (void)what;
    if (at - app->last_tick > app->longest_gap)
        app->longest_gap = at - app->last_tick;
    app->last_tick = at;
    app->ticks++;
}

static void pong(evutil_socket_t fd, short what, void *opaque)
{
    struct app *app = opaque;
    char ball;

    (void)what;
    if (read(fd, &ball, 1) == 1 && write(fd, &ball, 1) == 1)
        app->pings++;
}

static int start_own_work(struct app *app, struct event_base *base)
{
    static const struct timeval interval = {0, 1000};
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    app->ticker = event_new(base, -1, EV_PERSIST, tick, app);
    app->last_tick = now();
    if (!app->ticker || event_add(app->ticker, &interval) < 0 || write(fds[0], "o", 1) != 1)
        return -1;
    for (int i = 0; i < 2; i++) {
        app->ends[i] = event_new(base, fds[i], EV_READ | EV_PERSIST, pong, app);
        if (!app->ends[i] || event_add(app->ends[i], NULL) < 0)
            return -1;
    }
    return 0;
}

static void take_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    (void)err;
    ((struct app *)opaque)->conn = conn;
}

static void take_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    (void)err;
    ((struct app *)opaque)->domain = domain;
}

int main(int argc, char **argv)
{
    struct app app = {0};
    struct vst_conn_cb conn_cb = {take_conn, &app, NULL};
    struct vst_domain_cb domain_cb = {take_domain, &app, NULL};
    struct vst_save_options opt = {.keep_running = true};
    struct event_base *base = event_base_new();
    struct vst_stream *stream = base ? vst_stream_new(base, NULL) : NULL;
    struct vst_error err = {0};

    if (argc < 3 || !stream || vst_stream_set_sink_file(stream, argv[2]) < 0 ||
        start_own_work(&app, base) < 0) {
        fprintf(stderr, "usage: in-your-loop NAME FILE [URI]\n");
        return 2;
    }
    /* Waiting runs the loop: the application's own work goes on. Callbacks would do as well. */
    if (vst_op_wait(vst_conn_open(base, argv[3], NULL, &conn_cb), &err) < 0 ||
        vst_op_wait(vst_conn_lookup(app.conn, argv[1], &domain_cb), &err) < 0 ||
        vst_op_wait(vst_domain_save(app.domain, stream, &opt, NULL), &err) < 0)
        fprintf(stderr, "in-your-loop: %s\n", err.text);
    else
        printf("saved meanwhile: %lu ticks, %lu pings, longest gap %.1f ms\n", app.ticks, app.pings,
               app.longest_gap * 1000);
    vst_stream_free(&stream);
    vst_domain_free(&app.domain);
    vst_conn_close(&app.conn);
    event_free(app.ticker);
    event_free(app.ends[0]);
    event_free(app.ends[1]);
    event_base_dispatch(base); /* the connection lets go of what it holds */
    event_base_free(base);
    return vst_code_exit(err.code);
}

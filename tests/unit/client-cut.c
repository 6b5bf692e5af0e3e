/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection is cut after each byte of a session, in both directions: every operation ends
 * once, with LOST if at all, never with success that is none; nothing is left on either side.
 *
 * The cable between client and server passes so many bytes in one direction, then breaks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/listener.h>

#include "app.h"
#include "served.h"

enum { UP, DOWN };

struct cable {
    struct served *served;
    struct evconnlistener *listener;
    char path[96];
    int fds[2]; /* the client's, the server's; -1: cut */
    struct event *events[2];
    size_t passed[2]; /* UP, DOWN */
    int cut_dir;
    size_t cut_after;
};

static struct served served;
static struct cable cable;

static void cut(void)
{
    for (int i = 0; i < 2; i++) {
        if (cable.events[i])
            event_free(cable.events[i]);
        if (cable.fds[i] >= 0)
            close(cable.fds[i]);
        cable.events[i] = NULL;
        cable.fds[i] = -1;
    }
}

static void carry(evutil_socket_t fd, short what, void *opaque)
{
    int dir = fd == cable.fds[0] ? UP : DOWN;
    size_t room = SIZE_MAX;
    char bytes[4096];
    ssize_t n;

    (void)what, (void)opaque;
    if (dir == cable.cut_dir)
        room = cable.cut_after - cable.passed[dir];
    n = recv(fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes), MSG_DONTWAIT);
    if (n > 0) {
        assert_int_equal(send(cable.fds[dir == UP ? 1 : 0], bytes, (size_t)n, MSG_NOSIGNAL), n);
        cable.passed[dir] += (size_t)n;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN) ||
        (dir == cable.cut_dir && cable.passed[dir] == cable.cut_after))
        cut();
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                     int length, void *opaque)
{
    (void)listener, (void)from, (void)length, (void)opaque;
    cable.fds[0] = fd;
    cable.fds[1] = served_connect(&served);
    for (int i = 0; i < 2; i++) {
        cable.events[i] = event_new(served.base, cable.fds[i], EV_READ | EV_PERSIST, carry, NULL);
        event_add(cable.events[i], NULL);
    }
    if (!cable.cut_after)
        cut();
}

static void lay_cable(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    cable = (struct cable){.served = &served, .fds = {-1, -1}};
    snprintf(cable.path, sizeof(cable.path), "%.80s/cable", served.dir);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", cable.path);
    cable.listener = evconnlistener_new_bind(served.base, accepted, NULL,
                                             LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 16,
                                             (struct sockaddr *)&address, sizeof(address));
    assert_non_null(cable.listener);
}

/* ---- the session ---- */

static struct vst_conn *conn;
static struct vst_domain *domain;
static struct evbuffer *image;

/* What may come of anything while a cable breaks. */
static bool worked(struct outcome *outcome)
{
    outcome_await(served.base, outcome);
    if (outcome->err.code && outcome->err.code != VST_ERR_LOST)
        fail_msg("cut %s after %zu: %s: %s", cable.cut_dir == UP ? "up" : "down", cable.cut_after,
                 vst_code_name(outcome->err.code), outcome->err.text);
    return !outcome->err.code;
}

static bool open_it(void)
{
    struct outcome outcome = {0};
    char uri[128];

    snprintf(uri, sizeof(uri), "test+unix://%s", cable.path);
    vst_conn_open(served.base, uri, NULL, outcome_conn(&outcome));
    if (!worked(&outcome))
        return false;
    conn = outcome.conn;
    return true;
}

static bool look_up(void)
{
    struct outcome outcome = {0};

    vst_conn_lookup(conn, "test1", outcome_domain(&outcome));
    if (!worked(&outcome))
        return false;
    domain = outcome.domain;
    return true;
}

static bool save(struct app *app)
{
    struct vst_stream *stream = app_stream(app);
    struct end end = {0};
    struct outcome outcome = {0};
    bool good;

    end_drain(&end, served.base, stream, image, (struct manner){0});
    app_begin_save(app, stream, &outcome);
    good = worked(&outcome);
    vst_stream_free(&stream);
    return good;
}

static bool restore(struct app *app)
{
    struct vst_stream *stream = app_stream(app);
    struct evbuffer *bytes = copy_of(image);
    struct end end = {0};
    struct outcome outcome = {0};
    bool good;

    end_feed(&end, served.base, stream, bytes, (struct manner){0});
    app_begin_restore(app, stream, &outcome);
    good = worked(&outcome);
    vst_stream_free(&stream);
    evbuffer_free(bytes);
    return good;
}

/* How far it came; 4 is the end. */
static int session(void)
{
    struct app app = {.base = served.base};
    int steps = 0;

    if (open_it() && ++steps && look_up() && ++steps) {
        app.conn = conn;
        app.domain = domain;
        evbuffer_drain(image, evbuffer_get_length(image));
        if (save(&app) && ++steps && restore(&app))
            steps++;
    }
    vst_domain_free(&domain);
    vst_conn_close(&conn);
    return steps;
}

/* Nobody is there any more, and the guest is not held by anything. */
static void expect_peace(int steps)
{
    int state;

    served_settle(&served);
    assert_int_equal(served_stats(&served).clients, 0);
    assert_int_equal(served_stats(&served).anonymous, 0);
    assert_int_equal(served_stats(&served).streams, 0);
    state = served_domain_state(&served, "test1");
    for (int i = 0; i < 500 && state == VST_DOMAIN_PAUSED; i++) {
        served_run(&served, 1); /* a save is being undone */
        state = served_domain_state(&served, "test1");
    }
    if (steps < 2 || steps == 4)
        assert_int_equal(state, VST_DOMAIN_RUNNING);
    else /* where the answer was lost, it has happened or it has not */
        assert_true(state == VST_DOMAIN_RUNNING || state == -1);
}

/* Every session begins with the same guest; what it needs of the image a good one has given. */
static void put_back(const struct evbuffer *from)
{
    struct app app = {.base = served.base, .conn = served.conn};
    struct evbuffer *copy;

    if (served_domain_state(&served, "test1") >= 0)
        return;
    copy = copy_of((struct evbuffer *)from);
    assert_int_equal(app_restore(&app, NULL, copy, (struct manner){0}, NULL), VST_ERR_OK);
    evbuffer_free(copy);
}

static void sweep(int dir)
{
    struct evbuffer *good;
    size_t total, stride = vst_test_long() ? 1 : 5;

    cable.cut_dir = dir;
    cable.cut_after = SIZE_MAX;
    cable.passed[UP] = cable.passed[DOWN] = 0;
    assert_int_equal(session(), 4);
    expect_peace(4);
    total = cable.passed[dir];
    good = copy_of(image);
    for (size_t at = 0; at < total; at += stride) {
        int steps;

        cable.cut_after = at;
        cable.passed[UP] = cable.passed[DOWN] = 0;
        steps = session();
        cut();
        expect_peace(steps);
        put_back(good);
    }
    evbuffer_free(good);
}

static int make(void **state)
{
    (void)state;
    vst_test_seconds(vst_test_long() ? 3000 : 120);
    served_start(&served, "test:///?memory=600", VST_ROLE_ADMIN, NULL);
    image = evbuffer_new();
    lay_cable();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    cut();
    evconnlistener_free(cable.listener);
    unlink(cable.path);
    evbuffer_free(image);
    served_stop(&served);
    return 0;
}

static void cut_after_each_byte_to_the_server(void **state)
{
    (void)state;
    sweep(UP);
}

static void cut_after_each_byte_to_the_client(void **state)
{
    (void)state;
    sweep(DOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(cut_after_each_byte_to_the_server, make, drop),
        VST_TEST_WITH(cut_after_each_byte_to_the_client, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server and the callers that served.h promises.
 */
#include "served.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app.h"
#include "core/channel.h"
#include "loop.h"
#include "remote/greeting.h"
#include "virstream/virstream.h"

/* ---- the server ---- */

struct vst_policy served_policy(enum vst_role role, const struct vst_limits *limits)
{
    struct vst_policy policy = {
        .limits = limits ? *limits : VST_LIMITS_DEFAULT,
        .access = vst_access_new(NULL),
        .require_client_cert = true,
    };

    assert_int_equal(vst_access_add(policy.access, role, "unix:*", NULL), 0);
    return policy;
}

static int listen_on(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    return fd;
}

void served_start(struct served *served, const char *uri, enum vst_role role,
                  const struct vst_limits *limits)
{
    struct vst_policy policy = served_policy(role, limits);
    struct outcome opened = {0};
    const char *tmp = getenv("TMPDIR");
    struct vst_error err = {0};
    int fd;

    *served = (struct served){.base = event_base_new()};
    snprintf(served->dir, sizeof(served->dir), "%.40s/virstream-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(served->dir));
    snprintf(served->path, sizeof(served->path), "%s/socket", served->dir);
    served->server = vst_server_new(served->base, NULL, &policy, &err);
    assert_non_null(served->server);
    vst_conn_open(served->base, uri, NULL, outcome_conn(&opened));
    outcome_await(served->base, &opened);
    assert_non_null(opened.conn);
    served->conn = opened.conn;
    assert_int_equal(vst_server_serve(served->server, &opened.conn, &err), 0);
    fd = listen_on(served->path);
    assert_int_equal(vst_server_listen(served->server, VST_LISTEN_UNIX, &fd, "test", &err), 0);
}

void served_join(const struct served *served, const char *parameters, struct app *ret_app)
{
    struct outcome opened = {0}, found = {0};
    char uri[200];

    snprintf(uri, sizeof(uri), "test+unix://%s%s", served->path, parameters);
    vst_conn_open(served->base, uri, NULL, outcome_conn(&opened));
    outcome_await(served->base, &opened);
    if (opened.err.code)
        fail_msg("%s", opened.err.text);
    vst_conn_lookup(opened.conn, "test1", outcome_domain(&found));
    outcome_await(served->base, &found);
    *ret_app = (struct app){served->base, opened.conn, found.domain};
}

void served_leave(struct app *app)
{
    vst_domain_free(&app->domain);
    vst_conn_close(&app->conn);
}

void served_stop(struct served *served)
{
    vst_server_free(&served->server);
    assert_true(event_base_dispatch(served->base) >= 0);
    event_base_free(served->base);
    unlink(served->path);
    rmdir(served->dir);
}

void served_set_role(struct served *served, enum vst_role role)
{
    struct vst_policy policy = served_policy(role, NULL);

    served_set_policy(served, &policy);
}

void served_set_policy(struct served *served, struct vst_policy *policy)
{
    assert_int_equal(vst_server_set_policy(served->server, policy, NULL), 0);
}

void served_listen_tcp(struct served *served, enum vst_listen_kind kind)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    served->port = ntohs(address.sin_port);
    assert_int_equal(vst_server_listen(served->server, kind, &fd, "test", NULL), 0);
}

int served_connect_tcp(const struct served *served)
{
    return served_connect_from(served, 1);
}

int served_connect_from(const struct served *served, unsigned host)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) | host)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)served->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    /* The port comes with the connection: thousands of them find one each. */
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int)),
                     0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void drained(void *opaque)
{
    ((struct served *)opaque)->drained = true;
}

void served_drain(struct served *served, unsigned seconds)
{
    vst_server_drain(served->server, seconds, drained, served);
}

struct vst_server_stats served_stats(const struct served *served)
{
    struct vst_server_stats stats;

    vst_server_get_stats(served->server, &stats);
    return stats;
}

int served_domain_state(struct served *served, const char *name)
{
    struct app app = {.base = served->base, .conn = served->conn};

    return app_domain_state(&app, name);
}

void served_settle(struct served *served)
{
    struct vst_server_stats stats = served_stats(served);

    for (int i = 0; i < 1000 && (stats.clients || stats.anonymous || stats.calls); i++) {
        served_run(served, 1);
        stats = served_stats(served);
    }
    served_run(served, 1);
}

void served_run(struct served *served, unsigned milliseconds)
{
    struct timeval tv = {milliseconds / 1000, (suseconds_t)(milliseconds % 1000) * 1000};

    event_base_loopexit(served->base, &tv);
    event_base_dispatch(served->base);
}

/* ---- joining and leaving ---- */

int served_connect(const struct served *served)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", served->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static uint32_t id_of(const struct vst_frame *frame)
{
    assert_true(frame->id < ANSWERS_MAX);
    return frame->id;
}

static void have_message(void *opaque, const struct vst_frame *frame, const char *body)
{
    struct caller *caller = opaque;
    struct answer *answer = &caller->answers[id_of(frame)];

    if (frame->type == VST_FRAME_EVENT) {
        caller->events++;
    } else if (frame->type == VST_FRAME_GOAWAY) {
        caller->goes_away = true;
    } else if (frame->type == VST_FRAME_STARTED) {
        assert_int_equal(answer->type, 0);
        assert_false(answer->started);
        assert_int_equal(vst_started_parse(body, frame->length, &answer->start, NULL), 0);
        answer->started = true;
    } else {
        assert_int_equal(answer->type, 0);
        answer->type = frame->type;
        answer->body = strdup(body);
        if (frame->type == VST_FRAME_ERROR)
            vst_error_parse(body, frame->length, &answer->err);
        vst_mux_ended(caller->mux, frame->id, answer->err.code ? &answer->err : NULL);
    }
}

static void closed(void *opaque, const struct vst_error *err)
{
    struct caller *caller = opaque;

    caller->closed = true;
    if (err)
        caller->err = *err;
    vst_mux_free(&caller->mux);
}

static void greeted(void *opaque, const struct vst_greeting_result *result,
                    const struct vst_error *err)
{
    struct caller *caller = opaque;
    struct vst_mux_options opt = {
        .role = VST_MUX_CLIENT,
        .label = "caller",
        .window = VST_WINDOW_INITIAL,
        .memory = 64 * 1024 * 1024,
    };
    struct vst_mux_user user = {.message = have_message, .closed = closed, .opaque = caller};

    caller->greeted = true;
    if (err) {
        caller->err = *err;
        return;
    }
    opt.peer_window = result->peer_window;
    opt.streams = result->streams;
    caller->mux = vst_mux_new(result->transport, &opt, &user, &caller->err);
    assert_non_null(caller->mux);
}

int caller_join(struct caller *caller, struct served *served, const char *driver)
{
    int fd = served_connect(served);
    struct vst_greeting_options opt = {
        .role = VST_SASL_CLIENT,
        .software = "caller",
        .driver = driver,
        .window = VST_WINDOW_INITIAL,
    };
    struct vst_greeting_cb cb = {greeted, caller};
    struct vst_channel *transport;

    *caller = (struct caller){.served = served};
    transport = vst_channel_fd(served->base, &fd, NULL);
    caller->greeting = vst_greeting_new(transport, &opt, NULL, &cb, &caller->err);
    assert_non_null(caller->greeting);
    while (!caller->greeted)
        event_base_loop(served->base, EVLOOP_ONCE);
    vst_greeting_free(&caller->greeting);
    return caller->mux ? 0 : -1;
}

void caller_leave(struct caller *caller)
{
    vst_mux_free(&caller->mux);
    for (int i = 0; i < ANSWERS_MAX; i++)
        free(caller->answers[i].body);
}

void caller_await_end(struct caller *caller)
{
    while (!caller->closed)
        event_base_loop(caller->served->base, EVLOOP_ONCE);
}

/* ---- calls ---- */

uint32_t caller_begin(struct caller *caller, const char *procedure, const char *arguments,
                      struct vst_mux_ends *ends)
{
    uint32_t id = caller->mux ? vst_mux_next_id(caller->mux) : 0;
    char *body;

    if (!id)
        return 0;
    assert_true(asprintf(&body, "{\"procedure\":\"%s\",\"arguments\":%s}", procedure, arguments) >
                0);
    if (ends)
        assert_int_equal(vst_mux_open(caller->mux, id, ends, NULL), 0);
    assert_int_equal(vst_mux_send(caller->mux, VST_FRAME_CALL, id, body, strlen(body)), 0);
    free(body);
    return id;
}

const struct answer *caller_await(struct caller *caller, uint32_t id)
{
    while (!caller->answers[id].type && !caller->closed)
        event_base_loop(caller->served->base, EVLOOP_ONCE);
    return &caller->answers[id];
}

/* Without an answer the connection has ended. */
static enum vst_code code_of(const struct answer *answer)
{
    return answer->type ? answer->err.code : VST_ERR_LOST;
}

enum vst_code caller_call(struct caller *caller, const char *procedure, const char *arguments)
{
    const struct answer *answer =
        caller_await(caller, caller_begin(caller, procedure, arguments, NULL));

    return code_of(answer);
}

enum vst_code caller_save(struct caller *caller, const char *name, struct evbuffer *into)
{
    struct vst_mux_ends ends = {.receives = true};
    char arguments[128];
    enum vst_io io;
    uint32_t id;

    snprintf(arguments, sizeof(arguments), "{\"name\":\"%s\"}", name);
    id = caller_begin(caller, "save", arguments, &ends);
    if (!id)
        return VST_ERR_LOST;
    io = vst_test_drain(ends.ret_source, into, 65536);
    if (io == VST_IO_EOF && caller->mux)
        vst_mux_taken(caller->mux, id);
    caller_await(caller, id);
    vst_channel_free(&ends.ret_source);
    return code_of(&caller->answers[id]);
}

enum vst_code caller_restore(struct caller *caller, const char *arguments, struct evbuffer *image)
{
    struct vst_mux_ends ends = {.sends = true};
    uint32_t id = caller_begin(caller, "restore", arguments, &ends);
    size_t length = evbuffer_get_length(image);

    if (!id)
        return VST_ERR_LOST;
    if (vst_test_send(ends.ret_sink, evbuffer_pullup(image, -1), length) == VST_IO_OK)
        vst_test_finish(ends.ret_sink);
    caller_await(caller, id);
    vst_channel_free(&ends.ret_sink);
    return code_of(&caller->answers[id]);
}

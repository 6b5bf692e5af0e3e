/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The application that app.h promises.
 */
#include "app.h"

#include <string.h>

/* ---- outcomes ---- */

static void note(struct outcome *outcome, const struct vst_error *err)
{
    outcome->calls++;
    outcome->err = err ? *err : (struct vst_error){0};
    assert_int_equal(outcome->released, 0);
    if (outcome->then)
        outcome->then(outcome->opaque);
}

static void on_done(const struct vst_error *err, void *opaque)
{
    note(opaque, err);
}

static void on_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    struct outcome *outcome = opaque;

    assert_true(!domain == !!err);
    outcome->domain = domain;
    note(outcome, err);
}

static void on_infos(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
                     void *opaque)
{
    struct outcome *outcome = opaque;

    outcome->count = count;
    if (count)
        outcome->info = infos[0];
    note(outcome, err);
}

static void on_conn(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct outcome *outcome = opaque;

    assert_true(!conn == !!err);
    outcome->conn = conn;
    note(outcome, err);
}

static void on_release(void *opaque)
{
    ((struct outcome *)opaque)->released++;
}

const struct vst_done *outcome_done(struct outcome *outcome)
{
    static struct vst_done cb;

    cb = (struct vst_done){on_done, outcome, on_release};
    return &cb;
}

const struct vst_domain_cb *outcome_domain(struct outcome *outcome)
{
    static struct vst_domain_cb cb;

    cb = (struct vst_domain_cb){on_domain, outcome, on_release};
    return &cb;
}

const struct vst_info_cb *outcome_infos(struct outcome *outcome)
{
    static struct vst_info_cb cb;

    cb = (struct vst_info_cb){on_infos, outcome, on_release};
    return &cb;
}

const struct vst_conn_cb *outcome_conn(struct outcome *outcome)
{
    static struct vst_conn_cb cb;

    cb = (struct vst_conn_cb){on_conn, outcome, on_release};
    return &cb;
}

void outcome_await(struct event_base *base, struct outcome *outcome)
{
    /* Nothing is ever called back inside the call that began it. */
    assert_int_equal(outcome->calls, 0);
    while (!outcome->released)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_int_equal(outcome->calls, 1);
    assert_int_equal(outcome->released, 1);
}

void outcome_await_both(struct event_base *base, struct outcome *one, struct outcome *two)
{
    while (!one->released || !two->released)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_in_range(one->calls, 0, 1);
    assert_in_range(two->calls, 0, 1);
}

/* ---- the application ---- */

void app_start(struct app *app, const char *uri)
{
    struct outcome opened = {0}, found = {0};

    *app = (struct app){.base = event_base_new()};
    assert_non_null(vst_conn_open(app->base, uri, NULL, outcome_conn(&opened)));
    outcome_await(app->base, &opened);
    assert_int_equal(opened.err.code, VST_ERR_OK);
    app->conn = opened.conn;
    assert_non_null(vst_conn_lookup(app->conn, "test1", outcome_domain(&found)));
    outcome_await(app->base, &found);
    app->domain = found.domain;
}

void app_stop(struct app *app)
{
    vst_domain_free(&app->domain);
    vst_conn_close(&app->conn);
    event_base_dispatch(app->base);
    event_base_free(app->base);
}

void app_open_other(struct app *app, struct app *ret_other)
{
    struct outcome opened = {0};

    vst_conn_open(app->base, "test:///?domains=0", NULL, outcome_conn(&opened));
    outcome_await(app->base, &opened);
    *ret_other = (struct app){.base = app->base, .conn = opened.conn};
}

struct vst_stream *app_stream(struct app *app)
{
    struct vst_stream_options opt = {.limit = 64 * 1024};

    return vst_stream_new(app->base, &opt);
}

struct vst_op *app_begin_save(struct app *app, struct vst_stream *stream, struct outcome *outcome)
{
    return vst_domain_save(app->domain, stream, NULL, outcome_done(outcome));
}

static void forget_domain(void *opaque)
{
    vst_domain_free(&((struct outcome *)opaque)->domain);
}

struct vst_op *app_begin_restore(struct app *app, struct vst_stream *stream,
                                 struct outcome *outcome)
{
    outcome->then = forget_domain;
    outcome->opaque = outcome;
    return vst_domain_restore(app->conn, stream, NULL, outcome_domain(outcome));
}

static int state_of_info;
static const char *name_of_info;

static void pick(const struct vst_domain_info *infos, size_t count, const struct vst_error *err,
                 void *opaque)
{
    assert_null(err);
    for (size_t i = 0; i < count; i++)
        if (strcmp(infos[i].name, name_of_info) == 0)
            state_of_info = (int)infos[i].state;
    *(bool *)opaque = true;
}

int app_domain_state(struct app *app, const char *name)
{
    bool told = false;
    struct vst_info_cb cb = {pick, &told, NULL};

    state_of_info = -1;
    name_of_info = name;
    assert_non_null(vst_conn_list(app->conn, &cb));
    while (!told)
        event_base_loop(app->base, EVLOOP_ONCE);
    return state_of_info;
}

/* ---- ends in memory ---- */

static void wake(evutil_socket_t fd, short what, void *opaque)
{
    struct end *end = opaque;

    (void)fd, (void)what;
    if (end->stream)
        vst_stream_wake(end->stream);
}

static void end_init(struct end *end, struct event_base *base, struct vst_stream *stream,
                     struct evbuffer *bytes, struct manner manner)
{
    *end = (struct end){.stream = stream, .bytes = bytes, .manner = manner};
    event_assign(&end->wake, base, -1, 0, wake, end);
}

static void end_release(void *opaque)
{
    struct end *end = opaque;

    end->released++;
    end->stream = NULL;
    event_del(&end->wake);
}

/* How much is moved now, of `len`; or why nothing is. */
static enum vst_io behave(struct end *end, size_t len, size_t *ret_n)
{
    static const struct timeval at_once = {0, 0};
    const struct manner *manner = &end->manner;

    assert_int_equal(end->released, 0);
    end->calls++;
    if (manner->meanwhile)
        manner->meanwhile(manner->opaque);
    if ((manner->fails || manner->never) && end->moved >= manner->until)
        return manner->fails ? VST_IO_FAIL : VST_IO_AGAIN;
    if (manner->again && !end->asked) {
        end->asked = true;
        event_add(&end->wake, &at_once);
        return VST_IO_AGAIN;
    }
    end->asked = false;
    *ret_n = manner->chunk && manner->chunk < len ? manner->chunk : len;
    if ((manner->fails || manner->never) && *ret_n > manner->until - end->moved)
        *ret_n = manner->until - end->moved;
    return VST_IO_OK;
}

static enum vst_io end_read(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                            void *opaque)
{
    struct end *end = opaque;
    size_t n = 0;
    enum vst_io io = behave(end, len, &n);

    (void)ret_err;
    if (io != VST_IO_OK)
        return io;
    *ret_n = (size_t)evbuffer_remove(end->bytes, buf, n);
    end->moved += *ret_n;
    return *ret_n ? VST_IO_OK : VST_IO_EOF;
}

static enum vst_io end_write(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                             void *opaque)
{
    struct end *end = opaque;
    size_t n = 0;
    enum vst_io io = behave(end, len, &n);

    assert_int_equal(end->finished, 0);
    if (io != VST_IO_OK)
        return io;
    if (evbuffer_add(end->bytes, buf, n) < 0) {
        ret_err->code = VST_ERR_NO_MEMORY;
        return VST_IO_FAIL;
    }
    *ret_n = n;
    end->moved += n;
    return VST_IO_OK;
}

static enum vst_io end_finish(struct vst_error *ret_err, void *opaque)
{
    struct end *end = opaque;
    size_t n = 0;
    enum vst_io io = behave(end, 1, &n);

    (void)ret_err;
    if (io == VST_IO_OK)
        end->finished++;
    return io;
}

int end_feed(struct end *end, struct event_base *base, struct vst_stream *stream,
             struct evbuffer *bytes, struct manner manner)
{
    struct vst_reader reader = {end_read, end, end_release};

    end_init(end, base, stream, bytes, manner);
    return vst_stream_set_source_reader(stream, &reader);
}

int end_drain(struct end *end, struct event_base *base, struct vst_stream *stream,
              struct evbuffer *bytes, struct manner manner)
{
    struct vst_writer writer = {end_write, end_finish, end, end_release};

    end_init(end, base, stream, bytes, manner);
    return vst_stream_set_sink_writer(stream, &writer);
}

/* ---- whole methods ---- */

struct evbuffer *copy_of(struct evbuffer *bytes)
{
    struct evbuffer *copy = evbuffer_new();

    evbuffer_add(copy, evbuffer_pullup(bytes, -1), evbuffer_get_length(bytes));
    return copy;
}

enum vst_code app_save(struct app *app, const char *name, const struct vst_save_options *opt,
                       struct evbuffer *into, struct manner manner)
{
    struct vst_stream *stream = vst_stream_new(app->base, NULL);
    struct outcome found = {0}, saved = {0};
    struct end end;

    vst_conn_lookup(app->conn, name ? name : "test1", outcome_domain(&found));
    outcome_await(app->base, &found);
    assert_int_equal(found.err.code, VST_ERR_OK);
    end_drain(&end, app->base, stream, into, manner);
    vst_domain_save(found.domain, stream, opt, outcome_done(&saved));
    outcome_await(app->base, &saved);
    vst_domain_free(&found.domain);
    vst_stream_free(&stream);
    assert_int_equal(end.released, 1);
    assert_int_equal(end.finished, saved.err.code == VST_ERR_OK);
    return saved.err.code;
}

enum vst_code app_restore(struct app *app, const struct vst_restore_options *opt,
                          struct evbuffer *image, struct manner manner, struct outcome *ret_outcome)
{
    struct vst_stream *stream = vst_stream_new(app->base, NULL);
    struct evbuffer *copy = copy_of(image);
    struct outcome restored = {0};
    struct end end;

    end_feed(&end, app->base, stream, copy, manner);
    vst_domain_restore(app->conn, stream, opt, outcome_domain(&restored));
    outcome_await(app->base, &restored);
    vst_stream_free(&stream);
    evbuffer_free(copy);
    assert_int_equal(end.released, 1);
    if (ret_outcome)
        *ret_outcome = restored;
    else
        vst_domain_free(&restored.domain);
    return restored.err.code;
}

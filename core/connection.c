/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing connections: from a URI to a driver, and the promise that every pending
 * operation completes before the connection goes. What a driver does is its own.
 */
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "fsm.h"
#include "handover.h"
#include "pool.h"
#include "utf8.h"

#define CONN_STATES(X)                                              \
    X(CONN_OPENING, "the driver", "not yet the application's")      \
    X(CONN_OPEN, "the application", "methods may be called")        \
    X(CONN_CLOSING, "its operations", "all have been asked to end") \
    X(CONN_LEAVING, "the driver", "no operation is left")           \
    X(CONN_CLOSED, "its domains", "only the memory is left")
VST_FSM(conn, CONN_STATES)

/* What vst_conn_open() has to remember until the driver has answered. */
struct opening {
    struct vst_conn *conn;
    struct vst_conn_cb cb;
};

static void enter(struct vst_conn *conn, enum conn_state state)
{
    vst_fsm_trace(conn, conn->uri ? conn->uri->text : "-", conn->state, state);
    conn->state = state;
}

void vst_conn_ref(struct vst_conn *conn)
{
    conn->refs++;
}

void vst_conn_unref(struct vst_conn *conn)
{
    if (--conn->refs)
        return;
    vst_turn_cancel(&conn->turn);
    vst_pools_free(&conn->pools);
    vst_uri_free(&conn->uri);
    free(conn);
}

void vst_conn_set_event_callback(struct vst_conn *conn, const struct vst_event_cb *cb)
{
    struct vst_event_cb old = conn->event_cb;

    conn->event_cb = cb ? *cb : (struct vst_event_cb){0};
    if (conn->event_cb.fn && conn->driver->watch)
        conn->driver->watch(conn);
    if (old.release)
        old.release(old.opaque);
}

void vst_driver_event(struct vst_conn *conn, enum vst_event_kind kind, const char *name,
                      const char *uuid, const char *reason)
{
    char text[sizeof(((struct vst_domain_info *)NULL)->reason)];
    struct vst_event event = {kind, name, uuid, text};

    snprintf(text, sizeof(text), "%s", reason ? reason : "");
    vst_utf8_mend(text);
    if (conn->state == CONN_OPEN && conn->event_cb.fn)
        conn->event_cb.fn(conn, &event, conn->event_cb.opaque);
}

void vst_driver_events_lost(struct vst_conn *conn, const struct vst_error *err)
{
    if (conn->state == CONN_OPEN && conn->event_cb.lost)
        conn->event_cb.lost(conn, err, conn->event_cb.opaque);
}

/* Closing goes on, from the loop, when nothing holds it up any more. */
static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_conn *conn = opaque;

    (void)fd, (void)what;
    if (conn->state != CONN_CLOSING || !TAILQ_EMPTY(&conn->ops))
        return;
    enter(conn, CONN_LEAVING);
    conn->driver->close(conn);
}

void vst_conn_closed(struct vst_conn *conn)
{
    enter(conn, CONN_CLOSED);
    vst_conn_set_event_callback(conn, NULL);
    vst_conn_unref(conn);
}

static void op_ended(void *opaque)
{
    struct vst_conn *conn = opaque;

    if (conn->state == CONN_CLOSING)
        vst_turn_schedule(&conn->turn);
    vst_conn_unref(conn);
}

struct vst_op *vst_conn_op(struct vst_conn *conn, vst_deliver_fn *deliver, struct vst_callback cb)
{
    struct vst_op *op = vst_op_new(conn->base, &conn->ops, deliver, cb);

    if (!op)
        return NULL;
    vst_conn_ref(conn);
    vst_op_on_idle(op, op_ended, conn);
    return op;
}

int vst_conn_check(const struct vst_conn *conn, struct vst_error *ret_err)
{
    if (conn->state == CONN_OPEN)
        return 0;
    return vst_error_set(ret_err, VST_ERR_CANCELLED, "the connection has been closed");
}

void vst_conn_close(struct vst_conn **slot)
{
    struct vst_conn *conn = *slot;
    struct vst_error why = {0};
    struct vst_op *op, *next;

    *slot = NULL;
    if (!conn)
        return;
    enter(conn, CONN_CLOSING);
    vst_error_set(&why, VST_ERR_CANCELLED, "the connection was closed");
    for (op = TAILQ_FIRST(&conn->ops); op; op = next) {
        next = vst_op_next(op);
        vst_op_end(op, &why);
    }
    vst_turn_schedule(&conn->turn);
}

const char *vst_conn_get_uri(const struct vst_conn *conn)
{
    return conn->uri->text;
}

static void deliver_conn(const struct vst_callback *cb, struct vst_result *result,
                         const struct vst_error *err)
{
    struct opening *opening = cb->opaque;
    struct vst_conn *conn = opening->conn;

    (void)result;
    if (!err)
        enter(conn, CONN_OPEN);
    if (opening->cb.fn)
        opening->cb.fn(err ? NULL : conn, err, opening->cb.opaque);
    else if (!err)
        vst_conn_close(&conn);
    if (err)
        vst_conn_unref(opening->conn);
}

static void opening_release(void *opaque)
{
    struct opening *opening = opaque;

    if (opening->cb.release)
        opening->cb.release(opening->cb.opaque);
    free(opening);
}

/* With a transport it is the remote driver's, whatever the guests that it leads to. */
static bool serves(const struct vst_driver *driver, const struct vst_uri *uri)
{
    if (driver->remote)
        return uri->transport;
    return !uri->transport && strcmp(driver->name, uri->driver) == 0;
}

static const struct vst_driver *find_driver(const struct vst_uri *uri, struct vst_error *ret_err)
{
    for (const struct vst_driver *const *driver = vst_drivers; *driver; driver++)
        if (serves(*driver, uri))
            return *driver;
    vst_error_set(ret_err, VST_ERR_INVALID, "%s: no such driver: `%s`", uri->text, uri->driver);
    return NULL;
}

int vst_conn_check_uri(const char *text, struct vst_error *ret_err)
{
    const struct vst_driver *driver = NULL;
    struct vst_uri *uri = NULL;
    int status = -1;

    if (vst_uri_parse(text, &uri, ret_err) == 0)
        driver = find_driver(uri, ret_err);
    if (driver)
        status = driver->check ? driver->check(uri, ret_err) : 0;
    vst_uri_free(&uri);
    return status;
}

static void open_driver(struct vst_conn *conn, const char *text, struct vst_op *op)
{
    struct vst_error err = {0};

    if (!text || !*text)
        text = getenv("VIRSTREAM_DEFAULT_URI");
    if (!text || !*text)
        text = "qemu:///";
    if (vst_uri_parse(text, &conn->uri, &err) == 0)
        conn->driver = find_driver(conn->uri, &err);
    if (conn->driver)
        conn->driver->open(conn, op);
    else
        vst_op_fail(op, &err);
}

struct vst_op *vst_conn_open(struct event_base *base, const char *uri,
                             const struct vst_conn_options *opt, const struct vst_conn_cb *cb)
{
    struct opening *opening = calloc(1, sizeof(*opening));
    struct vst_conn *conn = calloc(1, sizeof(*conn));
    struct vst_op *op;

    if (!opening || !conn) {
        free(opening);
        free(conn);
        if (cb->release)
            cb->release(cb->opaque);
        return NULL;
    }
    conn->base = base;
    if (opt)
        conn->options = *opt;
    conn->refs = 1;
    TAILQ_INIT(&conn->ops);
    vst_turn_init(&conn->turn, base, turn, conn);
    *opening = (struct opening){conn, *cb};
    op = vst_op_new(base, NULL, deliver_conn,
                    (struct vst_callback){(void (*)(void))deliver_conn, opening, opening_release});
    if (!op) {
        vst_conn_unref(conn);
        return NULL;
    }
    open_driver(conn, uri, op);
    return op;
}

struct vst_op *vst_conn_open_peer(struct vst_conn *conn, const char *uri,
                                  const struct vst_conn_cb *cb)
{
    const struct vst_conn_options options = {.files = conn->options.files,
                                             .patience_seconds = vst_conn_patience(conn)};

    return vst_conn_open(conn->base, uri, &options, cb);
}

void vst_conn_set_patience(struct vst_conn *conn, unsigned seconds)
{
    conn->options.patience_seconds = seconds;
}

unsigned vst_conn_patience(const struct vst_conn *conn)
{
    return conn->options.patience_seconds ? conn->options.patience_seconds : VST_HANDOVER_PATIENCE;
}

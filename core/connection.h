/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection, from the inside: the place of a driver's own state on one event base.
 */
#ifndef VST_CORE_CONNECTION_H
#define VST_CORE_CONNECTION_H

#include "op.h"
#include "turn.h"
#include "uri.h"
#include "virstream/connection.h"

struct vst_driver;
struct vst_volume_pools;

enum { VST_CALLER_MAX = 319 };

/* For whom a method is called. */
struct vst_caller {
    char
        name[VST_CALLER_MAX + 1]; /* what stays the same when he comes again; empty: nothing does */
    bool admin;                   /* what others began is his, too */
};

struct vst_conn {
    const struct vst_driver *driver;
    struct event_base *base;
    struct vst_uri *uri;
    struct vst_conn_options options;
    struct vst_volume_pools *pools;  /* NULL: the driver's volumes are elsewhere */
    void *impl;                      /* the driver's own */
    const struct vst_caller *caller; /* set by a server while it calls a method; else NULL */
    struct vst_op_list ops;
    struct vst_event_cb event_cb;
    int state;     /* connection.c's */
    unsigned refs; /* the connection itself, each domain, each operation */
    struct vst_turn turn;
};

/* A method's operation on this connection. NULL without memory. */
struct vst_op *vst_conn_op(struct vst_conn *conn, vst_deliver_fn *deliver, struct vst_callback cb);

/* 0, or -1 with *ret_err filled when the connection is closed or closing. */
int vst_conn_check(const struct vst_conn *conn, struct vst_error *ret_err);

/* What is wrong with a URI before it is opened: no such driver, or what driver.h's check() says. */
int vst_conn_check_uri(const char *text, struct vst_error *ret_err);

/* Whoever calls the method that has just been entered. Who is in this process may do all. */
static inline const struct vst_caller *vst_conn_caller(const struct vst_conn *conn)
{
    static const struct vst_caller process = {.admin = true};

    return conn->caller ? conn->caller : &process;
}

/* Opens one from here to another host, for a migration: with the files for TLS that were given for
 * this one, and nobody to ask. */
struct vst_op *vst_conn_open_peer(struct vst_conn *conn, const char *uri,
                                  const struct vst_conn_cb *cb);

/* What its migrations use from now on, in seconds; see struct vst_conn_options. */
void vst_conn_set_patience(struct vst_conn *conn, unsigned seconds);
unsigned vst_conn_patience(const struct vst_conn *conn);

/* The driver has let go of everything; conn->impl is gone. */
void vst_conn_closed(struct vst_conn *conn);

void vst_conn_ref(struct vst_conn *conn);
void vst_conn_unref(struct vst_conn *conn);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to the destination. Through a relay everything is the relay's. Else one message at a time
 * waits for the connection; those that have been said wait for their answers in the connection's
 * own operations, each of which keeps the memory of the link, but not the link.
 */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "relay.h"

struct vst_link {
    struct vst_conn *from; /* as whom the other host is asked */
    char *uri;
    struct vst_relay *relay; /* NULL: a connection of our own */
    struct vst_link_cb cb;
    struct vst_conn *conn;                     /* NULL: none, or it is being opened */
    struct vst_op *opening;                    /* NULL: it is not */
    const struct vst_migrate_message *message; /* to be said when the connection is there */
    unsigned asked;                            /* messages that were said */
    bool pinging;
    int64_t answered_us; /* a ping, last */
    unsigned refs;       /* the owner's, and each operation's */
    bool dead;           /* the owner has gone */
};

/* A message that waits for its answer. */
struct question {
    struct vst_link *link;
    unsigned number;
};

static void unref(void *opaque)
{
    struct vst_link *link = opaque;

    if (--link->refs)
        return;
    free(link->uri);
    free(link);
}

static void hang_up(struct vst_link *link)
{
    vst_conn_close(&link->conn);
}

static void down(struct vst_link *link, const struct vst_error *err)
{
    link->message = NULL;
    if (!link->dead)
        link->cb.down(link->cb.opaque, err);
}

static void no_memory(struct vst_link *link)
{
    struct vst_error err = {0};

    vst_error_no_memory(&err);
    down(link, &err);
}

/* ---- talking ---- */

static void forget(void *opaque)
{
    struct question *question = opaque;

    unref(question->link);
    free(question);
}

/* The other host has an answer for the last message only: that those before it were not answered
 * means nothing. */
static void answered(const struct vst_migrate_message *answer, const struct vst_error *err,
                     void *opaque)
{
    const struct question *question = opaque;
    struct vst_link *link = question->link;

    if (link->dead || (err && question->number != link->asked))
        return;
    if (!err) {
        link->cb.answered(link->cb.opaque, answer);
        return;
    }
    if (err->code == VST_ERR_LOST)
        hang_up(link);
    down(link, err);
}

static void say(struct vst_link *link)
{
    const struct vst_migrate_message *message = link->message;
    struct question *question = malloc(sizeof(*question));
    struct vst_answer_cb cb = {answered, question, forget};

    link->message = NULL;
    if (!question) {
        no_memory(link);
        return;
    }
    *question = (struct question){link, ++link->asked};
    link->refs++;
    if (!vst_conn_migrate_message(link->conn, message, &cb))
        no_memory(link);
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct vst_link *link = opaque;

    link->opening = NULL;
    if (link->dead)
        vst_conn_close(&conn);
    else if (err)
        down(link, err);
    else if ((link->conn = conn) && link->message)
        say(link);
    else
        link->cb.up(link->cb.opaque);
}

static void open_conn(struct vst_link *link)
{
    struct vst_conn_cb cb = {opened, link, unref};

    if (link->opening)
        return;
    link->refs++;
    link->opening = vst_conn_open_peer(link->from, link->uri, &cb);
    if (!link->opening)
        no_memory(link);
}

void vst_link_open(struct vst_link *link)
{
    open_conn(link);
}

void vst_link_say(struct vst_link *link, const struct vst_migrate_message *message)
{
    if (link->relay) {
        vst_relay_say(link->relay, message);
        return;
    }
    link->message = message;
    if (link->conn)
        say(link);
    else
        open_conn(link);
}

/* A relay without a client fails the stream, from the loop. */
bool vst_link_is_up(const struct vst_link *link)
{
    return link->relay || link->conn;
}

struct vst_op *vst_link_move(struct vst_link *link, const char *token, const char *part,
                             struct vst_stream *stream, const struct vst_done *done)
{
    if (link->relay)
        return vst_relay_send(link->relay, part, stream, done);
    return vst_conn_migrate_stream(link->conn, token, part, stream, done);
}

void vst_link_tell(struct vst_link *link, const struct vst_error *err)
{
    if (link->relay)
        vst_relay_tell(link->relay, err);
}

/* ---- is it there? ---- */

static void ponged(int64_t us, const struct vst_error *err, void *opaque)
{
    struct vst_link *link = opaque;

    (void)us;
    link->pinging = false;
    if (!err)
        link->answered_us = vst_now_us();
}

void vst_link_ping(struct vst_link *link)
{
    struct vst_ping_cb cb = {ponged, link, unref};

    if (!link->conn || link->pinging)
        return;
    link->refs++;
    link->pinging = true;
    if (!vst_conn_ping(link->conn, &cb))
        link->pinging = false;
}

int64_t vst_link_answered_us(const struct vst_link *link)
{
    return link->answered_us;
}

/* ---- its life ---- */

struct vst_link *vst_link_new(struct vst_conn *from, const char *uri, const struct vst_link_cb *cb,
                              struct vst_error *ret_err)
{
    struct vst_link *link = calloc(1, sizeof(*link));

    if (!link || !(link->uri = strdup(uri))) {
        free(link);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    link->from = from;
    link->cb = *cb;
    link->refs = 1;
    return link;
}

struct vst_link *vst_link_new_relay(struct vst_qemu *qemu, const struct vst_link_relay *relay,
                                    const struct vst_link_cb *cb, struct vst_error *ret_err)
{
    struct vst_link *link = calloc(1, sizeof(*link));

    if (!link) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    link->relay = vst_relay_new(qemu, relay, cb, ret_err);
    if (!link->relay) {
        free(link);
        return NULL;
    }
    link->refs = 1;
    return link;
}

void vst_link_free(struct vst_link **slot)
{
    struct vst_link *link = *slot;

    *slot = NULL;
    if (!link)
        return;
    link->dead = true;
    vst_relay_leave(&link->relay);
    vst_op_cancel(link->opening);
    hang_up(link);
    unref(link);
}

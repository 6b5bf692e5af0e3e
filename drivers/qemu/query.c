/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks one guest; see query.h. What is told of it is in describe.c.
 */
#include "query.h"

#include <string.h>

#include "describe.h"

enum { ANSWER_SECONDS = 3 };

static void enter(struct vst_query *query, enum query_state state)
{
    vst_fsm_trace(query, query->name, query->state, state);
    query->state = state;
}

static void wait_no_more(struct vst_query *query)
{
    event_del(&query->patience);
    vst_guest_unwait(&query->wait);
    vst_guest_unwatch(&query->watch);
    if (query->guest)
        vst_guest_forget(query->guest, query);
    query->guest = NULL;
}

static void let_go(struct vst_query *query)
{
    struct vst_guest *guest = query->release ? vst_guest_find(query->qemu, query->name) : NULL;

    if (guest)
        vst_guest_release(guest);
    query->release = false;
}

void vst_query_end(struct vst_query *query)
{
    if (query->state == QUERY_IDLE)
        return;
    LIST_REMOVE(query, link);
    wait_no_more(query);
    let_go(query);
    enter(query, QUERY_IDLE);
}

static void answered(struct vst_query *query, struct vst_guest *guest, const struct vst_error *err)
{
    int found = 0;

    if (guest)
        vst_describe_guest(query->qemu, guest, err, query->ret_info);
    vst_query_end(query); /* before it is looked at from outside: not to be told as held by us */
    if (!guest)
        found = vst_describe_place(query->qemu, query->name, err, query->ret_info);
    query->answered(query->opaque, found < 0 ? err : NULL);
}

/* A refusal is an answer, too. */
static void heard(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct vst_query *query = opaque;

    (void)value;
    if (!err || err->code != VST_ERR_LOST) /* then gone() comes, and knows more */
        answered(query, query->guest, NULL);
}

static void gone(void *opaque, const struct vst_error *err)
{
    answered(opaque, NULL, err);
}

/* What has hold of a guest talks to its QEMU itself, which may well be deaf until then: it writes
 * the last part of an image with its lock held. */
static bool is_at_work(const struct vst_guest *guest)
{
    struct vst_domain_info info;

    vst_guest_get_info(guest, &info);
    return info.job != VST_JOB_NONE;
}

static void there(void *opaque, struct vst_guest *guest, const struct vst_error *wait_err)
{
    struct vst_query *query = opaque;
    struct vst_error err = {0};

    if (!guest || is_at_work(guest)) {
        answered(query, guest, wait_err);
    } else if (vst_qmp_execute(vst_guest_qmp(guest), "query-status",
                               (struct vst_qmp_reply){heard, query}, &err, NULL) < 0) {
        answered(query, guest, &err);
    } else {
        query->guest = guest;
        vst_guest_watch(guest, &query->watch);
        enter(query, QUERY_HEARING);
    }
}

/* Stopped, swapped out, or hung: what can be seen from outside is told of it. */
static void out_of_patience(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_query *query = opaque;
    struct vst_guest *guest = vst_guest_find(query->qemu, query->name);
    struct vst_error err = {.side = VST_SIDE_QEMU};

    (void)fd, (void)what;
    if (guest && vst_guest_is_mending(guest))
        vst_error_set(&err, VST_ERR_TIMEOUT,
                      "a save of it was cut off, and QEMU still has to do with it");
    else
        vst_error_set(&err, VST_ERR_TIMEOUT, "QEMU does not answer");
    answered(query, query->guest, &err);
}

void vst_query_init(struct vst_query *query, struct vst_qemu *qemu,
                    void (*answered_fn)(void *opaque, const struct vst_error *absent), void *opaque)
{
    *query = (struct vst_query){.qemu = qemu, .answered = answered_fn, .opaque = opaque};
    event_assign(&query->patience, qemu->conn->base, -1, 0, out_of_patience, query);
}

/* Of those who ask at the same time the last lets go, whoever was the first. */
static bool is_to_be_released(const struct vst_query *query)
{
    const struct vst_query *other;

    LIST_FOREACH(other, &query->qemu->queries, link)
        if (other->release && strcmp(other->name, query->name) == 0)
            return true;
    return !vst_guest_find(query->qemu, query->name);
}

void vst_query_begin(struct vst_query *query, const char *name, struct vst_domain_info *ret_info)
{
    static const struct timeval patience = {ANSWER_SECONDS, 0};

    query->name = name;
    query->ret_info = ret_info;
    query->release = is_to_be_released(query);
    query->wait = (struct vst_guest_wait){.fn = there, .opaque = query, .at_once = true};
    query->watch = (struct vst_guest_watch){.gone = gone, .opaque = query};
    LIST_INSERT_HEAD(&query->qemu->queries, query, link);
    enter(query, QUERY_ASKING);
    vst_guest_get(query->qemu, name, &query->wait);
    if (query->wait.waiting)
        enter(query, QUERY_WAITING);
    if (query->state != QUERY_IDLE)
        event_add(&query->patience, &patience);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errands, and the client who comes for them. There is at most one question at a time, the last
 * one, as the machine repeats itself; any number of streams; and one word of how it went. Each has
 * a number, so that the client, who names the last one that it had, gets nothing twice.
 */
#include "relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fsm.h"
#include "core/turn.h"
#include "guest.h"
#include "move.h"
#include "relay-carry.h"

enum { AWAY_SECONDS = 30 };

#define RELAY_STATES(X)                                                  \
    X(RELAY_ABSENT, "a client", "nobody relays: the link is down")       \
    X(RELAY_AWAY, "the client", "it is about to come, or to come again") \
    X(RELAY_THERE, "an errand", "the client waits for something to do")
VST_FSM(relay, RELAY_STATES)

struct vst_relay {
    LIST_ENTRY(vst_relay) link;
    struct vst_qemu *qemu;
    enum relay_state state;
    char token[37];
    char owner[VST_CALLER_MAX + 1];
    struct vst_link_cb cb; /* no functions: the departure has gone */
    struct vst_op *fetching;
    uint64_t after; /* what the client that waits has had */
    uint64_t last;  /* number of an errand */
    uint64_t asked; /* number of the question; 0: none */
    const struct vst_migrate_message *message;
    uint64_t told; /* number of the word; 0: none */
    struct vst_error word;
    struct vst_carries carries; /* that wait to be fetched, or carried */
    struct event patience;
    struct vst_turn turn; /* tells the departure what came of a call of its own */
    enum { NEWS_NONE, NEWS_UP, NEWS_DOWN } news;
};

bool vst_relay_is_meant(const char *uri)
{
    return strncmp(uri, VST_RELAY_PREFIX, sizeof(VST_RELAY_PREFIX) - 1) == 0;
}

static void relay_free(struct vst_relay *relay)
{
    LIST_REMOVE(relay, link);
    vst_turn_cancel(&relay->turn);
    event_del(&relay->patience);
    free(relay);
}

/* ---- is the client there? ---- */

static void enter(struct vst_relay *relay, enum relay_state state)
{
    static const struct timeval patience = {AWAY_SECONDS, 0};

    vst_fsm_trace(relay, relay->token, relay->state, state);
    relay->state = state;
    event_del(&relay->patience);
    if (state == RELAY_AWAY)
        event_add(&relay->patience, &patience);
}

static void tell_later(struct vst_relay *relay, int news)
{
    relay->news = news;
    vst_turn_schedule(&relay->turn);
}

static void no_client(struct vst_error *ret_err)
{
    vst_error_set(ret_err, VST_ERR_LOST,
                  "the client is gone that relayed between the hosts (virstream migration relay)");
}

/* What waits for it has waited in vain. */
static void tell_down(struct vst_relay *relay)
{
    struct vst_error err = {0};
    struct vst_carry *carry;

    no_client(&err);
    relay->asked = 0;
    while ((carry = LIST_FIRST(&relay->carries)))
        vst_carry_fail(carry, &err);
    if (relay->cb.down)
        relay->cb.down(relay->cb.opaque, &err);
}

static void lose(struct vst_relay *relay)
{
    enter(relay, RELAY_ABSENT);
    if (relay->cb.down)
        tell_down(relay);
    else
        relay_free(relay);
}

static void waited_enough(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    lose(opaque);
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_relay *relay = opaque;
    int news = relay->news;

    (void)fd, (void)what;
    relay->news = NEWS_NONE;
    if (news == NEWS_UP && relay->cb.up)
        relay->cb.up(relay->cb.opaque);
    else if (news == NEWS_DOWN && relay->state == RELAY_ABSENT)
        tell_down(relay);
}

/* ---- errands ---- */

static void consider(struct vst_errand *best, uint64_t after, const struct vst_errand *errand)
{
    if (errand->number > after && (!best->number || errand->number < best->number))
        *best = *errand;
}

/* The one with the least number that the client has not had; without a number there is none. */
static struct vst_errand find_errand(const struct vst_relay *relay)
{
    struct vst_errand best = {.number = 0};
    struct vst_errand ask = {.number = relay->asked, .kind = VST_ERRAND_ASK};
    struct vst_errand told = {.number = relay->told, .kind = VST_ERRAND_TOLD, .err = relay->word};
    struct vst_errand over = {.number = relay->last + 1, .kind = VST_ERRAND_OVER};
    struct vst_carry *carry;

    if (ask.number)
        ask.message = *relay->message;
    consider(&best, relay->after, &ask);
    consider(&best, relay->after, &told);
    LIST_FOREACH(carry, &relay->carries, link) {
        struct vst_errand one = {.number = carry->number, .kind = VST_ERRAND_CARRY};

        snprintf(one.part, sizeof(one.part), "%s", carry->part);
        consider(&best, relay->after, &one);
    }
    if (!best.number && !relay->cb.down)
        best = over;
    snprintf(best.token, sizeof(best.token), "%s", relay->token);
    return best;
}

/* Gives the client what there is; then it will come again. */
static void serve(struct vst_relay *relay)
{
    struct vst_errand errand;
    struct vst_op *op = relay->fetching;

    if (!op)
        return;
    errand = find_errand(relay);
    if (!errand.number)
        return;
    relay->fetching = NULL;
    vst_op_set_cancel(op, NULL, NULL);
    vst_driver_errand(op, &errand);
    if (errand.kind == VST_ERRAND_OVER)
        relay_free(relay);
    else
        enter(relay, RELAY_AWAY);
}

static void client_gone(void *opaque, const struct vst_error *why)
{
    struct vst_relay *relay = opaque;
    struct vst_op *op = relay->fetching;

    relay->fetching = NULL;
    vst_op_fail(op, why);
    lose(relay);
}

/* ---- the departure ---- */

void vst_relay_say(struct vst_relay *relay, const struct vst_migrate_message *message)
{
    if (relay->state == RELAY_ABSENT) {
        tell_later(relay, NEWS_DOWN);
        return;
    }
    relay->message = message;
    relay->asked = ++relay->last;
    serve(relay);
}

struct vst_op *vst_relay_send(struct vst_relay *relay, const char *part, struct vst_stream *stream,
                              const struct vst_done *done)
{
    struct vst_callback cb = {(void (*)(void))done->fn, done->opaque, done->release};
    struct vst_op *op = vst_conn_op(relay->qemu->conn, vst_deliver_done, cb);
    struct vst_error err = {0};
    struct vst_carry *carry;

    if (!op)
        return NULL;
    carry = vst_carry_new(relay->qemu->conn->base, part, stream, op);
    if (!carry)
        return op;
    if (relay->state == RELAY_ABSENT) {
        no_client(&err);
        vst_carry_fail(carry, &err);
        return op;
    }
    carry->number = ++relay->last;
    carry->waits = true;
    LIST_INSERT_HEAD(&relay->carries, carry, link);
    serve(relay);
    return op;
}

void vst_relay_tell(struct vst_relay *relay, const struct vst_error *err)
{
    if (relay->told && relay->word.code != VST_ERR_IN_DOUBT)
        return;
    relay->word = err ? *err : (struct vst_error){0};
    relay->told = ++relay->last;
    serve(relay);
}

struct vst_relay *vst_relay_new(struct vst_qemu *qemu, const struct vst_link_relay *of,
                                const struct vst_link_cb *cb, struct vst_error *ret_err)
{
    struct vst_relay *relay = calloc(1, sizeof(*relay));

    if (!relay) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    relay->qemu = qemu;
    relay->cb = *cb;
    snprintf(relay->token, sizeof(relay->token), "%s", of->token);
    snprintf(relay->owner, sizeof(relay->owner), "%s", of->owner);
    LIST_INIT(&relay->carries);
    event_assign(&relay->patience, qemu->conn->base, -1, 0, waited_enough, relay);
    vst_turn_init(&relay->turn, qemu->conn->base, turn, relay);
    LIST_INSERT_HEAD(&qemu->relays, relay, link);
    if (of->expected)
        enter(relay, RELAY_AWAY);
    return relay;
}

void vst_relay_leave(struct vst_relay **slot)
{
    struct vst_relay *relay = *slot;
    struct vst_error err = {0};
    struct vst_carry *carry;

    *slot = NULL;
    if (!relay)
        return;
    relay->cb = (struct vst_link_cb){0};
    relay->asked = 0;
    vst_error_set(&err, VST_ERR_CANCELLED, "the migration is over");
    while ((carry = LIST_FIRST(&relay->carries)))
        vst_carry_fail(carry, &err);
    if (relay->state == RELAY_ABSENT)
        relay_free(relay);
    else
        serve(relay);
}

void vst_relays_close(struct vst_qemu *qemu)
{
    struct vst_relay *relay;

    while ((relay = LIST_FIRST(&qemu->relays)))
        relay_free(relay);
}

/* ---- the client ---- */

/* NULL, and the call has failed. */
static struct vst_relay *find(struct vst_qemu *qemu, const struct vst_relay_call *call)
{
    struct vst_error err = {0};
    struct vst_relay *relay;

    LIST_FOREACH(relay, &qemu->relays, link)
        if (strcmp(relay->token, call->token) == 0)
            break;
    if (!relay)
        vst_error_set(&err, VST_ERR_NOT_FOUND,
                      "no migration %s that goes through a client is under way here", call->token);
    else if (vst_owner_check(relay->owner, relay->token, call->caller, &err) == 0)
        return relay;
    vst_op_fail(call->op, &err);
    return NULL;
}

/* Before the hand-over nothing is gained by another one, and the stream of this one is lost. */
static bool refuse_another(const struct vst_relay *relay, struct vst_op *op)
{
    struct vst_error err = {0};

    if (relay->state != RELAY_THERE || !relay->cb.is_at_stake ||
        !relay->cb.is_at_stake(relay->cb.opaque))
        return false;
    vst_error_set(&err, VST_ERR_BUSY,
                  "another client relays this migration; it ends with that one, or by "
                  "`virstream migration cancel %s`",
                  relay->token);
    vst_op_fail(op, &err);
    return true;
}

/* Another one has come; who waited is told so. */
static void send_away(struct vst_relay *relay)
{
    struct vst_op *op = relay->fetching;
    struct vst_error err = {0};

    relay->fetching = NULL;
    if (!op)
        return;
    vst_op_set_cancel(op, NULL, NULL);
    vst_error_set(&err, VST_ERR_BUSY, "another client relays now");
    vst_op_fail(op, &err);
}

/* Who has had nothing yet is new here: a doubt may come to its end by him. */
static void welcome(struct vst_relay *relay)
{
    if (relay->word.code == VST_ERR_IN_DOUBT)
        relay->told = 0;
    tell_later(relay, NEWS_UP);
}

void vst_relay_fetch(struct vst_qemu *qemu, const struct vst_relay_call *call, uint64_t after)
{
    struct vst_relay *relay = find(qemu, call);

    if (!relay || (!after && refuse_another(relay, call->op)))
        return;
    send_away(relay);
    if (!after)
        welcome(relay);
    relay->fetching = call->op;
    relay->after = after;
    vst_op_set_cancel(call->op, client_gone, relay);
    enter(relay, RELAY_THERE);
    serve(relay);
}

/* An answer counts whenever it comes; that there is none, only for the last question. */
void vst_relay_answer(struct vst_qemu *qemu, const struct vst_relay_call *call, uint64_t number,
                      const struct vst_migrate_message *answer, const struct vst_error *err)
{
    struct vst_relay *relay = find(qemu, call);
    bool last;

    if (!relay)
        return;
    last = number == relay->asked;
    vst_op_done(call->op);
    if (last)
        relay->asked = 0;
    if (!err && relay->cb.answered)
        relay->cb.answered(relay->cb.opaque, answer);
    else if (err && last && relay->cb.down)
        relay->cb.down(relay->cb.opaque, err);
}

void vst_relay_carry(struct vst_qemu *qemu, const struct vst_relay_call *call, const char *part,
                     struct vst_stream *stream)
{
    struct vst_relay *relay = find(qemu, call);
    struct vst_error err = {0};
    struct vst_carry *carry;

    if (!relay)
        return;
    LIST_FOREACH(carry, &relay->carries, link)
        if (strcmp(carry->part, part ? part : "") == 0) {
            vst_carry_join(carry, stream, call->op);
            return;
        }
    vst_error_set(&err, VST_ERR_NOT_FOUND, "there is nothing to be carried now");
    vst_op_fail(call->op, &err);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A migration that goes through this process: it fetches errands from the source, does them at the
 * destination, and brings back what came of it. It decides nothing and keeps nothing, so that it
 * may die at any moment, and another may take its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "fsm.h"
#include "migration.h"

enum { LINGER_SECONDS = 10 };

#define RELAYING_STATES(X)                                                              \
    X(RELAYING_BEGIN, "the token", "the source is asked to begin")                      \
    X(RELAYING_CARRY, "errands", "whatever the source wants is carried")                \
    X(RELAYING_TOLD, "the last errands", "the outcome is known, the destination's not") \
    X(RELAYING_OVER, "nothing", "whoever asked knows")
VST_FSM(relaying, RELAYING_STATES)

/* Each question that it waits for has hold of it. */
struct relaying {
    unsigned refs;
    enum relaying_state state;
    struct vst_op *op; /* whose outcome it is; NULL in the end */
    struct vst_conn *source;
    struct vst_conn *destination;
    char token[37];
    uint64_t last; /* number of the last errand */
    struct vst_error outcome;
    struct event linger;
};

/* A question to the destination. */
struct asking {
    struct relaying *relaying;
    uint64_t number;
};

/* A part of the guest on its way: down `from`, up `to`, and the answers back. */
struct carrying {
    unsigned refs;
    struct vst_stream *from, *to;
};

static void enter(struct relaying *relaying, enum relaying_state state)
{
    vst_fsm_trace(relaying, relaying->token, relaying->state, state);
    relaying->state = state;
}

static void unref(void *opaque)
{
    struct relaying *relaying = opaque;

    if (--relaying->refs)
        return;
    event_del(&relaying->linger);
    vst_conn_unref(relaying->source);
    vst_conn_unref(relaying->destination);
    free(relaying);
}

static void conclude(struct relaying *relaying, const struct vst_error *err)
{
    struct vst_op *op = relaying->op;

    relaying->op = NULL;
    if (!op)
        return;
    enter(relaying, RELAYING_OVER);
    event_del(&relaying->linger);
    vst_op_set_cancel(op, NULL, NULL);
    if (err && vst_error_is_set(err))
        vst_op_fail(op, err);
    else
        vst_op_done(op);
}

static void no_memory(struct relaying *relaying)
{
    struct vst_error err = {0};

    vst_error_no_memory(&err);
    conclude(relaying, &err);
}

/* ---- messages ---- */

static void forget_asking(void *opaque)
{
    struct asking *asking = opaque;

    unref(asking->relaying);
    free(asking);
}

static void answered(const struct vst_migrate_message *answer, const struct vst_error *err,
                     void *opaque)
{
    const struct asking *asking = opaque;
    struct relaying *relaying = asking->relaying;

    if (!relaying->op)
        return;
    vst_conn_relay_answer(relaying->source, relaying->token, asking->number, answer, err, NULL);
    if (err && relaying->state == RELAYING_TOLD) /* nothing more can be said there */
        conclude(relaying, &relaying->outcome);
}

/*
 * The source is believed in what concerns its guest, and in nothing else: it is asked by the token
 * that is relayed, and a guest that comes this way has no raw arguments, whatever we may do.
 */
static void ask(struct relaying *relaying, const struct vst_errand *errand)
{
    struct asking *asking = malloc(sizeof(*asking));
    struct vst_answer_cb cb = {answered, asking, forget_asking};
    struct vst_migrate_message message = errand->message;

    if (!asking) {
        no_memory(relaying);
        return;
    }
    *asking = (struct asking){relaying, errand->number};
    relaying->refs++;
    snprintf(message.token, sizeof(message.token), "%s", relaying->token);
    message.no_args = true;
    if (!vst_conn_migrate_message(relaying->destination, &message, &cb))
        no_memory(relaying);
}

/* ---- streams ---- */

static void carrying_unref(void *opaque)
{
    struct carrying *carrying = opaque;

    if (--carrying->refs)
        return;
    vst_stream_free(&carrying->from);
    vst_stream_free(&carrying->to);
    free(carrying);
}

static struct carrying *carrying_new(struct event_base *base)
{
    struct carrying *carrying = calloc(1, sizeof(*carrying));

    if (!carrying)
        return NULL;
    carrying->refs = 1;
    carrying->from = vst_stream_new(base, NULL);
    carrying->to = vst_stream_new(base, NULL);
    /* The source is told that all has gone when the destination has loaded it. */
    if (carrying->from && carrying->to && vst_stream_join(carrying->from, carrying->to) == 0 &&
        vst_stream_join_back(carrying->to, carrying->from) == 0)
        return carrying;
    carrying_unref(carrying);
    return NULL;
}

/* What becomes of them the hosts know, each by its own end. */
static void carry(struct relaying *relaying, const struct vst_errand *errand)
{
    const char *part = errand->part[0] ? errand->part : NULL;
    struct carrying *carrying = carrying_new(relaying->source->base);
    struct vst_done done = {NULL, carrying, carrying_unref};
    struct vst_error err = {0};
    bool carries;

    if (!carrying) {
        no_memory(relaying);
        return;
    }
    carrying->refs += 2;
    carries =
        vst_conn_migrate_stream(relaying->destination, relaying->token, part, carrying->to, &done);
    if (!vst_conn_relay_stream(relaying->source, relaying->token, part, carrying->from, &done) ||
        !carries) {
        vst_error_no_memory(&err);
        vst_stream_fail(carrying->from, &err);
        vst_stream_fail(carrying->to, &err);
        conclude(relaying, &err);
    }
    carrying_unref(carrying);
}

/* ---- errands ---- */

static void fetch(struct relaying *relaying);

/* What is left to be said to the destination is that it is over; which it finds out by itself. */
static void told(struct relaying *relaying, const struct vst_error *err)
{
    static const struct timeval linger = {LINGER_SECONDS, 0};

    relaying->outcome = *err;
    if (relaying->state != RELAYING_TOLD)
        event_add(&relaying->linger, &linger);
    enter(relaying, RELAYING_TOLD);
}

static void lingered(evutil_socket_t fd, short what, void *opaque)
{
    struct relaying *relaying = opaque;

    (void)fd, (void)what;
    conclude(relaying, &relaying->outcome);
}

/* That it went well is believed of a source that has said so, and of no other. */
static void is_over(struct relaying *relaying)
{
    struct vst_error err = {.side = VST_SIDE_SOURCE};

    vst_error_set(&err, VST_ERR_PROTOCOL,
                  "the source has no more errands, and does not say what became of the migration");
    conclude(relaying, relaying->state == RELAYING_TOLD ? &relaying->outcome : &err);
}

static void run(struct relaying *relaying, const struct vst_errand *errand)
{
    switch (errand->kind) {
    case VST_ERRAND_ASK:
        ask(relaying, errand);
        break;
    case VST_ERRAND_CARRY:
        carry(relaying, errand);
        break;
    case VST_ERRAND_TOLD:
        told(relaying, &errand->err);
        break;
    case VST_ERRAND_OVER:
        is_over(relaying);
        break;
    case VST_ERRAND_NONE:
        break;
    }
}

static void have_errand(const struct vst_errand *errand, const struct vst_error *err, void *opaque)
{
    struct relaying *relaying = opaque;
    struct vst_error wrong = {0};

    if (!relaying->op)
        return;
    if (err) {
        conclude(relaying, relaying->state == RELAYING_TOLD ? &relaying->outcome : err);
        return;
    }
    if (errand->number <= relaying->last) {
        vst_error_set(&wrong, VST_ERR_PROTOCOL, "the source's errands come in no order");
        conclude(relaying, &wrong);
        return;
    }
    relaying->last = errand->number;
    run(relaying, errand);
    fetch(relaying);
}

static void fetch(struct relaying *relaying)
{
    struct vst_errand_cb cb = {have_errand, relaying, unref};

    if (!relaying->op)
        return;
    relaying->refs++;
    if (!vst_conn_relay_fetch(relaying->source, relaying->token, relaying->last, &cb))
        no_memory(relaying);
}

/* ---- beginning, and giving up ---- */

static void cancelled(void *opaque, const struct vst_error *why)
{
    struct relaying *relaying = opaque;

    if (vst_conn_check(relaying->source, NULL) < 0)
        conclude(relaying, why);
    else if (relaying->state == RELAYING_CARRY) /* too late, or not: the outcome will say so */
        vst_conn_order_migration(relaying->source, relaying->token, VST_MIGRATION_CANCEL, NULL,
                                 NULL);
    else if (relaying->state == RELAYING_TOLD)
        conclude(relaying, &relaying->outcome);
}

static void begun(const struct vst_errand *errand, const struct vst_error *err, void *opaque)
{
    struct relaying *relaying = opaque;

    if (!relaying->op)
        return;
    if (err) {
        conclude(relaying, err);
        return;
    }
    snprintf(relaying->token, sizeof(relaying->token), "%s", errand->token);
    vst_op_set_token(relaying->op, relaying->token);
    enter(relaying, RELAYING_CARRY);
    if (vst_op_cancelled(relaying->op))
        cancelled(relaying, vst_op_cancelled(relaying->op));
    fetch(relaying);
}

/* NULL, and *ret_op is what there is to return. */
static struct relaying *relaying_new(struct vst_conn *source, struct vst_conn *destination,
                                     const struct vst_done *done, struct vst_op **ret_op)
{
    struct relaying *relaying = calloc(1, sizeof(*relaying));
    struct vst_error err = {0};
    bool go;
    struct vst_op *op = vst_dispatch(source, vst_deliver_done, VST_ERASE(done),
                                     source->driver->relay_fetch != NULL, NULL, &go);

    *ret_op = op;
    if (!relaying)
        vst_error_no_memory(&err);
    else if (source->base != destination->base)
        vst_error_set(&err, VST_ERR_INVALID, "both connections must be of one loop");
    if (!op || !go || vst_error_is_set(&err)) {
        if (op && go)
            vst_op_fail(op, &err);
        free(relaying);
        return NULL;
    }
    *relaying =
        (struct relaying){.refs = 1, .op = op, .source = source, .destination = destination};
    vst_conn_ref(source);
    vst_conn_ref(destination);
    event_assign(&relaying->linger, source->base, -1, 0, lingered, relaying);
    vst_op_own(op, relaying, unref);
    vst_op_set_cancel(op, cancelled, relaying);
    return relaying;
}

static struct vst_op *begin(struct vst_domain *domain, struct vst_conn *destination,
                            const struct vst_migrate_options *opt, bool check,
                            const struct vst_done *done)
{
    static const struct vst_migrate_options defaults;
    struct vst_op *op;
    struct relaying *relaying = relaying_new(domain->conn, destination, done, &op);
    struct vst_errand_cb cb = {begun, relaying, unref};
    const char *uri = vst_conn_get_uri(destination);
    char shown[512];

    if (!relaying)
        return op;
    /* For people: how we connect is nobody's business. */
    snprintf(shown, sizeof(shown), "%.*s", (int)strcspn(uri, "?"), uri);
    relaying->refs++;
    if (!vst_conn_relay_begin(domain->conn, domain->name, shown, opt ? opt : &defaults, check, &cb))
        no_memory(relaying);
    return op;
}

struct vst_op *vst_domain_migrate_through(struct vst_domain *domain, struct vst_conn *destination,
                                          const struct vst_migrate_options *opt,
                                          const struct vst_done *done)
{
    return begin(domain, destination, opt, false, done);
}

struct vst_op *vst_domain_check_migration_through(struct vst_domain *domain,
                                                  struct vst_conn *destination,
                                                  const struct vst_migrate_options *opt,
                                                  const struct vst_done *done)
{
    return begin(domain, destination, opt, true, done);
}

struct vst_op *vst_conn_relay_migration(struct vst_conn *source, const char *token,
                                        struct vst_conn *destination, const struct vst_done *done)
{
    struct vst_op *op;
    struct relaying *relaying = relaying_new(source, destination, done, &op);

    if (!relaying)
        return op;
    snprintf(relaying->token, sizeof(relaying->token), "%s", token);
    vst_op_set_token(op, relaying->token);
    enter(relaying, RELAYING_CARRY);
    fetch(relaying);
    return op;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of migration, and what all migrations of this process share: the journal, which is
 * opened by the worker when somebody first wants to migrate or to hear of migrations. Opening it is
 * going on with everything that it says is not over; calls wait for that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrival.h"
#include "core/worker.h"
#include "departure.h"
#include "journal.h"
#include "order.h"
#include "relay.h"
#include "stray.h"

enum { REMEMBERED = 32 }; /* migrations that are over */

#define MIGRATE_STATES(X)                                                        \
    X(MIGRATE_CLOSED, "the first call", "the journal is not open")               \
    X(MIGRATE_OPENING, "the worker", "the journal is being opened and replayed") \
    X(MIGRATE_OPEN, "calls", "everything that was not over goes on")
VST_FSM(migrate, MIGRATE_STATES)

/* A call with copies of its arguments: it may have to wait for the journal. */
struct call {
    STAILQ_ENTRY(call) next;
    void (*run)(struct vst_qemu *qemu, struct call *call);
    struct vst_op *op;
    bool lacks; /* memory, for a copy */
    char *name; /* of a guest, or a token */
    char *destination;
    char *there;
    char *offer;
    struct vst_migrate_options opt;
    bool check;
    bool relayed;
    uint64_t number; /* of an errand */
    enum vst_migration_order order;
    struct vst_migration_change change;
    struct vst_migrate_message message;
    struct vst_caller caller;
};

struct vst_migrate {
    struct vst_job job; /* opens the journal; from here to `error` the thread's, while it does */
    char *dir;
    struct vst_journal_file *journal;
    struct vst_error error;
    struct vst_qemu *qemu;
    enum migrate_state state;
    STAILQ_HEAD(, call) calls;
};

/* ---- calls ---- */

static void call_free(struct call *call)
{
    free(call->name);
    free(call->destination);
    free(call->there);
    free(call->offer);
    free(call);
}

/* Nobody wants it any more when it has no operation. */
static void run(struct vst_qemu *qemu, struct call *call)
{
    if (call->op)
        call->run(qemu, call);
    call_free(call);
}

static struct call *call_new(void (*fn)(struct vst_qemu *, struct call *), struct vst_op *op)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call)
        *call = (struct call){.run = fn, .op = op};
    return call;
}

/* A copy of what need not be there. Without memory for it the call fails when it is submitted. */
static void keep(struct call *call, char **ret_copy, const char *text)
{
    *ret_copy = text ? strdup(text) : NULL;
    call->lacks |= text && !*ret_copy;
}

/* ---- going on after a restart ---- */

static int go_on(struct vst_qemu *qemu, const struct vst_journal_entry *entry,
                 struct vst_error *ret_err)
{
    return entry->role == VST_HANDOVER_SOURCE ? vst_departure_recover(qemu, entry, ret_err)
                                              : vst_arrival_recover(qemu, entry, ret_err);
}

/* A copy of what the journal says: it changes as they go on. False: of some nobody has hold now. */
static bool go_on_all(struct vst_qemu *qemu)
{
    const struct vst_journal *journal = vst_journal_known(qemu->journal);
    size_t count = journal->count;
    struct vst_journal_entry *entries = calloc(count ? count : 1, sizeof(*entries));
    bool all = true;

    if (!entries)
        return false;
    if (count)
        memcpy(entries, journal->entries, count * sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        struct vst_error err = {0};

        if (go_on(qemu, &entries[i], &err) == 0 || !vst_error_is_set(&err))
            continue; /* of what is done nothing goes on */
        vst_trace(VST_TRACE_STATE, "migrate: %s cannot go on: %s", entries[i].guest, err.text);
        all = false;
    }
    free(entries);
    return all;
}

/*
 * Of a migration that had not begun, or had ended, but for the word in its guest's place. What is
 * loading or has loaded, and what is paused to be handed over, is in the journal; if not, it is
 * another journal than that which it was begun with. So a copy may be the last one, or one too
 * many, and is left to people (list.c, stray.h); and nothing that is paused is resumed.
 */
static void clear_place(struct vst_qemu *qemu, const char *name, const struct vst_place_job *job)
{
    struct vst_guest *guest = vst_guest_find(qemu, name);
    struct vst_place *place;

    if (guest && job->word == VST_WORD_OUT) { /* somebody asked for it before the journal */
        vst_stray_mark(qemu, vst_guest_place(guest), job);
        vst_guest_take_word(guest);
    }
    if (vst_place_open(qemu->root, name, &place, NULL) < 0)
        return;
    if (job->word == VST_WORD_OUT)
        vst_stray_mark(qemu, place, job);
    else if (job->word == VST_WORD_LACK)
        vst_place_clear_job(place); /* it is what it is */
    else if (!vst_place_is_alive(place))
        vst_place_remove(&place);
    vst_place_close(&place);
    if (job->word == VST_WORD_OUT)
        vst_stray_look(qemu, name);
}

static void clear_places(struct vst_qemu *qemu)
{
    char **names = vst_root_list(qemu->root, NULL);

    for (char **name = names; name && *name; name++) {
        struct vst_glance glance;

        if (vst_place_glance(qemu->root, *name, &glance, NULL) == 0) {
            vst_definition_free(&glance.def);
            if (vst_place_job_moves(&glance.job) && !vst_move_of(qemu, *name))
                clear_place(qemu, *name, &glance.job);
        }
        free(*name);
    }
    free(names);
}

/* ---- opening ---- */

static void open_work(struct vst_job *job)
{
    struct vst_migrate *migrate = (struct vst_migrate *)job;

    vst_journal_open(migrate->dir, &migrate->journal, &migrate->error);
}

static void dispose(struct vst_job *job)
{
    struct vst_migrate *migrate = (struct vst_migrate *)job;

    vst_journal_close(&migrate->journal);
    free(migrate->dir);
    free(migrate);
}

static struct call *next_call(struct vst_migrate *migrate)
{
    struct call *call = STAILQ_FIRST(&migrate->calls);

    if (!call)
        return NULL;
    STAILQ_REMOVE_HEAD(&migrate->calls, next);
    if (call->op)
        vst_op_set_cancel(call->op, NULL, NULL);
    return call;
}

static void fail_calls(struct vst_migrate *migrate, const struct vst_error *err)
{
    struct call *call;

    while ((call = next_call(migrate))) {
        if (call->op)
            vst_op_fail(call->op, err);
        call_free(call);
    }
}

static void enter(struct vst_migrate *migrate, enum migrate_state state)
{
    vst_fsm_trace(migrate, "journal", migrate->state, state);
    migrate->state = state;
}

static void opened(struct vst_job *job)
{
    struct vst_migrate *migrate = (struct vst_migrate *)job;
    struct vst_qemu *qemu = migrate->qemu;
    struct vst_error err = migrate->error;
    struct call *call;

    if (!migrate->journal) {
        migrate->error = (struct vst_error){0};
        enter(migrate, MIGRATE_CLOSED); /* the next call tries again */
        fail_calls(migrate, &err);
        return;
    }
    qemu->journal = migrate->journal;
    migrate->journal = NULL;
    enter(migrate, MIGRATE_OPEN);
    /* Else a word in a place may be that of a migration which only lacks memory to go on. */
    if (go_on_all(qemu))
        clear_places(qemu);
    while ((call = next_call(migrate)))
        run(qemu, call);
}

static struct vst_migrate *migrate_new(struct vst_qemu *qemu, struct vst_error *ret_err)
{
    struct vst_migrate *migrate = calloc(1, sizeof(*migrate));

    if (!migrate || (qemu->state_dir && !(migrate->dir = strdup(qemu->state_dir)))) {
        free(migrate);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    migrate->job = (struct vst_job){.work = open_work, .done = opened, .dispose = dispose};
    migrate->qemu = qemu;
    STAILQ_INIT(&migrate->calls);
    return migrate;
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    struct call *call = opaque;
    struct vst_op *op = call->op;

    /* Its turn will come, and find that nobody wants it. */
    call->op = NULL;
    vst_op_fail(op, why);
}

static void submit(struct vst_qemu *qemu, struct call *call, struct vst_op *op)
{
    struct vst_error err = {0};
    bool lacks = !call || call->lacks;

    if (!lacks && !qemu->migrate)
        qemu->migrate = migrate_new(qemu, &err);
    if (!lacks && qemu->migrate && !qemu->worker)
        qemu->worker = vst_worker_get(qemu->conn->base, &err);
    if (lacks || !qemu->migrate || !qemu->worker) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        if (call)
            call_free(call);
        return;
    }
    call->caller = *vst_conn_caller(qemu->conn);
    if (qemu->migrate->state == MIGRATE_OPEN) {
        run(qemu, call);
        return;
    }
    vst_op_set_cancel(op, cancelled, call);
    STAILQ_INSERT_TAIL(&qemu->migrate->calls, call, next);
    if (qemu->migrate->state == MIGRATE_OPENING)
        return;
    enter(qemu->migrate, MIGRATE_OPENING);
    vst_worker_submit(qemu->worker, &qemu->migrate->job);
}

void vst_qemu_migrations_close(struct vst_qemu *qemu)
{
    struct vst_error closed = {0};
    struct vst_move *move;

    vst_journal_close(&qemu->journal); /* nothing is told of what it still writes */
    while ((move = LIST_FIRST(&qemu->moves)))
        vst_move_free(move);
    vst_relays_close(qemu);
    vst_strays_close(qemu);
    vst_error_set(&closed, VST_ERR_CANCELLED, "the connection was closed");
    if (qemu->migrate)
        fail_calls(qemu->migrate, &closed);
    if (qemu->migrate && qemu->migrate->state == MIGRATE_OPENING)
        vst_job_abandon(&qemu->migrate->job);
    else if (qemu->migrate)
        dispose(&qemu->migrate->job);
    qemu->migrate = NULL;
    if (qemu->worker)
        vst_worker_put(&qemu->worker);
}

/* ---- the methods ---- */

/* An answer that the journal keeps no longer for a source that does not ask. What has a clock has
 * still to be written. */
static bool is_dropped(const struct vst_move *move)
{
    return move->end->role == VST_MIGRATION_IN && vst_handover_settled(&move->machine) &&
           !vst_handover_would_move(&move->machine, VST_HANDOVER_TIMER) &&
           !vst_arrival_of(move)->asker &&
           !vst_journal_find(vst_journal_known(move->qemu->journal), move->machine.token,
                             VST_HANDOVER_DESTINATION);
}

/* So much history is kept, and no more. */
static void forget_old(struct vst_qemu *qemu)
{
    struct vst_move *move, *next;
    unsigned over = 0;

    for (move = LIST_FIRST(&qemu->moves); move; move = next) {
        next = LIST_NEXT(move, link);
        if (!move->writes && (move->over ? ++over > REMEMBERED : is_dropped(move)))
            vst_move_free(move);
    }
}

static void run_migrate(struct vst_qemu *qemu, struct call *call)
{
    forget_old(qemu);
    call->opt.name = call->there;
    vst_departure_begin(qemu,
                        &(struct vst_departure_wish){call->name, call->destination, &call->opt,
                                                     &call->caller, call->check, call->relayed},
                        call->op);
}

static void migrate(struct vst_conn *conn, const char *name, const char *destination,
                    const struct vst_migrate_options *opt, bool check, bool relayed,
                    struct vst_op *op)
{
    struct call *call = call_new(run_migrate, op);

    if (call) {
        keep(call, &call->name, name);
        keep(call, &call->destination, destination);
        keep(call, &call->there, opt->name);
        call->opt = *opt;
        call->check = check;
        call->relayed = relayed;
    }
    submit(conn->impl, call, op);
}

void vst_qemu_migrate(struct vst_conn *conn, const char *name, const char *destination,
                      const struct vst_migrate_options *opt, bool check, struct vst_op *op)
{
    migrate(conn, name, destination, opt, check, false, op);
}

void vst_qemu_relay_begin(struct vst_conn *conn, const char *name, const char *destination,
                          const struct vst_migrate_options *opt, bool check, struct vst_op *op)
{
    migrate(conn, name, destination, opt, check, true, op);
}

/* The source's, if both ends are here and it is not over. */
static struct vst_move *find_token(const struct vst_qemu *qemu, const char *text)
{
    unsigned char token[VST_HANDOVER_ID];
    struct vst_move *out, *in;

    if (vst_uuid_parse(text, token) < 0)
        return NULL;
    out = vst_move_find(qemu, token, VST_MIGRATION_OUT);
    in = !out || out->over ? vst_move_find(qemu, token, VST_MIGRATION_IN) : NULL;
    return in ? in : out;
}

static void run_order(struct vst_qemu *qemu, struct call *call)
{
    struct vst_move *move = find_token(qemu, call->name);
    struct vst_error err = {0};

    if (!move && vst_stray_order(qemu, call->name, call->order, &call->caller, call->op))
        return;
    if (!move)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "there is no migration %s here", call->name);
    if (move && vst_move_check_caller(move, &call->caller, &err) == 0)
        vst_move_order(move, call->order, &call->change, call->op);
    else
        vst_op_fail(call->op, &err);
}

void vst_qemu_order_migration(struct vst_conn *conn, const char *token,
                              enum vst_migration_order what,
                              const struct vst_migration_change *new_values, struct vst_op *op)
{
    struct call *call = call_new(run_order, op);

    if (call) {
        keep(call, &call->name, token);
        call->order = what;
        if (new_values)
            call->change = *new_values;
    }
    submit(conn->impl, call, op);
}

static void run_list(struct vst_qemu *qemu, struct call *call)
{
    struct vst_migration_info *infos;
    struct vst_error err = {0};
    struct vst_move *move;
    size_t count = 0, strays = vst_strays_list(qemu, NULL, 0);

    LIST_FOREACH(move, &qemu->moves, link)
        count++;
    infos = calloc(count + strays + 1, sizeof(*infos));
    if (!infos) {
        vst_error_no_memory(&err);
        vst_op_fail(call->op, &err);
        return;
    }
    count = 0;
    LIST_FOREACH(move, &qemu->moves, link)
        vst_move_get_info(move, &infos[count++]);
    strays = vst_strays_list(qemu, infos + count, strays);
    vst_driver_migrations(call->op, infos, count + strays);
    free(infos);
}

void vst_qemu_list_migrations(struct vst_conn *conn, struct vst_op *op)
{
    submit(conn->impl, call_new(run_list, op), op);
}

static void run_message(struct vst_qemu *qemu, struct call *call)
{
    forget_old(qemu);
    call->message.offer = call->offer;
    vst_arrival_hear(qemu, &call->message, &call->caller, call->op);
}

void vst_qemu_migrate_message(struct vst_conn *conn, const struct vst_migrate_message *message,
                              struct vst_op *op)
{
    struct call *call = call_new(run_message, op);

    if (call) {
        keep(call, &call->offer, message->offer);
        call->message = *message;
        call->message.text = NULL;
    }
    submit(conn->impl, call, op);
}

void vst_qemu_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                             struct vst_stream *stream, struct vst_op *op)
{
    static const char disk[] = "disk ";
    unsigned char id[VST_HANDOVER_ID];
    struct vst_qemu *qemu = conn->impl;
    struct vst_move *move = NULL;
    struct vst_error err = {0};

    if (part && strncmp(part, disk, sizeof(disk) - 1) != 0)
        vst_error_set(&err, VST_ERR_UNSUPPORTED, "no such part of a guest can be moved: %s", part);
    else if (!qemu->journal || vst_uuid_parse(token, id) < 0)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no migration %s is expected here", token);
    else if ((move = vst_move_find(qemu, id, VST_MIGRATION_IN)))
        vst_move_check_caller(move, vst_conn_caller(conn), &err);
    if (vst_error_is_set(&err))
        vst_op_fail(op, &err);
    else if (part)
        vst_arrival_disks_take(qemu, id, part + sizeof(disk) - 1, stream, op);
    else
        vst_arrival_take(qemu, id, stream, op);
}

/* ---- for a client that relays ---- */

static struct vst_relay_call relay_call(const struct call *call)
{
    return (struct vst_relay_call){call->name, &call->caller, call->op};
}

static void run_fetch(struct vst_qemu *qemu, struct call *call)
{
    const struct vst_relay_call relay = relay_call(call);

    vst_relay_fetch(qemu, &relay, call->number);
}

/* The first that is asked after a restart, as a rule: it waits for the journal. */
void vst_qemu_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                          struct vst_op *op)
{
    struct call *call = call_new(run_fetch, op);

    if (call) {
        keep(call, &call->name, token);
        call->number = after;
    }
    submit(conn->impl, call, op);
}

void vst_qemu_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                           const struct vst_migrate_message *answer, const struct vst_error *err,
                           struct vst_op *op)
{
    const struct vst_relay_call relay = {token, vst_conn_caller(conn), op};

    vst_relay_answer(conn->impl, &relay, number, answer, err);
}

void vst_qemu_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                           struct vst_stream *stream, struct vst_op *op)
{
    const struct vst_relay_call relay = {token, vst_conn_caller(conn), op};

    vst_relay_carry(conn->impl, &relay, part, stream);
}

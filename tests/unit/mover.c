/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods that mover.h promises.
 */
#include "mover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/connection.h"
#include "drivers/test/console.h"

static struct mover *mover_of(struct vst_conn *conn)
{
    return (struct mover *)conn->driver;
}

static struct move *add(struct mover *mover, const char *name)
{
    struct move *move = &mover->moves[mover->count++];

    *move = (struct move){.mover = mover};
    /* In no order. */
    snprintf(move->info.token, sizeof(move->info.token), "%08zx-0000-4000-8000-000000000000",
             mover->count * 7919 % 100003);
    snprintf(move->info.name, sizeof(move->info.name), "%s", name);
    move->info.since = 1700000000 + (int64_t)mover->count;
    return move;
}

struct vst_migration_info *mover_add(struct mover *mover, const char *name)
{
    struct move *move = add(mover, name);

    move->info.over = true;
    move->info.phase = VST_MIGRATION_PHASE_OVER;
    return &move->info;
}

/* ---- migrate ---- */

static void end(struct move *move, enum vst_code code, const char *reason)
{
    struct vst_op *op = move->op;
    struct vst_error err = {0};

    move->op = NULL;
    move->info.over = code != VST_ERR_IN_DOUBT && !move->words;
    move->info.in_doubt = code == VST_ERR_IN_DOUBT;
    if (move->words)
        move->info.phase = VST_MIGRATION_PHASE_CLEAN_UP;
    else if (move->info.over)
        move->info.phase = VST_MIGRATION_PHASE_OVER;
    if (code == VST_ERR_OK || code == VST_ERR_CLEANUP)
        move->info.outcome = VST_MIGRATION_MIGRATED;
    else if (code != VST_ERR_IN_DOUBT)
        move->info.outcome = VST_MIGRATION_STAYED;
    snprintf(move->info.reason, sizeof(move->info.reason), "%s", reason);
    if (!op)
        return;
    vst_error_set(&err, code, "%s", reason);
    if (code == VST_ERR_OK)
        vst_op_done(op);
    else
        vst_op_fail(op, &err);
}

static void cancelled(void *opaque, const struct vst_error *why)
{
    struct move *move = opaque;
    struct vst_op *op = move->op;

    if (vst_conn_check(move->mover->conn, NULL) < 0) {
        move->mover->closed++;
        move->op = NULL;
        vst_op_fail(op, why);
    } else if (move->doubt) {
        end(move, VST_ERR_IN_DOUBT, "nobody answers");
    } else {
        end(move, why->code, why->text);
    }
}

static void finish(struct move *move)
{
    if (move->left)
        end(move, VST_ERR_CLEANUP, "its QEMU is still here");
    else if (move->lost)
        end(move, VST_ERR_LOST, "the destination is gone");
    else
        end(move, VST_ERR_OK, "");
}

static void step(struct move *move)
{
    static const enum vst_migration_phase phases[] = {
        VST_MIGRATION_PHASE_PREPARE, VST_MIGRATION_PHASE_MEMORY,    VST_MIGRATION_PHASE_MEMORY,
        VST_MIGRATION_PHASE_MEMORY,  VST_MIGRATION_PHASE_HAND_OVER,
    };
    struct vst_migration_info *info = &move->info;
    size_t phase = move->steps;

    if (info->over || info->outcome || info->in_doubt || (move->slow && info->pass))
        return;
    move->steps++;
    if (phase == sizeof(phases) / sizeof(*phases)) {
        finish(move);
        return;
    }
    info->phase = phases[phase];
    if (phase == 2 && move->apart) {
        info->phase = VST_MIGRATION_PHASE_POST_COPY;
        info->outcome = VST_MIGRATION_MIGRATED;
    }
    info->pass = (unsigned)phase;
    info->total = 64 << 20;
    info->sent += 8 << 20;
    info->left = (64 << 20) >> phase;
    info->rate = 100 << 20;
    info->dirty_rate = 5 << 20;
    info->downtime_ms = 42;
    snprintf(info->verdict, sizeof(info->verdict), "%s", "converging");
}

static void tick(evutil_socket_t fd, short what, void *opaque)
{
    struct mover *mover = opaque;

    (void)fd, (void)what;
    for (size_t i = 0; i < mover->count; i++)
        step(&mover->moves[i]);
}

static void begin(struct mover *mover, const char *name, const char *destination, struct vst_op *op)
{
    struct move *move = add(mover, name);

    move->op = op;
    move->doubt = strstr(destination, "//doubt/") != NULL;
    move->left = strstr(destination, "//left/") != NULL;
    move->lost = strstr(destination, "//lost/") != NULL;
    move->words = strstr(destination, "//words/") != NULL;
    move->apart = strstr(destination, "//apart/") != NULL;
    move->slow = move->doubt || strstr(destination, "//slow/");
    snprintf(move->info.peer, sizeof(move->info.peer), "%s", destination);
    move->info.phase = VST_MIGRATION_PHASE_PREPARE;
    vst_op_set_cancel(op, cancelled, move);
    vst_op_set_token(op, move->info.token);
    if (strstr(destination, "//quick/"))
        end(move, VST_ERR_OK, "");
}

static void migrate(struct vst_conn *conn, const char *name, const char *destination,
                    const struct vst_migrate_options *opt, bool check, struct vst_op *op)
{
    struct mover *mover = mover_of(conn);
    struct vst_error err = {.side = VST_SIDE_DESTINATION};

    mover->opt = *opt;
    mover->opt.name = NULL;
    snprintf(mover->new_name, sizeof(mover->new_name), "%s", opt->name ? opt->name : "");
    mover->checks += check;
    if (strstr(destination, "//full/")) {
        vst_error_set(&err, VST_ERR_INCOMPATIBLE, "no room for its memory\nthe name is taken");
        vst_op_fail(op, &err);
    } else if (check) {
        vst_op_done(op);
    } else {
        begin(mover, name, destination, op);
    }
}

/* ---- orders and lists ---- */

static struct move *find(struct mover *mover, const char *token)
{
    for (size_t i = 0; i < mover->count; i++)
        if (strcmp(mover->moves[i].info.token, token) == 0)
            return &mover->moves[i];
    return NULL;
}

static int obey(struct mover *mover, struct move *move, struct vst_error *ret_err)
{
    bool resolves = mover->order == VST_MIGRATION_RUNS_ON_SOURCE ||
                    mover->order == VST_MIGRATION_RUNS_ON_DESTINATION;

    if (move->info.over || resolves != (move->info.in_doubt || move->apart))
        return vst_error_set(ret_err, VST_ERR_STATE, "it is %s",
                             move->info.over       ? "over"
                             : move->info.in_doubt ? "in doubt"
                                                   : "not in doubt");
    if (mover->order == VST_MIGRATION_CANCEL)
        end(move, VST_ERR_CANCELLED, "it was cancelled");
    else if (resolves)
        end(move, VST_ERR_OK, "the operator said so");
    else if (mover->order == VST_MIGRATION_GO_POST_COPY)
        move->slow = false;
    return 0;
}

static void order_migration(struct vst_conn *conn, const char *token,
                            enum vst_migration_order order,
                            const struct vst_migration_change *change, struct vst_op *op)
{
    struct mover *mover = mover_of(conn);
    struct move *move = find(mover, token);
    struct vst_error err = {.side = VST_SIDE_HOST};

    mover->order = order;
    mover->change = change ? *change : (struct vst_migration_change){0};
    if (!move)
        vst_error_set(&err, VST_ERR_NOT_FOUND, "no migration %s", token);
    if (move && obey(mover, move, &err) == 0)
        vst_op_done(op);
    else
        vst_op_fail(op, &err);
}

static void list_migrations(struct vst_conn *conn, struct vst_op *op)
{
    struct mover *mover = mover_of(conn);
    struct vst_migration_info *infos = calloc(mover->count + 1, sizeof(*infos));

    for (size_t i = 0; i < mover->count; i++)
        infos[i] = mover->moves[i].info;
    vst_driver_migrations(op, infos, mover->count);
    free(infos);
}

/* ---- from the other host ---- */

static void migrate_message(struct vst_conn *conn, const struct vst_migrate_message *message,
                            struct vst_op *op)
{
    struct mover *mover = mover_of(conn);
    struct vst_migrate_message answer = *message;
    struct vst_error err = {0};

    mover->messages++;
    mover->message = *message;
    mover->message.offer = NULL;
    if (message->objections && message->objections->file)
        snprintf(mover->barred, sizeof(mover->barred), "%s", message->objections->file);
    mover->caller = *vst_conn_caller(conn);
    memset(answer.host, '2', 8);
    answer.event = message->event == VST_HANDOVER_COMMIT    ? VST_HANDOVER_COMMITTED
                   : message->event == VST_HANDOVER_PREPARE ? VST_HANDOVER_STARTED
                                                            : VST_HANDOVER_UNKNOWN;
    answer.text = message->event == VST_HANDOVER_PREPARE ? NULL : "because";
    if (message->check && mover->fails) {
        vst_error_set(&err, VST_ERR_BUSY, "%s", mover->fails);
        vst_op_fail(op, &err);
        return;
    }
    if (message->check && mover->refuses) {
        answer.event = VST_HANDOVER_REFUSED;
        answer.text = mover->refuses;
    }
    vst_driver_answer(op, &answer);
}

/* What comes up goes down again. */
struct echo {
    struct vst_op *op;
    struct vst_test_console *console;
    unsigned finished;
};

static void echo_free(void *state)
{
    struct echo *echo = state;

    vst_test_console_free(echo->console);
    free(echo);
}

static void finished(void *opaque, enum vst_direction dir)
{
    struct echo *echo = opaque;

    echo->finished |= dir;
    if (echo->finished == (VST_UP | VST_DOWN))
        vst_op_done(echo->op);
}

static void failed(void *opaque, const struct vst_error *err)
{
    vst_op_fail(((struct echo *)opaque)->op, err);
}

static void migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                           struct vst_stream *stream, struct vst_op *op)
{
    struct mover *mover = mover_of(conn);
    struct echo *echo = calloc(1, sizeof(*echo));
    struct vst_stream_user user = {finished, failed, echo, token, VST_SIDE_HOST, 0};
    struct vst_channel *view;
    struct vst_error err = {0};

    snprintf(mover->part, sizeof(mover->part), "%s", part ? part : "");
    echo->op = op;
    echo->console = vst_test_console_new(NULL);
    vst_test_console_run(echo->console, true);
    vst_op_own(op, echo, echo_free);
    if (vst_stream_claim(stream, op, &user, &err) < 0) {
        vst_op_fail(op, &err);
        return;
    }
    view = vst_test_console_view(echo->console, conn->base, &err);
    if (vst_stream_attach(stream, view, view, &err) < 0)
        vst_stream_fail(stream, &err);
}

/* ---- the connection ---- */

void mover_begin(struct mover *mover, struct vst_conn *conn, unsigned milliseconds)
{
    const struct timeval every = {milliseconds / 1000, (suseconds_t)(milliseconds % 1000) * 1000};

    *mover = (struct mover){.driver = *conn->driver, .conn = conn};
    mover->driver.migrate = migrate;
    mover->driver.order_migration = order_migration;
    mover->driver.list_migrations = list_migrations;
    mover->driver.migrate_message = migrate_message;
    mover->driver.migrate_stream = migrate_stream;
    conn->driver = &mover->driver;
    event_assign(&mover->tick, conn->base, -1, EV_PERSIST, tick, mover);
    event_add(&mover->tick, &every);
}

void mover_end(struct mover *mover)
{
    event_del(&mover->tick);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public methods of migration, and those that hosts call on each other: each becomes an
 * operation and one call of the driver's table. Who owns the guest is decided in handover.c.
 */
#include "migration.h"

#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "dispatch.h"
#include "utf8.h"

/* ---- results ---- */

static void free_plain(void *value, size_t count)
{
    (void)count;
    free(value);
}

static void succeed_with(struct vst_op *op, void *copy, size_t count,
                         void (*free_copy)(void *, size_t))
{
    struct vst_error err = {0};

    if (copy) {
        vst_op_succeed(op, (struct vst_result){copy, count, free_copy});
        return;
    }
    vst_error_no_memory(&err);
    vst_op_fail(op, &err);
}

void vst_driver_migrations(struct vst_op *op, const struct vst_migration_info *infos, size_t count)
{
    struct vst_migration_info *copy = calloc(count ? count : 1, sizeof(*copy));

    if (copy && count)
        memcpy(copy, infos, count * sizeof(*copy));
    for (size_t i = 0; copy && i < count; i++) {
        vst_utf8_mend(copy[i].reason);
        vst_utf8_mend(copy[i].verdict);
    }
    succeed_with(op, copy, count, free_plain);
}

/* The message and its text are one block. */
void vst_driver_answer(struct vst_op *op, const struct vst_migrate_message *answer)
{
    size_t length = answer->text ? strlen(answer->text) + 1 : 0;
    struct vst_migrate_message *copy = malloc(sizeof(*copy) + length);

    if (copy) {
        *copy = *answer;
        copy->offer = NULL;
        copy->objections = NULL;
        copy->text = length ? memcpy(copy + 1, answer->text, length) : NULL;
        if (length)
            vst_utf8_mend((char *)(copy + 1));
    }
    succeed_with(op, copy, 1, free_plain);
}

/* The errand and the texts of its message are one block. */
void vst_driver_errand(struct vst_op *op, const struct vst_errand *errand)
{
    const char *offer = errand->message.offer;
    size_t length = offer ? strlen(offer) + 1 : 0;
    struct vst_errand *copy = malloc(sizeof(*copy) + length);

    if (copy) {
        *copy = *errand;
        copy->message.offer = length ? memcpy(copy + 1, offer, length) : NULL;
        copy->message.text = NULL;
    }
    succeed_with(op, copy, 1, free_plain);
}

static void deliver_migrations(const struct vst_callback *cb, struct vst_result *result,
                               const struct vst_error *err)
{
    void (*fn)(const struct vst_migration_info *, size_t, const struct vst_error *, void *) =
        (void (*)(const struct vst_migration_info *, size_t, const struct vst_error *,
                  void *))cb->fn;

    fn(err ? NULL : result->value, err ? 0 : result->count, err, cb->opaque);
}

static void deliver_answer(const struct vst_callback *cb, struct vst_result *result,
                           const struct vst_error *err)
{
    void (*fn)(const struct vst_migrate_message *, const struct vst_error *, void *) =
        (void (*)(const struct vst_migrate_message *, const struct vst_error *, void *))cb->fn;

    fn(err ? NULL : result->value, err, cb->opaque);
}

static void deliver_errand(const struct vst_callback *cb, struct vst_result *result,
                           const struct vst_error *err)
{
    void (*fn)(const struct vst_errand *, const struct vst_error *, void *) =
        (void (*)(const struct vst_errand *, const struct vst_error *, void *))cb->fn;

    fn(err ? NULL : result->value, err, cb->opaque);
}

/* ---- for applications ---- */

static const struct vst_migrate_options defaults;

static bool is_then(enum vst_migrate_then then)
{
    switch (then) {
    case VST_MIGRATE_THEN_ABORT:
    case VST_MIGRATE_THEN_SUSPEND:
    case VST_MIGRATE_THEN_POST_COPY:
        return true;
    }
    return false;
}

/* What makes no sense to any driver, and is not to reach another host. */
static int check_options(const struct vst_migrate_options *opt, struct vst_error *ret_err)
{
    if (!is_then(opt->then))
        return vst_error_set(ret_err, VST_ERR_INVALID, "then: there is no such way: %d",
                             (int)opt->then);
    return opt->zstd_level ? vst_codec_zstd_check_level(opt->zstd_level, ret_err) : 0;
}

static bool is_order(enum vst_migration_order order)
{
    switch (order) {
    case VST_MIGRATION_CANCEL:
    case VST_MIGRATION_RUNS_ON_SOURCE:
    case VST_MIGRATION_RUNS_ON_DESTINATION:
    case VST_MIGRATION_SET:
    case VST_MIGRATION_GO_POST_COPY:
    case VST_MIGRATION_FORGET:
        return true;
    }
    return false;
}

struct vst_op *vst_domain_migrate(struct vst_domain *domain, const char *destination,
                                  const struct vst_migrate_options *opt,
                                  const struct vst_done *done)
{
    struct vst_error err = {0};
    int status = opt ? check_options(opt, &err) : 0;

    VST_DISPATCH_CHECKED(status, &err, domain->conn, migrate, vst_deliver_done, done, NULL,
                         domain->conn, domain->name, destination, opt ? opt : &defaults, false);
}

struct vst_op *vst_domain_check_migration(struct vst_domain *domain, const char *destination,
                                          const struct vst_migrate_options *opt,
                                          const struct vst_done *done)
{
    struct vst_error err = {0};
    int status = opt ? check_options(opt, &err) : 0;

    VST_DISPATCH_CHECKED(status, &err, domain->conn, migrate, vst_deliver_done, done, NULL,
                         domain->conn, domain->name, destination, opt ? opt : &defaults, true);
}

struct vst_op *vst_conn_list_migrations(struct vst_conn *conn, const struct vst_migrations_cb *cb)
{
    VST_DISPATCH(conn, list_migrations, deliver_migrations, cb, NULL, conn);
}

struct vst_op *vst_conn_order_migration(struct vst_conn *conn, const char *token,
                                        enum vst_migration_order order,
                                        const struct vst_migration_change *change,
                                        const struct vst_done *done)
{
    struct vst_error err = {0};
    int status = 0;

    if (!is_order(order))
        status = vst_error_set(&err, VST_ERR_INVALID, "there is no such order: %d", (int)order);
    VST_DISPATCH_CHECKED(status, &err, conn, order_migration, vst_deliver_done, done, NULL, conn,
                         token, order, change);
}

const char *vst_migration_token(const struct vst_op *op)
{
    return vst_op_get_token(op);
}

/* ---- for hosts ---- */

struct vst_op *vst_conn_migrate_message(struct vst_conn *conn,
                                        const struct vst_migrate_message *message,
                                        const struct vst_answer_cb *cb)
{
    VST_DISPATCH(conn, migrate_message, deliver_answer, cb, NULL, conn, message);
}

struct vst_op *vst_conn_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                                       struct vst_stream *stream, const struct vst_done *done)
{
    VST_DISPATCH(conn, migrate_stream, vst_deliver_done, done, stream, conn, token, part, stream);
}

const char *vst_migration_outcome_name(enum vst_migration_outcome outcome)
{
#define NAME_OF(id, name) name,
    static const char *const names[] = {VST_MIGRATION_OUTCOMES(NAME_OF)};
#undef NAME_OF

    return (size_t)outcome < sizeof(names) / sizeof(names[0]) ? names[outcome] : "";
}

const char *vst_migration_phase_name(enum vst_migration_phase phase)
{
#define NAME_OF(id, name) name,
    static const char *const names[] = {VST_MIGRATION_PHASES(NAME_OF)};
#undef NAME_OF

    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "";
}

/* ---- for clients that relay ---- */

struct vst_op *vst_conn_relay_begin(struct vst_conn *conn, const char *name,
                                    const char *destination, const struct vst_migrate_options *opt,
                                    bool check, const struct vst_errand_cb *cb)
{
    struct vst_error err = {0};
    int status = check_options(opt, &err);

    VST_DISPATCH_CHECKED(status, &err, conn, relay_begin, deliver_errand, cb, NULL, conn, name,
                         destination, opt, check);
}

struct vst_op *vst_conn_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                                    const struct vst_errand_cb *cb)
{
    VST_DISPATCH(conn, relay_fetch, deliver_errand, cb, NULL, conn, token, after);
}

struct vst_op *vst_conn_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                                     const struct vst_migrate_message *answer,
                                     const struct vst_error *err, const struct vst_done *done)
{
    VST_DISPATCH(conn, relay_answer, vst_deliver_done, done, NULL, conn, token, number, answer,
                 err);
}

struct vst_op *vst_conn_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                                     struct vst_stream *stream, const struct vst_done *done)
{
    VST_DISPATCH(conn, relay_stream, vst_deliver_done, done, stream, conn, token, part, stream);
}

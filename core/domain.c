/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public methods of connections and domains: each becomes an operation and one call of the
 * driver's table. There is nothing here that one method does and another does not.
 */
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "utf8.h"

static const char *const state_names[] = {
    [VST_DOMAIN_RUNNING] = "running",
    [VST_DOMAIN_PAUSED] = "paused",
    [VST_DOMAIN_STARTING] = "starting",
    [VST_DOMAIN_CRASHED] = "crashed",
};

static const char *const job_names[] = {
    [VST_JOB_NONE] = "none",
    [VST_JOB_SAVE] = "save",
    [VST_JOB_RESTORE] = "restore",
    [VST_JOB_MIGRATE] = "migrate",
};

const char *vst_domain_state_name(enum vst_domain_state state)
{
    return (unsigned)state < sizeof(state_names) / sizeof(*state_names) ? state_names[state]
                                                                        : "unknown";
}

const char *vst_job_kind_name(enum vst_job_kind kind)
{
    return (unsigned)kind < sizeof(job_names) / sizeof(*job_names) ? job_names[kind] : "unknown";
}

static const char *const event_names[] = {
    [VST_EVENT_STARTED] = "started", [VST_EVENT_SUSPENDED] = "suspended",
    [VST_EVENT_RESUMED] = "resumed", [VST_EVENT_STOPPED] = "stopped",
    [VST_EVENT_CRASHED] = "crashed",
};

const char *vst_event_kind_name(enum vst_event_kind kind)
{
    return (unsigned)kind < sizeof(event_names) / sizeof(*event_names) ? event_names[kind]
                                                                       : "unknown";
}

const char *vst_domain_get_name(const struct vst_domain *domain)
{
    return domain->name;
}

const char *vst_domain_get_uuid(const struct vst_domain *domain)
{
    return domain->uuid;
}

void vst_domain_free(struct vst_domain **slot)
{
    struct vst_domain *domain = *slot;

    *slot = NULL;
    if (!domain)
        return;
    vst_conn_unref(domain->conn);
    free(domain);
}

/* ---- results ---- */

static void free_domain(void *value, size_t count)
{
    struct vst_domain *domain = value;

    (void)count;
    vst_domain_free(&domain);
}

static void free_plain(void *value, size_t count)
{
    (void)count;
    free(value);
}

struct vst_domain *vst_driver_make_domain(struct vst_conn *conn, const char *name, const char *uuid,
                                          struct vst_error *ret_err)
{
    struct vst_domain *domain = calloc(1, sizeof(*domain));

    if (!domain) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    domain->conn = conn;
    vst_conn_ref(conn);
    strncpy(domain->name, name, sizeof(domain->name) - 1);
    strncpy(domain->uuid, uuid, sizeof(domain->uuid) - 1);
    return domain;
}

void vst_driver_tell_domain(struct vst_op *op, struct vst_domain **domain)
{
    vst_op_succeed(op, (struct vst_result){*domain, 1, free_domain});
    *domain = NULL;
}

int vst_driver_domain(struct vst_conn *conn, struct vst_op *op, const char *name, const char *uuid)
{
    struct vst_error err = {0};
    struct vst_domain *domain = vst_driver_make_domain(conn, name, uuid, &err);

    if (!domain) {
        vst_op_fail(op, &err);
        return -1;
    }
    vst_driver_tell_domain(op, &domain);
    return 0;
}

void vst_driver_infos(struct vst_op *op, const struct vst_domain_info *infos, size_t count)
{
    struct vst_domain_info *copy = calloc(count ? count : 1, sizeof(*copy));
    struct vst_error err = {0};

    if (!copy) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    if (count)
        memcpy(copy, infos, count * sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        vst_utf8_mend(copy[i].reason);
    vst_op_succeed(op, (struct vst_result){copy, count, free_plain});
}

void vst_driver_ping(struct vst_op *op, int64_t us)
{
    vst_op_succeed(op, (struct vst_result){.count = (size_t)us});
}

void vst_driver_stats(struct vst_op *op, char *json)
{
    struct vst_error err = {0};

    if (json) {
        vst_op_succeed(op, (struct vst_result){json, 1, free_plain});
        return;
    }
    vst_error_no_memory(&err);
    vst_op_fail(op, &err);
}

static void deliver_ping(const struct vst_callback *cb, struct vst_result *result,
                         const struct vst_error *err)
{
    ((void (*)(int64_t, const struct vst_error *, void *))cb->fn)(err ? -1 : (int64_t)result->count,
                                                                  err, cb->opaque);
}

static void deliver_stats(const struct vst_callback *cb, struct vst_result *result,
                          const struct vst_error *err)
{
    ((void (*)(const char *, const struct vst_error *, void *))cb->fn)(err ? NULL : result->value,
                                                                       err, cb->opaque);
}

static void deliver_domain(const struct vst_callback *cb, struct vst_result *result,
                           const struct vst_error *err)
{
    void (*fn)(struct vst_domain *, const struct vst_error *, void *) =
        (void (*)(struct vst_domain *, const struct vst_error *, void *))cb->fn;
    struct vst_domain *domain = result->value;

    result->value = NULL;
    fn(err ? NULL : domain, err, cb->opaque);
}

static void deliver_infos(const struct vst_callback *cb, struct vst_result *result,
                          const struct vst_error *err)
{
    void (*fn)(const struct vst_domain_info *, size_t, const struct vst_error *, void *) =
        (void (*)(const struct vst_domain_info *, size_t, const struct vst_error *, void *))cb->fn;

    fn(err ? NULL : result->value, err ? 0 : result->count, err, cb->opaque);
}

struct vst_op *vst_conn_ping(struct vst_conn *conn, const struct vst_ping_cb *cb)
{
    VST_DISPATCH(conn, ping, deliver_ping, cb, NULL, conn);
}

struct vst_op *vst_conn_get_stats(struct vst_conn *conn, const struct vst_stats_cb *cb)
{
    VST_DISPATCH(conn, get_stats, deliver_stats, cb, NULL, conn);
}

struct vst_op *vst_conn_list(struct vst_conn *conn, const struct vst_info_cb *cb)
{
    VST_DISPATCH(conn, list, deliver_infos, cb, NULL, conn);
}

struct vst_op *vst_conn_lookup(struct vst_conn *conn, const char *name_or_uuid,
                               const struct vst_domain_cb *cb)
{
    VST_DISPATCH(conn, lookup, deliver_domain, cb, NULL, conn, name_or_uuid);
}

struct vst_op *vst_domain_get_info(struct vst_domain *domain, const struct vst_info_cb *cb)
{
    VST_DISPATCH(domain->conn, get_info, deliver_infos, cb, NULL, domain->conn, domain->name);
}

struct vst_op *vst_domain_start(struct vst_conn *conn, const char *definition,
                                const struct vst_start_options *opt, const struct vst_domain_cb *cb)
{
    static const struct vst_start_options defaults;

    VST_DISPATCH(conn, start, deliver_domain, cb, NULL, conn, definition, opt ? opt : &defaults);
}

static struct vst_op *control(struct vst_domain *domain, enum vst_control what,
                              const struct vst_done *done)
{
    VST_DISPATCH(domain->conn, control, vst_deliver_done, done, NULL, domain->conn, domain->name,
                 what);
}

struct vst_op *vst_domain_suspend(struct vst_domain *domain, const struct vst_done *done)
{
    return control(domain, VST_SUSPEND, done);
}

struct vst_op *vst_domain_resume(struct vst_domain *domain, const struct vst_done *done)
{
    return control(domain, VST_RESUME, done);
}

struct vst_op *vst_domain_shutdown(struct vst_domain *domain, const struct vst_done *done)
{
    return control(domain, VST_SHUTDOWN, done);
}

struct vst_op *vst_domain_destroy(struct vst_domain *domain, const struct vst_done *done)
{
    return control(domain, VST_DESTROY, done);
}

struct vst_op *vst_domain_save(struct vst_domain *domain, struct vst_stream *stream,
                               const struct vst_save_options *opt, const struct vst_done *done)
{
    static const struct vst_save_options defaults;

    VST_DISPATCH(domain->conn, save, vst_deliver_done, done, stream, domain->conn, domain->name,
                 stream, opt ? opt : &defaults);
}

struct vst_op *vst_domain_restore(struct vst_conn *conn, struct vst_stream *stream,
                                  const struct vst_restore_options *opt,
                                  const struct vst_domain_cb *cb)
{
    static const struct vst_restore_options defaults;

    VST_DISPATCH(conn, restore, deliver_domain, cb, stream, conn, stream, opt ? opt : &defaults);
}

struct vst_op *vst_domain_open_console(struct vst_domain *domain, struct vst_stream *stream,
                                       const struct vst_done *done)
{
    VST_DISPATCH(domain->conn, open_console, vst_deliver_done, done, stream, domain->conn,
                 domain->name, stream);
}

struct vst_op *vst_domain_screenshot(struct vst_domain *domain, struct vst_stream *stream,
                                     const struct vst_done *done)
{
    VST_DISPATCH(domain->conn, screenshot, vst_deliver_done, done, stream, domain->conn,
                 domain->name, stream);
}

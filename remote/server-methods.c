/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each procedure does: one call of the public API, whose outcome becomes the answer. Nothing
 * is known here of the wire, and nothing of who may call what.
 */
#include "config.h"
#include "core/driver.h"
#include "server-private.h"

static struct vst_conn *conn_of(const struct call *call)
{
    return call->client->backend->conn;
}

const char *vst_call_domain(const struct call *call)
{
    const char *name = NULL;

    switch (call->procedure) {
    case VST_PROCEDURE_LOOKUP:
    case VST_PROCEDURE_INFO:
    case VST_PROCEDURE_CONSOLE:
    case VST_PROCEDURE_SCREENSHOT:
        name = call->arguments.name.name;
        break;
    case VST_PROCEDURE_CONTROL:
        name = call->arguments.control.name;
        break;
    case VST_PROCEDURE_SAVE:
        name = call->arguments.save.name;
        break;
    case VST_PROCEDURE_RESTORE:
        name = call->arguments.restore.name;
        break;
    case VST_PROCEDURE_MIGRATE:
    case VST_PROCEDURE_RELAY_BEGIN:
        name = call->arguments.migrate.name;
        break;
    default:
        break;
    }
    if (call->domain)
        return vst_domain_get_name(call->domain);
    return name ? name : "";
}

const char *vst_call_volume(const struct call *call)
{
    switch (call->procedure) {
    case VST_PROCEDURE_VOLUME_UPLOAD:
        return call->arguments.upload.name;
    case VST_PROCEDURE_VOLUME_DOWNLOAD:
        return call->arguments.download.name;
    case VST_PROCEDURE_VOLUME_DELETE:
        return call->arguments.name.name;
    default:
        return NULL;
    }
}

/* ---- outcomes ---- */

void vst_call_done(const struct vst_error *err, void *opaque)
{
    struct call *call = opaque;
    struct vst_error failed = {0};

    call->op = NULL;
    if (err)
        vst_call_fail(call, err);
    else
        vst_call_reply(call, vst_reply_print(call->procedure, NULL, &failed), &failed);
}

static void reply_domain(struct call *call)
{
    struct vst_error failed = {0};
    struct vst_domain_result result = {
        .name = (char *)vst_domain_get_name(call->domain),
        .uuid = (char *)vst_domain_get_uuid(call->domain),
    };

    vst_call_reply(
        call, vst_reply_print(call->procedure, &(union vst_results){.domain = result}, &failed),
        &failed);
}

static void have_domain(struct vst_domain *domain, const struct vst_error *err, void *opaque)
{
    struct call *call = opaque;

    call->op = NULL;
    call->domain = domain;
    if (err)
        vst_call_fail(call, err);
    else
        reply_domain(call);
}

void vst_call_list(struct call *call, const void *entries, size_t count,
                   const struct vst_error *err)
{
    const char *after = call->procedure == VST_PROCEDURE_INFO ? NULL : call->arguments.list.after;
    struct vst_error failed = {0};

    call->op = NULL;
    if (err)
        vst_call_fail(call, err);
    else
        vst_call_reply(call, vst_list_print(call->procedure, entries, count, after, &failed),
                       &failed);
}

static void have_infos(const struct vst_domain_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    vst_call_list(opaque, infos, count, err);
}

void vst_call_began(struct call *call, struct vst_op *op)
{
    struct vst_error err = {0};

    call->op = op;
    if (op)
        return;
    vst_error_no_memory(&err);
    vst_call_fail(call, &err);
}

#define DOMAIN(call) (&(struct vst_domain_cb){have_domain, (call), NULL})

/* ---- methods that move no bytes ---- */

static void run_list(struct call *call)
{
    vst_call_began(call,
                   vst_conn_list(conn_of(call), &(struct vst_info_cb){have_infos, call, NULL}));
}

/* The domain is there already: that was all. */
static void run_lookup(struct call *call)
{
    reply_domain(call);
}

static void run_info(struct call *call)
{
    vst_call_began(
        call, vst_domain_get_info(call->domain, &(struct vst_info_cb){have_infos, call, NULL}));
}

static void run_events(struct call *call)
{
    struct vst_error err = {0};

    if (vst_client_subscribe(call->client, &err) < 0)
        vst_call_fail(call, &err);
    else
        vst_call_reply(call, vst_reply_print(call->procedure, NULL, &err), &err);
}

static void run_stats(struct call *call)
{
    struct vst_error failed = {0};
    struct client *client = call->client;
    struct vst_server_stats stats;
    struct vst_stats_result result = {.software = (char *)PACKAGE_STRING};
    char identity[160];

    vst_server_get_stats(client->server, &stats);
    vst_identity_print(&client->identity, identity, sizeof(identity));
    result.identity = identity;
    result.role = (char *)vst_role_name(client->role);
    result.uptime_seconds = (uint64_t)stats.uptime_us / 1000000;
    result.clients = stats.clients;
    result.streams = stats.streams;
    result.received = stats.received;
    result.sent = stats.sent;
    result.calls = stats.calls_ended;
    vst_call_reply(call,
                   vst_reply_print(call->procedure, &(union vst_results){.stats = result}, &failed),
                   &failed);
}

static void run_start(struct call *call)
{
    const struct vst_start_arguments *arguments = &call->arguments.start;
    struct vst_start_options opt = {
        .paused = arguments->paused,
        .no_args = arguments->no_args || !vst_access_may_use_args(call->client->role),
    };

    vst_call_began(call,
                   vst_domain_start(conn_of(call), arguments->definition, &opt, DOMAIN(call)));
}

static void run_control(struct call *call)
{
    static struct vst_op *(*const methods[])(struct vst_domain *, const struct vst_done *) = {
        [VST_SUSPEND] = vst_domain_suspend,
        [VST_RESUME] = vst_domain_resume,
        [VST_SHUTDOWN] = vst_domain_shutdown,
        [VST_DESTROY] = vst_domain_destroy,
    };
    int what = vst_control_find(call->arguments.control.what);

    vst_call_began(call, methods[what](call->domain, VST_CALL_DONE(call)));
}

/* ---- methods that move bytes ---- */

static void run_save(struct call *call)
{
    const struct vst_save_arguments *arguments = &call->arguments.save;
    struct vst_save_options opt = {
        .live = arguments->live,
        .keep_running = arguments->keep_running,
        .zstd_level = (int)arguments->zstd_level,
        .stall_seconds = (unsigned)arguments->stall_seconds,
    };

    vst_call_began(call, vst_domain_save(call->domain, call->stream, &opt, VST_CALL_DONE(call)));
}

/* The driver looks at the definition in the image before it acts on it. */
static void run_restore(struct call *call)
{
    const struct vst_restore_arguments *arguments = &call->arguments.restore;
    struct vst_restore_options opt = {
        .name = arguments->name,
        .paused = arguments->paused,
        .no_args = arguments->no_args || !vst_access_may_use_args(call->client->role),
        .stall_seconds = (unsigned)arguments->stall_seconds,
    };

    vst_call_began(call, vst_domain_restore(conn_of(call), call->stream, &opt, DOMAIN(call)));
}

static void run_console(struct call *call)
{
    vst_call_began(call, vst_domain_open_console(call->domain, call->stream, VST_CALL_DONE(call)));
}

static void run_screenshot(struct call *call)
{
    vst_call_began(call, vst_domain_screenshot(call->domain, call->stream, VST_CALL_DONE(call)));
}

/* ---- volumes ---- */

static void have_volumes(const struct vst_volume_info *infos, size_t count,
                         const struct vst_error *err, void *opaque)
{
    vst_call_list(opaque, infos, count, err);
}

static void run_volumes(struct call *call)
{
    vst_call_began(call, vst_volume_list(conn_of(call), call->arguments.list.pool,
                                         &(struct vst_volume_cb){have_volumes, call, NULL}));
}

static void run_upload(struct call *call)
{
    const struct vst_upload_arguments *arguments = &call->arguments.upload;
    struct vst_volume_upload_options opt = {
        .in_place = arguments->in_place,
        .offset = arguments->offset,
        .has_length = arguments->length != VST_LENGTH_NONE,
        .length = arguments->length,
        .stall_seconds = (unsigned)arguments->stall_seconds,
    };

    vst_call_began(call, vst_volume_upload(conn_of(call), arguments->name, call->stream, &opt,
                                           VST_CALL_DONE(call)));
}

static void run_download(struct call *call)
{
    const struct vst_download_arguments *arguments = &call->arguments.download;
    struct vst_volume_download_options opt = {
        .offset = arguments->offset,
        .has_length = arguments->length != VST_LENGTH_NONE,
        .length = arguments->length,
        .stall_seconds = (unsigned)arguments->stall_seconds,
    };

    vst_call_began(call, vst_volume_download(conn_of(call), arguments->name, call->stream, &opt,
                                             VST_CALL_DONE(call)));
}

static void run_volume_delete(struct call *call)
{
    vst_call_began(
        call, vst_volume_delete(conn_of(call), call->arguments.name.name, VST_CALL_DONE(call)));
}

const struct method vst_methods[VST_PROCEDURE_COUNT] = {
    [VST_PROCEDURE_LIST] = {.run = run_list},
    [VST_PROCEDURE_LOOKUP] = {.run = run_lookup, .on_domain = true},
    [VST_PROCEDURE_INFO] = {.run = run_info, .on_domain = true},
    [VST_PROCEDURE_EVENTS] = {.run = run_events},
    [VST_PROCEDURE_STATS] = {.run = run_stats},
    [VST_PROCEDURE_SCREENSHOT] = {.run = run_screenshot, .on_domain = true},
    [VST_PROCEDURE_START] = {.run = run_start},
    [VST_PROCEDURE_CONTROL] = {.run = run_control, .on_domain = true},
    [VST_PROCEDURE_CONSOLE] = {.run = run_console, .on_domain = true},
    [VST_PROCEDURE_SAVE] = {.run = run_save, .on_domain = true},
    [VST_PROCEDURE_RESTORE] = {.run = run_restore},
    [VST_PROCEDURE_VOLUMES] = {.run = run_volumes},
    [VST_PROCEDURE_VOLUME_UPLOAD] = {.run = run_upload},
    [VST_PROCEDURE_VOLUME_DOWNLOAD] = {.run = run_download},
    [VST_PROCEDURE_VOLUME_DELETE] = {.run = run_volume_delete},
    [VST_PROCEDURE_MIGRATE] = {.run = vst_run_migrate,
                               .on_domain = true,
                               .survives = true,
                               .dismissal = VST_ERR_LOST},
    [VST_PROCEDURE_MIGRATIONS] = {.run = vst_run_migrations},
    [VST_PROCEDURE_MIGRATION_ORDER] = {.run = vst_run_migration_order},
    [VST_PROCEDURE_MIGRATE_MESSAGE] = {.run = vst_run_migrate_message, .dismissal = VST_ERR_DRIVER},
    [VST_PROCEDURE_MIGRATE_STREAM] = {.run = vst_run_migrate_stream, .dismissal = VST_ERR_DRIVER},
    [VST_PROCEDURE_RELAY_BEGIN] = {.run = vst_run_relay_begin, .on_domain = true},
    [VST_PROCEDURE_RELAY_FETCH] = {.run = vst_run_relay_fetch, .dismissal = VST_ERR_LOST},
    [VST_PROCEDURE_RELAY_ANSWER] = {.run = vst_run_relay_answer, .dismissal = VST_ERR_LOST},
    [VST_PROCEDURE_RELAY_STREAM] = {.run = vst_run_relay_stream, .dismissal = VST_ERR_LOST},
};

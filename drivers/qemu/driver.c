/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qemu driver's table, and its connections:
 * qemu:///?root=DIR&state=DIR&user=NAME&pool.NAME=DIR. Opening asks the file system and the user
 * database, so a job of the worker does it.
 */
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pool.h"
#include "core/worker.h"
#include "guest.h"
#include "probe.h"

static const char program_name[] = "qemu-system-x86_64";

/* ---- what it may be ---- */

/* What can be said without asking anybody. */
static int check_text(const struct vst_uri *uri, struct vst_error *ret_err)
{
    static const char *const allowed[] = {"root", "state", "user", "pool.", NULL};
    const char *root = vst_uri_get(uri, "root"), *state = vst_uri_get(uri, "state");

    if (uri->host || uri->user || uri->port >= 0 || (uri->path && strcmp(uri->path, "/") != 0))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "%s: in this process it is qemu:///, without host or path", uri->text);
    if (root && root[0] != '/')
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: root must be an absolute path",
                             uri->text);
    if (state && state[0] != '/')
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: state must be an absolute path",
                             uri->text);
    if (vst_uri_get(uri, "user") && geteuid() != 0)
        return vst_error_set(ret_err, VST_ERR_INVALID, "%s: only root can run QEMU as another user",
                             uri->text);
    return vst_uri_check(uri, allowed, ret_err);
}

static int qemu_check(const struct vst_uri *uri, struct vst_error *ret_err)
{
    const char *user = vst_uri_get(uri, "user");
    struct vst_user found;

    if (check_text(uri, ret_err) < 0 || vst_pools_check(uri, ret_err) < 0)
        return -1;
    return user ? vst_user_find(user, &found, ret_err) : 0;
}

/* ---- opening and closing ---- */

/* What opening needs, on a thread: nothing of the connection's. */
struct opening {
    struct vst_job job;
    struct vst_conn *conn;
    struct vst_op *op;
    struct vst_worker *worker;
    char *root_dir; /* NULL for the default */
    char *user_name;
    struct vst_qemu *qemu;
    struct vst_error error;
};

static void qemu_free(struct vst_qemu *qemu)
{
    if (!qemu)
        return;
    vst_root_free(&qemu->root);
    free(qemu->state_dir);
    free(qemu->program);
    free(qemu->cat);
    free(qemu->user);
    free(qemu);
}

static void opening_dispose(struct vst_job *job)
{
    struct opening *opening = (struct opening *)job;

    qemu_free(opening->qemu);
    free(opening->root_dir);
    free(opening->user_name);
    free(opening);
}

static void open_work(struct vst_job *job)
{
    struct opening *opening = (struct opening *)job;
    struct vst_qemu *qemu = opening->qemu;

    qemu->program = vst_program_find(program_name, &opening->error);
    if (!qemu->program || vst_root_open(opening->root_dir, &qemu->root, &opening->error) < 0)
        return;
    qemu->cat = vst_program_find("cat", NULL);
    if (qemu->user)
        vst_user_find(opening->user_name, qemu->user, &opening->error);
}

static void open_done(struct vst_job *job)
{
    struct opening *opening = (struct opening *)job;

    vst_op_set_cancel(opening->op, NULL, NULL);
    if (vst_error_is_set(&opening->error)) {
        vst_op_fail(opening->op, &opening->error);
    } else {
        opening->qemu->conn = opening->conn;
        opening->conn->impl = opening->qemu;
        opening->qemu = NULL;
        vst_op_done(opening->op);
    }
    vst_worker_put(&opening->worker);
    opening_dispose(job);
}

static void open_cancelled(void *opaque, const struct vst_error *why)
{
    struct opening *opening = opaque;
    struct vst_worker *worker = opening->worker;

    vst_op_fail(opening->op, why);
    vst_job_abandon(&opening->job);
    vst_worker_put(&worker);
}

/* What must survive the host goes where the user said, or beside what he said of the rest. */
static int set_state_dir(struct vst_qemu *qemu, const struct vst_uri *uri)
{
    const char *root = vst_uri_get(uri, "root"), *state = vst_uri_get(uri, "state");

    if (state)
        qemu->state_dir = strdup(state);
    else if (root && asprintf(&qemu->state_dir, "%s/.state", root) < 0)
        qemu->state_dir = NULL;
    return (state || root) && !qemu->state_dir ? -1 : 0;
}

static int prepare(struct opening *opening, const struct vst_uri *uri, struct vst_error *ret_err)
{
    const char *root = vst_uri_get(uri, "root");
    const char *user = vst_uri_get(uri, "user");
    struct vst_qemu *qemu = opening->qemu = calloc(1, sizeof(*qemu));

    if (!qemu || set_state_dir(qemu, uri) < 0 || (root && !(opening->root_dir = strdup(root))) ||
        (user &&
         (!(opening->user_name = strdup(user)) || !(qemu->user = calloc(1, sizeof(*qemu->user))))))
        return vst_error_no_memory(ret_err);
    opening->worker = vst_worker_get(opening->conn->base, ret_err);
    return opening->worker ? 0 : -1;
}

static void qemu_open(struct vst_conn *conn, struct vst_op *op)
{
    struct opening *opening = calloc(1, sizeof(*opening));
    struct vst_error err = {0};

    if (!opening) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    opening->job =
        (struct vst_job){.work = open_work, .done = open_done, .dispose = opening_dispose};
    opening->conn = conn;
    opening->op = op;
    if (check_text(conn->uri, &err) < 0 || vst_pools_open(conn, &err) < 0 ||
        prepare(opening, conn->uri, &err) < 0) {
        vst_op_fail(op, &err);
        opening_dispose(&opening->job);
        return;
    }
    vst_op_set_cancel(op, open_cancelled, opening);
    vst_worker_submit(opening->worker, &opening->job);
}

static void qemu_close(struct vst_conn *conn)
{
    struct vst_qemu *qemu = conn->impl;

    vst_qemu_migrations_close(qemu);
    vst_guest_release_all(qemu);
    vst_probe_free(&qemu->probe);
    qemu_free(qemu);
    conn->impl = NULL;
    vst_conn_closed(conn);
}

const struct vst_driver vst_qemu_driver = {
    .name = "qemu",
    .check = qemu_check,
    .open = qemu_open,
    .close = qemu_close,
    .ping = vst_local_ping,
    .get_stats = vst_local_get_stats,
    .list = vst_qemu_list,
    .get_info = vst_qemu_get_info,
    .lookup = vst_qemu_lookup,
    .start = vst_qemu_start,
    .restore = vst_qemu_restore,
    .control = vst_qemu_control,
    .save = vst_qemu_save,
    .open_console = vst_qemu_open_console,
    .screenshot = vst_qemu_screenshot,
    .migrate = vst_qemu_migrate,
    .order_migration = vst_qemu_order_migration,
    .list_migrations = vst_qemu_list_migrations,
    .migrate_message = vst_qemu_migrate_message,
    .migrate_stream = vst_qemu_migrate_stream,
    .relay_begin = vst_qemu_relay_begin,
    .relay_fetch = vst_qemu_relay_fetch,
    .relay_answer = vst_qemu_relay_answer,
    .relay_stream = vst_qemu_relay_stream,
    .volume_list = vst_pool_list,
    .volume_upload = vst_pool_upload,
    .volume_download = vst_pool_download,
    .volume_delete = vst_pool_delete,
};

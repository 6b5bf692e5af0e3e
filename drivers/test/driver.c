/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The test driver: guests in memory, for applications' own tests and for measuring. The same
 * methods, life-cycle and errors as a real driver, with no QEMU, and no file but those of pools.
 *
 *     test:///                        one running guest "test1" with 1 MiB of state
 *     test:///?domains=3&memory=64K   "test1" to "test3" with 64 KiB each
 *     test:///?pool.NAME=DIR          volumes: real files
 */
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "guest.h"

enum { MIB = 1024 * 1024, MOST_DOMAINS = 100000 };
#define MOST_MEMORY (UINT64_C(1) << 40)

/* ---- opening and closing ---- */

/* "test<number>", the same each time. */
static int add_guest(struct vst_test_host *host, unsigned number, uint64_t memory,
                     struct vst_error *ret_err)
{
    char text[256];
    int length = snprintf(text, sizeof(text),
                          "{\"name\":\"test%u\",\"uuid\":\"00000000-0000-4000-8000-%012u\","
                          "\"machine\":\"test\",\"accel\":\"tcg\",\"memory-mib\":%" PRIu64
                          ",\"vcpus\":1,\"console\":{}}",
                          number, number, (memory + MIB - 1) / MIB);
    struct vst_definition *def = vst_definition_parse(text, (size_t)length, ret_err);
    struct vst_test_guest *guest = def ? vst_test_guest_add(host, &def, ret_err) : NULL;

    vst_definition_free(&def);
    if (!guest)
        return -1;
    guest->identity.size = memory;
    vst_test_guest_set_state(guest, VST_DOMAIN_RUNNING);
    return 0;
}

static int check_number(const struct vst_uri *uri, const char *name, uint64_t number, uint64_t most,
                        struct vst_error *ret_err)
{
    if (number <= most)
        return 0;
    return vst_error_set(ret_err, VST_ERR_INVALID, "%s: %s: at most %" PRIu64, uri->text, name,
                         most);
}

static int read_uri(const struct vst_uri *uri, uint64_t *ret_domains, uint64_t *ret_memory,
                    struct vst_error *ret_err)
{
    static const char *const allowed[] = {"domains", "memory", "pool.", NULL};

    if (uri->user || uri->host || uri->port >= 0 || (uri->path && strcmp(uri->path, "/") != 0))
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "%s: the test driver has no host, user or path; it is test:///",
                             uri->text);
    if (vst_uri_check(uri, allowed, ret_err) < 0 ||
        vst_uri_get_size(uri, "domains", 1, ret_domains, ret_err) < 0 ||
        vst_uri_get_size(uri, "memory", MIB, ret_memory, ret_err) < 0 ||
        check_number(uri, "domains", *ret_domains, MOST_DOMAINS, ret_err) < 0)
        return -1;
    return check_number(uri, "memory", *ret_memory, MOST_MEMORY, ret_err);
}

static int test_check(const struct vst_uri *uri, struct vst_error *ret_err)
{
    uint64_t domains, memory;

    if (read_uri(uri, &domains, &memory, ret_err) < 0)
        return -1;
    return vst_pools_check(uri, ret_err);
}

static int fill(struct vst_test_host *host, const struct vst_uri *uri, struct vst_error *ret_err)
{
    uint64_t domains = 0, memory = 0;

    if (read_uri(uri, &domains, &memory, ret_err) < 0)
        return -1;
    for (unsigned i = 1; i <= domains; i++)
        if (add_guest(host, i, memory ? memory : 1, ret_err) < 0)
            return -1;
    return 0;
}

static void host_free(struct vst_test_host *host)
{
    while (!TAILQ_EMPTY(&host->guests))
        vst_test_guest_free(host, TAILQ_FIRST(&host->guests));
    free(host);
}

static void test_open(struct vst_conn *conn, struct vst_op *op)
{
    struct vst_test_host *host = calloc(1, sizeof(*host));
    struct vst_error err = {0};

    if (!host) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    host->conn = conn;
    TAILQ_INIT(&host->guests);
    if (fill(host, conn->uri, &err) < 0 || vst_pools_open(conn, &err) < 0) {
        host_free(host);
        vst_op_fail(op, &err);
        return;
    }
    conn->impl = host;
    vst_op_done(op);
}

static void test_close(struct vst_conn *conn)
{
    host_free(conn->impl);
    vst_conn_closed(conn);
}

/* ---- finding ---- */

static void test_list(struct vst_conn *conn, struct vst_op *op)
{
    struct vst_test_host *host = conn->impl;
    struct vst_domain_info *infos;
    struct vst_test_guest *guest;
    size_t count = 0;
    struct vst_error err = {0};

    TAILQ_FOREACH(guest, &host->guests, link)
        count++;
    infos = calloc(count ? count : 1, sizeof(*infos));
    if (!infos) {
        vst_error_no_memory(&err);
        vst_op_fail(op, &err);
        return;
    }
    count = 0;
    TAILQ_FOREACH(guest, &host->guests, link)
        vst_test_guest_get_info(guest, &infos[count++]);
    vst_driver_infos(op, infos, count);
    free(infos);
}

static void test_get_info(struct vst_conn *conn, const char *name, struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_test_guest *guest = vst_test_guest_find(conn->impl, name, &err);
    struct vst_domain_info info;

    if (!guest) {
        vst_op_fail(op, &err);
        return;
    }
    vst_test_guest_get_info(guest, &info);
    vst_driver_infos(op, &info, 1);
}

static void test_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_test_guest *guest = vst_test_guest_find(conn->impl, name_or_uuid, &err);

    if (guest)
        vst_driver_domain(conn, op, guest->identity.name, guest->identity.uuid);
    else
        vst_op_fail(op, &err);
}

/* ---- starting and controlling: from the loop, because they cause events ---- */

struct call {
    struct vst_turn turn;
    struct vst_test_host *host;
    struct vst_op *op;
    struct vst_definition *def; /* start */
    bool paused;
    enum vst_control what; /* control */
    char name[64];
    struct vst_test_watch watch; /* of the guest that is to shut down */
};

static void call_free(void *state)
{
    struct call *call = state;

    vst_turn_cancel(&call->turn);
    vst_definition_free(&call->def);
    free(call);
}

static struct call *call_new(struct vst_conn *conn, struct vst_op *op, event_callback_fn turn,
                             struct vst_error *ret_err)
{
    struct call *call = calloc(1, sizeof(*call));

    if (!call) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    call->host = conn->impl;
    call->op = op;
    vst_turn_init(&call->turn, conn->base, turn, call);
    vst_turn_schedule(&call->turn);
    vst_op_own(op, call, call_free);
    return call;
}

static void do_start(evutil_socket_t fd, short what, void *opaque)
{
    struct call *call = opaque;
    struct vst_error err = {0};
    struct vst_test_guest *guest = vst_test_guest_new(call->host, &call->def, &err);

    (void)fd, (void)what;
    if (!guest) {
        vst_op_fail(call->op, &err);
        return;
    }
    if (vst_driver_domain(call->host->conn, call->op, guest->identity.name, guest->identity.uuid) <
        0) {
        vst_test_guest_free(call->host, guest);
        return;
    }
    if (!call->paused)
        vst_test_guest_set_state(guest, VST_DOMAIN_RUNNING);
    vst_test_guest_tell(call->host, guest, VST_EVENT_STARTED, "");
}

static void test_start(struct vst_conn *conn, const char *definition,
                       const struct vst_start_options *opt, struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_definition *def = vst_definition_parse(definition, strlen(definition), &err);
    struct call *call = NULL;

    if (def && (!opt->no_args || vst_definition_check_no_args(def, &err) == 0))
        call = call_new(conn, op, do_start, &err);
    if (!call) {
        vst_definition_free(&def);
        vst_op_fail(op, &err);
        return;
    }
    call->def = def;
    call->paused = opt->paused;
}

static void shut_down(void *opaque)
{
    vst_op_done(((struct call *)opaque)->op);
}

static void shutdown_cancelled(void *opaque, const struct vst_error *why)
{
    struct call *call = opaque;

    LIST_REMOVE(&call->watch, link);
    vst_op_fail(call->op, why);
}

/* One that is paused hears of it when it runs again. */
static void await_shutdown(struct call *call, struct vst_test_guest *guest)
{
    guest->powerdown = true;
    call->watch = (struct vst_test_watch){.gone = shut_down, .opaque = call};
    vst_test_guest_watch(guest, &call->watch);
    vst_op_set_cancel(call->op, shutdown_cancelled, call);
}

static void do_control(evutil_socket_t fd, short what, void *opaque)
{
    struct call *call = opaque;
    bool any = call->what == VST_DESTROY;
    struct vst_error err = {0};
    struct vst_test_guest *guest = any ? vst_test_guest_find(call->host, call->name, &err)
                                       : vst_test_guest_find_idle(call->host, call->name, &err);

    (void)fd, (void)what;
    if (!guest) {
        vst_op_fail(call->op, &err);
        return;
    }
    if (call->what == VST_SHUTDOWN && guest->state != VST_DOMAIN_RUNNING) {
        await_shutdown(call, guest);
        return;
    }
    vst_op_done(call->op);
    if (call->what == VST_SUSPEND || call->what == VST_RESUME)
        vst_test_guest_run(call->host, guest, call->what == VST_RESUME);
    else
        vst_test_guest_end(call->host, guest);
}

static void test_control(struct vst_conn *conn, const char *name, enum vst_control what,
                         struct vst_op *op)
{
    struct vst_error err = {0};
    struct call *call = call_new(conn, op, do_control, &err);

    if (!call) {
        vst_op_fail(op, &err);
        return;
    }
    call->what = what;
    snprintf(call->name, sizeof(call->name), "%s", name);
}

const struct vst_driver vst_test_driver = {
    .name = "test",
    .check = test_check,
    .open = test_open,
    .close = test_close,
    .ping = vst_local_ping,
    .get_stats = vst_local_get_stats,
    .list = test_list,
    .get_info = test_get_info,
    .lookup = test_lookup,
    .start = test_start,
    .restore = vst_test_restore,
    .control = test_control,
    .save = vst_test_save,
    .open_console = vst_test_open_console,
    .screenshot = vst_test_screenshot,
    .volume_list = vst_pool_list,
    .volume_upload = vst_pool_upload,
    .volume_download = vst_pool_download,
    .volume_delete = vst_pool_delete,
};

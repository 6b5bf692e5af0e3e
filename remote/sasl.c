/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The exchange on the loop: hands each step of a login to a thread and its outcome to the user, and
 * lets no server's refusal come sooner than another. What a step does is sasl-login.c's.
 *
 * Steps that only compute and steps that ask another service run in pools of their own
 * (core/worker.h), so that a saslauthd or a Kerberos server that hangs holds up neither the other
 * logins nor the disks.
 */
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fsm.h"
#include "core/worker.h"
#include "sasl-library.h"
#include "sasl-login.h"
#include "sasl-private.h"

#define SASL_STATES(X)                                                                  \
    X(SASL_IDLE, "start(), accept() or step()", "it is the user's turn, or the peer's") \
    X(SASL_WORKING, "the worker", "a step is under way")                                \
    X(SASL_FAILING, "the time for bad news", "it has failed, and this is not told yet") \
    X(SASL_DONE, "nothing", "authenticated")                                            \
    X(SASL_FAILED, "nothing", "refused, or broken")
VST_FSM(sasl, SASL_STATES)

enum { REFUSAL_US = 250 * 1000 }; /* from the beginning of a login to its refusal by a server */

struct vst_sasl {
    struct vst_job job; /* first */
    struct event_base *base;
    struct vst_sasl_cb cb;
    enum sasl_state state;
    struct vst_worker *worker;
    struct event late;
    int64_t began_us;
    struct vst_login login; /* the thread's while WORKING, like what follows */
    void (*step)(struct vst_login *, const void *data, size_t length);
    unsigned char *in; /* NULL: none */
    size_t in_length;
};

static void enter(struct vst_sasl *sasl, enum sasl_state state)
{
    vst_fsm_trace(sasl, sasl->login.role == VST_SASL_SERVER ? "server" : "client", sasl->state,
                  state);
    sasl->state = state;
}

/* ---- steps ---- */

static void drop_input(struct vst_sasl *sasl)
{
    if (sasl->in)
        explicit_bzero(sasl->in, sasl->in_length);
    free(sasl->in);
    sasl->in = NULL;
    sasl->in_length = 0;
}

static void work(struct vst_job *job)
{
    struct vst_sasl *sasl = (struct vst_sasl *)job;
    bool computes = !vst_login_asks_others(&sasl->login);

    sasl->login.result = VST_SASL_FAILED;
    if (computes && !vst_sasl_enter()) {
        vst_error_set(&sasl->login.err, VST_ERR_CANCELLED, "the process is ending");
        return;
    }
    sasl->step(&sasl->login, sasl->in, sasl->in_length);
    if (computes)
        vst_sasl_leave();
}

static void dispose(struct vst_job *job)
{
    struct vst_sasl *sasl = (struct vst_sasl *)job;

    drop_input(sasl);
    if (!vst_sasl_enter())
        return;
    vst_login_fini(&sasl->login);
    free(sasl);
    vst_sasl_leave();
}

/* The last act: the user may free the exchange. */
static void tell(struct vst_sasl *sasl)
{
    const struct vst_login *login = &sasl->login;

    if (login->result == VST_SASL_FAILED) {
        enter(sasl, SASL_FAILED);
        sasl->cb.stepped(sasl->cb.opaque, VST_SASL_FAILED, NULL, 0, &login->err);
        return;
    }
    enter(sasl, login->result == VST_SASL_DONE ? SASL_DONE : SASL_IDLE);
    sasl->cb.stepped(sasl->cb.opaque, login->result, login->out, login->out_length, NULL);
}

static void on_late(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    tell(opaque);
}

static struct timeval until_refusal(const struct vst_sasl *sasl)
{
    int64_t left = sasl->began_us + REFUSAL_US - vst_now_us();

    return (struct timeval){.tv_usec = left > 0 ? (suseconds_t)left : 0};
}

/* Told from the loop in any case; by a server not before its time. */
static void fail(struct vst_sasl *sasl)
{
    struct timeval delay = {0, 0};

    sasl->login.result = VST_SASL_FAILED;
    if (sasl->login.role == VST_SASL_SERVER)
        delay = until_refusal(sasl);
    enter(sasl, SASL_FAILING);
    if (event_add(&sasl->late, &delay) < 0)
        event_active(&sasl->late, EV_TIMEOUT, 1);
}

static void done(struct vst_job *job)
{
    struct vst_sasl *sasl = (struct vst_sasl *)job;

    drop_input(sasl);
    if (sasl->login.result == VST_SASL_FAILED)
        fail(sasl);
    else
        tell(sasl);
}

static void submit(struct vst_sasl *sasl,
                   void (*step)(struct vst_login *, const void *data, size_t length),
                   const void *data, size_t length)
{
    sasl->step = step;
    sasl->in = data ? malloc(length + 1) : NULL;
    if (data && !sasl->in) {
        vst_error_no_memory(&sasl->login.err);
        fail(sasl);
        return;
    }
    if (length)
        memcpy(sasl->in, data, length);
    sasl->in_length = length;
    enter(sasl, SASL_WORKING);
    vst_worker_submit(sasl->worker, &sasl->job);
}

/* ---- the user's side ---- */

static int get_worker(struct vst_sasl *sasl)
{
    enum vst_pool pool = vst_login_asks_others(&sasl->login) ? VST_POOL_SERVICES : VST_POOL_LOGINS;

    sasl->worker = vst_worker_get_pool(sasl->base, pool, &sasl->login.err);
    return sasl->worker ? 0 : -1;
}

void vst_sasl_start(struct vst_sasl *sasl, const char *offered)
{
    if (vst_login_choose(&sasl->login, offered, &sasl->login.err) < 0 || get_worker(sasl) < 0)
        fail(sasl);
    else
        submit(sasl, vst_login_start, NULL, 0);
}

void vst_sasl_accept(struct vst_sasl *sasl, const char *mechanism, const void *data, size_t length)
{
    sasl->began_us = vst_now_us();
    if (vst_login_check(&sasl->login, mechanism, &sasl->login.err) < 0 || get_worker(sasl) < 0)
        fail(sasl);
    else
        submit(sasl, vst_login_accept, data, length);
}

void vst_sasl_step(struct vst_sasl *sasl, const void *data, size_t length)
{
    submit(sasl, vst_login_step, data, length);
}

const char *vst_sasl_offer(const struct vst_sasl *sasl)
{
    return sasl->login.offer;
}

const char *vst_sasl_mechanism(const struct vst_sasl *sasl)
{
    return sasl->login.mechanism;
}

const char *vst_sasl_user(const struct vst_sasl *sasl)
{
    return sasl->login.user;
}

unsigned vst_sasl_ssf(const struct vst_sasl *sasl)
{
    return vst_login_ssf(&sasl->login);
}

struct vst_login *vst_sasl_login(struct vst_sasl *sasl)
{
    return &sasl->login;
}

struct vst_sasl *vst_sasl_new(struct event_base *base, const struct vst_sasl_options *opt,
                              const struct vst_sasl_cb *cb, struct vst_error *ret_err)
{
    struct vst_sasl *sasl = calloc(1, sizeof(*sasl));

    if (!sasl) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    if (vst_login_init(&sasl->login, opt, ret_err) < 0) {
        free(sasl);
        return NULL;
    }
    sasl->base = base;
    sasl->cb = *cb;
    sasl->job = (struct vst_job){.work = work, .done = done, .dispose = dispose};
    event_assign(&sasl->late, base, -1, 0, on_late, sasl);
    return sasl;
}

void vst_sasl_free(struct vst_sasl **slot)
{
    struct vst_sasl *sasl = *slot;
    struct vst_worker *worker;

    if (!sasl)
        return;
    *slot = NULL;
    worker = sasl->worker;
    event_del(&sasl->late);
    if (sasl->state == SASL_WORKING)
        vst_job_abandon(&sasl->job);
    else
        dispose(&sasl->job);
    if (worker)
        vst_worker_put(&worker);
}

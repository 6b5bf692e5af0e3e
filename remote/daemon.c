/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of the daemon: connections are opened and certificates loaded, then it listens; SIGHUP
 * loads again; SIGTERM drains. A reload that fails changes nothing and says why.
 */
#include "daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "config.h"
#include "core/clock.h"
#include "daemon-private.h"
#include "virstream/virstream.h"

static void enter(struct daemon *daemon, enum daemon_state state)
{
    vst_fsm_trace(daemon, "-", daemon->state, state);
    daemon->state = state;
}

/* ---- the end ---- */

static void forget_events(struct daemon *daemon)
{
    for (int i = 0; i < DAEMON_SIGNALS; i++)
        event_del(&daemon->signals[i]);
    event_del(&daemon->tick);
}

/* The loop ends by itself when the library has let go of everything. Signals have their usual
 * effect again. */
static void end(struct daemon *daemon)
{
    if (daemon->state == DAEMON_ENDING)
        return;
    enter(daemon, DAEMON_ENDING);
    vst_log_write(daemon->log, VST_LOG_NOTICE, NULL, "ends; guests stay");
    forget_events(daemon);
    vst_load_free(&daemon->load);
    vst_op_cancel(daemon->opening);
    vst_adoptions_free(daemon);
    vst_metrics_close(&daemon->metrics);
    vst_server_free(&daemon->server);
    vst_daemon_remove_sockets(daemon);
}

void vst_daemon_fail(struct daemon *daemon, const struct vst_error *err)
{
    vst_log_write(daemon->log, VST_LOG_ERROR, NULL, "cannot start: %s", err->text);
    vst_notify_send(&daemon->notify, "STATUS=%.300s\nERRNO=%d", err->text, err->system);
    daemon->status = vst_code_exit(err->code);
    end(daemon);
}

static void drained(void *opaque)
{
    end(opaque);
}

/* One that has let in nobody yet has nobody to wait for; and who says it twice waits no longer. */
static void drain(struct daemon *daemon)
{
    struct vst_server_stats stats;

    if (daemon->state == DAEMON_DRAINING) {
        vst_server_hurry(daemon->server);
        return;
    }
    if (daemon->state != DAEMON_SERVING) {
        end(daemon);
        return;
    }
    enter(daemon, DAEMON_DRAINING);
    vst_server_get_stats(daemon->server, &stats);
    vst_log_write(
        daemon->log, VST_LOG_NOTICE, NULL, "shuts down; waits for %llu calls, at most %llu seconds",
        (unsigned long long)stats.calls, (unsigned long long)daemon->config->limits.drain_seconds);
    vst_notify_send(&daemon->notify, "STOPPING=1\nSTATUS=Waiting for %llu calls",
                    (unsigned long long)stats.calls);
    vst_load_free(&daemon->load);
    vst_server_drain(daemon->server, (unsigned)daemon->config->limits.drain_seconds, drained,
                     daemon);
}

/* ---- signs of life ---- */

static void say_status(struct daemon *daemon)
{
    struct vst_server_stats stats;
    char text[sizeof(daemon->said)];

    vst_server_get_stats(daemon->server, &stats);
    snprintf(text, sizeof(text), "%llu clients, %llu calls, %llu streams",
             (unsigned long long)stats.clients, (unsigned long long)stats.calls,
             (unsigned long long)stats.streams);
    if (strcmp(text, daemon->said) == 0)
        return;
    memcpy(daemon->said, text, sizeof(text));
    vst_notify_send(&daemon->notify, "STATUS=%s", text);
}

static void tick(evutil_socket_t fd, short what, void *opaque)
{
    struct daemon *daemon = opaque;

    (void)fd, (void)what;
    if (daemon->state == DAEMON_SERVING)
        say_status(daemon);
    vst_notify_live(&daemon->notify);
}

/* Twice as often as is asked for; nobody to tell, no timer. */
static int begin_ticking(struct daemon *daemon)
{
    uint64_t us = daemon->notify.watchdog_us ? daemon->notify.watchdog_us / 2 : 5000000;
    struct timeval every = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

    return daemon->notify.fd < 0 ? 0 : event_add(&daemon->tick, &every);
}

/* ---- ready ---- */

/* SIGHUP came while that could not be done. */
static void load_if_asked(struct daemon *daemon)
{
    if (daemon->load_again)
        raise(SIGHUP);
    daemon->load_again = false;
}

static void ready(struct daemon *daemon)
{
    enter(daemon, DAEMON_SERVING);
    vst_log_write(daemon->log, VST_LOG_NOTICE, NULL, "%s is ready", PACKAGE_STRING);
    vst_notify_send(&daemon->notify, "READY=1");
    say_status(daemon);
    load_if_asked(daemon);
}

/* Takes the creds. As what it serves, the daemon goes to other hosts. */
static void know_files(struct daemon *daemon, struct vst_tls_creds *creds)
{
    const struct vst_tls_files *files = creds ? vst_tls_creds_files(creds) : &daemon->config->files;

    vst_tls_creds_unref(&daemon->creds);
    daemon->creds = creds;
    daemon->files = (struct vst_conn_files){files->ca, files->cert, files->key, files->crl};
}

static void reloaded(struct daemon *daemon, struct vst_policy *policy, const struct vst_error *err)
{
    struct vst_tls_creds *creds = policy ? vst_tls_creds_ref(policy->creds) : NULL;
    struct vst_error failure = {0};
    uint64_t drain_seconds = policy ? policy->limits.drain_seconds : 0;

    if (err)
        failure = *err;
    if (!err && vst_server_set_policy(daemon->server, policy, &failure) == 0) {
        daemon->config->limits.drain_seconds = drain_seconds;
        know_files(daemon, creds);
        vst_log_write(daemon->log, VST_LOG_NOTICE, NULL,
                      "certificates, access and limits have been loaded again");
    } else {
        vst_tls_creds_unref(&creds);
        vst_log_write(daemon->log, VST_LOG_ERROR, NULL,
                      "not loaded again, everything is as before: %s", failure.text);
    }
    vst_notify_send(&daemon->notify, "READY=1");
    load_if_asked(daemon);
}

static int open_server(struct daemon *daemon, struct vst_policy *policy, struct vst_error *ret_err)
{
    if (vst_access_is_empty(policy->access))
        vst_log_write(daemon->log, VST_LOG_WARNING, NULL,
                      "[access] gives nobody a role: nobody will be let in");
    know_files(daemon, vst_tls_creds_ref(policy->creds));
    daemon->server = vst_server_new(daemon->base, daemon->log, policy, ret_err);
    return daemon->server ? 0 : -1;
}

static void open_next(struct daemon *daemon);

void vst_daemon_have_policy(struct daemon *daemon, struct vst_policy *policy,
                            const struct vst_error *load_err)
{
    struct vst_error err = {0};

    if (daemon->state == DAEMON_SERVING)
        reloaded(daemon, policy, load_err);
    else if (load_err)
        vst_daemon_fail(daemon, load_err);
    else if (open_server(daemon, policy, &err) < 0)
        vst_daemon_fail(daemon, &err);
    else
        open_next(daemon);
}

/* ---- connections ---- */

static void listen_on_all(struct daemon *daemon)
{
    struct vst_error err = {0};

    if (vst_daemon_listen(daemon, &err) < 0 ||
        (daemon->config->metrics &&
         vst_metrics_open(daemon, daemon->config->metrics, &daemon->metrics, &err) < 0))
        vst_daemon_fail(daemon, &err);
    else
        ready(daemon);
}

/* One that has just been opened. */
static void serve(struct daemon *daemon, struct vst_conn *conn)
{
    struct vst_error err = {0};
    struct vst_conn *served = conn;

    vst_log_write(daemon->log, VST_LOG_NOTICE, NULL, "serves %s", vst_conn_get_uri(conn));
    if (vst_server_serve(daemon->server, &conn, &err) < 0 ||
        vst_adoption_begin(daemon, served, &err) < 0) {
        vst_conn_close(&conn);
        vst_daemon_fail(daemon, &err);
        return;
    }
    open_next(daemon);
}

static void opened(struct vst_conn *conn, const struct vst_error *err, void *opaque)
{
    struct daemon *daemon = opaque;

    daemon->opening = NULL;
    daemon->opened++;
    if (daemon->state == DAEMON_ENDING)
        vst_conn_close(&conn);
    else if (err)
        vst_daemon_fail(daemon, err);
    else
        serve(daemon, conn);
}

static void open_next(struct daemon *daemon)
{
    const struct vst_conn_options options = {.files = &daemon->files};
    struct vst_conn_cb cb = {.fn = opened, .opaque = daemon};
    char *const *serve = daemon->config->serve;
    struct vst_error err = {0};
    char *uri;

    if (serve ? !serve[daemon->opened] : daemon->opened > 0) {
        listen_on_all(daemon);
        return;
    }
    uri = vst_config_uri(daemon->config, serve ? serve[daemon->opened] : NULL);
    if (uri)
        daemon->opening = vst_conn_open(daemon->base, uri, &options, &cb);
    free(uri);
    if (daemon->opening)
        return;
    vst_error_no_memory(&err);
    vst_daemon_fail(daemon, &err);
}

/* ---- signals ---- */

static void reload(struct daemon *daemon)
{
    struct vst_error err = {0};

    if (daemon->state > DAEMON_SERVING)
        return;
    if (daemon->state == DAEMON_STARTING || daemon->load) {
        daemon->load_again = true;
        return;
    }
    vst_notify_send(&daemon->notify, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)vst_now_us());
    if (vst_load_begin(daemon, true, &err) < 0)
        reloaded(daemon, NULL, &err);
}

static void hup(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    reload(opaque);
}

static void term(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    drain(opaque);
}

static int watch_signals(struct daemon *daemon)
{
    static const struct {
        int number;
        event_callback_fn fn;
    } signals[DAEMON_SIGNALS] = {{SIGHUP, hup}, {SIGTERM, term}, {SIGINT, term}};
    int status = 0;

    /* A peer that has gone is an error of write(). */
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < DAEMON_SIGNALS; i++) {
        evsignal_assign(&daemon->signals[i], daemon->base, signals[i].number, signals[i].fn,
                        daemon);
        status |= event_add(&daemon->signals[i], NULL);
    }
    return status;
}

/* ---- all of it ---- */

/* A client is a descriptor or two. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void begin(struct daemon *daemon)
{
    struct vst_error err = {0};

    event_assign(&daemon->tick, daemon->base, -1, EV_PERSIST, tick, daemon);
    if (watch_signals(daemon) < 0 || begin_ticking(daemon) < 0)
        vst_error_set(&err, VST_ERR_SYSTEM, "the event loop cannot watch signals");
    else
        vst_load_begin(daemon, false, &err);
    if (vst_error_is_set(&err))
        vst_daemon_fail(daemon, &err);
}

int vst_daemon_run(struct vst_daemon_start *start)
{
    struct daemon daemon = {
        .base = event_base_new(),
        .file = start->file,
        .config = start->config,
        .log = start->log,
        .notify = start->notify,
        .fd_count = start->fd_count,
        .fd_names = start->fd_names,
    };

    raise_limit();
    vst_daemon_set_nice(&daemon);
    if (daemon.base) {
        begin(&daemon);
        event_base_dispatch(daemon.base);
        event_base_free(daemon.base);
    } else {
        daemon.status = 1;
    }
    vst_notify_close(&daemon.notify);
    vst_tls_creds_unref(&daemon.creds);
    vst_config_free(&daemon.config);
    vst_log_free(&daemon.log);
    free(daemon.fd_names);
    return daemon.status;
}

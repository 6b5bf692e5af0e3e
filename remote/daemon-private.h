/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the daemon share.
 */
#ifndef VST_REMOTE_DAEMON_PRIVATE_H
#define VST_REMOTE_DAEMON_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/fsm.h"
#include "daemon.h"
#include "server.h"

#define DAEMON_STATES(X)                                                   \
    X(DAEMON_STARTING, "connections and certificates", "nobody is let in") \
    X(DAEMON_SERVING, "clients and signals", "")                           \
    X(DAEMON_DRAINING, "the last client", "SIGTERM: what runs, finishes")  \
    X(DAEMON_ENDING, "what the library still undoes", "nobody is left")

VST_FSM(daemon, DAEMON_STATES)

enum { DAEMON_SIGNALS = 3 };

/* A UNIX socket that we have made, and remove. */
struct made_socket {
    char *path;
    dev_t device;
    ino_t inode;
};

struct metrics;
struct load;
struct adoption;

struct daemon {
    struct event_base *base;
    const char *file;
    struct vst_config *config;
    struct vst_log *log;
    struct vst_notify notify;
    int fd_count;
    char *fd_names;
    enum daemon_state state;
    int status; /* to exit with */
    struct vst_server *server;
    struct vst_tls_creds *creds; /* of the policy; `files` are those, or the configuration's */
    struct vst_conn_files files; /* for connections to other hosts */
    struct metrics *metrics;
    struct load *load;      /* of the configuration, again; NULL: none runs */
    bool load_again;        /* SIGHUP came meanwhile */
    struct vst_op *opening; /* of the connection that is being opened */
    size_t opened;          /* how many of config->serve are */
    LIST_HEAD(, adoption) adoptions;
    struct event signals[DAEMON_SIGNALS];
    struct event tick; /* signs of life, and the status line */
    char said[200];    /* the last status line */
    struct made_socket *made;
    size_t made_count;
};

/* ---- daemon.c ---- */

/* Says why, and ends with a failure. */
void vst_daemon_fail(struct daemon *daemon, const struct vst_error *err);
/* The first policy, then every one that a reload brings; NULL with the error. */
void vst_daemon_have_policy(struct daemon *daemon, struct vst_policy *policy,
                            const struct vst_error *err);

/* ---- daemon-load.c: from files to a policy, on the worker ---- */

/* `again`: the configuration's file is read anew; else daemon->config is what counts. The result
 * comes by vst_daemon_have_policy(), from the loop. */
int vst_load_begin(struct daemon *daemon, bool again, struct vst_error *ret_err);
void vst_load_free(struct load **load);

/* ---- daemon-adopt.c: what an earlier life of the daemon has left ---- */

/* Migrations that are without an end go on; guests that are there are looked for, so that their
 * events are told from now on. */
int vst_adoption_begin(struct daemon *daemon, struct vst_conn *conn, struct vst_error *ret_err);
void vst_adoptions_free(struct daemon *daemon);

/* ---- daemon-nice.c ---- */

/* Before any thread begins. */
void vst_daemon_set_nice(struct daemon *daemon);

/* ---- daemon-listen.c ---- */

int vst_daemon_listen(struct daemon *daemon, struct vst_error *ret_err);
/* TCP or TLS: whether the daemon listens so, or is going to. Reloads change nothing of it. */
bool vst_daemon_listens(const struct daemon *daemon, enum vst_listen_kind kind);
void vst_daemon_remove_sockets(struct daemon *daemon);
/* A listening socket on a path, or on an address: for the metrics, too. */
int vst_daemon_listen_unix(struct daemon *daemon, const char *path, int *ret_fd,
                           struct vst_error *ret_err);
int vst_daemon_listen_address(const char *text, int *ret_fd, struct vst_error *ret_err);

/* ---- daemon-metrics.c ---- */

int vst_metrics_open(struct daemon *daemon, const char *listen, struct metrics **ret_metrics,
                     struct vst_error *ret_err);
void vst_metrics_close(struct metrics **metrics);

#endif

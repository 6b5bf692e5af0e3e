/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the client share. For client*.c only:
 *
 *   client.c         the connection: how it opens, is lost and closes; events and pings
 *   client-call.c    a call: sent, answered once, cancelled; and methods that move no bytes
 *   client-stream.c  methods that do
 *   client-volume.c  those of volumes
 *   client-migrate.c those of migration
 *   client-stats.c   what the connection tells of itself
 */
#ifndef VST_REMOTE_CLIENT_PRIVATE_H
#define VST_REMOTE_CLIENT_PRIVATE_H

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "client.h"
#include "connect.h"
#include "core/turn.h"
#include "message.h"
#include "mux.h"

struct remote_call;
TAILQ_HEAD(remote_calls, remote_call);
TAILQ_HEAD(remote_pings, remote_ping);

struct remote {
    struct vst_conn *conn;
    struct vst_target target;
    struct vst_op *opening; /* NULL: open */
    struct vst_connect *connect;
    struct vst_mux *mux;     /* NULL: not yet, or lost */
    struct vst_error refuse; /* why no call can be made; LOST when the connection has gone */
    struct remote_calls calls;
    struct remote_pings pings;
    uint32_t watch;             /* the call that asked for events; 0: nobody has */
    struct vst_error unwatched; /* why no event will come: the application is still to be told */
    bool closing;
    bool leaves_calls; /* closing: their answers are nobody's any more */
    struct vst_turn turn;
    unsigned undo_ms;        /* how long the answer to a call may take that was called off */
    struct event impatience; /* for the oldest of those; pending only while there is one */
    char *mechanism;         /* of the login; NULL: none */
};

/* Calls wait in the list of their connection for their one answer. */
struct remote_call {
    TAILQ_ENTRY(remote_call) link;
    struct remote *remote; /* NULL: has been answered, and is in no list */
    uint32_t id;
    enum vst_procedure procedure;
    struct vst_op *op;
    struct vst_error err; /* why it is to end */
    bool ours;            /* for a reason of this side: then that is the outcome */
    int64_t stopped_us;   /* when the server was asked to end it; 0: it was not */
    bool goes_on;         /* the server may be unable to end it: it takes what it takes */

    struct vst_stream *stream; /* NULL: it moves no bytes */
    bool taken;                /* everything that comes down has been taken */
    bool sent;                 /* everything that goes up had gone when the answer came */
    char label[96];            /* of a list: the pool, if any */

    void *entries; /* of a list: the pages so far */
    size_t count;
};

/* ---- client-call.c ---- */

/* The state of a method, owned by its operation. NULL, and the operation has failed. */
struct remote_call *vst_remote_call_new(struct vst_conn *conn, enum vst_procedure procedure,
                                        struct vst_op *op);

/* The id for the next call; 0: the connection makes no more, and the error is filled. */
uint32_t vst_remote_next_id(struct remote *remote, struct vst_error *ret_err);

/*
 * Sends the call, and lists it. `ends` is NULL for one that moves no bytes; else its directions are
 * filled in, and its channels are the caller's.
 */
int vst_remote_call_send(struct remote_call *call, const union vst_arguments *arguments,
                         struct vst_mux_ends *ends, struct vst_error *ret_err);

/* Asks the server to end it. `ours`: then `why` is the outcome, whatever the server calls it. */
void vst_remote_call_stop(struct remote_call *call, const struct vst_error *why, bool ours);

/* The time of the oldest call that was called off is over: the connection is lost. */
void vst_remote_lose_patience(evutil_socket_t fd, short what, void *opaque);

/* The answer: `body` of a REPLY, or the error. The operation is completed, or a new call made. */
void vst_remote_call_answer(struct remote_call *call, const char *body, size_t length,
                            const struct vst_error *err);

/* Sends one that moves no bytes. -1: the operation has failed. */
int vst_remote_call_make(struct remote_call *call, const union vst_arguments *arguments);

/* The methods. */
void vst_remote_list(struct vst_conn *conn, struct vst_op *op);
void vst_remote_get_info(struct vst_conn *conn, const char *name, struct vst_op *op);
void vst_remote_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op);
void vst_remote_start(struct vst_conn *conn, const char *definition,
                      const struct vst_start_options *opt, struct vst_op *op);
void vst_remote_control(struct vst_conn *conn, const char *name, enum vst_control what,
                        struct vst_op *op);
void vst_remote_get_stats(struct vst_conn *conn, struct vst_op *op);

/* ---- client-list.c ---- */

/* The answer, if it is a page of a list: the operation is completed, or the next one asked for. */
int vst_remote_take_list(struct remote_call *call, const char *body, size_t length,
                         struct vst_error *ret_err);

/* ---- client-stream.c ---- */

/* A method that moves bytes, from its beginning; `name` is for people, and may be NULL. */
void vst_remote_stream_call(struct vst_conn *conn, enum vst_procedure procedure, const char *name,
                            struct vst_stream *stream, const union vst_arguments *arguments,
                            struct vst_op *op);

void vst_remote_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                     const struct vst_save_options *opt, struct vst_op *op);
void vst_remote_restore(struct vst_conn *conn, struct vst_stream *stream,
                        const struct vst_restore_options *opt, struct vst_op *op);
void vst_remote_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                             struct vst_op *op);
void vst_remote_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op);

/* ---- client-volume.c ---- */

void vst_remote_volume_list(struct vst_conn *conn, const char *pool, struct vst_op *op);
void vst_remote_volume_upload(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                              const struct vst_volume_upload_options *opt, struct vst_op *op);
void vst_remote_volume_download(struct vst_conn *conn, const char *volume,
                                struct vst_stream *stream,
                                const struct vst_volume_download_options *opt, struct vst_op *op);
void vst_remote_volume_delete(struct vst_conn *conn, const char *volume, struct vst_op *op);

/* ---- client-migrate.c ---- */

void vst_remote_migrate(struct vst_conn *conn, const char *name, const char *destination,
                        const struct vst_migrate_options *opt, bool check, struct vst_op *op);
void vst_remote_order_migration(struct vst_conn *conn, const char *token,
                                enum vst_migration_order order,
                                const struct vst_migration_change *change, struct vst_op *op);
void vst_remote_list_migrations(struct vst_conn *conn, struct vst_op *op);
void vst_remote_migrate_message(struct vst_conn *conn, const struct vst_migrate_message *message,
                                struct vst_op *op);
void vst_remote_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                               struct vst_stream *stream, struct vst_op *op);

void vst_remote_relay_begin(struct vst_conn *conn, const char *name, const char *destination,
                            const struct vst_migrate_options *opt, bool check, struct vst_op *op);
void vst_remote_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                            struct vst_op *op);
void vst_remote_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                             const struct vst_migrate_message *answer, const struct vst_error *err,
                             struct vst_op *op);
void vst_remote_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                             struct vst_stream *stream, struct vst_op *op);

/* ---- client-stats.c ---- */

/* The client's part, with the server's in it, as text; NULL: out of memory. */
char *vst_remote_stats_print(const struct remote *remote, struct vst_stats_result *server);

#endif

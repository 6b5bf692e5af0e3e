/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the server share: its clients, their calls, and who counts them.
 */
#ifndef VST_REMOTE_SERVER_PRIVATE_H
#define VST_REMOTE_SERVER_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "core/fsm.h"
#include "core/turn.h"
#include "greeting.h"
#include "message.h"
#include "mux.h"
#include "server.h"

struct evconnlistener;
struct sockaddr;

enum { BACKENDS_MAX = 8, SOURCE_BUCKETS = 256 };

/* One driver that is served. */
struct backend {
    struct vst_server *server;
    struct vst_conn *conn;
    char driver[16];
};

/* The rules of a time: what began under them keeps them until it is through. */
struct rules {
    unsigned refs;
    struct vst_policy is;
};

struct listener {
    LIST_ENTRY(listener) link;
    struct vst_server *server;
    struct evconnlistener *socket;
    struct event pause; /* after running out of descriptors */
    enum vst_listen_kind kind;
    char name[120];
};

/* An address or a user that clients come from, while any is here. */
struct source {
    LIST_ENTRY(source) link;
    unsigned char key[16]; /* see server-source.c */
    uint64_t clients;
    uint64_t strangers; /* of these, how many are in the greeting */
};
LIST_HEAD(source_list, source);

TAILQ_HEAD(client_list, client);

struct vst_server {
    struct event_base *base;
    struct vst_log *log;
    struct rules *rules;
    int state;     /* server.c's */
    unsigned refs; /* itself, and each client */
    LIST_HEAD(, listener) listeners;
    struct backend backends[BACKENDS_MAX];
    size_t backend_count;
    struct client_list anonymous; /* in the greeting; the oldest first */
    struct client_list clients;
    uint64_t anonymous_count;
    uint64_t client_count;
    uint64_t left_calls; /* of clients that are gone */
    struct source_list sources[SOURCE_BUCKETS];
    struct event deadline; /* of a drain */
    bool late;             /* it has passed */
    struct vst_turn turn;
    void (*drained)(void *opaque);
    void *opaque;
    uint64_t last_client; /* its number */
    int64_t started_us;
    /* What clients that are gone had counted, and what is nobody's; see server-stats.c. */
    struct vst_server_stats past;
    size_t ended_next; /* place in past.last, which is a ring here */
};

#define CLIENT_STATES(X)                                                       \
    X(CLIENT_GREETING, "the greeting, or its deadline", "not known to us")     \
    X(CLIENT_SERVED, "calls", "let in")                                        \
    X(CLIENT_DRAINING, "the last of its calls", "no new call is taken")        \
    X(CLIENT_LEAVING, "the end of the connection", "everything has been said") \
    X(CLIENT_GONE, "the ends of its calls", "nobody is there to hear of them")

VST_FSM(client, CLIENT_STATES)

TAILQ_HEAD(call_list, call);

struct client {
    TAILQ_ENTRY(client) link;
    struct vst_server *server;
    struct rules *rules;   /* of its greeting */
    struct source *source; /* NULL: not known yet */
    enum client_state state;
    enum vst_listen_kind kind;
    unsigned refs; /* itself, and each call */
    uint64_t number;
    char label[32]; /* "client 12" */
    char peer[64];  /* where it comes from */
    struct vst_identity identity;
    enum vst_role role;
    const struct backend *backend; /* of its driver */
    struct event deadline;
    /* The greeting. */
    struct vst_greeting *greeting;
    struct vst_greeting_options greeting_opt;
    struct vst_sasl_options sasl_opt;
    unsigned char binding[VST_TLS_BINDING];
    /* After it. */
    struct vst_mux *mux;
    struct call_list calls;
    unsigned call_count;
    struct subscription *subscription; /* to events; server-events.c */
};

#define CALL_STATES(X)                                                                   \
    X(CALL_LOOKING, "the lookup", "its domain is looked for")                            \
    X(CALL_STOPPED, "the lookup", "has been stopped: the method is not called any more") \
    X(CALL_RUNNING, "its operation", "the method has been called")                       \
    X(CALL_ANSWERED, "nothing", "the client has been told")

VST_FSM(call, CALL_STATES)

struct method;

struct call {
    TAILQ_ENTRY(call) link;
    struct client *client;
    const struct method *method;
    enum call_state state;
    uint32_t id;
    enum vst_procedure procedure;
    union vst_arguments arguments;
    struct vst_stream *stream;        /* NULL: moves no bytes */
    struct vst_domain *domain;        /* of methods on one */
    struct vst_op *op;                /* NULL: none is pending */
    struct vst_error why;             /* it was stopped before it ran */
    struct vst_objection *objections; /* to the guest that it offers; NULL: none */
    struct vst_turn started;          /* STARTED, once its stream has both ends */
    int64_t began_us;
    bool left;      /* its client has gone, and it goes on */
    bool told;      /* its client has the answer already, and it is not over yet */
    char label[48]; /* "client 12 call 3" */
};

/* ---- server.c ---- */

struct rules *vst_rules_ref(struct rules *rules);
void vst_rules_unref(struct rules **rules);
bool vst_server_is_draining(const struct vst_server *server);
void vst_server_unref(struct vst_server *server);
/* A client is gone, or a limit has more room: looks whether a drain is through. */
void vst_server_look(struct vst_server *server);
const struct backend *vst_server_find_backend(const struct vst_server *server, const char *driver,
                                              struct vst_error *ret_err);

/* ---- server-listen.c ---- */

void vst_listeners_close(struct vst_server *server);

/* ---- server-source.c ---- */

/* One more from there, in the greeting: NULL with BUSY when there are too many. */
struct source *vst_source_enter(struct vst_server *server, const struct sockaddr *address,
                                struct vst_error *ret_err);
/* The same for a UNIX socket, whose users have no limit. */
struct source *vst_source_enter_user(struct vst_server *server, uid_t uid,
                                     struct vst_error *ret_err);
/* One of those in the greeting, if any: the oldest of the source that has most. */
struct client *vst_source_crowding(const struct vst_server *server);
void vst_source_leave(struct source **source);

/* ---- server-client.c ---- */

/* Takes *fd, also on failure. */
void vst_client_accept(struct listener *listener, int *fd, const struct sockaddr *address);
/* GOAWAY: no new call; away after the last. */
void vst_client_drain(struct client *client);
/* One that is in the greeting goes, if any is, because its place is needed. */
void vst_client_make_room(struct vst_server *server, const char *because);
/* Its calls are answered with `why`, and it has two seconds to hear of that. */
void vst_client_dismiss(struct client *client, const struct vst_error *why);
/* The end, at once. */
void vst_client_drop(struct client *client, const struct vst_error *why);
/* After a change of the rules. */
void vst_client_set_role(struct client *client);
/* Sends a control message; what cannot be sent ends the connection by itself. */
void vst_client_send(struct client *client, enum vst_frame_type type, uint32_t id,
                     const char *body);
void vst_client_send_error(struct client *client, enum vst_frame_type type, uint32_t id,
                           const struct vst_error *err);
/* One of its calls is over. */
void vst_client_call_ended(struct client *client);
void vst_client_unref(struct client *client);
void vst_client_log(const struct client *client, enum vst_log_level level,
                    const struct vst_error *err, const char *text);

/* ---- server-call.c ---- */

void vst_call_take(struct client *client, uint32_t id, const char *body, size_t length);
void vst_call_stop(struct client *client, uint32_t id, const struct vst_error *why);
/* The client is gone: they end, but for those that go on without it. */
void vst_calls_leave(struct client *client);
/* They are answered, before they are over; those that go on without their client as lost. */
void vst_calls_dismiss(struct client *client, const struct vst_error *why);
/* Exactly one of the two. `body` is taken; if it is NULL, then `err` is why. */
void vst_call_reply(struct call *call, char *body, const struct vst_error *err);
void vst_call_fail(struct call *call, const struct vst_error *err);

/* ---- server-methods.c: what the procedures do ---- */

struct method {
    bool on_domain;                 /* by the name in its arguments, which call->domain then is */
    bool survives;                  /* goes on when its client is gone; moves no bytes */
    enum vst_code dismissal;        /* told when the server waits no longer; OK: CANCELLED */
    void (*run)(struct call *call); /* NULL: not served */
};
extern const struct method vst_methods[VST_PROCEDURE_COUNT];
/* The domain that a call is about; "" if none. */
const char *vst_call_domain(const struct call *call);
/* The same of a volume; NULL if none. */
const char *vst_call_volume(const struct call *call);
/* The same of a migration: its token. */
const char *vst_call_migration(const struct call *call);

/* The method has been called: every `run` that has not answered ends with this. */
void vst_call_began(struct call *call, struct vst_op *op);
/* The outcome of those that list: a page of it, or why there is none. */
void vst_call_list(struct call *call, const void *entries, size_t count,
                   const struct vst_error *err);
/* The outcome of those without a result. */
void vst_call_done(const struct vst_error *err, void *opaque);
#define VST_CALL_DONE(call) (&(struct vst_done){vst_call_done, (call), NULL})

/* ---- server-migrate.c: the same for migration ---- */

void vst_run_migrate(struct call *call);
void vst_run_migrations(struct call *call);
void vst_run_migration_order(struct call *call);
void vst_run_migrate_message(struct call *call);
void vst_run_migrate_stream(struct call *call);
void vst_run_relay_begin(struct call *call);
void vst_run_relay_fetch(struct call *call);
void vst_run_relay_answer(struct call *call);
void vst_run_relay_stream(struct call *call);

/* ---- server-events.c ---- */

int vst_client_subscribe(struct client *client, struct vst_error *ret_err);
/* After its mux has gone, which would tell of a ping. */
void vst_client_unsubscribe(struct client *client);
/* To all clients that have subscribed. */
void vst_backend_event(struct backend *backend, const struct vst_event *event);

/* ---- server-stats.c ---- */

void vst_count_greeting(struct vst_server *server, const struct vst_error *err);
void vst_count_ended(const struct call *call, const struct vst_error *err, int64_t us);
/* Before its mux goes. */
void vst_count_client(struct client *client);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server: the far end of connections. It listens, lets clients in, and makes what they call
 * into calls of the public API on connections of its own, one for each driver that it serves, which
 * all clients share. It knows no configuration file and no signals: that is the daemon's part.
 *
 * A client that is gone takes its calls along, but for migrations, which go on; guests stay.
 */
#ifndef VST_REMOTE_SERVER_H
#define VST_REMOTE_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "access.h"
#include "limits.h"
#include "log.h"
#include "tls.h"
#include "virstream/connection.h"

struct vst_server;

/* What may change while it runs. */
struct vst_policy {
    struct vst_limits limits;
    struct vst_access *access;
    struct vst_access *accept;   /* hosts that guests may come from; NULL: whoever has the role */
    char **allow_paths;          /* directories of their files; ends in NULL. NULL: any */
    unsigned patience_seconds;   /* of migrations; 0: as it is */
    struct vst_tls_creds *creds; /* NULL: nothing listens with TLS */
    bool require_client_cert;
    char *mechanisms; /* NULL: no logins */
    char *database;
    char *saslauthd;
};
void vst_policy_clear(struct vst_policy *policy);

/* `log` may be NULL; it stays the caller's. Takes `policy` on success. */
struct vst_server *vst_server_new(struct event_base *base, struct vst_log *log,
                                  struct vst_policy *policy, struct vst_error *ret_err);
/* Everybody is dropped, every call cancelled, the connections closed; then, from the loop, the
 * memory goes. Sets *server to NULL. Accepts NULL. */
void vst_server_free(struct vst_server **server);

/* From now on; who is there stays, with the role that he has now. Takes `policy` on success. */
int vst_server_set_policy(struct vst_server *server, struct vst_policy *policy,
                          struct vst_error *ret_err);

/* Serves the domains of this open connection, to clients that ask for its driver. Takes *conn on
 * success. */
int vst_server_serve(struct vst_server *server, struct vst_conn **conn, struct vst_error *ret_err);

enum vst_listen_kind { VST_LISTEN_UNIX, VST_LISTEN_TCP, VST_LISTEN_TLS };
/* Accepts from the listening socket *fd, which it takes on success. `name` is for the log. */
int vst_server_listen(struct vst_server *server, enum vst_listen_kind kind, int *fd,
                      const char *name, struct vst_error *ret_err);

/*
 * No new client and no new call; what runs, finishes, or is cancelled after `seconds`. `drained`
 * comes from the loop, once, when nobody is left.
 */
void vst_server_drain(struct vst_server *server, unsigned seconds, void (*drained)(void *opaque),
                      void *opaque);
/* After that: as if the seconds were over. Calls that run are answered with CANCELLED, and
 * everybody has two seconds to go. */
void vst_server_hurry(struct vst_server *server);

/* ---- what it has counted ---- */

#define VST_GREETINGS(X)                                       \
    X(OK, "ok")             /* let in */                       \
    X(TIMEOUT, "timeout")   /* not through in time */          \
    X(AUTH, "auth")         /* not who it must be */           \
    X(ACCESS, "access")     /* has no role */                  \
    X(PROTOCOL, "protocol") /* does not speak as it should */  \
    X(LOST, "lost")         /* went away */                    \
    X(CROWDED, "crowded")   /* one limit or another was met */ \
    X(OTHER, "other")

enum vst_greeting_end {
#define VST_GREETING_ENUM(id, text) VST_GREETING_##id,
    VST_GREETINGS(VST_GREETING_ENUM)
#undef VST_GREETING_ENUM
        VST_GREETING_COUNT
};

enum {
    VST_ENDED_KEPT = 32,
#define VST_CODE_COUNT_(code, text, exit, meaning) +1
    VST_CODE_COUNT = 0 VST_CODES(VST_CODE_COUNT_),
#undef VST_CODE_COUNT_
};

/* A call that is over. */
struct vst_ended {
    enum vst_procedure procedure;
    enum vst_code code;
    uint64_t client;
    char identity[64];
    char domain[64];
    int64_t at;        /* in seconds since 1970 */
    int64_t us;        /* how long it took */
    uint64_t up, down; /* bytes */
};

struct vst_server_stats {
    int64_t uptime_us;
    uint64_t accepted;
    uint64_t greetings[VST_GREETING_COUNT];
    uint64_t clients;   /* let in, and here */
    uint64_t anonymous; /* in the greeting */
    uint64_t calls;     /* that run now */
    uint64_t calls_ended;
    uint64_t streams;
    uint64_t received, sent; /* bytes of streams */
    uint64_t stalls;         /* how often a stream ran out of credit */
    uint64_t held;           /* bytes in our memory */
    uint64_t events_lost;    /* not told because a client does not read */
    uint64_t ended[VST_PROCEDURE_COUNT][VST_CODE_COUNT];
    struct vst_ended last[VST_ENDED_KEPT]; /* newest first */
    size_t last_count;
};
void vst_server_get_stats(const struct vst_server *server, struct vst_server_stats *ret_stats);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections: a driver on one event base, opened from a URI.
 *
 *     driver[+transport]://[user@]host[:port]/path?parameters
 *
 *     qemu:///                 QEMU guests of this host, in this process, no daemon
 *     qemu:///?root=DIR        the same, with everything kept under DIR
 *     qemu:///?state=DIR       what must outlive the host, the journal of migrations, under DIR and
 *                              not root's DIR/.state, /var/lib/virstream or $XDG_STATE_HOME
 *     qemu:///?user=NAME       QEMU runs as this user (root only)
 *     test:///?domains=N&memory=BYTES   guests in memory, for applications' own tests
 *     pool.NAME=DIR            with either: a pool of volumes, see volume.h; as often as needed
 *
 *     qemu+unix:///path/to/socket       those of virstreamd on this host; without a path
 *                                       /run/virstream/virstreamd.sock
 *     qemu+tls://host[:16515]/          on another host, through TLS
 *     qemu+tcp://[user@]host[:16514]/   the same with SASL, which then protects the data
 *
 * and test+unix, test+tls and test+tcp. What is said after a `?` there:
 *
 *     user=NAME, password-file=FILE, mech=NAMES   who logs in, and how (SASL)
 *     pkipath=DIR; ca=, cert=, key=FILE           where the certificates are (TLS)
 *     wire=eager|replied|acked    whether bytes go up with the call, or once the method runs, or
 *                                 then with one frame under way only; eager
 *     window=BYTES                granted to each direction of a stream at first; 256K
 *     keepalive=SECONDS           the silence that is looked into; 5, and 0 for never
 *     timeout=SECONDS             for the whole of the opening; 20
 *
 * An unknown driver, transport or parameter is an error that names it, and so is one given twice.
 * What has a meaning in a URI is written as in %26 for `&`; `+` has none.
 */
#ifndef VIRSTREAM_CONNECTION_H
#define VIRSTREAM_CONNECTION_H

#include <stdint.h>

#include <virstream/error.h>
#include <virstream/op.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct vst_conn;

/*
 * A password is wanted. Answer it exactly once: now, or at any later time, also when the connection
 * has been given up meanwhile.
 */
struct vst_question;
const char *vst_question_get_user(const struct vst_question *question);
const char *vst_question_get_uri(const struct vst_question *question);
/* Copies the password, NULL if there is none, and sets *question to NULL. From the thread of the
 * connection's loop. */
void vst_question_answer(struct vst_question **question, const char *password);

/*
 * What the opening of a connection has come to, one at a time, for people who look for what is
 * wrong with it: "lookup", "connect", "tls-files", "tls", "login", "greeting".
 */
struct vst_conn_step {
    const char *name;
    const char *text; /* what was found: "192.0.2.1 port 16515" */
};

/* Paths of PEM files for TLS. */
struct vst_conn_files {
    const char *ca;   /* who signs the certificates of servers */
    const char *cert; /* our own, and its key */
    const char *key;
    const char *crl; /* what has been revoked */
};

/* Each may be NULL. The first two are called from the loop until the outcome of vst_conn_open() is
 * told. */
struct vst_conn_options {
    /* For a user in the URI without a password-file. Without it there is no password. */
    void (*ask_password)(struct vst_question *question, void *opaque);
    void (*step)(const struct vst_conn_step *step, void *opaque);
    void *opaque;
    /*
     * For a URI that names no such file; what is NULL here is looked for in the usual places. Also
     * for the connections that migration makes from this one to other hosts: so it stays as long as
     * the connection, and may change: the next one is made with what it says then.
     */
    const struct vst_conn_files *files;
    /* How long a migration waits for another host, or for a QEMU, that makes no progress; 0 for 60.
     * Times of the connection between the hosts follow from it. */
    unsigned patience_seconds;
};

/* `conn` is NULL and err says why, or the other way round; close it with vst_conn_close(). */
struct vst_conn_cb {
    void (*fn)(struct vst_conn *conn, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

/*
 * `uri` NULL or "": the environment's VIRSTREAM_DEFAULT_URI, or qemu:///. The base must outlive the
 * connection. `opt` may be NULL.
 */
struct vst_op *vst_conn_open(struct event_base *base, const char *uri,
                             const struct vst_conn_options *opt, const struct vst_conn_cb *cb);

/*
 * Every pending operation completes, cancelled; after that (the loop must run for it) the memory
 * goes. Running guests go on running. Sets *conn to NULL; accepts NULL.
 */
void vst_conn_close(struct vst_conn **conn);

/* The URI as it was opened. */
const char *vst_conn_get_uri(const struct vst_conn *conn);

/* What happens to domains without a call of ours. */
enum vst_event_kind {
    VST_EVENT_STARTED,
    VST_EVENT_SUSPENDED,
    VST_EVENT_RESUMED,
    VST_EVENT_STOPPED, /* shut down, destroyed, saved or moved away */
    VST_EVENT_CRASHED, /* its QEMU is gone by itself; `reason` has its last words */
};

struct vst_event {
    enum vst_event_kind kind;
    const char *name;
    const char *uuid;
    const char *reason; /* never NULL */
};

/* "started", "suspended", ... */
const char *vst_event_kind_name(enum vst_event_kind kind);

struct vst_event_cb {
    void (*fn)(struct vst_conn *conn, const struct vst_event *event, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
    /* No event will come any more: the connection was lost, or the server does not allow it. Once;
     * may be NULL. */
    void (*lost)(struct vst_conn *conn, const struct vst_error *err, void *opaque);
};
/* Replaces what was set before. NULL for none. */
void vst_conn_set_event_callback(struct vst_conn *conn, const struct vst_event_cb *cb);

/*
 * The time to the server and back, in microseconds, whatever else is under way; 0 for a driver of
 * this process. -1 with an error.
 */
struct vst_ping_cb {
    void (*fn)(int64_t us, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
struct vst_op *vst_conn_ping(struct vst_conn *conn, const struct vst_ping_cb *cb);

/*
 * What is known of the connection, and what its server tells of itself, as a JSON object; for
 * people and monitors, who find the members described in virstream(1). NULL with an error.
 */
struct vst_stats_cb {
    void (*fn)(const char *json, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
struct vst_op *vst_conn_get_stats(struct vst_conn *conn, const struct vst_stats_cb *cb);

#ifdef __cplusplus
}
#endif

#endif

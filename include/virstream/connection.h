/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections: a driver on one event base, opened from a URI.
 *
 *     driver[+transport]://[user@]host[:port]/path?parameters
 *
 *     qemu:///                 QEMU guests of this host, in this process, no daemon
 *     qemu:///?root=DIR        the same, with everything kept under DIR
 *     qemu:///?user=NAME       QEMU runs as this user (root only)
 *     test:///?domains=N&memory=BYTES   guests in memory, for applications' own tests
 *
 * An unknown driver, transport or parameter is an error that names it.
 */
#ifndef VIRSTREAM_CONNECTION_H
#define VIRSTREAM_CONNECTION_H

#include <virstream/error.h>
#include <virstream/op.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct vst_conn;

struct vst_conn_options {
    int unused; /* none yet; pass NULL */
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

struct vst_event_cb {
    void (*fn)(struct vst_conn *conn, const struct vst_event *event, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
/* Replaces what was set before. NULL for none. */
void vst_conn_set_event_callback(struct vst_conn *conn, const struct vst_event_cb *cb);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver: a const table of methods. What qemu, test and remote have in common, and all that the
 * rest of the library, and the daemon, know of them.
 *
 * Every method is given an operation and completes it exactly once: at once (the application is
 * told later, from the loop) or as a state machine that goes on when its events come. It sets how
 * it is cancelled with vst_op_set_cancel(), unless it claims a stream. It never blocks and never
 * copies bulk bytes: it attaches channels. Arguments are valid during the call only; `conn` is
 * valid until close(), which comes when no operation is left.
 */
#ifndef VST_CORE_DRIVER_H
#define VST_CORE_DRIVER_H

#include "connection.h"
#include "op.h"
#include "stream.h"
#include "virstream/domain.h"

enum vst_control { VST_SUSPEND, VST_RESUME, VST_SHUTDOWN, VST_DESTROY };

struct vst_driver {
    const char *name; /* as in the URI */
    bool remote;      /* serves every URI with a transport */

    /* Sets conn->impl; completes with vst_op_done(). On failure close() is not called. */
    void (*open)(struct vst_conn *conn, struct vst_op *op);
    /* No operation is pending, none will come. Calls vst_conn_closed() when it has let go of all.
     */
    void (*close)(struct vst_conn *conn);

    /* The application wants to hear of events. NULL where vst_driver_event() is called anyway. */
    void (*watch)(struct vst_conn *conn);

    /* Complete with vst_driver_ping() and vst_driver_stats(). */
    void (*ping)(struct vst_conn *conn, struct vst_op *op);
    void (*get_stats)(struct vst_conn *conn, struct vst_op *op);

    /* Complete with vst_driver_infos(). */
    void (*list)(struct vst_conn *conn, struct vst_op *op);
    void (*get_info)(struct vst_conn *conn, const char *name, struct vst_op *op);
    /* Complete with vst_driver_domain(). */
    void (*lookup)(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op);
    void (*start)(struct vst_conn *conn, const char *definition,
                  const struct vst_start_options *opt, struct vst_op *op);
    void (*restore)(struct vst_conn *conn, struct vst_stream *stream,
                    const struct vst_restore_options *opt, struct vst_op *op);
    /* Complete with vst_op_done(). */
    void (*control)(struct vst_conn *conn, const char *name, enum vst_control what,
                    struct vst_op *op);
    void (*save)(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                 const struct vst_save_options *opt, struct vst_op *op);
    void (*open_console)(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                         struct vst_op *op);
    void (*screenshot)(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                       struct vst_op *op);
};

/* All drivers, NULL at the end; drivers/drivers.c. */
extern const struct vst_driver *const vst_drivers[];

/* Success with a domain. Without memory it fails the operation instead and returns -1, else 0. */
int vst_driver_domain(struct vst_conn *conn, struct vst_op *op, const char *name, const char *uuid);
/* Success with `count` infos, copied. */
void vst_driver_infos(struct vst_op *op, const struct vst_domain_info *infos, size_t count);

/* Success with a round trip. */
void vst_driver_ping(struct vst_op *op, int64_t us);
/* Success with a JSON object, which is taken; NULL: out of memory. */
void vst_driver_stats(struct vst_op *op, char *json);
/* The methods of a driver of this process: there is no way to go, and little to tell. */
void vst_local_ping(struct vst_conn *conn, struct vst_op *op);
void vst_local_get_stats(struct vst_conn *conn, struct vst_op *op);

/* Tells the application what happened to a domain. Call it from the loop. */
void vst_driver_event(struct vst_conn *conn, enum vst_event_kind kind, const char *name,
                      const char *uuid, const char *reason);
/* Tells it that no more will come. */
void vst_driver_events_lost(struct vst_conn *conn, const struct vst_error *err);

#endif

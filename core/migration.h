/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What hosts call on each other to migrate a guest: dispatched like the public methods, so that the
 * source does not see whether the destination is in its own process, behind a UNIX socket or on
 * another continent. For drivers, and for the server of a connection.
 */
#ifndef VST_CORE_MIGRATION_H
#define VST_CORE_MIGRATION_H

#include "driver.h"

/* `answer` is valid during the callback; NULL with an error, which says nothing about what the
 * other host has decided. */
struct vst_answer_cb {
    void (*fn)(const struct vst_migrate_message *answer, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

struct vst_op *vst_conn_migrate_message(struct vst_conn *conn,
                                        const struct vst_migrate_message *message,
                                        const struct vst_answer_cb *cb);
struct vst_op *vst_conn_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                                       struct vst_stream *stream, const struct vst_done *done);

/* ---- what a client that relays calls on the source ---- */

/* `errand` is valid during the callback. */
struct vst_errand_cb {
    void (*fn)(const struct vst_errand *errand, const struct vst_error *err, void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};

struct vst_op *vst_conn_relay_begin(struct vst_conn *conn, const char *name,
                                    const char *destination, const struct vst_migrate_options *opt,
                                    bool check, const struct vst_errand_cb *cb);
struct vst_op *vst_conn_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                                    const struct vst_errand_cb *cb);
/* One of `answer` and `err` is NULL. */
struct vst_op *vst_conn_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                                     const struct vst_migrate_message *answer,
                                     const struct vst_error *err, const struct vst_done *done);
struct vst_op *vst_conn_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                                     struct vst_stream *stream, const struct vst_done *done);

#endif

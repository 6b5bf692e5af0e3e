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
#include "handover.h"
#include "op.h"
#include "stream.h"
#include "virstream/domain.h"
#include "virstream/migration.h"
#include "virstream/volume.h"

/* What the rules of a host have against a guest that is offered; `text` NULL is the end of a list.
 */
struct vst_objection {
    char *text;
    char *file; /* of the guest, which is not even looked at; NULL: it is about none */
};

/* A message of the hand-over (handover.h), and its answer, between hosts. */
struct vst_migrate_message {
    char token[37];
    char host[37];                 /* whose it is: its persistent identity, as a UUID */
    enum vst_handover_event event; /* a message of the source, or of the destination */
    bool check;                    /* PREPARE: start nothing, only say what stands in the way */
    bool no_args;      /* PREPARE: no raw arguments, though the caller might bring them */
    const char *offer; /* PREPARE: JSON, what the guest is and needs; else NULL */
    const char *text;  /* of an answer: why; may be NULL */
    /* PREPARE that is a check, within a host: told with all else that stands in the way. They stay
     * until the operation completes; NULL: none. */
    const struct vst_objection *objections;
};

/* What a client that relays does for the source of a migration. */
enum vst_errand_kind {
    VST_ERRAND_NONE,  /* nothing yet: the migration has begun */
    VST_ERRAND_ASK,   /* `message` is for the destination, its answer for the source */
    VST_ERRAND_CARRY, /* the stream of `part` is to be joined to the destination's */
    VST_ERRAND_TOLD,  /* `err`, or no error, is what became of it; this may change, after a doubt */
    VST_ERRAND_OVER,  /* the source has nothing more to say */
};

struct vst_errand {
    char token[37];
    uint64_t number; /* each has a greater one than those before it */
    enum vst_errand_kind kind;
    char part[64]; /* empty: the guest's memory and devices */
    struct vst_migrate_message message;
    struct vst_error err;
};

enum vst_control { VST_SUSPEND, VST_RESUME, VST_SHUTDOWN, VST_DESTROY };

struct vst_driver {
    const char *name; /* as in the URI */
    bool remote;      /* serves every URI with a transport */

    /*
     * Whether open() would take this URI, as far as that can be said while nothing is changed and
     * no program is run. It may ask the host and wait for it: not for the loop. 0 or -1. NULL: only
     * opening tells.
     */
    int (*check)(const struct vst_uri *uri, struct vst_error *ret_err);

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

    /*
     * Migration. A token is its caller's (vst_conn_caller()) who brought it here: nobody else may
     * order, say or send anything by it, but admin. The first two are the source's and complete
     * with vst_op_done(); the first tells the token before that, by vst_op_set_token(). With
     * `check` nothing starts, and INCOMPATIBLE has every blocker.
     */
    void (*migrate)(struct vst_conn *conn, const char *name, const char *destination,
                    const struct vst_migrate_options *opt, bool check, struct vst_op *op);
    void (*order_migration)(struct vst_conn *conn, const char *token,
                            enum vst_migration_order order,
                            const struct vst_migration_change *change, struct vst_op *op);
    /* Complete with vst_driver_migrations(). */
    void (*list_migrations)(struct vst_conn *conn, struct vst_op *op);
    /*
     * The destination's, called by the source, in its process or through a connection. One message
     * of the hand-over and its answer, from whoever sent its PREPARE: completes with
     * vst_driver_answer(). PREPARE has an offer, and is answered when a QEMU waits for the stream,
     * or REFUSED with every blocker.
     */
    void (*migrate_message)(struct vst_conn *conn, const struct vst_migrate_message *message,
                            struct vst_op *op);
    /*
     * The guest's state up, and what its QEMU says back down, both as records. Completes with
     * vst_op_done() when all of it is verified and loaded. `part` is NULL, or "disk NAME" for the
     * NBD of one disk, raw both ways.
     */
    void (*migrate_stream)(struct vst_conn *conn, const char *token, const char *part,
                           struct vst_stream *stream, struct vst_op *op);

    /*
     * The source's once more, for a destination that only the caller reaches. relay_begin() is
     * migrate(), but completes with the token, as soon as there is one; relay_fetch() with the
     * first errand that has a greater number than `after`, when there is one; 0 is for who comes
     * anew. Both with vst_driver_errand(). relay_answer() is what came of an errand: an answer, or
     * an error; relay_stream(), as migrate_stream(), is the source's end. They complete with
     * vst_op_done().
     */
    void (*relay_begin)(struct vst_conn *conn, const char *name, const char *destination,
                        const struct vst_migrate_options *opt, bool check, struct vst_op *op);
    void (*relay_fetch)(struct vst_conn *conn, const char *token, uint64_t after,
                        struct vst_op *op);
    void (*relay_answer)(struct vst_conn *conn, const char *token, uint64_t number,
                         const struct vst_migrate_message *answer, const struct vst_error *err,
                         struct vst_op *op);
    void (*relay_stream)(struct vst_conn *conn, const char *token, const char *part,
                         struct vst_stream *stream, struct vst_op *op);

    /* Volumes: those of pool.h for every driver that has its files in this process. The first
     * completes with vst_driver_volumes(), `pool` NULL for all; the others with vst_op_done(). */
    void (*volume_list)(struct vst_conn *conn, const char *pool, struct vst_op *op);
    void (*volume_upload)(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                          const struct vst_volume_upload_options *opt, struct vst_op *op);
    void (*volume_download)(struct vst_conn *conn, const char *volume, struct vst_stream *stream,
                            const struct vst_volume_download_options *opt, struct vst_op *op);
    void (*volume_delete)(struct vst_conn *conn, const char *volume, struct vst_op *op);
};

/* All drivers, NULL at the end; drivers/drivers.c. */
extern const struct vst_driver *const vst_drivers[];

/*
 * What drivers complete with is copied, unless it says that it is taken. Reasons and other texts
 * for people may be of any bytes, those of QEMU or cut anywhere: they reach the application as
 * UTF-8.
 */

/* Success with a domain. Without memory it fails the operation instead and returns -1, else 0. */
int vst_driver_domain(struct vst_conn *conn, struct vst_op *op, const char *name, const char *uuid);
/* The same in two steps, for what is not undone any more: the domain is made before that, and
 * telling it cannot fail. Sets *domain to NULL. One that is not told goes with vst_domain_free().
 */
struct vst_domain *vst_driver_make_domain(struct vst_conn *conn, const char *name, const char *uuid,
                                          struct vst_error *ret_err);
void vst_driver_tell_domain(struct vst_op *op, struct vst_domain **domain);
/* Success with `count` infos, copied. */
void vst_driver_infos(struct vst_op *op, const struct vst_domain_info *infos, size_t count);

/* Success with `count` infos, copied. */
void vst_driver_migrations(struct vst_op *op, const struct vst_migration_info *infos, size_t count);
/* Success with an answer, copied. */
void vst_driver_answer(struct vst_op *op, const struct vst_migrate_message *answer);

/* Success with an errand, copied. */
void vst_driver_errand(struct vst_op *op, const struct vst_errand *errand);

/* Success with `count` volumes, which are taken: they came from malloc(). */
void vst_driver_volumes(struct vst_op *op, struct vst_volume_info *infos, size_t count);

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

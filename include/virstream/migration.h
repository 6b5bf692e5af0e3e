/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Live migration: a guest moves to another connection while it runs. It never runs on both sides,
 * and is never lost, whatever dies on the way; docs/handover.md says how that is decided.
 *
 * The hosts do it between themselves: the host of the domain connects to the destination with
 * credentials of its own, and the application may go. Or, where the hosts do not reach each other,
 * this process carries everything from one to the other. A migration has a token by which it can be
 * found, watched, changed, cancelled and, if its outcome is in doubt, resolved, from any connection
 * to either host.
 */
#ifndef VIRSTREAM_MIGRATION_H
#define VIRSTREAM_MIGRATION_H

#include <virstream/domain.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What happens when it takes longer than `timeout_seconds`. What QEMU refuses to do then is as
 * ABORT: VST_ERR_TIMEOUT, with QEMU's words. */
enum vst_migrate_then {
    VST_MIGRATE_THEN_ABORT,     /* it is given up; the guest stays */
    VST_MIGRATE_THEN_SUSPEND,   /* the guest is paused, so that it comes to an end */
    VST_MIGRATE_THEN_POST_COPY, /* with `post_copy`: the guest runs there at once */
};

struct vst_migrate_options {
    const char *name;         /* there; NULL: the same */
    bool offline;             /* the guest is paused before it begins */
    bool keep_source;         /* the paused QEMU of the source stays, never to run again */
    bool auto_converge;       /* slow the guest down if it dirties memory too fast */
    bool post_copy;           /* may go over to post-copy: run there, and get the rest then; else
                               * what would bring that about is VST_ERR_INVALID */
    bool copy_disks;          /* disks are copied, too; without it they are shared. With `post_copy`
                               * VST_ERR_UNSUPPORTED */
    unsigned post_copy_after; /* passes; 0: only by `then`, or by an order. If QEMU refuses it then,
                               * the migration is given up: VST_ERR_DRIVER */
    unsigned downtime_ms;     /* the guest may stand still for so long; 0 for 300 */
    unsigned timeout_seconds; /* 0: none */
    enum vst_migrate_then then;
    int zstd_level;         /* of the stream: 1..19; 0: not compressed. Else VST_ERR_INVALID */
    unsigned stall_seconds; /* no byte for so long ends it with VST_ERR_STALLED, or, in post-copy,
                             * is told as the reason; 0: the patience of the connection, see struct
                             * vst_conn_options */
    uint64_t bandwidth;     /* bytes a second; 0: as fast as it goes */
};

/*
 * Without KVM, QEMU before 9.0 loses changes of memory when it passes over it again. There a guest
 * is moved in one pass and stands still until what it changed meanwhile has been sent, whatever
 * `downtime_ms` and `auto_converge` say.
 */

/*
 * Moves the domain to the connection that `destination` is the URI of, as the host of the domain
 * sees it. Completes when the guest runs there (or is paused there, as it was), with all of its
 * memory, and its QEMU here has ended; VST_ERR_IN_DOUBT when that cannot be told now and the hosts
 * go on trying; VST_ERR_CLEANUP when it is done but something is left here. With every other error
 * the guest is here, as before; but in post-copy QEMU may die on either side, and the guest with
 * it: then it is VST_ERR_DRIVER, and says so. Cancelling the operation gives the migration up, if
 * that is still possible: VST_ERR_CANCELLED when the guest is as it was, VST_ERR_IN_DOUBT when it
 * is too late, or QEMU does not give the guest back at once.
 *
 * When the connection to a daemon is closed, or is lost, the migration goes on. One that this
 * process does by itself, over a connection like qemu:///, is cancelled when that is closed, which
 * takes for as long; what could not be given up is in the journal, and goes on when somebody asks
 * for the migrations of that host again.
 */
struct vst_op *vst_domain_migrate(struct vst_domain *domain, const char *destination,
                                  const struct vst_migrate_options *opt,
                                  const struct vst_done *done);

/*
 * The same through this process, to a destination that only it reaches: a connection of the same
 * loop, which stays open until the operation completes. Both hosts know us by what we are to each
 * of them, not each other; we see the guest's memory, and are believed in what each is said to
 * answer. What is decided, and by whom, is the same: if we are gone before the source has handed
 * the guest over, it goes on there; after that it is in doubt, until somebody relays again. A guest
 * with raw arguments for QEMU does not go this way.
 *
 * Cancelling gives it up, if that is still possible; so does closing a connection.
 */
struct vst_op *vst_domain_migrate_through(struct vst_domain *domain, struct vst_conn *destination,
                                          const struct vst_migrate_options *opt,
                                          const struct vst_done *done);

/* Whether it could be, now, as vst_domain_check_migration(). */
struct vst_op *vst_domain_check_migration_through(struct vst_domain *domain,
                                                  struct vst_conn *destination,
                                                  const struct vst_migrate_options *opt,
                                                  const struct vst_done *done);

/*
 * Takes up one that was begun like that, whatever became of the process that did: `source` is where
 * it began, and `destination` leads to the host that it began with. Completes with its outcome.
 * VST_ERR_NOT_FOUND when no such migration is under way; VST_ERR_ACCESS when it is somebody else's;
 * VST_ERR_BUSY while that process still relays it, and the guest has not been handed over.
 */
struct vst_op *vst_conn_relay_migration(struct vst_conn *source, const char *token,
                                        struct vst_conn *destination, const struct vst_done *done);

/*
 * By which the migration is found in lists, of an operation that is one: known for certain as soon
 * as the source has taken it up, and before the operation completes; empty until then, and where it
 * has been refused. It stays as long as the operation: until its callback has returned.
 */
const char *vst_migration_token(const struct vst_op *op);

/* Whether it could be, now: VST_ERR_INCOMPATIBLE with every blocker. Starts nothing. */
struct vst_op *vst_domain_check_migration(struct vst_domain *domain, const char *destination,
                                          const struct vst_migrate_options *opt,
                                          const struct vst_done *done);

enum vst_migration_role { VST_MIGRATION_OUT, VST_MIGRATION_IN };

/* What became of the guest, with its name. OPEN: that is not known yet. It may change where the
 * guest runs before it has all of its memory, in post-copy. A destination calls STAYED what was
 * given up, whether the guest has died on the source, or not: that only the source knows. */
#define VST_MIGRATION_OUTCOMES(X)                                            \
    X(OPEN, "")                                                              \
    X(MIGRATED, "migrated") /* it is the destination's */                    \
    X(STAYED, "stayed")     /* given up: it is the source's, as before */    \
    X(DIED, "died")         /* its QEMU is gone, on one side or the other */ \
    X(CONFLICT, "conflict") /* it may run on both, on one by an operator's word */

enum vst_migration_outcome {
#define VST_MIGRATION_OUTCOME_ENUM(id, name) VST_MIGRATION_##id,
    VST_MIGRATION_OUTCOMES(VST_MIGRATION_OUTCOME_ENUM)
#undef VST_MIGRATION_OUTCOME_ENUM
};

/* "migrated", ...; "" for OPEN. Never NULL. */
const char *vst_migration_outcome_name(enum vst_migration_outcome outcome);

/* What is under way, by the word of one end. */
#define VST_MIGRATION_PHASES(X)                                                                \
    X(ASK, "ask")             /* whether the guest can be moved: nothing has begun */          \
    X(PREPARE, "prepare")     /* the destination checks, and makes ready */                    \
    X(DISKS, "disks")         /* the disks are copied */                                       \
    X(MEMORY, "memory")       /* the memory travels, and the guest runs at the source */       \
    X(HAND_OVER, "hand-over") /* the guest is paused; or in doubt, until its owner is known */ \
    X(POST_COPY, "post-copy") /* it runs at the destination, and lacks memory */               \
    X(UNDO, "undo")           /* it stays, and is made again what it was */                    \
    X(CLEAN_UP, "clean-up")   /* it is free: the hosts have only words left for each other */  \
    X(OVER, "over")           /* nor these */

enum vst_migration_phase {
#define VST_MIGRATION_PHASE_ENUM(id, name) VST_MIGRATION_PHASE_##id,
    VST_MIGRATION_PHASES(VST_MIGRATION_PHASE_ENUM)
#undef VST_MIGRATION_PHASE_ENUM
};

/* "ask", ... Never NULL. */
const char *vst_migration_phase_name(enum vst_migration_phase phase);

struct vst_migration_info {
    char token[37]; /* as a UUID */
    char name[64];  /* of the domain, on this side */
    enum vst_migration_role role;
    char peer[512]; /* OUT: the destination's URI, with "relay:" in front where a client carries
                     * it. IN: the name under which it was brought, and the identity of its host */
    enum vst_migration_phase phase;
    bool in_doubt; /* paused until its owner is known */
    bool over;     /* the hosts have nothing more to say to each other, either */
    enum vst_migration_outcome outcome;
    char reason[256]; /* why in doubt, given up or failed; else empty */
    int64_t since;    /* in seconds since 1970 */
    unsigned pass;    /* over the guest's memory, from 1 */
    uint64_t total;   /* bytes of memory; in the phase DISKS, of the disks that are copied */
    uint64_t sent;
    uint64_t left;        /* still to be sent in this pass */
    uint64_t rate;        /* bytes a second */
    uint64_t dirty_rate;  /* bytes a second that the guest dirties; 0: not known yet */
    unsigned downtime_ms; /* expected; once it is over, what it was */
    char verdict[160];    /* whether it will end, and if not, what would help */
};

/* `infos` is the library's and valid during the callback. */
struct vst_migrations_cb {
    void (*fn)(const struct vst_migration_info *infos, size_t count, const struct vst_error *err,
               void *opaque);
    void *opaque;
    void (*release)(void *opaque);
};
/* Those that run, those in doubt, and the last 32 that ended in that process: these are on no disk.
 */
struct vst_op *vst_conn_list_migrations(struct vst_conn *conn, const struct vst_migrations_cb *cb);

enum vst_migration_order {
    VST_MIGRATION_CANCEL,         /* give up, if that is still possible: else VST_ERR_STATE */
    VST_MIGRATION_RUNS_ON_SOURCE, /* ends a doubt, by the operator's word */
    VST_MIGRATION_RUNS_ON_DESTINATION,
    VST_MIGRATION_SET, /* new values, below */
    VST_MIGRATION_GO_POST_COPY,
    /* The other host is lost for good, and what it would still ask or be told need not be kept.
     * What became of the guest is known here: while it is not, VST_ERR_STATE. If that host asks all
     * the same it is told that nothing is known here of the migration, and lets its copy run. */
    VST_MIGRATION_FORGET,
};

struct vst_migration_change {
    uint64_t bandwidth;   /* 0: as it is */
    unsigned downtime_ms; /* 0: as it is */
};

/*
 * `change` is for VST_MIGRATION_SET, else NULL; two zeros change nothing. Completes when the order
 * has been taken, which is not the end of the migration: by QEMU, if it is SET or GO_POST_COPY,
 * else by this host. VST_ERR_DRIVER: QEMU refuses it, and all is as it was, but that some copies of
 * disks may have the new bandwidth. VST_ERR_NOT_FOUND: there is no such migration here.
 * VST_ERR_ACCESS: it is somebody else's. VST_ERR_STATE: it cannot be obeyed, or not now; the text
 * says why. VST_ERR_INVALID: there is no such order.
 */
struct vst_op *vst_conn_order_migration(struct vst_conn *conn, const char *token,
                                        enum vst_migration_order order,
                                        const struct vst_migration_change *change,
                                        const struct vst_done *done);

#ifdef __cplusplus
}
#endif

#endif

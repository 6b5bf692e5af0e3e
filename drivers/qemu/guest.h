/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that this connection has hold of: its directory and lock, its QEMU process, its monitor
 * and its console, kept from the first method on it until the connection closes or QEMU ends.
 * Methods are machines of their own, in the other files; here is what they share.
 */
#ifndef VST_DRIVERS_QEMU_GUEST_H
#define VST_DRIVERS_QEMU_GUEST_H

#include <sys/queue.h>
#include <sys/types.h>

#include "core/definition.h"
#include "core/driver.h"
#include "core/fd.h"
#include "process.h"
#include "qmp.h"
#include "root.h"

struct vst_console_end;
struct vst_guest;
struct vst_journal_file;
struct vst_migrate;
struct vst_move;
struct vst_probe;
struct vst_worker;

/* conn->impl */
struct vst_qemu {
    struct vst_conn *conn;
    struct vst_root *root;
    struct vst_probe *probe; /* NULL until somebody asks */
    char *program;           /* where QEMU is */
    char *cat;               /* and cat(1), for drain.h; or NULL */
    struct vst_user *user;   /* who it runs as; NULL: as we do */
    unsigned shots;          /* screenshots asked for, to number QEMU's sets of descriptors */
    char *state_dir;         /* where the journal is; NULL: the default */
    struct vst_journal_file *journal; /* NULL until somebody migrates */
    struct vst_worker *worker;        /* the journal's */
    struct vst_migrate *migrate;      /* migrate.c's */
    LIST_HEAD(, vst_move) moves;
    LIST_HEAD(, vst_relay) relays;
    LIST_HEAD(, vst_stray_look) looks; /* stray.c's */
    LIST_HEAD(, vst_query) queries;    /* query.c's */
    LIST_HEAD(, vst_guest) guests;
    LIST_HEAD(, vst_guest_wait) held; /* who waits for guests that others have hold of */
    struct event look;                /* for these; not initialized before there is one */
};

/* ---- getting hold ---- */

/* Somebody who waits for a guest to be ready; embedded in each method's own state. */
struct vst_guest_wait {
    LIST_ENTRY(vst_guest_wait) link;
    void (*fn)(void *opaque, struct vst_guest *guest, const struct vst_error *err);
    void *opaque;
    bool waiting;
    bool to_end_it; /* it need not be ready: one without a monitor, which is deaf, will do */
    bool at_once;   /* does not wait for somebody else to let go of it */
    /* while somebody else has hold of it */
    char name[VST_NAME_MAX + 1];
    unsigned looks;
};

/*
 * The guest `name`, adopted first if this connection does not have it yet: locked, its monitor
 * connected, what a dead manager left undone put right. One that somebody else has hold of, for no
 * job, is waited for a moment before it is BUSY. `wait->fn` is called exactly once, at once or
 * later, unless vst_guest_unwait() came first.
 */
void vst_guest_get(struct vst_qemu *qemu, const char *name, struct vst_guest_wait *wait);
void vst_guest_unwait(struct vst_guest_wait *wait);

/* The one that this connection already has, or NULL. */
struct vst_guest *vst_guest_find(struct vst_qemu *qemu, const char *name);

/* Lets go of a guest that nobody uses; it runs on. The connection that goes lets go of all. */
void vst_guest_release(struct vst_guest *guest);
void vst_guest_release_all(struct vst_qemu *qemu);

/* ---- keeping an eye on it ---- */

/* Somebody who keeps a pointer to the guest. After gone(), which comes once, it is not valid. */
struct vst_guest_watch {
    LIST_ENTRY(vst_guest_watch) link;
    /* QEMU has ended, or its monitor is lost; `err` has its last words. */
    void (*gone)(void *opaque, const struct vst_error *err);
    void *opaque;
    bool watching;
};

void vst_guest_watch(struct vst_guest *guest, struct vst_guest_watch *watch);
void vst_guest_unwatch(struct vst_guest_watch *watch);

/* What has hold of a guest for some time: a start, a save, a restore. One at a time. */
struct vst_guest_job {
    enum vst_job_kind kind;
    struct vst_stream *stream; /* for progress; may be NULL */
    /* Events of the monitor, all of them. `data` may be NULL. */
    void (*event)(void *opaque, const char *name, struct json_object *data);
    void *opaque;
    const char *token; /* of a migration, for the place; else NULL */
};

/* BUSY, naming the job, when there is one. */
int vst_guest_check_idle(const struct vst_guest *guest, struct vst_error *ret_err);
int vst_guest_begin_job(struct vst_guest *guest, const struct vst_guest_job *job,
                        struct vst_error *ret_err);
/* Also forgets the job in the place: the guest is in order. But not of one that is not whole. */
void vst_guest_end_job(struct vst_guest *guest);
/* The job that a migration began before a restart of this process, according to its place. */
void vst_guest_go_on(struct vst_guest *guest, const struct vst_guest_job *job);
/* The job ends, but what its place says of it stays: the guest is not ours any more. */
void vst_guest_leave(struct vst_guest *guest);

/* Its place has another word than when this connection got hold of it: what follows is done. */
void vst_guest_take_word(struct vst_guest *guest);

/*
 * For a job that ends, well or not, and leaves the guest where it is: whatever migrates is
 * cancelled, or if `word` is LIVE waited for, copies of disks that were begun are ended, and the
 * guest runs if it `ran` before the job.
 * `wait->fn` is called as by vst_guest_get(). What cannot be mended is let go of, to be mended by
 * whoever gets hold of it next.
 */
void vst_guest_mend(struct vst_guest *guest, enum vst_place_word word, bool ran,
                    struct vst_guest_wait *wait);
/* Whether there are such copies, by query-named-block-nodes: nobody waits for them who has not
 * begun them. */
bool vst_guest_has_copies(const struct vst_guest *guest, struct json_object *nodes);

/* ---- what methods may do ---- */

struct vst_qmp *vst_guest_qmp(struct vst_guest *guest); /* NULL if it is deaf */
/* No reply to `opaque` is wanted any more. */
void vst_guest_forget(struct vst_guest *guest, const void *opaque);
struct vst_place *vst_guest_place(struct vst_guest *guest);
struct vst_console_end *vst_guest_console(struct vst_guest *guest);
const struct vst_definition *vst_guest_definition(const struct vst_guest *guest);
const char *vst_guest_version(const struct vst_guest *guest); /* of QEMU: "7.2.22" */
bool vst_guest_is_running(const struct vst_guest *guest);     /* its CPUs, by the monitor's word */
bool vst_guest_is_mending(const struct vst_guest *guest);     /* and so not ready yet */
/* Its QEMU, also when we have let go of it. */
bool vst_guest_lives(const struct vst_guest *guest);
/* For people, who ask how it is. */
void vst_guest_set_reason(struct vst_guest *guest, const char *reason);
void vst_guest_get_info(const struct vst_guest *guest, struct vst_domain_info *ret_info);

/* The end of this QEMU is meant: no crash, and nothing is kept. */
void vst_guest_expect_exit(struct vst_guest *guest);
/* Whether that was said, of a guest that is whole: of any other its maker knows. */
bool vst_guest_expects_exit(const struct vst_guest *guest);
/* Ends QEMU at once; gone() follows, and the directory goes. */
void vst_guest_kill(struct vst_guest *guest);

/* ---- making one ---- */

/*
 * A new guest for `def`, which it takes, in a place of its own: QEMU is spawned, held, and its
 * monitor connected. `job` is begun with it, and until vst_guest_keep() any end of QEMU removes the
 * place. *ret_guest is valid at once, for watching and killing; `wait->fn` says when it is ready.
 * Fails at once, leaving nothing, or later through wait or watches.
 */
int vst_guest_spawn(struct vst_qemu *qemu, struct vst_definition **def, bool incoming,
                    const struct vst_guest_job *job, struct vst_guest_wait *wait,
                    struct vst_guest **ret_guest, struct vst_error *ret_err);
/* A guest that is restored has no name before this: other connections do not see it, nor does
 * vst_guest_find(). EXISTS or BUSY as long as another has it, and then it may be tried again. */
int vst_guest_take_name(struct vst_guest *guest, struct vst_error *ret_err);
/* It is whole, but still its maker's: from now on it may be the last copy, so a monitor that is
 * lost is not the end of its QEMU, and its place stays. */
void vst_guest_spare(struct vst_guest *guest);
/* It is about to be told to run: from now on a monitor that is lost is not the end of its QEMU, and
 * its place stays as long as that lives. */
void vst_guest_let_run(struct vst_guest *guest);
/* It is whole, and ready. The job is still to be ended. */
void vst_guest_keep(struct vst_guest *guest);

/* ---- the methods ---- */

void vst_qemu_start(struct vst_conn *conn, const char *definition,
                    const struct vst_start_options *opt, struct vst_op *op);
void vst_qemu_control(struct vst_conn *conn, const char *name, enum vst_control what,
                      struct vst_op *op);
void vst_qemu_save(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                   const struct vst_save_options *opt, struct vst_op *op);
void vst_qemu_restore(struct vst_conn *conn, struct vst_stream *stream,
                      const struct vst_restore_options *opt, struct vst_op *op);
void vst_qemu_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op);
void vst_qemu_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                         struct vst_op *op);
void vst_qemu_migrate(struct vst_conn *conn, const char *name, const char *destination,
                      const struct vst_migrate_options *opt, bool check, struct vst_op *op);
void vst_qemu_order_migration(struct vst_conn *conn, const char *token,
                              enum vst_migration_order order,
                              const struct vst_migration_change *change, struct vst_op *op);
void vst_qemu_list_migrations(struct vst_conn *conn, struct vst_op *op);
void vst_qemu_migrate_message(struct vst_conn *conn, const struct vst_migrate_message *message,
                              struct vst_op *op);
void vst_qemu_migrate_stream(struct vst_conn *conn, const char *token, const char *part,
                             struct vst_stream *stream, struct vst_op *op);
void vst_qemu_relay_begin(struct vst_conn *conn, const char *name, const char *destination,
                          const struct vst_migrate_options *opt, bool check, struct vst_op *op);
void vst_qemu_relay_fetch(struct vst_conn *conn, const char *token, uint64_t after,
                          struct vst_op *op);
void vst_qemu_relay_answer(struct vst_conn *conn, const char *token, uint64_t number,
                           const struct vst_migrate_message *answer, const struct vst_error *err,
                           struct vst_op *op);
void vst_qemu_relay_stream(struct vst_conn *conn, const char *token, const char *part,
                           struct vst_stream *stream, struct vst_op *op);
/* The connection goes: so does the memory of its migrations, but not what the journal says. */
void vst_qemu_migrations_close(struct vst_qemu *qemu);
void vst_qemu_list(struct vst_conn *conn, struct vst_op *op);
void vst_qemu_lookup(struct vst_conn *conn, const char *name_or_uuid, struct vst_op *op);
void vst_qemu_get_info(struct vst_conn *conn, const char *name, struct vst_op *op);

#endif

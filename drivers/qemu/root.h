/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where guests are kept between processes: a root directory, and in it one private directory for
 * each domain, its *place*. Whoever has a place open has its lock; nobody else touches the guest.
 *
 *     ROOT/NAME/definition.json   what it was started from
 *               identity          the process: written by vst_spawn()
 *               monitor, console  UNIX sockets that QEMU listens on
 *               log               QEMU's own words, of this run, and between them what we did
 *               job               what was under way, for whoever comes after a manager that died
 *               lock              its lock, in which the holder's pid stands
 *
 * By default ROOT is /run/virstream/qemu for root and $XDG_RUNTIME_DIR/virstream/qemu for others:
 * it need not survive the host, guests do not either. The calls are short operations on a file
 * system in memory, or on what the user named as root; they are made where they are needed.
 */
#ifndef VST_DRIVERS_QEMU_ROOT_H
#define VST_DRIVERS_QEMU_ROOT_H

#include "core/definition.h"
#include "spawn.h"

struct vst_root;
struct vst_place; /* the root outlives its places */

/* `dir` NULL for the default; made if it is not there. */
int vst_root_open(const char *dir, struct vst_root **ret_root, struct vst_error *ret_err);
/* Sets *root to NULL. Accepts NULL. */
void vst_root_free(struct vst_root **root);

/* Whether a guest has this name: runs, is being made, or is held. What is left of one is no guest.
 */
bool vst_root_has(struct vst_root *root, const char *name);

/*
 * EXISTS, naming it, when a guest of another name has the UUID of `def`, and be it one that has
 * crashed, or is being made: who asks by UUID is to find one. `but` is a name that may have it, or
 * NULL. Of two that are made at the same time at least one sees the other, if each looks when its
 * own place is there already.
 */
int vst_root_check_uuid(struct vst_root *root, const struct vst_definition *def, const char *but,
                        struct vst_error *ret_err);

/* Whether a guest has the name and the UUID of `def`, and somebody is about to end it: it is being
 * saved to be gone, or has been. */
bool vst_root_is_leaving(struct vst_root *root, const struct vst_definition *def);

/* The names of all places, sorted; to be freed, each and the list, which ends in NULL. */
char **vst_root_list(struct vst_root *root, struct vst_error *ret_err);

/* ---- a place ---- */

/*
 * A new one for `def`, locked, with "start" for its job: it is not a guest before that is cleared.
 * What is left of a guest that has ended is replaced. EXISTS; BUSY, with the holder's pid and
 * program in the text.
 */
int vst_place_create(struct vst_root *root, const struct vst_definition *def,
                     struct vst_place **ret_place, struct vst_error *ret_err);
/*
 * The same in two steps: what is made has no name at first, so that nobody finds it, but is the
 * only one that is being made for the name. When whoever makes it dies before it has the name, it
 * is removed by whoever comes next, its QEMU ended; from then on it is a guest, unless its job is
 * START. The second may be tried again.
 */
int vst_place_make(struct vst_root *root, const struct vst_definition *def,
                   struct vst_place **ret_place, struct vst_error *ret_err);
int vst_place_take_name(struct vst_place *place, struct vst_error *ret_err);
/* Not before that. */
bool vst_place_is_named(const struct vst_place *place);
/*
 * An existing one, locked. NOT_FOUND, BUSY. What whoever made it did not live to finish, and what
 * has shut down while nobody looked, is no guest: it is removed here, its QEMU ended, and is
 * NOT_FOUND.
 */
int vst_place_open(struct vst_root *root, const char *name, struct vst_place **ret_place,
                   struct vst_error *ret_err);
/*
 * BUSY may be over in a moment: whoever only asks how a guest is has hold of it for that long, and
 * says nothing of it in the job file. Others look again, that often and with that pause, as long as
 * no job is told there that lasts.
 */
enum { VST_HOLD_LOOKS = 50, VST_HOLD_LOOK_US = 40000 };
bool vst_root_is_held_briefly(struct vst_root *root, const char *name);
/* Lets go; the guest goes on. Sets *place to NULL. Accepts NULL, as does the next. */
void vst_place_close(struct vst_place **place);
/* The same, and removes the directory: only the files that are known to be ours. */
void vst_place_remove(struct vst_place **place);

struct vst_definition *vst_place_read_definition(struct vst_place *place,
                                                 struct vst_error *ret_err);
/* Whether a QEMU is there, or cannot be told not to be: where its identity is lost, whether
 * anything has its monitor. */
bool vst_place_is_alive(struct vst_place *place);
/* NOT_FOUND when no process was ever started here. */
int vst_place_read_id(struct vst_place *place, struct vst_process_id *ret_id,
                      struct vst_error *ret_err);
/* Descriptors for vst_spawn(), the caller's: an empty log, an empty file of identity. */
int vst_place_new_log(struct vst_place *place, struct vst_error *ret_err);
int vst_place_new_id(struct vst_place *place, struct vst_error *ret_err);
/* The log of the present run, for reading; an empty one if somebody has removed it. */
int vst_place_open_log(struct vst_place *place, struct vst_error *ret_err);
/* Keeps a log that has grown from taking more and more of the disk. */
void vst_place_trim_log(struct vst_place *place);
/* By the log, this run has shut down and not crashed. */
bool vst_place_has_shut_down(struct vst_place *place);

/* `name` is "monitor", "console" or "nbd". A listening socket; and one that is connected to it,
 * which does not wait: QEMU accepts when it comes to it. Works for a root of any length. */
int vst_place_listen(struct vst_place *place, const char *name, struct vst_error *ret_err);
int vst_place_connect(struct vst_place *place, const char *name, struct vst_error *ret_err);

enum { VST_PLACE_TO_MAX = 127 };

/* What has hold of a guest, or has left it as it is: a name, and the word in the job file. NULL is
 * never written. */
#define VST_PLACE_WORDS(X)                                                    \
    X(NONE, "")       /* no job */                                            \
    X(START, "start") /* it is being made, and is no guest yet */             \
    X(RESTORE, "restore")                                                     \
    X(SAVE, "save")                                                           \
    X(KEEP, "keep")     /* a save that the guest outlives, */                 \
    X(LIVE, "live")     /* and one during which it runs */                    \
    X(END, "end")       /* it shuts down */                                   \
    X(OUT, "out")       /* a migration has it that began here, */             \
    X(IN, "in")         /* or one that comes, */                              \
    X(LACK, "lack")     /* and then it runs, and lacks memory */              \
    X(STRAY, "stray")   /* it was OUT, and no journal knows of that */        \
    X(AWAY, "away")     /* it has migrated, and this copy never runs again */ \
    X(UNKNOWN, NULL)    /* another version's */                               \
    X(TAKEN_BACK, NULL) /* of a STRAY, people say that it is the guest */

enum vst_place_word {
#define VST_PLACE_WORD_ENUM(id, text) VST_WORD_##id,
    VST_PLACE_WORDS(VST_PLACE_WORD_ENUM)
#undef VST_PLACE_WORD_ENUM
};

/* The job file: what runs, and whether the guest ran before it. */
struct vst_place_job {
    enum vst_place_word word;
    bool running;
    char token[37]; /* of the migration that has it; empty: none, or by an older version */
    char to[VST_PLACE_TO_MAX +
            1]; /* OUT, STRAY, AWAY: to which host, for people; empty: not known */
};
int vst_place_put_job(struct vst_place *place, const struct vst_place_job *job,
                      struct vst_error *ret_err);
/* The same, of its word alone; */
int vst_place_set_job(struct vst_place *place, enum vst_place_word word, bool running,
                      struct vst_error *ret_err);
/* and for a migration; `token` may be NULL. */
int vst_place_set_move(struct vst_place *place, enum vst_place_word word, const char *token,
                       bool running, struct vst_error *ret_err);
int vst_place_get_job(struct vst_place *place, struct vst_place_job *ret_job,
                      struct vst_error *ret_err);
void vst_place_clear_job(struct vst_place *place);
/* A start: what is in the place is not a guest yet. */
bool vst_place_job_makes(const struct vst_place_job *job);
/* A migration: what becomes of the guest is said by the journal, and by nothing else. */
bool vst_place_job_moves(const struct vst_place_job *job);
/* It may run elsewhere, and only people can say (stray.h). */
bool vst_place_job_is_stray(const struct vst_place_job *job);
/* It has migrated, and what is here stays as it is until it is destroyed. */
bool vst_place_job_is_away(const struct vst_place_job *job);

/* ---- looking without the lock ---- */

struct vst_glance {
    struct vst_definition *def; /* the caller's to free; NULL if it cannot be read */
    struct vst_error damage;    /* what cannot be read, and why */
    struct vst_process_id id;   /* pid 0: none yet */
    bool exists;                /* the process does, or cannot be told not to */
    int holder;                 /* pid of who has the lock; 0: nobody; -1: cannot be told */
    struct vst_place_job job;
    int64_t since;        /* when the process was started, in seconds since 1970 */
    char last_words[256]; /* of QEMU's log; may be empty */
};
/* NOT_FOUND; everything else that may be wrong is part of what is seen. */
int vst_place_glance(struct vst_root *root, const char *name, struct vst_glance *ret_glance,
                     struct vst_error *ret_err);
/* Of the job alone. */
int vst_root_get_job(struct vst_root *root, const char *name, struct vst_place_job *ret_job,
                     struct vst_error *ret_err);

#endif

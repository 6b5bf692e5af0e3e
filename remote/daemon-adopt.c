/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an earlier life of the daemon has left, on each connection that is served: migrations, which
 * go on as soon as somebody asks for them, and guests. The journal of the migrations may be another
 * process's for now, a command's that migrates without a daemon: then it is asked for again.
 */
#include <stdlib.h>

#include "daemon-private.h"
#include "virstream/virstream.h"

enum { AGAIN_SECONDS = 1 };

struct adoption {
    LIST_ENTRY(adoption) link;
    struct daemon *daemon;              /* NULL: it ends */
    struct vst_conn *conn;              /* the server's, which outlives it */
    struct vst_op *migrations, *guests; /* operations that are under way, or NULL */
    struct event timer;                 /* until the journal is asked for again */
    unsigned refs;                      /* the list's, and each operation's */
    bool waits;                         /* for the journal, which has been told */
    bool looked;                        /* for guests */
};

static void unref(void *opaque)
{
    struct adoption *adoption = opaque;

    if (!--adoption->refs)
        free(adoption);
}

static void say(const struct adoption *adoption, enum vst_log_level level, const char *what,
                const struct vst_error *err)
{
    vst_log_write(adoption->daemon->log, level, NULL, "%s: %s", what, err->text);
}

/* ---- guests ---- */

static void have_guests(const struct vst_domain_info *infos, size_t count,
                        const struct vst_error *err, void *opaque)
{
    struct adoption *adoption = opaque;

    (void)infos;
    adoption->guests = NULL;
    if (!adoption->daemon)
        return;
    if (err)
        say(adoption, VST_LOG_WARNING, "looking for guests", err);
    else
        vst_log_write(adoption->daemon->log, VST_LOG_NOTICE, NULL, "%zu guests are there", count);
}

static void look_for_guests(struct adoption *adoption)
{
    struct vst_info_cb cb = {have_guests, adoption, unref};

    if (adoption->looked)
        return;
    adoption->looked = true;
    adoption->refs++;
    adoption->guests = vst_conn_list(adoption->conn, &cb);
}

/* ---- migrations ---- */

static void wait_for_journal(struct adoption *adoption, const struct vst_error *err)
{
    static const struct timeval again = {AGAIN_SECONDS, 0};

    if (!adoption->waits)
        say(adoption, VST_LOG_WARNING, "migrations do not go on yet", err);
    adoption->waits = true;
    event_add(&adoption->timer, &again);
}

static void tell_of_migrations(const struct adoption *adoption,
                               const struct vst_migration_info *infos, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!infos[i].over)
            vst_log_write(adoption->daemon->log, VST_LOG_NOTICE, NULL,
                          "a migration of %s goes on: %s %s (%s)", infos[i].name,
                          infos[i].role == VST_MIGRATION_OUT ? "to" : "from", infos[i].peer,
                          infos[i].token);
}

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    struct adoption *adoption = opaque;

    adoption->migrations = NULL;
    if (!adoption->daemon)
        return;
    if (!err)
        tell_of_migrations(adoption, infos, count);
    else if (err->code == VST_ERR_BUSY)
        wait_for_journal(adoption, err);
    else if (err->code != VST_ERR_UNSUPPORTED)
        say(adoption, VST_LOG_ERROR, "looking for migrations", err);
    look_for_guests(adoption);
}

static void look_for_migrations(struct adoption *adoption)
{
    struct vst_migrations_cb cb = {have_migrations, adoption, unref};

    adoption->refs++;
    adoption->migrations = vst_conn_list_migrations(adoption->conn, &cb);
}

static void again(evutil_socket_t fd, short what, void *opaque)
{
    struct adoption *adoption = opaque;

    (void)fd, (void)what;
    look_for_migrations(adoption);
}

/* ---- its life ---- */

int vst_adoption_begin(struct daemon *daemon, struct vst_conn *conn, struct vst_error *ret_err)
{
    struct adoption *adoption = calloc(1, sizeof(*adoption));

    if (!adoption)
        return vst_error_no_memory(ret_err);
    *adoption = (struct adoption){.daemon = daemon, .conn = conn, .refs = 1};
    event_assign(&adoption->timer, daemon->base, -1, 0, again, adoption);
    LIST_INSERT_HEAD(&daemon->adoptions, adoption, link);
    look_for_migrations(adoption);
    return 0;
}

void vst_adoptions_free(struct daemon *daemon)
{
    struct adoption *adoption;

    while ((adoption = LIST_FIRST(&daemon->adoptions))) {
        LIST_REMOVE(adoption, link);
        event_del(&adoption->timer);
        adoption->daemon = NULL;
        vst_op_cancel(adoption->migrations);
        vst_op_cancel(adoption->guests);
        unref(adoption);
    }
}

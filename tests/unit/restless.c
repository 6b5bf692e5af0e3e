/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations of guests whose QEMU is made up: the hosts, the guest, and what is looked at.
 */
#include "restless.h"

#include <stdio.h>
#include <string.h>

struct vst_host source;
char destination_uri[128];
struct vst_conn *destination;

void restless_begin(const char *how, const char *also)
{
    struct vst_error err = {0};
    char definition[200];

    snprintf(definition, sizeof(definition),
             "{\"name\": \"g\", \"machine\": \"fake\", \"accel\": \"tcg\", \"memory-mib\": 1, "
             "\"vcpus\": 1, \"args\": [\"-misbehave\", \"%s\", \"-misbehave\", \"%s\"]}",
             how, also);
    vst_test_seconds(60);
    vst_host_make_with(&source, vst_fake_qemu_put_in_path);
    far_make_uri(&source, destination_uri);
    destination = far_connect(source.base, destination_uri);
    assert_non_null(destination);
    if (vst_host_start(&source, definition, &err) < 0)
        fail_msg("start: %s", err.text);
}

int restless_end(void **state)
{
    (void)state;
    far_disconnect(&source, &destination);
    vst_host_clear(&source);
    return 0;
}

/* ---- migrations ---- */

struct restless_outcome outcome;

static void over(const struct vst_error *err, void *opaque)
{
    (void)opaque;
    outcome.done = true;
    if (err)
        outcome.err = *err;
}

struct vst_op *restless_move(const struct vst_migrate_options *opt)
{
    struct vst_domain *domain = far_look_up(source.conn, "g");
    struct vst_op *op;

    assert_non_null(domain);
    memset(&outcome, 0, sizeof(outcome));
    op = vst_domain_migrate(domain, destination_uri, opt, &(struct vst_done){.fn = over});
    vst_domain_free(&domain);
    return op;
}

void restless_await(void)
{
    while (!outcome.done)
        event_base_loop(source.base, EVLOOP_ONCE);
}

struct vst_migration_info seen;

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (!err && count > 0)
        seen = infos[0];
}

void restless_look(void)
{
    struct vst_migrations_cb cb = {.fn = have_migrations};

    vst_op_wait(vst_conn_list_migrations(source.conn, &cb), NULL);
}

void restless_await_verdict(const char *beginning)
{
    memset(&seen, 0, sizeof(seen));
    while (strncmp(seen.verdict, beginning, strlen(beginning)) != 0) {
        if (outcome.done)
            fail_msg("it is over: %s; the last verdict was `%s`", outcome.err.text, seen.verdict);
        vst_host_run(&source, 20);
        restless_look();
    }
}

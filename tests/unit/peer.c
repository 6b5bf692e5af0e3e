/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host as the client of another one: it shows its own certificate, unless the URI says otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "core/connection.h"
#include "pki.h"
#include "served.h"

static struct served served;
static struct vst_conn_files files;
static char paths[4][200], uri[120];
static struct vst_conn *host; /* the connection that a daemon serves */

static const char *keep(int i, const char *name)
{
    snprintf(paths[i], sizeof(paths[i]), "%s", pki_path(name));
    return paths[i];
}

static struct outcome await_open(struct vst_op *op, struct outcome *outcome)
{
    assert_non_null(op);
    outcome_await(served.base, outcome);
    return *outcome;
}

static int make(void **state)
{
    const struct vst_conn_options options = {.files = &files};
    struct vst_policy policy = served_policy(VST_ROLE_TRANSFER, NULL);
    struct outcome opened = {0};

    if (pki_begin(state) < 0)
        return -1;
    served_start(&served, "test:///", VST_ROLE_TRANSFER, NULL);
    vst_access_add(policy.access, VST_ROLE_TRANSFER, "x509:*", NULL);
    policy.creds = pki_creds(VST_TLS_SERVER, "ca", "host", NULL);
    served_set_policy(&served, &policy);
    served_listen_tcp(&served, VST_LISTEN_TLS);
    snprintf(uri, sizeof(uri), "test+tls://127.0.0.1:%d/", served.port);
    files = (struct vst_conn_files){keep(0, "ca-cert.pem"), keep(1, "host-cert.pem"),
                                    keep(2, "host-key.pem"), NULL};
    host =
        await_open(vst_conn_open(served.base, "test:///", &options, outcome_conn(&opened)), &opened)
            .conn;
    return 0;
}

static int drop(void **state)
{
    vst_conn_close(&host);
    served_stop(&served);
    return pki_end(state);
}

static void keep_stats(const char *json, const struct vst_error *err, void *opaque)
{
    (void)err;
    *(char **)opaque = json ? strdup(json) : strdup("");
}

/* Who we are to the other host; closes the connection. */
static void assert_identity(struct vst_conn *conn, const char *identity)
{
    char *stats = NULL;
    struct vst_stats_cb cb = {.fn = keep_stats, .opaque = &stats};

    assert_non_null(conn);
    vst_conn_get_stats(conn, &cb);
    while (!stats)
        event_base_loop(served.base, EVLOOP_ONCE);
    // cppcheck-suppress nullPointer // the loop has set it
    if (!strstr(stats, identity))
        fail_msg("%s is not in %s", identity, stats);
    free(stats);
    vst_conn_close(&conn);
}

static struct outcome open_peer(const char *to)
{
    struct outcome opened = {0};

    return await_open(vst_conn_open_peer(host, to, outcome_conn(&opened)), &opened);
}

static void host_shows_its_own_certificate(void **state)
{
    (void)state;
    assert_identity(open_peer(uri).conn, "\"x509:CN=host");
}

static void what_is_given_later_counts_later(void **state)
{
    (void)state;
    files.cert = keep(1, "alice-cert.pem");
    files.key = keep(2, "alice-key.pem");
    assert_identity(open_peer(uri).conn, "\"x509:CN=alice");
}

static void uri_that_names_files_uses_these_alone(void **state)
{
    char named[800];
    struct outcome opened;

    (void)state;
    snprintf(named, sizeof(named), "%s?ca=%s&cert=%s&key=%s", uri, paths[0],
             keep(3, "alice-cert.pem"), pki_path("alice-key.pem"));
    assert_identity(open_peer(named).conn, "\"x509:CN=alice");
    snprintf(named, sizeof(named), "%s?pkipath=%s", uri, pki_path("nothing"));
    opened = open_peer(named);
    assert_int_equal(opened.err.code, VST_ERR_NOT_FOUND);
    assert_non_null(strstr(opened.err.text, "nothing"));
}

static void application_gives_its_files_too(void **state)
{
    const struct vst_conn_options options = {.files = &files};
    struct outcome opened = {0};

    (void)state;
    assert_identity(
        await_open(vst_conn_open(served.base, uri, &options, outcome_conn(&opened)), &opened).conn,
        "\"x509:CN=host");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(host_shows_its_own_certificate, make, drop),
        VST_TEST_WITH(what_is_given_later_counts_later, make, drop),
        VST_TEST_WITH(uri_that_names_files_uses_these_alone, make, drop),
        VST_TEST_WITH(application_gives_its_files_too, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

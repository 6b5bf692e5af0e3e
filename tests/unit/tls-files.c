/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where certificates are found, what is said when they are not or will not do, and loading on the
 * worker.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "feed.h"
#include "pki.h"

static struct vst_tls_files files;
static struct vst_error err;

static int make(void **state)
{
    memset(&err, 0, sizeof(err));
    return pki_begin(state);
}

static int drop(void **state)
{
    vst_tls_files_clear(&files);
    return pki_end(state);
}

/* NAME of pki.h becomes DIRECTORY/AS; as pki_path() has room for. */
static void put(const char *name, const char *directory, const char *as)
{
    char to[300];

    snprintf(to, sizeof(to), "%s/%s", pki_path(directory), as);
    assert_int_equal(rename(pki_path(name), to), 0);
}

static void make_directory(const char *name)
{
    assert_int_equal(mkdir(pki_path(name), 0700), 0);
}

/* ---- the search ---- */

static void directory_has_all(void **state)
{
    (void)state;
    make_directory("pki");
    pki_revoke("ca", NULL);
    put("ca-cert.pem", "pki", "cacert.pem");
    put("ca-crl.pem", "pki", "cacrl.pem");
    put("host-cert.pem", "pki", "servercert.pem");
    put("host-key.pem", "pki", "serverkey.pem");
    assert_int_equal(vst_tls_find_files(VST_TLS_SERVER, pki_path("pki"), &files, &err), 0);
    assert_string_equal(files.ca, pki_path("pki/cacert.pem"));
    assert_string_equal(files.crl, pki_path("pki/cacrl.pem"));
    assert_string_equal(files.cert, pki_path("pki/servercert.pem"));
    assert_string_equal(files.key, pki_path("pki/serverkey.pem"));
}

static void user_has_own_directory(void **state)
{
    (void)state;
    make_directory("virstream");
    make_directory("virstream/pki");
    put("ca-cert.pem", "virstream/pki", "cacert.pem");
    put("alice-cert.pem", "virstream/pki", "clientcert.pem");
    setenv("XDG_CONFIG_HOME", pki_path(""), 1);
    assert_int_equal(vst_tls_find_files(VST_TLS_CLIENT, NULL, &files, &err), 0);
    unsetenv("XDG_CONFIG_HOME");
    assert_non_null(strstr(files.ca, "/virstream/pki/cacert.pem"));
    assert_null(files.cert); /* without its key it is none */
    assert_null(files.key);
}

static void what_was_named_stays(void **state)
{
    (void)state;
    files.ca = strdup("/named/ca.pem");
    files.cert = strdup("/named/cert.pem");
    files.key = strdup("/named/key.pem");
    assert_int_equal(vst_tls_find_files(VST_TLS_SERVER, pki_path(""), &files, &err), 0);
    assert_string_equal(files.ca, "/named/ca.pem");
    assert_string_equal(files.cert, "/named/cert.pem");
    assert_null(files.crl);
}

static void error_says_where_it_was_looked(void **state)
{
    (void)state;
    assert_int_equal(vst_tls_find_files(VST_TLS_CLIENT, pki_path("none"), &files, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, pki_path("none")));
    assert_non_null(strstr(err.text, "virstream pki init"));
    memset(&err, 0, sizeof(err));
    setenv("XDG_CONFIG_HOME", "/config", 1);
    setenv("HOME", "/home", 1);
    if (vst_tls_find_files(VST_TLS_SERVER, NULL, &files, &err) < 0)
        assert_non_null(strstr(err.text, "looked in /config/virstream/pki, /etc/virstream/pki, "
                                         "/home/.pki/libvirt, /etc/pki/"));
    unsetenv("XDG_CONFIG_HOME");
}

static void server_needs_a_pair(void **state)
{
    (void)state;
    make_directory("pki");
    put("ca-cert.pem", "pki", "cacert.pem");
    assert_int_equal(vst_tls_find_files(VST_TLS_SERVER, pki_path("pki"), &files, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "no servercert.pem with its serverkey.pem"));
}

/* ---- loading ---- */

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(pki_path(name), "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* With these files it fails, and says so. */
static void assert_fails(const char *ca, const char *cert, const char *key, enum vst_code code,
                         const char *text)
{
    struct vst_tls_files bad = {strdup(pki_path(ca)), strdup(pki_path(cert)), strdup(pki_path(key)),
                                NULL};

    memset(&err, 0, sizeof(err));
    assert_null(vst_tls_creds_load(VST_TLS_SERVER, &bad, &err));
    print_message("# %s\n", err.text);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, text));
    vst_tls_files_clear(&bad);
}

static void bad_files_are_told_by_name(void **state)
{
    (void)state;
    write_text("text", "no certificate");
    write_text("empty", "");
    pki_issue(&(struct pki_wish){.name = "old", .authority = "ca", .days_from = -9, .days_to = -3});
    pki_issue(&(struct pki_wish){.name = "early", .authority = "ca", .days_from = 3, .days_to = 9});
    assert_fails("none", "host-cert.pem", "host-key.pem", VST_ERR_NOT_FOUND, "/none: No such file");
    assert_fails("text", "host-cert.pem", "host-key.pem", VST_ERR_INVALID, "/text: no certificate");
    assert_fails("empty", "host-cert.pem", "host-key.pem", VST_ERR_INVALID, "/empty: ");
    assert_fails("", "host-cert.pem", "host-key.pem", VST_ERR_INVALID,
                 "not a regular file, but a directory");
    assert_fails("ca-cert.pem", "host-cert.pem", "alice-key.pem", VST_ERR_INVALID,
                 "alice-key.pem is not the key of the certificate ");
    assert_fails("ca-cert.pem", "host-cert.pem", "text", VST_ERR_INVALID, "/text: no private key");
    assert_fails("ca-cert.pem", "old-cert.pem", "old-key.pem", VST_ERR_AUTH,
                 "old-cert.pem expired on ");
    assert_fails("ca-cert.pem", "early-cert.pem", "early-key.pem", VST_ERR_AUTH,
                 "early-cert.pem is not valid before ");
}

/* The certificates of two authorities in one file, in this order. */
static void write_bundle(const char *name, const char *first, const char *second)
{
    FILE *file = fopen(pki_path(name), "we");
    const char *parts[] = {first, second};

    assert_non_null(file);
    for (int i = 0; i < 2; i++) {
        size_t size;
        unsigned char *pem = feed_file(pki_path(parts[i]), &size);

        assert_int_equal(fwrite(pem, 1, size, file), size);
        free(pem);
    }
    fclose(file);
}

static void authority_that_has_retired_may_stay_beside_its_successor(void **state)
{
    static const char *const bundles[] = {"old-first", "old-last"};

    (void)state;
    pki_issue(&(struct pki_wish){.name = "old", .days_from = -9, .days_to = -3});
    pki_issue(&(struct pki_wish){.name = "early", .days_from = 3, .days_to = 9});
    write_bundle("old-first", "old-cert.pem", "ca-cert.pem");
    write_bundle("old-last", "ca-cert.pem", "old-cert.pem");
    write_bundle("none-now", "old-cert.pem", "early-cert.pem");
    for (int i = 0; i < 2; i++) {
        struct vst_tls_files good = {strdup(pki_path(bundles[i])), NULL, NULL, NULL};
        struct vst_tls_creds *creds = vst_tls_creds_load(VST_TLS_CLIENT, &good, &err);

        assert_non_null(creds);
        vst_tls_creds_unref(&creds);
        vst_tls_files_clear(&good);
    }
    assert_fails("none-now", "host-cert.pem", "host-key.pem", VST_ERR_AUTH, "none-now expired on ");
}

/* ---- on the worker ---- */

struct result {
    struct event_base *base;
    struct vst_tls_load *load;
    struct vst_tls_creds *creds;
    struct vst_error err;
    unsigned calls;
};

static void loaded(void *opaque, struct vst_tls_creds *creds, const struct vst_error *why)
{
    struct result *result = opaque;

    result->creds = creds;
    if (why)
        result->err = *why;
    result->calls++;
    vst_tls_load_free(&result->load);
    event_base_loopbreak(result->base);
}

static struct result start(const char *ca)
{
    struct result result = {.base = event_base_new()};

    files.ca = strdup(pki_path(ca));
    return result;
}

static void run(struct result *result)
{
    result->load =
        vst_tls_load(result->base, VST_TLS_CLIENT, pki_path("none"), &files, loaded, result, &err);
    assert_non_null(result->load);
    event_base_dispatch(result->base);
    assert_int_equal(result->calls, 1);
    event_base_free(result->base);
}

static void worker_loads(void **state)
{
    struct result result = start("ca-cert.pem");

    (void)state;
    run(&result);
    assert_non_null(result.creds);
    vst_tls_creds_unref(&result.creds);
}

static void worker_tells_what_is_wrong(void **state)
{
    struct result result = start("missing");

    (void)state;
    run(&result);
    assert_null(result.creds);
    assert_int_equal(result.err.code, VST_ERR_NOT_FOUND);
}

static void load_that_was_freed_calls_nothing(void **state)
{
    struct result result = start("ca-cert.pem");

    (void)state;
    for (int i = 0; i < 20; i++) {
        result.load =
            vst_tls_load(result.base, VST_TLS_CLIENT, NULL, &files, loaded, &result, &err);
        assert_non_null(result.load);
        vst_tls_load_free(&result.load);
    }
    event_base_loop(result.base, EVLOOP_NONBLOCK);
    assert_int_equal(result.calls, 0);
    event_base_free(result.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(directory_has_all, make, drop),
        VST_TEST_WITH(user_has_own_directory, make, drop),
        VST_TEST_WITH(what_was_named_stays, make, drop),
        VST_TEST_WITH(error_says_where_it_was_looked, make, drop),
        VST_TEST_WITH(server_needs_a_pair, make, drop),
        VST_TEST_WITH(bad_files_are_told_by_name, make, drop),
        VST_TEST_WITH(authority_that_has_retired_may_stay_beside_its_successor, make, drop),
        VST_TEST_WITH(worker_loads, make, drop),
        VST_TEST_WITH(worker_tells_what_is_wrong, make, drop),
        VST_TEST_WITH(load_that_was_freed_calls_nothing, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

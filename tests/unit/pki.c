/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Certificates for tests, by GnuTLS.
 */
#include "pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feed.h"

enum { DAY = 24 * 3600, PATHS = 5 };

static char directory[64];

#define ok(call) assert_true((call) >= 0)

const char *pki_path(const char *name)
{
    static char paths[PATHS][128];
    static unsigned at;
    char *path = paths[at++ % PATHS];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static const char *file_of(const char *name, const char *what)
{
    char file[64];

    snprintf(file, sizeof(file), "%s-%s.pem", name, what);
    return pki_path(file);
}

static void write_file(const char *name, const char *what, gnutls_datum_t *pem)
{
    FILE *file = fopen(file_of(name, what), "we");

    assert_non_null(file);
    assert_int_equal(fwrite(pem->data, 1, pem->size, file), pem->size);
    fclose(file);
    gnutls_free(pem->data);
}

static gnutls_datum_t read_file(const char *name, const char *what)
{
    size_t size;
    unsigned char *bytes = feed_file(file_of(name, what), &size);

    assert_non_null(bytes);
    return (gnutls_datum_t){bytes, (unsigned)size};
}

/* An authority, or anything else that was issued. */
static void load(const char *name, gnutls_x509_crt_t *cert, gnutls_x509_privkey_t *key)
{
    gnutls_datum_t pem = read_file(name, "cert");

    ok(gnutls_x509_crt_init(cert));
    ok(gnutls_x509_crt_import(*cert, &pem, GNUTLS_X509_FMT_PEM));
    free(pem.data);
    pem = read_file(name, "key");
    ok(gnutls_x509_privkey_init(key));
    ok(gnutls_x509_privkey_import(*key, &pem, GNUTLS_X509_FMT_PEM));
    free(pem.data);
}

static void put_serial(gnutls_x509_crt_t cert)
{
    unsigned char serial[16];

    ok(gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial)));
    serial[0] &= 0x3f;
    serial[0] |= 1;
    ok(gnutls_x509_crt_set_serial(cert, serial, sizeof(serial)));
}

static void put_names(gnutls_x509_crt_t cert, const struct pki_wish *wish)
{
    unsigned char address[4];

    ok(gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, wish->name,
                                     (unsigned)strlen(wish->name)));
    if (wish->host)
        ok(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, wish->host,
                                                (unsigned)strlen(wish->host), GNUTLS_FSAN_APPEND));
    if (wish->uri)
        ok(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_URI, wish->uri,
                                                (unsigned)strlen(wish->uri), GNUTLS_FSAN_APPEND));
    if (!wish->address)
        return;
    assert_int_equal(inet_pton(AF_INET, wish->address, address), 1);
    ok(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, address, sizeof(address),
                                            GNUTLS_FSAN_APPEND));
}

static void put_uses(gnutls_x509_crt_t cert, const struct pki_wish *wish)
{
    if (!wish->authority) {
        ok(gnutls_x509_crt_set_basic_constraints(cert, 1, -1));
        ok(gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
        return;
    }
    if (!wish->only_client)
        ok(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0));
    if (!wish->only_server)
        ok(gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0));
}

static void put_dates(gnutls_x509_crt_t cert, const struct pki_wish *wish)
{
    bool now = !wish->days_from && !wish->days_to;

    ok(gnutls_x509_crt_set_activation_time(cert, time(NULL) + (now ? -20 : wish->days_from) * DAY));
    ok(gnutls_x509_crt_set_expiration_time(cert, time(NULL) + (now ? 20 : wish->days_to) * DAY));
}

static void sign(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key, const char *authority)
{
    gnutls_x509_crt_t by = cert;
    gnutls_x509_privkey_t with = key;

    if (authority)
        load(authority, &by, &with);
    ok(gnutls_x509_crt_sign2(cert, by, with, GNUTLS_DIG_SHA256, 0));
    if (authority) {
        gnutls_x509_crt_deinit(by);
        gnutls_x509_privkey_deinit(with);
    }
}

void pki_issue(const struct pki_wish *wish)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
    gnutls_datum_t pem;

    ok(gnutls_x509_privkey_init(&key));
    ok(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    ok(gnutls_x509_crt_init(&cert));
    ok(gnutls_x509_crt_set_version(cert, 3));
    put_serial(cert);
    put_names(cert, wish);
    put_uses(cert, wish);
    put_dates(cert, wish);
    ok(gnutls_x509_crt_set_key(cert, key));
    sign(cert, key, wish->authority);
    ok(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem));
    write_file(wish->name, "cert", &pem);
    ok(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem));
    write_file(wish->name, "key", &pem);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
}

void pki_revoke(const char *authority, const char *revoked)
{
    gnutls_x509_crt_t by, cert;
    gnutls_x509_privkey_t with, key;
    gnutls_x509_crl_t crl;
    gnutls_datum_t pem;

    load(authority, &by, &with);
    ok(gnutls_x509_crl_init(&crl));
    ok(gnutls_x509_crl_set_version(crl, 2));
    ok(gnutls_x509_crl_set_this_update(crl, time(NULL) - 20 * DAY));
    ok(gnutls_x509_crl_set_next_update(crl, time(NULL) + 20 * DAY));
    if (revoked) {
        load(revoked, &cert, &key);
        ok(gnutls_x509_crl_set_crt(crl, cert, time(NULL) - 1));
        gnutls_x509_crt_deinit(cert);
        gnutls_x509_privkey_deinit(key);
    }
    ok(gnutls_x509_crl_sign2(crl, by, with, GNUTLS_DIG_SHA256, 0));
    ok(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem));
    write_file(authority, "crl", &pem);
    gnutls_x509_crl_deinit(crl);
    gnutls_x509_crt_deinit(by);
    gnutls_x509_privkey_deinit(with);
}

static char *path_copy(const char *name, const char *what)
{
    return name ? strdup(file_of(name, what)) : NULL;
}

struct vst_tls_creds *pki_creds(enum vst_tls_role role, const char *authority, const char *cert,
                                const char *crl)
{
    struct vst_tls_files files = {path_copy(authority, "cert"), path_copy(cert, "cert"),
                                  path_copy(cert, "key"), path_copy(crl, "crl")};
    struct vst_error err = {0};
    struct vst_tls_creds *creds = vst_tls_creds_load(role, &files, &err);

    if (!creds)
        print_error("%s\n", err.text);
    assert_non_null(creds);
    vst_tls_files_clear(&files);
    return creds;
}

int pki_begin(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/virstream-test.XXXXXX");
    assert_non_null(mkdtemp(directory));
    pki_issue(&(struct pki_wish){.name = "ca"});
    pki_issue(&(struct pki_wish){
        .name = "host", .authority = "ca", .host = "host.example", .address = "127.0.0.1"});
    pki_issue(&(struct pki_wish){
        .name = "alice", .authority = "ca", .only_client = true, .uri = "urn:example:alice"});
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

int pki_end(void **state)
{
    (void)state;
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys, certificates and revocation lists, by GnuTLS and after RFC 5280. No files.
 */
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pki.h"

enum {
    DAY = 24 * 3600,
    AUTHORITY_DAYS = 10 * 365,
    CERT_DAYS = 2 * 365,
    EARLY = 3600, /* valid from an hour ago: clocks differ */
    SERIAL = 16,
    KEY_ID = 64,
    COMMON_NAME_MAX = 64, /* RFC 5280, ub-common-name */
};

int pki_make_key(struct tool *tool, gnutls_x509_privkey_t *ret_key)
{
    gnutls_x509_privkey_t key = NULL;
    int status = gnutls_x509_privkey_init(&key);

    if (status == 0)
        status = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                              GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (status == 0) {
        *ret_key = key;
        return 0;
    }
    gnutls_x509_privkey_deinit(key);
    return pki_fail(tool, status, "a key cannot be made");
}

/* ---- parts of a certificate; each returns GnuTLS's status ---- */

/* Random, positive and never zero, so that no list of those given out is needed. */
static int put_serial(gnutls_x509_crt_t cert)
{
    unsigned char serial[SERIAL];
    int status = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

    if (status < 0)
        return status;
    serial[0] = (unsigned char)((serial[0] & 0x3f) | 0x40);
    return gnutls_x509_crt_set_serial(cert, serial, sizeof(serial));
}

static int put_subject(gnutls_x509_crt_t cert, const char *name)
{
    size_t length = strlen(name);

    /* A longer one stands among the alternative names, where it is looked for anyway. */
    if (length > COMMON_NAME_MAX)
        return 0;
    return gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                         (unsigned)length);
}

static int put_dates(gnutls_x509_crt_t cert, time_t from, time_t to)
{
    int status = gnutls_x509_crt_set_activation_time(cert, from);

    return status < 0 ? status : gnutls_x509_crt_set_expiration_time(cert, to);
}

static int put_key_ids(gnutls_x509_crt_t cert, gnutls_x509_crt_t by)
{
    unsigned char id[KEY_ID];
    size_t size = sizeof(id);
    int status = gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA1, id, &size);

    if (status == 0)
        status = gnutls_x509_crt_set_subject_key_id(cert, id, size);
    size = sizeof(id);
    if (status == 0)
        status = gnutls_x509_crt_get_subject_key_id(by, id, &size, NULL);
    return status < 0 ? status : gnutls_x509_crt_set_authority_key_id(cert, id, size);
}

static int put_address(gnutls_x509_crt_t cert, const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];
    unsigned size = 0;

    if (inet_pton(AF_INET, text, address) == 1)
        size = sizeof(struct in_addr);
    else if (inet_pton(AF_INET6, text, address) == 1)
        size = sizeof(struct in6_addr);
    return gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, address, size,
                                                GNUTLS_FSAN_APPEND);
}

static int put_texts(gnutls_x509_crt_t cert, gnutls_x509_subject_alt_name_t type,
                     const struct words *words)
{
    int status = 0;

    for (unsigned i = 0; i < words->count && status == 0; i++)
        status = gnutls_x509_crt_set_subject_alt_name(
            cert, type, words->word[i], (unsigned)strlen(words->word[i]), GNUTLS_FSAN_APPEND);
    return status;
}

static int put_names(gnutls_x509_crt_t cert, const struct wish *wish)
{
    const struct options *names = wish->names;
    int status = put_subject(cert, wish->subject);

    if (status == 0 && !wish->server)
        return put_texts(cert, GNUTLS_SAN_URI, &names->uris);
    if (status == 0)
        status = put_texts(cert, GNUTLS_SAN_DNSNAME, &names->hosts);
    for (unsigned i = 0; i < names->addresses.count && status == 0; i++)
        status = put_address(cert, names->addresses.word[i]);
    return status;
}

/* A host is a client, too, of another one that it moves guests to. */
static int put_uses(gnutls_x509_crt_t cert, bool server)
{
    int status = gnutls_x509_crt_set_basic_constraints(cert, 0, -1);

    if (status == 0)
        status = gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (status == 0 && server)
        status = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (status < 0)
        return status;
    return gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0);
}

/* ---- certificates ---- */

static int start(gnutls_x509_privkey_t key, gnutls_x509_crt_t *ret_cert)
{
    int status = gnutls_x509_crt_init(ret_cert);

    if (status == 0)
        status = gnutls_x509_crt_set_version(*ret_cert, 3);
    if (status == 0)
        status = put_serial(*ret_cert);
    return status < 0 ? status : gnutls_x509_crt_set_key(*ret_cert, key);
}

static int end(struct tool *tool, gnutls_x509_crt_t cert, int status, gnutls_x509_crt_t *ret_cert)
{
    if (status == 0) {
        *ret_cert = cert;
        return 0;
    }
    gnutls_x509_crt_deinit(cert);
    return pki_fail(tool, status, "a certificate cannot be made");
}

/* Each has a name of its own: where certificates of several come together, names must tell. */
static int put_authority(gnutls_x509_crt_t cert)
{
    unsigned char random[4];
    char name[40];
    int status = gnutls_rnd(GNUTLS_RND_NONCE, random, sizeof(random));

    snprintf(name, sizeof(name), "virstream CA %02x%02x%02x%02x", random[0], random[1], random[2],
             random[3]);
    if (status == 0)
        status = put_subject(cert, name);
    if (status == 0)
        status = gnutls_x509_crt_set_basic_constraints(cert, 1, 0);
    if (status == 0)
        status =
            gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    return status;
}

int pki_make_authority(struct tool *tool, gnutls_x509_privkey_t key, gnutls_x509_crt_t *ret_cert)
{
    time_t now = time(NULL);
    gnutls_x509_crt_t cert = NULL;
    int status = start(key, &cert);

    if (status == 0)
        status = put_authority(cert);
    if (status == 0)
        status = put_dates(cert, now - EARLY, now + (time_t)AUTHORITY_DAYS * DAY);
    if (status == 0)
        status = put_key_ids(cert, cert);
    if (status == 0)
        status = gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0);
    return end(tool, cert, status, ret_cert);
}

int pki_make_cert(struct tool *tool, const struct authority *by, gnutls_x509_privkey_t key,
                  const struct wish *wish, gnutls_x509_crt_t *ret_cert)
{
    time_t now = time(NULL), to = now + (time_t)CERT_DAYS * DAY;
    time_t last = gnutls_x509_crt_get_expiration_time(by->cert);
    gnutls_x509_crt_t cert = NULL;
    int status = start(key, &cert);

    if (status == 0)
        status = put_names(cert, wish);
    if (status == 0)
        status = put_uses(cert, wish->server);
    if (status == 0)
        status = put_dates(cert, now - EARLY, to < last ? to : last);
    if (status == 0)
        status = put_key_ids(cert, by->cert);
    if (status == 0)
        status = gnutls_x509_crt_sign2(cert, by->cert, by->key, GNUTLS_DIG_SHA256, 0);
    return end(tool, cert, status, ret_cert);
}

/* ---- revocation lists ---- */

static int copy_revoked(gnutls_x509_crl_t crl, gnutls_x509_crl_t old)
{
    gnutls_x509_crl_iter_t at = NULL;
    int status = 0;

    while (status == 0) {
        unsigned char serial[KEY_ID];
        size_t size = sizeof(serial);
        time_t when;

        status = gnutls_x509_crl_iter_crt_serial(old, &at, serial, &size, &when);
        if (status == 0)
            status = gnutls_x509_crl_set_crt_serial(crl, serial, size, when);
    }
    gnutls_x509_crl_iter_deinit(at);
    return status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE ? 0 : status;
}

/* One more than the last had, in eight bytes. */
static int put_number(gnutls_x509_crl_t crl, gnutls_x509_crl_t old)
{
    unsigned char last[8] = {0}, number[8] = {0};
    size_t size = sizeof(last);
    unsigned critical;

    if (old && gnutls_x509_crl_get_number(old, last, &size, &critical) == 0)
        memcpy(number + sizeof(number) - size, last, size);
    for (int i = sizeof(number) - 1; i >= 0 && ++number[i] == 0; i--)
        continue;
    return gnutls_x509_crl_set_number(crl, number, sizeof(number));
}

static int fill_crl(gnutls_x509_crl_t crl, const struct authority *by, gnutls_x509_crl_t old,
                    gnutls_x509_crt_t *revoked, unsigned count)
{
    unsigned char id[KEY_ID];
    size_t size = sizeof(id);
    int status = gnutls_x509_crl_set_version(crl, 2);

    if (status == 0)
        status = gnutls_x509_crl_set_this_update(crl, time(NULL) - EARLY);
    if (status == 0)
        status =
            gnutls_x509_crl_set_next_update(crl, gnutls_x509_crt_get_expiration_time(by->cert));
    if (status == 0 && old)
        status = copy_revoked(crl, old);
    for (unsigned i = 0; i < count && status == 0; i++)
        status = gnutls_x509_crl_set_crt(crl, revoked[i], time(NULL));
    if (status == 0)
        status = put_number(crl, old);
    if (status == 0)
        status = gnutls_x509_crt_get_subject_key_id(by->cert, id, &size, NULL);
    if (status == 0)
        status = gnutls_x509_crl_set_authority_key_id(crl, id, size);
    return status < 0 ? status
                      : gnutls_x509_crl_sign2(crl, by->cert, by->key, GNUTLS_DIG_SHA256, 0);
}

int pki_make_crl(struct tool *tool, const struct authority *by, gnutls_x509_crl_t old,
                 gnutls_x509_crt_t *revoked, unsigned count, gnutls_x509_crl_t *ret_crl)
{
    gnutls_x509_crl_t crl = NULL;
    int status = gnutls_x509_crl_init(&crl);

    if (status == 0)
        status = fill_crl(crl, by, old, revoked, count);
    if (status == 0) {
        *ret_crl = crl;
        return 0;
    }
    gnutls_x509_crl_deinit(crl);
    return pki_fail(tool, status, "a revocation list cannot be made");
}

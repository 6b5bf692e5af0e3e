/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who the other side of a TLS session is, and whether it may be: chain, dates, revocation, purpose,
 * and for a client the name. Sentences about what is wrong are in tls-error.c.
 */
#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <gnutls/x509-ext.h>
#include <stdlib.h>
#include <string.h>

#include "tls-private.h"

enum { SERIAL_MAX = 64, URIS_MAX = 64 };

bool vst_tls_is_address(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* ---- verifying ---- */

/* The mask of what is wrong in *ret_refused. */
static int verify(gnutls_session_t session, const struct vst_tls_other *other,
                  unsigned *ret_refused)
{
    bool client = other->creds->role == VST_TLS_CLIENT;
    const char *purpose = client ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data[2] = {
        {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)purpose, 0},
        {GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)other->host, 0},
    };

    return gnutls_certificate_verify_peers(session, data, client ? 2 : 1, ret_refused);
}

int vst_tls_check_peer(gnutls_session_t session)
{
    struct vst_tls_other *other = gnutls_session_get_ptr(session);
    unsigned refused = 0, count = 0;
    int status;

    /* Where one is required GnuTLS has refused that already. */
    if (!gnutls_certificate_get_peers(session, &count) && other->creds->role == VST_TLS_SERVER)
        return 0;
    status = verify(session, other, &refused);
    if (status < 0)
        return status;
    other->refused = refused;
    return refused ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

/* ---- keys that cost much ---- */

static size_t bits_of(const gnutls_datum_t *number)
{
    unsigned zeros = 0;

    while (zeros < number->size && !number->data[zeros])
        zeros++;
    return 8 * (size_t)(number->size - zeros);
}

/* What a signature costs grows with the cube of the modulus, and with the exponent. */
static int check_rsa(gnutls_pubkey_t key)
{
    gnutls_datum_t modulus = {NULL, 0}, exponent = {NULL, 0};
    int status = gnutls_pubkey_export_rsa_raw2(key, &modulus, &exponent, 0);

    if (status == 0 && (bits_of(&modulus) > VST_TLS_KEY_BITS_MAX ||
                        bits_of(&exponent) > VST_TLS_EXPONENT_BITS_MAX))
        status = GNUTLS_E_CONSTRAINT_ERROR;
    gnutls_free(modulus.data);
    gnutls_free(exponent.data);
    return status;
}

static bool is_rsa(gnutls_pubkey_t key)
{
    int kind = gnutls_pubkey_get_pk_algorithm(key, NULL);

    return kind == GNUTLS_PK_RSA || kind == GNUTLS_PK_RSA_PSS;
}

/* Only the first signs in a hand-shake; of the others one is trusted before it verifies anything.
 */
int vst_tls_check_keys(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
    gnutls_x509_crt_t cert = NULL;
    gnutls_pubkey_t key = NULL;
    int status;

    (void)type, (void)when, (void)message;
    if (!incoming)
        return 0;
    status = vst_tls_peer_certificate(session, &cert);
    if (status < 0 || !cert)
        return status;
    status = gnutls_pubkey_init(&key);
    if (status == 0)
        status = gnutls_pubkey_import_x509(key, cert, 0);
    if (status == 0 && is_rsa(key))
        status = check_rsa(key);
    gnutls_pubkey_deinit(key);
    gnutls_x509_crt_deinit(cert);
    return status;
}

/* ---- learning ---- */

int vst_tls_peer_certificate(gnutls_session_t session, gnutls_x509_crt_t *ret_cert)
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t cert = NULL;
    int status;

    *ret_cert = NULL;
    if (!chain || !count)
        return 0;
    status = gnutls_x509_crt_init(&cert);
    if (status == 0)
        status = gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER);
    if (status == 0)
        *ret_cert = cert;
    else
        gnutls_x509_crt_deinit(cert);
    return status;
}

/* In gnutls's memory it would have to be freed in another way than what is beside it. */
static int copy(const gnutls_datum_t *data, char **ret_text)
{
    *ret_text = strndup((const char *)data->data, data->size);
    return *ret_text ? 0 : GNUTLS_E_MEMORY_ERROR;
}

static int learn_subject(gnutls_x509_crt_t cert, struct vst_tls_other *other)
{
    gnutls_datum_t name = {NULL, 0};
    int status = gnutls_x509_crt_get_dn3(cert, &name, 0);

    if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        other->subject = strdup("");
        return other->subject ? 0 : GNUTLS_E_MEMORY_ERROR;
    }
    if (status == 0)
        status = copy(&name, &other->subject);
    gnutls_free(name.data);
    return status;
}

static int learn_serial(gnutls_x509_crt_t cert, struct vst_tls_other *other)
{
    unsigned char serial[SERIAL_MAX];
    char hex[2 * SERIAL_MAX + 1];
    size_t size = sizeof(serial), room = sizeof(hex);
    gnutls_datum_t data = {serial, 0};
    int status = gnutls_x509_crt_get_serial(cert, serial, &size);

    data.size = (unsigned)size;
    if (status == 0)
        status = gnutls_hex_encode(&data, hex, &room);
    if (status < 0)
        return status;
    other->serial = strdup(hex);
    return other->serial ? 0 : GNUTLS_E_MEMORY_ERROR;
}

/* The alternative name `at`, if it is a URI, in other->uris[count]. */
static int learn_uri(gnutls_subject_alt_names_t names, unsigned at, struct vst_tls_other *other,
                     unsigned *count)
{
    gnutls_datum_t name;
    unsigned type;
    int status = gnutls_subject_alt_names_get(names, at, &type, &name, NULL);

    /* With a zero inside it could pass for a shorter one. */
    if (status < 0 || type != GNUTLS_SAN_URI || memchr(name.data, 0, name.size))
        return status;
    status = copy(&name, &other->uris[*count]);
    *count += status == 0;
    return status;
}

static int learn_uris(gnutls_subject_alt_names_t names, struct vst_tls_other *other)
{
    unsigned count = 0;
    int status = 0;

    other->uris = calloc(URIS_MAX + 1, sizeof(*other->uris));
    if (!other->uris)
        return GNUTLS_E_MEMORY_ERROR;
    for (unsigned at = 0; status == 0 && count < URIS_MAX; at++)
        status = learn_uri(names, at, other, &count);
    if (status == 0 || status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        char **fitting = realloc(other->uris, (count + 1) * sizeof(*fitting));

        other->uris = fitting ? fitting : other->uris;
        return 0;
    }
    return status;
}

static int learn_names(gnutls_x509_crt_t cert, struct vst_tls_other *other)
{
    gnutls_subject_alt_names_t names = NULL;
    gnutls_datum_t extension = {NULL, 0};
    unsigned critical;
    int status = gnutls_subject_alt_names_init(&names);

    if (status == 0)
        status = gnutls_x509_crt_get_extension_by_oid2(cert, GNUTLS_X509EXT_OID_SAN, 0, &extension,
                                                       &critical);
    if (status == 0)
        status = gnutls_x509_ext_import_subject_alt_names(&extension, names, 0);
    if (status == 0 || status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
        status = learn_uris(names, other);
    gnutls_free(extension.data);
    gnutls_subject_alt_names_deinit(names);
    return status;
}

int vst_tls_learn_peer(gnutls_session_t session, struct vst_tls_other *other)
{
    gnutls_x509_crt_t cert;
    int status = vst_tls_peer_certificate(session, &cert);

    if (status < 0 || !cert)
        return status;
    status = learn_subject(cert, other);
    if (status == 0)
        status = learn_serial(cert, other);
    if (status == 0)
        status = learn_names(cert, other);
    other->peer.expires = gnutls_x509_crt_get_expiration_time(cert);
    gnutls_x509_crt_deinit(cert);
    other->peer.subject = other->subject;
    other->peer.serial = other->serial;
    other->peer.uris = (const char *const *)other->uris;
    return status;
}

void vst_tls_other_clear(struct vst_tls_other *other)
{
    for (char **uri = other->uris; uri && *uri; uri++)
        free(*uri);
    free(other->uris);
    free(other->subject);
    free(other->serial);
    *other = (struct vst_tls_other){0};
}

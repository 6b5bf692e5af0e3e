/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The peer that raw-tls.h promises.
 */
#include "raw-tls.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <time.h>

enum { STEPS = 100, RSA_BYTES_MAX = 4096 };

static struct vst_channel *below(const struct raw_tls *raw)
{
    return session.side[raw->side].ch->lower;
}

static ssize_t pull(gnutls_transport_ptr_t opaque, void *into, size_t n)
{
    struct evbuffer *buffer = evbuffer_new();
    ssize_t got = -1;

    if (vst_channel_read(below(opaque), buffer, n, &n) == VST_IO_OK)
        got = evbuffer_remove(buffer, into, n);
    evbuffer_free(buffer);
    return got;
}

static ssize_t push(gnutls_transport_ptr_t opaque, const void *from, size_t n)
{
    struct evbuffer *buffer = evbuffer_new();
    struct raw_tls *raw = opaque;

    raw->pushed += n;
    evbuffer_add(buffer, from, n);
    assert_int_equal(vst_channel_write(below(raw), buffer, n, &n), VST_IO_OK);
    evbuffer_free(buffer);
    return (ssize_t)n;
}

static int number(gnutls_transport_ptr_t opaque)
{
    (void)opaque;
    return EAGAIN;
}

void raw_begin(struct raw_tls *raw, int side, const char *priority)
{
    *raw = (struct raw_tls){.side = side};
    gnutls_certificate_allocate_credentials(&raw->creds);
    gnutls_init(&raw->session,
                GNUTLS_NONBLOCK |
                    (side == CLIENT ? GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT : GNUTLS_SERVER));
    assert_int_equal(gnutls_priority_set_direct(raw->session, priority, NULL), 0);
    gnutls_credentials_set(raw->session, GNUTLS_CRD_CERTIFICATE, raw->creds);
    gnutls_transport_set_ptr(raw->session, raw);
    gnutls_transport_set_pull_function(raw->session, pull);
    gnutls_transport_set_push_function(raw->session, push);
    gnutls_transport_set_errno_function(raw->session, number);
}

void raw_show(struct raw_tls *raw, const char *name)
{
    char cert[64], key[64];

    snprintf(cert, sizeof(cert), "%s-cert.pem", name);
    snprintf(key, sizeof(key), "%s-key.pem", name);
    assert_int_equal(gnutls_certificate_set_x509_key_file(raw->creds, pki_path(cert), pki_path(key),
                                                          GNUTLS_X509_FMT_PEM),
                     0);
}

/* ---- a key that nobody has ---- */

static unsigned rsa_bits;

static int sign(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *opaque,
                unsigned flags, const gnutls_datum_t *data, gnutls_datum_t *ret_signature)
{
    (void)key, (void)algorithm, (void)opaque, (void)flags, (void)data;
    ret_signature->size = rsa_bits / 8;
    ret_signature->data = gnutls_malloc(ret_signature->size);
    gnutls_rnd(GNUTLS_RND_NONCE, ret_signature->data, ret_signature->size);
    ret_signature->data[0] = 0; /* less than the modulus */
    return 0;
}

static int describe(gnutls_privkey_t key, unsigned flags, void *opaque)
{
    (void)key, (void)opaque;
    if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO)
        return GNUTLS_PK_RSA;
    if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
        return (int)rsa_bits;
    return 1;
}

static void make_number(unsigned char *bytes, unsigned bits, gnutls_datum_t *ret_number)
{
    *ret_number = (gnutls_datum_t){bytes, (bits + 7) / 8};
    assert_true(ret_number->size <= RSA_BYTES_MAX);
    gnutls_rnd(GNUTLS_RND_NONCE, bytes, ret_number->size);
    bytes[0] = (unsigned char)(1 << ((bits + 7) % 8)); /* so many, and no more */
    bytes[ret_number->size - 1] |= 1;
}

static gnutls_pubkey_t make_rsa(unsigned modulus_bits, unsigned exponent_bits)
{
    unsigned char bytes[2][RSA_BYTES_MAX];
    gnutls_datum_t modulus, exponent;
    gnutls_pubkey_t key;

    make_number(bytes[0], modulus_bits, &modulus);
    make_number(bytes[1], exponent_bits, &exponent);
    gnutls_pubkey_init(&key);
    assert_int_equal(gnutls_pubkey_import_rsa_raw(key, &modulus, &exponent), 0);
    return key;
}

static gnutls_x509_crt_t make_cert(gnutls_pubkey_t key, gnutls_privkey_t signs)
{
    gnutls_x509_crt_t cert;

    gnutls_x509_crt_init(&cert);
    gnutls_x509_crt_set_version(cert, 3);
    gnutls_x509_crt_set_serial(cert, "1", 1);
    gnutls_x509_crt_set_dn(cert, "CN=costly", NULL);
    gnutls_x509_crt_set_activation_time(cert, time(NULL) - 1000);
    gnutls_x509_crt_set_expiration_time(cert, time(NULL) + 1000);
    assert_int_equal(gnutls_x509_crt_set_pubkey(cert, key), 0);
    assert_int_equal(gnutls_x509_crt_privkey_sign(cert, cert, signs, GNUTLS_DIG_SHA256, 0), 0);
    return cert;
}

void raw_show_rsa(struct raw_tls *raw, unsigned modulus_bits, unsigned exponent_bits)
{
    gnutls_pubkey_t key = make_rsa(modulus_bits, exponent_bits);
    gnutls_pcert_st shown;
    gnutls_privkey_t signs;
    gnutls_x509_crt_t cert;

    rsa_bits = modulus_bits;
    gnutls_privkey_init(&signs);
    assert_int_equal(gnutls_privkey_import_ext4(signs, NULL, sign, sign, NULL, NULL, describe, 0),
                     0);
    cert = make_cert(key, signs);
    assert_int_equal(gnutls_pcert_import_x509(&shown, cert, 0), 0);
    gnutls_certificate_set_flags(raw->creds, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
    assert_int_equal(gnutls_certificate_set_key(raw->creds, NULL, 0, &shown, 1, signs), 0);
    gnutls_x509_crt_deinit(cert);
    gnutls_pubkey_deinit(key);
}

/* ---- the hand-shake ---- */

static int step(struct raw_tls *raw)
{
    int status = gnutls_handshake(raw->session);

    if (status < 0 && gnutls_error_is_fatal(status) && status != GNUTLS_E_FATAL_ALERT_RECEIVED)
        gnutls_alert_send_appropriate(raw->session, status);
    return status;
}

bool raw_shake(struct raw_tls *raw, int *ret_status)
{
    struct side *other = &session.side[!raw->side];
    enum vst_io io = VST_IO_AGAIN;

    *ret_status = GNUTLS_E_AGAIN;
    for (int i = 0; i < STEPS && (*ret_status == GNUTLS_E_AGAIN || io == VST_IO_AGAIN); i++) {
        if (*ret_status == GNUTLS_E_AGAIN)
            *ret_status = step(raw);
        if (io == VST_IO_AGAIN)
            io = vst_channel_open(other->ch);
    }
    other->open = io == VST_IO_OK;
    return *ret_status == 0 && other->open;
}

void raw_end(struct raw_tls *raw)
{
    gnutls_deinit(raw->session);
    gnutls_certificate_free_credentials(raw->creds);
}

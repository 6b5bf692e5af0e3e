/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The peer that raw-tls.h promises.
 */
#include "raw-tls.h"

#include <errno.h>
#include <stdio.h>

enum { STEPS = 100 };

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
    gnutls_init(&raw->session, (side == CLIENT ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NONBLOCK);
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

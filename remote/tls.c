/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TLS layer, as a channel: when it opens, reads, writes and ends. How bytes go through GnuTLS
 * is in tls-records.c, what the peer must be in tls-peer.c, sentences about what fails in
 * tls-error.c.
 */
#include "tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "tls-private.h"

enum { SHAKE_MAX = 32 * 1024 }; /* the longest message of a hand-shake: a chain of certificates */

static struct vst_tls *tls_of(struct vst_channel *ch)
{
    return (struct vst_tls *)ch;
}

static const struct vst_tls *tls_of_const(const struct vst_channel *ch)
{
    return (const struct vst_tls *)ch;
}

/* ---- opening ---- */

static enum vst_io learn(struct vst_tls *tls)
{
    int status = vst_tls_learn_peer(tls->session, &tls->other);

    if (status < 0)
        return vst_tls_break(tls, "handshake", status);
    snprintf(tls->cipher, sizeof(tls->cipher), "%s %s",
             gnutls_protocol_get_name(gnutls_protocol_get_version(tls->session)),
             gnutls_cipher_get_name(gnutls_cipher_get(tls->session)));
    vst_tls_enter(tls, TLS_OPEN);
    return VST_IO_OK;
}

static enum vst_io shake(struct vst_tls *tls)
{
    int status = vst_tls_shake(tls);

    if (status < 0 && gnutls_error_is_fatal(status))
        return vst_tls_break(tls, "handshake", status);
    if (vst_tls_drain(tls) == VST_IO_FAIL) {
        vst_tls_enter(tls, TLS_FAILED);
        return VST_IO_FAIL;
    }
    return status < 0 ? VST_IO_AGAIN : learn(tls);
}

static enum vst_io tls_open(struct vst_channel *ch)
{
    struct vst_tls *tls = tls_of(ch);

    if (tls->state == TLS_BELOW) {
        enum vst_io io = vst_channel_open(ch->lower);

        if (io != VST_IO_OK)
            return io;
        vst_tls_enter(tls, TLS_SHAKING);
    }
    if (tls->state == TLS_FAILED)
        return VST_IO_FAIL;
    return tls->state == TLS_SHAKING ? shake(tls) : VST_IO_OK;
}

/* ---- reading ---- */

/*
 * What is below may still have to be told that its end was taken, and a peer that has said that it
 * has ended has nothing more to say: what comes is read and dropped.
 */
static void swallow(struct vst_tls *tls)
{
    size_t n;

    tls->below = vst_channel_read(tls->base.lower, tls->in, VST_TLS_UNIT, &n);
    evbuffer_drain(tls->in, evbuffer_get_length(tls->in));
    vst_channel_rearm(&tls->base);
}

static bool swallows(const struct vst_tls *tls)
{
    return tls->ended && (tls->below == VST_IO_OK || tls->below == VST_IO_AGAIN);
}

static enum vst_io hand_out(struct vst_tls *tls, struct evbuffer *into, size_t max, size_t *ret_n)
{
    size_t n = vst_buffer_whole(tls->plain, max);

    if (vst_buffer_move(tls->plain, into, n) < 0) {
        vst_error_no_memory(vst_channel_fail(&tls->base));
        vst_tls_enter(tls, TLS_FAILED);
        return VST_IO_FAIL;
    }
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io tls_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                            size_t *ret_n)
{
    struct vst_tls *tls = tls_of(ch);

    if (!evbuffer_get_length(tls->plain) && !tls->ended && !tls->broken)
        vst_tls_decrypt(tls, max);
    if (evbuffer_get_length(tls->plain))
        return hand_out(tls, into, max, ret_n);
    if (tls->broken)
        return VST_IO_FAIL;
    if (!tls->ended)
        return VST_IO_AGAIN;
    if (swallows(tls))
        swallow(tls);
    return VST_IO_EOF;
}

/* ---- writing ---- */

static enum vst_io fail_writing(struct vst_tls *tls, int status)
{
    vst_tls_drop_out(tls);
    return vst_tls_break(tls, "", status);
}

/* If it has failed, that is why. */
static enum vst_io fail_closed(struct vst_channel *ch)
{
    vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "TLS: written to when it was not open");
    return VST_IO_FAIL;
}

static enum vst_io tls_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                             size_t *ret_n)
{
    struct vst_tls *tls = tls_of(ch);
    enum vst_io io;
    ssize_t n;

    if (tls->state != TLS_OPEN)
        return fail_closed(ch);
    io = vst_tls_drain(tls);
    if (io != VST_IO_OK)
        return io;
    n = vst_tls_encrypt(tls, from, max);
    if (n < 0)
        return fail_writing(tls, (int)n);
    if (vst_tls_drain(tls) == VST_IO_FAIL)
        return VST_IO_FAIL;
    *ret_n = (size_t)n;
    return VST_IO_OK;
}

static enum vst_io tls_finish(struct vst_channel *ch)
{
    struct vst_tls *tls = tls_of(ch);
    enum vst_io io;

    if (tls->state == TLS_OPEN) {
        int status = gnutls_bye(tls->session, GNUTLS_SHUT_WR);

        if (status < 0)
            return fail_writing(tls, status);
        vst_tls_enter(tls, TLS_CLOSED);
    }
    if (tls->state != TLS_CLOSED)
        return fail_closed(ch);
    io = vst_tls_drain(tls);
    if (io != VST_IO_OK)
        return io;
    io = vst_channel_finish(ch->lower);
    if (io == VST_IO_FAIL)
        vst_tls_hear_last_words(tls);
    return io;
}

static void tls_abort(struct vst_channel *ch, const struct vst_error *why)
{
    vst_tls_drop_out(tls_of(ch));
    vst_channel_rearm(ch);
    vst_channel_abort(ch->lower, why);
}

/* ---- readiness ---- */

static unsigned tls_wants(struct vst_channel *ch, unsigned dirs)
{
    struct vst_tls *tls = tls_of(ch);

    if (tls->state == TLS_SHAKING)
        dirs = dirs ? VST_READ : 0;
    if (swallows(tls))
        dirs |= VST_READ;
    return evbuffer_get_length(tls->out) ? dirs | VST_WRITE : dirs;
}

static void tls_ready(struct vst_channel *ch, unsigned dirs)
{
    struct vst_tls *tls = tls_of(ch);

    if (dirs & VST_WRITE)
        tls->under = VST_IO_OK;
    /* A failure stays, and is found by the next call. */
    if ((dirs & VST_WRITE) && vst_tls_drain(tls) == VST_IO_AGAIN)
        dirs &= ~(unsigned)VST_WRITE;
    if ((dirs & VST_READ) && swallows(tls))
        swallow(tls);
    if (tls->state <= TLS_SHAKING)
        dirs = VST_READ | VST_WRITE;
    vst_channel_announce(ch, dirs);
}

static size_t tls_buffered(struct vst_channel *ch)
{
    struct vst_tls *tls = tls_of(ch);

    if (tls->ended)
        return evbuffer_get_length(tls->plain);
    return evbuffer_get_length(tls->plain) + evbuffer_get_length(tls->in) +
           vst_channel_buffered(ch->lower);
}

/* ---- making and destroying ---- */

static void tls_destroy(struct vst_channel *ch)
{
    struct vst_tls *tls = tls_of(ch);

    if (tls->session)
        gnutls_deinit(tls->session);
    vst_tls_creds_unref(&tls->creds);
    vst_tls_other_clear(&tls->other);
    if (tls->in)
        evbuffer_free(tls->in);
    if (tls->out)
        evbuffer_free(tls->out);
    if (tls->plain)
        evbuffer_free(tls->plain);
    free(tls->host);
    free(tls);
}

static const struct vst_channel_ops tls_ops = {
    .name = "tls",
    .open = tls_open,
    .read = tls_read,
    .write = tls_write,
    .finish = tls_finish,
    .abort = tls_abort,
    .wants = tls_wants,
    .ready = tls_ready,
    .buffered = tls_buffered,
    .destroy = tls_destroy,
};

/* Nothing of it is kept for another session; the peer is verified before open() is OK. */
static int make_session(struct vst_tls *tls, const struct vst_tls_options *opt)
{
    unsigned flags =
        GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS |
        (opt->role == VST_TLS_CLIENT ? GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT : GNUTLS_SERVER);
    int status = gnutls_init(&tls->session, flags);

    if (status == 0)
        status = gnutls_priority_set(tls->session, tls->creds->priority);
    if (status == 0)
        status =
            gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, tls->creds->certificates);
    if (status == 0 && tls->host && !vst_tls_is_address(tls->host))
        status =
            gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, tls->host, strlen(tls->host));
    if (status < 0)
        return status;
    if (opt->role == VST_TLS_SERVER)
        gnutls_certificate_server_set_request(tls->session, opt->want_peer ? GNUTLS_CERT_REQUIRE
                                                                           : GNUTLS_CERT_REQUEST);
    gnutls_session_set_ptr(tls->session, &tls->other);
    gnutls_session_set_verify_function(tls->session, vst_tls_check_peer);
    gnutls_handshake_set_hook_function(tls->session, GNUTLS_HANDSHAKE_CERTIFICATE_VERIFY,
                                       GNUTLS_HOOK_PRE, vst_tls_check_keys);
    gnutls_handshake_set_max_packet_length(tls->session, SHAKE_MAX);
    gnutls_handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT);
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_pull_function(tls->session, vst_tls_pull);
    gnutls_transport_set_vec_push_function(tls->session, vst_tls_push);
    return 0;
}

static int make(struct vst_tls *tls, const struct vst_tls_options *opt, struct vst_error *err)
{
    int status;

    tls->in = evbuffer_new();
    tls->out = evbuffer_new();
    tls->plain = evbuffer_new();
    if (opt->host)
        tls->host = strdup(opt->host);
    if (!tls->in || !tls->out || !tls->plain || (opt->host && !tls->host))
        return vst_error_no_memory(err);
    tls->other.creds = tls->creds;
    tls->other.host = tls->host;
    tls->rekey = opt->rekey ? opt->rekey : VST_TLS_REKEY_BYTES;
    status = make_session(tls, opt);
    return status < 0 ? vst_tls_fail(err, NULL, tls->creds, "handshake", status) : 0;
}

static int check_options(const struct vst_tls_creds *creds, const struct vst_tls_options *opt,
                         struct vst_error *err)
{
    if (creds->role != opt->role)
        return vst_error_set(err, VST_ERR_INTERNAL, "TLS: certificates of the other role");
    if (opt->role == VST_TLS_CLIENT && !opt->host)
        return vst_error_set(err, VST_ERR_INVALID,
                             "TLS: the name that the server's certificate must have is missing");
    return 0;
}

struct vst_channel *vst_channel_tls(struct vst_channel *lower, struct vst_tls_creds *creds,
                                    const struct vst_tls_options *opt, struct vst_error *ret_err)
{
    struct vst_tls *tls;

    if (check_options(creds, opt, ret_err) < 0)
        return NULL;
    tls = calloc(1, sizeof(*tls));
    if (!tls) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    tls->creds = vst_tls_creds_ref(creds);
    if (make(tls, opt, ret_err) < 0) {
        tls_destroy(&tls->base);
        return NULL;
    }
    vst_channel_init(&tls->base, &tls_ops, lower->base, lower);
    vst_buffer_prepare();
    return &tls->base;
}

/* ---- what is known ---- */

const struct vst_tls_peer *vst_tls_get_peer(const struct vst_channel *ch)
{
    return &tls_of_const(ch)->other.peer;
}

int vst_tls_get_binding(const struct vst_channel *ch, unsigned char ret_data[VST_TLS_BINDING],
                        struct vst_error *ret_err)
{
    const struct vst_tls *tls = tls_of_const(ch);
    gnutls_datum_t data = {NULL, 0};
    int status = gnutls_session_channel_binding(tls->session, GNUTLS_CB_TLS_EXPORTER, &data);

    if (status == 0 && data.size != VST_TLS_BINDING)
        status = GNUTLS_E_INTERNAL_ERROR;
    if (status == 0)
        memcpy(ret_data, data.data, VST_TLS_BINDING);
    gnutls_free(data.data);
    return status < 0 ? vst_tls_fail(ret_err, NULL, tls->creds, "authentication", status) : 0;
}

const char *vst_tls_get_cipher(const struct vst_channel *ch)
{
    return tls_of_const(ch)->cipher;
}

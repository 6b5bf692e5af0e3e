/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TLS layer: GnuTLS between two buffers. It pulls from `in`, which is filled by large reads
 * from below when it is empty, and pushes to `out`, which takes everything; so GnuTLS never waits
 * for writing, and all that it makes of one write leaves as one. What the peer must be is in
 * tls-peer.c, sentences about what fails are in tls-error.c.
 *
 * A failure while reading comes after the bytes that were verified before it.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/buffer.h"
#include "core/fsm.h"
#include "tls-private.h"

#define TLS_STATES(X)                                                                    \
    X(TLS_BELOW, "the channel below", "nothing has been said yet")                       \
    X(TLS_SHAKING, "the peer's part of the hand-shake", "keys are agreed on and proven") \
    X(TLS_OPEN, "bytes", "bytes pass both ways")                                         \
    X(TLS_CLOSED, "the peer's bytes", "close_notify was given to what is below")         \
    X(TLS_FAILED, "nothing", "the session cannot go on")
VST_FSM(tls, TLS_STATES)

enum {
    RECORD = 16384,               /* the most plain bytes in a record (RFC 8446, 5.1) */
    OVERHEAD = 64,                /* at least what a record adds to them */
    UNIT = 256 * 1024,            /* the most that one call reads or encrypts */
    SMALL_UNIT = 4096,            /* the most that one read brings when little is asked for */
    READS = 16,                   /* the most reads in one call: then it is another's turn */
    SHAKE_MAX = 32 * 1024,        /* the longest message of a hand-shake: a chain of certificates */
    SMALL = 1024,                 /* up to here a copy costs less than a block of its own */
    REKEY_NS = 250 * 1000 * 1000, /* at least so long between two rekeys, see rekey_is_due() */
};

struct tls {
    struct vst_channel base;
    gnutls_session_t session;
    struct vst_tls_creds *creds;
    enum tls_state state;
    struct evbuffer *in;    /* ciphertext from below, for GnuTLS to pull */
    struct evbuffer *out;   /* ciphertext for below, as GnuTLS pushed it */
    struct evbuffer *plain; /* decrypted, and more than was asked for */
    size_t appetite;        /* how much a read from below may bring */
    unsigned reads;         /* how many are allowed yet */
    enum vst_io below;      /* what the last read from below said */
    bool starved;           /* GnuTLS has been told to wait */
    bool ended;             /* close_notify has come */
    bool broken;            /* reading fails when `plain` is empty; the error is there */
    uint64_t rekey;         /* bytes between two */
    uint64_t sent;          /* bytes since the last */
    uint64_t rekeyed;       /* when, in nanoseconds */
    char *host;
    struct vst_tls_other other;
    char cipher[40];
};

static struct tls *tls_of(struct vst_channel *ch)
{
    return (struct tls *)ch;
}

static const struct tls *tls_of_const(const struct vst_channel *ch)
{
    return (const struct tls *)ch;
}

static const char *role_name(const struct tls *tls)
{
    return tls->creds->role == VST_TLS_CLIENT ? "client" : "server";
}

static void enter(struct tls *tls, enum tls_state state)
{
    vst_fsm_trace(tls, role_name(tls), tls->state, state);
    tls->state = state;
}

static uint64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void drop_out(struct tls *tls)
{
    evbuffer_drain(tls->out, evbuffer_get_length(tls->out));
}

/* ---- what GnuTLS calls ---- */

static ssize_t starve(struct tls *tls, int number)
{
    tls->starved = true;
    gnutls_transport_set_errno(tls->session, number);
    return -1;
}

static ssize_t pull(gnutls_transport_ptr_t opaque, void *bytes, size_t n)
{
    struct tls *tls = opaque;
    size_t got;

    if (!evbuffer_get_length(tls->in)) {
        if (!tls->reads)
            return starve(tls, EAGAIN);
        tls->reads--;
        tls->below = vst_channel_read(tls->base.lower, tls->in, tls->appetite, &got);
        if (tls->below == VST_IO_AGAIN)
            return starve(tls, EAGAIN);
        if (tls->below == VST_IO_FAIL)
            return starve(tls, EIO);
        if (tls->below == VST_IO_EOF)
            return 0;
    }
    return evbuffer_remove(tls->in, bytes, n);
}

static ssize_t push(gnutls_transport_ptr_t opaque, const giovec_t *pieces, int count)
{
    struct tls *tls = opaque;
    ssize_t n = 0;

    for (int i = 0; i < count; i++) {
        if (evbuffer_add(tls->out, pieces[i].iov_base, pieces[i].iov_len) < 0) {
            vst_error_no_memory(vst_channel_fail(&tls->base));
            gnutls_transport_set_errno(tls->session, ENOMEM);
            return -1;
        }
        n += (ssize_t)pieces[i].iov_len;
    }
    return n;
}

/* ---- failing ---- */

static void decrypt(struct tls *tls, size_t max);

/*
 * Whoever refuses us says why and hangs up. Then writing fails, and the reason has not been read
 * yet: fail() takes it for the cause.
 */
static void hear_last_words(struct tls *tls)
{
    size_t before, after = evbuffer_get_length(tls->plain);

    if (tls->state != TLS_OPEN && tls->state != TLS_CLOSED)
        return;
    do {
        before = after;
        decrypt(tls, UNIT);
        after = evbuffer_get_length(tls->plain);
    } while (after > before && after < UNIT && !tls->ended && !tls->broken);
}

/* OK: all that GnuTLS has pushed is below. */
static enum vst_io drain(struct tls *tls)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(tls->out))
        io = vst_channel_write(tls->base.lower, tls->out, evbuffer_get_length(tls->out), &n);
    if (io == VST_IO_FAIL) {
        drop_out(tls);
        hear_last_words(tls);
    }
    vst_channel_rearm(&tls->base);
    return io;
}

/* The peer is told why, as far as it can be: nobody waits until it has taken it. */
static void tell_peer(struct tls *tls, int status)
{
    if (tls->other.refused)
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, vst_tls_verify_alert(tls->other.refused));
    else if (status == GNUTLS_E_NO_CIPHER_SUITES) /* for want of a version: ours are mandatory */
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_PROTOCOL_VERSION);
    else if (status != GNUTLS_E_FATAL_ALERT_RECEIVED)
        gnutls_alert_send_appropriate(tls->session, status);
    drain(tls);
}

/* `status` is what GnuTLS returned. */
static enum vst_io fail(struct tls *tls, const char *phase, int status)
{
    struct vst_error *err;

    if (tls->below == VST_IO_FAIL) { /* then its error is the stack's */
        enter(tls, TLS_FAILED);
        return VST_IO_FAIL;
    }
    err = status == GNUTLS_E_FATAL_ALERT_RECEIVED ? vst_channel_explain(&tls->base)
                                                  : vst_channel_fail(&tls->base);
    if (tls->other.refused)
        vst_tls_fail_verify(err, tls->session, &tls->other);
    else if (tls->below == VST_IO_EOF)
        vst_tls_fail_cut(err, tls->creds, phase);
    else
        vst_tls_fail(err, tls->session, tls->creds, phase, status);
    if (tls->below != VST_IO_EOF)
        tell_peer(tls, status);
    enter(tls, TLS_FAILED);
    return VST_IO_FAIL;
}

/* ---- opening ---- */

static enum vst_io learn(struct tls *tls)
{
    int status = vst_tls_learn_peer(tls->session, &tls->other);

    if (status < 0)
        return fail(tls, "handshake", status);
    snprintf(tls->cipher, sizeof(tls->cipher), "%s %s",
             gnutls_protocol_get_name(gnutls_protocol_get_version(tls->session)),
             gnutls_cipher_get_name(gnutls_cipher_get(tls->session)));
    enter(tls, TLS_OPEN);
    return VST_IO_OK;
}

static enum vst_io shake(struct tls *tls)
{
    int status;

    tls->appetite = SMALL_UNIT;
    tls->reads = READS;
    do {
        tls->starved = false;
        status = gnutls_handshake(tls->session);
    } while (status < 0 && !gnutls_error_is_fatal(status) && !tls->starved);
    if (status < 0 && gnutls_error_is_fatal(status))
        return fail(tls, "handshake", status);
    if (drain(tls) == VST_IO_FAIL) {
        enter(tls, TLS_FAILED);
        return VST_IO_FAIL;
    }
    return status < 0 ? VST_IO_AGAIN : learn(tls);
}

static enum vst_io tls_open(struct vst_channel *ch)
{
    struct tls *tls = tls_of(ch);

    if (tls->state == TLS_BELOW) {
        enum vst_io io = vst_channel_open(ch->lower);

        if (io != VST_IO_OK)
            return io;
        enter(tls, TLS_SHAKING);
    }
    if (tls->state == TLS_FAILED)
        return VST_IO_FAIL;
    return tls->state == TLS_SHAKING ? shake(tls) : VST_IO_OK;
}

/* ---- reading ---- */

static void free_packet(const void *bytes, size_t n, void *packet)
{
    (void)bytes, (void)n;
    gnutls_packet_deinit(packet);
}

/* Takes the packet. Its bytes go on where they are, unless they are few. */
static int keep(struct tls *tls, gnutls_packet_t packet)
{
    gnutls_datum_t data;
    int status;

    gnutls_packet_get(packet, &data, NULL);
    if (data.size > SMALL &&
        evbuffer_add_reference(tls->plain, data.data, data.size, free_packet, packet) == 0)
        return 0;
    status = evbuffer_add(tls->plain, data.data, data.size);
    gnutls_packet_deinit(packet);
    return status;
}

/* The bytes that were verified come first, then the failure. */
static void break_reading(struct tls *tls, int status)
{
    tls->broken = true;
    fail(tls, "", status);
}

/* One record, or what GnuTLS says in its place. An empty one is no end. */
static void decrypt_record(struct tls *tls)
{
    gnutls_packet_t packet = NULL;
    ssize_t n = gnutls_record_recv_packet(tls->session, &packet);

    if (packet && keep(tls, packet) < 0)
        n = GNUTLS_E_MEMORY_ERROR;
    if (n < 0 && gnutls_error_is_fatal((int)n))
        break_reading(tls, (int)n);
    tls->ended = n == 0 && !packet;
}

/*
 * Decrypts up to `max` bytes, or one record, of what one read from below brings; or more reads, if
 * one is not enough for a record. GnuTLS says AGAIN also when it has swallowed a record of its own
 * (a rekey): it has to wait only if it was told so.
 */
static void decrypt(struct tls *tls, size_t max)
{
    size_t got = 0;

    tls->starved = false;
    tls->reads = READS;
    max = vst_least(max, UNIT);
    tls->appetite = max < SMALL_UNIT ? SMALL_UNIT : max + OVERHEAD * (max / RECORD + 1);
    while ((!got || got + RECORD <= max) && !tls->starved && !tls->ended && !tls->broken) {
        decrypt_record(tls);
        got = evbuffer_get_length(tls->plain);
        if (got)
            tls->reads = 0;
    }
}

/*
 * What is below may still have to be told that its end was taken, and a peer that has said that it
 * has ended has nothing more to say: what comes is read and dropped.
 */
static void swallow(struct tls *tls)
{
    size_t n;

    tls->below = vst_channel_read(tls->base.lower, tls->in, UNIT, &n);
    evbuffer_drain(tls->in, evbuffer_get_length(tls->in));
    vst_channel_rearm(&tls->base);
}

static bool swallows(const struct tls *tls)
{
    return tls->ended && (tls->below == VST_IO_OK || tls->below == VST_IO_AGAIN);
}

static enum vst_io hand_out(struct tls *tls, struct evbuffer *into, size_t max, size_t *ret_n)
{
    size_t n = vst_buffer_whole(tls->plain, max);

    if (vst_buffer_move(tls->plain, into, n) < 0) {
        vst_error_no_memory(vst_channel_fail(&tls->base));
        enter(tls, TLS_FAILED);
        return VST_IO_FAIL;
    }
    *ret_n = n;
    return VST_IO_OK;
}

static enum vst_io tls_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                            size_t *ret_n)
{
    struct tls *tls = tls_of(ch);

    if (!evbuffer_get_length(tls->plain) && !tls->ended && !tls->broken)
        decrypt(tls, max);
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

/*
 * GnuTLS refuses a peer that rekeys more than eight times a second, and counts when it reads: what
 * waits on the way comes at once. So a rekey that is due waits for its time, and bytes pass
 * meanwhile. The peer is never asked to rekey: two that ask each other at once end the session
 * (GnuTLS takes the answer for a violation).
 */
static bool rekey_is_due(struct tls *tls)
{
    return tls->sent >= tls->rekey && now() - tls->rekeyed >= REKEY_NS;
}

static int rekey(struct tls *tls)
{
    int status = gnutls_session_key_update(tls->session, 0);

    vst_trace(VST_TRACE_WIRE, "tls %s: new keys after %llu bytes", role_name(tls),
              (unsigned long long)tls->sent);
    tls->sent = 0;
    tls->rekeyed = now();
    return status;
}

/* One record from the front of `from`, gathered only if it is not in one piece. */
static ssize_t encrypt_record(struct tls *tls, struct evbuffer *from, size_t max)
{
    unsigned char gathered[RECORD];
    struct evbuffer_iovec piece;
    size_t n = vst_least(max, RECORD);
    const void *bytes = gathered;
    ssize_t done;

    vst_buffer_pieces(from, n, &piece, 1);
    if (piece.iov_len < n)
        evbuffer_copyout(from, gathered, n);
    else
        bytes = piece.iov_base;
    done = gnutls_record_send(tls->session, bytes, n);
    if (done > 0)
        evbuffer_drain(from, (size_t)done);
    return done;
}

/* Returns how many bytes it took, or GnuTLS's error. */
static ssize_t encrypt(struct tls *tls, struct evbuffer *from, size_t max)
{
    size_t left = vst_least(evbuffer_get_length(from), vst_least(max, UNIT));
    size_t began = left;

    if (tls->sent < tls->rekey)
        left = began = (size_t)vst_least(left, tls->rekey - tls->sent);
    if (evbuffer_expand(tls->out, left + OVERHEAD * (left / RECORD + 2)) < 0)
        return GNUTLS_E_MEMORY_ERROR;
    while (left) {
        ssize_t n = encrypt_record(tls, from, left);

        if (n < 0)
            return n;
        left -= (size_t)n;
    }
    tls->sent += began;
    return (ssize_t)began;
}

static enum vst_io fail_writing(struct tls *tls, int status)
{
    drop_out(tls);
    return fail(tls, "", status);
}

static enum vst_io tls_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                             size_t *ret_n)
{
    struct tls *tls = tls_of(ch);
    enum vst_io io;
    ssize_t n = 0;

    if (tls->state != TLS_OPEN) {
        vst_error_set(vst_channel_fail(ch), VST_ERR_STATE, "TLS: written to when it was not open");
        return VST_IO_FAIL;
    }
    io = drain(tls);
    if (io != VST_IO_OK)
        return io;
    if (rekey_is_due(tls))
        n = rekey(tls);
    if (n >= 0)
        n = encrypt(tls, from, max);
    if (n < 0)
        return fail_writing(tls, (int)n);
    if (drain(tls) == VST_IO_FAIL)
        return VST_IO_FAIL;
    *ret_n = (size_t)n;
    return VST_IO_OK;
}

static enum vst_io tls_finish(struct vst_channel *ch)
{
    struct tls *tls = tls_of(ch);
    enum vst_io io;

    if (tls->state == TLS_OPEN) {
        int status = gnutls_bye(tls->session, GNUTLS_SHUT_WR);

        if (status < 0)
            return fail_writing(tls, status);
        enter(tls, TLS_CLOSED);
    }
    if (tls->state != TLS_CLOSED)
        return VST_IO_FAIL;
    io = drain(tls);
    if (io != VST_IO_OK)
        return io;
    io = vst_channel_finish(ch->lower);
    if (io == VST_IO_FAIL)
        hear_last_words(tls);
    return io;
}

static void tls_abort(struct vst_channel *ch, const struct vst_error *why)
{
    drop_out(tls_of(ch));
    vst_channel_rearm(ch);
    vst_channel_abort(ch->lower, why);
}

/* ---- readiness ---- */

static unsigned tls_wants(struct vst_channel *ch, unsigned dirs)
{
    struct tls *tls = tls_of(ch);

    if (tls->state == TLS_SHAKING)
        dirs = dirs ? VST_READ : 0;
    if (swallows(tls))
        dirs |= VST_READ;
    return evbuffer_get_length(tls->out) ? dirs | VST_WRITE : dirs;
}

static void tls_ready(struct vst_channel *ch, unsigned dirs)
{
    struct tls *tls = tls_of(ch);

    /* A failure stays, and is found by the next call. */
    if ((dirs & VST_WRITE) && drain(tls) == VST_IO_AGAIN)
        dirs &= ~(unsigned)VST_WRITE;
    if ((dirs & VST_READ) && swallows(tls))
        swallow(tls);
    if (tls->state <= TLS_SHAKING)
        dirs = VST_READ | VST_WRITE;
    vst_channel_announce(ch, dirs);
}

static size_t tls_buffered(struct vst_channel *ch)
{
    struct tls *tls = tls_of(ch);

    if (tls->ended)
        return evbuffer_get_length(tls->plain);
    return evbuffer_get_length(tls->plain) + evbuffer_get_length(tls->in) +
           vst_channel_buffered(ch->lower);
}

/* ---- making and destroying ---- */

static void tls_destroy(struct vst_channel *ch)
{
    struct tls *tls = tls_of(ch);

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
static int make_session(struct tls *tls, const struct vst_tls_options *opt)
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
    gnutls_handshake_set_max_packet_length(tls->session, SHAKE_MAX);
    gnutls_handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT);
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_pull_function(tls->session, pull);
    gnutls_transport_set_vec_push_function(tls->session, push);
    return 0;
}

static int make(struct tls *tls, const struct vst_tls_options *opt, struct vst_error *err)
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
    struct tls *tls;

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
    const struct tls *tls = tls_of_const(ch);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GnuTLS between two buffers. It pulls from `in`, which is filled by large reads from below when it
 * is empty, and pushes to `out`, which takes everything; so GnuTLS never waits for writing, and all
 * that it makes of one write leaves as one.
 *
 * A failure while reading comes after the bytes that were verified before it.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "tls-private.h"

static const char *const tls_state_names[] = {TLS_STATES(VST_FSM_NAME)};

enum {
    RECORD = 16384,               /* the most plain bytes in a record (RFC 8446, 5.1) */
    OVERHEAD = 64,                /* at least what a record adds to them */
    SMALL_UNIT = 4096,            /* the most that one read brings when little is asked for */
    READS = 16,                   /* the most reads in one call: then it is another's turn */
    BLOCK = 64 * 1024,            /* what records are decrypted into */
    REKEY_NS = 250 * 1000 * 1000, /* at least so long between two rekeys, see rekey_is_due() */
};

static const char *role_name(const struct vst_tls *tls)
{
    return tls->creds->role == VST_TLS_CLIENT ? "client" : "server";
}

void vst_tls_enter(struct vst_tls *tls, enum tls_state state)
{
    vst_fsm_trace(tls, role_name(tls), tls->state, state);
    tls->state = state;
}

void vst_tls_drop_out(struct vst_tls *tls)
{
    evbuffer_drain(tls->out, evbuffer_get_length(tls->out));
}

/* ---- what GnuTLS calls ---- */

static ssize_t starve(struct vst_tls *tls, int number)
{
    tls->starved = true;
    gnutls_transport_set_errno(tls->session, number);
    return -1;
}

ssize_t vst_tls_pull(gnutls_transport_ptr_t opaque, void *bytes, size_t n)
{
    struct vst_tls *tls = opaque;
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

ssize_t vst_tls_push(gnutls_transport_ptr_t opaque, const giovec_t *pieces, int count)
{
    struct vst_tls *tls = opaque;
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

void vst_tls_hear_last_words(struct vst_tls *tls)
{
    size_t before, after = evbuffer_get_length(tls->plain);

    if (tls->state != TLS_OPEN && tls->state != TLS_CLOSED)
        return;
    do {
        before = after;
        vst_tls_decrypt(tls, VST_TLS_UNIT);
        after = evbuffer_get_length(tls->plain);
    } while (after > before && after < VST_TLS_UNIT && !tls->ended && !tls->broken);
}

/* OK: all that GnuTLS has pushed is below. After AGAIN nothing is tried until it is announced. */
enum vst_io vst_tls_drain(struct vst_tls *tls)
{
    bool waits = tls->under == VST_IO_AGAIN && evbuffer_get_length(tls->out);
    enum vst_io io = waits ? VST_IO_AGAIN : VST_IO_OK;
    size_t n;

    while (io == VST_IO_OK && evbuffer_get_length(tls->out))
        io = vst_channel_write(tls->base.lower, tls->out, evbuffer_get_length(tls->out), &n);
    tls->under = io;
    if (io == VST_IO_FAIL) {
        vst_tls_drop_out(tls);
        vst_tls_hear_last_words(tls);
    }
    vst_channel_rearm(&tls->base);
    return io;
}

/* The peer is told why, as far as it can be: nobody waits until it has taken it. */
static void tell_peer(struct vst_tls *tls, int status)
{
    if (tls->other.refused)
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, vst_tls_verify_alert(tls->other.refused));
    else if (status == GNUTLS_E_CONSTRAINT_ERROR)
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
    else if (status == GNUTLS_E_NO_CIPHER_SUITES) /* for want of a version: ours are mandatory */
        gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_PROTOCOL_VERSION);
    else if (status != GNUTLS_E_FATAL_ALERT_RECEIVED)
        gnutls_alert_send_appropriate(tls->session, status);
    vst_tls_drain(tls);
}

/* `status` is what GnuTLS returned. */
enum vst_io vst_tls_break(struct vst_tls *tls, const char *phase, int status)
{
    struct vst_error *err;

    if (tls->below == VST_IO_FAIL) { /* then its error is the stack's */
        vst_tls_enter(tls, TLS_FAILED);
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
    vst_tls_enter(tls, TLS_FAILED);
    return VST_IO_FAIL;
}

/* ---- the hand-shake ---- */

int vst_tls_shake(struct vst_tls *tls)
{
    int status;

    tls->appetite = SMALL_UNIT;
    tls->reads = READS;
    do {
        tls->starved = false;
        status = gnutls_handshake(tls->session);
    } while (status < 0 && !gnutls_error_is_fatal(status) && !tls->starved);
    return status;
}

/* ---- reading ---- */

static void free_block(const void *bytes, size_t n, void *block)
{
    (void)bytes, (void)n;
    free(block);
}

/* Takes the block of `n` bytes. They go on where they are, unless they are few for so much memory.
 */
static int keep(struct vst_tls *tls, unsigned char *block, size_t n)
{
    int status = 0;

    if (n >= BLOCK / 2 && evbuffer_add_reference(tls->plain, block, n, free_block, block) == 0)
        return 0;
    if (n)
        status = evbuffer_add(tls->plain, block, n);
    free(block);
    return status;
}

/* The bytes that were verified come first, then the failure. */
static void break_reading(struct vst_tls *tls, int status)
{
    tls->broken = true;
    vst_tls_break(tls, "", status);
}

/* One record, or what GnuTLS says in its place. Returns how many bytes. */
static size_t decrypt_record(struct vst_tls *tls, unsigned char *into)
{
    ssize_t n = gnutls_record_recv(tls->session, into, RECORD);

    if (n < 0 && gnutls_error_is_fatal((int)n))
        break_reading(tls, (int)n);
    tls->ended = n == 0;
    return n > 0 ? (size_t)n : 0;
}

/* As many as a block has room for, or as are allowed. */
static size_t decrypt_block(struct vst_tls *tls, size_t max)
{
    unsigned char *block = malloc(BLOCK);
    size_t n = 0;

    while (block && (!n || (n + RECORD <= max && n + RECORD <= BLOCK)) && !tls->starved &&
           !tls->ended && !tls->broken) {
        n += decrypt_record(tls, block + n);
        if (n)
            tls->reads = 0;
    }
    if (!block || keep(tls, block, n) < 0)
        break_reading(tls, GNUTLS_E_MEMORY_ERROR);
    return n;
}

/*
 * How much a read from below may bring for `max` bytes. More follows where much was asked for a
 * moment ago: whoever reads the head of a message and then the rest would make five reads of two.
 */
static size_t appetite_for(const struct vst_tls *tls, size_t max)
{
    size_t now = max < SMALL_UNIT ? SMALL_UNIT : max + OVERHEAD * (max / RECORD + 1);

    return now > tls->appetite / 2 ? now : tls->appetite / 2;
}

/*
 * Decrypts up to `max` bytes, or one record, of what one read from below brings; or more reads, if
 * one is not enough for a record. GnuTLS says AGAIN also when it has swallowed a record of its own
 * (a rekey): it has to wait only if it was told so.
 */
void vst_tls_decrypt(struct vst_tls *tls, size_t max)
{
    size_t got = 0;

    tls->starved = false;
    tls->reads = READS;
    max = vst_least(max, VST_TLS_UNIT);
    tls->appetite = appetite_for(tls, max);
    while ((!got || got + RECORD <= max) && !tls->starved && !tls->ended && !tls->broken)
        got += decrypt_block(tls, max - got);
}

/* ---- writing ---- */

/*
 * GnuTLS refuses a peer that rekeys more than eight times a second, and counts when it reads: what
 * waits on the way comes at once. So a rekey that is due waits for its time, and bytes pass
 * meanwhile. The peer is never asked to rekey: two that ask each other at once end the session
 * (GnuTLS takes the answer for a violation).
 */
static bool rekey_is_due(struct vst_tls *tls)
{
    return tls->sent >= tls->rekey && vst_now_ns() - tls->rekeyed >= REKEY_NS;
}

static int rekey(struct vst_tls *tls)
{
    int status = gnutls_session_key_update(tls->session, 0);

    vst_trace(VST_TRACE_WIRE, "tls %s: new keys after %llu bytes", role_name(tls),
              (unsigned long long)tls->sent);
    tls->sent = 0;
    tls->rekeyed = vst_now_ns();
    return status;
}

/*
 * How much the next record takes. Few bytes before a large piece go alone, as the head of a frame
 * before its data: else every record of the data would begin in one piece and end in the next, and
 * have to be gathered.
 */
static size_t record_size(struct evbuffer *from, size_t max)
{
    struct evbuffer_iovec piece[2];
    int count = vst_buffer_pieces(from, vst_least(max, 2 * RECORD), piece, 2);

    if (count == 2 && piece[0].iov_len < RECORD && piece[1].iov_len >= RECORD)
        return piece[0].iov_len;
    return vst_least(max, RECORD);
}

/* One record from the front of `from`, gathered only if it is not in one piece. */
static ssize_t encrypt_record(struct vst_tls *tls, struct evbuffer *from, size_t max)
{
    unsigned char gathered[RECORD];
    struct evbuffer_iovec piece;
    size_t n = record_size(from, max);
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

ssize_t vst_tls_encrypt(struct vst_tls *tls, struct evbuffer *from, size_t max)
{
    size_t left = vst_least(evbuffer_get_length(from), vst_least(max, VST_TLS_UNIT));
    size_t began = left;
    int status = rekey_is_due(tls) ? rekey(tls) : 0;

    if (status < 0)
        return status;
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

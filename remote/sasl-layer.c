/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The security layer as two codecs (core/codec.h) on one connection of Cyrus SASL: packets of four
 * bytes of length and so many of ciphertext (RFC 4422, 3.7). Processor time only, no I/O.
 *
 * The library would take a packet of any length that was agreed on, and gather it; lengths are
 * looked at here before, so that an end within a packet shows.
 */
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/codec.h"
#include "sasl-private.h"

enum {
    HEAD = 4,
    PIECE = 16 * 1024,            /* the most that one step gives the library */
    PACKET_MAX = 64 * 1024 + 128, /* what was agreed on, and what a mechanism adds to it */
    HELD = 128 * 1024,            /* each way */
};

/* The connection, of both codecs. */
struct shared {
    struct vst_sasl *sasl;
    unsigned codecs;
};

struct coding {
    struct vst_codec codec;
    struct shared *shared;
    unsigned most;   /* encoding: input of one packet */
    unsigned headed; /* decoding: bytes of this packet's head that have come */
    uint32_t left;   /* ... and of its body that have not, once the head is there */
};

static sasl_conn_t *conn_of(struct coding *coding)
{
    return vst_sasl_login(coding->shared->sasl)->conn;
}

static void destroy(struct vst_codec *codec)
{
    struct coding *coding = (struct coding *)codec;

    if (--coding->shared->codecs == 0) {
        vst_sasl_free(&coding->shared->sasl);
        free(coding->shared);
    }
    free(coding);
}

/* The first bytes in one piece, at most `max`; NULL: out of memory. */
static const unsigned char *piece(struct evbuffer *in, size_t max, size_t *ret_n)
{
    *ret_n = vst_least(evbuffer_get_length(in), max);
    return evbuffer_pullup(in, (ev_ssize_t)*ret_n);
}

static int put(struct evbuffer *in, size_t taken, struct evbuffer *out, const char *bytes, size_t n,
               struct vst_error *ret_err)
{
    if (n && evbuffer_add(out, bytes, n) < 0)
        return vst_error_no_memory(ret_err);
    return evbuffer_drain(in, taken);
}

/* ---- encoding ---- */

static int encode_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    struct coding *coding = (struct coding *)codec;
    const unsigned char *bytes;
    const char *packet;
    unsigned length;
    size_t n;
    int number;

    (void)max, (void)last;
    if (!evbuffer_get_length(in))
        return 0;
    bytes = piece(in, vst_least(coding->most, PIECE), &n);
    if (!bytes)
        return vst_error_no_memory(ret_err);
    number = sasl_encode(conn_of(coding), (const char *)bytes, (unsigned)n, &packet, &length);
    if (number == SASL_OK)
        return put(in, n, out, packet, length, ret_err);
    if (number == SASL_NOMEM)
        return vst_error_no_memory(ret_err);
    return vst_error_set(ret_err, VST_ERR_INTERNAL, "SASL cannot protect data: %s",
                         sasl_errdetail(conn_of(coding)));
}

static const struct vst_codec_ops encode_ops = {
    .name = "sasl-encode",
    .step = encode_step,
    .destroy = destroy,
};

/* ---- decoding ---- */

/* Follows the packets through `n` bytes. */
static int follow(struct coding *coding, const unsigned char *bytes, size_t n,
                  struct vst_error *ret_err)
{
    while (n) {
        size_t of_body = coding->headed == HEAD ? vst_least(n, coding->left) : 0;

        bytes += of_body;
        n -= of_body;
        coding->left -= (uint32_t)of_body;
        if (coding->headed == HEAD && !coding->left)
            coding->headed = 0;
        while (n && coding->headed < HEAD) {
            coding->left = coding->left << 8 | *bytes++;
            coding->headed++;
            n--;
        }
        if (coding->headed == HEAD && (!coding->left || coding->left > PACKET_MAX))
            return vst_error_set(ret_err, VST_ERR_DAMAGED,
                                 "a packet of SASL's security layer says that it has %u bytes",
                                 coding->left);
    }
    return 0;
}

static int at_end(const struct coding *coding, struct vst_error *ret_err)
{
    if (coding->headed == 0)
        return 0;
    return vst_error_set(ret_err, VST_ERR_LOST,
                         "the connection ended within a packet of SASL's security layer");
}

static int decode_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    struct coding *coding = (struct coding *)codec;
    const unsigned char *bytes;
    const char *plain = NULL;
    unsigned length = 0;
    size_t n;
    int number;

    (void)max;
    if (!evbuffer_get_length(in))
        return last ? at_end(coding, ret_err) : 0;
    bytes = piece(in, PIECE, &n);
    if (!bytes)
        return vst_error_no_memory(ret_err);
    if (follow(coding, bytes, n, ret_err) < 0)
        return -1;
    number = sasl_decode(conn_of(coding), (const char *)bytes, (unsigned)n, &plain, &length);
    if (number == SASL_OK)
        return put(in, n, out, plain, length, ret_err);
    if (number == SASL_NOMEM)
        return vst_error_no_memory(ret_err);
    return vst_error_set(ret_err, VST_ERR_DAMAGED,
                         "a packet of SASL's security layer was altered on its way: %s",
                         sasl_errdetail(conn_of(coding)));
}

static const struct vst_codec_ops decode_ops = {
    .name = "sasl-decode",
    .step = decode_step,
    .destroy = destroy,
};

/* ---- making ---- */

static struct vst_codec *coding_new(struct shared *shared, const struct vst_codec_ops *ops)
{
    struct coding *coding = calloc(1, sizeof(*coding));

    if (!coding)
        return NULL;
    coding->codec.ops = ops;
    coding->shared = shared;
    coding->most = vst_login_most(vst_sasl_login(shared->sasl));
    shared->codecs++;
    return &coding->codec;
}

/* The exchange stays with the caller for as long as this can fail. */
struct vst_channel *vst_channel_sasl(struct vst_channel *lower, struct vst_sasl **sasl,
                                     struct vst_error *ret_err)
{
    struct shared *shared = calloc(1, sizeof(*shared));
    struct vst_codec *encode = NULL, *decode = NULL;
    struct vst_channel *ch = NULL;

    if (shared) {
        shared->sasl = *sasl;
        encode = coding_new(shared, &encode_ops);
        decode = coding_new(shared, &decode_ops);
    }
    if (encode && decode)
        ch = vst_channel_codec(lower, decode, encode, HELD, ret_err);
    if (ch) {
        *sasl = NULL;
        return ch;
    }
    free(encode);
    free(decode);
    free(shared);
    vst_error_no_memory(ret_err);
    return NULL;
}

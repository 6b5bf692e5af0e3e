/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An image in, raw bytes out. A payload is held back until its check has matched, so nothing that
 * was not verified ever leaves; at most one record (1 MiB) is held. Lengths are checked before
 * anything is kept, types after the check: a damaged type is damage, not a question of version.
 */
#include "record-frame.h"

#include <inttypes.h>
#include <stdlib.h>

#include "buffer.h"
#include "fsm.h"

#define DECODE_STATES(X)                                                         \
    X(DECODE_PREAMBLE, "24 bytes", "it is not known yet whether it is an image") \
    X(DECODE_HEAD, "16 bytes", "between two records")                            \
    X(DECODE_PAYLOAD, "the rest of the payload", "inside a record")              \
    X(DECODE_GIVING, "room for output", "verified data goes out")                \
    X(DECODE_ENDED, "the end of the input", "END was right; nothing may follow") \
    X(DECODE_FAILED, "nothing", "not an image, damaged, truncated or refused")
VST_FSM(decode, DECODE_STATES)

struct decoder {
    struct vst_records records;
    struct vst_record_cb cb;
    enum decode_state state;
    unsigned char head[VST_RECORD_PREAMBLE]; /* what has come of a preamble or a head */
    size_t gathered;
    uint32_t type; /* type, length and check as the head says */
    uint32_t length;
    uint64_t check;
    uint64_t at;              /* where in the image the record begins */
    struct evbuffer *payload; /* of this record; beyond the check in GIVING only */
    struct vst_error failed;
};

static void enter(struct decoder *decoder, enum decode_state state)
{
    vst_fsm_trace(decode, "image", decoder->state, state);
    decoder->state = state;
}

/* A failure in the record at hand. Always -1. */
static int bad_record(struct decoder *decoder, enum vst_code code, const char *what)
{
    return vst_error_set(&decoder->failed, code, "record %" PRIu64 " at offset %" PRIu64 ": %s",
                         decoder->records.stats.records, decoder->at, what);
}

/* Takes from `in` until `n` bytes of preamble or head are there. Codecs keep what they have seen:
 * nobody promises that `in` can hold as much. */
static bool gathered(struct decoder *decoder, struct evbuffer *in, size_t n)
{
    int got = evbuffer_remove(in, decoder->head + decoder->gathered, n - decoder->gathered);

    if (got > 0) {
        decoder->gathered += (size_t)got;
        decoder->records.stats.image_bytes += (size_t)got;
    }
    return decoder->gathered == n;
}

/*
 * One function per state: 1 it got on, 0 it waits for what the table says, -1 decoder->failed is
 * set.
 */

static int not_an_image(struct decoder *decoder)
{
    return vst_error_set(&decoder->failed, VST_ERR_DAMAGED,
                         "this is not an image of virstream, or its first bytes are damaged");
}

static int judge_preamble(struct decoder *decoder)
{
    unsigned char wanted[VST_RECORD_PREAMBLE];
    const unsigned char *preamble = decoder->head;

    vst_records_preamble(wanted);
    if (memcmp(preamble, wanted, sizeof(wanted)) == 0)
        return 1;
    if (XXH3_64bits(preamble, 16) != vst_get_be64(preamble + 16))
        return vst_error_set(&decoder->failed, VST_ERR_DAMAGED,
                             "the first bytes of the image do not match their check; the image "
                             "is damaged");
    return vst_error_set(&decoder->failed, VST_ERR_INCOMPATIBLE,
                         "the image is of version %" PRIu32 " with flags %#" PRIx32
                         "; this virstream reads version %u without flags",
                         vst_get_be32(preamble + 8), vst_get_be32(preamble + 12),
                         VST_RECORD_VERSION);
}

static int on_preamble(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out,
                       size_t max)
{
    bool all = gathered(decoder, in, VST_RECORD_PREAMBLE);

    (void)out, (void)max;
    if (memcmp(decoder->head, VST_RECORD_MAGIC, vst_least(decoder->gathered, 8)) != 0)
        return not_an_image(decoder);
    if (!all)
        return 0;
    decoder->gathered = 0;
    enter(decoder, DECODE_HEAD);
    return judge_preamble(decoder);
}

static int on_head(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out, size_t max)
{
    bool all = gathered(decoder, in, VST_RECORD_HEAD);

    (void)out, (void)max;
    decoder->at = decoder->records.stats.image_bytes - decoder->gathered;
    if (!all)
        return 0;
    decoder->gathered = 0;
    decoder->type = vst_get_be32(decoder->head);
    decoder->length = vst_get_be32(decoder->head + 4);
    decoder->check = vst_get_be64(decoder->head + 8);
    if (decoder->length > VST_RECORD_MAX)
        return bad_record(decoder, VST_ERR_DAMAGED,
                          "is longer than a record can be; the image is damaged");
    vst_records_begin(&decoder->records, decoder->type, decoder->length);
    enter(decoder, DECODE_PAYLOAD);
    return 1;
}

static int on_header(struct decoder *decoder)
{
    struct vst_record_cb *cb = &decoder->cb;
    const char *json = "";

    if (!cb->header || decoder->records.stats.records != 0)
        return bad_record(decoder, VST_ERR_DAMAGED, "is a HEADER where none belongs");
    if (decoder->length)
        json = (const char *)evbuffer_pullup(decoder->payload, -1);
    if (!json)
        return vst_error_no_memory(&decoder->failed);
    return cb->header(cb->opaque, json, decoder->length, &decoder->failed) < 0 ? -1 : 1;
}

static int on_end(struct decoder *decoder)
{
    unsigned char told[VST_RECORD_END_LEN], counted[VST_RECORD_END_LEN];

    vst_records_end(&decoder->records, counted);
    if (decoder->length != sizeof(told) ||
        evbuffer_remove(decoder->payload, told, sizeof(told)) != (int)sizeof(told) ||
        memcmp(told, counted, sizeof(told)) != 0)
        return bad_record(decoder, VST_ERR_DAMAGED,
                          "END does not agree with the data before it; the image is damaged");
    decoder->records.stats.ended = true;
    enter(decoder, DECODE_ENDED);
    return 1;
}

/* The record is what was written; what does it mean? Leaves PAYLOAD. */
static int on_record(struct decoder *decoder)
{
    enter(decoder, DECODE_HEAD);
    if (decoder->cb.header && decoder->records.stats.records == 0 &&
        decoder->type != VST_RECORD_HEADER)
        return bad_record(decoder, VST_ERR_DAMAGED, "should be the HEADER, which is missing");
    switch (decoder->type) {
    case VST_RECORD_HEADER:
        return on_header(decoder);
    case VST_RECORD_DATA:
        if (!decoder->length)
            return bad_record(decoder, VST_ERR_DAMAGED, "is DATA without a byte");
        decoder->records.stats.data_bytes += decoder->length;
        enter(decoder, DECODE_GIVING);
        return 1;
    case VST_RECORD_END:
        return on_end(decoder);
    default:
        if (decoder->type & VST_RECORD_MAY_SKIP)
            return 1;
        return bad_record(decoder, VST_ERR_INCOMPATIBLE,
                          "is of a type that this version of virstream does not know");
    }
}

static int on_payload(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out,
                      size_t max)
{
    size_t missing = decoder->length - evbuffer_get_length(decoder->payload);
    size_t n = vst_least(evbuffer_get_length(in), missing);
    int result;

    (void)out, (void)max;
    vst_records_feed_buffer(&decoder->records, in, n, decoder->type);
    if (vst_buffer_move(in, decoder->payload, n) < 0)
        return vst_error_no_memory(&decoder->failed);
    decoder->records.stats.image_bytes += n;
    if (n < missing)
        return n > 0;
    if (vst_records_take_check(&decoder->records) != decoder->check)
        return bad_record(decoder, VST_ERR_DAMAGED,
                          "checksum does not match; the image is damaged");
    result = on_record(decoder);
    decoder->records.stats.records++;
    if (decoder->state != DECODE_GIVING)
        evbuffer_drain(decoder->payload, evbuffer_get_length(decoder->payload));
    return result;
}

static int on_giving(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out, size_t max)
{
    (void)in;
    if (vst_buffer_move(decoder->payload, out, vst_buffer_whole(decoder->payload, max)) < 0)
        return vst_error_no_memory(&decoder->failed);
    if (!evbuffer_get_length(decoder->payload))
        enter(decoder, DECODE_HEAD);
    return 1;
}

static int on_ended(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out, size_t max)
{
    (void)out, (void)max;
    if (!evbuffer_get_length(in))
        return 0;
    return vst_error_set(&decoder->failed, VST_ERR_DAMAGED,
                         "bytes follow the end of the image at offset %" PRIu64
                         "; the image is damaged",
                         decoder->records.stats.image_bytes);
}

static int on_failed(struct decoder *decoder, struct evbuffer *in, struct evbuffer *out, size_t max)
{
    (void)decoder, (void)in, (void)out, (void)max;
    return -1;
}

/* The input has ended, and the decoder still waits for some. */
static int truncated(struct decoder *decoder)
{
    const struct vst_record_stats *stats = &decoder->records.stats;

    if (decoder->state == DECODE_PREAMBLE)
        return vst_error_set(&decoder->failed, VST_ERR_TRUNCATED,
                             decoder->gathered
                                 ? "the image ends within its first %d bytes; it is truncated"
                                 : "the image is empty; an image begins with %d bytes of its own",
                             VST_RECORD_PREAMBLE);
    if (decoder->state == DECODE_HEAD && !decoder->gathered)
        return vst_error_set(&decoder->failed, VST_ERR_TRUNCATED,
                             "the image ends at offset %" PRIu64 " after %" PRIu64
                             " records, without END; it is truncated",
                             stats->image_bytes, stats->records);
    return bad_record(decoder, VST_ERR_TRUNCATED,
                      "the image ends within this record; it is truncated");
}

static int decode_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    static int (*const on[])(struct decoder *, struct evbuffer *, struct evbuffer *, size_t) = {
        [DECODE_PREAMBLE] = on_preamble, [DECODE_HEAD] = on_head,   [DECODE_PAYLOAD] = on_payload,
        [DECODE_GIVING] = on_giving,     [DECODE_ENDED] = on_ended, [DECODE_FAILED] = on_failed,
    };
    struct decoder *decoder = (struct decoder *)codec;
    size_t full = evbuffer_get_length(out) + max;
    int result = 1;

    while (result > 0 && evbuffer_get_length(out) < full)
        result = on[decoder->state](decoder, in, out, full - evbuffer_get_length(out));
    if (result == 0 && last && decoder->state != DECODE_ENDED)
        result = truncated(decoder);
    if (result < 0) {
        enter(decoder, DECODE_FAILED);
        return vst_error_copy(ret_err, &decoder->failed);
    }
    return 0;
}

static void decode_destroy(struct vst_codec *codec)
{
    struct decoder *decoder = (struct decoder *)codec;

    vst_records_clear(&decoder->records);
    evbuffer_free(decoder->payload);
    free(decoder);
}

static const struct vst_codec_ops decode_ops = {
    .name = "records-decode",
    .step = decode_step,
    .destroy = decode_destroy,
};

struct vst_codec *vst_codec_records_decode(const struct vst_record_cb *cb,
                                           struct vst_error *ret_err)
{
    struct decoder *decoder = calloc(1, sizeof(*decoder));

    if (!decoder || !(decoder->payload = evbuffer_new())) {
        free(decoder);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    if (vst_records_init(&decoder->records, &decode_ops, ret_err) < 0) {
        evbuffer_free(decoder->payload);
        free(decoder);
        return NULL;
    }
    if (cb)
        decoder->cb = *cb;
    return &decoder->records.codec;
}

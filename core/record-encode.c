/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw bytes in, an image out. Whatever has come when a step is made becomes one record, so the
 * bytes of a slow source wait for nobody and a fast source fills its records by itself; who wants
 * large records lets more come before the step.
 */
#include "record-frame.h"

#include <stdlib.h>

#include "buffer.h"
#include "fsm.h"

#define ENCODE_STATES(X)                                            \
    X(ENCODE_STARTING, "the first step", "nothing is written yet")  \
    X(ENCODE_DATA, "raw bytes, or the last", "each step a record")  \
    X(ENCODE_ENDED, "nothing", "END is written: the image is full") \
    X(ENCODE_FAILED, "nothing", "out of memory: what is out is of no use")
VST_FSM(encode, ENCODE_STATES)

struct encoder {
    struct vst_records records;
    enum encode_state state;
    char *header; /* NULL: the image has no HEADER */
    size_t header_len;
};

static void enter(struct encoder *encoder, enum encode_state state)
{
    vst_fsm_trace(encode, "image", encoder->state, state);
    encoder->state = state;
}

/* The head of a record whose payload has been fed to the check. */
static int put_head(struct encoder *encoder, uint32_t type, size_t length, struct evbuffer *out)
{
    unsigned char head[VST_RECORD_HEAD];

    vst_put_be32(head, type);
    vst_put_be32(head + 4, (uint32_t)length);
    vst_put_be64(head + 8, vst_records_take_check(&encoder->records));
    return evbuffer_add(out, head, sizeof(head));
}

static void count(struct encoder *encoder, size_t length)
{
    encoder->records.stats.records++;
    encoder->records.stats.image_bytes += VST_RECORD_HEAD + length;
}

static int put_small(struct encoder *encoder, uint32_t type, const void *payload, size_t length,
                     struct evbuffer *out)
{
    vst_records_begin(&encoder->records, type, (uint32_t)length);
    vst_records_feed(&encoder->records, payload, length);
    if (put_head(encoder, type, length, out) < 0 || evbuffer_add(out, payload, length) < 0)
        return -1;
    count(encoder, length);
    return 0;
}

static int start(struct encoder *encoder, struct evbuffer *out)
{
    unsigned char preamble[VST_RECORD_PREAMBLE];

    vst_records_preamble(preamble);
    if (evbuffer_add(out, preamble, sizeof(preamble)) < 0)
        return -1;
    encoder->records.stats.image_bytes = sizeof(preamble);
    enter(encoder, ENCODE_DATA);
    if (!encoder->header)
        return 0;
    return put_small(encoder, VST_RECORD_HEADER, encoder->header, encoder->header_len, out);
}

static int put_data(struct encoder *encoder, struct evbuffer *in, struct evbuffer *out)
{
    size_t n = vst_least(evbuffer_get_length(in), VST_RECORD_DATA_MAX);

    vst_records_begin(&encoder->records, VST_RECORD_DATA, (uint32_t)n);
    vst_records_feed_buffer(&encoder->records, in, n, VST_RECORD_DATA);
    if (put_head(encoder, VST_RECORD_DATA, n, out) < 0 || vst_buffer_move(in, out, n) < 0)
        return -1;
    count(encoder, n);
    encoder->records.stats.data_bytes += n;
    return 0;
}

static int put_end(struct encoder *encoder, struct evbuffer *out)
{
    unsigned char end[VST_RECORD_END_LEN];

    vst_records_end(&encoder->records, end);
    if (put_small(encoder, VST_RECORD_END, end, sizeof(end), out) < 0)
        return -1;
    encoder->records.stats.ended = true;
    enter(encoder, ENCODE_ENDED);
    return 0;
}

/* A record is the block that a step may put out: `max` does not cut it. */
static int encode_step(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out,
                       size_t max, bool last, struct vst_error *ret_err)
{
    struct encoder *encoder = (struct encoder *)codec;
    int result = encoder->state == ENCODE_FAILED ? -1 : 0;

    (void)max;
    if (encoder->state == ENCODE_STARTING)
        result = start(encoder, out);
    if (result == 0 && encoder->state == ENCODE_DATA) {
        if (evbuffer_get_length(in))
            result = put_data(encoder, in, out);
        else if (last)
            result = put_end(encoder, out);
    }
    if (result < 0) {
        enter(encoder, ENCODE_FAILED);
        vst_error_no_memory(ret_err);
    }
    return result;
}

static void encode_destroy(struct vst_codec *codec)
{
    struct encoder *encoder = (struct encoder *)codec;

    vst_records_clear(&encoder->records);
    free(encoder->header);
    free(encoder);
}

static const struct vst_codec_ops encode_ops = {
    .name = "records-encode",
    .step = encode_step,
    .destroy = encode_destroy,
};

static int keep_header(struct encoder *encoder, const char *header, size_t len,
                       struct vst_error *ret_err)
{
    if (!header)
        return 0;
    if (len > VST_RECORD_HEADER_MAX)
        return vst_error_set(ret_err, VST_ERR_INVALID,
                             "the header of the image is %zu bytes long; %d are allowed", len,
                             VST_RECORD_HEADER_MAX);
    encoder->header = malloc(len ? len : 1);
    if (!encoder->header)
        return vst_error_no_memory(ret_err);
    memcpy(encoder->header, header, len);
    encoder->header_len = len;
    return 0;
}

struct vst_codec *vst_codec_records_encode(const char *header, size_t header_len,
                                           struct vst_error *ret_err)
{
    struct encoder *encoder = calloc(1, sizeof(*encoder));

    if (!encoder) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    if (vst_records_init(&encoder->records, &encode_ops, ret_err) < 0) {
        free(encoder);
        return NULL;
    }
    if (keep_header(encoder, header, header_len, ret_err) < 0) {
        encode_destroy(&encoder->records.codec);
        return NULL;
    }
    return &encoder->records.codec;
}

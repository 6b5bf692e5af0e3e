/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image records, decoded: with or without a header, in pieces of a size that the first byte says,
 * and with their checks mended, which no fuzzer guesses, or as they are. What comes out is bounded,
 * and the end is believed only when all has been checked.
 */
#include "core/buffer.h"
#include "core/record-frame.h"
#include "replay.h"

enum { INPUT_MAX = 4096, OUT_MAX = 64 * 1024, BLOCK = VST_RECORD_DATA_MAX };

/* The first byte, by bits. */
enum { WITH_HEADER = 1, PIECE_SHIFT = 1, MENDED = 32, END_AS_IS = 64 };

static struct evbuffer *out; /* of all runs */

static int header(void *opaque, const char *json, size_t len, struct vst_error *ret_err)
{
    unsigned *headers = opaque;

    (void)ret_err;
    FUZZ_CHECK(len <= VST_RECORD_HEADER_MAX && (json || !len));
    FUZZ_CHECK(!(*headers)++);
    return 0;
}

/* ---- checks ---- */

static void mend_record(struct vst_records *all, unsigned char *head, size_t length, bool end)
{
    uint32_t type = vst_get_be32(head);
    unsigned char *payload = head + VST_RECORD_HEAD;

    if (end && type == VST_RECORD_END && length == VST_RECORD_END_LEN)
        vst_records_end(all, payload);
    vst_records_begin(all, type, (uint32_t)length);
    vst_records_feed(all, payload, length);
    vst_put_be64(head + 8, vst_records_take_check(all));
    if (type == VST_RECORD_DATA) {
        XXH3_128bits_update(all->total, payload, length);
        all->stats.data_bytes += length;
    }
    all->stats.records++;
}

/* Every check that the decoder will look at, and what END tells unless it is to stay wrong. */
static void mend(unsigned char *bytes, size_t size, bool end)
{
    static struct vst_records all;

    if (!all.check)
        vst_records_init(&all, NULL, NULL);
    XXH3_128bits_reset(all.total);
    all.stats = (struct vst_record_stats){0};
    if (size < VST_RECORD_PREAMBLE)
        return;
    vst_put_be64(bytes + 16, XXH3_64bits(bytes, 16));
    for (size_t at = VST_RECORD_PREAMBLE; size - at >= VST_RECORD_HEAD;) {
        size_t length = vst_get_be32(bytes + at + 4);

        if (length > size - at - VST_RECORD_HEAD)
            return;
        mend_record(&all, bytes + at, length, end);
        at += VST_RECORD_HEAD + length;
    }
}

/* ---- decoding ---- */

enum progress { BROKEN, WAITS, GOES_ON };

static enum progress step(struct vst_codec *codec, struct evbuffer *in, bool last)
{
    struct vst_error err = {0};
    size_t before = evbuffer_get_length(in), given;
    int result = codec->ops->step(codec, in, out, OUT_MAX, last, &err);

    given = evbuffer_get_length(out);
    evbuffer_drain(out, given);
    FUZZ_CHECK((result < 0) == vst_error_is_set(&err));
    FUZZ_CHECK(given <= OUT_MAX + BLOCK);
    if (result < 0)
        return BROKEN;
    return given || evbuffer_get_length(in) != before ? GOES_ON : WAITS;
}

static void decode(struct vst_codec *codec, const unsigned char *bytes, size_t size, size_t piece)
{
    struct evbuffer *in = evbuffer_new();
    enum progress progress = WAITS;
    struct vst_record_stats stats;

    for (size_t at = 0; at < size && progress != BROKEN; at += piece) {
        evbuffer_add(in, bytes + at, vst_least(piece, size - at));
        while ((progress = step(codec, in, false)) == GOES_ON)
            ;
    }
    while ((progress = step(codec, in, true)) == GOES_ON)
        ;
    vst_records_get_stats(codec, &stats);
    FUZZ_CHECK((progress == WAITS) <= (stats.ended && !evbuffer_get_length(in)));
    evbuffer_free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char bytes[INPUT_MAX];
    unsigned headers = 0;
    struct vst_record_cb cb = {NULL, &headers};
    struct vst_codec *codec;

    if (!size || size > INPUT_MAX)
        return 0;
    if (!out)
        out = evbuffer_new();
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & MENDED)
        mend(bytes, size - 1, !(data[0] & END_AS_IS));
    cb.header = data[0] & WITH_HEADER ? header : NULL;
    codec = vst_codec_records_decode(&cb, NULL);
    decode(codec, bytes, size - 1, (size_t)1 << (data[0] >> PIECE_SHIFT & 15));
    vst_codec_free(&codec);
    return 0;
}

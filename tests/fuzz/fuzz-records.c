/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image records, decoded: with or without a header, in pieces of a size that the first byte says.
 * What comes out is bounded, and the end is believed only when all has been checked.
 */
#include "core/record.h"
#include "core/buffer.h"
#include "replay.h"

enum { OUT_MAX = 64 * 1024, BLOCK = VST_RECORD_DATA_MAX };

static int header(void *opaque, const char *json, size_t len, struct vst_error *ret_err)
{
    unsigned *headers = opaque;

    (void)ret_err;
    FUZZ_CHECK(len <= VST_RECORD_HEADER_MAX && (json || !len));
    FUZZ_CHECK(!(*headers)++);
    return 0;
}

/* True when it goes on. */
static int step(struct vst_codec *codec, struct evbuffer *in, int last)
{
    struct evbuffer *out = evbuffer_new();
    struct vst_error err = {0};
    size_t before = evbuffer_get_length(in), given;
    int result = codec->ops->step(codec, in, out, OUT_MAX, last, &err);

    given = evbuffer_get_length(out);
    FUZZ_CHECK((result < 0) == vst_error_is_set(&err));
    FUZZ_CHECK(given <= OUT_MAX + BLOCK);
    evbuffer_free(out);
    return result == 0 && (given || evbuffer_get_length(in) != before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned headers = 0;
    struct vst_record_cb cb = {header, &headers};
    struct evbuffer *in = evbuffer_new();
    struct vst_codec *codec;
    size_t at = 1, piece;

    if (size) {
        cb.header = data[0] & 1 ? header : NULL;
        piece = (size_t)1 << (data[0] >> 1 & 15);
        codec = vst_codec_records_decode(&cb, NULL);
        for (; at < size; at += piece) {
            evbuffer_add(in, data + at, vst_least(piece, size - at));
            while (step(codec, in, 0))
                ;
        }
        while (step(codec, in, 1))
            ;
        vst_codec_free(&codec);
    }
    evbuffer_free(in);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP: whatever QEMU says, in pieces of a size that the first byte says.
 */
#include "core/buffer.h"
#include "drivers/qemu/qmp-codec.h"
#include "replay.h"

enum { LINE_MAX_BYTES = 300 };

static int step(struct vst_qmp_codec *codec, struct evbuffer *in)
{
    struct vst_qmp_message message = {0};
    struct vst_error err = {0};
    int result = vst_qmp_codec_step(codec, in, &message, &err);

    FUZZ_CHECK((result < 0) == vst_error_is_set(&err));
    if (result == 1) {
        FUZZ_CHECK(message.root);
        FUZZ_CHECK(message.kind != VST_QMP_EVENT || message.name);
        FUZZ_CHECK(message.kind != VST_QMP_ERROR || (message.name && message.text));
        vst_qmp_message_clear(&message);
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct evbuffer *in = evbuffer_new();
    struct vst_qmp_codec *codec = vst_qmp_codec_new("fuzz", LINE_MAX_BYTES, NULL);
    size_t piece = size ? (size_t)1 << (data[0] & 15) : 1;
    int result = 0;

    for (size_t at = 1; at < size && result >= 0; at += piece) {
        evbuffer_add(in, data + at, vst_least(piece, size - at));
        while ((result = step(codec, in)) == 1)
            ;
    }
    vst_qmp_codec_free(&codec);
    evbuffer_free(in);
    return 0;
}

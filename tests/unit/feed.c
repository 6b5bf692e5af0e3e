/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeding a codec; see feed.h. It holds the codec to its contract: no step puts out more than it
 * may by a block, and none leaves input that it has room for.
 */
#include "feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "test.h"

/* The largest block of any codec: a record of image. */
enum { BLOCK = 1024 * 1024 + 4096 };

static int steps(struct vst_codec *codec, size_t max, struct evbuffer *in, struct evbuffer *out,
                 bool last, struct vst_error *ret_err)
{
    for (;;) {
        size_t had = evbuffer_get_length(in), gave = evbuffer_get_length(out);

        if (codec->ops->step(codec, in, out, max, last, ret_err) < 0)
            return -1;
        assert_true(evbuffer_get_length(in) <= had);
        assert_in_range(evbuffer_get_length(out) - gave, 0, max + BLOCK);
        if (evbuffer_get_length(in) == had && evbuffer_get_length(out) == gave) {
            assert_int_equal(had, 0);
            return 0;
        }
    }
}

int feed(struct vst_codec *codec, struct feed how, const void *bytes, size_t len,
         struct evbuffer *out, struct vst_error *ret_err)
{
    struct evbuffer *in = evbuffer_new();
    size_t chunk = how.chunk ? how.chunk : len;
    size_t max = how.max ? how.max : (size_t)1 << 40;
    int result = 0;

    for (size_t at = 0; result == 0 && at < len; at += chunk) {
        assert_int_equal(
            evbuffer_add(in, (const char *)bytes + at, len - at < chunk ? len - at : chunk), 0);
        result = steps(codec, max, in, out, false, ret_err);
    }
    if (result == 0)
        result = steps(codec, max, in, out, true, ret_err);
    evbuffer_free(in);
    return result;
}

unsigned char *feed_random(size_t len, uint64_t seed)
{
    unsigned char *bytes = malloc(len);
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (unsigned char)(x >> 32);
    }
    return bytes;
}

unsigned char *feed_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rbe");
    unsigned char *bytes;
    long len;

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    len = ftell(file);
    rewind(file);
    bytes = malloc((size_t)len + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)len, file), len);
    fclose(file);
    *ret_len = (size_t)len;
    return bytes;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The zstd codecs: round trips in every cut, bounds on memory and on each step, and every way in
 * which the input can be wrong.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "feed.h"

enum { LEN = 300000 };

static unsigned char *data; /* compresses to about a half */

static int make(void **state)
{
    (void)state;
    data = feed_random(LEN, 3);
    for (size_t i = 0; i < LEN; i++)
        if (i / 100 % 2)
            data[i] = (unsigned char)(i / 1000);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    free(data);
    return 0;
}

static struct evbuffer *compress(int level, struct feed how, const void *bytes, size_t len)
{
    struct vst_codec *codec = vst_codec_zstd_compress(level, NULL);
    struct evbuffer *out = evbuffer_new();

    assert_non_null(codec);
    assert_int_equal(feed(codec, how, bytes, len, out, NULL), 0);
    vst_codec_free(&codec);
    return out;
}

static int expand(struct feed how, const void *bytes, size_t len, struct evbuffer *out,
                  struct vst_error *ret_err)
{
    struct vst_codec *codec = vst_codec_zstd_expand(NULL);
    int result;

    assert_non_null(codec);
    result = feed(codec, how, bytes, len, out, ret_err);
    vst_codec_free(&codec);
    return result;
}

static void assert_expands_to(struct evbuffer *image, struct feed how, const void *bytes,
                              size_t len)
{
    struct evbuffer *out = evbuffer_new();
    struct vst_error err = {0};

    assert_int_equal(expand(how, evbuffer_pullup(image, -1), evbuffer_get_length(image), out, &err),
                     0);
    assert_int_equal(evbuffer_get_length(out), len);
    assert_int_equal(memcmp(evbuffer_pullup(out, -1) ?: (unsigned char *)"", bytes, len), 0);
    evbuffer_free(out);
}

static enum vst_code code_of(const void *bytes, size_t len)
{
    struct evbuffer *out = evbuffer_new();
    struct vst_error err = {0};

    expand((struct feed){0}, bytes, len, out, &err);
    evbuffer_free(out);
    return err.code;
}

static void every_level_comes_back(void **state)
{
    (void)state;
    for (int level = 1; level <= 19; level++) {
        struct evbuffer *image = compress(level, (struct feed){0}, data, LEN);

        assert_in_range(evbuffer_get_length(image), LEN / 4, LEN * 2 / 3);
        assert_expands_to(image, (struct feed){0}, data, LEN);
        evbuffer_free(image);
    }
}

static void every_cut_comes_back(void **state)
{
    static const size_t sizes[] = {1, 7, 4096, 32 * 1024, 32 * 1024 + 1, 0};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        size_t len = sizes[i] && sizes[i] < 10 ? 5000 : LEN;
        struct evbuffer *image = compress(3, (struct feed){.chunk = sizes[i]}, data, len);

        for (size_t j = 0; j < 6; j++)
            assert_expands_to(image, (struct feed){.chunk = sizes[j], .max = sizes[5 - j]}, data,
                              len);
        evbuffer_free(image);
    }
}

static void bytes_that_went_in_come_out_without_more(void **state)
{
    struct vst_codec *in_codec = vst_codec_zstd_compress(3, NULL);
    struct vst_codec *out_codec = vst_codec_zstd_expand(NULL);
    struct evbuffer *in = evbuffer_new(), *image = evbuffer_new(), *out = evbuffer_new();

    (void)state;
    for (size_t i = 1; i < 100; i++) {
        evbuffer_add(in, data, i);
        while (evbuffer_get_length(in))
            assert_int_equal(in_codec->ops->step(in_codec, in, image, 10, false, NULL), 0);
        while (evbuffer_get_length(image))
            assert_int_equal(out_codec->ops->step(out_codec, image, out, 1000, false, NULL), 0);
        assert_int_equal(evbuffer_get_length(out), i);
        evbuffer_drain(out, i);
    }
    vst_codec_free(&in_codec);
    vst_codec_free(&out_codec);
    evbuffer_free(in);
    evbuffer_free(image);
    evbuffer_free(out);
}

static void idle_steps_change_nothing(void **state)
{
    struct vst_codec *codecs[] = {vst_codec_zstd_compress(3, NULL), vst_codec_zstd_expand(NULL)};
    struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (int n = 0; n < 100; n++)
            assert_int_equal(codecs[i]->ops->step(codecs[i], in, out, 10, false, NULL), 0);
        assert_int_equal(evbuffer_get_length(out), 0);
        vst_codec_free(&codecs[i]);
    }
    evbuffer_free(in);
    evbuffer_free(out);
}

static void nothing_is_a_frame_and_comes_back(void **state)
{
    struct evbuffer *image = compress(3, (struct feed){0}, "", 0);

    (void)state;
    assert_true(evbuffer_get_length(image) > 0);
    assert_expands_to(image, (struct feed){.chunk = 1, .max = 1}, "", 0);
    evbuffer_free(image);
}

static void frames_in_a_row_are_one(void **state)
{
    struct evbuffer *image = compress(1, (struct feed){0}, data, 1000);
    struct evbuffer *second = compress(19, (struct feed){0}, data + 1000, 1000);
    struct evbuffer *third = compress(3, (struct feed){0}, "", 0);

    (void)state;
    evbuffer_add_buffer(image, second);
    evbuffer_add_buffer(image, third);
    assert_expands_to(image, (struct feed){0}, data, 2000);
    assert_expands_to(image, (struct feed){.chunk = 1}, data, 2000);
    evbuffer_free(image);
    evbuffer_free(second);
    evbuffer_free(third);
}

static void every_truncation_is_told(void **state)
{
    struct evbuffer *image = compress(3, (struct feed){.chunk = 500}, data, 1000);
    unsigned char *bytes = evbuffer_pullup(image, -1);
    size_t len = evbuffer_get_length(image);

    (void)state;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(code_of(bytes, cut), VST_ERR_TRUNCATED);
    assert_int_equal(code_of(bytes, len), VST_ERR_OK);
    evbuffer_free(image);
}

static void every_flipped_bit_is_told_or_harmless(void **state)
{
    struct evbuffer *image = compress(3, (struct feed){.chunk = 200}, data, 400);
    unsigned char *bytes = evbuffer_pullup(image, -1);
    size_t len = evbuffer_get_length(image);

    (void)state;
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct evbuffer *out = evbuffer_new();
        struct vst_error err = {0};

        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (expand((struct feed){0}, bytes, len, out, &err) == 0) {
            assert_int_equal(evbuffer_get_length(out), 400);
            assert_memory_equal(evbuffer_pullup(out, -1), data, 400);
        } else {
            assert_true(err.code == VST_ERR_DAMAGED || err.code == VST_ERR_TRUNCATED);
            assert_true(err.text[0]);
        }
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        evbuffer_free(out);
    }
    evbuffer_free(image);
}

static void what_is_not_zstd_is_damaged(void **state)
{
    struct evbuffer *image = compress(3, (struct feed){0}, data, 1000);

    (void)state;
    assert_int_equal(code_of(data, 100), VST_ERR_DAMAGED);
    evbuffer_add(image, "trailing", 8);
    assert_int_equal(code_of(evbuffer_pullup(image, -1), evbuffer_get_length(image)),
                     VST_ERR_DAMAGED);
    evbuffer_free(image);
}

static void too_large_a_window_is_refused(void **state)
{
    /* A frame header of RFC 8878 alone: magic, no content size, a window of 8 MiB or 9 MiB. */
    static const unsigned char fits[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3};
    static const unsigned char large[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3 | 1};
    static const unsigned char huge[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3 | 7};

    (void)state;
    assert_int_equal(code_of(fits, sizeof(fits)), VST_ERR_TRUNCATED);
    assert_int_equal(code_of(large, sizeof(large)), VST_ERR_DAMAGED);
    assert_int_equal(code_of(huge, sizeof(huge)), VST_ERR_DAMAGED);
}

static void a_bomb_comes_out_in_small_steps(void **state)
{
    enum { SIZE = 64 * 1024 * 1024, MAX = 64 * 1024, STEP = 128 * 1024 };
    unsigned char *zeros = calloc(1, SIZE);
    struct evbuffer *image = compress(1, (struct feed){0}, zeros, SIZE), *out = evbuffer_new();
    struct vst_codec *codec = vst_codec_zstd_expand(NULL);
    size_t total = 0;

    (void)state;
    assert_in_range(evbuffer_get_length(image), 1, SIZE / 1000);
    while (total < SIZE) {
        size_t max = total % 2 ? MAX : SIZE;

        assert_int_equal(codec->ops->step(codec, image, out, max, true, NULL), 0);
        assert_in_range(evbuffer_get_length(out), 1, vst_least(max, STEP));
        total += evbuffer_get_length(out);
        evbuffer_drain(out, evbuffer_get_length(out));
    }
    assert_int_equal(total, SIZE);
    vst_codec_free(&codec);
    evbuffer_free(image);
    evbuffer_free(out);
    free(zeros);
}

/* Input bounds time, and can be tested on a busy machine. */
static void a_step_takes_the_less_the_slower_its_level_is(void **state)
{
    static const struct {
        int level;
        size_t most;
    } bounds[] = {{1, 32768}, {10, 32768}, {11, 16384}, {12, 16384},
                  {13, 4096}, {15, 4096},  {16, 2048},  {19, 2048}};

    (void)state;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
        struct vst_codec *codec = vst_codec_zstd_compress(bounds[i].level, NULL);
        struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
        size_t left = LEN;

        evbuffer_add(in, data, LEN);
        while (left) {
            assert_int_equal(codec->ops->step(codec, in, out, LEN, false, NULL), 0);
            assert_in_range(left - evbuffer_get_length(in), 0, bounds[i].most);
            left = evbuffer_get_length(in);
        }
        vst_codec_free(&codec);
        evbuffer_free(in);
        evbuffer_free(out);
    }
}

static void levels_that_do_not_exist_are_refused(void **state)
{
    static const int levels[] = {-1, 0, 20};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct vst_error err = {0};

        assert_null(vst_codec_zstd_compress(levels[i], &err));
        assert_int_equal(err.code, VST_ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(every_level_comes_back, make, drop),
        VST_TEST_WITH(every_cut_comes_back, make, drop),
        VST_TEST_WITH(bytes_that_went_in_come_out_without_more, make, drop),
        VST_TEST_WITH(idle_steps_change_nothing, make, drop),
        VST_TEST_WITH(nothing_is_a_frame_and_comes_back, make, drop),
        VST_TEST_WITH(frames_in_a_row_are_one, make, drop),
        VST_TEST_WITH(every_truncation_is_told, make, drop),
        VST_TEST_WITH(every_flipped_bit_is_told_or_harmless, make, drop),
        VST_TEST_WITH(what_is_not_zstd_is_damaged, make, drop),
        VST_TEST(too_large_a_window_is_refused),
        VST_TEST(a_bomb_comes_out_in_small_steps),
        VST_TEST_WITH(a_step_takes_the_less_the_slower_its_level_is, make, drop),
        VST_TEST(levels_that_do_not_exist_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

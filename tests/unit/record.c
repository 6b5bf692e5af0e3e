/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record codecs: the format as the document and the vectors have it, every chunking, every
 * damage.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "core/record-frame.h"
#include "feed.h"

#define HEADER_JSON "{\"name\":\"g1\"}"
#define HELLO "hello, world\n"

/* What came out of a decoding, with what the decoder said. */
struct decoded {
    struct evbuffer *out;
    struct vst_error err;
    struct vst_record_stats stats;
    char header[64];
    int headers;
    size_t given_before_header;
    int refuse;
};

static int on_header(void *opaque, const char *json, size_t len, struct vst_error *ret_err)
{
    struct decoded *decoded = opaque;

    decoded->headers++;
    decoded->given_before_header = evbuffer_get_length(decoded->out);
    snprintf(decoded->header, sizeof(decoded->header), "%.*s", (int)len, json);
    if (decoded->refuse)
        return vst_error_set(ret_err, VST_ERR_EXISTS, "the name g1 is taken");
    return 0;
}

/* Decodes with a HEADER asked for, or as migration data. */
static int decode(struct decoded *decoded, bool header, struct feed how, const void *image,
                  size_t len)
{
    struct vst_record_cb cb = {.header = header ? on_header : NULL, .opaque = decoded};
    struct vst_codec *codec = vst_codec_records_decode(&cb, NULL);
    int result;

    decoded->out = evbuffer_new();
    memset(&decoded->err, 0, sizeof(decoded->err));
    decoded->headers = 0;
    result = feed(codec, how, image, len, decoded->out, &decoded->err);
    vst_records_get_stats(codec, &decoded->stats);
    vst_codec_free(&codec);
    return result;
}

static bool gave(struct decoded *decoded, const void *data, size_t len)
{
    return evbuffer_get_length(decoded->out) == len &&
           memcmp(evbuffer_pullup(decoded->out, -1) ?: (unsigned char *)"", data, len) == 0;
}

static void done(struct decoded *decoded)
{
    evbuffer_free(decoded->out);
}

static unsigned char *vector(const char *name, size_t *ret_len)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s.image", VST_VECTORS, name);
    return feed_file(path, ret_len);
}

static bool refused(const struct decoded *decoded)
{
    return decoded->err.code == VST_ERR_DAMAGED || decoded->err.code == VST_ERR_TRUNCATED;
}

/* ---- the format ---- */

static void image_is_what_the_vector_says(void **state)
{
    struct vst_codec *codec = vst_codec_records_encode(HEADER_JSON, strlen(HEADER_JSON), NULL);
    struct evbuffer *out = evbuffer_new();
    struct vst_record_stats stats;
    struct vst_error err = {0};
    unsigned char *wanted;
    size_t len;

    (void)state;
    wanted = vector("hello", &len);
    /* Two records of "hello, " and "world\n". */
    assert_int_equal(feed(codec, (struct feed){.chunk = 7}, HELLO, strlen(HELLO), out, &err), 0);
    assert_int_equal(evbuffer_get_length(out), len);
    assert_memory_equal(evbuffer_pullup(out, -1), wanted, len);
    vst_records_get_stats(codec, &stats);
    assert_int_equal(stats.records, 4);
    assert_int_equal(stats.data_bytes, strlen(HELLO));
    assert_int_equal(stats.image_bytes, len);
    assert_true(stats.ended);
    vst_codec_free(&codec);
    evbuffer_free(out);
    free(wanted);
}

static void every_chunking_decodes_to_the_same(void **state)
{
    struct decoded decoded = {0};
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("hello", &len);
    for (size_t chunk = 1; chunk <= len; chunk++) {
        for (size_t max = 0; max < 3; max++) {
            struct feed how = {.chunk = chunk, .max = max};

            assert_int_equal(decode(&decoded, true, how, image, len), 0);
            assert_true(gave(&decoded, HELLO, strlen(HELLO)));
            assert_string_equal(decoded.header, HEADER_JSON);
            assert_int_equal(decoded.headers, 1);
            assert_int_equal(decoded.given_before_header, 0);
            assert_int_equal(decoded.stats.records, 4);
            assert_int_equal(decoded.stats.data_bytes, strlen(HELLO));
            assert_int_equal(decoded.stats.image_bytes, len);
            assert_true(decoded.stats.ended);
            done(&decoded);
        }
    }
    free(image);
}

static void nothing_is_an_image_too(void **state)
{
    struct vst_codec *codec = vst_codec_records_encode(NULL, 0, NULL);
    struct evbuffer *out = evbuffer_new();
    struct decoded decoded = {0};
    unsigned char *wanted;
    size_t len;

    (void)state;
    wanted = vector("nothing", &len);
    assert_int_equal(feed(codec, (struct feed){0}, "", 0, out, NULL), 0);
    assert_int_equal(evbuffer_get_length(out), len);
    assert_memory_equal(evbuffer_pullup(out, -1), wanted, len);
    assert_int_equal(decode(&decoded, false, (struct feed){0}, wanted, len), 0);
    assert_true(gave(&decoded, "", 0));
    done(&decoded);
    vst_codec_free(&codec);
    evbuffer_free(out);
    free(wanted);
}

static void what_may_be_skipped_is_skipped(void **state)
{
    struct decoded decoded = {0};
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("skip", &len);
    assert_int_equal(decode(&decoded, true, (struct feed){.chunk = 1}, image, len), 0);
    assert_true(gave(&decoded, HELLO, strlen(HELLO)));
    assert_int_equal(decoded.stats.records, 5);
    done(&decoded);
    free(image);
}

static void what_is_newer_is_incompatible_not_damaged(void **state)
{
    static const char *const names[] = {"bad-type", "bad-version", "bad-flags"};
    struct decoded decoded = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t len;
        unsigned char *image = vector(names[i], &len);

        assert_int_equal(decode(&decoded, true, (struct feed){0}, image, len), -1);
        assert_int_equal(decoded.err.code, VST_ERR_INCOMPATIBLE);
        assert_true(gave(&decoded, "", 0));
        done(&decoded);
        free(image);
    }
}

/* ---- a large image ---- */

static struct evbuffer *encode(const void *data, size_t len, struct feed how)
{
    struct vst_codec *codec = vst_codec_records_encode(HEADER_JSON, strlen(HEADER_JSON), NULL);
    struct evbuffer *out = evbuffer_new();

    assert_int_equal(feed(codec, how, data, len, out, NULL), 0);
    vst_codec_free(&codec);
    return out;
}

static void large_image_comes_back_in_every_cut(void **state)
{
    static const size_t sizes[] = {1, 4095, 65536, VST_RECORD_DATA_MAX - 1, VST_RECORD_DATA_MAX, 0};
    size_t len = 3 * VST_RECORD_DATA_MAX + 12345;
    unsigned char *data = feed_random(len, 1);
    struct decoded decoded = {0};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        struct feed how = {.chunk = i ? sizes[i] : 777};
        struct evbuffer *image = encode(data, len, how);

        how.max = sizes[5 - i] == 1 ? 100 : sizes[5 - i];
        assert_int_equal(
            decode(&decoded, true, how, evbuffer_pullup(image, -1), evbuffer_get_length(image)), 0);
        assert_true(gave(&decoded, data, len));
        done(&decoded);
        evbuffer_free(image);
    }
    free(data);
}

static void flood_of_tiny_records_takes_memory_in_proportion(void **state)
{
    enum { COUNT = 100000 };
    static unsigned char data[COUNT];
    struct evbuffer *image = encode(data, COUNT, (struct feed){.chunk = 1});
    struct decoded decoded = {0};
    int blocks;

    (void)state;
    assert_int_equal(decode(&decoded, true, (struct feed){0}, evbuffer_pullup(image, -1),
                            evbuffer_get_length(image)),
                     0);
    assert_true(gave(&decoded, data, COUNT));
    done(&decoded);
    /* The same without the pullup of gave(), by the number of blocks that the bytes are in. */
    assert_int_equal(decode(&decoded, true, (struct feed){.chunk = 4096},
                            evbuffer_pullup(image, -1), evbuffer_get_length(image)),
                     0);
    blocks = evbuffer_peek(decoded.out, -1, NULL, NULL, 0);
    assert_in_range(blocks, 1, COUNT / 100);
    done(&decoded);
    evbuffer_free(image);
}

/* ---- damage ---- */

/* What was passed on before the damage was found is a beginning of the data, cut where a record
 * ends. */
static bool gave_whole_records_only(struct decoded *decoded)
{
    return gave(decoded, "", 0) || gave(decoded, HELLO, 7) || gave(decoded, HELLO, strlen(HELLO));
}

static void refuses(const unsigned char *image, size_t len, bool header)
{
    struct decoded decoded = {0};

    for (size_t chunk = 0; chunk < 2; chunk++) {
        assert_int_equal(decode(&decoded, header, (struct feed){.chunk = chunk}, image, len), -1);
        assert_true(refused(&decoded));
        assert_true(decoded.err.text[0]);
        assert_true(gave_whole_records_only(&decoded));
        assert_false(decoded.headers && strcmp(decoded.header, HEADER_JSON) != 0);
        done(&decoded);
    }
}

static void every_flipped_bit_is_refused(void **state)
{
    static const char *const names[] = {"hello", "skip", "nothing"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t len;
        unsigned char *image = vector(names[i], &len);

        for (size_t bit = 0; bit < len * 8; bit++) {
            image[bit / 8] ^= (unsigned char)(1u << bit % 8);
            refuses(image, len, i < 2);
            image[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        free(image);
    }
}

static void every_truncation_is_refused_as_such(void **state)
{
    struct decoded decoded = {0};
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("hello", &len);
    for (size_t cut = 0; cut < len; cut++) {
        refuses(image, cut, true);
        assert_int_equal(decode(&decoded, true, (struct feed){0}, image, cut), -1);
        assert_int_equal(decoded.err.code, VST_ERR_TRUNCATED);
        done(&decoded);
    }
    free(image);
}

static void bytes_after_the_end_are_damage(void **state)
{
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("hello", &len);
    image = realloc(image, 2 * len);
    image[len] = 0;
    refuses(image, len + 1, true);
    memcpy(image + len, image, len);
    refuses(image, 2 * len, true);
    free(image);
}

/* The offsets of the records of the vector "hello", and of its end. */
static const size_t cuts[] = {24, 53, 76, 98, 146};

/* Puts the records of "hello" together again in another order, which ends with a 0. */
static void refuses_order(const char *order)
{
    unsigned char mixed[512], *image;
    size_t len, at = cuts[0];

    image = vector("hello", &len);
    memcpy(mixed, image, cuts[0]);
    for (; *order; order++) {
        size_t i = (size_t)(*order - '1');

        memcpy(mixed + at, image + cuts[i], cuts[i + 1] - cuts[i]);
        at += cuts[i + 1] - cuts[i];
    }
    refuses(mixed, at, true);
    free(image);
}

static void records_left_out_repeated_or_swapped_are_refused(void **state)
{
    (void)state;
    refuses_order("134");
    refuses_order("124");
    refuses_order("234");
    refuses_order("1324");
    refuses_order("12234");
    refuses_order("11234");
    refuses_order("1243");
    refuses_order("4");
    refuses_order("1234"
                  "1234");
}

static void random_bytes_are_not_an_image(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 2000; seed++) {
        unsigned char *bytes = feed_random(100, seed);

        refuses(bytes, seed % 100, true);
        memcpy(bytes, VST_RECORD_MAGIC, 8);
        refuses(bytes, 100, true);
        vst_records_preamble(bytes);
        refuses(bytes, 100, true);
        free(bytes);
    }
}

static void the_error_names_record_and_offset(void **state)
{
    struct decoded decoded = {0};
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("hello", &len);
    image[cuts[2] + 20] ^= 1;
    assert_int_equal(decode(&decoded, true, (struct feed){0}, image, len), -1);
    assert_string_equal(decoded.err.text, "record 2 at offset 76: checksum does not match; "
                                          "the image is damaged");
    done(&decoded);
    free(image);
}

/* ---- records whose check is right, and that are wrong ---- */

struct craft {
    struct vst_records records;
    struct evbuffer *out;
};

static void craft_begin(struct craft *craft)
{
    unsigned char preamble[VST_RECORD_PREAMBLE];

    memset(craft, 0, sizeof(*craft));
    assert_int_equal(vst_records_init(&craft->records, NULL, NULL), 0);
    craft->out = evbuffer_new();
    vst_records_preamble(preamble);
    evbuffer_add(craft->out, preamble, sizeof(preamble));
}

static void craft_record(struct craft *craft, uint32_t type, const void *payload, uint32_t len)
{
    unsigned char head[VST_RECORD_HEAD];

    vst_records_begin(&craft->records, type, len);
    vst_records_feed(&craft->records, payload, len);
    vst_put_be32(head, type);
    vst_put_be32(head + 4, len);
    vst_put_be64(head + 8, vst_records_take_check(&craft->records));
    evbuffer_add(craft->out, head, sizeof(head));
    evbuffer_add(craft->out, payload, len);
    craft->records.stats.records++;
}

static void craft_end(struct craft *craft, uint32_t type, uint32_t len)
{
    unsigned char end[VST_RECORD_END_LEN + 1] = {0};

    vst_records_end(&craft->records, end);
    craft_record(craft, type, end, len);
}

/* Ends the image well, and expects that it is called damaged all the same. */
static void craft_refused(struct craft *craft, bool header)
{
    struct decoded decoded = {0};

    craft_end(craft, VST_RECORD_END, VST_RECORD_END_LEN);
    assert_int_equal(decode(&decoded, header, (struct feed){0}, evbuffer_pullup(craft->out, -1),
                            evbuffer_get_length(craft->out)),
                     -1);
    assert_int_equal(decoded.err.code, VST_ERR_DAMAGED);
    assert_true(gave(&decoded, "", 0));
    done(&decoded);
    evbuffer_free(craft->out);
    vst_records_clear(&craft->records);
}

static void header_comes_first_once_and_only_where_asked_for(void **state)
{
    struct craft craft;

    (void)state;
    craft_begin(&craft); /* none */
    craft_refused(&craft, true);
    craft_begin(&craft); /* late */
    craft_record(&craft, VST_RECORD_MAY_SKIP | 9, "x", 1);
    craft_record(&craft, VST_RECORD_HEADER, HEADER_JSON, 13);
    craft_refused(&craft, true);
    craft_begin(&craft); /* twice */
    craft_record(&craft, VST_RECORD_HEADER, HEADER_JSON, 13);
    craft_record(&craft, VST_RECORD_HEADER, HEADER_JSON, 13);
    craft_refused(&craft, true);
    craft_begin(&craft); /* not asked for */
    craft_record(&craft, VST_RECORD_HEADER, HEADER_JSON, 13);
    craft_refused(&craft, false);
}

static void end_must_agree_with_the_data(void **state)
{
    static const uint32_t lengths[] = {0, 31, 33};
    unsigned char other[VST_RECORD_END_LEN];
    struct craft craft;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        craft_begin(&craft);
        craft_end(&craft, VST_RECORD_END, lengths[i]);
        craft_refused(&craft, false);
    }
    for (size_t i = 0; i < VST_RECORD_END_LEN; i++) {
        craft_begin(&craft);
        vst_records_end(&craft.records, other);
        other[i] ^= 1;
        craft_record(&craft, VST_RECORD_END, other, sizeof(other));
        craft_refused(&craft, false);
    }
}

static void empty_data_and_overlong_records_are_refused(void **state)
{
    static char payload[VST_RECORD_DATA_MAX + 1];
    struct craft craft;

    (void)state;
    craft_begin(&craft);
    craft_record(&craft, VST_RECORD_DATA, "", 0);
    craft_refused(&craft, false);
    craft_begin(&craft);
    craft_record(&craft, VST_RECORD_MAY_SKIP, payload, sizeof(payload));
    craft_refused(&craft, false);
}

static void header_refused_ends_the_decoding(void **state)
{
    struct decoded decoded = {.refuse = 1};
    unsigned char *image;
    size_t len;

    (void)state;
    image = vector("hello", &len);
    assert_int_equal(decode(&decoded, true, (struct feed){0}, image, len), -1);
    assert_int_equal(decoded.err.code, VST_ERR_EXISTS);
    assert_true(gave(&decoded, "", 0));
    done(&decoded);
    free(image);
}

static void failure_stays_and_is_told_again(void **state)
{
    struct vst_codec *codec = vst_codec_records_decode(NULL, NULL);
    struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
    struct vst_error first = {0}, second = {0};

    (void)state;
    evbuffer_add(in, "x", 1);
    assert_int_equal(codec->ops->step(codec, in, out, 1, false, &first), -1);
    assert_int_equal(codec->ops->step(codec, in, out, 1, false, &second), -1);
    assert_string_equal(first.text, second.text);
    evbuffer_free(in);
    evbuffer_free(out);
    vst_codec_free(&codec);
}

static void header_that_is_too_long_is_refused_at_once(void **state)
{
    struct vst_error err = {0};
    char *header = calloc(1, VST_RECORD_HEADER_MAX + 1);
    struct vst_codec *codec;

    (void)state;
    assert_null(vst_codec_records_encode(header, VST_RECORD_HEADER_MAX + 1, &err));
    assert_int_equal(err.code, VST_ERR_INVALID);
    codec = vst_codec_records_encode(header, VST_RECORD_HEADER_MAX, NULL);
    assert_non_null(codec);
    vst_codec_free(&codec);
    free(header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(image_is_what_the_vector_says),
        VST_TEST(every_chunking_decodes_to_the_same),
        VST_TEST(nothing_is_an_image_too),
        VST_TEST(what_may_be_skipped_is_skipped),
        VST_TEST(what_is_newer_is_incompatible_not_damaged),
        VST_TEST(large_image_comes_back_in_every_cut),
        VST_TEST(flood_of_tiny_records_takes_memory_in_proportion),
        VST_TEST(every_flipped_bit_is_refused),
        VST_TEST(every_truncation_is_refused_as_such),
        VST_TEST(bytes_after_the_end_are_damage),
        VST_TEST(records_left_out_repeated_or_swapped_are_refused),
        VST_TEST(random_bytes_are_not_an_image),
        VST_TEST(the_error_names_record_and_offset),
        VST_TEST(header_comes_first_once_and_only_where_asked_for),
        VST_TEST(end_must_agree_with_the_data),
        VST_TEST(empty_data_and_overlong_records_are_refused),
        VST_TEST(header_refused_ends_the_decoding),
        VST_TEST(failure_stays_and_is_told_again),
        VST_TEST(header_that_is_too_long_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

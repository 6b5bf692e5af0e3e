/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between an image and a guest's raw state: what a header may say, and the slot that stays empty
 * until somebody has read it.
 */
#include "core/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "script.h"
#include "test.h"

#define DEFINITION                                                                           \
    "{\"name\":\"g1\",\"uuid\":\"12345678-1234-4234-8234-123456789abc\",\"machine\":\"pc\"," \
    "\"accel\":\"tcg\",\"memory-mib\":64,\"vcpus\":1}"
#define HEADER                                                                        \
    "{\"driver\":\"qemu\",\"qemu-version\":\"7.2.22\",\"machine\":\"pc-i440fx-7.2\"," \
    "\"running\":true,\"created-at\":1760000000,\"created-by\":\"virstream 0.1.0\","  \
    "\"compression\":\"zstd\",\"definition\":" DEFINITION "}"

static struct event_base *base;
static char said[8192]; /* what the far end of the stack has got */

static int make(void **state)
{
    (void)state;
    base = event_base_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

/* ---- headers ---- */

static void header_survives_the_way_there_and_back(void **state)
{
    struct vst_error err = {0};
    struct vst_image_header *header = vst_image_header_parse(HEADER, strlen(HEADER), &err);
    struct vst_image_header *again;
    char *text;

    (void)state;
    assert_non_null(header);
    assert_string_equal(header->driver, "qemu");
    assert_string_equal(header->qemu_version, "7.2.22");
    assert_string_equal(header->machine, "pc-i440fx-7.2");
    assert_string_equal(header->compression, "zstd");
    assert_string_equal(header->definition->name, "g1");
    assert_true(header->running);
    assert_int_equal(header->created_at, 1760000000);
    text = vst_image_header_to_json(header, &err);
    assert_non_null(text);
    again = vst_image_header_parse(text, strlen(text), &err);
    assert_non_null(again);
    assert_string_equal(again->definition->uuid, header->definition->uuid);
    free(text);
    vst_image_header_free(&header);
    vst_image_header_free(&again);
    assert_null(again);
    vst_image_header_free(&again);
}

/* The header with one piece of it replaced. */
static void assert_refused(const char *piece, const char *with, const char *names)
{
    const char *at = strstr(HEADER, piece);
    struct vst_error err = {0};
    char text[2048];

    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - HEADER), HEADER, with, at + strlen(piece));
    assert_null(vst_image_header_parse(text, strlen(text), &err));
    assert_int_equal(err.code, VST_ERR_DAMAGED);
    if (!strstr(err.text, names))
        fail_msg("`%s` does not name `%s`", err.text, names);
}

static void what_is_wrong_with_a_header_is_damage_and_named(void **state)
{
    (void)state;
    assert_refused("\"driver\":\"qemu\",", "", "driver");
    assert_refused("\"running\":true,", "", "running");
    assert_refused("true", "\"yes\"", "running");
    assert_refused("\"zstd\"", "\"lzma\"", "compression");
    assert_refused("1760000000", "-1", "created-at");
    assert_refused("\"compression\"", "\"surprise\":1,\"compression\"", "surprise");
    assert_refused(",\"definition\":" DEFINITION, "", "definition");
    assert_refused(DEFINITION, "null", "definition");
    assert_refused("\"memory-mib\":64", "\"memory-mib\":0", "memory-mib");
    assert_refused("}}", "}", "JSON");
    assert_refused("{\"driver\"", "[\"driver\"", "JSON");
}

/* ---- stacks ---- */

static struct vst_definition *definition(void)
{
    return vst_definition_parse(DEFINITION, strlen(DEFINITION), NULL);
}

/* The image of a guest whose whole state is `state`. */
static struct evbuffer *make_image(const char *state, int zstd_level)
{
    struct vst_definition *def = definition();
    char driver[] = "test";
    struct vst_image_header header = {.definition = def, .driver = driver, .running = true};
    struct vst_channel *raw = script_new(base);
    struct evbuffer *image = evbuffer_new();
    struct vst_channel *top;

    script_give(raw, state, strlen(state));
    script_read(raw, VST_IO_EOF);
    top = vst_image_encode(raw, &header, zstd_level, NULL);
    assert_non_null(top);
    assert_int_equal(vst_test_drain(top, image, 1000), VST_IO_EOF);
    vst_channel_free(&top);
    vst_definition_free(&def);
    return image;
}

/* Who restores. */
static struct {
    struct vst_channel *image;
    struct vst_channel *raw; /* plugged in when the header comes, unless NULL */
    unsigned headers;
    bool free_in_header;
} user;

static void on_header(void *opaque, const struct vst_image_header *header)
{
    assert_ptr_equal(opaque, &user);
    assert_string_equal(header->definition->name, "g1");
    assert_int_not_equal(header->created_at, 0);
    assert_non_null(strstr(header->created_by, "virstream"));
    user.headers++;
    if (user.raw)
        assert_int_equal(vst_image_plug(user.image, user.raw, NULL), 0);
    if (user.free_in_header)
        vst_channel_free(&user.image);
}

static void begin(bool plug)
{
    struct vst_image_cb cb = {on_header, &user};

    memset(&user, 0, sizeof(user));
    user.image = vst_image_decode(base, &cb, NULL);
    assert_non_null(user.image);
    if (plug)
        user.raw = script_new(base);
}

static void write_all(struct evbuffer *bytes)
{
    while (evbuffer_get_length(bytes)) {
        size_t n = 0;
        enum vst_io io = vst_channel_write(user.image, bytes, evbuffer_get_length(bytes), &n);

        assert_int_not_equal(io, VST_IO_FAIL);
        if (io == VST_IO_AGAIN)
            vst_test_wait(user.image, VST_WRITE);
    }
}

static void run(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void assert_raw_got(const char *text)
{
    struct evbuffer *written = script_seen(user.raw)->written;

    said[evbuffer_copyout(written, said, sizeof(said) - 1)] = '\0';
    assert_string_equal(said, text);
}

static void round_trip(int zstd_level)
{
    struct evbuffer *image = make_image("the whole state", zstd_level);

    begin(true);
    write_all(image);
    assert_int_equal(user.headers, 0); /* not inside the call */
    assert_int_equal(vst_test_finish(user.image), VST_IO_OK);
    assert_int_equal(user.headers, 1);
    assert_raw_got("the whole state");
    assert_int_equal(script_seen(user.raw)->finished, 1);
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void state_comes_back_as_it_was(void **state)
{
    (void)state;
    round_trip(0);
}

static void compressed_state_comes_back_as_it_was(void **state)
{
    (void)state;
    round_trip(3);
}

static void nothing_passes_an_empty_slot(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);
    struct vst_channel *raw;

    (void)state;
    begin(false);
    write_all(image);
    run();
    assert_int_equal(user.headers, 1);
    assert_int_equal(vst_channel_finish(user.image), VST_IO_AGAIN);
    assert_false(vst_test_announced(user.image, VST_WRITE, 5));
    raw = script_new(base);
    assert_int_equal(vst_image_plug(user.image, raw, NULL), 0);
    user.raw = raw;
    assert_true(vst_test_announced(user.image, VST_WRITE, 1000));
    assert_int_equal(vst_test_finish(user.image), VST_IO_OK);
    assert_raw_got("the whole state");
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void what_is_plugged_in_holds_it_up(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);

    (void)state;
    begin(true);
    script_stop_writes(user.raw, true);
    write_all(image);
    run();
    assert_int_equal(vst_channel_finish(user.image), VST_IO_AGAIN);
    assert_raw_got("");
    script_stop_writes(user.raw, false);
    assert_int_equal(vst_test_finish(user.image), VST_IO_OK);
    assert_raw_got("the whole state");
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void truncated_image_never_finishes(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);
    struct evbuffer *part = evbuffer_new();

    (void)state;
    evbuffer_remove_buffer(image, part, evbuffer_get_length(image) - 1);
    begin(true);
    write_all(part);
    assert_int_equal(vst_test_finish(user.image), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(user.image)->code, VST_ERR_TRUNCATED);
    assert_int_equal(script_seen(user.raw)->finished, 0);
    vst_channel_free(&user.image);
    evbuffer_free(image);
    evbuffer_free(part);
}

static void failure_of_what_is_plugged_in_is_told(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);

    (void)state;
    begin(true);
    script_write(user.raw, VST_IO_FAIL);
    write_all(image);
    assert_int_equal(vst_test_finish(user.image), VST_IO_FAIL);
    assert_int_equal(vst_channel_error(user.image)->code, SCRIPT_ERROR);
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void abort_reaches_what_is_plugged_in(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_TIMEOUT};
    struct evbuffer *image = make_image("the whole state", 3);

    (void)state;
    begin(true);
    write_all(image);
    run();
    vst_channel_abort(user.image, &why);
    assert_int_equal(script_seen(user.raw)->aborted, 1);
    assert_int_equal(script_seen(user.raw)->why, VST_ERR_TIMEOUT);
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void header_is_not_told_after_an_abort(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_TIMEOUT};
    struct evbuffer *image = make_image("the whole state", 0);

    (void)state;
    begin(false);
    write_all(image);
    vst_channel_abort(user.image, &why);
    run();
    assert_int_equal(user.headers, 0);
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

static void channel_may_be_freed_as_the_header_is_told(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);

    (void)state;
    begin(false);
    user.free_in_header = true;
    write_all(image);
    run();
    assert_int_equal(user.headers, 1);
    assert_null(user.image);
    evbuffer_free(image);
}

static void header_that_is_wrong_fails_the_image(void **state)
{
    struct vst_codec *codec = vst_codec_records_encode("{\"driver\":1}", 12, NULL);
    struct evbuffer *none = evbuffer_new(), *image = evbuffer_new();
    size_t n;

    (void)state;
    assert_int_equal(codec->ops->step(codec, none, image, 1000, true, NULL), 0);
    begin(false);
    assert_int_equal(vst_channel_write(user.image, image, evbuffer_get_length(image), &n),
                     VST_IO_FAIL);
    assert_int_equal(vst_channel_error(user.image)->code, VST_ERR_DAMAGED);
    run();
    assert_int_equal(user.headers, 0);
    vst_channel_free(&user.image);
    vst_codec_free(&codec);
    evbuffer_free(none);
    evbuffer_free(image);
}

static void stats_tell_how_far_it_is(void **state)
{
    struct evbuffer *image = make_image("the whole state", 0);
    size_t length = evbuffer_get_length(image);
    struct vst_record_stats stats;

    (void)state;
    begin(true);
    vst_image_get_stats(user.image, &stats);
    assert_int_equal(stats.records, 0);
    write_all(image);
    assert_int_equal(vst_test_finish(user.image), VST_IO_OK);
    vst_image_get_stats(user.image, &stats);
    assert_int_equal(stats.records, 3);
    assert_int_equal(stats.data_bytes, strlen("the whole state"));
    assert_int_equal(stats.image_bytes, length);
    assert_true(stats.ended);
    vst_channel_free(&user.image);
    evbuffer_free(image);
}

int main(void)
{
#define IMAGE_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        VST_TEST(header_survives_the_way_there_and_back),
        VST_TEST(what_is_wrong_with_a_header_is_damage_and_named),
        IMAGE_TEST(state_comes_back_as_it_was),
        IMAGE_TEST(compressed_state_comes_back_as_it_was),
        IMAGE_TEST(nothing_passes_an_empty_slot),
        IMAGE_TEST(what_is_plugged_in_holds_it_up),
        IMAGE_TEST(truncated_image_never_finishes),
        IMAGE_TEST(failure_of_what_is_plugged_in_is_told),
        IMAGE_TEST(abort_reaches_what_is_plugged_in),
        IMAGE_TEST(header_is_not_told_after_an_abort),
        IMAGE_TEST(channel_may_be_freed_as_the_header_is_told),
        IMAGE_TEST(header_that_is_wrong_fails_the_image),
        IMAGE_TEST(stats_tell_how_far_it_is),
    };
#undef IMAGE_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

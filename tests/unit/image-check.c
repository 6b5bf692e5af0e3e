/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vst_image_check(): what is whole is reported, what is not is refused, and it ends once.
 */
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "core/codec.h"
#include "core/record.h"

enum { HEADER_AND_MORE = 1000 }; /* bytes of an image with which its header has come */

static struct app app;
static struct evbuffer *image, *compressed;
static const struct manner plain;

/* What the callback was told. */
struct finding {
    unsigned calls;
    unsigned released;
    struct vst_error err;
    struct vst_image_report report;
    char header[1024];
    struct vst_stream **drop; /* freed in the callback */
};

static void on_report(const struct vst_image_report *report, const struct vst_error *err,
                      void *opaque)
{
    struct finding *finding = opaque;

    assert_true(!report == !!err);
    assert_int_equal(finding->released, 0);
    finding->calls++;
    if (err)
        finding->err = *err;
    if (report) {
        finding->report = *report;
        strncpy(finding->header, report->header, sizeof(finding->header) - 1);
    }
    if (finding->drop)
        vst_stream_free(finding->drop);
}

static void on_release(void *opaque)
{
    ((struct finding *)opaque)->released++;
}

static struct vst_op *begin(struct finding *finding, struct vst_stream *stream,
                            const struct vst_image_options *opt)
{
    struct vst_image_report_cb cb = {on_report, finding, on_release};

    return vst_image_check(app.base, stream, opt, &cb);
}

static void await(struct finding *finding)
{
    while (!finding->released)
        event_base_loop(app.base, EVLOOP_ONCE);
    assert_int_equal(finding->calls, 1);
}

static struct finding check(struct evbuffer *bytes, const struct vst_image_options *opt,
                            struct manner manner)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct evbuffer *copy = copy_of(bytes);
    struct finding finding = {0};
    struct end end;

    end_feed(&end, app.base, stream, copy, manner);
    begin(&finding, stream, opt);
    await(&finding);
    vst_stream_free(&stream);
    evbuffer_free(copy);
    assert_int_equal(end.released, 1);
    return finding;
}

static int make(void **state)
{
    struct vst_save_options keep = {.keep_running = true}, zstd = {.zstd_level = 1};

    (void)state;
    app_start(&app, "test:///?memory=8K");
    image = evbuffer_new();
    compressed = evbuffer_new();
    assert_int_equal(app_save(&app, NULL, &keep, image, plain), VST_ERR_OK);
    assert_int_equal(app_save(&app, NULL, &zstd, compressed, plain), VST_ERR_OK);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    evbuffer_free(image);
    evbuffer_free(compressed);
    app_stop(&app);
    return 0;
}

static void assert_whole(struct finding finding, struct evbuffer *bytes)
{
    assert_int_equal(finding.err.code, VST_ERR_OK);
    assert_true(finding.report.whole);
    assert_int_equal(finding.report.image_bytes, evbuffer_get_length(bytes));
    assert_true(finding.report.records >= 3);
    assert_non_null(strstr(finding.header, "\"definition\":{\"name\":\"test1\""));
}

static void whole_image_is_reported_in_every_chunking(void **state)
{
    static const struct manner manners[] = {
        {.chunk = 1}, {.chunk = 15, .again = true}, {.chunk = 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(manners) / sizeof(*manners); i++) {
        assert_whole(check(image, NULL, manners[i]), image);
        assert_whole(check(compressed, NULL, manners[i]), compressed);
    }
}

static void header_alone_waits_for_no_more(void **state)
{
    static const struct vst_image_options opt = {.header_only = true};
    struct manner stuck = {.never = true, .until = HEADER_AND_MORE};
    struct finding finding = check(image, &opt, stuck);

    (void)state;
    assert_int_equal(finding.err.code, VST_ERR_OK);
    assert_false(finding.report.whole);
    assert_non_null(strstr(finding.header, "\"name\":\"test1\""));
}

static void header_alone_must_be_there(void **state)
{
    static const struct vst_image_options opt = {.header_only = true};
    struct evbuffer *cut = evbuffer_new();

    (void)state;
    evbuffer_add(cut, evbuffer_pullup(image, -1), 100);
    assert_int_equal(check(cut, &opt, plain).err.code, VST_ERR_TRUNCATED);
    evbuffer_free(cut);
}

static void every_truncation_is_found(void **state)
{
    size_t length = evbuffer_get_length(image), step = vst_test_long() ? 1 : 61;

    (void)state;
    vst_test_seconds(vst_test_long() ? 600 : 20);
    for (size_t at = 0; at < length; at += at < HEADER_AND_MORE ? 13 : step) {
        struct evbuffer *cut = evbuffer_new();

        evbuffer_add(cut, evbuffer_pullup(image, -1), at);
        assert_int_equal(check(cut, NULL, plain).err.code, VST_ERR_TRUNCATED);
        evbuffer_free(cut);
    }
}

static void every_changed_bit_is_found(void **state)
{
    size_t length = evbuffer_get_length(image), step = vst_test_long() ? 1 : 61;

    (void)state;
    vst_test_seconds(vst_test_long() ? 600 : 20);
    for (size_t at = 0; at < length; at += at < HEADER_AND_MORE ? 13 : step) {
        struct evbuffer *bent = copy_of(image);
        enum vst_code code;

        evbuffer_pullup(bent, -1)[at] ^= (unsigned char)(1u << at % 8);
        code = check(bent, NULL, plain).err.code;
        assert_true(code == VST_ERR_DAMAGED || code == VST_ERR_TRUNCATED);
        evbuffer_free(bent);
    }
}

static void surplus_byte_is_damage(void **state)
{
    struct evbuffer *longer = copy_of(image);

    (void)state;
    evbuffer_add(longer, "", 1);
    assert_int_equal(check(longer, NULL, plain).err.code, VST_ERR_DAMAGED);
    evbuffer_free(longer);
}

/* Every record is good, but what they hold is not what the header says. */
static void data_that_does_not_expand_is_damage(void **state)
{
    struct finding good = check(compressed, NULL, plain);
    struct vst_codec *records = vst_codec_records_encode(good.header, strlen(good.header), NULL);
    struct evbuffer *raw = evbuffer_new(), *made = evbuffer_new();

    (void)state;
    evbuffer_add(raw, "this is not zstd", 16);
    for (size_t before = 1; before != evbuffer_get_length(made);) {
        before = evbuffer_get_length(made);
        assert_int_equal(records->ops->step(records, raw, made, 4096, true, NULL), 0);
    }
    assert_int_equal(check(made, NULL, plain).err.code, VST_ERR_DAMAGED);
    vst_codec_free(&records);
    evbuffer_free(raw);
    evbuffer_free(made);
}

static void failing_source_is_its_error(void **state)
{
    struct manner fails = {.fails = true, .until = 5000};
    struct finding finding = check(image, NULL, fails);

    (void)state;
    assert_int_not_equal(finding.err.code, VST_ERR_OK);
    assert_int_equal(finding.err.side, VST_SIDE_APPLICATION);
}

static void stalled_source_is_told(void **state)
{
    static const struct vst_image_options opt = {.stall_seconds = 1};
    struct manner stuck = {.never = true, .until = 5000};
    struct finding finding = check(image, &opt, stuck);

    (void)state;
    assert_int_equal(finding.err.code, VST_ERR_STALLED);
    assert_int_equal(finding.err.side, VST_SIDE_APPLICATION);
}

static void cancelled_check_completes_once(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct finding finding = {0};

    (void)state;
    vst_op_cancel(begin(&finding, stream, NULL));
    await(&finding);
    assert_int_equal(finding.err.code, VST_ERR_CANCELLED);
    vst_stream_free(&stream);
}

static void stream_may_be_freed_meanwhile_and_in_the_callback(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct finding finding = {0};
    struct end end;

    (void)state;
    begin(&finding, stream, NULL);
    vst_stream_free(&stream);
    await(&finding);
    assert_int_equal(finding.err.code, VST_ERR_CANCELLED);

    stream = vst_stream_new(app.base, NULL);
    finding = (struct finding){.drop = &stream};
    end_feed(&end, app.base, stream, image, plain);
    begin(&finding, stream, NULL);
    await(&finding);
    assert_int_equal(finding.err.code, VST_ERR_OK);
    assert_null(stream);
}

static void used_stream_is_refused(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct finding first = {0}, second = {0};

    (void)state;
    begin(&first, stream, NULL);
    begin(&second, stream, NULL);
    await(&second);
    assert_int_equal(second.err.code, VST_ERR_STATE);
    vst_stream_free(&stream);
    await(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(whole_image_is_reported_in_every_chunking, make, drop),
        VST_TEST_WITH(header_alone_waits_for_no_more, make, drop),
        VST_TEST_WITH(header_alone_must_be_there, make, drop),
        VST_TEST_WITH(every_truncation_is_found, make, drop),
        VST_TEST_WITH(every_changed_bit_is_found, make, drop),
        VST_TEST_WITH(surplus_byte_is_damage, make, drop),
        VST_TEST_WITH(data_that_does_not_expand_is_damage, make, drop),
        VST_TEST_WITH(failing_source_is_its_error, make, drop),
        VST_TEST_WITH(stalled_source_is_told, make, drop),
        VST_TEST_WITH(cancelled_check_completes_once, make, drop),
        VST_TEST_WITH(stream_may_be_freed_meanwhile_and_in_the_callback, make, drop),
        VST_TEST_WITH(used_stream_is_refused, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

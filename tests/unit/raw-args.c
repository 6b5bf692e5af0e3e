/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw arguments for QEMU. Where the application says that there shall be none: refused in what is
 * started and in what is restored, by either driver, and nothing is left. Where they are allowed,
 * an image has come from anywhere, and they may be anything.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "core/image.h"
#include "host.h"
#include "loop.h"

#define WITHOUT_ARGS                                                                         \
    "{\"name\":\"raw\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":1,\"vcpus\":1," \
    "\"args\":["
#define WITH_ARGS WITHOUT_ARGS "\"-S\"]}"

static const struct vst_start_options strict = {.no_args = true};
static const struct vst_restore_options strict_restore = {.no_args = true};

static struct outcome start(struct event_base *base, struct vst_conn *conn,
                            const struct vst_start_options *opt)
{
    struct outcome outcome = {0};

    vst_domain_start(conn, WITH_ARGS, opt, outcome_domain(&outcome));
    outcome_await(base, &outcome);
    vst_domain_free(&outcome.domain);
    return outcome;
}

static void assert_refused(const struct vst_error *err)
{
    assert_int_equal(err->code, VST_ERR_ACCESS);
    assert_non_null(strstr(err->text, "args"));
}

static void test_guest_with_raw_arguments_is_refused(void **state)
{
    struct evbuffer *image = evbuffer_new();
    struct outcome refused, restored = {0};
    struct app app;

    (void)state;
    app_start(&app, "test:///");
    refused = start(app.base, app.conn, &strict);
    assert_refused(&refused.err);
    assert_int_equal(app_domain_state(&app, "raw"), -1);
    assert_int_equal(start(app.base, app.conn, NULL).err.code, VST_ERR_OK);
    assert_int_equal(app_save(&app, "raw", NULL, image, (struct manner){0}), VST_ERR_OK);
    app_restore(&app, &strict_restore, image, (struct manner){0}, &restored);
    assert_refused(&restored.err);
    assert_int_equal(app_domain_state(&app, "raw"), -1);
    assert_int_equal(app_restore(&app, NULL, image, (struct manner){0}, NULL), VST_ERR_OK);
    evbuffer_free(image);
    app_stop(&app);
}

/* An image as QEMU's would be; nobody comes to look at the state in it. */
static struct evbuffer *make_image(struct event_base *base, const char *definition)
{
    char driver[] = "qemu", machine[] = "none";
    struct vst_image_header header = {.driver = driver, .machine = machine};
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};
    struct vst_channel *raw, *encoded;

    header.definition = vst_definition_parse(definition, strlen(definition), &err);
    assert_non_null(header.definition);
    raw = vst_channel_null(base, &err);
    encoded = vst_image_encode(raw, &header, 0, &err);
    assert_non_null(encoded);
    assert_int_equal(vst_test_drain(encoded, image, 65536), VST_IO_EOF);
    vst_channel_free(&encoded);
    vst_definition_free(&header.definition);
    return image;
}

static void qemu_guest_with_raw_arguments_is_refused(void **state)
{
    struct vst_host host;
    struct vst_error err = {0};
    struct outcome refused;
    struct evbuffer *image;

    (void)state;
    vst_host_make(&host);
    refused = start(host.base, host.conn, &strict);
    assert_refused(&refused.err);
    image = make_image(host.base, WITH_ARGS);
    assert_int_equal(vst_host_restore(&host, vst_host_source(&host, image), &strict_restore, &err),
                     -1);
    assert_refused(&err);
    assert_int_equal(host.started->count, 0);
    vst_host_expect_nothing(&host);
    evbuffer_free(image);
    vst_host_clear(&host);
}

/* What QEMU itself says of it does not matter: it has ended by then, or has never been. */
static void device_that_is_described_by_anything_is_refused(void **state)
{
    static const char *const devices[] = {
        "{\\\"driver\\\":null}",
        "{\\\"driver\\\":7}",
        "{\\\"driver\\\":{\\\"driver\\\":null}}",
        "{\\\"driver\\\":[\\\"a\\\"]}",
        "{\\\"driver\\\":\\\"no-such-device\\\"}",
        "{}",
        "{\\\"driver\\\"",
        "driver=",
        "",
    };
    struct vst_host host;
    struct vst_error err;
    struct evbuffer *image;
    char definition[400];

    (void)state;
    vst_host_make(&host);
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        snprintf(definition, sizeof(definition), "%s\"-device\",\"%s\"]}", WITHOUT_ARGS,
                 devices[i]);
        image = make_image(host.base, definition);
        err = (struct vst_error){0};
        assert_int_equal(vst_host_restore(&host, vst_host_source(&host, image), NULL, &err), -1);
        assert_true(err.code == VST_ERR_INCOMPATIBLE || err.code == VST_ERR_DRIVER);
        evbuffer_free(image);
    }
    vst_host_expect_nothing(&host);
    vst_host_clear(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(test_guest_with_raw_arguments_is_refused),
        VST_TEST(qemu_guest_with_raw_arguments_is_refused),
        VST_TEST(device_that_is_described_by_anything_is_refused),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

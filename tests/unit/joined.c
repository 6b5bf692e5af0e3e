/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests that go straight from one stream into another, and layers that an application puts on its
 * end: what a transport may do to an image, and that it is found.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

enum { STATE = 256 * 1024 };

static struct app app;   /* has the guest */
static struct app other; /* has none */
static const struct manner plain;

static int make(void **state)
{
    (void)state;
    app_start(&app, "test:///?memory=256K");
    other = (struct app){.base = app.base};
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_conn_close(&other.conn);
    app_stop(&app);
    return 0;
}

static void assert_moved(void)
{
    assert_int_equal(app_domain_state(&app, "test1"), -1);
    assert_int_equal(app_domain_state(&other, "test1"), VST_DOMAIN_RUNNING);
}

/* ---- joined streams ---- */

static void guest_moves_through_joined_streams(void **state)
{
    struct vst_stream *down = app_stream(&app), *up = app_stream(&app);
    struct outcome saved = {0}, restored = {0};

    (void)state;
    app_open_other(&app, &other);
    assert_int_equal(vst_stream_join(down, up), 0);
    app_begin_save(&app, down, &saved);
    app_begin_restore(&other, up, &restored);
    outcome_await_both(app.base, &saved, &restored);
    assert_int_equal(saved.err.code, VST_ERR_OK);
    assert_int_equal(restored.err.code, VST_ERR_OK);
    assert_moved();
    vst_stream_free(&down);
    vst_stream_free(&up);
}

static void guest_stays_when_the_far_end_fails_near_the_end(void **state)
{
    struct vst_stream *down = app_stream(&app), *up = app_stream(&app);
    struct vst_layer_spec flip = {
        .kind = VST_LAYER_FAULT,
        .fault = {.kind = VST_FAULT_FLIP, .offset = STATE},
    };
    struct outcome saved = {0}, restored = {0};

    (void)state;
    app_open_other(&app, &other);
    vst_stream_join(down, up);
    assert_int_equal(vst_stream_push_layer(up, VST_UP, &flip), 0);
    app_begin_save(&app, down, &saved);
    app_begin_restore(&other, up, &restored);
    outcome_await_both(app.base, &saved, &restored);
    assert_int_equal(restored.err.code, VST_ERR_DAMAGED);
    assert_int_equal(saved.err.code, VST_ERR_DAMAGED);
    assert_int_equal(app_domain_state(&app, "test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(app_domain_state(&other, "test1"), -1);
    vst_stream_free(&down);
    vst_stream_free(&up);
}

/* ---- layers of the application ---- */

static enum vst_code restore_through(struct evbuffer *image, const struct vst_layer_spec *layer)
{
    struct vst_stream *stream = app_stream(&app);
    struct evbuffer *copy = copy_of(image);
    struct outcome restored = {0};
    struct end end;

    end_feed(&end, app.base, stream, copy, plain);
    assert_int_equal(vst_stream_push_layer(stream, VST_UP, layer), 0);
    app_begin_restore(&app, stream, &restored);
    outcome_await(app.base, &restored);
    vst_stream_free(&stream);
    evbuffer_free(copy);
    return restored.err.code;
}

static struct evbuffer *save_through(const struct vst_layer_spec *layer, unsigned char sum[16])
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    struct vst_stream *stream = app_stream(&app);
    struct evbuffer *image = evbuffer_new();
    struct outcome saved = {0};
    struct end end;

    end_drain(&end, app.base, stream, image, plain);
    if (layer)
        assert_int_equal(vst_stream_push_layer(stream, VST_DOWN, layer), 0);
    vst_stream_push_layer(stream, VST_DOWN, &digest);
    app_begin_save(&app, stream, &saved);
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_OK);
    assert_int_equal(vst_stream_get_digest(stream, VST_DOWN, sum), 0);
    vst_stream_free(&stream);
    return image;
}

static void application_may_compress(void **state)
{
    struct vst_layer_spec zstd = {.kind = VST_LAYER_ZSTD};
    unsigned char sum[16];
    struct evbuffer *image = save_through(&zstd, sum);

    (void)state;
    assert_in_range(evbuffer_get_length(image), 1, STATE * 7 / 8);
    assert_int_equal(app_restore(&app, NULL, image, plain, NULL), VST_ERR_DAMAGED);
    assert_int_equal(restore_through(image, &zstd), VST_ERR_OK);
    evbuffer_free(image);
}

static void faults_of_the_transport_are_found(void **state)
{
    struct vst_layer_spec fault = {.kind = VST_LAYER_FAULT};
    unsigned char sum[16];
    struct evbuffer *image = save_through(NULL, sum);

    (void)state;
    for (uint64_t offset = 0; offset < STATE; offset += STATE / 5) {
        fault.fault = (struct vst_fault){.kind = VST_FAULT_FLIP, .offset = offset, .bit = 3};
        assert_int_equal(restore_through(image, &fault), VST_ERR_DAMAGED);
        fault.fault = (struct vst_fault){.kind = VST_FAULT_CUT, .offset = offset};
        assert_int_equal(restore_through(image, &fault), VST_ERR_TRUNCATED);
        fault.fault = (struct vst_fault){.kind = VST_FAULT_FAIL, .offset = offset, .number = EIO};
        assert_int_equal(restore_through(image, &fault), VST_ERR_SYSTEM);
        assert_int_equal(app_domain_state(&app, "test1"), -1);
    }
    fault.fault = (struct vst_fault){.kind = VST_FAULT_SHORT, .number = 100};
    assert_int_equal(restore_through(image, &fault), VST_ERR_OK);
    evbuffer_free(image);
}

static void digests_on_both_ways_agree(void **state)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST};
    struct vst_stream *stream = app_stream(&app);
    struct outcome restored = {0};
    unsigned char down[16], up[16];
    struct evbuffer *image = save_through(NULL, down);
    struct end end;

    (void)state;
    end_feed(&end, app.base, stream, image, plain);
    vst_stream_push_layer(stream, VST_UP, &digest);
    app_begin_restore(&app, stream, &restored);
    outcome_await(app.base, &restored);
    assert_int_equal(vst_stream_get_digest(stream, VST_UP, up), 0);
    assert_memory_equal(down, up, 16);
    vst_stream_free(&stream);
    evbuffer_free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(guest_moves_through_joined_streams, make, drop),
        VST_TEST_WITH(guest_stays_when_the_far_end_fails_near_the_end, make, drop),
        VST_TEST_WITH(application_may_compress, make, drop),
        VST_TEST_WITH(faults_of_the_transport_are_found, make, drop),
        VST_TEST_WITH(digests_on_both_ways_agree, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every chunking: whatever the size of a buffer and of a piece, the same image comes out and the
 * same guest comes back.
 */
#include <stdlib.h>
#include <string.h>

#include "app.h"

enum { STATE = 3000 };

static struct app app;
static struct evbuffer *image; /* how it must look, but for the header with its time */

static int make(void **state)
{
    static const struct vst_save_options keep = {.keep_running = true};
    static const struct manner plain;

    (void)state;
    app_start(&app, "test:///?memory=3000");
    image = evbuffer_new();
    assert_int_equal(app_save(&app, NULL, &keep, image, plain), VST_ERR_OK);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    evbuffer_free(image);
    app_stop(&app);
    return 0;
}

/* How pieces are moved: `chunk` bytes at a time through a stream that holds `limit` bytes. */
struct cut {
    size_t limit;
    size_t chunk;
    bool again;
    int zstd_level;
};

static struct vst_stream *new_stream(const struct cut *cut)
{
    struct vst_stream_options opt = {.limit = cut->limit};

    return vst_stream_new(app.base, &opt);
}

static void assert_good(const struct cut *cut, const struct outcome *outcome)
{
    if (outcome->err.code != VST_ERR_OK)
        fail_msg("limit %zu, chunk %zu, again %d, zstd %d: %s", cut->limit, cut->chunk, cut->again,
                 cut->zstd_level, outcome->err.text);
}

static void assert_held(const struct cut *cut, const struct vst_stream *stream)
{
    struct vst_progress progress;

    vst_stream_get_progress(stream, &progress);
    assert_in_range(progress.most_held, 0, cut->limit);
}

/* ---- by callbacks ---- */

static struct evbuffer *save_by_callback(const struct cut *cut)
{
    struct manner manner = {.chunk = cut->chunk, .again = cut->again};
    struct vst_save_options opt = {.zstd_level = cut->zstd_level};
    struct vst_stream *stream = new_stream(cut);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    struct end end;

    end_drain(&end, app.base, stream, bytes, manner);
    vst_domain_save(app.domain, stream, &opt, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    assert_good(cut, &outcome);
    assert_held(cut, stream);
    vst_stream_free(&stream);
    return bytes;
}

static void restore_by_callback(const struct cut *cut, struct evbuffer *bytes)
{
    struct manner manner = {.chunk = cut->chunk, .again = cut->again};
    struct vst_stream *stream = new_stream(cut);
    struct outcome outcome = {0};
    struct end end;

    end_feed(&end, app.base, stream, bytes, manner);
    vst_domain_restore(app.conn, stream, NULL, outcome_domain(&outcome));
    outcome_await(app.base, &outcome);
    vst_domain_free(&outcome.domain);
    assert_good(cut, &outcome);
    assert_held(cut, stream);
    vst_stream_free(&stream);
}

/* ---- by hand ---- */

static struct evbuffer *save_by_hand(const struct cut *cut)
{
    struct vst_save_options opt = {.zstd_level = cut->zstd_level};
    struct vst_stream *stream = new_stream(cut);
    struct evbuffer *bytes = evbuffer_new();
    struct outcome outcome = {0};
    enum vst_io io;
    size_t n;

    vst_domain_save(app.domain, stream, &opt, outcome_done(&outcome));
    while ((io = vst_stream_read_buffer(stream, bytes, cut->chunk, &n)) != VST_IO_EOF) {
        assert_int_not_equal(io, VST_IO_FAIL);
        assert_in_range(n, 0, cut->chunk);
        if (io == VST_IO_AGAIN)
            event_base_loop(app.base, EVLOOP_ONCE);
    }
    outcome_await(app.base, &outcome);
    assert_good(cut, &outcome);
    vst_stream_free(&stream);
    return bytes;
}

static void restore_by_hand(const struct cut *cut, struct evbuffer *bytes)
{
    struct vst_stream *stream = new_stream(cut);
    struct outcome outcome = {0};

    vst_domain_restore(app.conn, stream, NULL, outcome_domain(&outcome));
    while (evbuffer_get_length(bytes)) {
        size_t length =
            evbuffer_get_length(bytes) < cut->chunk ? evbuffer_get_length(bytes) : cut->chunk;
        size_t n;
        enum vst_io io =
            vst_stream_write(stream, evbuffer_pullup(bytes, (ev_ssize_t)length), length, &n);

        assert_int_not_equal(io, VST_IO_FAIL);
        evbuffer_drain(bytes, n);
        if (io == VST_IO_AGAIN)
            event_base_loop(app.base, EVLOOP_ONCE);
    }
    assert_int_equal(vst_stream_finish(stream), 0);
    outcome_await(app.base, &outcome);
    vst_domain_free(&outcome.domain);
    assert_good(cut, &outcome);
    vst_stream_free(&stream);
}

/* ---- the sweep ---- */

/* There and back, one way and the other. */
static void round_trip(const struct cut *cut)
{
    struct evbuffer *bytes = save_by_callback(cut);

    if (!cut->zstd_level)
        assert_int_equal(evbuffer_get_length(bytes), evbuffer_get_length(image));
    restore_by_hand(cut, bytes);
    evbuffer_free(bytes);
    bytes = save_by_hand(cut);
    restore_by_callback(cut, bytes);
    evbuffer_free(bytes);
}

static void sweep(bool again, int zstd_level)
{
    static const size_t limits[] = {2, 3, 7, 64, 1000, 100000};
    size_t step = vst_test_long() ? 1 : 3;

    vst_test_seconds(vst_test_long() ? 3000 : 120);
    for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
        /* Above the limit nothing differs. */
        for (size_t chunk = 1; chunk <= limits[i] && chunk <= STATE;
             chunk += 1 + chunk / 8 * step) {
            struct cut cut = {limits[i], chunk, again, zstd_level};

            round_trip(&cut);
        }
    }
}

static void every_chunking_gives_the_same_guest(void **state)
{
    (void)state;
    sweep(false, 0);
}

static void every_chunking_with_again_gives_the_same_guest(void **state)
{
    (void)state;
    sweep(true, 0);
}

static void every_chunking_compressed_gives_the_same_guest(void **state)
{
    (void)state;
    sweep(false, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(every_chunking_gives_the_same_guest, make, drop),
        VST_TEST_WITH(every_chunking_with_again_gives_the_same_guest, make, drop),
        VST_TEST_WITH(every_chunking_compressed_gives_the_same_guest, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each allocation fails once, in every way of saving and restoring a guest: the operation says so,
 * the guest is as it was or does not exist, and nothing is lost. The sweep ends when a whole run
 * passes without reaching the allocation that would fail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "memory.h"

enum { MOST = 20000 }; /* allocations of a run; far more than there are */

static struct event_base *base;
static char dir[] = "/tmp/virstream-memory-XXXXXX";
static char path[sizeof(dir) + 16];

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

static int make(void **state)
{
    (void)state;
    event_set_log_callback(discard); /* libevent tells of every failure */
    base = event_base_new();
    assert_non_null(mkdtemp(strcpy(dir, "/tmp/virstream-memory-XXXXXX")));
    snprintf(path, sizeof(path), "%s/image", dir);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    unlink(path);
    return rmdir(dir);
}

/* ---- calls that may find no memory ---- */

/* An operation's outcome, waited for. No memory is the only reason to fail. */
static bool succeeds(struct vst_op *op, struct outcome *outcome)
{
    while (!outcome->released)
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    assert_int_equal(outcome->released, 1);
    if (!op) {
        assert_int_equal(outcome->calls, 0);
        return false;
    }
    assert_int_equal(outcome->calls, 1);
    if (outcome->err.code != VST_ERR_OK && outcome->err.code != VST_ERR_NO_MEMORY)
        fail_msg("%s: %s", vst_code_name(outcome->err.code), outcome->err.text);
    return outcome->err.code == VST_ERR_OK;
}

static struct vst_conn *open_conn(const char *uri)
{
    struct outcome outcome = {0};

    return succeeds(vst_conn_open(base, uri, NULL, outcome_conn(&outcome)), &outcome) ? outcome.conn
                                                                                      : NULL;
}

static struct vst_domain *find(struct vst_conn *conn, const char *name)
{
    struct outcome outcome = {0};

    return succeeds(vst_conn_lookup(conn, name, outcome_domain(&outcome)), &outcome)
               ? outcome.domain
               : NULL;
}

static bool save(struct vst_domain *domain, struct vst_stream *stream, int zstd_level)
{
    struct vst_save_options opt = {.zstd_level = zstd_level};
    struct outcome outcome = {0};

    return succeeds(vst_domain_save(domain, stream, &opt, outcome_done(&outcome)), &outcome);
}

static bool restore(struct vst_conn *conn, struct vst_stream *stream)
{
    struct outcome outcome = {0};
    bool good =
        succeeds(vst_domain_restore(conn, stream, NULL, outcome_domain(&outcome)), &outcome);

    vst_domain_free(&outcome.domain);
    return good;
}

/* ---- the ways ---- */

/* One way of getting the image out of one stream and into another, NULL for joining them. False:
 * no memory. */
struct way {
    int zstd_level;
    bool (*prepare_down)(struct vst_stream *stream);
    bool (*prepare_up)(struct vst_stream *stream);
};

static struct evbuffer *image;
static struct end down_end, up_end;

static bool callback_down(struct vst_stream *stream)
{
    return end_drain(&down_end, base, stream, image, (struct manner){0}) == 0;
}

static bool callback_up(struct vst_stream *stream)
{
    return end_feed(&up_end, base, stream, image, (struct manner){0}) == 0;
}

static bool again_down(struct vst_stream *stream)
{
    struct manner again = {.again = true, .chunk = 999};

    return end_drain(&down_end, base, stream, image, again) == 0;
}

static bool again_up(struct vst_stream *stream)
{
    struct manner again = {.again = true, .chunk = 999};

    return end_feed(&up_end, base, stream, image, again) == 0;
}

static bool file_down(struct vst_stream *stream)
{
    return vst_stream_set_sink_file(stream, path) == 0;
}

static bool file_up(struct vst_stream *stream)
{
    return vst_stream_set_source_file(stream, path) == 0;
}

static void pull(struct vst_stream *stream, void *opaque)
{
    size_t n;

    (void)opaque;
    while (vst_stream_read_buffer(stream, image, 1000, &n) == VST_IO_OK)
        ;
}

static void push(struct vst_stream *stream, void *opaque)
{
    char bytes[1000];
    size_t n;

    (void)opaque;
    while (evbuffer_get_length(image)) {
        ev_ssize_t length = evbuffer_copyout(image, bytes, sizeof(bytes));

        if (vst_stream_write(stream, bytes, (size_t)length, &n) != VST_IO_OK)
            return;
        evbuffer_drain(image, n);
    }
    vst_stream_finish(stream);
}

static bool pull_down(struct vst_stream *stream)
{
    struct vst_stream_callbacks cb = {.readable = pull};

    vst_stream_set_callbacks(stream, &cb, NULL);
    return true;
}

static bool push_up(struct vst_stream *stream)
{
    struct vst_stream_callbacks cb = {.writable = push};

    vst_stream_set_callbacks(stream, &cb, NULL);
    push(stream, NULL);
    return true;
}

static bool layers_down(struct vst_stream *stream)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST}, zstd = {.kind = VST_LAYER_ZSTD};

    return callback_down(stream) && vst_stream_push_layer(stream, VST_DOWN, &zstd) == 0 &&
           vst_stream_push_layer(stream, VST_DOWN, &digest) == 0;
}

static bool layers_up(struct vst_stream *stream)
{
    struct vst_layer_spec digest = {.kind = VST_LAYER_DIGEST}, zstd = {.kind = VST_LAYER_ZSTD};

    return callback_up(stream) && vst_stream_push_layer(stream, VST_UP, &zstd) == 0 &&
           vst_stream_push_layer(stream, VST_UP, &digest) == 0;
}

/* ---- the sweep ---- */

static struct vst_stream *new_stream(void)
{
    struct vst_stream_options opt = {.limit = 4096};

    return vst_stream_new(base, &opt);
}

static bool run_save(const struct way *way, struct vst_domain *domain)
{
    struct vst_stream *stream = new_stream();
    bool good = stream && way->prepare_down(stream) && save(domain, stream, way->zstd_level);

    vst_stream_free(&stream);
    return good;
}

static bool run_restore(const struct way *way, struct vst_conn *conn)
{
    struct vst_stream *stream = new_stream();
    bool good = stream && way->prepare_up(stream) && restore(conn, stream);

    vst_stream_free(&stream);
    return good;
}

static int state_in(struct vst_conn *conn)
{
    struct app app = {.base = base, .conn = conn};

    return app_domain_state(&app, "test1");
}

/* A whole life; true if an allocation failed in it. Then the guest is where it must be. */
static bool live(const struct way *way)
{
    bool failed;
    struct vst_conn *conn = open_conn("test:///?memory=20000");
    struct vst_domain *domain = conn ? find(conn, "test1") : NULL;
    bool saved = domain && run_save(way, domain);
    bool restored = saved && run_restore(way, conn);

    failed = memory_stop_failing();
    assert_true(failed || restored);
    if (conn)
        assert_int_equal(state_in(conn), saved && !restored ? -1 : VST_DOMAIN_RUNNING);
    vst_domain_free(&domain);
    vst_conn_close(&conn);
    event_base_dispatch(base);
    return failed;
}

/* From one connection straight into another: in the end exactly one of them has the guest. */
static bool move(const struct way *way)
{
    struct vst_conn *from = open_conn("test:///?memory=20000");
    struct vst_conn *to = from ? open_conn("test:///?domains=0") : NULL;
    struct vst_domain *domain = to ? find(from, "test1") : NULL;
    struct vst_stream *down = new_stream(), *up = new_stream();
    struct outcome saved = {0}, restored = {0};
    bool good = false, failed;

    (void)way;
    if (domain && down && up && vst_stream_join(down, up) == 0) {
        struct vst_op *save_op = vst_domain_save(domain, down, NULL, outcome_done(&saved));
        struct vst_op *restore_op = vst_domain_restore(to, up, NULL, outcome_domain(&restored));

        /* One that did not even begin would leave the other waiting. */
        if (!save_op)
            vst_stream_abort(up, NULL);
        if (!restore_op)
            vst_stream_abort(down, NULL);
        outcome_await_both(base, &saved, &restored);
        good = save_op && restore_op && saved.err.code == VST_ERR_OK;
        assert_int_equal(good, restore_op && restored.err.code == VST_ERR_OK);
        vst_domain_free(&restored.domain);
    }
    failed = memory_stop_failing();
    assert_true(failed || good);
    if (to) {
        assert_int_equal(state_in(from), good ? -1 : VST_DOMAIN_RUNNING);
        assert_int_equal(state_in(to), good ? VST_DOMAIN_RUNNING : -1);
    }
    vst_stream_free(&down);
    vst_stream_free(&up);
    vst_domain_free(&domain);
    vst_conn_close(&from);
    vst_conn_close(&to);
    event_base_dispatch(base);
    return failed;
}

static void sweep(struct way way)
{
    unsigned after = 0;
    bool failed = true;

    vst_test_seconds(vst_test_long() ? 600 : 120);
    for (; failed; after++) {
        assert_in_range(after, 0, MOST);
        image = evbuffer_new();
        memory_fail_once(after);
        failed = way.prepare_down ? live(&way) : move(&way);
        evbuffer_free(image);
    }
    print_message("# %u allocations\n", after);
    if (memory_can_fail())
        assert_in_range(after, 50, MOST);
}

static void guest_survives_with_callbacks(void **state)
{
    (void)state;
    sweep((struct way){0, callback_down, callback_up});
}

static void guest_survives_with_callbacks_that_say_again(void **state)
{
    (void)state;
    sweep((struct way){0, again_down, again_up});
}

static void guest_survives_with_pushing_and_pulling(void **state)
{
    (void)state;
    sweep((struct way){0, pull_down, push_up});
}

static void guest_survives_compressed(void **state)
{
    (void)state;
    sweep((struct way){1, callback_down, callback_up});
}

static void guest_survives_with_layers(void **state)
{
    (void)state;
    sweep((struct way){0, layers_down, layers_up});
}

static void guest_survives_in_a_file(void **state)
{
    (void)state;
    sweep((struct way){0, file_down, file_up});
}

static void guest_survives_between_joined_streams(void **state)
{
    (void)state;
    sweep((struct way){0, NULL, NULL});
}

int main(void)
{
#define SWEEP_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        SWEEP_TEST(guest_survives_with_callbacks),
        SWEEP_TEST(guest_survives_with_callbacks_that_say_again),
        SWEEP_TEST(guest_survives_with_pushing_and_pulling),
        SWEEP_TEST(guest_survives_compressed),
        SWEEP_TEST(guest_survives_with_layers),
        SWEEP_TEST(guest_survives_in_a_file),
        SWEEP_TEST(guest_survives_between_joined_streams),
    };
#undef SWEEP_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

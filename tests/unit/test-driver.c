/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of the test driver that move bytes: what is saved is restored, everything else is
 * refused, and every failure leaves the guest, or no guest, as it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

enum { STATE = 64 * 1024 };

static struct app app;
static struct evbuffer *image;
static const struct manner plain;

static int make(void **state)
{
    (void)state;
    app_start(&app, "test:///?domains=2&memory=64K");
    image = evbuffer_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    evbuffer_free(image);
    app_stop(&app);
    return 0;
}

static enum vst_code save(const struct vst_save_options *opt)
{
    return app_save(&app, NULL, opt, image, plain);
}

static enum vst_code restore(const struct vst_restore_options *opt)
{
    return app_restore(&app, opt, image, plain, NULL);
}

static int state_of(const char *name)
{
    return app_domain_state(&app, name);
}

static enum vst_code await(struct vst_op *(*method)(struct vst_domain *, const struct vst_done *))
{
    struct outcome outcome = {0};

    method(app.domain, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    return outcome.err.code;
}

/* ---- save and restore ---- */

static void saved_guest_is_gone_and_comes_back(void **state)
{
    (void)state;
    assert_int_equal(save(NULL), VST_ERR_OK);
    assert_in_range(evbuffer_get_length(image), STATE, STATE + 2000);
    assert_int_equal(state_of("test1"), -1);
    assert_int_equal(restore(NULL), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
}

static void guest_that_is_to_go_on_goes_on(void **state)
{
    struct vst_save_options keep = {.keep_running = true}, live = {.live = true};

    (void)state;
    assert_int_equal(save(&keep), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(save(&live), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
}

static void state_follows_from_the_guest_alone(void **state)
{
    struct vst_save_options keep = {.keep_running = true};
    struct evbuffer *other = evbuffer_new();
    size_t n;

    (void)state;
    assert_int_equal(save(&keep), VST_ERR_OK);
    assert_int_equal(app_save(&app, NULL, &keep, other, plain), VST_ERR_OK);
    n = evbuffer_get_length(other);
    assert_int_equal(n, evbuffer_get_length(image));
    /* The header has the time in it, and checksums follow it: the state itself is compared. */
    assert_memory_equal(evbuffer_pullup(image, -1) + n - STATE,
                        evbuffer_pullup(other, -1) + n - STATE, STATE - 100);
    evbuffer_free(other);
}

static void paused_guest_stays_paused(void **state)
{
    (void)state;
    assert_int_equal(await(vst_domain_suspend), VST_ERR_OK);
    assert_int_equal(save(NULL), VST_ERR_OK);
    assert_int_equal(restore(NULL), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_PAUSED);
}

static void restored_guest_is_paused_when_asked(void **state)
{
    struct vst_restore_options paused = {.paused = true};

    (void)state;
    save(NULL);
    assert_int_equal(restore(&paused), VST_ERR_OK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_PAUSED);
}

static void restored_guest_can_be_saved_again(void **state)
{
    struct evbuffer *first;

    (void)state;
    save(NULL);
    first = copy_of(image);
    restore(NULL);
    evbuffer_drain(image, evbuffer_get_length(image));
    assert_int_equal(save(NULL), VST_ERR_OK);
    /* It has lived on since, so its state is another. */
    assert_memory_not_equal(evbuffer_pullup(first, -1) + STATE / 2,
                            evbuffer_pullup(image, -1) + STATE / 2, 1000);
    assert_int_equal(restore(NULL), VST_ERR_OK);
    evbuffer_free(first);
}

static void another_name_makes_another_guest(void **state)
{
    struct vst_save_options keep = {.keep_running = true};
    struct vst_restore_options named = {.name = "twin"};
    struct outcome restored;

    (void)state;
    save(&keep);
    assert_int_equal(app_restore(&app, &named, image, plain, &restored), VST_ERR_OK);
    assert_string_equal(vst_domain_get_name(restored.domain), "twin");
    assert_string_not_equal(vst_domain_get_uuid(restored.domain), vst_domain_get_uuid(app.domain));
    vst_domain_free(&restored.domain);
    evbuffer_drain(image, evbuffer_get_length(image));
    assert_int_equal(app_save(&app, "twin", NULL, image, plain), VST_ERR_OK);
    assert_int_equal(restore(NULL), VST_ERR_OK);
}

static void compressed_guest_comes_back(void **state)
{
    struct vst_save_options zstd = {.zstd_level = 3};

    (void)state;
    assert_int_equal(save(&zstd), VST_ERR_OK);
    assert_in_range(evbuffer_get_length(image), 1, STATE * 7 / 8);
    assert_int_equal(restore(NULL), VST_ERR_OK);
}

static void image_restores_on_another_connection(void **state)
{
    struct app other;

    (void)state;
    save(NULL);
    app_start(&other, "test:///?domains=0");
    assert_int_equal(app_restore(&other, NULL, image, plain, NULL), VST_ERR_OK);
    assert_int_equal(app_domain_state(&other, "test1"), VST_DOMAIN_RUNNING);
    app_stop(&other);
}

static void name_that_is_taken_is_refused_before_anything(void **state)
{
    struct vst_save_options keep = {.keep_running = true};
    struct vst_restore_options named = {.name = "test2"};

    (void)state;
    save(&keep);
    assert_int_equal(restore(NULL), VST_ERR_EXISTS);
    assert_int_equal(restore(&named), VST_ERR_EXISTS);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(state_of("test2"), VST_DOMAIN_RUNNING);
}

static void name_that_is_none_is_refused(void **state)
{
    struct vst_restore_options named = {.name = "../etc"};

    (void)state;
    save(NULL);
    assert_int_equal(restore(&named), VST_ERR_INVALID);
}

static char told[256];

static void on_event(struct vst_conn *conn, const struct vst_event *event, void *opaque)
{
    static const char *const kinds[] = {"started", "suspended", "resumed", "stopped", "crashed"};
    size_t used = strlen(told);

    (void)conn, (void)opaque;
    snprintf(told + used, sizeof(told) - used, "%s%s(%s)", used ? " " : "", kinds[event->kind],
             event->reason);
}

static void assert_told(const char *events)
{
    assert_string_equal(told, events);
    told[0] = '\0';
}

static void what_befalls_a_guest_is_told(void **state)
{
    struct vst_save_options keep = {.keep_running = true}, live = {.live = true};
    struct manner fails = {.fails = true, .until = STATE / 2};
    struct vst_event_cb cb = {.fn = on_event};

    (void)state;
    told[0] = '\0';
    vst_conn_set_event_callback(app.conn, &cb);
    assert_int_equal(app_save(&app, NULL, NULL, image, fails), VST_ERR_CANCELLED);
    assert_told("suspended() resumed()");
    assert_int_equal(save(&keep), VST_ERR_OK);
    assert_told("suspended() resumed()");
    assert_int_equal(save(&live), VST_ERR_OK);
    assert_told("");
    evbuffer_drain(image, evbuffer_get_length(image));
    assert_int_equal(save(NULL), VST_ERR_OK);
    assert_told("suspended() stopped()");
    assert_int_equal(app_restore(&app, NULL, image, fails, NULL), VST_ERR_CANCELLED);
    assert_told("");
    assert_int_equal(restore(NULL), VST_ERR_OK);
    assert_told("started(restored)");
}

/* ---- what is wrong with an image ---- */

static void every_altered_byte_is_found(void **state)
{
    size_t n, step = vst_test_long() ? 1 : 37;
    unsigned char *bytes;

    (void)state;
    vst_test_seconds(vst_test_long() ? 600 : 60);
    app_stop(&app);
    app_start(&app, "test:///?memory=8K");
    save(NULL);
    n = evbuffer_get_length(image);
    bytes = evbuffer_pullup(image, -1);
    for (size_t i = 0; i < n; i += step) {
        enum vst_code code;

        bytes[i] ^= (unsigned char)(1 << i % 8);
        code = app_restore(&app, NULL, image, plain, NULL);
        /* A record that claims to be longer than what is left of the image is one that was cut. */
        if (code != VST_ERR_DAMAGED && code != VST_ERR_TRUNCATED)
            fail_msg("byte %zu of %zu altered: %s", i, n, vst_code_name(code));
        assert_int_equal(state_of("test1"), -1);
        bytes[i] ^= (unsigned char)(1 << i % 8);
    }
    assert_int_equal(restore(NULL), VST_ERR_OK);
}

static void every_truncation_is_found(void **state)
{
    size_t n, step = vst_test_long() ? 1 : 41;

    (void)state;
    vst_test_seconds(vst_test_long() ? 600 : 60);
    app_stop(&app);
    app_start(&app, "test:///?memory=8K");
    save(NULL);
    n = evbuffer_get_length(image);
    for (size_t i = 0; i < n; i += step) {
        struct evbuffer *part = evbuffer_new();
        enum vst_code code;

        evbuffer_add(part, evbuffer_pullup(image, -1), i);
        code = app_restore(&app, NULL, part, plain, NULL);
        if (code != VST_ERR_TRUNCATED && code != VST_ERR_DAMAGED)
            fail_msg("cut at %zu gives %s", i, vst_code_name(code));
        assert_int_equal(state_of("test1"), -1);
        evbuffer_free(part);
    }
}

static void anything_after_the_end_is_found(void **state)
{
    (void)state;
    save(NULL);
    evbuffer_add(image, "x", 1);
    assert_int_equal(restore(NULL), VST_ERR_DAMAGED);
    assert_int_equal(state_of("test1"), -1);
}

static void what_is_no_image_is_refused(void **state)
{
    (void)state;
    evbuffer_add_printf(image, "this is not the image you are looking for");
    assert_int_equal(restore(NULL), VST_ERR_DAMAGED);
    evbuffer_drain(image, evbuffer_get_length(image));
    assert_int_equal(restore(NULL), VST_ERR_TRUNCATED);
}

/* ---- failures in between ---- */

static void failed_sink_leaves_the_guest_as_it_was(void **state)
{
    (void)state;
    for (size_t until = 0; until < STATE; until += STATE / 7) {
        struct manner fails = {.fails = true, .until = until};

        assert_int_equal(app_save(&app, NULL, NULL, image, fails), VST_ERR_CANCELLED);
        assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    }
}

static void failed_source_leaves_no_guest(void **state)
{
    (void)state;
    save(NULL);
    for (size_t until = 0; until < STATE; until += STATE / 7) {
        struct manner fails = {.fails = true, .until = until};

        assert_int_equal(app_restore(&app, NULL, image, fails, NULL), VST_ERR_CANCELLED);
        assert_int_equal(state_of("test1"), -1);
    }
}

/* A save or restore that cannot end by itself. */
static void begin_stuck_save(struct vst_stream **ret_stream, struct outcome *outcome)
{
    struct vst_stream_options small = {.limit = 4096};

    *ret_stream = vst_stream_new(app.base, &small);
    vst_domain_save(app.domain, *ret_stream, NULL, outcome_done(outcome));
    for (int i = 0; i < 10; i++)
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(outcome->calls, 0);
    assert_int_equal(state_of("test1"), VST_DOMAIN_PAUSED);
}

static void guest_being_saved_is_busy(void **state)
{
    struct vst_stream *stream, *other = vst_stream_new(app.base, NULL);
    struct outcome saved = {0}, second = {0}, info = {0};

    (void)state;
    begin_stuck_save(&stream, &saved);
    assert_int_equal(await(vst_domain_resume), VST_ERR_BUSY);
    assert_int_equal(await(vst_domain_shutdown), VST_ERR_BUSY);
    vst_domain_save(app.domain, other, NULL, outcome_done(&second));
    outcome_await(app.base, &second);
    assert_int_equal(second.err.code, VST_ERR_BUSY);
    vst_domain_get_info(app.domain, outcome_infos(&info));
    outcome_await(app.base, &info);
    assert_int_equal(info.info.job, VST_JOB_SAVE);
    assert_int_equal(info.info.progress.waits_for, VST_STALLED_ON_APPLICATION);
    assert_in_range(info.info.progress.total, STATE, STATE + 100);
    vst_stream_abort(stream, "enough");
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_CANCELLED);
    assert_int_equal(state_of("test1"), VST_DOMAIN_RUNNING);
    vst_stream_free(&stream);
    vst_stream_free(&other);
}

static void destroying_a_guest_ends_its_save(void **state)
{
    struct vst_stream *stream;
    struct outcome saved = {0};

    (void)state;
    begin_stuck_save(&stream, &saved);
    assert_int_equal(await(vst_domain_destroy), VST_ERR_OK);
    outcome_await(app.base, &saved);
    assert_int_equal(saved.err.code, VST_ERR_DRIVER);
    assert_int_equal(state_of("test1"), -1);
    vst_stream_free(&stream);
}

static void destroying_a_guest_ends_its_restore(void **state)
{
    struct manner never = {.never = true, .until = STATE / 2};
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct outcome restored = {0};
    struct end end;

    (void)state;
    save(NULL);
    end_feed(&end, app.base, stream, image, never);
    vst_domain_restore(app.conn, stream, NULL, outcome_domain(&restored));
    for (int i = 0; i < 10; i++)
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(state_of("test1"), VST_DOMAIN_STARTING);
    assert_int_equal(await(vst_domain_resume), VST_ERR_BUSY);
    assert_int_equal(await(vst_domain_destroy), VST_ERR_OK);
    outcome_await(app.base, &restored);
    assert_int_equal(restored.err.code, VST_ERR_DRIVER);
    assert_int_equal(state_of("test1"), -1);
    vst_stream_free(&stream);
}

/* ---- console and screen ---- */

/* Everything that comes down, until the end. */
static void pull_all(struct vst_stream *stream, struct evbuffer *into, struct outcome *outcome)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    while (io != VST_IO_EOF && io != VST_IO_FAIL) {
        io = vst_stream_read_buffer(stream, into, 1000, &n);
        if (io == VST_IO_AGAIN)
            event_base_loop(app.base, EVLOOP_ONCE);
    }
    while (!outcome->released)
        event_base_loop(app.base, EVLOOP_ONCE);
}

static void type(struct vst_stream *stream, const char *text)
{
    size_t n;

    assert_int_equal(vst_stream_write(stream, text, strlen(text), &n), VST_IO_OK);
    assert_int_equal(n, strlen(text));
}

static void assert_pulled(struct evbuffer *got, const char *text)
{
    assert_int_equal(evbuffer_get_length(got), strlen(text));
    assert_memory_equal(evbuffer_pullup(got, -1), text, strlen(text));
    evbuffer_drain(got, evbuffer_get_length(got));
}

static void console_gives_back_what_is_typed_and_remembers(void **state)
{
    struct evbuffer *got = evbuffer_new();

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vst_stream *stream = vst_stream_new(app.base, NULL);
        struct outcome outcome = {0};

        vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
        type(stream, i ? "again" : "hello ");
        assert_int_equal(vst_stream_finish(stream), 0);
        pull_all(stream, got, &outcome);
        assert_int_equal(outcome.err.code, VST_ERR_OK);
        assert_pulled(got, i ? "hello again" : "hello ");
        vst_stream_free(&stream);
    }
    evbuffer_free(got);
}

static void console_has_one_viewer_at_a_time(void **state)
{
    struct vst_stream *first = vst_stream_new(app.base, NULL);
    struct vst_stream *second = vst_stream_new(app.base, NULL);
    struct outcome one = {0}, two = {0};

    (void)state;
    vst_domain_open_console(app.domain, first, outcome_done(&one));
    vst_domain_open_console(app.domain, second, outcome_done(&two));
    outcome_await(app.base, &two);
    assert_int_equal(two.err.code, VST_ERR_BUSY);
    vst_stream_free(&first);
    outcome_await(app.base, &one);
    vst_stream_free(&second);
}

static void console_ends_with_its_guest(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct evbuffer *got = evbuffer_new();
    struct outcome outcome = {0};

    (void)state;
    vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
    type(stream, "bye");
    while (evbuffer_get_length(got) < 3) {
        size_t n;

        vst_stream_read_buffer(stream, got, 100, &n);
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    vst_domain_destroy(app.domain, NULL);
    pull_all(stream, got, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_pulled(got, "bye");
    vst_stream_free(&stream);
    evbuffer_free(got);
}

static void paused_guest_does_not_hear_until_resumed(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct evbuffer *got = evbuffer_new();
    struct outcome outcome = {0};
    size_t n;

    (void)state;
    await(vst_domain_suspend);
    vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
    type(stream, "are you there?");
    vst_stream_finish(stream);
    for (int i = 0; i < 10; i++)
        event_base_loop(app.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(vst_stream_read_buffer(stream, got, 100, &n), VST_IO_AGAIN);
    await(vst_domain_resume);
    pull_all(stream, got, &outcome);
    assert_pulled(got, "are you there?");
    vst_stream_free(&stream);
    evbuffer_free(got);
}

static void more_than_the_ring_is_typed_and_nothing_is_lost(void **state)
{
    struct vst_stream *stream = vst_stream_new(app.base, NULL);
    struct evbuffer *got = evbuffer_new(), *typed = evbuffer_new(), *copy;
    struct outcome outcome = {0};
    size_t n;

    (void)state;
    for (int i = 0; i < 5000; i++)
        evbuffer_add_printf(typed, "%d ", i);
    vst_domain_open_console(app.domain, stream, outcome_done(&outcome));
    copy = copy_of(typed);
    assert_int_equal(vst_stream_write_buffer(stream, copy, &n), VST_IO_OK);
    assert_int_equal(evbuffer_get_length(copy), 0);
    vst_stream_finish(stream);
    pull_all(stream, got, &outcome);
    assert_int_equal(evbuffer_get_length(got), evbuffer_get_length(typed));
    assert_memory_equal(evbuffer_pullup(got, -1), evbuffer_pullup(typed, -1),
                        evbuffer_get_length(typed));
    vst_stream_free(&stream);
    evbuffer_free(got);
    evbuffer_free(typed);
    evbuffer_free(copy);
}

static void screenshot_is_a_png_and_the_same_each_time(void **state)
{
    struct evbuffer *got[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vst_stream *stream = vst_stream_new(app.base, NULL);
        struct outcome outcome = {0};

        got[i] = evbuffer_new();
        vst_domain_screenshot(app.domain, stream, outcome_done(&outcome));
        pull_all(stream, got[i], &outcome);
        assert_int_equal(outcome.err.code, VST_ERR_OK);
        vst_stream_free(&stream);
    }
    assert_memory_equal(evbuffer_pullup(got[0], -1), "\x89PNG\r\n\x1a\n", 8);
    assert_int_equal(evbuffer_get_length(got[0]), evbuffer_get_length(got[1]));
    assert_memory_equal(evbuffer_pullup(got[0], -1), evbuffer_pullup(got[1], -1),
                        evbuffer_get_length(got[0]));
    evbuffer_free(got[0]);
    evbuffer_free(got[1]);
}

int main(void)
{
#define DRIVER_TEST(function) VST_TEST_WITH(function, make, drop)
    const struct CMUnitTest tests[] = {
        DRIVER_TEST(saved_guest_is_gone_and_comes_back),
        DRIVER_TEST(guest_that_is_to_go_on_goes_on),
        DRIVER_TEST(state_follows_from_the_guest_alone),
        DRIVER_TEST(paused_guest_stays_paused),
        DRIVER_TEST(restored_guest_is_paused_when_asked),
        DRIVER_TEST(restored_guest_can_be_saved_again),
        DRIVER_TEST(another_name_makes_another_guest),
        DRIVER_TEST(compressed_guest_comes_back),
        DRIVER_TEST(image_restores_on_another_connection),
        DRIVER_TEST(name_that_is_taken_is_refused_before_anything),
        DRIVER_TEST(name_that_is_none_is_refused),
        DRIVER_TEST(what_befalls_a_guest_is_told),
        DRIVER_TEST(every_altered_byte_is_found),
        DRIVER_TEST(every_truncation_is_found),
        DRIVER_TEST(anything_after_the_end_is_found),
        DRIVER_TEST(what_is_no_image_is_refused),
        DRIVER_TEST(failed_sink_leaves_the_guest_as_it_was),
        DRIVER_TEST(failed_source_leaves_no_guest),
        DRIVER_TEST(guest_being_saved_is_busy),
        DRIVER_TEST(destroying_a_guest_ends_its_save),
        DRIVER_TEST(destroying_a_guest_ends_its_restore),
        DRIVER_TEST(console_gives_back_what_is_typed_and_remembers),
        DRIVER_TEST(console_has_one_viewer_at_a_time),
        DRIVER_TEST(console_ends_with_its_guest),
        DRIVER_TEST(paused_guest_does_not_hear_until_resumed),
        DRIVER_TEST(more_than_the_ring_is_typed_and_nothing_is_lost),
        DRIVER_TEST(screenshot_is_a_png_and_the_same_each_time),
    };
#undef DRIVER_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

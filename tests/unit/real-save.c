/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU itself does around saves that the driver has to know: when it holds its lock, what it
 * lets a paused guest do, and what becomes of disks.
 */
#include "host.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct vst_host host;

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_host_clear(&host);
    return 0;
}

static void start(char *definition)
{
    struct vst_error err = {0};

    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
}

static enum vst_domain_state state_of(const char *name)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    if (vst_host_get_info(&host, name, &info, &err) < 0)
        fail_msg("info: %s", err.text);
    return info.state;
}

static int save(struct vst_stream *stream, bool live, bool keep, struct vst_error *ret_err)
{
    struct vst_save_options opt = {.live = live, .keep_running = keep, .stall_seconds = 20};

    return vst_host_save(&host, "g", stream, &opt, ret_err);
}

static void save_well(struct evbuffer *into, bool live, bool keep)
{
    struct vst_error err = {0};

    if (save(vst_host_sink(&host, into), live, keep, &err) < 0)
        fail_msg("save: %s", err.text);
}

static void restore_well(struct evbuffer *from, bool paused)
{
    struct vst_restore_options opt = {.paused = paused, .stall_seconds = 20};
    struct vst_error err = {0};

    if (vst_host_restore(&host, vst_host_source(&host, from), &opt, &err) < 0)
        fail_msg("restore: %s", err.text);
}

static void destroy(void)
{
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

/* ---- QEMU's lock ---- */

/* Takes at a pace, up to some byte, and then no more; a while later the stream is given up. */
struct slow {
    struct vst_stream *stream;
    struct event *tick;
    size_t room; /* until the next tick */
    size_t left; /* that will be taken at all */
    int waited;  /* ticks since then */
};

enum { TICK_US = 10 * 1000, TICK_BYTES = 200 * 1000, TICKS_TO_WAIT = 50, KEPT_BACK = 3000 * 1000 };

static enum vst_io take(const void *bytes, size_t length, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    struct slow *slow = opaque;
    size_t room = slow->room < slow->left ? slow->room : slow->left;

    (void)bytes, (void)ret_err;
    if (room == 0)
        return VST_IO_AGAIN;
    *ret_n = length < room ? length : room;
    slow->room -= *ret_n;
    slow->left -= *ret_n;
    return VST_IO_OK;
}

static void tick(evutil_socket_t fd, short what, void *opaque)
{
    struct slow *slow = opaque;

    (void)fd, (void)what;
    slow->room = TICK_BYTES;
    if (slow->left > 0)
        vst_stream_wake(slow->stream);
    else if (++slow->waited == TICKS_TO_WAIT)
        vst_stream_abort(slow->stream, "the test gives up");
}

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* QEMU writes what it takes for the last part with its lock held, and hears nothing meanwhile. */
static void a_save_given_up_while_qemu_waits_with_its_lock_held_ends_at_once(void **state)
{
    static const struct timeval pace = {0, TICK_US};
    struct evbuffer *all = evbuffer_new();
    struct vst_writer writer = {.write = take};
    struct slow slow = {0};
    struct vst_error err = {0};
    double began;

    (void)state;
    start(vst_host_counting(&host, "g", "F"));
    vst_host_expect_counting(&host, "g", 2);
    save_well(all, false, true);
    slow.left = evbuffer_get_length(all) - KEPT_BACK;
    evbuffer_free(all);
    slow.stream = vst_stream_new(host.base, &(struct vst_stream_options){.limit = 65536});
    slow.tick = event_new(host.base, -1, EV_PERSIST, tick, &slow);
    writer.opaque = &slow;
    vst_stream_set_sink_writer(slow.stream, &writer);
    event_add(slow.tick, &pace);
    began = now();
    assert_int_equal(save(slow.stream, false, true, &err), -1);
    event_free(slow.tick);
    assert_int_equal(err.code, VST_ERR_CANCELLED);
    if (now() - began > 10)
        fail_msg("it took %g s", now() - began);
    assert_int_equal(state_of("g"), VST_DOMAIN_RUNNING);
    vst_host_expect_counting(&host, "g", 2);
    vst_host_expect_gapless(&host, "g");
    destroy();
}

/* ---- paused guests ---- */

static void a_guest_that_stays_paused_is_saved_only_once_and_that_is_told(void **state)
{
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};

    (void)state;
    start(vst_host_none("g"));
    assert_int_equal(vst_host_suspend(&host, "g", NULL), 0);
    save_well(image, false, true);
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    assert_int_equal(save(vst_host_sink(&host, image), false, true, &err), -1);
    assert_int_equal(err.code, VST_ERR_STATE);
    assert_non_null(strstr(err.text, "resume it"));
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    destroy();
    evbuffer_free(image);
}

static void a_live_save_of_a_paused_guest_leaves_it_paused(void **state)
{
    struct evbuffer *image = evbuffer_new();
    unsigned counted;

    (void)state;
    start(vst_host_counting(&host, "g", "P"));
    vst_host_expect_counting(&host, "g", 2);
    assert_int_equal(vst_host_suspend(&host, "g", NULL), 0);
    counted = vst_host_counted(&host, "g");
    save_well(image, true, false);
    vst_host_run(&host, 300);
    assert_int_equal(vst_host_counted(&host, "g"), counted);
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    destroy();
    restore_well(image, false);
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    destroy();
    evbuffer_free(image);
}

/* ---- disks ---- */

static char *with_a_disk(void)
{
    char *text, path[100];
    int fd;

    snprintf(path, sizeof(path), "%s/disk", host.dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    assert_true(asprintf(&text,
                         "{\"name\": \"g\", \"machine\": \"pc\", \"accel\": \"tcg\", "
                         "\"memory-mib\": 8, \"vcpus\": 1, \"disks\": [{\"name\": \"d\", "
                         "\"file\": \"%s\", \"format\": \"raw\"}]}",
                         path) > 0);
    return text;
}

/* A disk that the restored guest has not taken over yet cannot be given away again either. */
static void a_guest_with_a_disk_that_was_restored_paused_can_be_saved(void **state)
{
    struct evbuffer *image = evbuffer_new(), *second = evbuffer_new();

    (void)state;
    start(with_a_disk());
    save_well(image, false, false);
    vst_host_expect_nothing(&host);
    restore_well(image, true);
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    save_well(second, false, false);
    vst_host_expect_nothing(&host);
    restore_well(second, false);
    assert_int_equal(state_of("g"), VST_DOMAIN_PAUSED);
    destroy();
    evbuffer_free(image);
    evbuffer_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_save_given_up_while_qemu_waits_with_its_lock_held_ends_at_once, begin, end),
        VST_TEST_WITH(a_guest_that_stays_paused_is_saved_only_once_and_that_is_told, begin, end),
        VST_TEST_WITH(a_live_save_of_a_paused_guest_leaves_it_paused, begin, end),
        VST_TEST_WITH(a_guest_with_a_disk_that_was_restored_paused_can_be_saved, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

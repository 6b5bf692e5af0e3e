/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What somebody types into the console of a guest of QEMU that has ended, or is about to: it is
 * lost, and the end is told by the reading side alone. The guest is the other end of a socket.
 */
#include "drivers/qemu/console.h"

#include <event2/buffer.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fd.h"
#include "test.h"

static struct {
    struct event_base *base;
    struct vst_console_end *console;
    struct vst_channel *viewer;
    struct evbuffer *typed, *printed;
    int guest;
} t;

static int make(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    t.base = event_base_new();
    t.typed = evbuffer_new();
    t.printed = evbuffer_new();
    t.guest = fds[1];
    t.console = vst_console_new(t.base, &fds[0], NULL);
    assert_non_null(t.console);
    t.viewer = vst_console_view(t.console, NULL);
    assert_non_null(t.viewer);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    vst_channel_free(&t.viewer);
    vst_console_free(&t.console);
    vst_close(&t.guest);
    evbuffer_free(t.typed);
    evbuffer_free(t.printed);
    event_base_free(t.base);
    return 0;
}

static void type(const char *text)
{
    size_t n = 0;

    evbuffer_add(t.typed, text, strlen(text));
    assert_int_equal(vst_channel_write(t.viewer, t.typed, 100, &n), VST_IO_OK);
    assert_int_equal(n, strlen(text));
    assert_int_equal(evbuffer_get_length(t.typed), 0);
}

static void expect_end(void)
{
    enum vst_io io;
    size_t n;

    while ((io = vst_channel_read(t.viewer, t.printed, 100, &n)) == VST_IO_AGAIN)
        event_base_loop(t.base, EVLOOP_ONCE);
    assert_int_equal(io, VST_IO_OK);
    assert_int_equal(evbuffer_get_length(t.printed), 3);
    while ((io = vst_channel_read(t.viewer, t.printed, 100, &n)) == VST_IO_AGAIN)
        event_base_loop(t.base, EVLOOP_ONCE);
    assert_int_equal(io, VST_IO_EOF);
}

static void what_is_typed_reaches_the_guest(void **state)
{
    char text[16] = "";

    (void)state;
    type("yes");
    assert_int_equal(read(t.guest, text, sizeof(text)), 3);
    assert_string_equal(text, "yes");
}

/* Its end is on its way, and has not been read yet. */
static void key_that_is_typed_as_the_guest_ends_is_no_error(void **state)
{
    (void)state;
    assert_int_equal(write(t.guest, "bye", 3), 3);
    vst_close(&t.guest);
    type("q");
    type("q");
    expect_end();
    type("q");
}

static void key_that_is_typed_after_the_guest_is_gone_is_no_error(void **state)
{
    (void)state;
    assert_int_equal(write(t.guest, "bye", 3), 3);
    event_base_loop(t.base, EVLOOP_ONCE);
    vst_console_free(&t.console);
    type("q");
    expect_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(what_is_typed_reaches_the_guest, make, drop),
        VST_TEST_WITH(key_that_is_typed_as_the_guest_ends_is_no_error, make, drop),
        VST_TEST_WITH(key_that_is_typed_after_the_guest_is_gone_is_no_error, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

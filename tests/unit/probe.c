/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QEMU that ends while it is asked what it can do: that is told, and the next who wants to know
 * asks another, in the same connection, from the beginning. What was learned from the first is
 * forgotten; whether its memory is, a leak checker sees. QEMU is this program, too (fake-qemu.h).
 */
#include "fake-qemu.h"
#include "host.h"

#include <event2/buffer.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct vst_host host;

/* The last question: whatever else there is to know has been answered. */
static void kill_at_the_last_question(void *opaque, const char *machine, const char *to)
{
    unsigned *kills = opaque;

    if (strcmp(machine, "probe") != 0 || strcmp(to, "PROBE_POST_COPY") != 0 || *kills == 2)
        return;
    kill(host.started->processes[host.started->count - 1].pid, SIGKILL);
    ++*kills;
}

static struct evbuffer *make_image(void)
{
    static const char definition[] = "{\"name\": \"g\", \"machine\": \"fake\", \"accel\": \"tcg\", "
                                     "\"memory-mib\": 1, \"vcpus\": 1}";
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};

    if (vst_host_start(&host, definition, &err) < 0 ||
        vst_host_save(&host, "g", vst_host_sink(&host, image), NULL, &err) < 0)
        fail_msg("making an image: %s", err.text);
    return image;
}

static int restore(struct evbuffer *image, struct vst_error *ret_err)
{
    struct evbuffer *copy = evbuffer_new();
    int status;

    evbuffer_add(copy, evbuffer_pullup(image, -1), evbuffer_get_length(image));
    status = vst_host_restore(&host, vst_host_source(&host, copy), NULL, ret_err);
    evbuffer_free(copy);
    return status;
}

static void qemu_that_ended_while_it_was_asked_is_asked_again(void **state)
{
    struct vst_error err;
    struct evbuffer *image;
    unsigned kills = 0;

    (void)state;
    vst_test_seconds(60);
    vst_host_make_with(&host, vst_fake_qemu_put_in_path);
    image = make_image();
    host.edge = kill_at_the_last_question;
    host.opaque = &kills;
    for (unsigned i = 1; i <= 2; i++) {
        err = (struct vst_error){0};
        assert_int_equal(restore(image, &err), -1);
        assert_non_null(strstr(err.text, "QEMU cannot be asked what it supports"));
        assert_int_equal(kills, i);
    }
    err = (struct vst_error){0};
    if (restore(image, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
    evbuffer_free(image);
    vst_host_clear(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(qemu_that_ended_while_it_was_asked_is_asked_again),
    };

    (void)argc;
    if (vst_fake_qemu_is_meant(argv))
        vst_fake_qemu(argv);
    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that runs out when QEMU has let the guest run: each allocation from then on fails once.
 * The start or the restore may fail, but the guest is there, runs, and can be taken up again.
 */
#include "host.h"
#include "memory.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 100 }; /* allocations; far more than there are */

static struct vst_host host;
static unsigned after;
static bool armed; /* until the guest runs */

static void discard(int severity, const char *line)
{
    (void)severity, (void)line;
}

static void fail_when_it_runs(void *opaque, const char *line)
{
    (void)opaque;
    if (!armed || !strstr(line, "\"RESUME\""))
        return;
    armed = false;
    memory_fail_once(after);
}

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(120);
    event_set_log_callback(discard); /* libevent tells of every failure */
    vst_host_make(&host);
    host.line = fail_when_it_runs;
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_host_clear(&host);
    return 0;
}

/* The guest as the next connection finds it. */
static void expect_running(void)
{
    struct vst_domain_info info = {0};
    struct vst_error err = {0};

    assert_false(armed);
    vst_host_disconnect(&host);
    vst_host_connect(&host);
    if (vst_host_get_info(&host, "g", &info, &err) < 0)
        fail_msg("allocation %u after the guest runs: %s", after, err.text);
    assert_int_equal(info.state, VST_DOMAIN_RUNNING);
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_nothing(&host);
}

/* Whether an allocation has failed. */
static bool start(void)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};
    int status;
    bool failed;

    armed = true;
    status = vst_host_start(&host, definition, &err);
    failed = memory_stop_failing();
    free(definition);
    expect_running();
    if (status < 0 && !failed)
        fail_msg("%s", err.text);
    return failed;
}

static void a_guest_that_was_started_survives_that_memory_runs_out(void **state)
{
    (void)state;
    for (after = 0; start(); after++)
        assert_true(after < MOST);
    assert_true(after > 0);
}

static void save(struct evbuffer *image)
{
    struct vst_save_options opt = {.stall_seconds = 20};
    char *definition = vst_host_none("g");

    assert_int_equal(vst_host_start(&host, definition, NULL), 0);
    free(definition);
    assert_int_equal(vst_host_save(&host, "g", vst_host_sink(&host, image), &opt, NULL), 0);
}

static bool restore(void)
{
    struct vst_restore_options opt = {.stall_seconds = 20};
    struct evbuffer *image = evbuffer_new();
    struct vst_error err = {0};
    int status;
    bool failed;

    save(image);
    armed = true;
    status = vst_host_restore(&host, vst_host_source(&host, image), &opt, &err);
    failed = memory_stop_failing();
    evbuffer_free(image);
    expect_running();
    if (status < 0 && !failed)
        fail_msg("%s", err.text);
    return failed;
}

static void a_guest_that_was_restored_survives_that_memory_runs_out(void **state)
{
    (void)state;
    for (after = 0; restore(); after++)
        assert_true(after < MOST);
    assert_true(after > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(a_guest_that_was_started_survives_that_memory_runs_out, begin, end),
        VST_TEST_WITH(a_guest_that_was_restored_survives_that_memory_runs_out, begin, end),
    };

    if (!memory_can_fail()) {
        printf("1..0 # SKIP somebody else has malloc()\n");
        return 0;
    }
    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

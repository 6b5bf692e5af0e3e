/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channels when memory runs out: each allocation on the way of bytes from a file through a pair
 * into a new file, and from a socket beside it, fails once, also those on threads, and the threads
 * themselves. Then there is an error and the old file, or all has arrived.
 */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pump.h"
#include "loop.h"
#include "shortage.h"

enum { LEN = 300 * 1000, LIMIT = 70 * 1000, HOPS = 3, SENT = 20 * 1000 };

/* ---- the transfers ---- */

static struct event_base *base;
static unsigned char *bytes;
static char dir[] = "/tmp/vst-memory-XXXXXX";
static char from_path[64], to_path[64];

struct hop {
    struct vst_channel *source;
    struct vst_channel *sink;
    struct vst_pump *pump;
    bool done;
    struct vst_error outcome;
};

static void put(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static bool holds(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char *found = malloc(len + 1);
    bool same = read(fd, found, len + 1) == (ssize_t)len && memcmp(found, data, len) == 0;

    free(found);
    close(fd);
    return same;
}

static void done(void *opaque, const struct vst_error *err)
{
    struct hop *hop = opaque;

    hop->done = true;
    if (err)
        hop->outcome = *err;
    /* By the ends that go away now the other hop learns of it. */
    vst_pump_free(&hop->pump);
    vst_channel_free(&hop->source);
    vst_channel_free(&hop->sink);
}

/* An end that could not be taken stays ours; who has it closes it. */
static struct vst_channel *take(int fd, struct vst_error *err)
{
    struct vst_channel *ch = vst_channel_any_fd(base, &fd, err);

    if (!ch)
        close(fd);
    else
        assert_int_equal(fd, -1);
    return ch;
}

static bool make_ends(struct hop *hops, struct vst_error *err)
{
    struct vst_channel *pair[2];
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(write(fds[0], bytes, SENT), SENT);
    close(fds[0]);
    hops[0].source = vst_channel_open_file(base, from_path, err);
    if (vst_channel_pair(base, LIMIT, pair, err) == 0) {
        hops[0].sink = pair[0];
        hops[1].source = pair[1];
    }
    hops[1].sink = vst_channel_new_file(base, to_path, 0, err);
    hops[2].source = take(fds[1], err);
    hops[2].sink = vst_channel_null(base, err);
    for (int i = 0; i < HOPS; i++)
        if (!hops[i].source || !hops[i].sink)
            return false;
    return true;
}

static bool make_pumps(struct hop *hops, struct vst_error *err)
{
    for (int i = 0; i < HOPS; i++) {
        hops[i].pump = vst_pump_new(base, LIMIT, done, &hops[i], err);
        if (!hops[i].pump)
            return false;
    }
    for (int i = 0; i < HOPS; i++) {
        vst_pump_set_source(hops[i].pump, hops[i].source);
        vst_pump_set_sink(hops[i].pump, hops[i].sink);
    }
    return true;
}

/* True when it said that all has arrived. */
static bool transfer(struct vst_error *err)
{
    struct hop hops[HOPS] = {0};
    bool made = make_ends(hops, err) && make_pumps(hops, err);

    while (made && !(hops[0].done && hops[1].done && hops[2].done))
        assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
    for (int i = 0; i < HOPS; i++) {
        vst_pump_free(&hops[i].pump);
        vst_channel_free(&hops[i].source);
        vst_channel_free(&hops[i].sink);
        vst_error_copy(err, &hops[i].outcome);
    }
    return made && !vst_error_is_set(err);
}

static void each_allocation_may_fail_once(void **state)
{
    struct vst_error err = {0};
    bool arrived = false, reached = true;
    long n;

    (void)state;
    vst_test_seconds(120);
    for (n = 0; reached; n++) {
        err = (struct vst_error){0};
        put(to_path, "old", 3);
        shortage_begin(n);
        arrived = transfer(&err);
        vst_test_threads_end();
        reached = shortage_end();
        assert_int_equal(arrived, !vst_error_is_set(&err));
        if (arrived)
            assert_true(holds(to_path, bytes, LEN));
        else
            assert_true(holds(to_path, "old", 3) || holds(to_path, bytes, LEN));
    }
    assert_true(arrived);
    assert_true(n > 40);
    print_message("# %ld allocations failed\n", n);
}

static int make(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(from_path, sizeof(from_path), "%s/from", dir);
    snprintf(to_path, sizeof(to_path), "%s/to", dir);
    bytes = malloc(LEN);
    vst_test_fill(bytes, LEN, 9);
    put(from_path, bytes, LEN);
    base = event_base_new();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    event_base_free(base);
    free(bytes);
    unlink(from_path);
    unlink(to_path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_allocation_may_fail_once, make, drop),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

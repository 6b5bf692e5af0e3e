/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A login, and data through its security layer, when memory runs out: each allocation of ours and
 * of libevent fails once, on the loop and on threads, and each start of a thread. Then one side at
 * least says so and the other fails, too, or both get on: never a crash, a wait, or half a login.
 *
 * What Cyrus SASL itself allocates is left alone.
 */
#include "greet.h"

#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "shortage.h"

enum { ROOM = 1 << 17 };

/* ---- a login ---- */

static struct greet greet;

static void make(void)
{
    greet_make(&greet, ROOM);
    greet_login(&greet, greet_database(), "alice", "opensesame");
    shortage_make_room(greet.base);
}

/* The same bytes, or a failure. */
static bool send_data(void)
{
    static const char data[] = "a few bytes";
    struct vst_channel *from = greet.party[GREET_CLIENT].transport;
    struct vst_channel *to = greet.party[GREET_SERVER].transport;
    struct evbuffer *out = evbuffer_new(), *in = evbuffer_new();
    enum vst_io io = VST_IO_FAIL;
    size_t n;

    if (out && in && evbuffer_add(out, data, sizeof(data)) == 0) {
        io = vst_channel_write(from, out, sizeof(data), &n);
        while (io != VST_IO_FAIL && (io = vst_channel_read(to, in, 100, &n)) == VST_IO_AGAIN)
            event_base_loop(greet.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        if (io == VST_IO_OK)
            assert_memory_equal(evbuffer_pullup(in, -1), data, sizeof(data));
    }
    if (out)
        evbuffer_free(out);
    if (in)
        evbuffer_free(in);
    return io == VST_IO_OK;
}

/* The server ran out when it had just let the client in. */
static void expect_loss(struct vst_channel *transport)
{
    struct evbuffer *in = evbuffer_new();
    enum vst_io io = VST_IO_FAIL;
    size_t n;

    while (in && (io = vst_channel_read(transport, in, 100, &n)) == VST_IO_AGAIN)
        event_base_loop(greet.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(io, VST_IO_FAIL);
    if (in)
        evbuffer_free(in);
}

/* SYSTEM: no thread, or a descriptor that the loop cannot watch. */
static bool says_so(const struct vst_error *err)
{
    return err->code == VST_ERR_NO_MEMORY || err->code == VST_ERR_SYSTEM;
}

static bool log_in(void)
{
    const struct greet_party *client = &greet.party[GREET_CLIENT];
    const struct greet_party *server = &greet.party[GREET_SERVER];
    bool ran_out;

    if (!greet_try_begin(&greet, GREET_CLIENT) || !greet_try_begin(&greet, GREET_SERVER))
        return false;
    greet_wait(&greet, GREET_CLIENT);
    greet_wait(&greet, GREET_SERVER);
    ran_out = says_so(&client->err) || says_so(&server->err);
    if (client->err.code || server->err.code) {
        if (!ran_out)
            fail_msg("client: %s, server: %s", client->err.text, server->err.text);
        if (!client->err.code)
            expect_loss(client->transport);
        return false;
    }
    assert_string_equal(server->user, "alice");
    return send_data();
}

/* Whether there were as many allocations. */
static bool try_failure(long number, bool layer)
{
    bool done, failed;

    make();
    for (int i = 0; i < 2 && layer; i++) {
        greet.party[i].sasl.secret = false;
        greet.party[i].sasl.mechanisms = "DIGEST-MD5";
    }
    shortage_begin(number);
    done = log_in();
    failed = shortage_end();
    assert_true(done || failed);
    greet_drop(&greet);
    return failed;
}

static long sweep(bool layer)
{
    long number = 0;

    vst_test_seconds(120);
    try_failure(1000000, layer); /* the plugins are loaded */
    while (try_failure(number, layer))
        number++;
    return number;
}

static void each_allocation_of_a_login_may_fail(void **state)
{
    (void)state;
    assert_in_range(sweep(false), 60, 1000);
}

static void each_allocation_of_a_layer_may_fail(void **state)
{
    (void)state;
    assert_in_range(sweep(true), 60, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(each_allocation_of_a_login_may_fail),
        VST_TEST(each_allocation_of_a_layer_may_fail),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

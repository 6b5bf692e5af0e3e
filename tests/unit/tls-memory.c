/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS when memory runs out: each allocation of the layer and of libevent fails once, from loading
 * the certificates to the end of a session. Then there is an error, or everything has arrived. What
 * GnuTLS allocates for itself is not failed: the arithmetic below it aborts the process then.
 */
#include "test.h"

#include <time.h>

#include "loop.h"
#include "pki.h"
#include "shortage.h"

enum { LEN = 40000, SECONDS_MAX = 5 };

static bool secure(struct vst_channel **ch, enum vst_tls_role role, struct vst_error *err)
{
    bool client = role == VST_TLS_CLIENT;
    struct vst_tls_files files = {(char *)pki_path("ca-cert.pem"),
                                  (char *)pki_path(client ? "alice-cert.pem" : "host-cert.pem"),
                                  (char *)pki_path(client ? "alice-key.pem" : "host-key.pem"),
                                  NULL};
    struct vst_tls_options opt = {.role = role, .host = client ? "host.example" : NULL};
    struct vst_tls_creds *creds = vst_tls_creds_load(role, &files, err);
    struct vst_channel *tls = creds ? vst_channel_tls(*ch, creds, &opt, err) : NULL;

    vst_tls_creds_unref(&creds);
    if (tls)
        *ch = tls;
    return tls != NULL;
}

struct way {
    enum vst_io open, out, in;
};

/* Moves what it can: client to server. */
static void move(struct vst_channel *ends[2], struct evbuffer *from, struct evbuffer *into,
                 struct way *way)
{
    size_t n;

    if (way->open != VST_IO_OK) {
        enum vst_io a = vst_channel_open(ends[0]), b = vst_channel_open(ends[1]);

        way->open = a > b ? a : b;
        return;
    }
    if (evbuffer_get_length(from))
        way->out = vst_channel_write(ends[0], from, LEN, &n);
    else if (way->out != VST_IO_EOF && (way->out = vst_channel_finish(ends[0])) == VST_IO_OK)
        way->out = VST_IO_EOF;
    way->in = vst_channel_read(ends[1], into, 3000, &n);
}

static int transfer(struct event_base *base, struct vst_channel *ends[2], struct evbuffer *from,
                    struct evbuffer *into, struct vst_error *err)
{
    struct way way = {VST_IO_AGAIN, VST_IO_OK, VST_IO_OK};
    time_t began = time(NULL);

    if (!secure(&ends[0], VST_TLS_CLIENT, err) || !secure(&ends[1], VST_TLS_SERVER, err))
        return -1;
    while (way.out != VST_IO_EOF || way.in != VST_IO_EOF) {
        move(ends, from, into, &way);
        for (int i = 0; i < 2; i++)
            if (ends[i]->dead)
                return vst_error_copy(err, vst_channel_error(ends[i]));
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        assert_true(time(NULL) - began < SECONDS_MAX);
    }
    return 0;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    vst_test_seconds(120);
    assert_in_range(shortage_sweep(transfer, LEN), 40, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_allocation_may_fail, pki_begin, pki_end),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

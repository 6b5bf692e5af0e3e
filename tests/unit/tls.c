/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TLS layer: two ends of a session in memory, or on a socket pair.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "pki.h"

static struct event_base *base;
static struct vst_channel *ends[2]; /* client, server */

enum { CLIENT, SERVER };

static int make(void **state)
{
    base = event_base_new();
    return pki_begin(state);
}

static int drop(void **state)
{
    vst_channel_free(&ends[CLIENT]);
    vst_channel_free(&ends[SERVER]);
    event_base_free(base);
    return pki_end(state);
}

/* Takes the creds. */
static void put_tls(struct vst_channel **ch, struct vst_tls_creds *creds,
                    const struct vst_tls_options *opt)
{
    struct vst_error err = {0};
    struct vst_channel *tls = vst_channel_tls(*ch, creds, opt, &err);

    assert_non_null(tls);
    vst_tls_creds_unref(&creds);
    *ch = tls;
}

static void make_ends(struct vst_tls_creds *client, struct vst_tls_creds *server)
{
    struct vst_tls_options opt = {.role = VST_TLS_CLIENT, .host = "host.example"};

    assert_int_equal(vst_channel_pair(base, 1 << 20, ends, NULL), 0);
    put_tls(&ends[CLIENT], client, &opt);
    opt = (struct vst_tls_options){.role = VST_TLS_SERVER, .want_peer = true};
    put_tls(&ends[SERVER], server, &opt);
}

static void make_good_ends(void)
{
    make_ends(pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL),
              pki_creds(VST_TLS_SERVER, "ca", "host", NULL));
}

/* Both hand-shakes until each has said something final. */
static void open_both(enum vst_io ret_io[2])
{
    ret_io[CLIENT] = ret_io[SERVER] = VST_IO_AGAIN;
    while (ret_io[CLIENT] == VST_IO_AGAIN || ret_io[SERVER] == VST_IO_AGAIN) {
        for (int i = 0; i < 2; i++) {
            if (ret_io[i] == VST_IO_AGAIN)
                ret_io[i] = vst_channel_open(ends[i]);
            vst_channel_want(ends[i], VST_READ, true);
        }
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    vst_channel_want(ends[CLIENT], VST_READ, false);
    vst_channel_want(ends[SERVER], VST_READ, false);
}

static void open_well(void)
{
    enum vst_io io[2];

    open_both(io);
    if (io[0] != VST_IO_OK || io[1] != VST_IO_OK)
        print_error("%s / %s\n", vst_channel_error(ends[0])->text,
                    vst_channel_error(ends[1])->text);
    assert_int_equal(io[CLIENT], VST_IO_OK);
    assert_int_equal(io[SERVER], VST_IO_OK);
}

static void bytes_pass_both_ways(void **state)
{
    char text[16];

    (void)state;
    make_good_ends();
    open_well();
    assert_int_equal(vst_test_send(ends[CLIENT], "question", 8), VST_IO_OK);
    assert_int_equal(vst_test_send(ends[SERVER], "answer", 6), VST_IO_OK);
    vst_test_wait(ends[SERVER], VST_READ);
    assert_int_equal(vst_test_read_text(ends[SERVER], text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "question");
    assert_int_equal(vst_test_read_text(ends[CLIENT], text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "answer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(bytes_pass_both_ways, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

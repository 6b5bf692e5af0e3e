/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New keys in the middle of a TLS session: by us after so many bytes, and when the peer asks for
 * it. In the long form of the tests every MiB of 2 GiB each way, at the pace that GnuTLS allows.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/trace.h"
#include "raw-tls.h"

enum { MIB = 1024 * 1024, APART_MS = 255 }; /* two rekeys: a little more than the layer wants */

static unsigned rekeys[2];
static int64_t rekeyed_ms[2]; /* when the last was */

static int64_t now_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static void count(unsigned category, const char *line, void *opaque)
{
    int side = strstr(line, "tls client") ? CLIENT : SERVER;

    (void)category, (void)opaque;
    if (!strstr(line, ": new keys"))
        return;
    rekeys[side]++;
    rekeyed_ms[side] = now_ms();
}

static int make(void **state)
{
    static const struct vst_trace trace = {VST_TRACE_WIRE, count, NULL};

    memset(rekeys, 0, sizeof(rekeys));
    memset(rekeyed_ms, 0, sizeof(rekeyed_ms));
    vst_trace_set(&trace);
    return session_make(state);
}

static int drop(void **state)
{
    vst_trace_set(NULL);
    return session_drop(state);
}

/* ---- ours ---- */

static unsigned char *piece;

/* Gives a side a MiB whenever it has sent the last one and may have new keys for the next; and
 * forgets what has come, if right. */
static void feed_side(int i, size_t *left, size_t *got)
{
    struct side *side = &session.side[i];
    size_t n = evbuffer_get_length(side->got);

    if (*left && !evbuffer_get_length(side->to_send) && now_ms() - rekeyed_ms[i] >= APART_MS) {
        evbuffer_add(side->to_send, piece, MIB);
        *left -= MIB;
    }
    if (n < MIB)
        return;
    assert_memory_equal(evbuffer_pullup(side->got, MIB), piece, MIB);
    evbuffer_drain(side->got, MIB);
    *got += MIB;
}

/* Ends the waiting, and that is all. */
static void tick(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
}

static void rekey_every_mib(size_t each_way)
{
    size_t left[2] = {each_way, each_way}, got[2] = {0, 0};
    struct event *clock = event_new(session.base, -1, EV_PERSIST, tick, NULL);
    struct timeval often = {0, 5000};

    event_add(clock, &often);
    piece = malloc(MIB);
    vst_test_fill(piece, MIB, 7);
    session.side[CLIENT].goes_on = session.side[SERVER].goes_on = true;
    session_secure(pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL),
                   pki_creds(VST_TLS_SERVER, "ca", "host", NULL), true, MIB);
    session_open();
    while (got[CLIENT] < each_way || got[SERVER] < each_way) {
        for (int i = 0; i < 2; i++)
            feed_side(i, &left[i], &got[i]);
        session_turn();
        assert_false(session.side[CLIENT].failed || session.side[SERVER].failed);
    }
    free(piece);
    event_free(clock);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rekeys[i], each_way / MIB - 1);
}

static void keys_change_every_mib_both_ways(void **state)
{
    (void)state;
    vst_test_seconds(vst_test_long() ? 1500 : 60);
    rekey_every_mib(vst_test_long() ? (size_t)2048 * MIB : (size_t)4 * MIB);
}

/* More would be due than GnuTLS accepts: some come later, and the session goes on. */
static void keys_change_no_faster_than_peers_accept(void **state)
{
    enum { LEN = 32 * MIB };

    (void)state;
    vst_test_seconds(60);
    piece = malloc(LEN);
    vst_test_fill(piece, LEN, 7);
    evbuffer_add(session.side[CLIENT].to_send, piece, LEN);
    session_secure(pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL),
                   pki_creds(VST_TLS_SERVER, "ca", "host", NULL), true, 64 * 1024);
    session_talk();
    assert_all_arrived(piece, LEN, NULL, 0);
    assert_in_range(rekeys[CLIENT], 1, 100);
    free(piece);
}

/* ---- the peer's ---- */

static struct raw_tls raw;

/* A client by GnuTLS alone takes the place of ours. */
static void open_raw(void)
{
    int status;

    session_secure_well();
    raw_begin(&raw, CLIENT, "NORMAL:-VERS-ALL:+VERS-TLS1.3");
    raw_show(&raw, "alice");
    assert_true(raw_shake(&raw, &status));
}

static void empty_record_is_no_end(void **state)
{
    struct side *server = &session.side[SERVER];
    char text[16];
    size_t n;

    (void)state;
    open_raw();
    raw.pushed = 0;
    assert_int_equal(gnutls_record_send2(raw.session, "", 0, 16, 0), 0);
    assert_true(raw.pushed); /* or it would be no test */
    assert_int_equal(vst_channel_read(server->ch, server->got, 1, &n), VST_IO_AGAIN);
    assert_int_equal(gnutls_record_send2(raw.session, "", 0, 16, 0), 0);
    assert_int_equal(gnutls_record_send(raw.session, "text", 4), 4);
    assert_int_equal(vst_test_read_text(server->ch, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "text");
    raw_end(&raw);
}

static void peer_may_ask_for_new_keys(void **state)
{
    struct side *server = &session.side[SERVER];
    char text[16];

    (void)state;
    open_raw();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(gnutls_session_key_update(raw.session, i % 2 ? GNUTLS_KU_PEER : 0), 0);
        assert_int_equal(gnutls_record_send(raw.session, "question", 8), 8);
        assert_int_equal(vst_test_read_text(server->ch, text, sizeof(text)), VST_IO_OK);
        assert_string_equal(text, "question");
        assert_int_equal(vst_test_send(server->ch, "answer", 6), VST_IO_OK);
        while (gnutls_record_recv(raw.session, text, sizeof(text)) == GNUTLS_E_AGAIN)
            continue;
        assert_memory_equal(text, "answer", 6);
    }
    raw_end(&raw);
}

/* Each costs both sides new keys; GnuTLS counts them. */
static void peer_that_does_nothing_but_change_keys_is_left(void **state)
{
    enum { FLOOD = 1000 };
    struct side *server = &session.side[SERVER];
    enum vst_io io = VST_IO_AGAIN;
    size_t n;

    (void)state;
    open_raw();
    for (int i = 0; i < FLOOD; i++)
        assert_int_equal(gnutls_session_key_update(raw.session, GNUTLS_KU_PEER), 0);
    for (int i = 0; i < FLOOD && io == VST_IO_AGAIN; i++)
        io = vst_channel_read(server->ch, server->got, MIB, &n);
    assert_int_equal(io, VST_IO_FAIL);
    print_message("# %s\n", vst_channel_error(server->ch)->text);
    assert_int_equal(vst_channel_error(server->ch)->code, VST_ERR_PROTOCOL);
    raw_end(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(keys_change_every_mib_both_ways, make, drop),
        VST_TEST_WITH(keys_change_no_faster_than_peers_accept, make, drop),
        VST_TEST_WITH(peer_may_ask_for_new_keys, make, drop),
        VST_TEST_WITH(peer_that_does_nothing_but_change_keys_is_left, make, drop),
        VST_TEST_WITH(empty_record_is_no_end, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

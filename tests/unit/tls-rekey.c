/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New keys in the middle of a TLS session: by us after so many bytes, and when the peer asks for
 * it. In the long form of the tests every MiB of 2 GiB each way, at the pace that GnuTLS allows.
 */
#include "test.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/trace.h"
#include "session.h"

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

static ssize_t raw_pull(gnutls_transport_ptr_t opaque, void *into, size_t n)
{
    struct evbuffer *buffer = evbuffer_new();
    ssize_t got = -1;

    if (vst_channel_read(opaque, buffer, n, &n) == VST_IO_OK)
        got = evbuffer_remove(buffer, into, n);
    evbuffer_free(buffer);
    return got;
}

static size_t raw_pushed;

static ssize_t raw_push(gnutls_transport_ptr_t opaque, const void *from, size_t n)
{
    struct evbuffer *buffer = evbuffer_new();

    raw_pushed += n;
    evbuffer_add(buffer, from, n);
    assert_int_equal(vst_channel_write(opaque, buffer, n, &n), VST_IO_OK);
    evbuffer_free(buffer);
    return (ssize_t)n;
}

static int raw_errno(gnutls_transport_ptr_t opaque)
{
    (void)opaque;
    return EAGAIN;
}

static gnutls_session_t raw;
static gnutls_certificate_credentials_t raw_creds;

/* A client by GnuTLS alone takes the place of ours. */
static void open_raw(void)
{
    struct side *server = &session.side[SERVER];
    int status = GNUTLS_E_AGAIN;

    gnutls_certificate_allocate_credentials(&raw_creds);
    gnutls_certificate_set_x509_key_file(raw_creds, pki_path("alice-cert.pem"),
                                         pki_path("alice-key.pem"), GNUTLS_X509_FMT_PEM);
    gnutls_init(&raw, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    gnutls_priority_set_direct(raw, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL);
    gnutls_credentials_set(raw, GNUTLS_CRD_CERTIFICATE, raw_creds);
    gnutls_transport_set_ptr(raw, session.side[CLIENT].ch->lower);
    gnutls_transport_set_pull_function(raw, raw_pull);
    gnutls_transport_set_push_function(raw, raw_push);
    gnutls_transport_set_errno_function(raw, raw_errno);
    while (status == GNUTLS_E_AGAIN || !server->open) {
        status = status == 0 ? 0 : gnutls_handshake(raw);
        server->open = server->open || vst_channel_open(server->ch) == VST_IO_OK;
    }
    assert_int_equal(status, 0);
}

static void empty_record_is_no_end(void **state)
{
    struct side *server = &session.side[SERVER];
    char text[16];
    size_t n;

    (void)state;
    session_secure_well();
    open_raw();
    raw_pushed = 0;
    assert_int_equal(gnutls_record_send2(raw, "", 0, 16, 0), 0);
    assert_true(raw_pushed); /* or it would be no test */
    assert_int_equal(vst_channel_read(server->ch, server->got, 1, &n), VST_IO_AGAIN);
    assert_int_equal(gnutls_record_send2(raw, "", 0, 16, 0), 0);
    assert_int_equal(gnutls_record_send(raw, "text", 4), 4);
    assert_int_equal(vst_test_read_text(server->ch, text, sizeof(text)), VST_IO_OK);
    assert_string_equal(text, "text");
    gnutls_deinit(raw);
    gnutls_certificate_free_credentials(raw_creds);
}

static void peer_may_ask_for_new_keys(void **state)
{
    struct side *server = &session.side[SERVER];
    char text[16];

    (void)state;
    session_secure_well();
    open_raw();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(gnutls_session_key_update(raw, i % 2 ? GNUTLS_KU_PEER : 0), 0);
        assert_int_equal(gnutls_record_send(raw, "question", 8), 8);
        assert_int_equal(vst_test_read_text(server->ch, text, sizeof(text)), VST_IO_OK);
        assert_string_equal(text, "question");
        assert_int_equal(vst_test_send(server->ch, "answer", 6), VST_IO_OK);
        while (gnutls_record_recv(raw, text, sizeof(text)) == GNUTLS_E_AGAIN)
            continue;
        assert_memory_equal(text, "answer", 6);
    }
    gnutls_deinit(raw);
    gnutls_certificate_free_credentials(raw_creds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(keys_change_every_mib_both_ways, make, drop),
        VST_TEST_WITH(keys_change_no_faster_than_peers_accept, make, drop),
        VST_TEST_WITH(peer_may_ask_for_new_keys, make, drop),
        VST_TEST_WITH(empty_record_is_no_end, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

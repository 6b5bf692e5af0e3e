/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two users that session.h promises.
 */
#include "session.h"

#include <string.h>

struct session session;
static bool only_opens;

enum { PAIR_LIMIT = 100 * 1000 };

static void readable(void *opaque)
{
    struct side *side = opaque;

    side->waits[0] = false;
    vst_channel_want(side->ch, VST_READ, false);
}

static void writable(void *opaque)
{
    struct side *side = opaque;

    side->waits[1] = false;
    vst_channel_want(side->ch, VST_WRITE, false);
}

static void wait_for(struct side *side, enum vst_dir dir)
{
    side->waits[dir == VST_WRITE] = true;
    vst_channel_want(side->ch, dir, true);
}

static void give_up(struct side *side)
{
    side->failed = true;
    side->err = *vst_channel_error(side->ch);
    vst_channel_free(&side->ch);
}

/* ---- one step of one user; each says whether it got on ---- */

static bool open_step(struct side *side)
{
    enum vst_io io;

    if (side->waits[0])
        return false;
    io = vst_channel_open(side->ch);
    side->open = io == VST_IO_OK;
    if (io == VST_IO_FAIL)
        give_up(side);
    if (io == VST_IO_AGAIN)
        wait_for(side, VST_READ);
    return io != VST_IO_AGAIN;
}

static bool write_step(struct side *side)
{
    enum vst_io io;
    size_t n;

    if (!side->ch || side->finished || side->waits[1] ||
        (side->goes_on && !evbuffer_get_length(side->to_send)))
        return false;
    if (evbuffer_get_length(side->to_send))
        io = vst_channel_write(side->ch, side->to_send, evbuffer_get_length(side->to_send), &n);
    else if ((io = vst_channel_finish(side->ch)) == VST_IO_OK)
        side->finished = true;
    if (io == VST_IO_FAIL)
        give_up(side);
    if (io == VST_IO_AGAIN)
        wait_for(side, VST_WRITE);
    return io != VST_IO_AGAIN;
}

static bool read_step(struct side *side)
{
    enum vst_io io;
    size_t n;

    if (!side->ch || side->ended || side->waits[0])
        return false;
    io = vst_channel_read(side->ch, side->got, 100000, &n);
    side->ended = io == VST_IO_EOF;
    if (io == VST_IO_FAIL)
        give_up(side);
    if (io == VST_IO_AGAIN)
        wait_for(side, VST_READ);
    return io != VST_IO_AGAIN;
}

static bool step(struct side *side)
{
    bool moved;

    if (!side->ch)
        return false;
    if (!side->open)
        return open_step(side);
    if (only_opens)
        return false;
    moved = write_step(side);
    return read_step(side) || moved;
}

static bool is_done(const struct side *side)
{
    return !side->ch || (side->finished && side->ended);
}

static bool both_done(void)
{
    return is_done(&session.side[CLIENT]) && is_done(&session.side[SERVER]);
}

static bool both_open(void)
{
    return (!session.side[CLIENT].ch || session.side[CLIENT].open) &&
           (!session.side[SERVER].ch || session.side[SERVER].open);
}

void session_turn(void)
{
    bool moved = step(&session.side[CLIENT]);

    moved |= step(&session.side[SERVER]);
    if (!moved) /* 1: there is nothing to wait for */
        session.stuck = event_base_loop(session.base, EVLOOP_ONCE) == 1;
}

static void run(bool (*until)(void))
{
    session.stuck = false;
    while (!until() && !session.stuck)
        session_turn();
}

void session_talk(void)
{
    run(both_done);
}

void session_open(void)
{
    only_opens = true;
    run(both_open);
    only_opens = false;
}

/* ---- making ---- */

void session_secure(struct vst_tls_creds *client, struct vst_tls_creds *server, bool want_peer,
                    uint64_t rekey)
{
    struct vst_tls_creds *creds[2] = {client, server};

    for (int i = 0; i < 2; i++) {
        struct vst_tls_options opt = {.role = i == CLIENT ? VST_TLS_CLIENT : VST_TLS_SERVER,
                                      .host = i == CLIENT ? "host.example" : NULL,
                                      .want_peer = want_peer,
                                      .rekey = rekey};
        struct side *side = &session.side[i];

        side->ch = vst_channel_tls(session.lower[i], creds[i], &opt, NULL);
        assert_non_null(side->ch);
        session.lower[i] = NULL;
        vst_tls_creds_unref(&creds[i]);
        vst_channel_listen(side->ch, VST_READ, readable, side);
        vst_channel_listen(side->ch, VST_WRITE, writable, side);
    }
}

void session_secure_well(void)
{
    session_secure(pki_creds(VST_TLS_CLIENT, "ca", "alice", NULL),
                   pki_creds(VST_TLS_SERVER, "ca", "host", NULL), true, 0);
}

int session_make(void **state)
{
    session = (struct session){.base = event_base_new()};
    for (int i = 0; i < 2; i++) {
        session.side[i].to_send = evbuffer_new();
        session.side[i].got = evbuffer_new();
    }
    assert_int_equal(vst_channel_pair(session.base, PAIR_LIMIT, session.lower, NULL), 0);
    return pki_begin(state);
}

int session_drop(void **state)
{
    for (int i = 0; i < 2; i++) {
        vst_channel_free(&session.lower[i]);
        vst_channel_free(&session.side[i].ch);
        evbuffer_free(session.side[i].to_send);
        evbuffer_free(session.side[i].got);
    }
    event_base_free(session.base);
    return pki_end(state);
}

static void assert_arrived(struct side *side, const void *bytes, size_t n)
{
    if (side->failed)
        print_error("%s\n", side->err.text);
    assert_false(side->failed);
    assert_true(side->finished && side->ended);
    assert_int_equal(evbuffer_get_length(side->got), n);
    if (n)
        assert_memory_equal(evbuffer_pullup(side->got, -1), bytes, n);
}

void assert_all_arrived(const void *to_server, size_t up, const void *to_client, size_t down)
{
    assert_false(session.stuck);
    assert_arrived(&session.side[SERVER], to_server, up);
    assert_arrived(&session.side[CLIENT], to_client, down);
}

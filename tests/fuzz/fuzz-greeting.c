/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Greetings, against a peer that sends anything. The first byte of the input says whether one body
 * is parsed, or which side is looked at and in what pieces the rest comes to it; and whether that
 * is frames, or bodies, each with a type and two bytes of length before it, that get right heads
 * here. Whatever it is: there is one outcome at most, nobody is let in before SASL has said that it
 * is done, and what is parsed can be printed and parsed again.
 */
#include <stdlib.h>
#include <string.h>

#include "remote/frame.h"
#include "remote/greeting.h"
#include "remote/hello.h"
#include "replay.h"
#include "scripted-sasl.h"

enum { AS_SERVER = 1, WITH_LOGIN = 2, CHUNK_SHIFT = 2, BODIES = 32, BODY = 64, PASSES = 16 };

static struct peer {
    struct event_base *base;
    struct vst_greeting_options opt;
    struct vst_sasl_options sasl;
    struct vst_greeting *greeting;
    struct vst_channel *raw;
    struct vst_channel *transport;
    unsigned how;
    unsigned done;
} peer;

/* ---- bodies ---- */

static void print_again(const struct vst_hello *hello)
{
    struct vst_hello again = {0}, sent = *hello;
    char *text;

    sent.oldest = hello->oldest ? hello->oldest : 1;
    text = vst_hello_print(&sent, NULL);
    FUZZ_CHECK(text && vst_hello_parse(text, strlen(text), &again, NULL) == 0);
    FUZZ_CHECK(again.window == hello->window && strcmp(again.software, hello->software) == 0);
    vst_hello_clear(&again);
    free(text);
}

static void parse_body(const char *body, size_t size)
{
    struct vst_hello hello = {0};
    struct vst_auth auth = {0};

    if (vst_hello_parse(body, size, &hello, NULL) == 0)
        print_again(&hello);
    vst_hello_clear(&hello);
    if (vst_auth_start_parse(body, size, &auth, NULL) == 0)
        FUZZ_CHECK(auth.name && auth.length <= size);
    vst_auth_clear(&auth);
    if (vst_auth_done_parse(body, size, &auth, NULL) == 0)
        FUZZ_CHECK(auth.length <= size && (auth.data || !auth.length));
    vst_auth_clear(&auth);
}

/* ---- the greeting ---- */

static void done(void *opaque, const struct vst_greeting_result *result,
                 const struct vst_error *err)
{
    (void)opaque;
    FUZZ_CHECK(!peer.done++);
    FUZZ_CHECK(!result == (err && err->code != VST_ERR_OK));
    if (!result)
        return;
    FUZZ_CHECK(scripted_sasl.done == scripted_sasl.asked);
    FUZZ_CHECK(scripted_sasl.done || !(peer.how & WITH_LOGIN) || !(peer.how & AS_SERVER));
    FUZZ_CHECK(result->peer_window >= VST_WINDOW_LEAST && result->software);
    peer.transport = result->transport;
    vst_channel_want(peer.transport, VST_READ, false);
    vst_channel_want(peer.transport, VST_WRITE, false);
}

static void start(struct vst_channel *transport)
{
    const struct vst_greeting_cb cb = {done, NULL};

    peer.opt = (struct vst_greeting_options){
        .role = peer.how & AS_SERVER ? VST_SASL_SERVER : VST_SASL_CLIENT,
        .software = "fuzz",
        .driver = "test",
        .window = VST_WINDOW_INITIAL,
        .streams = 1,
        .sasl = peer.how & WITH_LOGIN ? &peer.sasl : NULL,
    };
    peer.sasl = (struct vst_sasl_options){.secret = true};
    scripted_sasl = (struct scripted_sasl){0};
    peer.greeting = vst_greeting_new(transport, &peer.opt, NULL, &cb, NULL);
}

static void add_frames(struct evbuffer *from, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        size_t length = (size_t)data[1] << 8 | data[2];
        struct vst_frame frame = {.type = data[0]};
        unsigned char head[VST_FRAME_HEAD];

        data += 3;
        size -= 3;
        length = length < size ? length : size;
        frame.length = (uint32_t)length;
        frame.sum = vst_frame_sum(data, length);
        vst_frame_put(&frame, head);
        evbuffer_add(from, head, sizeof(head));
        evbuffer_add(from, data, length);
        data += length;
        size -= length;
    }
}

static void play(const uint8_t *data, size_t size)
{
    static const size_t chunks[] = {1, 5, 12, 13, 64, 1000, 5000, SIZE_MAX};
    size_t chunk = chunks[peer.how >> CHUNK_SHIFT & 7];
    struct evbuffer *from = evbuffer_new(), *answers = evbuffer_new();

    if (peer.how & BODIES)
        add_frames(from, data, size);
    else
        evbuffer_add(from, data, size);
    for (int passes = 0; passes < PASSES && !peer.done && peer.greeting; passes++) {
        size_t n;

        if (passes == PASSES / 2)
            chunk = SIZE_MAX;
        if (evbuffer_get_length(from))
            vst_channel_write(peer.raw, from, chunk, &n);
        else
            vst_channel_finish(peer.raw);
        vst_channel_read(peer.raw, answers, SIZE_MAX, &n);
        event_base_loop(peer.base, EVLOOP_NONBLOCK);
    }
    evbuffer_free(from);
    evbuffer_free(answers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vst_channel *ends[2];

    if (!size)
        return 0;
    if (data[0] & BODY) {
        parse_body((const char *)data + 1, size - 1);
        return 0;
    }
    peer = (struct peer){.base = peer.base, .how = data[0]};
    if (!peer.base)
        peer.base = event_base_new();
    vst_channel_pair(peer.base, SIZE_MAX, ends, NULL);
    peer.raw = ends[0];
    start(ends[1]);
    play(data + 1, size - 1);
    vst_greeting_free(&peer.greeting);
    vst_channel_free(&peer.transport);
    vst_channel_free(&peer.raw);
    return 0;
}

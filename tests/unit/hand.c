/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client that hand.h promises.
 */
#include "hand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

void hand_connect(struct hand *hand, struct served *served)
{
    *hand = (struct hand){.served = served, .fd = served_connect(served), .came = evbuffer_new()};
}

void hand_join(struct hand *hand, struct served *served, uint32_t window)
{
    char hello[128];

    hand_connect(hand, served);
    snprintf(hello, sizeof(hello),
             "{\"version\":1,\"software\":\"hand\",\"driver\":\"test\",\"window\":%u}", window);
    hand_text(hand, VST_FRAME_HELLO, 0, hello);
    hand_await(hand, VST_FRAME_HELLO, 0);
}

void hand_leave(struct hand *hand)
{
    close(hand->fd);
    evbuffer_free(hand->came);
}

void hand_send(struct hand *hand, const void *bytes, size_t n)
{
    const char *next = bytes;

    while (n) {
        ssize_t done = send(hand->fd, next, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (done < 0 && errno != EAGAIN)
            return;
        if (done < 0)
            event_base_loop(hand->served->base, EVLOOP_ONCE);
        else
            next += done, n -= (size_t)done;
    }
}

void hand_frame(struct hand *hand, enum vst_frame_type type, uint32_t id, const void *body,
                size_t length)
{
    struct vst_frame frame = {.length = (uint32_t)length, .type = type, .id = id};
    unsigned char head[VST_FRAME_HEAD];

    if (type != VST_FRAME_DATA)
        frame.sum = vst_frame_sum(body, length);
    vst_frame_put(&frame, head);
    hand_send(hand, head, sizeof(head));
    hand_send(hand, body, length);
}

void hand_text(struct hand *hand, enum vst_frame_type type, uint32_t id, const char *body)
{
    hand_frame(hand, type, id, body, strlen(body));
}

static void take(struct hand *hand)
{
    char bytes[PIECE];
    ssize_t n;

    while ((n = recv(hand->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        evbuffer_add(hand->came, bytes, (size_t)n);
    hand->ended = n == 0 || errno != EAGAIN;
}

int hand_next(struct hand *hand, struct vst_frame *ret_frame, char **ret_body)
{
    unsigned char head[VST_FRAME_HEAD];

    take(hand);
    if (evbuffer_copyout(hand->came, head, sizeof(head)) < VST_FRAME_HEAD)
        return 0;
    assert_int_equal(vst_frame_get(head, ret_frame, NULL), 0);
    if (evbuffer_get_length(hand->came) < VST_FRAME_HEAD + ret_frame->length)
        return 0;
    evbuffer_drain(hand->came, VST_FRAME_HEAD);
    *ret_body = calloc(1, ret_frame->length + 1);
    evbuffer_remove(hand->came, *ret_body, ret_frame->length);
    return 1;
}

void hand_await(struct hand *hand, enum vst_frame_type type, uint32_t id)
{
    struct vst_frame frame = {.length = 0};
    char *body;

    while (frame.type != type || frame.id != id) {
        if (hand_next(hand, &frame, &body)) {
            free(body);
            continue;
        }
        assert_false(hand->ended);
        event_base_loop(hand->served->base, EVLOOP_ONCE);
    }
}

enum vst_code hand_await_end(struct hand *hand)
{
    struct vst_error err = {0};
    struct vst_frame frame;
    char *body;

    do {
        served_run(hand->served, 1);
        while (hand_next(hand, &frame, &body)) {
            if (frame.type == VST_FRAME_ERROR && frame.id == 0)
                vst_error_parse(body, frame.length, &err);
            free(body);
        }
    } while (!hand->ended);
    return err.code;
}

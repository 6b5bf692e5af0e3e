/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of a server in the test's loop that says what it is told to, byte by byte, and reads
 * only when it is told to.
 */
#ifndef VST_TESTS_UNIT_HAND_H
#define VST_TESTS_UNIT_HAND_H

#include "served.h"

struct hand {
    struct served *served;
    int fd;
    struct evbuffer *came; /* not yet looked at */
    bool ended;            /* by the server */
};

void hand_connect(struct hand *hand, struct served *served);
/* That, and both HELLOs. `window` is what it grants to each stream. */
void hand_join(struct hand *hand, struct served *served, uint32_t window);
void hand_leave(struct hand *hand);

/* Runs the loop as long as the socket is full; what the server does not take any more is lost. */
void hand_send(struct hand *hand, const void *bytes, size_t n);
/* A frame with a sum. */
void hand_frame(struct hand *hand, enum vst_frame_type type, uint32_t id, const void *body,
                size_t length);
void hand_text(struct hand *hand, enum vst_frame_type type, uint32_t id, const char *body);

/* Takes the next frame that is there: 1, or 0 when there is none. *ret_body is freed by the
 * caller, and ends in a NUL. */
int hand_next(struct hand *hand, struct vst_frame *ret_frame, char **ret_body);
/* Runs the loop until there is one of this type and id, and drops those before it. Fails the test
 * when the server has ended. */
void hand_await(struct hand *hand, enum vst_frame_type type, uint32_t id);
/* Runs the loop until the server has ended: the code of its ERROR for the connection, or OK. */
enum vst_code hand_await_end(struct hand *hand);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames: the units of the wire protocol (PROTOCOL.md), as a pure codec. Sixteen bytes of head,
 * all numbers big-endian, then the body:
 *
 *     length  u32   bytes of the body
 *     type    u8
 *     flags   u8    1 in DATA: its sender had to wait for credit; else 0
 *     check   u16   CRC-16/XMODEM of the other 14 bytes of the head
 *     id      u32   the call, and its stream; 0: the connection
 *     sum     u32   the lower half of the body's XXH3-64, and 1 if that is 0; 0: not summed
 *
 * A head is checked as a whole before anything is allocated for its body. Who may send which frame,
 * and when, is the business of greeting.h and mux.h. The two checks find what went wrong on the way
 * where no TLS does; they are no protection from anybody.
 */
#ifndef VST_REMOTE_FRAME_H
#define VST_REMOTE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    VST_FRAME_HEAD = 16,
    VST_FRAME_DATA_MAX = 256 * 1024,         /* body of DATA */
    VST_FRAME_GREETING_MAX = 16 * 1024,      /* any body before the greeting is over */
    VST_FRAME_CONTROL_MAX = 4 * 1024 * 1024, /* any other body */
};

/* number, name, least and most bytes of the body, what the id means */
#define VST_FRAMES(X)                                              \
    X(HELLO, 1, 2, VST_FRAME_GREETING_MAX, VST_ID_CONNECTION)      \
    X(AUTH_START, 2, 2, VST_FRAME_GREETING_MAX, VST_ID_CONNECTION) \
    X(AUTH_STEP, 3, 0, VST_FRAME_GREETING_MAX, VST_ID_CONNECTION)  \
    X(AUTH_DONE, 4, 2, VST_FRAME_GREETING_MAX, VST_ID_CONNECTION)  \
    X(CALL, 16, 2, VST_FRAME_CONTROL_MAX, VST_ID_CALL)             \
    X(REPLY, 17, 2, VST_FRAME_CONTROL_MAX, VST_ID_CALL)            \
    X(ERROR, 18, 2, VST_FRAME_GREETING_MAX, VST_ID_ANY)            \
    X(STARTED, 19, 2, VST_FRAME_GREETING_MAX, VST_ID_CALL)         \
    X(DATA, 32, 1, VST_FRAME_DATA_MAX, VST_ID_CALL)                \
    X(HOLE, 33, 8, 8, VST_ID_CALL)                                 \
    X(CREDIT, 34, 8, 8, VST_ID_CALL)                               \
    X(END, 35, 8, 8, VST_ID_CALL)                                  \
    X(TAKEN, 36, 0, 0, VST_ID_CALL)                                \
    X(STOP, 37, 2, VST_FRAME_GREETING_MAX, VST_ID_CALL)            \
    X(EVENT, 48, 2, VST_FRAME_GREETING_MAX, VST_ID_ANY)            \
    X(PING, 49, 8, 8, VST_ID_CONNECTION)                           \
    X(PONG, 50, 8, 8, VST_ID_CONNECTION)                           \
    X(GOAWAY, 51, 2, VST_FRAME_GREETING_MAX, VST_ID_CONNECTION)

enum vst_frame_id { VST_ID_CONNECTION, VST_ID_CALL, VST_ID_ANY };

enum vst_frame_type {
#define VST_FRAME_ENUM(name, number, least, most, id) VST_FRAME_##name = number,
    VST_FRAMES(VST_FRAME_ENUM)
#undef VST_FRAME_ENUM
};

struct vst_frame {
    uint32_t length; /* of the body */
    enum vst_frame_type type;
    uint32_t id;
    uint32_t sum; /* 0: none */
    bool starved; /* DATA that had to wait for credit, while nothing else held it up */
};

/* "CALL"; "?" for what is none. */
const char *vst_frame_name(enum vst_frame_type type);

/* Whether a body of this type may be so long. */
bool vst_frame_fits(enum vst_frame_type type, size_t length);

/* The numbers of the protocol: big-endian. */
void vst_put32(uint32_t value, unsigned char *ret_bytes);
void vst_put64(uint64_t value, unsigned char *ret_bytes);
uint32_t vst_get32(const unsigned char *bytes);
uint64_t vst_get64(const unsigned char *bytes);

/* Of a body; never 0. And: whether it has the sum that its head tells, if it tells one. */
uint32_t vst_frame_sum(const void *body, size_t length);
bool vst_frame_intact(const struct vst_frame *frame, const void *body);
/* The sum, from an XXH3-64 that was made in pieces. */
uint32_t vst_frame_fold(uint64_t hash);

void vst_frame_put(const struct vst_frame *frame, unsigned char ret_head[VST_FRAME_HEAD]);

/*
 * 0, or -1 with PROTOCOL: unknown type, flags, a length that the type cannot have, an id
 * where none belongs or none where one does, a wrong check.
 */
int vst_frame_get(const unsigned char head[VST_FRAME_HEAD], struct vst_frame *ret_frame,
                  struct vst_error *ret_err);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The codec of frame heads: a table of what each type may be. No I/O, no allocation, no state.
 */
#include "frame.h"

#include <inttypes.h>

#include "core/hash.h"

struct row {
    const char *name; /* NULL: there is no such type */
    uint32_t least;
    uint32_t most;
    enum vst_frame_id id;
};

static const struct row rows[256] = {
#define FRAME_ROW(name, number, least, most, id) [number] = {#name, least, most, id},
    VST_FRAMES(FRAME_ROW)
#undef FRAME_ROW
};

static const struct row *row_of(unsigned type)
{
    return type < sizeof(rows) / sizeof(rows[0]) && rows[type].name ? &rows[type] : NULL;
}

const char *vst_frame_name(enum vst_frame_type type)
{
    const struct row *row = row_of(type);

    return row ? row->name : "?";
}

bool vst_frame_fits(enum vst_frame_type type, size_t length)
{
    const struct row *row = row_of(type);

    return row && length >= row->least && length <= row->most;
}

void vst_put32(uint32_t value, unsigned char *ret_bytes)
{
    for (int i = 0; i < 4; i++)
        ret_bytes[i] = (unsigned char)(value >> (24 - 8 * i));
}

uint32_t vst_get32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void vst_put64(uint64_t value, unsigned char *ret_bytes)
{
    vst_put32((uint32_t)(value >> 32), ret_bytes);
    vst_put32((uint32_t)value, ret_bytes + 4);
}

uint64_t vst_get64(const unsigned char *bytes)
{
    return (uint64_t)vst_get32(bytes) << 32 | vst_get32(bytes + 4);
}

uint32_t vst_frame_fold(uint64_t hash)
{
    return (uint32_t)hash ? (uint32_t)hash : 1;
}

uint32_t vst_frame_sum(const void *body, size_t length)
{
    return vst_frame_fold(XXH3_64bits(body, length));
}

bool vst_frame_intact(const struct vst_frame *frame, const void *body)
{
    return !frame->sum || frame->sum == vst_frame_sum(body, frame->length);
}

/* CRC-16/XMODEM, four bits at a time: polynomial 0x1021, from 0. */
static uint16_t crc(uint16_t sum, const unsigned char *bytes, size_t n)
{
    static const uint16_t table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
    };

    for (size_t i = 0; i < n; i++) {
        sum = (uint16_t)(sum << 4) ^ table[(sum >> 12) ^ (bytes[i] >> 4)];
        sum = (uint16_t)(sum << 4) ^ table[(sum >> 12) ^ (bytes[i] & 15)];
    }
    return sum;
}

/* Without the check itself. */
static uint16_t check_of(const unsigned char head[VST_FRAME_HEAD])
{
    return crc(crc(0, head, 6), head + 8, 8);
}

void vst_frame_put(const struct vst_frame *frame, unsigned char ret_head[VST_FRAME_HEAD])
{
    uint16_t check;

    vst_put32(frame->length, ret_head);
    ret_head[4] = (unsigned char)frame->type;
    ret_head[5] = frame->starved;
    vst_put32(frame->id, ret_head + 8);
    vst_put32(frame->sum, ret_head + 12);
    check = check_of(ret_head);
    ret_head[6] = (unsigned char)(check >> 8);
    ret_head[7] = (unsigned char)check;
}

static int check_id(const struct row *row, uint32_t id, struct vst_error *ret_err)
{
    if (row->id == VST_ID_CONNECTION && id)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s with id %" PRIu32 ", it has none",
                             row->name, id);
    if (row->id == VST_ID_CALL && !id)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s without an id", row->name);
    return 0;
}

int vst_frame_get(const unsigned char head[VST_FRAME_HEAD], struct vst_frame *ret_frame,
                  struct vst_error *ret_err)
{
    const struct row *row = row_of(head[4]);
    uint32_t length = vst_get32(head), id = vst_get32(head + 8);

    if (!row)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "frame of unknown type %u", head[4]);
    if (head[5] > (head[4] == VST_FRAME_DATA ? 1 : 0))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s with flags that it cannot have",
                             row->name);
    if (length < row->least || length > row->most)
        return vst_error_set(ret_err, VST_ERR_PROTOCOL,
                             "%s of %" PRIu32 " bytes, it has %" PRIu32 " to %" PRIu32, row->name,
                             length, row->least, row->most);
    if (check_id(row, id, ret_err) < 0)
        return -1;
    if (check_of(head) != (head[6] << 8 | head[7]))
        return vst_error_set(ret_err, VST_ERR_PROTOCOL, "%s: its head is damaged", row->name);
    *ret_frame = (struct vst_frame){
        .length = length,
        .type = (enum vst_frame_type)head[4],
        .id = id,
        .sum = vst_get32(head + 12),
        .starved = head[5],
    };
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Console and screenshot: two more methods on the same stream, with nothing added to it.
 *
 * The screen is a PNG (ISO/IEC 15948) of WIDTH by HEIGHT grey pixels that follow from the guest's
 * identity, in one stored block (RFC 1950, RFC 1951).
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

enum {
    WIDTH = 64,
    HEIGHT = 48,
    LINE = 1 + WIDTH,          /* a filter byte, and the pixels */
    PIXELS = LINE * HEIGHT,    /* at most 65535: one stored block */
    ZLIB = 2 + 5 + PIXELS + 4, /* header, block header, block, checksum */
    FILE_MAX = 128 + ZLIB,
};

/* ---- PNG ---- */

static uint32_t crc(const unsigned char *bytes, size_t n)
{
    uint32_t sum = UINT32_MAX;

    while (n--) {
        sum ^= *bytes++;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~sum;
}

static uint32_t adler(const unsigned char *bytes, size_t n)
{
    uint32_t a = 1, b = 0;

    while (n--) {
        a = (a + *bytes++) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void put_number(struct evbuffer *png, uint32_t number)
{
    number = htobe32(number);
    evbuffer_add(png, &number, sizeof(number));
}

static void put_chunk(struct evbuffer *png, const char *type, const void *data, size_t n)
{
    unsigned char summed[4 + ZLIB];

    memcpy(summed, type, 4);
    memcpy(summed + 4, data, n);
    put_number(png, (uint32_t)n);
    evbuffer_add(png, summed, 4 + n);
    put_number(png, crc(summed, 4 + n));
}

static size_t make_pixels(unsigned char *zlib, uint64_t seed)
{
    static const unsigned char head[] = {
        0x78, 0x01, 1, PIXELS & 255, PIXELS >> 8, ~PIXELS & 255, ~PIXELS >> 8 & 255};
    unsigned char *pixels = zlib + sizeof(head);
    uint32_t sum;

    memcpy(zlib, head, sizeof(head));
    for (size_t i = 0; i < PIXELS; i++)
        pixels[i] = i % LINE ? (unsigned char)(seed >> (i % LINE / 8 * 8 % 64)) : 0;
    sum = htobe32(adler(pixels, PIXELS));
    memcpy(pixels + PIXELS, &sum, sizeof(sum));
    return sizeof(head) + PIXELS + sizeof(sum);
}

/* Bytes are missing if memory is: the caller looks at the length. */
static size_t put_png(struct evbuffer *png, uint64_t seed)
{
    static const unsigned char head[] = {0, 0, 0, WIDTH, 0, 0, 0, HEIGHT, 8, 0, 0, 0, 0};
    static const char signature[] = "\x89PNG\r\n\x1a\n";
    unsigned char zlib[ZLIB];
    size_t n = make_pixels(zlib, seed);

    evbuffer_add(png, signature, sizeof(signature) - 1);
    put_chunk(png, "IHDR", head, sizeof(head));
    put_chunk(png, "IDAT", zlib, n);
    put_chunk(png, "IEND", "", 0);
    return sizeof(signature) - 1 + 3 * 12 + sizeof(head) + n;
}

/* A channel from which `png` is read: the far end of a pair that holds all of it. */
static struct vst_channel *png_source(struct event_base *base, struct evbuffer *png,
                                      struct vst_error *ret_err)
{
    struct vst_channel *ends[2];
    size_t n;

    if (vst_channel_pair(base, FILE_MAX, ends, ret_err) < 0)
        return NULL;
    while (evbuffer_get_length(png))
        if (vst_channel_write(ends[0], png, FILE_MAX, &n) != VST_IO_OK)
            break;
    if (evbuffer_get_length(png) || vst_channel_finish(ends[0]) == VST_IO_FAIL) {
        vst_error_copy(ret_err, vst_channel_error(ends[0]));
        vst_channel_free(&ends[1]);
    }
    vst_channel_free(&ends[0]);
    return ends[1];
}

static struct vst_channel *make_screen(struct event_base *base, uint64_t seed,
                                       struct vst_error *ret_err)
{
    struct evbuffer *png = evbuffer_new();
    struct vst_channel *source = NULL;

    if (png && put_png(png, seed) == evbuffer_get_length(png))
        source = png_source(base, png, ret_err);
    else
        vst_error_no_memory(ret_err);
    if (png)
        evbuffer_free(png);
    return source;
}

/* ---- both methods ---- */

/* Both directions of a console end together: EOF comes down when nothing more is typed. */
static void finished(void *opaque, enum vst_direction dir)
{
    if (dir == VST_DOWN)
        vst_op_done(opaque);
}

static void failed(void *opaque, const struct vst_error *err)
{
    vst_op_fail(opaque, err);
}

static struct vst_test_guest *claim(struct vst_conn *conn, const char *name,
                                    struct vst_stream *stream, unsigned stall_seconds,
                                    struct vst_op *op, struct vst_error *ret_err)
{
    struct vst_test_guest *guest = vst_test_guest_find(conn->impl, name, ret_err);
    struct vst_stream_user user = {
        .finished = finished,
        .failed = failed,
        .opaque = op,
        .name = "test guest",
        .side = VST_SIDE_HOST,
        .stall_seconds = stall_seconds,
    };

    return guest && vst_stream_claim(stream, op, &user, ret_err) == 0 ? guest : NULL;
}

void vst_test_open_console(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                           struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_test_guest *guest = claim(conn, name, stream, 0, op, &err);
    struct vst_channel *view = NULL;

    if (guest && !guest->def->console)
        vst_error_set(&err, VST_ERR_UNSUPPORTED, "%s has no console: its definition has none",
                      name);
    else if (guest)
        view = vst_test_console_view(guest->console, conn->base, &err);
    if (!view || vst_stream_attach(stream, view, view, &err) < 0)
        vst_op_fail(op, &err);
}

void vst_test_screenshot(struct vst_conn *conn, const char *name, struct vst_stream *stream,
                         struct vst_op *op)
{
    struct vst_error err = {0};
    struct vst_test_guest *guest = claim(conn, name, stream, vst_stall_seconds(0), op, &err);
    struct vst_channel *screen = NULL;

    if (guest)
        screen = make_screen(conn->base, vst_test_seed(&guest->identity), &err);
    if (!screen || vst_stream_attach(stream, screen, NULL, &err) < 0)
        vst_op_fail(op, &err);
}

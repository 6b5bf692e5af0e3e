/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stacks between an image and a guest's raw state. The one piece of its own that this file has
 * is the slot: a layer whose lower channel comes later.
 */
#include "image.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "turn.h"

/* What a layer holds at most: enough for a pump's step, and few enough records to cost nothing. */
enum { LAYER_LIMIT = 256 * 1024 };

/* ---- saving ---- */

/* Puts `codec` on *ch, on the way that bytes take there. Frees it on failure. */
static int push(struct vst_channel **ch, enum vst_dir dir, struct vst_codec *codec,
                struct vst_error *ret_err)
{
    struct vst_channel *layer = NULL;

    if (codec)
        layer = vst_channel_codec(*ch, dir == VST_READ ? codec : NULL,
                                  dir == VST_WRITE ? codec : NULL, LAYER_LIMIT, ret_err);
    if (!layer) {
        vst_codec_free(&codec);
        return -1;
    }
    *ch = layer;
    return 0;
}

static struct vst_codec *new_encoder(const struct vst_image_header *header, bool compressed,
                                     struct vst_error *ret_err)
{
    static char by[] = PACKAGE_STRING, zstd[] = "zstd", none[] = "none";
    struct vst_image_header full = *header;
    struct vst_codec *codec = NULL;
    char *text;

    full.created_at = (uint64_t)time(NULL);
    full.created_by = by;
    full.compression = compressed ? zstd : none;
    text = vst_image_header_to_json(&full, ret_err);
    if (text)
        codec = vst_codec_records_encode(text, strlen(text), ret_err);
    free(text);
    return codec;
}

/* Takes the layers above `bottom` off again: it stays the caller's. */
static void strip(struct vst_channel *top, struct vst_channel *bottom)
{
    while (top != bottom) {
        struct vst_channel *lower = top->lower;

        top->lower = NULL;
        lower->upper = NULL;
        vst_channel_free(&top);
        top = lower;
    }
}

struct vst_channel *vst_image_encode(struct vst_channel *raw, const struct vst_image_header *header,
                                     int zstd_level, struct vst_error *ret_err)
{
    struct vst_channel *top = raw;

    if (zstd_level &&
        push(&top, VST_READ, vst_codec_zstd_compress(zstd_level, ret_err), ret_err) < 0)
        return NULL;
    if (push(&top, VST_READ, new_encoder(header, zstd_level, ret_err), ret_err) < 0) {
        strip(top, raw);
        return NULL;
    }
    return top;
}

/* ---- the slot ---- */

struct slot {
    struct vst_channel base; /* base.lower is NULL until it is plugged */
    struct vst_image_cb cb;
    struct vst_codec *decoder; /* the layer's above */
    struct vst_image_header *header;
    bool told;   /* the user knows of the header */
    bool opened; /* what was plugged in is open */
    struct vst_turn turn;
};

static struct slot *slot_of(struct vst_channel *ch)
{
    return (struct slot *)ch;
}

static enum vst_io slot_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                             size_t *ret_n)
{
    (void)into, (void)max, (void)ret_n;
    vst_error_set(vst_channel_fail(ch), VST_ERR_INTERNAL, "a restore reads nothing");
    return VST_IO_FAIL;
}

/* An empty slot is open, so that the decoder above can get at the header. */
static enum vst_io slot_open(struct vst_channel *ch)
{
    enum vst_io io = ch->lower ? vst_channel_open(ch->lower) : VST_IO_OK;

    slot_of(ch)->opened = ch->lower && io == VST_IO_OK;
    return io;
}

/* OK: what is below can be used. */
static enum vst_io slot_ready(struct vst_channel *ch)
{
    if (!ch->lower)
        return VST_IO_AGAIN;
    return slot_of(ch)->opened ? VST_IO_OK : slot_open(ch);
}

static enum vst_io slot_write(struct vst_channel *ch, struct evbuffer *from, size_t max,
                              size_t *ret_n)
{
    enum vst_io io = slot_ready(ch);

    return io == VST_IO_OK ? vst_channel_write(ch->lower, from, max, ret_n) : io;
}

static enum vst_io slot_finish(struct vst_channel *ch)
{
    enum vst_io io = slot_ready(ch);

    return io == VST_IO_OK ? vst_channel_finish(ch->lower) : io;
}

/* A header that nobody has heard of yet is nobody's business any more. */
static void slot_abort(struct vst_channel *ch, const struct vst_error *why)
{
    vst_turn_cancel(&slot_of(ch)->turn);
    if (ch->lower)
        vst_channel_abort(ch->lower, why);
}

/* Only an empty slot is a leaf; what it waits for is vst_image_plug(). */
static void slot_arm(struct vst_channel *ch, unsigned dirs)
{
    (void)ch, (void)dirs;
}

static void slot_destroy(struct vst_channel *ch)
{
    struct slot *slot = slot_of(ch);

    vst_turn_cancel(&slot->turn);
    vst_image_header_free(&slot->header);
    free(slot);
}

static const struct vst_channel_ops slot_ops = {
    .name = "slot",
    .read = slot_read,
    .write = slot_write,
    .destroy = slot_destroy,
    .open = slot_open,
    .finish = slot_finish,
    .abort = slot_abort,
    .arm = slot_arm,
};

static void slot_turn(evutil_socket_t fd, short what, void *opaque)
{
    struct slot *slot = opaque;

    (void)fd, (void)what;
    if (slot->told) {
        vst_channel_announce(&slot->base, VST_WRITE);
        return;
    }
    slot->told = true;
    slot->cb.header(slot->cb.opaque, slot->header);
}

/* ---- restoring ---- */

static int take_header(void *opaque, const char *json, size_t length, struct vst_error *ret_err)
{
    struct slot *slot = opaque;

    slot->header = vst_image_header_parse(json, length, ret_err);
    if (!slot->header)
        return -1;
    vst_turn_schedule(&slot->turn);
    return 0;
}

struct vst_channel *vst_image_decode(struct event_base *base, const struct vst_image_cb *cb,
                                     struct vst_error *ret_err)
{
    struct slot *slot = calloc(1, sizeof(*slot));
    struct vst_record_cb records = {take_header, slot};
    struct vst_channel *top;

    if (!slot) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    vst_channel_init(&slot->base, &slot_ops, base, NULL);
    vst_turn_init(&slot->turn, base, slot_turn, slot);
    slot->cb = *cb;
    slot->decoder = vst_codec_records_decode(&records, ret_err);
    top = &slot->base;
    if (push(&top, VST_WRITE, slot->decoder, ret_err) < 0)
        vst_channel_free(&top);
    return top;
}

int vst_image_plug(struct vst_channel *image, struct vst_channel *raw, struct vst_error *ret_err)
{
    struct slot *slot = slot_of(image->lower);
    struct vst_channel *top = raw;

    if (strcmp(slot->header->compression, "zstd") == 0 &&
        push(&top, VST_WRITE, vst_codec_zstd_expand(ret_err), ret_err) < 0)
        return -1;
    slot->base.lower = top;
    top->upper = &slot->base;
    vst_channel_rearm(&slot->base);
    vst_turn_schedule(&slot->turn);
    return 0;
}

void vst_image_get_stats(const struct vst_channel *image, struct vst_record_stats *ret_stats)
{
    vst_records_get_stats(slot_of(image->lower)->decoder, ret_stats);
}

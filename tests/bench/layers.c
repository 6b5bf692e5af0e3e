/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the codecs cost: bytes a second of processor time, against a plain copy in the same run, and
 * the longest step, which is the longest that a codec can hold up the loop. Then the same with
 * layers and a pump around them: what the memory that bytes travel in costs, and how long one pass
 * of the loop takes at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/buffer.h"
#include "core/codec.h"
#include "core/pump.h"
#include "core/record.h"

enum { PIECE = 256 * 1024, MIB = 1024 * 1024 };

struct cost {
    double total; /* seconds of processor time */
    double longest_step;
};

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* Like the memory of a guest: noise, text, and runs of one byte; each piece is another. */
static void fill(unsigned char *bytes, size_t len, uint32_t seed)
{
    uint32_t x = seed + 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        switch (i / 4096 % 4) {
        case 0:
            bytes[i] = (unsigned char)(x >> 24);
            break;
        case 1:
            bytes[i] = (unsigned char)(seed);
            break;
        default:
            bytes[i] = "etaoin shrdlu"[x >> 24 & x >> 20 & 7];
        }
    }
}

static void run(struct vst_codec *codec, struct evbuffer *in, struct evbuffer *out, bool last,
                struct cost *cost)
{
    struct vst_error err = {0};

    for (;;) {
        size_t had = evbuffer_get_length(in), gave = evbuffer_get_length(out);
        double began = now(), took;

        if (codec->ops->step(codec, in, out, PIECE, last, &err) < 0) {
            fprintf(stderr, "%s: %s\n", codec->ops->name, err.text);
            exit(1);
        }
        took = now() - began;
        cost->total += took;
        if (took > cost->longest_step)
            cost->longest_step = took;
        if (evbuffer_get_length(in) == had && evbuffer_get_length(out) == gave)
            return;
    }
}

/* A fresh copy each time, as if it had come from a descriptor. */
static void add(struct evbuffer *in, const unsigned char *piece, struct cost *cost)
{
    double began = now();

    evbuffer_add(in, piece, PIECE);
    cost->total += now() - began;
}

static void tell(const char *name, size_t bytes, const struct cost *cost)
{
    printf("%-16s %8.0f MiB/s   longest step %6.2f ms\n", name, (double)bytes / MIB / cost->total,
           cost->longest_step * 1e3);
}

/* Takes both codecs: what the first makes, the second undoes. */
static void measure(const char *name, struct vst_codec *there, struct vst_codec *back, size_t mib)
{
    struct evbuffer *in = evbuffer_new(), *between = evbuffer_new(), *out = evbuffer_new();
    unsigned char *piece = malloc(PIECE);
    struct cost copying = {0}, going = {0}, coming = {0};
    size_t bytes = mib * MIB;
    char label[32];

    for (size_t done = 0; done < bytes; done += PIECE) {
        fill(piece, PIECE, (uint32_t)(done / PIECE));
        add(in, piece, &copying);
        run(there, in, between, done + PIECE == bytes, &going);
        run(back, between, out, done + PIECE == bytes, &coming);
        evbuffer_drain(out, evbuffer_get_length(out));
    }
    tell(name, bytes, &going);
    snprintf(label, sizeof(label), "%s, back", name);
    tell(label, bytes, &coming);
    if (strcmp(name, "records") == 0)
        tell("(a copy)", bytes, &copying);
    vst_codec_free(&there);
    vst_codec_free(&back);
    evbuffer_free(in);
    evbuffer_free(between);
    evbuffer_free(out);
    free(piece);
}

/* ---- through a pump ---- */

enum { PUMPED_MIB = 1024, LIMIT = 256 * 1024, SUPPLY = 4 * MIB };

/* A source of so many bytes, which come as from a descriptor: copied into fresh blocks. */
struct supply {
    struct vst_channel ch;
    size_t left;
    size_t stock; /* so many bytes, again and again */
    unsigned char bytes[SUPPLY];
};

static enum vst_io supply_read(struct vst_channel *ch, struct evbuffer *into, size_t max,
                               size_t *ret_n)
{
    struct supply *supply = (struct supply *)ch;
    struct evbuffer_iovec room;
    size_t from = supply->left % supply->stock;
    size_t n = vst_least(vst_least(max, PIECE), vst_least(supply->left, supply->stock - from));

    if (!n)
        return VST_IO_EOF;
    if (evbuffer_reserve_space(into, (ev_ssize_t)n, &room, 1) != 1)
        return VST_IO_FAIL;
    memcpy(room.iov_base, supply->bytes + from, n);
    room.iov_len = n;
    evbuffer_commit_space(into, &room, 1);
    supply->left -= n;
    *ret_n = n;
    return VST_IO_OK;
}

static void supply_destroy(struct vst_channel *ch)
{
    free(ch);
}

static const struct vst_channel_ops supply_ops = {
    .name = "supply",
    .read = supply_read,
    .destroy = supply_destroy,
};

static void pumped(void *opaque, const struct vst_error *err)
{
    if (err)
        fprintf(stderr, "pump: %s\n", err->text);
    event_base_loopbreak(opaque);
}

/* Processor time of the longest pass; what others run meanwhile is not ours. */
static double run_passes(struct event_base *base)
{
    double longest = 0, began;

    do {
        began = now();
        if (event_base_loop(base, EVLOOP_ONCE))
            break;
        began = now() - began;
        longest = began > longest ? began : longest;
    } while (!event_base_got_break(base));
    return longest;
}

/* Takes the codecs; NULL is none. */
static void measure_pump(const char *name, struct vst_codec *first, struct vst_codec *second,
                         size_t mib, size_t stock)
{
    struct event_base *base = event_base_new();
    struct supply *supply = calloc(1, sizeof(*supply));
    struct vst_channel *source = &supply->ch, *sink = vst_channel_null(base, NULL);
    struct vst_pump *pump = vst_pump_new(base, MIB, pumped, base, NULL);
    struct cost cost = {.total = 0};

    supply->left = mib * MIB;
    supply->stock = stock;
    for (size_t i = 0; i < stock; i += PIECE)
        fill(supply->bytes + i, PIECE, (uint32_t)(i / PIECE));
    vst_channel_init(source, &supply_ops, base, NULL);
    if (first)
        source = vst_channel_codec(source, first, NULL, LIMIT, NULL);
    if (second)
        source = vst_channel_codec(source, second, NULL, LIMIT, NULL);
    vst_pump_set_source(pump, source);
    vst_pump_set_sink(pump, sink);
    cost.total = -now();
    cost.longest_step = run_passes(base);
    cost.total += now();
    printf("%-16s %8.0f MiB/s   longest pass   %6.2f ms (aim: 10)\n", name,
           (double)mib / cost.total, cost.longest_step * 1e3);
    vst_pump_free(&pump);
    vst_channel_free(&source);
    vst_channel_free(&sink);
    event_base_free(base);
}

int main(void)
{
    static const struct {
        int level;
        size_t mib;
    } levels[] = {{1, 64}, {3, 64}, {9, 16}, {11, 16}, {13, 8}, {16, 4}, {19, 4}};
    char name[16];

    measure_pump("pump", NULL, NULL, PUMPED_MIB, PIECE);
    measure_pump("... and records", vst_codec_records_encode(NULL, 0, NULL), NULL, PUMPED_MIB,
                 PIECE);
    measure_pump("... and back", vst_codec_records_encode(NULL, 0, NULL),
                 vst_codec_records_decode(NULL, NULL), PUMPED_MIB, PIECE);
    measure("records", vst_codec_records_encode(NULL, 0, NULL),
            vst_codec_records_decode(NULL, NULL), 1024);
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
        snprintf(name, sizeof(name), "zstd %d", levels[i].level);
        measure(name, vst_codec_zstd_compress(levels[i].level, NULL), vst_codec_zstd_expand(NULL),
                levels[i].mib);
        snprintf(name, sizeof(name), "pump, zstd %d", levels[i].level);
        measure_pump(name, vst_codec_zstd_compress(levels[i].level, NULL), NULL, levels[i].mib,
                     SUPPLY);
    }
    return 0;
}

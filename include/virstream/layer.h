/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Layers that an application can put on its end of a stream, with vst_stream_push_layer().
 */
#ifndef VIRSTREAM_LAYER_H
#define VIRSTREAM_LAYER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vst_layer_kind {
    /*
     * The application's end carries zstd (RFC 8878), the stream plain bytes. Compressing takes 1 to
     * 16 MiB of memory by level, expanding 8.5 MiB; input that wants more (zstd --ultra, --long) is
     * refused. It works on the loop, in steps of a millisecond or two at any level, and lets the
     * loop go on after a few of them.
     */
    VST_LAYER_ZSTD,
    VST_LAYER_RATE,   /* at most so many bytes a second, holes of files not counted */
    VST_LAYER_DIGEST, /* running XXH3-128, see vst_stream_get_digest(); holes are read as zeros */
    VST_LAYER_FAULT,  /* misbehaves as told, for tests of the application */
};

/* What goes wrong, for VST_LAYER_FAULT. Offsets count the bytes of one direction from 0. */
enum vst_fault_kind {
    VST_FAULT_FAIL,  /* the operation at `offset` fails with errno `number` */
    VST_FAULT_CUT,   /* reads end there as if the peer had closed; writes fail with EPIPE */
    VST_FAULT_STALL, /* nothing passes `offset` any more */
    VST_FAULT_DELAY, /* every operation from `offset` on waits `delay_us` microseconds */
    VST_FAULT_FLIP,  /* bit `bit` (0..7) of the byte at `offset` is inverted */
    VST_FAULT_SHORT, /* no operation moves more than `number` bytes (at least 1) */
};

struct vst_fault {
    enum vst_fault_kind kind;
    int number;
    unsigned bit;
    unsigned delay_us;
    uint64_t offset;
};

struct vst_layer_spec {
    enum vst_layer_kind kind;
    int zstd_level;            /* VST_LAYER_ZSTD: 1..19; 0 for 3 */
    uint64_t bytes_per_second; /* VST_LAYER_RATE: at least 1 */
    struct vst_fault fault;    /* VST_LAYER_FAULT */
};

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The four results that moving bytes can have.
 */
#ifndef VIRSTREAM_IO_H
#define VIRSTREAM_IO_H

/*
 * Never folded into a byte count: would-block, end and failure are three different things, and
 * the count is an output of its own.
 */
enum vst_io {
    VST_IO_OK,    /* at least one byte moved */
    VST_IO_AGAIN, /* none now; a callback will say when to try again */
    VST_IO_EOF,   /* the verified end: no byte will come any more */
    VST_IO_FAIL,  /* the stream has failed; its outcome says why */
};

#endif

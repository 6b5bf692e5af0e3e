/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The codec of QMP, QEMU's monitor protocol: bytes to messages, commands to bytes. It does no I/O
 * and keeps no conversation; that is qmp.h.
 *
 * QEMU's side of QMP is lines of one JSON object each, of four kinds, told apart by one member:
 *
 *     {"QMP": {"version": ..., "capabilities": [...]}}                              greeting
 *     {"return": VALUE, "id": N}                                                    return
 *     {"error": {"class": "GenericError", "desc": "..."}, "id": N}                  error
 *     {"event": "STOP", "data": {...}, "timestamp": {"seconds": S, "microseconds": U}}  event
 *
 * Source of the rules: docs/interop/qmp-spec in QEMU.
 *
 * Bounds: a line is at most `line_max` bytes, nesting at most VST_QMP_DEPTH_MAX. JSON is taken
 * strictly and must be UTF-8. Anything else is a PROTOCOL error, after which the codec is of no
 * more use, since nobody can tell where the next message begins.
 */
#ifndef VST_DRIVERS_QEMU_QMP_CODEC_H
#define VST_DRIVERS_QEMU_QMP_CODEC_H

#include <event2/buffer.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define VST_QMP_LINE_MAX (1024 * 1024) /* fits every query-* answer */
#define VST_QMP_COMMAND_MAX (64 * 1024)
#define VST_QMP_DEPTH_MAX 32

struct json_object;
struct vst_qmp_codec;

enum vst_qmp_kind { VST_QMP_GREETING, VST_QMP_RETURN, VST_QMP_ERROR, VST_QMP_EVENT };

struct vst_qmp_message {
    enum vst_qmp_kind kind;
    struct json_object *root; /* owns everything below */
    struct json_object *body; /* GREETING: version; RETURN: the value; EVENT: data, NULL if none */
    const char *name;         /* EVENT: its name; ERROR: its class */
    const char *text;         /* ERROR: the sentence for people */
    double seconds;           /* EVENT: when, since the epoch of QEMU's host; -1: unknown */
    int64_t id;               /* RETURN, ERROR: of the command; 0: none was given */
};

/* `label` names the monitor in the trace and is kept by reference. */
struct vst_qmp_codec *vst_qmp_codec_new(const char *label, size_t line_max,
                                        struct vst_error *ret_err);
/* Sets *codec to NULL. Accepts NULL. */
void vst_qmp_codec_free(struct vst_qmp_codec **codec);

/*
 * Takes one line from the front of `in`. 1: *ret_message is filled, to be given back with
 * vst_qmp_message_clear(). 0: no whole line is there; add bytes to `in` and call again. -1: not
 * QMP, or out of memory.
 */
int vst_qmp_codec_step(struct vst_qmp_codec *codec, struct evbuffer *in,
                       struct vst_qmp_message *ret_message, struct vst_error *ret_err);
void vst_qmp_message_clear(struct vst_qmp_message *message);

/*
 * The line for one command, newline included, allocated. `arguments` stays the caller's; NULL for
 * none. INVALID if the line would be too long or is not valid JSON (a path that is not UTF-8).
 */
int vst_qmp_codec_encode(struct vst_qmp_codec *codec, const char *command,
                         struct json_object *arguments, int64_t id, char **ret_line,
                         size_t *ret_length, struct vst_error *ret_err);

#endif

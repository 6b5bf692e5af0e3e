/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Firmware that is given by its name alone: whether the QEMU of this host would find it. Where it
 * looks it is asked; the files are looked for here.
 */
#ifndef VST_DRIVERS_QEMU_FIRMWARE_H
#define VST_DRIVERS_QEMU_FIRMWARE_H

#include "guest.h"

struct vst_firmware_question;

/* Whether anything of this guest is given so. */
bool vst_firmware_is_named(const struct vst_definition *def);

/*
 * Asks where that is looked for. `fn` comes from the loop, once, unless it was freed before:
 * `folders` are one a line, and gone after the call; empty when QEMU does not say.
 */
struct vst_firmware_question *vst_firmware_ask(struct vst_qemu *qemu,
                                               void (*fn)(void *opaque, const char *folders),
                                               void *opaque, struct vst_error *ret_err);
/* Sets *question to NULL. Accepts NULL. */
void vst_firmware_question_free(struct vst_firmware_question **question);

/* Tells of each that is in none of them. For a job of the worker. */
void vst_firmware_check(const struct vst_definition *def, const char *folders,
                        void (*tell)(void *opaque, const struct vst_error *err), void *opaque);

#endif

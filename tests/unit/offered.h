/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A destination to which guests are offered. With a QEMU, but no other host: the offers are made
 * up, so they may name what no source here could run.
 */
#ifndef VST_TESTS_UNIT_OFFERED_H
#define VST_TESTS_UNIT_OFFERED_H

#include "core/image.h"
#include "core/journal-codec.h"
#include "core/migration.h"
#include "host.h"

#define OFFERED_TOKEN "00000000-0000-4000-8000-000000000001"
#define OFFERED_SOURCE "00000000-0000-4000-8000-00000000000a"

extern struct vst_host offered_host;
extern const struct vst_objection *objections; /* of the rules of this host */
extern struct vst_disk_size **sizes;           /* that the source has for its disks */
extern bool copies;                            /* they are copied */

/* The last one. */
struct offered_answer {
    enum vst_code code;
    enum vst_handover_event event;
    char text[1024];
};
extern struct offered_answer answer;

int offered_begin(void **state);
/* With something to do before the connection. */
void offered_begin_with(void (*prepare)(const struct vst_host *made));
int offered_end(void **state);

/* Of a tiny guest, with more members; `machine` is the type in full, as its QEMU has it. */
char *offered_make_offer(const char *machine, const char *more);
/* Takes the offer, which may be NULL. */
void offered_say(enum vst_handover_event event, bool check, char *offer);
/* The callback of who says it by himself: fills `answer`. */
void offered_have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                         void *opaque);
/* These words are in the answer. */
void offered_said(const char *words);
/* Nothing of it is left, and no QEMU was started but the one that is asked what it can do, and each
 * that is asked where it looks for firmware. */
void offered_nothing_began(void);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the hand-over's rules: one machine, what it was last told to do, and events that its
 * peer or its own host feeds it. Two machines and the world between them are handover-hosts.h's.
 */
#ifndef VST_TESTS_UNIT_ONE_MACHINE_H
#define VST_TESTS_UNIT_ONE_MACHINE_H

#include "core/handover-table.h"
#include "test.h"

#define EVENT(name) VST_HANDOVER_##name
#define RECORD(name) VST_HANDOVER_RECORD_##name
#define QEMU(name) VST_HANDOVER_QEMU_##name

extern const unsigned char token[VST_HANDOVER_ID];
extern const unsigned char peer[VST_HANDOVER_ID];
extern struct vst_handover machine;
extern struct vst_handover_actions actions; /* of the last event */

void machine_begin(enum vst_handover_role role);
void machine_feed(enum vst_handover_event event);
/* The record that it asked for last is on the disk. */
void machine_written(enum vst_handover_record record);
void machine_is_in(const char *state);
unsigned machine_state(const struct vst_handover_table *table, const char *name);

#endif

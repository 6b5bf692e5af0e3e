/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How rows of the two tables of the hand-over are written down, for handover-source.c and
 * handover-destination.c only.
 */
#ifndef VST_CORE_HANDOVER_ROWS_H
#define VST_CORE_HANDOVER_ROWS_H

#include "handover-table.h"

/* What entering a state does. */
#define WRITE(record) .write = VST_HANDOVER_RECORD_##record
#define SEND(message) .send = VST_HANDOVER_##message
#define QEMU(command) .qemu = VST_HANDOVER_QEMU_##command
#define TIMER(name) .timer = VST_HANDOVER_TIMER_##name
#define HOLDS .holds = true
#define SETTLED .settled = true

/* Edges, and what is made of a journal. */
#define EDGE(state, events, next, ...)                       \
    {                                                        \
        .from = state, .on = events, .to = next, __VA_ARGS__ \
    }
#define RESTART(record, next, ...)                                       \
    {                                                                    \
        .last = VST_HANDOVER_RECORD_##record, .state = next, __VA_ARGS__ \
    }
#define SAY(message) .say = VST_HANDOVER_##message
#define TELL(what) .tell = VST_HANDOVER_TELL_##what
#define OUTCOME(what) .outcome = VST_HANDOVER_TELL_##what
#define STAY VST_HANDOVER_STAY
#define ANY VST_HANDOVER_ANY

/* Events that mean the same to both. */
#define JOURNAL (VST_ON(WRITTEN) | VST_ON(NOT_WRITTEN))
#define RESOLVE (VST_ON(RESOLVE_SOURCE) | VST_ON(RESOLVE_DESTINATION))

#endif

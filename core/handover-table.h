/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The form of the two tables of the hand-over: states, what entering them does, and edges. For
 * those who write them, walk them (handover.c), and print them as a model or a picture.
 */
#ifndef VST_CORE_HANDOVER_TABLE_H
#define VST_CORE_HANDOVER_TABLE_H

#include <stddef.h>

#include "fsm.h"
#include "handover.h"

#define VST_HANDOVER_ANY 0xffffu  /* from whatever state no edge above names */
#define VST_HANDOVER_STAY 0xfffeu /* and do not enter it again */

/* What entering a state asks for. Waiting again is entering again: all of it is idempotent. */
struct vst_handover_entry {
    enum vst_handover_record write;
    enum vst_handover_event send;
    enum vst_handover_command qemu;
    enum vst_handover_timer timer;
    bool holds;   /* the guest: see vst_handover_holds_guest() */
    bool settled; /* see vst_handover_settled() */
    bool over;
};

struct vst_handover_edge {
    unsigned from;
    uint64_t on; /* events, VST_ON() each */
    unsigned to;
    enum vst_handover_event say; /* a message, as the answer */
    enum vst_handover_told tell;
};

struct vst_handover_restart {
    enum vst_handover_record last;
    unsigned state;
    enum vst_handover_told tell;
    enum vst_handover_told outcome; /* where the record says none: what it stands for */
};

struct vst_handover_words {
    const char *name, *waits_for, *meaning;
};

struct vst_handover_table {
    const struct vst_handover_words *words; /* one for each state */
    const struct vst_handover_entry *entries;
    size_t state_count;
    const struct vst_handover_edge *edges;
    size_t edge_count;
    const struct vst_handover_restart *restarts;
    size_t restart_count;
    void (*trace)(const char *label, unsigned from, unsigned to);
};

extern const struct vst_handover_table vst_handover_source;
extern const struct vst_handover_table vst_handover_destination;

#define VST_ON(event) (UINT64_C(1) << VST_HANDOVER_##event)
_Static_assert(VST_HANDOVER_EVENT_COUNT <= 64, "a set of events is a number of 64 bits");
_Static_assert(VST_HANDOVER_LAST_MESSAGE - VST_HANDOVER_QEMU_READY < 31,
               "the model has them from QEMU_READY on as bits of an int");

#define VST_HANDOVER_WORDS(id, waits_for, meaning) {#id, waits_for, meaning},

/* The table itself, from arrays that are named MACHINE_words and so on. */
#define VST_HANDOVER_TABLE(machine)                                                  \
    {                                                                                \
        .words = machine##_words, .entries = machine##_entries,                      \
        .state_count = sizeof(machine##_words) / sizeof(machine##_words[0]),         \
        .edges = machine##_edges,                                                    \
        .edge_count = sizeof(machine##_edges) / sizeof(machine##_edges[0]),          \
        .restarts = machine##_restarts,                                              \
        .restart_count = sizeof(machine##_restarts) / sizeof(machine##_restarts[0]), \
        .trace = machine##_trace,                                                    \
    }

#endif

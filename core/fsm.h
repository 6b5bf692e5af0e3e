/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every state machine here has in common: one list of states at the top of its file, the
 * enum and the names that come out of it, and the trace of each edge.
 *
 *     #define SAVE_STATES(X)                                             \
 *         X(SAVE_STOPPING, "reply to stop", "the guest is being paused") \
 *         X(...)
 *     VST_FSM(save, SAVE_STATES)
 *
 * yields `enum save_state` and `save_state_names[]`. Only the machine's own enter() changes its
 * state: it calls vst_fsm_trace(), and does what belongs to entering the state.
 */
#ifndef VST_CORE_FSM_H
#define VST_CORE_FSM_H

#include "trace.h"

#define VST_FSM_ENUM(id, waits_for, meaning) id,
#define VST_FSM_NAME(id, waits_for, meaning) #id,

#define VST_FSM(machine, LIST)                \
    enum machine##_state{LIST(VST_FSM_ENUM)}; \
    static const char *const machine##_state_names[] = {LIST(VST_FSM_NAME)};

#define vst_fsm_trace(machine, label, from, to)                                                \
    vst_trace(VST_TRACE_STATE, #machine " %s: %s -> %s", (label), machine##_state_names[from], \
              machine##_state_names[to])

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine of the hand-over, for tests of its rules; see one-machine.h.
 */
#include "one-machine.h"

#include <string.h>

const unsigned char token[VST_HANDOVER_ID] = {7};
const unsigned char peer[VST_HANDOVER_ID] = {1};
struct vst_handover machine;
struct vst_handover_actions actions;

void machine_begin(enum vst_handover_role role)
{
    vst_handover_start(&machine, role, token);
}

void machine_feed(enum vst_handover_event event)
{
    assert_int_equal(vst_handover_feed(&machine, event, peer, &actions), 0);
}

void machine_written(enum vst_handover_record record)
{
    assert_int_equal(actions.write, record);
    assert_int_equal(vst_handover_written(&machine, record, true, &actions), 0);
}

void machine_is_in(const char *state)
{
    assert_string_equal(machine.table->words[machine.state].name, state);
}

unsigned machine_state(const struct vst_handover_table *table, const char *name)
{
    for (unsigned s = 0; s < table->state_count; s++)
        if (strcmp(table->words[s].name, name) == 0)
            return s;
    fail_msg("no state %s", name);
    return 0;
}

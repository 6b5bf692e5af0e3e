/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over in post-copy, rule by rule: a guest that is told to run before all of its memory is
 * there. The rules of all hand-overs are handover.c's.
 */
#include "one-machine.h"

#include <string.h>

static void source_has_switched(void)
{
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_DRAINING");
    machine_feed(EVENT(QEMU_SWITCHED));
    assert_int_equal(actions.send, EVENT(SWITCH));
}

static void source_serves(void)
{
    source_has_switched();
    machine_feed(EVENT(LOADED));
    machine_written(RECORD(HANDED_OVER));
    assert_int_equal(actions.send, EVENT(COMMIT));
    machine_feed(EVENT(NEEDS));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_MIGRATED);
    assert_int_equal(actions.qemu, QEMU(SERVE));
    machine_written(RECORD(LACKING));
    machine_is_in("SOURCE_SERVING");
}

static void destination_lacks(void)
{
    machine_begin(VST_HANDOVER_DESTINATION);
    machine.state = machine_state(&vst_handover_destination, "DESTINATION_LOADING");
    machine_feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(NONE)); /* it is answered when it is true */
    machine_feed(EVENT(QEMU_SWITCHED));
    assert_int_equal(actions.send, EVENT(LOADED));
    machine_feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(LOADED));
    machine_feed(EVENT(COMMIT));
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(CONT));
    machine_feed(EVENT(QEMU_LACKS));
    assert_int_equal(actions.send, EVENT(NEEDS));
    machine_written(RECORD(LACKING));
    machine_is_in("DESTINATION_LACKING");
}

static void in_post_copy_the_source_serves_until_all_is_there(void **state)
{
    (void)state;
    source_serves();
    assert_false(vst_handover_would_move(&machine, EVENT(CANCEL)));
    machine_feed(EVENT(CANCEL));
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(END));
}

static void in_post_copy_the_destination_is_done_when_it_lacks_nothing(void **state)
{
    (void)state;
    destination_lacks();
    assert_false(vst_handover_settled(&machine));
    machine_feed(EVENT(QEMU_COMPLETED));
    assert_int_equal(actions.send, EVENT(COMMITTED));
    machine_written(RECORD(RUNNING));
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(COMMITTED));
}

static void a_copy_that_lacks_memory_is_given_up_when_its_stream_breaks(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 2; step++) {
        machine_begin(VST_HANDOVER_DESTINATION);
        machine.state = machine_state(&vst_handover_destination, "DESTINATION_SWITCHED");
        if (step)
            machine_feed(EVENT(COMMIT));
        machine_feed(EVENT(STREAM_FAILED));
        assert_int_equal(actions.write, RECORD(ABORTED));
    }
    machine_begin(VST_HANDOVER_DESTINATION);
    machine.state = machine_state(&vst_handover_destination, "DESTINATION_SWITCHED");
    machine_feed(EVENT(STREAM_VERIFIED)); /* which it is only when nothing is lacking any more */
    assert_int_equal(actions.write, RECORD(LOADED));
    machine_feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(NONE));
    vst_handover_written(&machine, RECORD(LOADED), true, &actions);
    assert_int_equal(actions.send, EVENT(LOADED));
    machine_feed(EVENT(LINK_DOWN));
    machine_is_in("DESTINATION_LOADED");
}

static void a_stream_that_breaks_in_post_copy_is_made_again_for_ever(void **state)
{
    (void)state;
    source_serves();
    for (unsigned i = 0; i < 100; i++) {
        machine_feed(EVENT(LINK_DOWN));
        machine_is_in("SOURCE_APART");
        assert_true(vst_handover_holds_guest(&machine));
        machine_feed(EVENT(TIMER));
        assert_int_equal(actions.send, EVENT(COMMIT));
        if (i % 3 == 0)
            continue;
        machine_feed(EVENT(NEEDS));
        assert_int_equal(actions.qemu, QEMU(SERVE));
    }
    assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(EVENT(NONE)));
}

static void a_broken_stream_does_not_move_the_guest_that_lacks_memory(void **state)
{
    static const enum vst_handover_event troubles[] = {EVENT(STREAM_FAILED), EVENT(LINK_DOWN),
                                                       EVENT(CANCEL), EVENT(TIMER)};

    (void)state;
    destination_lacks();
    for (unsigned i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        machine_feed(troubles[i]);
        machine_is_in("DESTINATION_LACKING");
        assert_int_equal(actions.qemu, QEMU(NOTHING));
    }
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(NEEDS));
    machine_feed(EVENT(QEMU_FAILED)); /* its monitor is lost, which says nothing of the guest */
    assert_int_equal(actions.qemu, QEMU(REJOIN));
    machine_feed(EVENT(TIMER));
    assert_int_equal(actions.qemu, QEMU(REJOIN));
}

/* Neither copy is the guest any more: what can be said of it is said, on both sides. */
static void a_guest_that_dies_lacking_memory_is_told_of(void **state)
{
    (void)state;
    destination_lacks();
    machine_feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_DIED);
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(DIED));
    source_serves();
    machine_feed(EVENT(LINK_DOWN));
    machine_feed(EVENT(TIMER));
    machine_feed(EVENT(DIED));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_DIED);
    machine_is_in("SOURCE_CLOSING");
}

static void memory_that_is_gone_is_told_of(void **state)
{
    (void)state;
    source_serves();
    machine_feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_CUT_OFF);
    machine_written(RECORD(COMMITTED));
    machine_feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.send, EVENT(FINISH));
    destination_lacks();
    machine_feed(EVENT(FINISH));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_CUT_OFF);
}

static void in_post_copy_the_operator_is_heard_when_the_stream_is_broken(void **state)
{
    (void)state;
    source_serves();
    assert_false(vst_handover_would_move(&machine, EVENT(RESOLVE_SOURCE)));
    machine_feed(EVENT(RESOLVE_SOURCE));
    machine_feed(EVENT(LINK_DOWN));
    machine_feed(EVENT(RESOLVE_SOURCE));
    machine_written(RECORD(ABORTED));
    assert_int_equal(actions.qemu, QEMU(RESUME));
    source_serves();
    machine_feed(EVENT(LINK_DOWN));
    machine_feed(EVENT(RESOLVE_DESTINATION));
    machine_is_in("SOURCE_CLOSING");
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_CUT_OFF);
}

/* It was resolved at the source. Both would write to the disks. */
static void copy_that_lacks_memory_ends_when_the_source_has_the_guest_back(void **state)
{
    static const char *const states[] = {"DESTINATION_TAKING", "DESTINATION_ADOPTING",
                                         "DESTINATION_REJOINING", "DESTINATION_RESUMED",
                                         "DESTINATION_LACKING"};

    (void)state;
    for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        machine_begin(VST_HANDOVER_DESTINATION);
        machine.state = machine_state(&vst_handover_destination, states[i]);
        machine_feed(EVENT(ABORT));
        assert_int_equal(actions.write, RECORD(ABORTED));
        assert_int_equal(actions.send, EVENT(NONE));
        machine_written(RECORD(ABORTED));
        assert_int_equal(actions.qemu, QEMU(END));
        assert_int_equal(actions.send, EVENT(ABORTED));
    }
    source_serves();
    machine_feed(EVENT(LINK_DOWN));
    machine_feed(EVENT(RESOLVE_SOURCE));
    machine_written(RECORD(ABORTED));
    machine_feed(EVENT(QEMU_RESUMED));
    assert_int_equal(actions.send, EVENT(ABORT));
    machine_feed(EVENT(NEEDS)); /* it comes late */
    machine_is_in("SOURCE_TELLING");
    machine_feed(EVENT(TIMER));
    assert_int_equal(actions.send, EVENT(ABORT));
}

/* It is no doubt whose it is, and people are not asked as if it were. */
static void restarted_a_source_that_served_asks_what_is_lacking(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.outcome = VST_HANDOVER_TELL_MIGRATED;
    vst_handover_recover(&machine, RECORD(LACKING), &actions);
    assert_int_equal(actions.send, EVENT(COMMIT));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_NOTHING);
    machine_feed(EVENT(LINK_DOWN));
    machine_is_in("SOURCE_APART");
    assert_int_equal(machine.doubt, EVENT(NONE));
    assert_int_equal(machine.outcome, VST_HANDOVER_TELL_MIGRATED);
    machine_feed(EVENT(TIMER));
    machine_feed(EVENT(NEEDS));
    assert_int_equal(actions.qemu, QEMU(SERVE));
}

static void restarted_a_guest_that_lacked_memory_is_what_it_is(void **state)
{
    static const struct {
        enum vst_handover_event word;
        const char *state;
    } rows[] = {{EVENT(QEMU_LACKS), "DESTINATION_RESUMED"},
                {EVENT(QEMU_COMPLETED), "DESTINATION_STARTED"},
                {EVENT(QEMU_GONE), "DESTINATION_DEAD"}};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        machine_begin(VST_HANDOVER_DESTINATION);
        vst_handover_recover(&machine, RECORD(LACKING), &actions);
        assert_int_equal(actions.qemu, QEMU(REJOIN));
        machine_feed(rows[i].word);
        machine_is_in(rows[i].state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(in_post_copy_the_source_serves_until_all_is_there),
        VST_TEST(in_post_copy_the_destination_is_done_when_it_lacks_nothing),
        VST_TEST(a_copy_that_lacks_memory_is_given_up_when_its_stream_breaks),
        VST_TEST(a_stream_that_breaks_in_post_copy_is_made_again_for_ever),
        VST_TEST(a_broken_stream_does_not_move_the_guest_that_lacks_memory),
        VST_TEST(a_guest_that_dies_lacking_memory_is_told_of),
        VST_TEST(memory_that_is_gone_is_told_of),
        VST_TEST(in_post_copy_the_operator_is_heard_when_the_stream_is_broken),
        VST_TEST(copy_that_lacks_memory_ends_when_the_source_has_the_guest_back),
        VST_TEST(restarted_a_source_that_served_asks_what_is_lacking),
        VST_TEST(restarted_a_guest_that_lacked_memory_is_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

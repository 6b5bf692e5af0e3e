/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over in post-copy, rule by rule: a guest that is told to run before all of its memory is
 * there. The rules of all hand-overs are handover.c's.
 */
#include "test.h"

#include <string.h>

#include "core/handover-table.h"

static const unsigned char token[VST_HANDOVER_ID] = {7};
static const unsigned char peer[VST_HANDOVER_ID] = {1};

static struct vst_handover machine;
static struct vst_handover_actions actions;

#define EVENT(name) VST_HANDOVER_##name
#define RECORD(name) VST_HANDOVER_RECORD_##name
#define QEMU(name) VST_HANDOVER_QEMU_##name

static void begin(enum vst_handover_role role)
{
    vst_handover_start(&machine, role, token, peer);
}

static void feed(enum vst_handover_event event)
{
    assert_int_equal(vst_handover_feed(&machine, event, peer, &actions), 0);
}

static void written(enum vst_handover_record record)
{
    assert_int_equal(actions.write, record);
    assert_int_equal(vst_handover_written(&machine, record, true, &actions), 0);
}

static void is_in(const char *state)
{
    assert_string_equal(vst_handover_state_name(&machine), state);
}

static unsigned state_of(const struct vst_handover_table *table, const char *name)
{
    for (unsigned s = 0; s < table->state_count; s++)
        if (strcmp(table->words[s].name, name) == 0)
            return s;
    fail_msg("no state %s", name);
    return 0;
}

static void source_has_switched(void)
{
    begin(VST_HANDOVER_SOURCE);
    machine.state = state_of(&vst_handover_source, "SOURCE_DRAINING");
    feed(EVENT(QEMU_SWITCHED));
    assert_int_equal(actions.send, EVENT(SWITCH));
}

static void source_serves(void)
{
    source_has_switched();
    feed(EVENT(LOADED));
    written(RECORD(HANDED_OVER));
    assert_int_equal(actions.send, EVENT(COMMIT));
    feed(EVENT(NEEDS));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_MIGRATED);
    assert_int_equal(actions.qemu, QEMU(SERVE));
}

static void destination_lacks(void)
{
    begin(VST_HANDOVER_DESTINATION);
    machine.state = state_of(&vst_handover_destination, "DESTINATION_LOADING");
    feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(NONE)); /* it is answered when it is true */
    feed(EVENT(QEMU_SWITCHED));
    assert_int_equal(actions.send, EVENT(LOADED));
    feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(LOADED));
    feed(EVENT(COMMIT));
    written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(CONT));
    feed(EVENT(QEMU_LACKS));
    assert_int_equal(actions.send, EVENT(NEEDS));
    written(RECORD(LACKING));
    is_in("DESTINATION_LACKING");
}

static void in_post_copy_the_source_serves_until_all_is_there(void **state)
{
    (void)state;
    source_serves();
    feed(EVENT(CANCEL));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_TOO_LATE);
    feed(EVENT(QEMU_COMPLETED));
    written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(END));
}

static void in_post_copy_the_destination_is_done_when_it_lacks_nothing(void **state)
{
    (void)state;
    destination_lacks();
    assert_false(vst_handover_settled(&machine));
    feed(EVENT(QEMU_COMPLETED));
    assert_int_equal(actions.send, EVENT(COMMITTED));
    written(RECORD(RUNNING));
    feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(COMMITTED));
}

static void a_copy_that_lacks_memory_is_given_up_when_its_stream_breaks(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 2; step++) {
        begin(VST_HANDOVER_DESTINATION);
        machine.state = state_of(&vst_handover_destination, "DESTINATION_SWITCHED");
        if (step)
            feed(EVENT(COMMIT));
        feed(EVENT(STREAM_FAILED));
        assert_int_equal(actions.write, RECORD(ABORTED));
    }
    begin(VST_HANDOVER_DESTINATION);
    machine.state = state_of(&vst_handover_destination, "DESTINATION_SWITCHED");
    feed(EVENT(STREAM_VERIFIED)); /* which it is only when nothing is lacking any more */
    feed(EVENT(SWITCH));
    assert_int_equal(actions.send, EVENT(NONE));
    actions.write = RECORD(LOADED);
    written(RECORD(LOADED));
    assert_int_equal(actions.send, EVENT(LOADED));
    feed(EVENT(LINK_DOWN));
    is_in("DESTINATION_LOADED");
}

static void a_stream_that_breaks_in_post_copy_is_made_again_for_ever(void **state)
{
    (void)state;
    source_serves();
    for (unsigned i = 0; i < 100; i++) {
        feed(EVENT(LINK_DOWN));
        is_in("SOURCE_APART");
        assert_true(vst_handover_holds_guest(&machine));
        feed(EVENT(TIMER));
        assert_int_equal(actions.send, EVENT(COMMIT));
        if (i % 3 == 0)
            continue;
        feed(EVENT(NEEDS));
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
        feed(troubles[i]);
        is_in("DESTINATION_LACKING");
        assert_int_equal(actions.qemu, QEMU(NOTHING));
    }
    feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(NEEDS));
    feed(EVENT(QEMU_FAILED)); /* its monitor is lost, which says nothing of the guest */
    assert_int_equal(actions.qemu, QEMU(REJOIN));
    feed(EVENT(TIMER));
    assert_int_equal(actions.qemu, QEMU(REJOIN));
}

/* Neither copy is the guest any more: what can be said of it is said, on both sides. */
static void a_guest_that_dies_lacking_memory_is_told_of(void **state)
{
    (void)state;
    destination_lacks();
    feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_DIED);
    feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(DIED));
    source_serves();
    feed(EVENT(LINK_DOWN));
    feed(EVENT(TIMER));
    feed(EVENT(DIED));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_DIED);
    is_in("SOURCE_CLOSING");
}

static void memory_that_is_gone_is_told_of(void **state)
{
    (void)state;
    source_serves();
    feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_CUT_OFF);
    written(RECORD(COMMITTED));
    feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.send, EVENT(FINISH));
    destination_lacks();
    feed(EVENT(FINISH));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_CUT_OFF);
}

static void in_post_copy_the_operator_is_heard_when_the_stream_is_broken(void **state)
{
    (void)state;
    source_serves();
    feed(EVENT(RESOLVE_SOURCE));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_NOT_IN_DOUBT);
    feed(EVENT(LINK_DOWN));
    feed(EVENT(RESOLVE_SOURCE));
    written(RECORD(ABORTED));
    assert_int_equal(actions.qemu, QEMU(RESUME));
    source_serves();
    feed(EVENT(LINK_DOWN));
    feed(EVENT(RESOLVE_DESTINATION));
    is_in("SOURCE_CLOSING");
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
        begin(VST_HANDOVER_DESTINATION);
        vst_handover_recover(&machine, RECORD(LACKING), &actions);
        assert_int_equal(actions.qemu, QEMU(REJOIN));
        feed(rows[i].word);
        is_in(rows[i].state);
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
        VST_TEST(restarted_a_guest_that_lacked_memory_is_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

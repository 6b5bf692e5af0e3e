/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over's machines at their beginning: after a restart, from what the journal says, and how
 * long they wait. The rules between are handover.c's.
 */
#include "one-machine.h"

#define TOLD(name) VST_HANDOVER_TELL_##name

static void each_record_is_gone_on_from(void **state)
{
    static const struct {
        enum vst_handover_role role;
        enum vst_handover_record last;
        const char *state;
    } rows[] = {
        {VST_HANDOVER_SOURCE, RECORD(BEGIN), "SOURCE_RESUMING"},
        {VST_HANDOVER_SOURCE, RECORD(SWITCHING), "SOURCE_RESUMING"},
        {VST_HANDOVER_SOURCE, RECORD(HANDED_OVER), "SOURCE_COMMITTING"},
        {VST_HANDOVER_SOURCE, RECORD(LACKING), "SOURCE_REJOINING"},
        {VST_HANDOVER_SOURCE, RECORD(COMMITTED), "SOURCE_QUITTING"},
        {VST_HANDOVER_SOURCE, RECORD(CLOSED), "SOURCE_FINISHING"},
        {VST_HANDOVER_SOURCE, RECORD(ABORTED), "SOURCE_RESUMING"},
        {VST_HANDOVER_SOURCE, RECORD(RETURNED), "SOURCE_TELLING"},
        {VST_HANDOVER_SOURCE, RECORD(DONE), NULL},
        {VST_HANDOVER_SOURCE, RECORD(PREPARED), NULL},
        {VST_HANDOVER_DESTINATION, RECORD(PREPARED), "DESTINATION_ABORTING"},
        {VST_HANDOVER_DESTINATION, RECORD(LOADED), "DESTINATION_RETAKING"},
        {VST_HANDOVER_DESTINATION, RECORD(COMMITTED), "DESTINATION_ADOPTING"},
        {VST_HANDOVER_DESTINATION, RECORD(LACKING), "DESTINATION_REJOINING"},
        {VST_HANDOVER_DESTINATION, RECORD(RUNNING), "DESTINATION_RUNNING"},
        {VST_HANDOVER_DESTINATION, RECORD(ABORTED), "DESTINATION_KILLING"},
        {VST_HANDOVER_DESTINATION, RECORD(DISOWNED), "DESTINATION_ABORTED"},
        {VST_HANDOVER_DESTINATION, RECORD(DONE), NULL},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int result;

        machine_begin(rows[i].role);
        result = vst_handover_recover(&machine, rows[i].last, &actions);
        assert_int_equal(result, rows[i].state ? 0 : -1);
        if (rows[i].state)
            machine_is_in(rows[i].state);
    }
}

static void each_record_tells_what_became_of_the_guest(void **state)
{
    static const struct {
        enum vst_handover_role role;
        enum vst_handover_record last;
        enum vst_handover_told written, outcome; /* in the record, and known by it */
    } rows[] = {
        {VST_HANDOVER_SOURCE, RECORD(BEGIN), TOLD(NOTHING), TOLD(NOTHING)},
        {VST_HANDOVER_SOURCE, RECORD(SWITCHING), TOLD(NOTHING), TOLD(NOTHING)},
        {VST_HANDOVER_SOURCE, RECORD(HANDED_OVER), TOLD(NOTHING), TOLD(NOTHING)},
        {VST_HANDOVER_SOURCE, RECORD(ABORTED), TOLD(NOTHING), TOLD(NOTHING)},
        {VST_HANDOVER_SOURCE, RECORD(LACKING), TOLD(MIGRATED), TOLD(MIGRATED)},
        {VST_HANDOVER_SOURCE, RECORD(COMMITTED), TOLD(NOTHING), TOLD(MIGRATED)},
        {VST_HANDOVER_SOURCE, RECORD(COMMITTED), TOLD(CUT_OFF), TOLD(CUT_OFF)},
        {VST_HANDOVER_SOURCE, RECORD(CLOSED), TOLD(NOTHING), TOLD(MIGRATED)},
        {VST_HANDOVER_SOURCE, RECORD(CLOSED), TOLD(CUT_OFF), TOLD(CUT_OFF)},
        {VST_HANDOVER_SOURCE, RECORD(CLOSED), TOLD(CONFLICT), TOLD(CONFLICT)},
        {VST_HANDOVER_SOURCE, RECORD(CLOSED), TOLD(DIED), TOLD(DIED)},
        {VST_HANDOVER_SOURCE, RECORD(RETURNED), TOLD(NOTHING), TOLD(GIVEN_UP)},
        {VST_HANDOVER_SOURCE, RECORD(RETURNED), TOLD(GUEST_GONE), TOLD(GUEST_GONE)},
        {VST_HANDOVER_DESTINATION, RECORD(LOADED), TOLD(NOTHING), TOLD(NOTHING)},
        {VST_HANDOVER_DESTINATION, RECORD(RUNNING), TOLD(NOTHING), TOLD(MIGRATED)},
        {VST_HANDOVER_DESTINATION, RECORD(ABORTED), TOLD(NOTHING), TOLD(GIVEN_UP)},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        machine_begin(rows[i].role);
        machine.outcome = rows[i].written;
        assert_int_equal(vst_handover_recover(&machine, rows[i].last, &actions), 0);
        assert_int_equal(machine.outcome, rows[i].outcome);
    }
}

/* Before the guest is handed over a restart gives it up, and after that nothing is told yet. */
static void restarted_before_the_hand_over_it_says_so_and_the_guest_stays(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    vst_handover_recover(&machine, RECORD(BEGIN), &actions);
    assert_int_equal(actions.tell, TOLD(RESTARTED));
    machine_feed(EVENT(QEMU_RESUMED));
    assert_int_equal(machine.outcome, TOLD(GIVEN_UP));
}

/* So the journal, which keeps it, tells that after another restart, too. */
static void that_it_was_restarted_is_why_it_gave_up_unless_there_was_a_reason_before(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    vst_handover_recover(&machine, RECORD(SWITCHING), &actions);
    assert_int_equal(machine.cause, EVENT(RESTARTED));
    machine_begin(VST_HANDOVER_SOURCE);
    machine.cause = EVENT(CANCEL);
    vst_handover_recover(&machine, RECORD(BEGIN), &actions);
    assert_int_equal(machine.cause, EVENT(CANCEL));
    machine_begin(VST_HANDOVER_SOURCE);
    vst_handover_recover(&machine, RECORD(CLOSED), &actions);
    assert_int_equal(machine.cause, EVENT(NONE));
}

/* Not as one that somebody has cancelled, though the machine does the same. */
static void restarted_it_knows_that_it_was_given_up_because_it_was_late(void **state)
{
    static const enum vst_handover_event late[] = {EVENT(STALLED), EVENT(OVERDUE)};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        machine_begin(VST_HANDOVER_SOURCE);
        machine.state = machine_state(&vst_handover_source, "SOURCE_MOVING");
        machine_feed(late[i]);
        machine_feed(EVENT(QEMU_RESUMED));
        machine_written(RECORD(RETURNED)); /* and with it the cause */
        assert_int_equal(machine.cause, late[i]);
        vst_handover_recover(&machine, RECORD(RETURNED), &actions);
        machine_feed(EVENT(TIMER));
        assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(late[i]));
    }
}

static void event_that_comes_too_late_is_not_expected(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine_feed(EVENT(BEGIN));
    assert_true(vst_handover_expects(&machine, EVENT(CANCEL)));
    machine_begin(VST_HANDOVER_SOURCE);
    vst_handover_recover(&machine, RECORD(HANDED_OVER), &actions);
    assert_false(vst_handover_expects(&machine, EVENT(CANCEL)));
    assert_true(vst_handover_expects(&machine, EVENT(LINK_DOWN)));
}

static void restarted_and_committed_the_guest_runs_or_is_lost(void **state)
{
    static const struct {
        enum vst_handover_event word;
        const char *state;
    } rows[] = {{EVENT(QEMU_PAUSED), "DESTINATION_RESUMING"},
                {EVENT(QEMU_RESUMED), "DESTINATION_STARTED"},
                {EVENT(QEMU_GONE), "DESTINATION_LOST"}};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        machine_begin(VST_HANDOVER_DESTINATION);
        vst_handover_recover(&machine, RECORD(COMMITTED), &actions);
        assert_int_equal(actions.qemu, QEMU(ADOPT));
        machine_feed(EVENT(COMMIT));
        assert_int_equal(actions.send, EVENT(NONE));
        machine_feed(rows[i].word);
        machine_is_in(rows[i].state);
    }
}

static void restarted_and_committed_it_asks_again_for_a_qemu_that_is_deaf(void **state)
{
    unsigned before;

    (void)state;
    machine_begin(VST_HANDOVER_DESTINATION);
    vst_handover_recover(&machine, RECORD(COMMITTED), &actions);
    before = actions.timer_ms;
    assert_true(before > 0);
    machine_feed(EVENT(TIMER));
    machine_is_in("DESTINATION_ADOPTING");
    assert_int_equal(actions.qemu, QEMU(ADOPT));
    assert_int_equal(actions.timer_ms, 2 * before);
}

static void restarted_with_a_whole_copy_it_keeps_it_until_somebody_speaks(void **state)
{
    static const struct {
        enum vst_handover_event word;
        const char *state;
    } rows[] = {{EVENT(QEMU_PAUSED), "DESTINATION_LOADED"},
                {EVENT(TIMER), "DESTINATION_RETAKING"},
                {EVENT(LINK_DOWN), "DESTINATION_RETAKING"},
                {EVENT(COMMIT), "DESTINATION_RETAKING"}, /* it is asked again */
                {EVENT(ABORT), "DESTINATION_ABORTING"},
                {EVENT(CANCEL), "DESTINATION_ABORTING"},
                {EVENT(RESOLVE_SOURCE), "DESTINATION_ABORTING"},
                {EVENT(QEMU_REFUSED), "DESTINATION_ABORTING"},
                {EVENT(QEMU_GONE), "DESTINATION_ABORTING"}};

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        machine_begin(VST_HANDOVER_DESTINATION);
        vst_handover_recover(&machine, RECORD(LOADED), &actions);
        assert_int_equal(actions.qemu, QEMU(ADOPT));
        assert_true(vst_handover_holds_guest(&machine));
        machine_feed(rows[i].word);
        assert_int_equal(actions.send, EVENT(NONE));
        machine_is_in(rows[i].state);
    }
}

static void timers_follow_from_the_patience(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    assert_int_equal(machine.delays[VST_HANDOVER_TIMER_SWITCH], 60 * 1000);
    assert_int_equal(machine.delays[VST_HANDOVER_TIMER_PATIENCE], 5 * 60 * 1000);
    vst_handover_set_patience(&machine, 2);
    machine_feed(EVENT(BEGIN));
    assert_int_equal(vst_handover_written(&machine, RECORD(BEGIN), true, &actions), 0);
    machine_is_in("SOURCE_PREPARING");
    assert_int_equal(actions.timer_ms, 2000);
    /* And hold after a restart. */
    machine_begin(VST_HANDOVER_DESTINATION);
    vst_handover_set_patience(&machine, 3);
    vst_handover_recover(&machine, RECORD(PREPARED), &actions);
    assert_int_equal(machine.delays[VST_HANDOVER_TIMER_PATIENCE], 15000);
    assert_int_equal(actions.timer_ms, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_record_is_gone_on_from),
        VST_TEST(each_record_tells_what_became_of_the_guest),
        VST_TEST(restarted_before_the_hand_over_it_says_so_and_the_guest_stays),
        VST_TEST(that_it_was_restarted_is_why_it_gave_up_unless_there_was_a_reason_before),
        VST_TEST(restarted_it_knows_that_it_was_given_up_because_it_was_late),
        VST_TEST(event_that_comes_too_late_is_not_expected),
        VST_TEST(restarted_and_committed_the_guest_runs_or_is_lost),
        VST_TEST(restarted_and_committed_it_asks_again_for_a_qemu_that_is_deaf),
        VST_TEST(restarted_with_a_whole_copy_it_keeps_it_until_somebody_speaks),
        VST_TEST(timers_follow_from_the_patience),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

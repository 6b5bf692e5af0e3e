/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over, rule by rule. What its tables must be as a whole is handover-tables.c's; what
 * becomes of the two ends together, handover-sim.c's.
 */
#include "one-machine.h"

#include <string.h>

static const unsigned char stranger[VST_HANDOVER_ID] = {2};

/* The source up to the point of no return, and at it. */
static void source_has_handed_over(void)
{
    machine_begin(VST_HANDOVER_SOURCE);
    machine_feed(EVENT(BEGIN));
    machine_written(RECORD(BEGIN));
    machine_feed(EVENT(STARTED));
    machine_feed(EVENT(QEMU_PAUSED));
    machine_written(RECORD(SWITCHING));
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_feed(EVENT(LOADED));
    machine_is_in("SOURCE_HANDING");
}

static void destination_has_loaded(void)
{
    machine_begin(VST_HANDOVER_DESTINATION);
    machine_feed(EVENT(PREPARE));
    machine_feed(EVENT(CHECKED));
    machine_written(RECORD(PREPARED));
    machine_feed(EVENT(QEMU_READY));
    assert_int_equal(actions.send, EVENT(STARTED));
    machine_feed(EVENT(STREAM_VERIFIED));
    machine_feed(EVENT(QEMU_COMPLETED));
    assert_int_equal(actions.send, EVENT(NONE)); /* not before it is on the disk */
    machine_written(RECORD(LOADED));
    assert_int_equal(actions.send, EVENT(LOADED));
    machine_is_in("DESTINATION_LOADED");
}

/* ---- the straight way ---- */

static void source_goes_the_straight_way(void **state)
{
    (void)state;
    source_has_handed_over();
    assert_int_equal(actions.send, EVENT(NONE));
    machine_written(RECORD(HANDED_OVER));
    assert_int_equal(actions.send, EVENT(COMMIT));
    machine_feed(EVENT(COMMITTED));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_MIGRATED);
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(END));
    machine_feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.send, EVENT(FINISH));
    machine_feed(EVENT(FINISHED));
    machine_written(RECORD(DONE));
    assert_true(vst_handover_over(&machine));
}

static void destination_goes_the_straight_way(void **state)
{
    (void)state;
    destination_has_loaded();
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.qemu, QEMU(NOTHING));
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(CONT));
    assert_int_equal(actions.send, EVENT(NONE));
    machine_feed(EVENT(QEMU_RESUMED));
    assert_int_equal(actions.send, EVENT(COMMITTED));
    machine_written(RECORD(RUNNING));
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(COMMITTED));
    machine_feed(EVENT(FINISH));
    machine_written(RECORD(DONE));
    assert_int_equal(actions.send, EVENT(FINISHED));
    assert_true(vst_handover_over(&machine));
}

static void completed_and_verified_are_two_facts(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_DESTINATION);
    machine_feed(EVENT(PREPARE));
    machine_feed(EVENT(CHECKED));
    machine_written(RECORD(PREPARED));
    machine_feed(EVENT(QEMU_READY));
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_is_in("DESTINATION_UNVERIFIED");
    machine_feed(EVENT(COMMIT));
    machine_is_in("DESTINATION_UNVERIFIED");
    machine_feed(EVENT(STREAM_FAILED));
    machine_is_in("DESTINATION_ABORTING");
}

/* ---- giving up ---- */

static void before_handed_over_the_source_gives_up_alone(void **state)
{
    static const enum vst_handover_event reasons[] = {
        EVENT(CANCEL),      EVENT(LINK_DOWN), EVENT(ABORTED), EVENT(TIMER),
        EVENT(QEMU_FAILED), EVENT(STALLED),   EVENT(OVERDUE)};
    static const char *const states[] = {"SOURCE_MOVING", "SOURCE_SWITCHING", "SOURCE_DRAINING",
                                         "SOURCE_LOADED", "SOURCE_COMPLETED", "SOURCE_SWITCHED"};

    (void)state;
    for (unsigned s = 0; s < 6; s++)
        for (unsigned r = 0; r < sizeof(reasons) / sizeof(reasons[0]); r++) {
            machine_begin(VST_HANDOVER_SOURCE);
            machine.state = machine_state(&vst_handover_source, states[s]);
            machine_feed(reasons[r]);
            assert_int_equal(actions.qemu, QEMU(RESUME));
            assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(reasons[r]));
            machine_feed(EVENT(QEMU_RESUMED));
            assert_int_equal(actions.tell, VST_HANDOVER_TELL_GIVEN_UP);
            assert_int_equal(actions.write, RECORD(RETURNED));
            assert_int_equal(actions.send, EVENT(ABORT));
            assert_false(vst_handover_holds_guest(&machine));
        }
}

static void after_handed_over_a_cancel_is_too_late(void **state)
{
    (void)state;
    source_has_handed_over();
    assert_false(vst_handover_would_move(&machine, EVENT(CANCEL)));
    machine_feed(EVENT(CANCEL));
    machine_feed(EVENT(LINK_DOWN));
    machine_is_in("SOURCE_HANDING");
    assert_true(vst_handover_holds_guest(&machine));
}

static void the_return_path_eaten_lets_the_source_go_on(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_DRAINING");
    machine_feed(EVENT(LOADED));
    machine_feed(EVENT(QEMU_FAILED)); /* and it has resumed the guest by itself */
    machine_is_in("SOURCE_RESUMING");
    machine_feed(EVENT(QEMU_RESUMED));
    assert_int_equal(actions.send, EVENT(ABORT));
}

static void a_source_qemu_that_dies_completed_leaves_the_guest_to_the_destination(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_COMPLETED");
    machine_feed(EVENT(QEMU_GONE));
    machine_is_in("SOURCE_HANDING");
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_LOADED");
    machine_feed(EVENT(QEMU_GONE)); /* it may have gone on before it died */
    machine_is_in("SOURCE_TELLING");
}

static void a_record_that_may_be_there_is_answered_by_another(void **state)
{
    (void)state;
    source_has_handed_over();
    assert_int_equal(vst_handover_written(&machine, RECORD(HANDED_OVER), false, &actions), 0);
    assert_int_equal(actions.write, RECORD(ABORTED));
    assert_int_equal(actions.qemu, QEMU(NOTHING));
    machine_written(RECORD(ABORTED));
    assert_int_equal(actions.qemu, QEMU(RESUME));
}

static void the_destination_keeps_its_whole_copy_for_ever_and_says_so(void **state)
{
    static const enum vst_handover_event silence[] = {EVENT(LINK_DOWN), EVENT(TIMER)};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        destination_has_loaded();
        for (unsigned times = 0; times < 100; times++) {
            machine_feed(silence[i]);
            machine_is_in("DESTINATION_LOADED");
            assert_int_equal(actions.tell, VST_HANDOVER_TELL_IN_DOUBT);
        }
        assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(silence[i]));
        assert_true(vst_handover_can_be_resolved(&machine));
        machine_feed(EVENT(COMMIT));
        assert_int_equal(actions.write, RECORD(COMMITTED));
    }
}

static void the_destination_gives_its_whole_copy_up_by_somebodys_word(void **state)
{
    static const enum vst_handover_event words[] = {EVENT(ABORT), EVENT(CANCEL),
                                                    EVENT(RESOLVE_SOURCE), EVENT(QEMU_GONE)};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        destination_has_loaded();
        machine_feed(words[i]);
        assert_int_equal(actions.write, RECORD(ABORTED));
        assert_int_equal(actions.send, EVENT(NONE));
        machine_feed(EVENT(COMMIT)); /* not before it is on the disk */
        assert_int_equal(actions.send, EVENT(NONE));
        vst_handover_written(&machine, RECORD(ABORTED), true, &actions);
        assert_int_equal(actions.send, EVENT(ABORTED));
        assert_int_equal(actions.qemu, QEMU(END));
    }
}

/* It has ended its own by the word of its operator. */
static void the_copy_of_a_source_that_has_none_any_more_runs(void **state)
{
    (void)state;
    destination_has_loaded();
    machine_feed(EVENT(FINISH));
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(CONT));
}

static void a_journal_that_cannot_be_written_costs_no_whole_copy(void **state)
{
    static const enum vst_handover_record records[] = {RECORD(LOADED), RECORD(COMMITTED)};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        destination_has_loaded();
        if (i == 0)
            machine.state = machine_state(&vst_handover_destination, "DESTINATION_VERIFIED");
        machine_feed(i == 0 ? EVENT(QEMU_COMPLETED) : EVENT(COMMIT));
        for (unsigned times = 0; times < 3; times++) {
            assert_int_equal(actions.write, records[i]);
            vst_handover_written(&machine, records[i], false, &actions);
            assert_int_equal(actions.send, EVENT(NONE));
            machine_feed(EVENT(TIMER));
        }
        machine_written(records[i]);
        assert_true(i == 0 ? actions.send == EVENT(LOADED) : actions.qemu == QEMU(CONT));
    }
}

static void a_whole_copy_that_is_asked_for_outlives_its_stream(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_DESTINATION);
    machine_feed(EVENT(PREPARE));
    machine_feed(EVENT(CHECKED));
    machine_written(RECORD(PREPARED));
    machine_feed(EVENT(QEMU_READY));
    machine_feed(EVENT(STREAM_VERIFIED));
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_feed(EVENT(COMMIT)); /* of a source without a QEMU, which does not wait for LOADED */
    machine_is_in("DESTINATION_COMMITTING");
    machine_feed(EVENT(STREAM_FAILED));
    machine_is_in("DESTINATION_COMMITTING");
    vst_handover_written(&machine, RECORD(COMMITTED), true, &actions);
    machine_is_in("DESTINATION_RESUMING");
}

static void a_whole_copy_whose_monitor_is_lost_is_taken_hold_of_again(void **state)
{
    (void)state;
    destination_has_loaded();
    machine_feed(EVENT(QEMU_FAILED));
    assert_int_equal(actions.qemu, QEMU(ADOPT));
    machine_feed(EVENT(QEMU_PAUSED));
    machine_is_in("DESTINATION_LOADED");
    machine_feed(EVENT(COMMIT));
    machine_written(RECORD(COMMITTED));
    assert_int_equal(actions.qemu, QEMU(CONT));
    machine_feed(EVENT(QEMU_FAILED)); /* whether it has run the guest is for it to say */
    assert_int_equal(actions.qemu, QEMU(ADOPT));
}

static void before_cont_committed_may_become_aborted_and_after_it_not(void **state)
{
    (void)state;
    destination_has_loaded();
    machine_feed(EVENT(COMMIT));
    machine_feed(EVENT(QEMU_GONE));
    machine_is_in("DESTINATION_ABORTING");
    destination_has_loaded();
    machine_feed(EVENT(COMMIT));
    machine_written(RECORD(COMMITTED));
    machine_feed(EVENT(QEMU_GONE));
    machine_is_in("DESTINATION_LOST");
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(LOST));
    machine_feed(EVENT(RESOLVE_SOURCE));
    assert_int_equal(actions.write, RECORD(ABORTED));
}

static void a_cont_that_is_refused_has_not_run_the_guest(void **state)
{
    (void)state;
    destination_has_loaded();
    machine_feed(EVENT(COMMIT));
    machine_written(RECORD(COMMITTED));
    machine_feed(EVENT(QEMU_REFUSED));
    machine_is_in("DESTINATION_ABORTING");
}

static void who_asks_about_the_unknown_is_told_so_when_it_is_on_disk(void **state)
{
    (void)state;
    vst_handover_start(&machine, VST_HANDOVER_DESTINATION, token);
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(NONE));
    machine_written(RECORD(DISOWNED));
    assert_int_equal(actions.send, EVENT(UNKNOWN));
    machine_feed(EVENT(COMMIT));
    assert_int_equal(actions.send, EVENT(ABORTED));
}

/* ---- doubt ---- */

static void in_doubt(void)
{
    source_has_handed_over();
    machine_written(RECORD(HANDED_OVER));
    machine_feed(EVENT(LINK_DOWN));
    machine_is_in("SOURCE_DOUBT");
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_IN_DOUBT);
}

static void in_doubt_it_asks_again_ever_more_slowly(void **state)
{
    unsigned before = 0;

    (void)state;
    in_doubt();
    for (unsigned i = 0; i < 40; i++) {
        machine_feed(EVENT(TIMER));
        assert_true(actions.timer_ms >= before);
        assert_in_range(actions.timer_ms, 500, 32000);
        before = actions.timer_ms;
    }
    assert_int_equal(before, 32000);
    machine_feed(EVENT(COMMITTED));
    machine_is_in("SOURCE_CLOSING");
}

static void what_is_said_for_the_peer_counts_before_that_is_known(void **state)
{
    static const unsigned char nobody[VST_HANDOVER_ID];

    (void)state;
    vst_handover_start(&machine, VST_HANDOVER_SOURCE, token);
    machine.state = machine_state(&vst_handover_source, "SOURCE_DOUBT");
    assert_int_equal(vst_handover_feed(&machine, EVENT(LINK_UP), machine.peer, &actions), 0);
    machine_is_in("SOURCE_COMMITTING");
    assert_memory_equal(machine.peer, nobody, sizeof(nobody));
    machine_feed(EVENT(LOST)); /* the first that speaks for itself is it */
    assert_memory_equal(machine.peer, peer, sizeof(peer));
}

static void the_answers_of_a_stranger_do_not_count(void **state)
{
    static const enum vst_handover_event answers[] = {EVENT(COMMITTED), EVENT(ABORTED),
                                                      EVENT(UNKNOWN), EVENT(LOST), EVENT(LINK_UP)};

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        in_doubt();
        vst_handover_feed(&machine, answers[i], stranger, &actions);
        machine_is_in("SOURCE_DOUBT");
        assert_string_equal(vst_handover_reason(&machine),
                            vst_handover_event_text(EVENT(WRONG_HOST)));
        vst_handover_feed(&machine, answers[i], NULL, &actions);
        machine_is_in("SOURCE_DOUBT");
    }
}

static void aborted_and_unknown_give_the_guest_back_when_that_is_on_disk(void **state)
{
    static const enum vst_handover_event answers[] = {EVENT(ABORTED), EVENT(UNKNOWN),
                                                      EVENT(RESOLVE_SOURCE)};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        in_doubt();
        machine_feed(answers[i]);
        assert_int_equal(actions.qemu, QEMU(NOTHING));
        machine_written(RECORD(ABORTED));
        assert_int_equal(actions.qemu, QEMU(RESUME));
        assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(answers[i]));
    }
}

static void lost_there_stays_in_doubt_with_that_reason(void **state)
{
    (void)state;
    in_doubt();
    machine_feed(EVENT(LINK_UP));
    assert_int_equal(actions.send, EVENT(COMMIT));
    machine_feed(EVENT(LOST));
    machine_is_in("SOURCE_DOUBT");
    assert_string_equal(vst_handover_reason(&machine), vst_handover_event_text(EVENT(LOST)));
}

static void the_operator_is_heard_in_doubt_only(void **state)
{
    (void)state;
    in_doubt();
    machine_feed(EVENT(RESOLVE_DESTINATION));
    assert_int_equal(actions.qemu, QEMU(SERVE)); /* which has nothing to give, as a rule */
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_is_in("SOURCE_CLOSING");
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_MOVING");
    assert_false(vst_handover_would_move(&machine, EVENT(RESOLVE_SOURCE)));
    machine_feed(EVENT(RESOLVE_SOURCE));
    machine_is_in("SOURCE_MOVING");
    machine_begin(VST_HANDOVER_DESTINATION);
    machine.state = machine_state(&vst_handover_destination, "DESTINATION_RUNNING");
    machine_feed(EVENT(RESOLVE_DESTINATION));
    machine_is_in("DESTINATION_RUNNING"); /* the source may still have to be told */
}

/* Not told to run yet: an operator of the source, or of this host, may say that it is the source's.
 */
static void guest_that_is_committed_and_does_not_run_may_still_be_the_sources(void **state)
{
    static const enum vst_handover_event words[] = {EVENT(ABORT), EVENT(RESOLVE_SOURCE)};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        destination_has_loaded();
        machine_feed(EVENT(COMMIT));
        vst_handover_written(&machine, RECORD(COMMITTED), false, &actions);
        machine_is_in("DESTINATION_COMMITTING");
        machine_feed(words[i]);
        assert_int_equal(actions.write, RECORD(ABORTED));
        vst_handover_written(&machine, RECORD(COMMITTED), true, &actions);
        machine_is_in("DESTINATION_ABORTING");
    }
}

/* The operator gave it to a destination that had given up: it is too late, but nobody is told that
 * the guest is where it is not. */
static void guest_that_is_nowhere_is_told_of_on_both_sides(void **state)
{
    (void)state;
    in_doubt();
    machine_feed(EVENT(RESOLVE_DESTINATION));
    machine_feed(EVENT(QEMU_COMPLETED));
    machine_written(RECORD(COMMITTED));
    machine_feed(EVENT(QEMU_GONE));
    assert_int_equal(actions.send, EVENT(FINISH));
    machine_feed(EVENT(ABORTED));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_NOWHERE);
    assert_int_equal(actions.send, EVENT(ABORT));
    machine_feed(EVENT(FINISHED));
    assert_int_equal(machine.outcome, VST_HANDOVER_TELL_NOWHERE);
    destination_has_loaded();
    machine_feed(EVENT(QEMU_GONE));
    machine_written(RECORD(ABORTED));
    machine_feed(EVENT(QEMU_GONE));
    machine_feed(EVENT(FINISH));
    assert_int_equal(actions.send, EVENT(ABORTED));
    assert_int_equal(actions.tell, VST_HANDOVER_TELL_NOWHERE);
    machine_feed(EVENT(ABORT));
    assert_int_equal(actions.write, RECORD(DONE));
}

static void what_only_is_to_be_told_is_told_thirty_times(void **state)
{
    unsigned tries = 0;

    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_FINISHING");
    for (; machine.state == machine_state(&vst_handover_source, "SOURCE_FINISHING"); tries++)
        machine_feed(EVENT(TIMER));
    assert_int_equal(tries, 31);
    machine_is_in("SOURCE_ENDING");
}

/* Else the destination would keep its copy for ever. */
static void that_it_has_given_up_the_source_says_until_it_is_answered(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_TELLING");
    for (unsigned times = 0; times < 1000; times++) {
        machine_feed(EVENT(TIMER));
        assert_int_equal(actions.send, EVENT(ABORT));
    }
    machine_feed(EVENT(FINISHED));
    machine_is_in("SOURCE_ENDING");
}

/* The journal does not grow by what is said again, for as long as that may be. */
static void what_is_said_again_and_again_is_written_once(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine.state = machine_state(&vst_handover_source, "SOURCE_RESUMING");
    machine_feed(EVENT(QEMU_RESUMED));
    assert_int_equal(actions.write, RECORD(RETURNED));
    vst_handover_written(&machine, RECORD(RETURNED), false, &actions);
    machine_feed(EVENT(TIMER));
    assert_int_equal(actions.write, RECORD(RETURNED)); /* it is not there */
    machine_written(RECORD(RETURNED));
    for (unsigned times = 0; times < 3; times++) {
        machine_feed(EVENT(TIMER));
        assert_int_equal(actions.send, EVENT(ABORT));
        assert_int_equal(actions.write, RECORD(NOTHING));
    }
}

/* ---- journal and restart ---- */

/* Nobody will speak of it again, so nobody else would mend the journal. */
static void an_end_that_cannot_be_written_is_tried_again_and_not_told(void **state)
{
    static const struct {
        enum vst_handover_role role;
        const char *before, *state;
        enum vst_handover_event event;
        enum vst_handover_record record;
    } rows[] = {
        {VST_HANDOVER_SOURCE, "SOURCE_TELLING", "SOURCE_ENDING", EVENT(FINISHED), RECORD(DONE)},
        {VST_HANDOVER_DESTINATION, "DESTINATION_RESUMING", "DESTINATION_STARTED",
         EVENT(QEMU_RESUMED), RECORD(RUNNING)},
        {VST_HANDOVER_DESTINATION, "DESTINATION_RESUMING", "DESTINATION_RESUMED", EVENT(QEMU_LACKS),
         RECORD(LACKING)},
        {VST_HANDOVER_DESTINATION, "DESTINATION_STARTED", "DESTINATION_ENDING", EVENT(FINISH),
         RECORD(DONE)},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned before = 0;

        machine_begin(rows[i].role);
        machine.state = machine_state(machine.table, rows[i].before);
        machine_feed(rows[i].event);
        for (unsigned times = 0; times < 3; times++) {
            assert_int_equal(actions.write, rows[i].record);
            assert_true(actions.timer_ms > before);
            before = actions.timer_ms;
            vst_handover_written(&machine, rows[i].record, false, &actions);
            machine_is_in(rows[i].state);
            assert_int_equal(actions.send, EVENT(NONE));
            machine_feed(EVENT(TIMER));
        }
        machine_written(rows[i].record);
        assert_int_not_equal(machine.state, machine_state(machine.table, rows[i].state));
    }
}

static void a_record_that_is_not_waited_for_changes_nothing(void **state)
{
    (void)state;
    machine_begin(VST_HANDOVER_SOURCE);
    machine_feed(EVENT(BEGIN));
    machine_feed(EVENT(CANCEL));
    machine_is_in("SOURCE_ENDING");
    vst_handover_written(&machine, RECORD(BEGIN), true, &actions);
    machine_is_in("SOURCE_ENDING");
    assert_int_equal(actions.write, RECORD(NOTHING));
    vst_handover_written(&machine, RECORD(DONE), true, &actions);
    assert_true(vst_handover_over(&machine));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(source_goes_the_straight_way),
        VST_TEST(destination_goes_the_straight_way),
        VST_TEST(completed_and_verified_are_two_facts),
        VST_TEST(before_handed_over_the_source_gives_up_alone),
        VST_TEST(after_handed_over_a_cancel_is_too_late),
        VST_TEST(the_return_path_eaten_lets_the_source_go_on),
        VST_TEST(a_source_qemu_that_dies_completed_leaves_the_guest_to_the_destination),
        VST_TEST(what_is_said_again_and_again_is_written_once),
        VST_TEST(a_record_that_may_be_there_is_answered_by_another),
        VST_TEST(the_destination_keeps_its_whole_copy_for_ever_and_says_so),
        VST_TEST(the_destination_gives_its_whole_copy_up_by_somebodys_word),
        VST_TEST(the_copy_of_a_source_that_has_none_any_more_runs),
        VST_TEST(a_journal_that_cannot_be_written_costs_no_whole_copy),
        VST_TEST(a_whole_copy_that_is_asked_for_outlives_its_stream),
        VST_TEST(a_whole_copy_whose_monitor_is_lost_is_taken_hold_of_again),
        VST_TEST(before_cont_committed_may_become_aborted_and_after_it_not),
        VST_TEST(a_cont_that_is_refused_has_not_run_the_guest),
        VST_TEST(who_asks_about_the_unknown_is_told_so_when_it_is_on_disk),
        VST_TEST(in_doubt_it_asks_again_ever_more_slowly),
        VST_TEST(what_is_said_for_the_peer_counts_before_that_is_known),
        VST_TEST(the_answers_of_a_stranger_do_not_count),
        VST_TEST(aborted_and_unknown_give_the_guest_back_when_that_is_on_disk),
        VST_TEST(lost_there_stays_in_doubt_with_that_reason),
        VST_TEST(the_operator_is_heard_in_doubt_only),
        VST_TEST(guest_that_is_committed_and_does_not_run_may_still_be_the_sources),
        VST_TEST(guest_that_is_nowhere_is_told_of_on_both_sides),
        VST_TEST(what_only_is_to_be_told_is_told_thirty_times),
        VST_TEST(that_it_has_given_up_the_source_says_until_it_is_answered),
        VST_TEST(an_end_that_cannot_be_written_is_tried_again_and_not_told),
        VST_TEST(a_record_that_is_not_waited_for_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

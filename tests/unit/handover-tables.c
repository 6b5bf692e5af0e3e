/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tables of the hand-over must be as a whole, whatever their rules say.
 */
#include "one-machine.h"

enum { MOST_STATES = 32 };

#define TABLE(role) \
    ((role) == VST_HANDOVER_SOURCE ? &vst_handover_source : &vst_handover_destination)

/* How many states of this end answer the event. */
static size_t count_answers(unsigned role, enum vst_handover_event event)
{
    size_t count = 0;

    for (unsigned s = 0; s < TABLE(role)->state_count; s++) {
        machine_begin(role);
        machine.state = s;
        count += vst_handover_feed(&machine, event, peer, &actions) == 0;
        assert_true(machine.state < TABLE(role)->state_count);
    }
    return count;
}

/* Messages are those of the other end; what else one state knows, all do. */
static void every_state_answers_every_event_of_its_end(void **state)
{
    (void)state;
    for (unsigned role = 0; role < 2; role++) {
        for (unsigned e = EVENT(BEGIN); e < VST_HANDOVER_EVENT_COUNT; e++) {
            bool message = e >= VST_HANDOVER_FIRST_MESSAGE && e <= VST_HANDOVER_LAST_MESSAGE;
            bool of_source = e <= VST_HANDOVER_LAST_OF_SOURCE;
            size_t count = count_answers(role, e);

            if (message && of_source == (role == VST_HANDOVER_SOURCE))
                assert_int_equal(count, 0);
            else if (message)
                assert_int_equal(count, TABLE(role)->state_count);
            else if (count)
                assert_int_equal(count, TABLE(role)->state_count);
        }
    }
}

/* A walk over edges and restarts from `from`, that does not go on from where `barred` is written.
 */
static void reach(const struct vst_handover_table *table, unsigned from,
                  enum vst_handover_record barred, bool *reached)
{
    if ((barred && table->entries[from].write == barred) || reached[from])
        return;
    reached[from] = true;
    for (size_t e = 0; e < table->edge_count; e++)
        if (table->edges[e].from == from && table->edges[e].to != VST_HANDOVER_STAY)
            reach(table, table->edges[e].to, barred, reached);
}

static void every_state_is_reached_and_comes_to_an_end(void **state)
{
    (void)state;
    for (unsigned role = 0; role < 2; role++) {
        const struct vst_handover_table *table = TABLE(role);
        bool reached[MOST_STATES] = {false};

        assert_true(table->state_count <= MOST_STATES);
        reach(table, 0, RECORD(NOTHING), reached);
        for (size_t r = 0; r < table->restart_count; r++)
            reach(table, table->restarts[r].state, RECORD(NOTHING), reached);
        for (unsigned s = 0; s < table->state_count; s++) {
            bool onward[MOST_STATES] = {false}, ends = false;

            assert_true(reached[s]);
            reach(table, s, RECORD(NOTHING), onward);
            for (unsigned t = 0; t < table->state_count; t++)
                ends |= onward[t] && table->entries[t].over;
            assert_true(ends);
        }
    }
}

/* So who carries one out lets go of the guest, and need not wait for the other host's answer. */
static void a_settled_machine_has_no_part_in_the_guest_any_more(void **state)
{
    (void)state;
    for (unsigned role = 0; role < 2; role++) {
        const struct vst_handover_table *table = TABLE(role);

        for (unsigned s = 0; s < table->state_count; s++) {
            bool onward[MOST_STATES] = {false};

            if (table->entries[s].settled)
                reach(table, s, RECORD(NOTHING), onward);
            for (unsigned t = 0; t < table->state_count; t++)
                if (onward[t])
                    assert_true(table->entries[t].settled && !table->entries[t].holds &&
                                !table->entries[t].qemu);
            assert_true(table->entries[s].settled || !table->entries[s].over);
        }
    }
}

/* What waits for nothing of its own would else leave whoever asks without an answer. */
static void a_destination_that_only_waits_for_words_answers_all_of_them(void **state)
{
    static const enum vst_handover_event words[] = {EVENT(COMMIT), EVENT(ABORT), EVENT(FINISH)};
    const struct vst_handover_table *table = &vst_handover_destination;

    (void)state;
    for (unsigned s = 0; s < table->state_count; s++) {
        if (!table->entries[s].settled || table->entries[s].write)
            continue;
        for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
            machine_begin(VST_HANDOVER_DESTINATION);
            machine.state = s;
            machine_feed(words[i]);
            if (!actions.send && machine.state == s)
                fail_msg("%s, %s", table->words[s].name, vst_handover_event_name(words[i]));
        }
    }
}

static void a_step_sends_at_most_one_message(void **state)
{
    (void)state;
    for (unsigned role = 0; role < 2; role++)
        for (size_t e = 0; e < TABLE(role)->edge_count; e++) {
            const struct vst_handover_edge *edge = &TABLE(role)->edges[e];

            if (edge->say && edge->to != VST_HANDOVER_STAY)
                assert_int_equal(TABLE(role)->entries[edge->to].send, EVENT(NONE));
        }
}

static void a_state_that_writes_goes_on_whatever_becomes_of_it(void **state)
{
    (void)state;
    for (unsigned role = 0; role < 2; role++)
        for (unsigned s = 0; s < TABLE(role)->state_count; s++) {
            if (!TABLE(role)->entries[s].write)
                continue;
            machine_begin(role);
            machine.state = s;
            machine.writing = TABLE(role)->entries[s].write;
            assert_int_equal(vst_handover_written(&machine, machine.writing, false, &actions), 0);
            /* It waits for a timer, or has gone on; or does not wait for the record. */
            assert_true(machine.state != s || TABLE(role)->entries[s].timer ||
                        !vst_handover_would_move(&machine, EVENT(WRITTEN)));
        }
}

static void past_the_point_of_no_return_only_aborted_on_disk_resumes(void **state)
{
    const struct vst_handover_table *table = &vst_handover_source;
    bool reached[MOST_STATES] = {false};

    (void)state;
    reach(table, machine_state(table, "SOURCE_HANDING"), RECORD(ABORTED), reached);
    for (unsigned s = 0; s < table->state_count; s++)
        assert_false(reached[s] && table->entries[s].qemu == QEMU(RESUME));
}

static void only_committed_on_disk_runs_the_guest_there(void **state)
{
    const struct vst_handover_table *table = &vst_handover_destination;
    bool reached[MOST_STATES] = {false};

    (void)state;
    reach(table, 0, RECORD(COMMITTED), reached);
    for (unsigned s = 0; s < table->state_count; s++)
        assert_false(reached[s] && table->entries[s].qemu == QEMU(CONT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_state_answers_every_event_of_its_end),
        VST_TEST(every_state_is_reached_and_comes_to_an_end),
        VST_TEST(a_settled_machine_has_no_part_in_the_guest_any_more),
        VST_TEST(a_destination_that_only_waits_for_words_answers_all_of_them),
        VST_TEST(a_step_sends_at_most_one_message),
        VST_TEST(a_state_that_writes_goes_on_whatever_becomes_of_it),
        VST_TEST(past_the_point_of_no_return_only_aborted_on_disk_resumes),
        VST_TEST(only_committed_on_disk_runs_the_guest_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

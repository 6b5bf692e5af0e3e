/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal as bytes: every cut, every flipped bit, every missing sector.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/journal-codec.h"

enum { RECORDS = 5, LENGTH = RECORDS * VST_JOURNAL_RECORD };

static const unsigned char host[VST_HANDOVER_ID] = "this host's id.";
static unsigned char bytes[LENGTH];

static struct vst_journal_entry entry(unsigned number, enum vst_handover_role role,
                                      enum vst_handover_record last)
{
    struct vst_journal_entry made = {
        .role = role,
        .last = last,
        .cause = VST_HANDOVER_LINK_DOWN,
        .outcome = VST_HANDOVER_TELL_CUT_OFF,
        .runs = true,
        .time = 1760000000,
        .uuid = "0b5dd1f6-9c5c-4a66-8d4c-7c4a3cf0b6a1",
        .guest = "g1",
        .uri = "qemu+tls://hostb/",
        .owner = "x509:CN=hosta",
    };

    made.token[0] = (unsigned char)number;
    made.token[1] = (unsigned char)(number >> 8);
    made.peer[3] = 9;
    return made;
}

/* The identity; two tokens; the first goes on; the second is done. */
static void fill(void)
{
    struct vst_journal_entry entries[RECORDS - 1] = {
        entry(1, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_BEGIN),
        entry(2, VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_PREPARED),
        entry(1, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_HANDED_OVER),
        entry(2, VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_DONE),
    };

    vst_journal_encode_host(host, 7, bytes);
    for (unsigned i = 0; i < RECORDS - 1; i++)
        vst_journal_encode(&entries[i], 8 + i, bytes + (i + 1) * VST_JOURNAL_RECORD);
}

static void replay_gives_the_last_word_on_each_token(void **state)
{
    struct vst_journal_entry wanted =
        entry(1, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_HANDED_OVER);
    const struct vst_journal_entry *found;
    struct vst_journal journal;
    size_t good;

    (void)state;
    fill();
    assert_int_equal(vst_journal_replay(bytes, LENGTH, &journal, &good, NULL), 0);
    assert_int_equal(good, LENGTH);
    assert_memory_equal(journal.host, host, VST_HANDOVER_ID);
    assert_int_equal(journal.count, 1);
    assert_int_equal(journal.next, 12);
    found = vst_journal_find(&journal, wanted.token, VST_HANDOVER_SOURCE);
    assert_non_null(found);
    assert_int_equal(found->last, wanted.last);
    assert_int_equal(found->cause, wanted.cause);
    assert_int_equal(found->outcome, wanted.outcome);
    assert_true(found->runs);
    assert_false(found->keep);
    assert_memory_equal(found->peer, wanted.peer, VST_HANDOVER_ID);
    assert_string_equal(found->guest, wanted.guest);
    assert_string_equal(found->uuid, wanted.uuid);
    assert_string_equal(found->uri, wanted.uri);
    assert_string_equal(found->owner, wanted.owner);
    assert_null(vst_journal_find(&journal, wanted.token, VST_HANDOVER_DESTINATION));
    vst_journal_clear(&journal);
}

/* Older journals, and what they said, are read by these numbers. */
static void records_keep_the_numbers_that_are_on_disks(void **state)
{
    static const struct {
        enum vst_handover_record record;
        unsigned number;
        const char *name;
    } rows[] = {
        {VST_HANDOVER_RECORD_BEGIN, 1, "begin"},
        {VST_HANDOVER_RECORD_SWITCHING, 2, "switching"},
        {VST_HANDOVER_RECORD_HANDED_OVER, 3, "handed-over"},
        {VST_HANDOVER_RECORD_PREPARED, 4, "prepared"},
        {VST_HANDOVER_RECORD_RUNNING, 5, "running"},
        {VST_HANDOVER_RECORD_COMMITTED, 6, "committed"},
        {VST_HANDOVER_RECORD_ABORTED, 7, "aborted"},
        {VST_HANDOVER_RECORD_CLOSED, 8, "closed"},
        {VST_HANDOVER_RECORD_DISOWNED, 9, "disowned"},
        {VST_HANDOVER_RECORD_DONE, 10, "done"},
        {VST_HANDOVER_RECORD_RETURNED, 11, "returned"},
        {VST_HANDOVER_RECORD_LACKING, 12, "lacking"},
        {VST_HANDOVER_RECORD_LOADED, 13, "loaded"},
    };

    (void)state;
    assert_int_equal(VST_HANDOVER_RECORD_COUNT, 1 + sizeof(rows) / sizeof(rows[0]));
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vst_journal_entry one = entry(1, VST_HANDOVER_DESTINATION, rows[i].record);

        assert_int_equal(rows[i].record, rows[i].number);
        assert_string_equal(vst_handover_record_name(rows[i].record), rows[i].name);
        vst_journal_encode(&one, 8, bytes);
        assert_int_equal(bytes[14], 0); /* big-endian, after the role */
        assert_int_equal(bytes[15], rows[i].number);
    }
}

/* Those that were there first, and the last of each. */
static void reasons_and_outcomes_keep_the_numbers_that_are_on_disks(void **state)
{
    static const struct {
        unsigned is, number;
    } rows[] = {
        {VST_HANDOVER_BEGIN, 1},           {VST_HANDOVER_CANCEL, 6},
        {VST_HANDOVER_LINK_DOWN, 10},      {VST_HANDOVER_QEMU_GONE, 20},
        {VST_HANDOVER_STREAM_FAILED, 24},  {VST_HANDOVER_PREPARE, 25},
        {VST_HANDOVER_DIED, 39},           {VST_HANDOVER_RESTARTED, 40},
        {VST_HANDOVER_STALLED, 41},        {VST_HANDOVER_OVERDUE, 42},
        {VST_HANDOVER_EVENT_COUNT, 43},    {VST_HANDOVER_TELL_IN_DOUBT, 1},
        {VST_HANDOVER_TELL_MIGRATED, 2},   {VST_HANDOVER_TELL_CUT_OFF, 4},
        {VST_HANDOVER_TELL_DIED, 5},       {VST_HANDOVER_TELL_GIVEN_UP, 6},
        {VST_HANDOVER_TELL_GUEST_GONE, 7}, {VST_HANDOVER_TELL_CONFLICT, 12},
        {VST_HANDOVER_TELL_NOWHERE, 13},   {VST_HANDOVER_TELL_COUNT, 14},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(rows[i].is, rows[i].number);
}

static void every_cut_loses_only_what_was_not_whole(void **state)
{
    struct vst_journal journal;
    struct vst_error err;
    size_t good;

    (void)state;
    fill();
    for (size_t cut = 0; cut <= LENGTH; cut++) {
        memset(&err, 0, sizeof(err));
        if (cut < VST_JOURNAL_RECORD) {
            assert_int_equal(vst_journal_replay(bytes, cut, &journal, &good, &err), -1);
            assert_int_equal(err.code, VST_ERR_DAMAGED);
            continue;
        }
        assert_int_equal(vst_journal_replay(bytes, cut, &journal, &good, &err), 0);
        assert_int_equal(good, cut / VST_JOURNAL_RECORD * VST_JOURNAL_RECORD);
        assert_int_equal(journal.next, 7 + cut / VST_JOURNAL_RECORD);
        vst_journal_clear(&journal);
    }
}

static void a_missing_sector_is_a_torn_tail_and_in_the_middle_damage(void **state)
{
    struct vst_journal journal;
    struct vst_error err;
    size_t good;

    (void)state;
    for (size_t at = 0; at < LENGTH; at += VST_JOURNAL_SECTOR) {
        bool last = at >= LENGTH - VST_JOURNAL_RECORD;

        fill();
        memset(bytes + at, 0, VST_JOURNAL_SECTOR);
        memset(&err, 0, sizeof(err));
        assert_int_equal(vst_journal_replay(bytes, LENGTH, &journal, &good, &err), last ? 0 : -1);
        if (!last) {
            assert_int_equal(err.code, VST_ERR_DAMAGED);
            continue;
        }
        assert_int_equal(good, LENGTH - VST_JOURNAL_RECORD);
        assert_int_equal(journal.count, 2);
        vst_journal_clear(&journal);
    }
}

static void every_flipped_bit_is_damage_in_the_last_record_too(void **state)
{
    struct vst_journal journal;
    struct vst_error err;
    size_t good;

    (void)state;
    fill();
    for (size_t bit = 0; bit < LENGTH * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        memset(&err, 0, sizeof(err));
        assert_int_equal(vst_journal_replay(bytes, LENGTH, &journal, &good, &err), -1);
        assert_int_equal(err.code, VST_ERR_DAMAGED);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void records_left_out_repeated_or_swapped_are_damage(void **state)
{
    static const char *const orders[] = {"01134", "02134", "0234", "10234",
                                         "01243", "1234",  "00123"};
    unsigned char mixed[LENGTH];
    struct vst_journal journal;
    size_t good;

    (void)state;
    fill();
    for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        size_t length = 0;

        for (const char *order = orders[i]; *order; order++, length += VST_JOURNAL_RECORD)
            memcpy(mixed + length, bytes + (*order - '0') * VST_JOURNAL_RECORD, VST_JOURNAL_RECORD);
        assert_int_equal(vst_journal_replay(mixed, length, &journal, &good, NULL), -1);
    }
}

static void compaction_keeps_what_is_not_done(void **state)
{
    struct vst_journal journal, again;
    unsigned char *compact;
    size_t length, good;

    (void)state;
    fill();
    assert_int_equal(vst_journal_replay(bytes, LENGTH, &journal, &good, NULL), 0);
    compact = vst_journal_compact(&journal, &length, NULL);
    assert_int_equal(length, 2 * VST_JOURNAL_RECORD);
    assert_int_equal(vst_journal_replay(compact, length, &again, &good, NULL), 0);
    assert_int_equal(again.count, journal.count);
    assert_memory_equal(again.host, journal.host, VST_HANDOVER_ID);
    assert_memory_equal(again.entries, journal.entries, sizeof(*again.entries));
    assert_true(again.next > journal.next);
    free(compact);
    vst_journal_clear(&journal);
    vst_journal_clear(&again);
}

/* ---- bounds ---- */

static void apply(struct vst_journal *journal, const struct vst_journal_entry *one)
{
    assert_int_equal(vst_journal_apply(journal, one, NULL), 0);
    if (vst_journal_is_long(journal))
        journal->records = journal->count + 1;
    assert_true((journal->records + 1) * VST_JOURNAL_RECORD <= VST_JOURNAL_BYTES);
}

static void give_up(struct vst_journal *journal, unsigned number, const char *owner)
{
    struct vst_journal_entry one =
        entry(number, VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED);

    snprintf(one.owner, sizeof(one.owner), "%s", owner);
    apply(journal, &one);
}

static bool has(const struct vst_journal *journal, unsigned number)
{
    struct vst_journal_entry one =
        entry(number, VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED);

    return vst_journal_find(journal, one.token, VST_HANDOVER_DESTINATION) != NULL;
}

static void fill_with_doubts(struct vst_journal *journal)
{
    for (unsigned i = 0; vst_journal_room(journal); i++) {
        struct vst_journal_entry one =
            entry(i, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_HANDED_OVER);

        apply(journal, &one);
    }
}

static void who_asks_about_many_tokens_makes_way_for_himself(void **state)
{
    struct vst_journal journal = {.records = 1, .next = 1};

    (void)state;
    give_up(&journal, 1, "x509:CN=hosta");
    for (unsigned i = 0; i < 3 * VST_JOURNAL_ANSWERS; i++) {
        give_up(&journal, 1000 + i, "x509:CN=mallory");
        assert_true(journal.count <= 1 + VST_JOURNAL_ANSWERS);
        assert_true(has(&journal, 1000 + i));
    }
    assert_true(has(&journal, 1));
    assert_false(has(&journal, 1000 + 2 * VST_JOURNAL_ANSWERS - 1));
    assert_true(has(&journal, 1000 + 2 * VST_JOURNAL_ANSWERS));
    give_up(&journal, 1000 + 2 * VST_JOURNAL_ANSWERS, "x509:CN=mallory"); /* said once more */
    assert_true(has(&journal, 1000 + 2 * VST_JOURNAL_ANSWERS));
    vst_journal_clear(&journal);
}

static void a_full_journal_drops_answers_and_then_takes_nothing(void **state)
{
    struct vst_journal journal = {.records = 1, .next = 1};
    struct vst_journal_entry more = entry(60000, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_BEGIN);
    struct vst_journal_entry known = entry(7, VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED);
    struct vst_error err = {0};

    (void)state;
    vst_test_seconds(120);
    for (unsigned i = 0; i < 3 * VST_JOURNAL_ANSWERS; i++)
        give_up(&journal, i, i % 2 ? "x509:CN=hosta" : "x509:CN=hostb");
    assert_int_equal(journal.count, 2 * VST_JOURNAL_ANSWERS);
    /* In doubt: none of them may be forgotten. */
    fill_with_doubts(&journal);
    assert_int_equal(journal.count, VST_JOURNAL_TOKENS);
    for (unsigned i = 0; i < 3 * VST_JOURNAL_ANSWERS; i++)
        assert_false(has(&journal, i));
    assert_int_equal(vst_journal_admit(&journal, &more, &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
    assert_int_equal(vst_journal_apply(&journal, &more, NULL), -1);
    /* What began goes on, and its end makes room. */
    assert_int_equal(vst_journal_admit(&journal, &known, NULL), 0);
    apply(&journal, &known);
    known.last = VST_HANDOVER_RECORD_DONE;
    apply(&journal, &known);
    assert_int_equal(vst_journal_admit(&journal, &more, NULL), 0);
    apply(&journal, &more);
    assert_int_equal(vst_journal_room(&journal), 0);
    vst_journal_clear(&journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(replay_gives_the_last_word_on_each_token),
        VST_TEST(records_keep_the_numbers_that_are_on_disks),
        VST_TEST(reasons_and_outcomes_keep_the_numbers_that_are_on_disks),
        VST_TEST(every_cut_loses_only_what_was_not_whole),
        VST_TEST(a_missing_sector_is_a_torn_tail_and_in_the_middle_damage),
        VST_TEST(every_flipped_bit_is_damage_in_the_last_record_too),
        VST_TEST(records_left_out_repeated_or_swapped_are_damage),
        VST_TEST(compaction_keeps_what_is_not_done),
        VST_TEST(who_asks_about_many_tokens_makes_way_for_himself),
        VST_TEST(a_full_journal_drops_answers_and_then_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

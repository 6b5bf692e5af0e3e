/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bodies of control frames that are about migrations: see message.c.
 */
#include "carry.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const then_names[] = {"abort", "suspend", "post-copy"};

static void assert_same_call(enum vst_procedure procedure, const union vst_arguments *a,
                             const union vst_arguments *b)
{
    char *one = vst_call_print(procedure, a, NULL), *other = vst_call_print(procedure, b, NULL);

    assert_string_equal(one, other);
    free(one);
    free(other);
}

static void wishes_of_a_migration_arrive_as_they_were(void **state)
{
    const struct vst_migrate_options wishes[] = {
        {0},
        {"other", true, true, true, true, true, UINT_MAX, 1, 2, VST_MIGRATE_THEN_POST_COPY, 19, 3,
         UINT64_MAX},
        {.then = VST_MIGRATE_THEN_SUSPEND},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        union vst_arguments said, got, again;
        struct vst_migrate_options opt;

        vst_migrate_arguments_set("g1", "qemu+tls://b/", &wishes[i], i == 1, &said.migrate);
        got = carry_call(VST_PROCEDURE_MIGRATE, &said);
        assert_string_equal(got.migrate.name, "g1");
        assert_string_equal(got.migrate.destination, "qemu+tls://b/");
        assert_int_equal(got.migrate.check, i == 1);
        assert_string_equal(got.migrate.then, then_names[wishes[i].then]);
        vst_migrate_arguments_get(&got.migrate, &opt);
        vst_migrate_arguments_set("g1", "qemu+tls://b/", &opt, i == 1, &again.migrate);
        assert_same_call(VST_PROCEDURE_MIGRATE, &said, &again);
        vst_arguments_clear(VST_PROCEDURE_MIGRATE, &got);
    }
}

static void orders_arrive_as_they_were(void **state)
{
    const struct vst_migration_change change = {UINT64_MAX, 250};

    (void)state;
    for (int i = VST_MIGRATION_CANCEL; i <= VST_MIGRATION_FORGET; i++) {
        const struct vst_migration_change *said = i == VST_MIGRATION_SET ? &change : NULL;
        struct vst_migration_change got_change;
        enum vst_migration_order order;
        union vst_arguments arguments, got;

        vst_order_arguments_set(UUID, (enum vst_migration_order)i, said, &arguments.order);
        got = carry_call(VST_PROCEDURE_MIGRATION_ORDER, &arguments);
        assert_string_equal(got.order.token, UUID);
        vst_order_arguments_get(&got.order, &order, &got_change);
        assert_int_equal(order, i);
        assert_int_equal(got_change.bandwidth, said ? said->bandwidth : 0);
        assert_int_equal(got_change.downtime_ms, said ? said->downtime_ms : 0);
        vst_arguments_clear(VST_PROCEDURE_MIGRATION_ORDER, &got);
    }
}

static void messages_of_hosts_arrive_as_they_were(void **state)
{
    struct vst_migrate_message message = {.token = UUID, .host = UUID, .check = true}, got;

    (void)state;
    for (int event = VST_HANDOVER_PREPARE; event < VST_HANDOVER_STARTED; event++) {
        union vst_arguments arguments, carried;

        message.event = (enum vst_handover_event)event;
        message.offer = event == VST_HANDOVER_PREPARE ? "{\"a\":\"b\"}" : NULL;
        vst_handover_arguments_set(&message, &arguments.handover);
        carried = carry_call(VST_PROCEDURE_MIGRATE_MESSAGE, &arguments);
        vst_handover_arguments_get(&carried.handover, &got);
        assert_int_equal(got.event, event);
        assert_string_equal(got.token, UUID);
        assert_string_equal(got.host, UUID);
        assert_true(got.check);
        if (message.offer)
            assert_string_equal(got.offer, message.offer);
        else
            assert_null(got.offer);
        vst_arguments_clear(VST_PROCEDURE_MIGRATE_MESSAGE, &carried);
    }
}

static void answers_of_hosts_arrive_clean(void **state)
{
    struct vst_migrate_message answer = {.token = UUID, .host = UUID, .text = "no\033[2J\nno"}, got;

    (void)state;
    for (int event = VST_HANDOVER_STARTED; event <= VST_HANDOVER_LAST_MESSAGE; event++) {
        union vst_results result;
        char *body;

        answer.event = (enum vst_handover_event)event;
        body = vst_answer_print(&answer, NULL);
        assert_int_equal(
            vst_reply_parse(VST_PROCEDURE_MIGRATE_MESSAGE, body, strlen(body), &result, NULL), 0);
        vst_answer_get(&result.answer, &got);
        assert_int_equal(got.event, event);
        assert_string_equal(got.token, UUID);
        assert_string_equal(got.host, UUID);
        assert_string_equal(got.text, "no?[2J\nno");
        vst_results_clear(VST_PROCEDURE_MIGRATE_MESSAGE, &result);
        free(body);
    }
}

static void errands_arrive_as_they_were(void **state)
{
    struct vst_errand said[] = {
        {.kind = VST_ERRAND_NONE},
        {.kind = VST_ERRAND_ASK,
         .number = 1,
         .message = {.host = UUID, .event = VST_HANDOVER_COMMIT, .check = true, .offer = "{}"}},
        {.kind = VST_ERRAND_CARRY, .number = 2, .part = "disk root"},
        {.kind = VST_ERRAND_TOLD,
         .number = UINT64_MAX,
         .err = {.code = VST_ERR_IN_DOUBT, .side = VST_SIDE_SOURCE, .text = "no\033[2J"}},
        {.kind = VST_ERRAND_OVER, .number = 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
        union vst_results result;
        struct vst_errand got;
        char *body;

        snprintf(said[i].token, sizeof(said[i].token), UUID);
        body = vst_errand_print(VST_PROCEDURE_RELAY_FETCH, &said[i], NULL);
        assert_int_equal(
            vst_reply_parse(VST_PROCEDURE_RELAY_FETCH, body, strlen(body), &result, NULL), 0);
        vst_errand_get(&result.errand, &got);
        assert_int_equal(got.kind, said[i].kind);
        assert_int_equal(got.number, said[i].number);
        assert_string_equal(got.token, UUID);
        assert_string_equal(got.part, said[i].part);
        assert_int_equal(got.message.event, said[i].message.event);
        assert_int_equal(got.message.check, said[i].message.check);
        assert_string_equal(got.message.host, said[i].message.host);
        assert_int_equal(got.message.offer != NULL, said[i].message.offer != NULL);
        assert_int_equal(got.err.code, said[i].err.code);
        assert_string_equal(got.err.text, said[i].err.code ? "no?[2J" : "");
        vst_results_clear(VST_PROCEDURE_RELAY_FETCH, &result);
        free(body);
    }
}

static void relayed_answer_is_an_answer_or_an_error(void **state)
{
    const struct vst_migrate_message answer = {
        .token = UUID, .host = UUID, .event = VST_HANDOVER_ABORTED, .text = "no\033"};
    union vst_arguments said, carried;
    struct vst_migrate_message got;
    struct vst_error err = {0};

    (void)state;
    vst_relay_answer_set(UUID, 7, &answer, NULL, &said.relay_answer);
    carried = carry_call(VST_PROCEDURE_RELAY_ANSWER, &said);
    vst_relay_answer_get(&carried.relay_answer, &got, &err);
    assert_int_equal(err.code, VST_ERR_OK);
    assert_int_equal(carried.relay_answer.number, 7);
    assert_int_equal(got.event, VST_HANDOVER_ABORTED);
    assert_string_equal(got.host, UUID);
    assert_string_equal(got.text, "no?");
    vst_arguments_clear(VST_PROCEDURE_RELAY_ANSWER, &carried);
    vst_relay_answer_set(UUID, 7, NULL, "{\"code\":\"access\",\"text\":\"no\"}",
                         &said.relay_answer);
    carried = carry_call(VST_PROCEDURE_RELAY_ANSWER, &said);
    vst_relay_answer_get(&carried.relay_answer, &got, &err);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    vst_arguments_clear(VST_PROCEDURE_RELAY_ANSWER, &carried);
    vst_relay_answer_set(UUID, 7, NULL, NULL, &said.relay_answer);
    carried = carry_call(VST_PROCEDURE_RELAY_ANSWER, &said);
    err = (struct vst_error){0};
    vst_relay_answer_get(&carried.relay_answer, &got, &err);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    vst_arguments_clear(VST_PROCEDURE_RELAY_ANSWER, &carried);
}

static const struct vst_migration_info moving = {
    .token = UUID,
    .name = "g1",
    .role = VST_MIGRATION_IN,
    .peer = "x509:CN=a",
    .phase = VST_MIGRATION_PHASE_MEMORY,
    .in_doubt = true,
    .over = true,
    .outcome = VST_MIGRATION_CONFLICT,
    .reason = "because",
    .since = 1700000000,
    .pass = 3,
    .total = UINT64_MAX,
    .sent = 4,
    .left = 5,
    .rate = 6,
    .dirty_rate = 7,
    .downtime_ms = UINT_MAX,
    .verdict = "does not converge",
};

/* Reads a page of them, which is the caller's to free(). */
static struct vst_migration_info *read_page(const char *body, size_t *ret_count, bool *ret_more)
{
    void *infos;

    assert_int_equal(vst_list_parse(VST_PROCEDURE_MIGRATIONS, body, strlen(body), &infos, ret_count,
                                    ret_more, NULL),
                     0);
    return infos;
}

static void migrations_arrive_as_they_were(void **state)
{
    struct vst_migration_info one = moving, *got;
    char *body = vst_list_print(VST_PROCEDURE_MIGRATIONS, &one, 1, NULL, NULL), *again;
    size_t count;
    bool more;

    (void)state;
    got = read_page(body, &count, &more);
    assert_int_equal(count, 1);
    assert_false(more);
    assert_string_equal(got->token, UUID);
    assert_string_equal(got->reason, "because");
    assert_int_equal(got->outcome, VST_MIGRATION_CONFLICT);
    again = vst_list_print(VST_PROCEDURE_MIGRATIONS, got, 1, NULL, NULL);
    assert_string_equal(again, body);
    free(again);
    free(got);
    free(body);
}

/* All that can be told of them, in the form that takes most room. */
static void many_migrations_come_in_pages(void **state)
{
    enum { COUNT = 2 * VST_PAGE + 1 };
    struct vst_migration_info *all = calloc(COUNT, sizeof(*all)), *got;
    char after[37] = "";
    size_t total = 0, count;
    bool more = true;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        all[i] = moving;
        snprintf(all[i].token, sizeof(all[i].token), "%08zx-0000-4000-8000-000000000001",
                 i * 7919 % 100003);
        memset(all[i].reason, 1, sizeof(all[i].reason) - 1);
        memset(all[i].peer, 1, sizeof(all[i].peer) - 1);
    }
    for (; more; free(got)) {
        char *body =
            vst_list_print(VST_PROCEDURE_MIGRATIONS, all, COUNT, after[0] ? after : NULL, NULL);

        assert_true(strlen(body) < 4 * 1024 * 1024);
        got = read_page(body, &count, &more);
        for (size_t i = 0; i < count; i++) {
            assert_true(strcmp(got[i].token, after) > 0);
            snprintf(after, sizeof(after), "%s", got[i].token);
        }
        total += count;
        free(body);
    }
    assert_int_equal(total, COUNT);
    free(all);
}

static void phase_that_there_is_not_is_refused(void **state)
{
    char *body = vst_list_print(VST_PROCEDURE_MIGRATIONS, &moving, 1, NULL, NULL);
    char *phase = strstr(body, "\"memory\"");
    struct vst_error err = {0};
    void *infos;
    size_t count;
    bool more;

    (void)state;
    assert_non_null(phase);
    memcpy(phase, "\"dreams\"", strlen("\"dreams\""));
    assert_int_equal(
        vst_list_parse(VST_PROCEDURE_MIGRATIONS, body, strlen(body), &infos, &count, &more, &err),
        -1);
    assert_non_null(strstr(err.text, "phase: must be one of"));
    free(body);
}

static void what_is_no_migration_is_refused_by_name(void **state)
{
    (void)state;
    REFUSE("migrate", "\"name\":\"g\"", "destination: missing");
    REFUSE("migrate", "\"name\":\"g\",\"destination\":\"x\",\"then\":\"pray\"",
           "then: must be one");
    REFUSE("migrate", "\"name\":\"g\",\"destination\":\"x\",\"downtime-ms\":4294967296",
           "downtime-ms: must be from 0");
    REFUSE("migration-order", "\"token\":\"" UUID "\",\"order\":\"fly\"", "order: must be one of");
    REFUSE("migration-order", "\"token\":\"7\",\"order\":\"set\"", "token: must be a UUID");
    REFUSE("migration-order",
           "\"token\":\"----00000000000040008000000000000001\",\"order\":\"set\"",
           "token: must be a UUID");
    REFUSE("migrate-stream", "\"part\":\"disk a\"", "token: missing");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"host\":\"" UUID "\",\"event\":\"LOADED\"",
           "event: must be a message of the source");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"host\":\"" UUID "\",\"event\":\"CANCEL\"",
           "event: must be a message of the source");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"event\":\"COMMIT\"", "host: missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(wishes_of_a_migration_arrive_as_they_were),
        VST_TEST(orders_arrive_as_they_were),
        VST_TEST(messages_of_hosts_arrive_as_they_were),
        VST_TEST(answers_of_hosts_arrive_clean),
        VST_TEST(errands_arrive_as_they_were),
        VST_TEST(relayed_answer_is_an_answer_or_an_error),
        VST_TEST(migrations_arrive_as_they_were),
        VST_TEST(phase_that_there_is_not_is_refused),
        VST_TEST(many_migrations_come_in_pages),
        VST_TEST(what_is_no_migration_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

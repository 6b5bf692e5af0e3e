/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bodies of control frames: what one side prints the other reads as it was; what breaks the rules
 * is an error that names it.
 */
#include "test.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/message.h"

#define UUID "00000000-0000-4000-8000-000000000001"

static union vst_arguments carry(enum vst_procedure procedure, const union vst_arguments *arguments)
{
    struct vst_error err = {0};
    char *body = vst_call_print(procedure, arguments, &err);
    union vst_arguments carried;
    struct vst_call call;

    assert_non_null(body);
    assert_int_equal(vst_call_parse(body, strlen(body), &call, &err), 0);
    assert_int_equal(call.procedure, procedure);
    assert_int_equal(vst_call_get_arguments(&call, &carried, &err), 0);
    vst_call_clear(&call);
    free(body);
    return carried;
}

static void arguments_arrive_as_they_were(void **state)
{
    union vst_arguments save = {.save = {(char *)"g1", true, false, 19, 7}};
    union vst_arguments start = {.start = {(char *)" {\"a\\n\": 1}\n", true, true}};
    union vst_arguments got = carry(VST_PROCEDURE_SAVE, &save);

    (void)state;
    assert_string_equal(got.save.name, "g1");
    assert_true(got.save.live);
    assert_false(got.save.keep_running);
    assert_int_equal(got.save.zstd_level, 19);
    assert_int_equal(got.save.stall_seconds, 7);
    vst_arguments_clear(VST_PROCEDURE_SAVE, &got);

    got = carry(VST_PROCEDURE_START, &start);
    assert_string_equal(got.start.definition, start.start.definition);
    vst_arguments_clear(VST_PROCEDURE_START, &got);

    got = carry(VST_PROCEDURE_RESTORE, &(union vst_arguments){0});
    assert_null(got.restore.name);
    vst_arguments_clear(VST_PROCEDURE_RESTORE, &got);
}

static void every_procedure_has_a_call_and_a_reply(void **state)
{
    (void)state;
    for (int i = 0; i < VST_PROCEDURE_COUNT; i++) {
        char *call = vst_call_print(i, &(union vst_arguments){0}, NULL);
        char *reply = vst_reply_print(i, &(union vst_results){0}, NULL);
        struct vst_call parsed;

        assert_non_null(reply);
        assert_int_equal(vst_call_parse(call, strlen(call), &parsed, NULL), 0);
        assert_int_equal(parsed.procedure, i);
        vst_call_clear(&parsed);
        free(call);
        free(reply);
    }
}

static void control_has_a_name_for_each(void **state)
{
    (void)state;
    for (int what = VST_SUSPEND; what <= VST_DESTROY; what++)
        assert_int_equal(vst_control_find(vst_control_name(what)), what);
    assert_int_equal(vst_control_find("explode"), -1);
}

/* ---- migrations ---- */

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
        got = carry(VST_PROCEDURE_MIGRATE, &said);
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
        got = carry(VST_PROCEDURE_MIGRATION_ORDER, &arguments);
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
        carried = carry(VST_PROCEDURE_MIGRATE_MESSAGE, &arguments);
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
    for (int event = VST_HANDOVER_STARTED; event < VST_HANDOVER_EVENT_COUNT; event++) {
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
    carried = carry(VST_PROCEDURE_RELAY_ANSWER, &said);
    vst_relay_answer_get(&carried.relay_answer, &got, &err);
    assert_int_equal(err.code, VST_ERR_OK);
    assert_int_equal(carried.relay_answer.number, 7);
    assert_int_equal(got.event, VST_HANDOVER_ABORTED);
    assert_string_equal(got.host, UUID);
    assert_string_equal(got.text, "no?");
    vst_arguments_clear(VST_PROCEDURE_RELAY_ANSWER, &carried);
    vst_relay_answer_set(UUID, 7, NULL, "{\"code\":\"access\",\"text\":\"no\"}",
                         &said.relay_answer);
    carried = carry(VST_PROCEDURE_RELAY_ANSWER, &said);
    vst_relay_answer_get(&carried.relay_answer, &got, &err);
    assert_int_equal(err.code, VST_ERR_ACCESS);
    vst_arguments_clear(VST_PROCEDURE_RELAY_ANSWER, &carried);
    vst_relay_answer_set(UUID, 7, NULL, NULL, &said.relay_answer);
    carried = carry(VST_PROCEDURE_RELAY_ANSWER, &said);
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
    .phase = "memory",
    .in_doubt = true,
    .over = true,
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

static void migrations_arrive_as_they_were(void **state)
{
    struct vst_migration_info one = moving, *got;
    char *body = vst_migrations_print(&one, 1, NULL, NULL), *again;
    size_t count;
    bool more;

    (void)state;
    assert_int_equal(vst_migrations_parse(body, strlen(body), &got, &count, &more, NULL), 0);
    assert_int_equal(count, 1);
    assert_false(more);
    assert_string_equal(got->token, UUID);
    assert_string_equal(got->reason, "because");
    again = vst_migrations_print(got, 1, NULL, NULL);
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
        char *body = vst_migrations_print(all, COUNT, after[0] ? after : NULL, NULL);

        assert_true(strlen(body) < 4 * 1024 * 1024);
        assert_int_equal(vst_migrations_parse(body, strlen(body), &got, &count, &more, NULL), 0);
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

/* ---- what is no call ---- */

static void refuse_call(const char *body, enum vst_code code, const char *text)
{
    union vst_arguments arguments;
    struct vst_error err = {0};
    struct vst_call call;

    if (vst_call_parse(body, strlen(body), &call, &err) == 0) {
        assert_int_equal(vst_call_get_arguments(&call, &arguments, &err), -1);
        vst_call_clear(&call);
    }
    assert_int_equal(err.code, code);
    if (!strstr(err.text, text))
        fail_msg("`%s` is not in `%s`", text, err.text);
}

static void what_is_no_call_is_refused_by_name(void **state)
{
    (void)state;
    refuse_call("", VST_ERR_PROTOCOL, "the call");
    refuse_call("[]", VST_ERR_PROTOCOL, "object");
    refuse_call("{}", VST_ERR_PROTOCOL, "procedure: missing");
    refuse_call("{\"procedure\":7}", VST_ERR_PROTOCOL, "procedure: must be a string");
    refuse_call("{\"procedure\":\"fly\"}", VST_ERR_UNSUPPORTED, "no such procedure");
    refuse_call("{\"procedure\":\"save\"}", VST_ERR_INVALID, "arguments: missing");
    refuse_call("{\"procedure\":\"save\",\"arguments\":[]}", VST_ERR_INVALID, "must be an object");
    refuse_call("{\"procedure\":\"save\",\"arguments\":{}}", VST_ERR_INVALID, "name: missing");
    refuse_call("{\"procedure\":\"save\",\"arguments\":{\"name\":\"g\",\"live\":1}}",
                VST_ERR_INVALID, "live: must be true or false");
    refuse_call("{\"procedure\":\"save\",\"arguments\":{\"name\":\"g\",\"zstd-level\":-1}}",
                VST_ERR_INVALID, "zstd-level: must be from 0");
    refuse_call("{\"procedure\":\"control\",\"arguments\":{\"name\":\"g\",\"what\":\"fly\"}}",
                VST_ERR_INVALID, "must be one of `suspend`");
    refuse_call("{\"procedure\":\"save\",\"procedure\":\"list\"}", VST_ERR_PROTOCOL, "twice");
    refuse_call("{\"procedure\":\"list\",\"arguments\":{\"x\":[{\"a\":1,\"b\":\":\",\"a\":2}]}}",
                VST_ERR_PROTOCOL, "twice");
}

#define REFUSE(procedure, arguments, text)                                         \
    refuse_call("{\"procedure\":\"" procedure "\",\"arguments\":{" arguments "}}", \
                VST_ERR_INVALID, text)

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
    REFUSE("migrate-stream", "\"part\":\"disk a\"", "token: missing");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"host\":\"" UUID "\",\"event\":\"LOADED\"",
           "event: must be a message of the source");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"host\":\"" UUID "\",\"event\":\"CANCEL\"",
           "event: must be a message of the source");
    REFUSE("migrate-message", "\"token\":\"" UUID "\",\"event\":\"COMMIT\"", "host: missing");
}

static void what_a_newer_client_says_is_ignored(void **state)
{
    const char *body = "{\"procedure\":\"info\",\"urgent\":true,"
                       "\"arguments\":{\"name\":\"g1\",\"also\":[\":\",\"\\\":\"]}}";
    union vst_arguments arguments;
    struct vst_call call;

    (void)state;
    assert_int_equal(vst_call_parse(body, strlen(body), &call, NULL), 0);
    assert_int_equal(vst_call_get_arguments(&call, &arguments, NULL), 0);
    assert_string_equal(arguments.name.name, "g1");
    vst_arguments_clear(call.procedure, &arguments);
    vst_call_clear(&call);
}

/* ---- results ---- */

static const struct vst_domain_info saving = {
    .name = "g1",
    .uuid = UUID,
    .state = VST_DOMAIN_PAUSED,
    .reason = "because",
    .memory = UINT64_C(1) << 45,
    .vcpus = 4,
    .pid = 77,
    .since = 1700000000,
    .busy_pid = 5,
    .job = VST_JOB_SAVE,
    .progress = {.up_bytes = 1,
                 .down_bytes = UINT64_MAX,
                 .total = 3,
                 .rate = 4,
                 .held = 5,
                 .most_held = 6,
                 .elapsed_us = 7,
                 .idle_us = 8,
                 .waits_for = VST_STALLED_ON_APPLICATION},
};

static void infos_arrive_as_they_were(void **state)
{
    char *body = vst_info_print(&saving, NULL);
    struct vst_domain_info *infos;
    size_t count;
    bool more;

    (void)state;
    assert_int_equal(
        vst_infos_parse(VST_PROCEDURE_INFO, body, strlen(body), &infos, &count, &more, NULL), 0);
    assert_int_equal(count, 1);
    assert_false(more);
    assert_memory_equal(&infos[0].progress, &saving.progress, sizeof(saving.progress));
    assert_string_equal(infos[0].name, saving.name);
    assert_string_equal(infos[0].uuid, saving.uuid);
    assert_string_equal(infos[0].reason, saving.reason);
    assert_int_equal(infos[0].state, saving.state);
    assert_int_equal(infos[0].memory, saving.memory);
    assert_int_equal(infos[0].vcpus, saving.vcpus);
    assert_int_equal(infos[0].pid, saving.pid);
    assert_int_equal(infos[0].since, saving.since);
    assert_int_equal(infos[0].busy_pid, saving.busy_pid);
    assert_int_equal(infos[0].job, saving.job);
    free(infos);
    free(body);
}

static void every_job_arrives(void **state)
{
    (void)state;
    for (int job = VST_JOB_NONE; job <= VST_JOB_MIGRATE; job++) {
        struct vst_domain_info info = saving, *infos = NULL;
        size_t count;
        char *body;
        bool more;

        info.job = (enum vst_job_kind)job;
        body = vst_info_print(&info, NULL);
        assert_int_equal(
            vst_infos_parse(VST_PROCEDURE_INFO, body, strlen(body), &infos, &count, &more, NULL),
            0);
        assert_int_equal(infos[0].job, job);
        free(infos);
        free(body);
    }
}

/* Reads a list page by page, as a client does. */
static size_t read_pages(struct vst_domain_info *all, size_t count)
{
    size_t total = 0;
    char after[64] = "";
    bool more = true;

    while (more) {
        char *body = vst_page_print(all, count, after[0] ? after : NULL, NULL);
        struct vst_domain_info *infos;
        size_t page;

        assert_true(strlen(body) < 1024 * 1024);
        assert_int_equal(
            vst_infos_parse(VST_PROCEDURE_LIST, body, strlen(body), &infos, &page, &more, NULL), 0);
        for (size_t i = 0; i < page; i++) {
            assert_true(strcmp(infos[i].name, after) > 0);
            snprintf(after, sizeof(after), "%s", infos[i].name);
        }
        total += page;
        free(infos);
        free(body);
    }
    return total;
}

static void a_list_comes_in_pages(void **state)
{
    static const size_t counts[] = {0, 1, VST_PAGE - 1, VST_PAGE, VST_PAGE + 1, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct vst_domain_info *all = calloc(counts[i] + 1, sizeof(*all));

        for (size_t j = 0; j < counts[i]; j++) {
            all[j] = saving;
            snprintf(all[j].name, sizeof(all[j].name), "g%zu", j * 7919 % 100003);
        }
        assert_int_equal(read_pages(all, counts[i]), counts[i]);
        free(all);
    }
}

static void refuse_reply(enum vst_procedure procedure, const char *body, const char *text)
{
    union vst_results result;
    struct vst_error err = {0};

    assert_int_equal(vst_reply_parse(procedure, body, strlen(body), &result, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    if (!strstr(err.text, text))
        fail_msg("`%s` is not in `%s`", text, err.text);
}

static void a_result_that_is_none_is_the_peers_fault(void **state)
{
    (void)state;
    refuse_reply(VST_PROCEDURE_SAVE, "{}", "result: missing");
    refuse_reply(VST_PROCEDURE_LOOKUP, "{\"result\":{\"name\":\"g\"}}", "uuid: missing");
    refuse_reply(VST_PROCEDURE_LOOKUP, "{\"result\":{\"name\":\"../x\",\"uuid\":\"" UUID "\"}}",
                 "must be the name");
    refuse_reply(VST_PROCEDURE_LOOKUP, "{\"result\":{\"name\":\"x\",\"uuid\":\"7\"}}",
                 "must be a UUID");
    refuse_reply(VST_PROCEDURE_INFO,
                 "{\"result\":{\"domains\":[{\"name\":\"g\",\"uuid\":\"" UUID
                 "\",\"state\":\"flying\"}]}}",
                 "domains[0].state");
    refuse_reply(VST_PROCEDURE_MIGRATE_MESSAGE,
                 "{\"result\":{\"token\":\"" UUID "\",\"host\":\"" UUID "\",\"event\":\"COMMIT\"}}",
                 "must be a message of the destination");
    refuse_reply(VST_PROCEDURE_MIGRATIONS,
                 "{\"result\":{\"migrations\":[{\"token\":\"" UUID
                 "\",\"name\":\"g\",\"role\":\"up\"}]}}",
                 "migrations[0].role");
}

/* ---- events ---- */

static void events_arrive_clean(void **state)
{
    struct vst_event event = {VST_EVENT_CRASHED, "g1", UUID, "last\033[2J words\n"}, got;
    char *body = vst_event_print(&event, NULL);
    struct vst_event_text text;
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(vst_event_parse(body, strlen(body), &text, &got, NULL), 0);
    assert_int_equal(got.kind, VST_EVENT_CRASHED);
    assert_string_equal(got.name, "g1");
    assert_string_equal(got.uuid, UUID);
    assert_string_equal(got.reason, "last?[2J words\n");
    vst_event_text_clear(&text);
    free(body);
    body = strdup("{\"event\":\"born\",\"name\":\"g1\",\"uuid\":\"" UUID "\"}");
    assert_int_equal(vst_event_parse(body, strlen(body), &text, &got, &err), -1);
    assert_int_equal(err.code, VST_ERR_UNSUPPORTED);
    free(body);
}

static void totals_arrive_as_they_were(void **state)
{
    static const uint64_t totals[] = {0, 1, INT64_MAX};
    char body[VST_STARTED_MAX];
    struct vst_error err = {0};
    uint64_t total;

    (void)state;
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
        vst_started_print(totals[i], body);
        assert_int_equal(vst_started_parse(body, strlen(body), &total, NULL), 0);
        assert_int_equal(total, totals[i]);
    }
    assert_int_equal(vst_started_parse("{\"total\":-1}", 12, &total, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
}

/* ---- errors ---- */

static struct vst_error carry_error(const struct vst_error *err)
{
    char body[VST_ERROR_BODY_MAX];
    size_t length = vst_error_print(err, body);
    struct vst_error got;

    assert_int_equal(strlen(body), length);
    vst_error_parse(body, length, &got);
    return got;
}

static void errors_arrive_as_they_were(void **state)
{
    struct vst_error err = {VST_ERR_DAMAGED, EIO, VST_SIDE_QEMU, "load", "\"a\\b\"\nR\303\251cord"};
    struct vst_error got = carry_error(&err);

    (void)state;
    assert_memory_equal(&got, &err, sizeof(got));
    for (int code = VST_ERR_OK + 1; code <= VST_ERR_IN_DOUBT; code++)
        for (int side = VST_SIDE_NONE; side <= VST_SIDE_QEMU; side++) {
            struct vst_error each = {.code = code, .side = side, .text = "x"};

            got = carry_error(&each);
            assert_memory_equal(&got, &each, sizeof(got));
        }
}

static void the_worst_error_fits_and_stays_clean(void **state)
{
    struct vst_error err = {.code = VST_ERR_DRIVER}, got;

    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        memset(err.text, byte, sizeof(err.text) - 1);
        memset(err.phase, byte, sizeof(err.phase) - 1);
        got = carry_error(&err);
        assert_int_equal(got.code, VST_ERR_DRIVER);
        assert_int_equal(strlen(got.text), sizeof(err.text) - 1);
        if (byte < ' ' && byte != '\n')
            assert_int_equal(got.text[0], '?');
    }
    /* Cut within a character. */
    memset(err.text, 'x', sizeof(err.text));
    memcpy(err.text + sizeof(err.text) - 3, "\342\202", 3);
    got = carry_error(&err);
    assert_string_equal(got.text + sizeof(err.text) - 3, "??");
}

static void what_is_no_error_is_one_all_the_same(void **state)
{
    static const char *const bodies[] = {
        "",
        "{}",
        "[",
        "{\"code\":\"ok\",\"text\":\"fine\"}",
        "{\"code\":\"lost\"}",
        "{\"code\":\"lost\",\"text\":1}",
        "{\"code\":\"lost\",\"code\":\"lost\",\"text\":\"\"}",
    };
    struct vst_error err;
    char body[2000];

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        vst_error_parse(bodies[i], strlen(bodies[i]), &err);
        assert_int_equal(err.code, VST_ERR_PROTOCOL);
        assert_true(err.text[0]);
    }
    snprintf(body, sizeof(body), "{\"code\":\"new\",\"side\":\"moon\",\"text\":\"%01000d\"}", 7);
    vst_error_from_server(body, strlen(body), &err);
    assert_int_equal(err.code, VST_ERR_DRIVER);
    assert_int_equal(err.side, VST_SIDE_HOST);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void a_servers_own_library_is_the_host(void **state)
{
    const char *body = "{\"code\":\"state\",\"side\":\"client\",\"text\":\"no\"}";
    struct vst_error err;

    (void)state;
    vst_error_from_server(body, strlen(body), &err);
    assert_int_equal(err.side, VST_SIDE_HOST);
    assert_int_equal(err.code, VST_ERR_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(arguments_arrive_as_they_were),
        VST_TEST(every_procedure_has_a_call_and_a_reply),
        VST_TEST(control_has_a_name_for_each),
        VST_TEST(wishes_of_a_migration_arrive_as_they_were),
        VST_TEST(orders_arrive_as_they_were),
        VST_TEST(messages_of_hosts_arrive_as_they_were),
        VST_TEST(answers_of_hosts_arrive_clean),
        VST_TEST(errands_arrive_as_they_were),
        VST_TEST(relayed_answer_is_an_answer_or_an_error),
        VST_TEST(migrations_arrive_as_they_were),
        VST_TEST(many_migrations_come_in_pages),
        VST_TEST(what_is_no_call_is_refused_by_name),
        VST_TEST(what_is_no_migration_is_refused_by_name),
        VST_TEST(what_a_newer_client_says_is_ignored),
        VST_TEST(infos_arrive_as_they_were),
        VST_TEST(every_job_arrives),
        VST_TEST(a_list_comes_in_pages),
        VST_TEST(a_result_that_is_none_is_the_peers_fault),
        VST_TEST(events_arrive_clean),
        VST_TEST(totals_arrive_as_they_were),
        VST_TEST(errors_arrive_as_they_were),
        VST_TEST(the_worst_error_fits_and_stays_clean),
        VST_TEST(what_is_no_error_is_one_all_the_same),
        VST_TEST(a_servers_own_library_is_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

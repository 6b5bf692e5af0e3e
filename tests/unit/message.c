/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bodies of control frames: what one side prints the other reads as it was; what breaks the rules
 * is an error that names it. Those of migrations are in message-migrate.c.
 */
#include "carry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void arguments_arrive_as_they_were(void **state)
{
    union vst_arguments save = {.save = {(char *)"g1", true, false, 19, 7}};
    union vst_arguments start = {.start = {(char *)" {\"a\\n\": 1}\n", true, true}};
    union vst_arguments got = carry_call(VST_PROCEDURE_SAVE, &save);

    (void)state;
    assert_string_equal(got.save.name, "g1");
    assert_true(got.save.live);
    assert_false(got.save.keep_running);
    assert_int_equal(got.save.zstd_level, 19);
    assert_int_equal(got.save.stall_seconds, 7);
    vst_arguments_clear(VST_PROCEDURE_SAVE, &got);

    got = carry_call(VST_PROCEDURE_START, &start);
    assert_string_equal(got.start.definition, start.start.definition);
    vst_arguments_clear(VST_PROCEDURE_START, &got);

    got = carry_call(VST_PROCEDURE_RESTORE, &(union vst_arguments){0});
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

static void what_is_not_utf8_is_refused_by_name_before_it_is_sent(void **state)
{
    static const char *const texts[] = {"p/x\xff", "\xc0\x80", "\xed\xa0\x80", "p/\xe2\x82"};
    char *body;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        union vst_arguments upload = {.upload = {.name = (char *)texts[i]}};
        struct vst_error err = {0};

        assert_null(vst_call_print(VST_PROCEDURE_VOLUME_UPLOAD, &upload, &err));
        assert_int_equal(err.code, VST_ERR_INVALID);
        assert_string_equal(err.text, "name is not UTF-8");
    }
    body = vst_call_print(VST_PROCEDURE_VOLUME_DELETE,
                          &(union vst_arguments){.name = {(char *)"p/\xe2\x82\xac"}}, NULL);
    assert_non_null(body);
    free(body);
}

static void control_has_a_name_for_each(void **state)
{
    (void)state;
    for (int what = VST_SUSPEND; what <= VST_DESTROY; what++)
        assert_int_equal(vst_control_find(vst_control_name(what)), what);
    assert_int_equal(vst_control_find("explode"), -1);
}

/* ---- what is no call ---- */

static void what_is_no_call_is_refused_by_name(void **state)
{
    (void)state;
    carry_refuse("", VST_ERR_PROTOCOL, "the call");
    carry_refuse("[]", VST_ERR_PROTOCOL, "object");
    carry_refuse("{}", VST_ERR_PROTOCOL, "procedure: missing");
    carry_refuse("{\"procedure\":7}", VST_ERR_PROTOCOL, "procedure: must be a string");
    carry_refuse("{\"procedure\":\"fly\"}", VST_ERR_UNSUPPORTED, "no such procedure");
    carry_refuse("{\"procedure\":\"save\"}", VST_ERR_INVALID, "arguments: missing");
    carry_refuse("{\"procedure\":\"save\",\"arguments\":[]}", VST_ERR_INVALID, "must be an object");
    carry_refuse("{\"procedure\":\"save\",\"arguments\":{}}", VST_ERR_INVALID, "name: missing");
    carry_refuse("{\"procedure\":\"save\",\"arguments\":{\"name\":\"g\",\"live\":1}}",
                 VST_ERR_INVALID, "live: must be true or false");
    carry_refuse("{\"procedure\":\"save\",\"arguments\":{\"name\":\"g\",\"zstd-level\":-1}}",
                 VST_ERR_INVALID, "zstd-level: must be from 0");
    carry_refuse("{\"procedure\":\"control\",\"arguments\":{\"name\":\"g\",\"what\":\"fly\"}}",
                 VST_ERR_INVALID, "must be one of `suspend`");
    carry_refuse("{\"procedure\":\"save\",\"procedure\":\"list\"}", VST_ERR_PROTOCOL, "twice");
    carry_refuse("{\"procedure\":\"list\",\"arguments\":{\"x\":[{\"a\":1,\"b\":\":\",\"a\":2}]}}",
                 VST_ERR_PROTOCOL, "twice");
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

/* Reads a page of infos, which is the caller's to free(). */
static struct vst_domain_info *read_page(enum vst_procedure procedure, const char *body,
                                         size_t *ret_count, bool *ret_more)
{
    void *infos;

    assert_int_equal(
        vst_list_parse(procedure, body, strlen(body), &infos, ret_count, ret_more, NULL), 0);
    return infos;
}

static void infos_arrive_as_they_were(void **state)
{
    char *body = vst_list_print(VST_PROCEDURE_INFO, &saving, 1, NULL, NULL);
    struct vst_domain_info *infos;
    size_t count;
    bool more;

    (void)state;
    infos = read_page(VST_PROCEDURE_INFO, body, &count, &more);
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
        body = vst_list_print(VST_PROCEDURE_INFO, &info, 1, NULL, NULL);
        infos = read_page(VST_PROCEDURE_INFO, body, &count, &more);
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
        char *body = vst_list_print(VST_PROCEDURE_LIST, all, count, after[0] ? after : NULL, NULL);
        struct vst_domain_info *infos;
        size_t page;

        assert_true(strlen(body) < 1024 * 1024);
        infos = read_page(VST_PROCEDURE_LIST, body, &page, &more);
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

static void what_has_started_arrives_as_it_was(void **state)
{
    static const struct vst_started all[] = {
        {0, ""}, {1, ""}, {INT64_MAX, ""}, {0, "99237812-7b52-2de4-d977-defcbcc13ef3"}};
    static const char *const none[] = {"{\"total\":-1}", "{\"token\":\"the next\"}"};
    char body[VST_STARTED_MAX];
    struct vst_started got;

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        vst_started_print(&all[i], body);
        assert_int_equal(vst_started_parse(body, strlen(body), &got, NULL), 0);
        assert_int_equal(got.total, all[i].total);
        assert_string_equal(got.token, all[i].token);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct vst_error err = {0};

        assert_int_equal(vst_started_parse(none[i], strlen(none[i]), &got, &err), -1);
        assert_int_equal(err.code, VST_ERR_PROTOCOL);
    }
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

static void number_of_a_library_stays_where_it_means_something(void **state)
{
    struct vst_error err = {VST_ERR_AUTH, -49, VST_SIDE_SOURCE, "handshake", "b.pem: not signed"};
    struct vst_error got = carry_error(&err);

    (void)state;
    err.system = 0;
    assert_memory_equal(&got, &err, sizeof(err));
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
        VST_TEST(what_is_not_utf8_is_refused_by_name_before_it_is_sent),
        VST_TEST(control_has_a_name_for_each),
        VST_TEST(what_is_no_call_is_refused_by_name),
        VST_TEST(what_a_newer_client_says_is_ignored),
        VST_TEST(infos_arrive_as_they_were),
        VST_TEST(every_job_arrives),
        VST_TEST(a_list_comes_in_pages),
        VST_TEST(a_result_that_is_none_is_the_peers_fault),
        VST_TEST(events_arrive_clean),
        VST_TEST(what_has_started_arrives_as_it_was),
        VST_TEST(errors_arrive_as_they_were),
        VST_TEST(number_of_a_library_stays_where_it_means_something),
        VST_TEST(the_worst_error_fits_and_stays_clean),
        VST_TEST(what_is_no_error_is_one_all_the_same),
        VST_TEST(a_servers_own_library_is_the_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

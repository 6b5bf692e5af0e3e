/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whose a migration is: a token is known to everybody who may look, so it is no secret, and only
 * whoever brought it to a host may say anything by it, or admin. With a QEMU, but no other host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/image.h"
#include "core/migration.h"
#include "host.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"
#define SOURCE "00000000-0000-4000-8000-00000000000a"

static const struct vst_caller alice = {.name = "x509:CN=alice"};
static const struct vst_caller eve = {.name = "x509:CN=eve"};
static const struct vst_caller root = {.name = "unix:0", .admin = true};
static const struct vst_caller nameless;

static struct vst_host host;

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_host_clear(&host);
    return 0;
}

/* ---- what is said, and by whom ---- */

/* Of a guest whose machine is nothing at all. */
static char *make_offer(void)
{
    struct vst_image_header header = {.driver = strdup("qemu"), .running = true};
    char *definition = vst_host_none("g"), *text;

    header.compression = strdup("none");
    header.created_by = strdup("test");
    header.definition = vst_definition_parse(definition, strlen(definition), NULL);
    assert_non_null(header.definition);
    text = vst_image_header_to_json(&header, NULL);
    vst_definition_free(&header.definition);
    free(header.driver);
    free(header.compression);
    free(header.created_by);
    free(definition);
    return text;
}

struct answer {
    enum vst_code code;
    enum vst_handover_event event;
};

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    struct answer *answer = opaque;

    answer->code = err ? err->code : VST_ERR_OK;
    if (!err)
        answer->event = message->event;
}

static const struct timeval answers_within = {2, 0};

static struct answer say(const struct vst_caller *caller, enum vst_handover_event event)
{
    char *offer = event == VST_HANDOVER_PREPARE ? make_offer() : NULL;
    struct vst_migrate_message message = {
        .token = TOKEN, .host = SOURCE, .event = event, .offer = offer};
    struct answer answer = {VST_ERR_OK, VST_HANDOVER_NONE};
    struct vst_answer_cb cb = {have_answer, &answer, NULL};
    struct vst_op *op;

    host.conn->caller = caller;
    op = vst_conn_migrate_message(host.conn, &message, &cb);
    host.conn->caller = NULL;
    free(offer);
    vst_op_set_timeout(op, &answers_within);
    vst_op_wait(op, NULL);
    return answer;
}

/* As a source does that has given up: what is said while a QEMU is being ended has no answer, and
 * is said again. */
static void finish(const struct vst_caller *caller)
{
    while (say(caller, VST_HANDOVER_ABORT).event != VST_HANDOVER_FINISHED)
        ;
}

static enum vst_code wait_as(struct vst_op *op)
{
    struct vst_error err = {0};

    host.conn->caller = NULL;
    return vst_op_wait(op, &err) == 0 ? VST_ERR_OK : err.code;
}

static enum vst_code order(const struct vst_caller *caller, enum vst_migration_order what)
{
    host.conn->caller = caller;
    return wait_as(vst_conn_order_migration(host.conn, TOKEN, what, NULL, NULL));
}

/* Of a stream that brings nothing. */
static enum vst_code send_stream(const struct vst_caller *caller)
{
    struct vst_stream *stream = vst_stream_new(host.base, NULL);
    enum vst_code code;

    assert_int_equal(vst_stream_finish(stream), 0);
    host.conn->caller = caller;
    code = wait_as(vst_conn_migrate_stream(host.conn, TOKEN, NULL, stream, NULL));
    vst_stream_free(&stream);
    return code;
}

static void assert_refused_to(const struct vst_caller *caller)
{
    static const enum vst_handover_event messages[] = {VST_HANDOVER_PREPARE, VST_HANDOVER_COMMIT,
                                                       VST_HANDOVER_ABORT, VST_HANDOVER_FINISH};

    for (size_t i = 0; i < sizeof(messages) / sizeof(*messages); i++)
        assert_int_equal(say(caller, messages[i]).code, VST_ERR_ACCESS);
    assert_int_equal(send_stream(caller), VST_ERR_ACCESS);
    assert_int_equal(order(caller, VST_MIGRATION_CANCEL), VST_ERR_ACCESS);
    assert_int_equal(order(caller, VST_MIGRATION_SET), VST_ERR_ACCESS);
    assert_int_equal(order(caller, VST_MIGRATION_GO_POST_COPY), VST_ERR_ACCESS);
}

static void expect_no_guest(void)
{
    struct vst_error err = {0};
    struct vst_domain_info info;

    assert_int_equal(vst_host_get_info(&host, "g", &info, &err), -1);
    assert_int_equal(err.code, VST_ERR_NOT_FOUND);
    for (size_t i = 0; i < host.started->count; i++)
        while (vst_host_is_alive(&host.started->processes[i]))
            vst_host_run(&host, 10);
    assert_int_equal(vst_host_entries(&host, "root"), 1); /* the journal */
}

/* ---- tests ---- */

static void arrival_hears_whoever_brought_it_and_no_other(void **state)
{
    (void)state;
    assert_int_equal(say(&alice, VST_HANDOVER_PREPARE).event, VST_HANDOVER_STARTED);
    assert_refused_to(&eve);
    assert_refused_to(&nameless);
    assert_int_equal(say(&alice, VST_HANDOVER_ABORT).event, VST_HANDOVER_ABORTED);
    finish(&alice);
    expect_no_guest();
}

static void owner_is_known_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(say(&alice, VST_HANDOVER_PREPARE).event, VST_HANDOVER_STARTED);
    vst_host_disconnect(&host);
    vst_host_connect(&host);
    assert_int_equal(say(&eve, VST_HANDOVER_COMMIT).code, VST_ERR_ACCESS);
    assert_int_equal(say(&alice, VST_HANDOVER_COMMIT).event, VST_HANDOVER_ABORTED);
    assert_refused_to(&eve);
    finish(&alice);
    expect_no_guest();
}

static void token_that_was_never_prepared_is_whose_who_asked_first(void **state)
{
    (void)state;
    assert_int_equal(say(&alice, VST_HANDOVER_COMMIT).event, VST_HANDOVER_UNKNOWN);
    assert_refused_to(&eve);
    finish(&alice);
}

static void admin_may_end_what_others_began(void **state)
{
    (void)state;
    assert_int_equal(say(&alice, VST_HANDOVER_PREPARE).event, VST_HANDOVER_STARTED);
    assert_int_equal(order(&root, VST_MIGRATION_CANCEL), VST_ERR_OK);
    assert_int_equal(say(&alice, VST_HANDOVER_COMMIT).event, VST_HANDOVER_ABORTED);
    finish(&root);
    expect_no_guest();
}

static void who_could_not_be_known_again_begins_nothing(void **state)
{
    (void)state;
    assert_int_equal(say(&nameless, VST_HANDOVER_PREPARE).code, VST_ERR_ACCESS);
    assert_int_equal(say(&nameless, VST_HANDOVER_COMMIT).code, VST_ERR_ACCESS);
    expect_no_guest();
}

#define OWNER_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWNER_TEST(arrival_hears_whoever_brought_it_and_no_other),
        OWNER_TEST(owner_is_known_after_a_restart),
        OWNER_TEST(token_that_was_never_prepared_is_whose_who_asked_first),
        OWNER_TEST(admin_may_end_what_others_began),
        OWNER_TEST(who_could_not_be_known_again_begins_nothing),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

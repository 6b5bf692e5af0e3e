/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a destination is asked at a moment when it means nothing, and by whoever is gone before the
 * answer: an error is the worst that may come of it. With a QEMU, but no other host.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/image.h"
#include "core/migration.h"
#include "host.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"
#define SOURCE "00000000-0000-4000-8000-00000000000a"

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

/* ---- what is said ---- */

/* Of a guest whose machine is nothing at all. */
static char *make_offer(void)
{
    static char qemu[] = "qemu", none[] = "none", test[] = "test";
    struct vst_image_header header = {
        .driver = qemu, .running = true, .compression = none, .created_by = test};
    char *definition = vst_host_none("g"), *text;

    header.definition = vst_definition_parse(definition, strlen(definition), NULL);
    assert_non_null(header.definition);
    text = vst_image_header_to_json(&header, NULL);
    vst_definition_free(&header.definition);
    free(definition);
    return text;
}

struct answer {
    bool there;
    enum vst_code code;
    enum vst_handover_event event;
};

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    *(struct answer *)opaque = (struct answer){
        true, err ? err->code : VST_ERR_OK, err ? VST_HANDOVER_NONE : message->event};
}

/* The answer comes when the loop runs. */
static struct vst_op *ask(const char *token, enum vst_handover_event event, bool check,
                          struct answer *ret_answer)
{
    char *offer = event == VST_HANDOVER_PREPARE ? make_offer() : NULL;
    struct vst_migrate_message message = {.event = event, .check = check, .offer = offer};
    struct vst_answer_cb cb = {have_answer, ret_answer, NULL};
    struct vst_op *op;

    *ret_answer = (struct answer){0};
    snprintf(message.token, sizeof(message.token), "%s", token);
    snprintf(message.host, sizeof(message.host), SOURCE);
    op = vst_conn_migrate_message(host.conn, &message, &cb);
    free(offer);
    return op;
}

static void wait_for(const struct answer *answer)
{
    while (!answer->there)
        event_base_loop(host.base, EVLOOP_ONCE);
}

static struct answer say(enum vst_handover_event event, bool check)
{
    struct answer answer;

    ask(TOKEN, event, check, &answer);
    wait_for(&answer);
    return answer;
}

/* ---- tests ---- */

static void one_who_goes_before_the_journal_is_open_is_missed_by_nobody(void **state)
{
    struct answer gone, stays;

    (void)state;
    vst_op_cancel(ask(TOKEN, VST_HANDOVER_COMMIT, false, &gone));
    ask(TOKEN, VST_HANDOVER_FINISH, false, &stays);
    wait_for(&gone);
    wait_for(&stays);
    assert_int_equal(gone.code, VST_ERR_CANCELLED);
    assert_int_equal(stays.event, VST_HANDOVER_FINISHED);
    assert_int_equal(say(VST_HANDOVER_FINISH, false).event, VST_HANDOVER_FINISHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(one_who_goes_before_the_journal_is_open_is_missed_by_nobody, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a destination is asked at a moment when it means nothing, and by whoever is gone before the
 * answer: an error is the worst that may come of it. With a QEMU, but no other host.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/image.h"
#include "core/migration.h"
#include "host.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"
#define SOURCE "00000000-0000-4000-8000-00000000000a"

static struct vst_host host;
static char console_log[128]; /* that of the guest which is offered; empty: none */

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(60);
    vst_host_make(&host);
    console_log[0] = '\0';
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
    if (console_log[0]) {
        header.definition->console = calloc(1, sizeof(*header.definition->console));
        assert_non_null(header.definition->console);
        header.definition->console->log = strdup(console_log);
    }
    text = vst_image_header_to_json(&header, NULL);
    vst_definition_free(&header.definition);
    free(definition);
    return text;
}

struct answer {
    bool there;
    enum vst_code code;
    enum vst_handover_event event;
    char text[440];
};

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    struct answer *answer = opaque;

    *answer = (struct answer){.there = true,
                              .code = err ? err->code : VST_ERR_OK,
                              .event = err ? VST_HANDOVER_NONE : message->event};
    if (!err && message->text)
        snprintf(answer->text, sizeof(answer->text), "%s", message->text);
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

static void nothing_but_a_beginning_can_be_checked(void **state)
{
    static const enum vst_handover_event others[] = {VST_HANDOVER_COMMIT, VST_HANDOVER_ABORT,
                                                     VST_HANDOVER_FINISH, VST_HANDOVER_SWITCH};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_int_equal(say(others[i], true).code, VST_ERR_INVALID);
    assert_int_equal(say(VST_HANDOVER_PREPARE, true).event, VST_HANDOVER_STARTED);
}

/* It is looked for only: what does not come leaves no log. */
static void console_log_that_cannot_be_made_stands_in_the_way(void **state)
{
    struct answer answer;

    (void)state;
    snprintf(console_log, sizeof(console_log), "%s/no/g.log", host.dir);
    answer = say(VST_HANDOVER_PREPARE, true);
    assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
    if (!strstr(answer.text, "console.log: ") || !strstr(answer.text, "No such file"))
        fail_msg("%s", answer.text);
    snprintf(console_log, sizeof(console_log), "%s", host.dir);
    assert_int_equal(say(VST_HANDOVER_PREPARE, true).event, VST_HANDOVER_REFUSED);
    snprintf(console_log, sizeof(console_log), "%s/g.log", host.dir);
    assert_int_equal(say(VST_HANDOVER_PREPARE, true).event, VST_HANDOVER_STARTED);
    assert_int_equal(access(console_log, F_OK), -1);
}

/* A guest that was leaving when the journal was lost, and has died since. */
static void leave_a_dead_stray(char ret_job[160])
{
    char *definition = vst_host_none("g");
    FILE *to;

    assert_int_equal(vst_host_start(&host, definition, NULL), 0);
    free(definition);
    vst_host_disconnect(&host);
    snprintf(ret_job, 160, "%s/root/g/job", host.dir);
    to = fopen(ret_job, "we");
    assert_non_null(to);
    fprintf(to, "{\"job\":\"stray\",\"running\":true,\"token\":\"" TOKEN "\"}\n");
    fclose(to);
    kill(host.started->processes[host.started->count - 1].pid, SIGKILL);
    while (vst_host_is_alive(&host.started->processes[host.started->count - 1]))
        usleep(1000);
    vst_host_connect(&host);
}

/* It may be the only word that the guest runs elsewhere. */
static void name_of_a_stray_that_is_dead_is_taken(void **state)
{
    struct answer answer;
    char job[160];

    (void)state;
    leave_a_dead_stray(job);
    for (int check = 1; check >= 0; check--) {
        answer = say(VST_HANDOVER_PREPARE, check);
        assert_int_equal(answer.event, VST_HANDOVER_REFUSED);
        if (!strstr(answer.text, "may run there"))
            fail_msg("%s", answer.text);
        assert_int_equal(access(job, F_OK), 0);
    }
}

static void switch_of_a_token_that_is_not_known_is_answered(void **state)
{
    (void)state;
    assert_int_equal(say(VST_HANDOVER_SWITCH, false).code, VST_ERR_NOT_FOUND);
    assert_int_equal(say(VST_HANDOVER_PREPARE, true).event, VST_HANDOVER_STARTED);
}

static void whatever_is_asked_about_a_refused_token_is_answered(void **state)
{
    (void)state;
    snprintf(console_log, sizeof(console_log), "%s/no/g.log", host.dir);
    assert_int_equal(say(VST_HANDOVER_PREPARE, false).event, VST_HANDOVER_REFUSED);
    assert_int_equal(say(VST_HANDOVER_COMMIT, false).event, VST_HANDOVER_FINISHED);
    assert_int_equal(say(VST_HANDOVER_PREPARE, false).code, VST_ERR_STATE);
    assert_int_equal(say(VST_HANDOVER_SWITCH, false).code, VST_ERR_STATE);
    assert_int_equal(say(VST_HANDOVER_ABORT, false).event, VST_HANDOVER_FINISHED);
    assert_int_equal(say(VST_HANDOVER_FINISH, false).event, VST_HANDOVER_FINISHED);
}

/* What it brings is never looked at. */
static enum vst_code send_stream(void)
{
    struct vst_stream *stream = vst_stream_new(host.base, NULL);
    struct vst_error err = {0};

    assert_int_equal(vst_stream_finish(stream), 0);
    vst_op_wait(vst_conn_migrate_stream(host.conn, TOKEN, NULL, stream, NULL), &err);
    vst_stream_free(&stream);
    return err.code;
}

/* Whoever looks is not disturbed, and what follows the look begins as ever. */
static void what_is_asked_while_one_is_looked_at_is_busy(void **state)
{
    struct answer look, begins, looks, commit, abort;

    (void)state;
    assert_int_equal(say(VST_HANDOVER_FINISH, false).event, VST_HANDOVER_FINISHED); /* journal */
    ask(TOKEN, VST_HANDOVER_PREPARE, true, &look);
    ask(TOKEN, VST_HANDOVER_PREPARE, false, &begins);
    ask(TOKEN, VST_HANDOVER_PREPARE, true, &looks);
    ask(TOKEN, VST_HANDOVER_COMMIT, false, &commit);
    ask(TOKEN, VST_HANDOVER_ABORT, false, &abort);
    assert_int_equal(send_stream(), VST_ERR_STATE);
    wait_for(&look);
    wait_for(&begins);
    wait_for(&looks);
    wait_for(&commit);
    wait_for(&abort);
    assert_int_equal(look.event, VST_HANDOVER_STARTED);
    assert_int_equal(begins.code, VST_ERR_BUSY);
    assert_int_equal(looks.code, VST_ERR_BUSY);
    assert_int_equal(commit.code, VST_ERR_BUSY);
    assert_int_equal(abort.code, VST_ERR_BUSY);
    assert_int_equal(say(VST_HANDOVER_PREPARE, false).event, VST_HANDOVER_STARTED);
    assert_int_equal(say(VST_HANDOVER_PREPARE, true).code, VST_ERR_BUSY);
    assert_int_equal(say(VST_HANDOVER_ABORT, false).event, VST_HANDOVER_ABORTED);
}

/* ---- tokens that nobody knows ---- */

static void count_them(const struct vst_migration_info *infos, size_t count,
                       const struct vst_error *err, void *opaque)
{
    (void)infos;
    assert_null(err);
    *(size_t *)opaque = count;
}

static size_t count_migrations(void)
{
    size_t count = 0;
    struct vst_migrations_cb cb = {.fn = count_them, .opaque = &count};

    vst_op_wait(vst_conn_list_migrations(host.conn, &cb), NULL);
    return count;
}

enum { KEPT = 256, STRANGE = KEPT + 40 };

static enum vst_handover_event ask_about(unsigned number)
{
    struct answer answer;
    char token[37];

    snprintf(token, sizeof(token), "00000000-0000-4000-8000-%012u", number);
    ask(token, VST_HANDOVER_COMMIT, false, &answer);
    wait_for(&answer);
    return answer.event;
}

static void tokens_that_nobody_knows_are_not_kept_for_ever(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STRANGE; i++)
        assert_int_equal(ask_about(i), VST_HANDOVER_UNKNOWN);
    assert_in_range(count_migrations(), KEPT, KEPT + 2);
    assert_int_equal(ask_about(STRANGE - 1), VST_HANDOVER_ABORTED); /* it knows what it said */
    assert_int_equal(ask_about(0), VST_HANDOVER_UNKNOWN);           /* or says it anew */
}

/* ---- a journal that cannot be written ---- */

static enum vst_code forget(void)
{
    struct vst_error err = {0};

    vst_op_wait(vst_conn_order_migration(host.conn, TOKEN, VST_MIGRATION_FORGET, NULL, NULL), &err);
    return err.code;
}

/* The process may write no file, but read and make them. */
static void forbid_writing(struct rlimit *ret_before)
{
    struct rlimit none;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, ret_before), 0);
    none = (struct rlimit){0, ret_before->rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
}

static void token_is_not_told_as_forgotten_before_its_answer_is_on_the_disk(void **state)
{
    struct answer answer, refused;
    struct rlimit before;
    enum vst_code code;

    (void)state;
    say(VST_HANDOVER_FINISH, false); /* which opens the journal */
    forbid_writing(&before);
    refused = say(VST_HANDOVER_COMMIT, false);
    code = forget();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    ask(TOKEN, VST_HANDOVER_COMMIT, false, &answer); /* before it is tried again */
    assert_int_equal(refused.code, VST_ERR_SYSTEM);
    assert_int_equal(code, VST_ERR_STATE);
    wait_for(&answer);
    assert_int_equal(answer.event, VST_HANDOVER_UNKNOWN);
    assert_int_equal(forget(), VST_ERR_OK);
}

/* ---- streams ---- */

static bool spawning;

static void hear_edge(void *opaque, const char *machine, const char *to)
{
    (void)opaque;
    if (strcmp(machine, "destination") == 0 && strncmp(to, "DESTINATION_SPAWNING", 20) == 0)
        spawning = true;
}

static void stream_that_comes_before_qemu_is_refused(void **state)
{
    struct answer begins;

    (void)state;
    spawning = false;
    host.edge = hear_edge;
    ask(TOKEN, VST_HANDOVER_PREPARE, false, &begins);
    while (!spawning)
        event_base_loop(host.base, EVLOOP_ONCE);
    assert_int_equal(send_stream(), VST_ERR_STATE);
    wait_for(&begins);
    assert_int_equal(begins.event, VST_HANDOVER_STARTED);
    assert_int_equal(say(VST_HANDOVER_ABORT, false).event, VST_HANDOVER_ABORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(one_who_goes_before_the_journal_is_open_is_missed_by_nobody, begin, end),
        VST_TEST_WITH(nothing_but_a_beginning_can_be_checked, begin, end),
        VST_TEST_WITH(console_log_that_cannot_be_made_stands_in_the_way, begin, end),
        VST_TEST_WITH(name_of_a_stray_that_is_dead_is_taken, begin, end),
        VST_TEST_WITH(switch_of_a_token_that_is_not_known_is_answered, begin, end),
        VST_TEST_WITH(whatever_is_asked_about_a_refused_token_is_answered, begin, end),
        VST_TEST_WITH(what_is_asked_while_one_is_looked_at_is_busy, begin, end),
        VST_TEST_WITH(tokens_that_nobody_knows_are_not_kept_for_ever, begin, end),
        VST_TEST_WITH(token_is_not_told_as_forgotten_before_its_answer_is_on_the_disk, begin, end),
        VST_TEST_WITH(stream_that_comes_before_qemu_is_refused, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

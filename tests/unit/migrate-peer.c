/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What another host may do over a connection, on a host where migrations are made up: its messages,
 * the guests that it offers, and the streams that these come in.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "mover.h"
#include "served.h"

#define TOKEN "00000000-0000-4000-8000-000000000001"
#define HOST "00000000-0000-4000-8000-00000000000a"

static struct served served;
static struct mover mover;
static struct app app;

static int make(void **state)
{
    (void)state;
    served_start(&served, "test:///?domains=1&memory=64K", VST_ROLE_TRANSFER, NULL);
    mover_begin(&mover, served.conn, 5);
    served_join(&served, "", &app);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    served_leave(&app);
    mover_end(&mover);
    served_stop(&served);
    return 0;
}

/* ---- messages ---- */

static struct vst_migrate_message answer;

static void have_answer(const struct vst_migrate_message *message, const struct vst_error *err,
                        void *opaque)
{
    struct outcome *outcome = opaque;

    outcome->calls++;
    if (err)
        outcome->err = *err;
    else
        answer = *message;
    if (!err && message->text)
        assert_string_equal(message->text, "because");
}

static struct vst_error refusal; /* of the last, if it was */

static enum vst_code say(enum vst_handover_event event, const char *offer)
{
    struct vst_migrate_message message = {
        .token = TOKEN, .host = HOST, .event = event, .offer = offer};
    struct outcome outcome = {0};
    struct vst_answer_cb cb = {have_answer, &outcome, NULL};

    vst_conn_migrate_message(app.conn, &message, &cb);
    while (!outcome.calls)
        event_base_loop(served.base, EVLOOP_ONCE);
    refusal = outcome.err;
    return outcome.err.code;
}

#define OFFER(more)                                                         \
    "{\"definition\":{\"name\":\"g\",\"machine\":\"pc\",\"accel\":\"tcg\"," \
    "\"memory-mib\":1,\"vcpus\":1" more "}}"

static void messages_come_with_who_sent_them(void **state)
{
    char me[32];

    (void)state;
    snprintf(me, sizeof(me), "unix:%d", (int)getuid());
    assert_int_equal(say(VST_HANDOVER_PREPARE, OFFER("")), VST_ERR_OK);
    assert_int_equal(answer.event, VST_HANDOVER_STARTED);
    assert_string_equal(answer.token, TOKEN);
    assert_int_equal(strncmp(answer.host, "22222222-", 9), 0);
    assert_string_equal(mover.caller.name, me);
    assert_false(mover.caller.admin);
    assert_string_equal(mover.message.host, HOST);
    assert_int_equal(say(VST_HANDOVER_COMMIT, NULL), VST_ERR_OK);
    assert_int_equal(answer.event, VST_HANDOVER_COMMITTED);
    assert_int_equal(mover.message.event, VST_HANDOVER_COMMIT);
    assert_int_equal(say(VST_HANDOVER_ABORT, NULL), VST_ERR_OK);
    assert_int_equal(answer.event, VST_HANDOVER_UNKNOWN);
}

static void allow_path(const char *path)
{
    struct vst_policy policy = served_policy(VST_ROLE_TRANSFER, NULL);

    policy.allow_paths = calloc(2, sizeof(*policy.allow_paths));
    policy.allow_paths[0] = strdup(path);
    served_set_policy(&served, &policy);
}

static const char kernel[] = OFFER(",\"kernel\":\"/boot/vmlinuz\"");

static void offer_that_may_not_come_begins_nothing(void **state)
{
    (void)state;
    assert_int_equal(say(VST_HANDOVER_PREPARE, NULL), VST_ERR_INVALID);
    assert_int_equal(mover.messages, 0);
    assert_int_equal(say(VST_HANDOVER_PREPARE, OFFER(",\"args\":[\"-S\"]")), VST_ERR_ACCESS);
    assert_int_equal(mover.messages, 1);
    assert_true(mover.message.check);
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_OK);
    assert_false(mover.message.check);
    allow_path("/vm");
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_ACCESS);
    assert_true(mover.message.check);
    assert_non_null(strstr(refusal.text, "kernel /boot/vmlinuz: not in a directory"));
}

/* The driver has put the objections among its reasons; or could not look, and says why. */
static void refusal_by_the_rules_has_all_that_the_driver_finds(void **state)
{
    (void)state;
    allow_path("/vm");
    mover.refuses = "not from there\nthe name is taken";
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_ACCESS);
    assert_string_equal(refusal.text, mover.refuses);
    assert_string_equal(mover.barred, "/boot/vmlinuz");
    mover.refuses = NULL;
    mover.fails = "too busy to look";
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_ACCESS);
    assert_non_null(strstr(refusal.text, "kernel /boot/vmlinuz: not in a directory"));
    assert_non_null(strstr(refusal.text, "\ntoo busy to look"));
}

/* Not even whether its offer could come. */
static void host_that_no_guest_is_taken_from_learns_nothing(void **state)
{
    struct vst_policy policy = served_policy(VST_ROLE_TRANSFER, NULL);

    (void)state;
    policy.accept = vst_access_new(NULL);
    vst_access_add(policy.accept, VST_ROLE_TRANSFER, "x509:CN=elsewhere", NULL);
    served_set_policy(&served, &policy);
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_ACCESS);
    assert_non_null(strstr(refusal.text, "no guest is taken from unix:"));
    assert_null(strstr(refusal.text, "\n"));
    served_set_role(&served, VST_ROLE_OBSERVE);
    assert_int_equal(say(VST_HANDOVER_PREPARE, kernel), VST_ERR_ACCESS);
    assert_null(strstr(refusal.text, "\n"));
    assert_int_equal(mover.messages, 0);
}

static void who_may_bring_raw_arguments_may_refuse_them(void **state)
{
    char *offer = strdup(OFFER(",\"args\":[\"-S\"]"));
    struct vst_migrate_message message = {.token = TOKEN,
                                          .host = HOST,
                                          .event = VST_HANDOVER_PREPARE,
                                          .no_args = true,
                                          .offer = offer};
    struct outcome outcome = {0};
    struct vst_answer_cb cb = {have_answer, &outcome, NULL};

    (void)state;
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(say(VST_HANDOVER_PREPARE, offer), VST_ERR_OK);
    vst_conn_migrate_message(app.conn, &message, &cb);
    while (!outcome.calls)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_int_equal(outcome.err.code, VST_ERR_ACCESS);
    free(offer);
}

/* ---- streams ---- */

/* Runs a stream whose two ends are in memory, and returns the code of its outcome. */
static enum vst_code echo(const char *part, struct evbuffer *up, struct evbuffer *down)
{
    struct vst_stream *stream = app_stream(&app);
    struct end feed = {0}, drain = {0};
    const struct manner plain = {0};
    struct outcome outcome = {0};

    end_feed(&feed, app.base, stream, up, plain);
    end_drain(&drain, app.base, stream, down, plain);
    vst_conn_migrate_stream(app.conn, TOKEN, part, stream, outcome_done(&outcome));
    outcome_await(app.base, &outcome);
    vst_stream_free(&stream);
    return outcome.err.code;
}

static void stream_moves_both_ways(void **state)
{
    struct evbuffer *up = evbuffer_new(), *down = evbuffer_new();
    size_t length = 300000;
    char *bytes = malloc(length);

    (void)state;
    for (size_t i = 0; i < length; i++)
        bytes[i] = (char)(i * 7 >> 3);
    memset(bytes + 100000, 0, 100000); /* zeros are bytes like any other here */
    evbuffer_add(up, bytes, length);
    assert_int_equal(echo("disk root", up, down), VST_ERR_OK);
    assert_string_equal(mover.part, "disk root");
    assert_int_equal(evbuffer_get_length(down), length);
    assert_memory_equal(evbuffer_pullup(down, -1), bytes, length);
    assert_int_equal(echo(NULL, up, down), VST_ERR_OK);
    assert_string_equal(mover.part, "");
    free(bytes);
    evbuffer_free(up);
    evbuffer_free(down);
}

static void guests_come_from_those_that_are_named_alone(void **state)
{
    struct vst_policy policy = served_policy(VST_ROLE_ADMIN, NULL);
    struct evbuffer *up = evbuffer_new(), *down = evbuffer_new();

    (void)state;
    policy.accept = vst_access_new(NULL);
    vst_access_add(policy.accept, VST_ROLE_TRANSFER, "x509:*", NULL);
    served_set_policy(&served, &policy);
    assert_int_equal(say(VST_HANDOVER_PREPARE, OFFER("")), VST_ERR_ACCESS);
    assert_int_equal(say(VST_HANDOVER_COMMIT, NULL), VST_ERR_ACCESS);
    assert_int_equal(echo(NULL, up, down), VST_ERR_ACCESS);
    assert_int_equal(mover.messages, 0);
    policy = served_policy(VST_ROLE_ADMIN, NULL);
    policy.accept = vst_access_new(NULL);
    vst_access_add(policy.accept, VST_ROLE_TRANSFER, "unix:*", NULL);
    served_set_policy(&served, &policy);
    assert_int_equal(say(VST_HANDOVER_PREPARE, OFFER("")), VST_ERR_OK);
    evbuffer_free(up);
    evbuffer_free(down);
}

#define PEER_TEST(function) VST_TEST_WITH(function, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEER_TEST(messages_come_with_who_sent_them),
        PEER_TEST(offer_that_may_not_come_begins_nothing),
        PEER_TEST(refusal_by_the_rules_has_all_that_the_driver_finds),
        PEER_TEST(host_that_no_guest_is_taken_from_learns_nothing),
        PEER_TEST(who_may_bring_raw_arguments_may_refuse_them),
        PEER_TEST(stream_moves_both_ways),
        PEER_TEST(guests_come_from_those_that_are_named_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

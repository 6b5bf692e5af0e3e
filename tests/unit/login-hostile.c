/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logins with peers that mean harm, or stop in the middle, and processes that end then.
 */
#include "greet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"

static struct greet greet;
static struct greet_party *const client = &greet.party[GREET_CLIENT];
static struct greet_party *const server = &greet.party[GREET_SERVER];

enum { ROOM = 1 << 17 };

static int make(void **state)
{
    (void)state;
    greet_make(&greet, ROOM);
    greet_login(&greet, greet_database(), "alice", "opensesame");
    return 0;
}

static int drop(void **state)
{
    (void)state;
    greet_drop(&greet);
    return 0;
}

static const char client_hello[] =
    "{\"version\":1,\"software\":\"s\",\"driver\":\"test\",\"window\":65536}";

static void server_hears(enum vst_frame_type type, const char *body, enum vst_code code)
{
    char answer[VST_FRAME_GREETING_MAX];

    greet_send(&greet, GREET_CLIENT, type, body);
    assert_int_equal(greet_take(&greet, GREET_CLIENT, answer, sizeof(answer)), VST_FRAME_ERROR);
    assert_non_null(strstr(answer, vst_code_name(code)));
    vst_channel_free(&greet.ends[GREET_CLIENT]);
    greet_wait(&greet, GREET_SERVER);
    assert_int_equal(server->err.code, code);
}

static void greet_server(void)
{
    char body[VST_FRAME_GREETING_MAX];

    greet_begin(&greet, GREET_SERVER);
    greet_send(&greet, GREET_CLIENT, VST_FRAME_HELLO, client_hello);
    assert_int_equal(greet_take(&greet, GREET_CLIENT, body, sizeof(body)), VST_FRAME_HELLO);
    assert_non_null(strstr(body, "\"mechanisms\":\"SCRAM-SHA-256"));
}

static void broken_starts_are_refused(void **state)
{
    static const struct {
        const char *body;
        enum vst_code code;
    } starts[] = {
        {"{}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":1}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":\"\"}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":\"SCRAM-SHA-256 GSSAPI\"}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":\"SCRAM-SHA-256\",\"data\":\"!\"}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":\"SCRAM-SHA-256\",\"data\":[]}", VST_ERR_PROTOCOL},
        {"{\"mechanism\":\"PLAIN\"}", VST_ERR_AUTH},
        {"{\"mechanism\":\"SCRAM-SHA-256-PLUS\"}", VST_ERR_AUTH},
        {"{\"mechanism\":\"SCRAM-SHA-25\"}", VST_ERR_AUTH},
        {"{\"mechanism\":\"SCRAM-SHA-256\",\"data\":\"bixhPWEsLCwsLCws\"}", VST_ERR_AUTH},
        {"{\"mechanism\":\"SCRAM-SHA-256\",\"data\":\"AAAAAAAA\"}", VST_ERR_AUTH},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        make(NULL);
        greet_server();
        server_hears(VST_FRAME_AUTH_START, starts[i].body, starts[i].code);
        drop(NULL);
    }
}

/* "n,,n=alice,r=abc", to which the server answers. */
static void begin_scram(char *answer, size_t room)
{
    greet_server();
    greet_send(&greet, GREET_CLIENT, VST_FRAME_AUTH_START,
               "{\"mechanism\":\"SCRAM-SHA-256\",\"data\":\"biwsbj1hbGljZSxyPWFiYw==\"}");
    assert_int_equal(greet_take(&greet, GREET_CLIENT, answer, room), VST_FRAME_AUTH_STEP);
    assert_int_equal(strncmp(answer, "r=abc", 5), 0);
}

static void broken_steps_are_refused(void **state)
{
    static char large[VST_FRAME_GREETING_MAX];
    const char *const steps[] = {"", "c=biws", "nonsense", large};
    char answer[VST_FRAME_GREETING_MAX];

    (void)state;
    memset(large, 'x', sizeof(large) - 1);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        make(NULL);
        begin_scram(answer, sizeof(answer));
        server_hears(VST_FRAME_AUTH_STEP, steps[i], VST_ERR_AUTH);
        drop(NULL);
    }
}

static void frames_out_of_order_break_the_rules(void **state)
{
    char answer[VST_FRAME_GREETING_MAX];

    (void)state;
    greet_server();
    server_hears(VST_FRAME_HELLO, client_hello, VST_ERR_PROTOCOL);
    drop(NULL);
    make(NULL);
    greet_server();
    server_hears(VST_FRAME_AUTH_STEP, "x", VST_ERR_PROTOCOL);
    drop(NULL);
    make(NULL);
    begin_scram(answer, sizeof(answer));
    server_hears(VST_FRAME_AUTH_START, "{\"mechanism\":\"SCRAM-SHA-256\"}", VST_ERR_PROTOCOL);
}

static const char server_hello[] =
    "{\"version\":1,\"software\":\"s\",\"streams\":3,\"window\":65536,"
    "\"mechanisms\":\"SCRAM-SHA-256\"}";

static void start_client(void)
{
    char body[VST_FRAME_GREETING_MAX];

    greet_begin(&greet, GREET_CLIENT);
    greet_send(&greet, GREET_SERVER, VST_FRAME_HELLO, server_hello);
    assert_int_equal(greet_take(&greet, GREET_SERVER, body, sizeof(body)), VST_FRAME_HELLO);
    assert_int_equal(greet_take(&greet, GREET_SERVER, body, sizeof(body)), VST_FRAME_AUTH_START);
    assert_null(strstr(body, "opensesame"));
}

/* One that does not know the password, and lets everybody in. */
static void server_that_proves_nothing_is_refused(void **state)
{
    static const char *const welcomes[] = {
        "{\"user\":\"alice\"}",
        "{\"user\":\"alice\",\"data\":\"\"}",
        "{\"user\":\"alice\",\"data\":\"dj1ub25zZW5zZQ==\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(welcomes) / sizeof(welcomes[0]); i++) {
        make(NULL);
        start_client();
        greet_send(&greet, GREET_SERVER, VST_FRAME_AUTH_DONE, welcomes[i]);
        greet_wait(&greet, GREET_CLIENT);
        assert_int_equal(client->err.code, VST_ERR_AUTH);
        assert_int_equal(client->err.side, VST_SIDE_CLIENT);
        drop(NULL);
    }
}

static void server_with_broken_steps_is_refused(void **state)
{
    (void)state;
    start_client();
    greet_send(&greet, GREET_SERVER, VST_FRAME_AUTH_STEP, "r=abc,s=QSXCR+Q6sek8bf92,i=4096");
    greet_wait(&greet, GREET_CLIENT);
    assert_int_equal(client->err.code, VST_ERR_AUTH);
}

static void peer_that_stops_is_given_up_in_each_state(void **state)
{
    char answer[VST_FRAME_GREETING_MAX];

    (void)state;
    greet_server();
    assert_string_equal(vst_greeting_waits_for(server->greeting), "AUTH_START");
    drop(NULL);
    make(NULL);
    begin_scram(answer, sizeof(answer));
    assert_string_equal(vst_greeting_waits_for(server->greeting), "the next step of the login");
    drop(NULL);
    make(NULL);
    start_client();
    assert_string_equal(vst_greeting_waits_for(client->greeting), "the next step of the login");
}

static void start_step(void)
{
    make(NULL);
    greet_server();
    greet_send(&greet, GREET_CLIENT, VST_FRAME_AUTH_START,
               "{\"mechanism\":\"SCRAM-SHA-256\",\"data\":\"biwsbj1hbGljZSxyPWFiYw==\"}");
    while (strcmp(vst_greeting_waits_for(server->greeting), "a step of SASL") != 0)
        event_base_loop(greet.base, EVLOOP_ONCE);
}

static void login_is_given_up_while_a_step_runs(void **state)
{
    (void)state;
    start_step();
    drop(NULL);
    vst_test_threads_end();
}

static bool in_child;

/* Registered first, so called last: when libcrypto is no more, threads run on for a moment. */
static void stay(void)
{
    if (in_child)
        usleep(100 * 1000);
}

static void process_that_exits_during_a_step_does_not_crash(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    greet_database();
    for (int i = 0; i < 5; i++) {
        pid = vst_test_fork();
        if (pid == 0) {
            in_child = true;
            fclose(stdout);
            start_step();
            usleep(1000 * (unsigned)i);
            exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(broken_starts_are_refused),
        VST_TEST(broken_steps_are_refused),
        VST_TEST_WITH(frames_out_of_order_break_the_rules, make, drop),
        VST_TEST(server_that_proves_nothing_is_refused),
        VST_TEST_WITH(server_with_broken_steps_is_refused, make, drop),
        VST_TEST_WITH(peer_that_stops_is_given_up_in_each_state, make, drop),
        VST_TEST(login_is_given_up_while_a_step_runs),
        VST_TEST(process_that_exits_during_a_step_does_not_crash),
    };

    atexit(stay);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

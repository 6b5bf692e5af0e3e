/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server, over real sockets: who may call what, what a client that goes leaves behind, and its
 * end.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/channel.h"
#include "loop.h"
#include "remote/server-private.h"
#include "served.h"
#include "virstream/virstream.h"

#define WITH_ARGS                                                               \
    "{\"definition\":\"{\\\"name\\\":\\\"raw\\\",\\\"machine\\\":\\\"none\\\"," \
    "\\\"accel\\\":\\\"tcg\\\",\\\"memory-mib\\\":1,\\\"vcpus\\\":1,\\\"args\\\":[\\\"-S\\\"]}\"}"

static struct served served;
static struct caller caller;

static void begin(const char *uri, enum vst_role role, const struct vst_limits *limits)
{
    served_start(&served, uri, role, limits);
    assert_int_equal(caller_join(&caller, &served, "test"), 0);
}

static void end(void)
{
    caller_leave(&caller);
    served_stop(&served);
}

/* ---- access ---- */

/* What it is told of a domain that is not there, by a caller who gives up at once. */
static enum vst_code code_of(const struct vst_procedure_row *row)
{
    struct vst_mux_ends ends = {
        .receives = row->dirs & VST_DOWN,
        .sends = row->dirs & VST_UP,
    };
    uint32_t id;

    if (!row->dirs)
        return caller_call(&caller, row->name, "{\"name\":\"nobody\"}");
    id = caller_begin(&caller, row->name, "{\"name\":\"nobody\"}", &ends);
    vst_channel_free(&ends.ret_source);
    vst_channel_free(&ends.ret_sink);
    return caller_await(&caller, id)->err.code;
}

static void every_procedure_is_denied_to_every_lesser_role(void **state)
{
    (void)state;
    begin("test:///?domains=1&memory=64K", VST_ROLE_ADMIN, NULL);
    for (int role = VST_ROLE_NONE; role <= VST_ROLE_ADMIN; role++) {
        served_set_role(&served, (enum vst_role)role);
        for (int i = 0; i < VST_PROCEDURE_COUNT; i++) {
            const struct vst_procedure_row *row = &vst_procedures[i];
            enum vst_code code = code_of(row);

            if ((code == VST_ERR_ACCESS) != ((int)row->role > role))
                fail_msg("%s of %s: %s", row->name, vst_role_name((enum vst_role)role),
                         vst_code_name(code));
        }
    }
    end();
}

static void arguments_of_a_call_that_is_denied_are_not_looked_at(void **state)
{
    (void)state;
    begin("test:///", VST_ROLE_OBSERVE, NULL);
    assert_int_equal(caller_call(&caller, "start", "[]"), VST_ERR_ACCESS);
    served_set_role(&served, VST_ROLE_OPERATE);
    assert_int_equal(caller_call(&caller, "start", "[]"), VST_ERR_INVALID);
    end();
}

static void raw_arguments_are_for_admin_alone_inside_an_image_too(void **state)
{
    struct evbuffer *image = evbuffer_new();

    (void)state;
    begin("test:///", VST_ROLE_TRANSFER, NULL);
    assert_int_equal(caller_call(&caller, "start", WITH_ARGS), VST_ERR_ACCESS);
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(caller_call(&caller, "start", WITH_ARGS), VST_ERR_OK);
    assert_int_equal(caller_save(&caller, "raw", image), VST_ERR_OK);
    served_set_role(&served, VST_ROLE_TRANSFER);
    assert_int_equal(caller_restore(&caller, "{}", image), VST_ERR_ACCESS);
    assert_int_equal(served_domain_state(&served, "raw"), -1);
    served_set_role(&served, VST_ROLE_ADMIN);
    assert_int_equal(caller_restore(&caller, "{}", image), VST_ERR_OK);
    assert_int_equal(served_domain_state(&served, "raw"), VST_DOMAIN_RUNNING);
    evbuffer_free(image);
    end();
}

static void who_has_no_role_is_not_let_in(void **state)
{
    (void)state;
    served_start(&served, "test:///", VST_ROLE_NONE, NULL);
    assert_int_equal(caller_join(&caller, &served, "test"), -1);
    assert_int_equal(caller.err.code, VST_ERR_ACCESS);
    assert_non_null(strstr(caller.err.text, "[access]"));
    served_run(&served, 50);
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_ACCESS], 1);
    end();
}

static void driver_that_is_not_served_is_named(void **state)
{
    (void)state;
    served_start(&served, "test:///", VST_ROLE_ADMIN, NULL);
    assert_int_equal(caller_join(&caller, &served, "qemu"), -1);
    assert_int_equal(caller.err.code, VST_ERR_UNSUPPORTED);
    assert_non_null(strstr(caller.err.text, "`qemu`"));
    assert_non_null(strstr(caller.err.text, "`test`"));
    end();
}

/* ---- calls ---- */

static void saved_guest_goes_and_comes_back(void **state)
{
    struct evbuffer *image = evbuffer_new();

    (void)state;
    begin("test:///?domains=1&memory=4M", VST_ROLE_TRANSFER, NULL);
    assert_int_equal(caller_save(&caller, "test1", image), VST_ERR_OK);
    assert_int_equal(served_domain_state(&served, "test1"), -1);
    assert_int_equal(caller_restore(&caller, "{}", image), VST_ERR_OK);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    assert_true(served_stats(&served).received > 4 << 20);
    assert_true(served_stats(&served).sent > 4 << 20);
    assert_int_equal(served_stats(&served).last[0].procedure, VST_PROCEDURE_RESTORE);
    evbuffer_free(image);
    end();
}

static void saved_guest_stays_until_its_image_is_taken(void **state)
{
    struct vst_mux_ends ends = {.receives = true};
    struct evbuffer *image = evbuffer_new();
    uint32_t id;

    (void)state;
    begin("test:///?domains=1&memory=64K", VST_ROLE_TRANSFER, NULL);
    id = caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    assert_int_equal(vst_test_drain(ends.ret_source, image, 65536), VST_IO_EOF);
    served_run(&served, 50);
    assert_int_equal(caller.answers[id].type, 0);
    assert_true(caller.answers[id].started);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_PAUSED);
    vst_mux_taken(caller.mux, id);
    assert_int_equal(caller_await(&caller, id)->type, VST_FRAME_REPLY);
    assert_int_equal(served_domain_state(&served, "test1"), -1);
    vst_channel_free(&ends.ret_source);
    evbuffer_free(image);
    end();
}

static void before_the_first_byte_it_is_told_how_many_will_come(void **state)
{
    enum { SIZE = 300000 };
    const char *tmp = getenv("TMPDIR");
    struct vst_mux_ends ends = {.receives = true, .sparse = true};
    struct evbuffer *buffer = evbuffer_new();
    char pool[64], path[80], uri[96];
    enum vst_io io;
    uint32_t id;
    size_t n;

    (void)state;
    snprintf(pool, sizeof(pool), "%.40s/virstream-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(pool));
    snprintf(path, sizeof(path), "%s/one", pool);
    fclose(fopen(path, "we"));
    assert_int_equal(truncate(path, SIZE), 0);
    snprintf(uri, sizeof(uri), "test:///?pool.p=%s", pool);
    begin(uri, VST_ROLE_TRANSFER, NULL);
    id = caller_begin(&caller, "volume-download", "{\"name\":\"p/one\"}", &ends);
    vst_channel_want(ends.ret_source, VST_READ, true);
    while ((io = vst_channel_read(ends.ret_source, buffer, 1, &n)) == VST_IO_AGAIN)
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_int_equal(io, VST_IO_OK);
    assert_true(caller.answers[id].started);
    assert_int_equal(caller.answers[id].start.total, SIZE);
    assert_int_equal(vst_test_drain(ends.ret_source, buffer, 65536), VST_IO_EOF);
    vst_mux_taken(caller.mux, id);
    assert_int_equal(caller_await(&caller, id)->type, VST_FRAME_REPLY);
    vst_channel_free(&ends.ret_source);
    evbuffer_drain(buffer, evbuffer_get_length(buffer));
    id = caller_begin(&caller, "volume-download", "{\"name\":\"p/one\",\"length\":0}", &ends);
    assert_int_equal(vst_test_drain(ends.ret_source, buffer, 65536), VST_IO_EOF);
    assert_int_equal(evbuffer_get_length(buffer), 0);
    vst_mux_taken(caller.mux, id);
    assert_int_equal(caller_await(&caller, id)->type, VST_FRAME_REPLY);
    vst_channel_free(&ends.ret_source);
    evbuffer_free(buffer);
    end();
    unlink(path);
    rmdir(pool);
}

static void what_fails_at_once_was_not_started(void **state)
{
    struct vst_mux_ends ends = {.receives = true};
    uint32_t id;

    (void)state;
    begin("test:///", VST_ROLE_ADMIN, NULL);
    id = caller_begin(&caller, "save", "{\"name\":\"nobody\"}", &ends);
    assert_int_equal(caller_await(&caller, id)->err.code, VST_ERR_NOT_FOUND);
    assert_false(caller.answers[id].started);
    vst_channel_free(&ends.ret_source);
    end();
}

static void lost_client_takes_its_calls_along_and_they_count_as_lost(void **state)
{
    struct vst_mux_ends ends = {.receives = true}, more = {.receives = true, .sends = true};

    (void)state;
    begin("test:///?domains=2&memory=16M", VST_ROLE_ADMIN, NULL);
    caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    caller_begin(&caller, "console", "{\"name\":\"test2\"}", &more);
    caller_begin(&caller, "control", "{\"name\":\"test2\",\"what\":\"suspend\"}", NULL);
    served_run(&served, 50);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_PAUSED);
    assert_int_equal(served_stats(&served).calls, 2);
    vst_channel_free(&ends.ret_source);
    vst_channel_free(&more.ret_source);
    vst_channel_free(&more.ret_sink);
    caller_leave(&caller);
    served_run(&served, 50);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(served_stats(&served).clients, 0);
    assert_int_equal(served_stats(&served).ended[VST_PROCEDURE_SAVE][VST_ERR_LOST], 1);
    assert_int_equal(served_stats(&served).ended[VST_PROCEDURE_CONSOLE][VST_ERR_LOST], 1);
    served_stop(&served);
}

static void stop_cancels_a_call_that_moves_nothing(void **state)
{
    static const char why[] = "{\"code\":\"timeout\",\"text\":\"took too long\"}";
    uint32_t id;

    (void)state;
    begin("test:///?domains=1", VST_ROLE_ADMIN, NULL);
    assert_int_equal(caller_call(&caller, "control", "{\"name\":\"test1\",\"what\":\"suspend\"}"),
                     VST_ERR_OK);
    id = caller_begin(&caller, "control", "{\"name\":\"test1\",\"what\":\"shutdown\"}", NULL);
    served_run(&served, 30);
    assert_int_equal(caller.answers[id].type, 0);
    vst_mux_send(caller.mux, VST_FRAME_STOP, id, why, strlen(why));
    assert_int_equal(caller_await(&caller, id)->err.code, VST_ERR_TIMEOUT);
    end();
}

/* ---- calls whose domain has been found, while nobody has been told yet ---- */

#define SUSPEND "{\"name\":\"test1\",\"what\":\"suspend\"}"

static struct client *until_a_call_looks(void)
{
    struct client *client = TAILQ_FIRST(&served.server->clients);

    while (TAILQ_EMPTY(&client->calls))
        event_base_loop(served.base, EVLOOP_ONCE);
    assert_int_equal(TAILQ_FIRST(&client->calls)->state, CALL_LOOKING);
    return client;
}

static void stop_that_comes_with_its_call_cancels_it(void **state)
{
    static const char why[] = "{\"code\":\"timeout\",\"text\":\"took too long\"}";
    uint32_t id;

    (void)state;
    begin("test:///?domains=1", VST_ROLE_ADMIN, NULL);
    id = caller_begin(&caller, "control", SUSPEND, NULL);
    vst_mux_send(caller.mux, VST_FRAME_STOP, id, why, strlen(why));
    assert_int_equal(caller_await(&caller, id)->err.code, VST_ERR_TIMEOUT);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    end();
}

static void call_of_a_client_that_is_gone_does_not_begin(void **state)
{
    static const struct vst_error why = {.code = VST_ERR_LOST, .text = "a cable is out"};

    (void)state;
    begin("test:///?domains=1", VST_ROLE_ADMIN, NULL);
    caller_begin(&caller, "control", SUSPEND, NULL);
    vst_client_drop(until_a_call_looks(), &why);
    caller_await_end(&caller);
    served_run(&served, 20);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    assert_int_equal(served_stats(&served).ended[VST_PROCEDURE_CONTROL][VST_ERR_CANCELLED], 1);
    end();
}

static void call_does_not_begin_in_a_server_that_is_freed(void **state)
{
    (void)state;
    begin("test:///?domains=1", VST_ROLE_ADMIN, NULL);
    caller_begin(&caller, "info", "{\"name\":\"test1\"}", NULL);
    until_a_call_looks();
    vst_server_free(&served.server);
    caller_await_end(&caller);
    end();
}

static void role_counts_that_the_client_has_when_the_call_begins(void **state)
{
    uint32_t id;

    (void)state;
    begin("test:///?domains=1", VST_ROLE_OPERATE, NULL);
    id = caller_begin(&caller, "control", SUSPEND, NULL);
    until_a_call_looks();
    served_set_role(&served, VST_ROLE_OBSERVE);
    assert_int_equal(caller_await(&caller, id)->err.code, VST_ERR_ACCESS);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    end();
}

static void what_is_no_call_is_answered(void **state)
{
    char *deep = malloc(20001);
    uint32_t id;

    (void)state;
    begin("test:///", VST_ROLE_ADMIN, NULL);
    assert_int_equal(caller_call(&caller, "nothing", "{}"), VST_ERR_UNSUPPORTED);
    assert_int_equal(caller_call(&caller, "info", "{}"), VST_ERR_INVALID);
    assert_int_equal(caller_call(&caller, "info", "{\"name\":3}"), VST_ERR_INVALID);
    memset(deep, '[', 20000);
    deep[20000] = '\0';
    id = vst_mux_next_id(caller.mux);
    vst_mux_send(caller.mux, VST_FRAME_CALL, id, deep, 20000);
    assert_int_equal(caller_await(&caller, id)->err.code, VST_ERR_PROTOCOL);
    assert_int_equal(caller_call(&caller, "list", "{}"), VST_ERR_OK);
    free(deep);
    end();
}

/* ---- events ---- */

static void events_come_to_those_who_asked(void **state)
{
    struct caller deaf;

    (void)state;
    begin("test:///?domains=1", VST_ROLE_ADMIN, NULL);
    assert_int_equal(caller_join(&deaf, &served, "test"), 0);
    assert_int_equal(caller_call(&caller, "events", "{}"), VST_ERR_OK);
    for (int i = 0; i < 100; i++) {
        caller_call(&deaf, "control",
                    i % 2 ? "{\"name\":\"test1\",\"what\":\"resume\"}"
                          : "{\"name\":\"test1\",\"what\":\"suspend\"}");
    }
    served_run(&served, 50);
    assert_int_equal(caller.events, 100);
    assert_int_equal(deaf.events, 0);
    assert_int_equal(served_stats(&served).events_lost, 0);
    caller_leave(&deaf);
    end();
}

static void events_stop_for_one_who_has_no_role_any_more(void **state)
{
    static const struct vst_event event = {
        .kind = VST_EVENT_SUSPENDED,
        .name = "test1",
        .uuid = "00000000-0000-4000-8000-000000000001",
        .reason = "",
    };

    (void)state;
    begin("test:///?domains=1", VST_ROLE_OBSERVE, NULL);
    assert_int_equal(caller_call(&caller, "events", "{}"), VST_ERR_OK);
    served_set_role(&served, VST_ROLE_NONE);
    vst_backend_event(&served.server->backends[0], &event);
    served_run(&served, 20);
    assert_int_equal(caller.events, 0);
    served_set_role(&served, VST_ROLE_OBSERVE);
    vst_backend_event(&served.server->backends[0], &event);
    assert_int_equal(caller_call(&caller, "list", "{}"), VST_ERR_OK);
    assert_int_equal(caller.events, 1);
    end();
}

/* In a process of its own, which stands still once it has subscribed. */
static pid_t begin_deaf_subscriber(void)
{
    pid_t pid = vst_test_fork();
    struct caller deaf;
    struct served there = served;
    int status;

    if (pid) {
        while (waitpid(pid, &status, WNOHANG | WUNTRACED) == 0)
            served_run(&served, 10);
        assert_true(WIFSTOPPED(status));
        return pid;
    }
    there.base = event_base_new();
    if (caller_join(&deaf, &there, "test") < 0 || caller_call(&deaf, "events", "{}") != VST_ERR_OK)
        _exit(1);
    for (;;)
        raise(SIGSTOP);
}

static void events_for_one_who_does_not_read_take_bounded_memory(void **state)
{
    size_t before;
    pid_t pid;

    (void)state;
    served_start(&served, "test:///?domains=1", VST_ROLE_ADMIN, NULL);
    pid = begin_deaf_subscriber();
    before = mallinfo2().uordblks;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(caller_join(&caller, &served, "test"), 0);
        for (int j = 0; j < 100; j++)
            caller_call(&caller, "control",
                        j % 2 ? "{\"name\":\"test1\",\"what\":\"resume\"}"
                              : "{\"name\":\"test1\",\"what\":\"suspend\"}");
        caller_leave(&caller);
        served_run(&served, 20);
    }
    /* One is under way, 256 wait, and of 2000 the others are lost. */
    assert_int_equal(served_stats(&served).events_lost, 2000 - 1 - 256);
    assert_true(mallinfo2().uordblks < before + 128 * 1024);
    assert_int_equal(served_stats(&served).clients, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    served_run(&served, 50);
    assert_int_equal(served_stats(&served).clients, 0);
    served_stop(&served);
}

/* ---- the end, and new rules ---- */

static bool is_gone(int fd)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        ;
    return n == 0;
}

static void rules_change_under_a_stream_that_goes_on(void **state)
{
    struct vst_mux_ends ends = {.receives = true};
    struct evbuffer *image = evbuffer_new();
    uint32_t id;

    (void)state;
    begin("test:///?domains=1&memory=4M", VST_ROLE_TRANSFER, NULL);
    id = caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    served_run(&served, 20);
    served_set_role(&served, VST_ROLE_NONE);
    assert_int_equal(caller_call(&caller, "list", "{}"), VST_ERR_ACCESS);
    assert_int_equal(vst_test_drain(ends.ret_source, image, 65536), VST_IO_EOF);
    vst_mux_taken(caller.mux, id);
    assert_int_equal(caller_await(&caller, id)->type, VST_FRAME_REPLY);
    vst_channel_free(&ends.ret_source);
    evbuffer_free(image);
    end();
}

static void drain_waits_for_what_runs_and_takes_nothing_new(void **state)
{
    struct vst_mux_ends ends = {.receives = true};
    struct evbuffer *image = evbuffer_new();
    uint32_t id;
    int fd;

    (void)state;
    begin("test:///?domains=1&memory=4M", VST_ROLE_TRANSFER, NULL);
    fd = served_connect(&served);
    id = caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    served_run(&served, 20);
    served_drain(&served, 10);
    served_run(&served, 20);
    assert_true(is_gone(fd));
    assert_true(caller.goes_away);
    assert_false(served.drained);
    assert_int_equal(vst_test_drain(ends.ret_source, image, 65536), VST_IO_EOF);
    vst_mux_taken(caller.mux, id);
    assert_int_equal(caller_await(&caller, id)->type, VST_FRAME_REPLY);
    caller_await_end(&caller);
    served_run(&served, 20);
    assert_true(served.drained);
    vst_channel_free(&ends.ret_source);
    evbuffer_free(image);
    close(fd);
    end();
}

static void drain_has_a_deadline_and_guests_stay(void **state)
{
    struct vst_mux_ends ends = {.receives = true};

    (void)state;
    begin("test:///?domains=1&memory=16M", VST_ROLE_TRANSFER, NULL);
    caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    served_run(&served, 20);
    served_drain(&served, 1);
    served_run(&served, 700);
    assert_false(served.drained);
    served_run(&served, 500);
    assert_true(served.drained);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
    vst_channel_free(&ends.ret_source);
    end();
}

static void server_may_go_in_the_middle_of_everything(void **state)
{
    struct vst_mux_ends ends = {.receives = true};
    int fd;

    (void)state;
    begin("test:///?domains=1&memory=16M", VST_ROLE_TRANSFER, NULL);
    fd = served_connect(&served);
    caller_call(&caller, "events", "{}");
    caller_call(&caller, "control", "{\"name\":\"test1\",\"what\":\"suspend\"}");
    caller_call(&caller, "control", "{\"name\":\"test1\",\"what\":\"resume\"}");
    caller_begin(&caller, "save", "{\"name\":\"test1\"}", &ends);
    served_run(&served, 20);
    caller_begin(&caller, "info", "{\"name\":\"test1\"}", NULL);
    vst_server_free(&served.server);
    caller_await_end(&caller);
    vst_channel_free(&ends.ret_source);
    close(fd);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_procedure_is_denied_to_every_lesser_role),
        VST_TEST(arguments_of_a_call_that_is_denied_are_not_looked_at),
        VST_TEST(raw_arguments_are_for_admin_alone_inside_an_image_too),
        VST_TEST(who_has_no_role_is_not_let_in),
        VST_TEST(driver_that_is_not_served_is_named),
        VST_TEST(saved_guest_goes_and_comes_back),
        VST_TEST(saved_guest_stays_until_its_image_is_taken),
        VST_TEST(before_the_first_byte_it_is_told_how_many_will_come),
        VST_TEST(what_fails_at_once_was_not_started),
        VST_TEST(lost_client_takes_its_calls_along_and_they_count_as_lost),
        VST_TEST(stop_cancels_a_call_that_moves_nothing),
        VST_TEST(stop_that_comes_with_its_call_cancels_it),
        VST_TEST(call_of_a_client_that_is_gone_does_not_begin),
        VST_TEST(call_does_not_begin_in_a_server_that_is_freed),
        VST_TEST(role_counts_that_the_client_has_when_the_call_begins),
        VST_TEST(what_is_no_call_is_answered),
        VST_TEST(events_come_to_those_who_asked),
        VST_TEST(events_stop_for_one_who_has_no_role_any_more),
        VST_TEST(events_for_one_who_does_not_read_take_bounded_memory),
        VST_TEST(rules_change_under_a_stream_that_goes_on),
        VST_TEST(drain_waits_for_what_runs_and_takes_nothing_new),
        VST_TEST(drain_has_a_deadline_and_guests_stay),
        VST_TEST(server_may_go_in_the_middle_of_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

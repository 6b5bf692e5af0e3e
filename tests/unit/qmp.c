/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client's usual course, its bounds, its deadlines, and the descriptors it passes.
 */
#include "qmp-talk.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/trace.h"
#include "core/turn.h"
#include "drivers/qemu/qmp-codec.h"

/* ---- the usual course ---- */

static void greeting_and_capabilities_make_it_ready(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    assert_string_equal(talk.log, "");
    vst_talk_until(&talk, "ready(7.2.22)");
    assert_int_equal(vst_fake_qmp_count(talk.fake, "qmp_capabilities"), 1);
    assert_int_equal(vst_fake_qmp_count(talk.fake, NULL), 1);
    vst_talk_end(&talk);
}

/* Seen of QEMU when the client was there before the monitor. */
static void a_greeting_that_comes_twice_is_one(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, VST_FAKE_GREETING VST_FAKE_GREETING);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "stop={}");
    assert_string_equal(talk.log, "ready(7.2.22) stop={}");
    vst_talk_end(&talk);
}

static void commands_wait_for_the_negotiation(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_talk_ask(&talk, "stop");
    vst_talk_ask(&talk, "cont");
    vst_talk_until(&talk, "cont={}");
    assert_string_equal(talk.log, "ready(7.2.22) stop={} cont={}");
    vst_talk_end(&talk);
}

static void nothing_else_is_sent_before_the_negotiation_is_over(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities", "", VST_FAKE_STAY);
    vst_talk_ask(&talk, "stop");
    vst_talk_settle(&talk);
    assert_int_equal(vst_fake_qmp_count(talk.fake, NULL), 1);
    vst_fake_qmp_answer(talk.fake, "qmp_capabilities", VST_FAKE_RETURN("{}"));
    vst_talk_until(&talk, "ready(7.2.22) stop={}");
    vst_talk_end(&talk);
}

static void a_reply_brings_its_value(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "a", VST_FAKE_RETURN("{\"x\": [1, \"y\"]}"), VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "b", VST_FAKE_RETURN("null"), VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "c", VST_FAKE_RETURN("17"), VST_FAKE_STAY);
    vst_talk_ask(&talk, "a");
    vst_talk_ask(&talk, "b");
    vst_talk_ask(&talk, "c");
    vst_talk_until(&talk, "c=17");
    assert_string_equal(talk.log, "a={\"x\":[1,\"y\"]} b=null c=17");
    vst_talk_end(&talk);
}

static void a_refusal_is_an_error_in_the_words_of_qemu(void **state)
{
    struct vst_talk talk;
    struct vst_talk_ask *generic, *special;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "getfd", VST_FAKE_ERROR("GenericError", "No file descriptor"),
                    VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "foo", VST_FAKE_ERROR("CommandNotFound", "foo is not there"),
                    VST_FAKE_STAY);
    generic = vst_talk_ask(&talk, "getfd");
    special = vst_talk_ask(&talk, "foo");
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "stop={}");
    assert_string_equal(talk.log, "getfd=driver foo=driver stop={}");
    assert_int_equal(generic->err.side, VST_SIDE_QEMU);
    assert_string_equal(generic->err.text, "getfd: No file descriptor");
    assert_string_equal(special->err.text, "foo: foo is not there (CommandNotFound)");
    vst_talk_end(&talk);
}

static void events_come_in_order_with_the_replies(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "stop",
                    VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}")
                        VST_FAKE_EVENT("AFTER", "{}"),
                    VST_FAKE_STAY);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "AFTER");
    vst_fake_qmp_say(talk.fake, VST_FAKE_EVENT("LATER", "{}"));
    vst_talk_until(&talk, "LATER");
    assert_string_equal(talk.log, "STOP stop={} AFTER LATER");
    vst_talk_end(&talk);
}

static void an_event_may_come_before_ready(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities",
                    VST_FAKE_EVENT("SHUTDOWN", "{}") VST_FAKE_RETURN("{}"), VST_FAKE_STAY);
    vst_talk_until(&talk, "ready(7.2.22)");
    assert_string_equal(talk.log, "SHUTDOWN ready(7.2.22)");
    vst_talk_end(&talk);
}

static void one_byte_at_a_time_is_enough(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_fake_qmp_set_pace(talk.fake, 1);
    vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
                    VST_FAKE_STAY);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "stop={}");
    assert_string_equal(talk.log, "ready(7.2.22) STOP stop={}");
    vst_talk_end(&talk);
}

static void execute_takes_pairs(void **state)
{
    struct vst_talk talk;
    struct vst_error err = {0};
    struct vst_qmp_reply reply;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "x", VST_FAKE_RETURN("1"), VST_FAKE_STAY);
    reply = vst_talk_reply(&talk, "x");
    assert_int_equal(vst_qmp_execute(talk.qmp, "x", reply, &err, "s", json_object_new_string("v"),
                                     "i", json_object_new_int64(5), NULL),
                     0);
    vst_talk_until(&talk, "x=1");
    assert_int_equal(
        vst_qmp_execute(talk.qmp, "x", reply, &err, "s", NULL, "i", json_object_new_int64(5), NULL),
        -1);
    assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    vst_talk_settle(&talk);
    assert_int_equal(vst_fake_qmp_count(talk.fake, "x"), 1);
    vst_talk_end(&talk);
}

/* Without the numbers, which are never the same. */
static void collect(unsigned category, const char *line, void *opaque)
{
    struct vst_talk *talk = opaque;
    char text[128];
    size_t used = 0;

    assert_int_equal(category, VST_TRACE_QMP);
    for (; *line && used + 1 < sizeof(text); line++) {
        if (*line < '0' || *line > '9')
            text[used++] = *line;
    }
    text[used] = '\0';
    vst_talk_note(talk, "%s;", text);
}

static void every_line_is_traced_both_ways(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_trace_set(&(const struct vst_trace){VST_TRACE_QMP, collect, &talk});
    vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_RETURN("{}") "rubbish\r\n", VST_FAKE_STAY);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(protocol)");
    vst_trace_set(NULL);
    assert_string_equal(talk.log, "qmp  -> {\"execute\":\"stop\",\"id\":}; "
                                  "qmp  <- {\"return\": {}, \"id\": }; stop={} "
                                  "qmp  <- rubbish; closed(protocol)");
    vst_talk_end(&talk);
}

/* ---- bounds ---- */

static void a_line_of_64_mib_is_not_read_to_its_end(void **state)
{
    enum { FLOOD = 64 << 20 };
    struct vst_talk talk;
    size_t taken;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_flood(talk.fake, 'x', FLOOD);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(protocol)");
    assert_string_equal(talk.log, "stop=lost closed(protocol)");
    taken = FLOOD - vst_fake_qmp_unsent(talk.fake);
    assert_in_range(taken, VST_QMP_LINE_MAX, VST_QMP_LINE_MAX + (1 << 20)); /* socket's buffer */
    vst_talk_end(&talk);
}

/* A turn that comes in every pass of the loop. */
struct passes {
    struct vst_turn turn;
    struct vst_talk *talk;
    unsigned before; /* events by the last pass */
    unsigned most;   /* events in one pass */
};

static void count_events_of_a_pass(evutil_socket_t fd, short what, void *opaque)
{
    struct passes *passes = opaque;
    unsigned events = passes->talk->events - passes->before;

    (void)fd, (void)what;
    passes->before = passes->talk->events;
    if (events > passes->most)
        passes->most = events;
    vst_turn_schedule(&passes->turn);
}

static void a_flood_of_events_leaves_the_loop_its_turns(void **state)
{
    enum { EVENTS = 20000, LENGTH = sizeof(VST_FAKE_EVENT("UNLOGGED", "{}")) - 1 };
    struct vst_talk talk;
    struct passes passes = {.talk = &talk};

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_turn_init(&passes.turn, talk.base, count_events_of_a_pass, &passes);
    vst_turn_schedule(&passes.turn);
    for (int i = 0; i < EVENTS; i++)
        vst_fake_qmp_say(talk.fake, VST_FAKE_EVENT("UNLOGGED", "{}"));
    while (talk.events < EVENTS)
        event_base_loop(talk.base, EVLOOP_ONCE);
    assert_in_range(passes.most, 1, 65536 / LENGTH + 1);
    vst_turn_cancel(&passes.turn);
    vst_talk_end(&talk);
}

static void one_command_too_many_is_busy(void **state)
{
    struct vst_talk talk;
    struct vst_error err = {0};
    struct vst_qmp_reply reply = {0};

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "last", VST_FAKE_RETURN("\"last\""), VST_FAKE_STAY);
    for (int i = 1; i < VST_QMP_PENDING_MAX; i++)
        vst_talk_ask(&talk, "stop");
    vst_talk_ask(&talk, "last");
    assert_int_equal(vst_qmp_send(talk.qmp, "stop", NULL, NULL, 1, reply, &err), -1);
    assert_int_equal(err.code, VST_ERR_BUSY);
    vst_talk_until(&talk, "last=\"last\"");
    vst_talk_ask(&talk, "cont");
    vst_talk_until(&talk, "cont={}");
    vst_talk_end(&talk);
}

static void commands_wait_while_the_socket_is_full(void **state)
{
    enum { LARGE = 16 * 1024, COMMANDS = 30 };
    struct vst_talk talk;
    struct vst_error err = {0};
    char *text = calloc(1, LARGE);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', LARGE - 1);
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_set_deaf(talk.fake, true);
    for (int i = 0; i < COMMANDS; i++) {
        struct vst_qmp_reply reply = vst_talk_reply(&talk, "large");

        assert_int_equal(vst_qmp_execute(talk.qmp, "large", reply, &err, "x",
                                         json_object_new_string(text), NULL),
                         0);
    }
    vst_talk_ask(&talk, "stop");
    vst_talk_settle(&talk);
    assert_string_equal(talk.log, "");
    vst_fake_qmp_set_deaf(talk.fake, false);
    vst_talk_until(&talk, "stop={}");
    assert_int_equal(vst_fake_qmp_count(talk.fake, "large"), COMMANDS);
    free(text);
    vst_talk_end(&talk);
}

/* ---- deadlines ---- */

static void silence_is_a_timeout_and_the_late_reply_is_swallowed(void **state)
{
    struct vst_talk talk;
    struct vst_talk_ask *sender;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "stop", "", VST_FAKE_STAY);
    sender = vst_talk_ask_within(&talk, "stop", 0.05);
    vst_talk_until(&talk, "stop=timeout");
    assert_string_equal(sender->err.text, "QEMU did not answer `stop` within 0.05 s");
    assert_int_equal(sender->err.side, VST_SIDE_QEMU);
    vst_fake_qmp_answer(talk.fake, "stop", VST_FAKE_RETURN("{}"));
    vst_talk_settle(&talk);
    vst_talk_ask(&talk, "cont");
    vst_talk_until(&talk, "cont={}");
    assert_string_equal(talk.log, "stop=timeout cont={}");
    vst_talk_end(&talk);
}

static void the_shortest_deadline_comes_first(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, VST_FAKE_OTHERS, "", VST_FAKE_STAY);
    vst_talk_ask_within(&talk, "a", 0.09);
    vst_talk_ask_within(&talk, "b", 0.03);
    vst_talk_ask_within(&talk, "c", 0.06);
    vst_talk_until(&talk, "a=timeout");
    assert_string_equal(talk.log, "b=timeout c=timeout a=timeout");
    vst_talk_end(&talk);
}

static void a_command_that_did_not_leave_in_time_never_leaves(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, "");
    vst_talk_ask_within(&talk, "migrate", 0.05);
    vst_talk_until(&talk, "migrate=timeout");
    vst_fake_qmp_say(talk.fake, VST_FAKE_GREETING);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "stop={}");
    assert_int_equal(vst_fake_qmp_count(talk.fake, "migrate"), 0);
    vst_talk_end(&talk);
}

static void a_monitor_that_does_not_greet_is_given_up(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, "");
    vst_qmp_set_greeting_deadline(talk.qmp, 0.05);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(timeout)");
    assert_string_equal(talk.log, "stop=lost closed(timeout)");
    assert_string_equal(talk.closed.text, "QEMU's monitor is silent; it may serve another client");
    vst_talk_end(&talk);
}

/* ---- descriptors ---- */

/* What the fake saw of them. */
struct seen {
    char log[256];
    ino_t inode[2];
};

static void see_fds(void *opaque, struct vst_fake_qmp *fake, const char *command,
                    struct json_object *arguments)
{
    struct seen *seen = opaque;
    int fd = vst_fake_qmp_take_fd(fake);
    struct stat about = {0};
    const char *which = "-";

    (void)arguments;
    if (fd >= 0) {
        assert_int_equal(fstat(fd, &about), 0);
        close(fd);
        which = about.st_ino == seen->inode[0] ? "0" : about.st_ino == seen->inode[1] ? "1" : "?";
    }
    snprintf(seen->log + strlen(seen->log), sizeof(seen->log) - strlen(seen->log), "%s:%s ",
             command, which);
}

static void a_descriptor_goes_with_its_command_and_is_closed_here(void **state)
{
    struct vst_talk talk;
    struct seen seen = {0};
    struct vst_error err = {0};
    int pipes[2][2];

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_watch(talk.fake, see_fds, &seen);
    vst_talk_ask(&talk, "a");
    for (int i = 0; i < 2; i++) {
        struct vst_qmp_reply reply = vst_talk_reply(&talk, "getfd");
        struct stat about;

        assert_int_equal(pipe2(pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(fstat(pipes[i][1], &about), 0);
        seen.inode[i] = about.st_ino;
        assert_int_equal(
            vst_qmp_send(talk.qmp, "getfd", NULL, &pipes[i][1], VST_QMP_SECONDS, reply, &err), 0);
        assert_int_equal(pipes[i][1], -1);
        vst_talk_ask(&talk, "b");
    }
    vst_talk_until(&talk, "getfd={} b={}");
    vst_talk_until(&talk, "b={} getfd={} b={}");
    assert_string_equal(seen.log, "a:- getfd:0 b:- getfd:1 b:- ");
    for (int i = 0; i < 2; i++) {
        char byte;

        assert_int_equal(read(pipes[i][0], &byte, 1), 0); /* no copy is left anywhere */
        close(pipes[i][0]);
    }
    vst_talk_end(&talk);
}

static void a_descriptor_and_arguments_are_taken_on_failure_too(void **state)
{
    struct vst_talk talk;
    struct vst_error err = {0};
    struct vst_qmp_reply reply = {0};
    struct json_object *arguments;
    int fd;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_close(talk.fake);
    vst_talk_until(&talk, "closed(driver)");
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    arguments = json_object_new_object();
    assert_int_equal(vst_qmp_send(talk.qmp, "getfd", arguments, &fd, 1, reply, &err), -1);
    assert_int_equal(fd, -1);
    vst_talk_end(&talk);

    vst_talk_begin(&talk, "");
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(vst_qmp_send(talk.qmp, "getfd", NULL, &fd, 1, reply, &err), 0);
    vst_talk_end(&talk); /* it never left, and is closed with the rest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(greeting_and_capabilities_make_it_ready),
        VST_TEST(a_greeting_that_comes_twice_is_one),
        VST_TEST(commands_wait_for_the_negotiation),
        VST_TEST(nothing_else_is_sent_before_the_negotiation_is_over),
        VST_TEST(a_reply_brings_its_value),
        VST_TEST(a_refusal_is_an_error_in_the_words_of_qemu),
        VST_TEST(events_come_in_order_with_the_replies),
        VST_TEST(an_event_may_come_before_ready),
        VST_TEST(one_byte_at_a_time_is_enough),
        VST_TEST(execute_takes_pairs),
        VST_TEST(every_line_is_traced_both_ways),
        VST_TEST(a_line_of_64_mib_is_not_read_to_its_end),
        VST_TEST(a_flood_of_events_leaves_the_loop_its_turns),
        VST_TEST(one_command_too_many_is_busy),
        VST_TEST(commands_wait_while_the_socket_is_full),
        VST_TEST(silence_is_a_timeout_and_the_late_reply_is_swallowed),
        VST_TEST(the_shortest_deadline_comes_first),
        VST_TEST(a_command_that_did_not_leave_in_time_never_leaves),
        VST_TEST(a_monitor_that_does_not_greet_is_given_up),
        VST_TEST(a_descriptor_goes_with_its_command_and_is_closed_here),
        VST_TEST(a_descriptor_and_arguments_are_taken_on_failure_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

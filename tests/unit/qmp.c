/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client against a fake server in the same loop. What the client tells is written down in
 * order, as in "ready(7.2.22) STOP stop={} closed(driver)", and tests compare that.
 */
#include "test.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "drivers/qemu/qmp.h"
#include "fake-qmp.h"

enum { ASKS_MAX = VST_QMP_PENDING_MAX + 8 };

struct talk;

/* One command, as its sender sees it. */
struct ask {
    struct talk *talk;
    const char *name;
    struct vst_error err;
};

struct talk {
    struct event_base *base;
    struct vst_fake_qmp *fake;
    struct vst_qmp *qmp;
    char log[8192];
    struct ask asks[ASKS_MAX];
    unsigned asked;
    struct vst_error closed;
    unsigned events;
    /* Called at the end of the callback whose entry in the log this is. */
    const char *when;
    void (*then)(struct talk *talk);
};

__attribute__((format(printf, 2, 3))) static void note(struct talk *talk, const char *format, ...)
{
    size_t used = strlen(talk->log);
    const char *entry = talk->log + used + (used > 0);
    va_list args;

    if (used > 0)
        talk->log[used++] = ' ';
    va_start(args, format);
    vsnprintf(talk->log + used, sizeof(talk->log) - used, format, args);
    va_end(args);
    if (talk->when && !strcmp(entry, talk->when)) {
        talk->when = NULL;
        talk->then(talk);
    }
}

static void on_ready(void *opaque, const char *version)
{
    note(opaque, "ready(%s)", version);
}

static void on_event(void *opaque, const char *name, struct json_object *data, double seconds)
{
    struct talk *talk = opaque;

    (void)data;
    assert_true(seconds == 1700000000.25);
    talk->events++;
    if (strcmp(name, "UNLOGGED"))
        note(talk, "%s", name);
}

static void on_closed(void *opaque, const struct vst_error *err)
{
    struct talk *talk = opaque;

    assert_int_equal(talk->closed.code, VST_ERR_OK);
    assert_int_equal(err->side, VST_SIDE_QEMU);
    talk->closed = *err;
    note(talk, "closed(%s)", vst_code_name(err->code));
}

static const struct vst_qmp_cb callbacks = {on_ready, on_event, on_closed};

static void on_reply(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct ask *ask = opaque;

    assert_true(!err || !value);
    if (err)
        ask->err = *err;
    if (err)
        note(ask->talk, "%s=%s", ask->name, vst_code_name(err->code));
    else
        note(ask->talk, "%s=%s", ask->name,
             json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
}

static struct ask *new_ask(struct talk *talk, const char *name)
{
    struct ask *ask = &talk->asks[talk->asked++];

    assert_true(talk->asked < ASKS_MAX);
    *ask = (struct ask){.talk = talk, .name = name};
    return ask;
}

/* Sends within so many seconds; the sender, for its error. */
static struct ask *ask_within(struct talk *talk, const char *command, double seconds)
{
    struct ask *ask = new_ask(talk, command);
    struct vst_qmp_reply reply = {on_reply, ask};

    assert_int_equal(vst_qmp_send(talk->qmp, command, NULL, NULL, seconds, reply, &ask->err), 0);
    return ask;
}

static struct ask *ask(struct talk *talk, const char *command)
{
    return ask_within(talk, command, VST_QMP_SECONDS);
}

/* Runs the loop until the log ends like this. */
static void until(struct talk *talk, const char *end)
{
    for (;;) {
        size_t length = strlen(talk->log);

        if (length >= strlen(end) && !strcmp(talk->log + length - strlen(end), end))
            return;
        event_base_loop(talk->base, EVLOOP_ONCE);
    }
}

/* Whatever is still to come comes here. */
static void settle(struct talk *talk)
{
    for (int pass = 0; pass < 100; pass++)
        event_base_loop(talk->base, EVLOOP_NONBLOCK);
}

static void begin(struct talk *talk, const char *greeting)
{
    struct vst_error err = {0};
    int fd;

    *talk = (struct talk){.base = event_base_new()};
    assert_non_null(talk->base);
    talk->fake = vst_fake_qmp_new(talk->base, greeting, &fd);
    talk->qmp = vst_qmp_new(talk->base, &fd, &callbacks, talk, &err);
    assert_non_null(talk->qmp);
    assert_int_equal(fd, -1);
}

static void begin_ready(struct talk *talk)
{
    begin(talk, NULL);
    until(talk, "ready(7.2.22)");
    talk->log[0] = '\0';
}

/* Nothing comes any more, and the socket is closed. */
static void end(struct talk *talk)
{
    char log[sizeof(talk->log)];

    settle(talk);
    strcpy(log, talk->log);
    vst_qmp_free(&talk->qmp);
    assert_null(talk->qmp);
    settle(talk);
    assert_string_equal(talk->log, log);
    vst_fake_qmp_free(&talk->fake);
    event_base_free(talk->base);
}

/* ---- the usual course ---- */

static void greeting_and_capabilities_make_it_ready(void **state)
{
    struct talk talk;

    (void)state;
    begin(&talk, NULL);
    assert_string_equal(talk.log, "");
    until(&talk, "ready(7.2.22)");
    assert_int_equal(vst_fake_qmp_count(talk.fake, "qmp_capabilities"), 1);
    assert_int_equal(vst_fake_qmp_count(talk.fake, NULL), 1);
    end(&talk);
}

static void commands_wait_for_the_negotiation(void **state)
{
    struct talk talk;

    (void)state;
    begin(&talk, NULL);
    ask(&talk, "stop");
    ask(&talk, "cont");
    until(&talk, "cont={}");
    assert_string_equal(talk.log, "ready(7.2.22) stop={} cont={}");
    end(&talk);
}

static void a_reply_brings_its_value(void **state)
{
    struct talk talk;

    (void)state;
    begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "a", VST_FAKE_RETURN("{\"x\": [1, \"y\"]}"), VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "b", VST_FAKE_RETURN("null"), VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "c", VST_FAKE_RETURN("17"), VST_FAKE_STAY);
    ask(&talk, "a");
    ask(&talk, "b");
    ask(&talk, "c");
    until(&talk, "c=17");
    assert_string_equal(talk.log, "a={\"x\":[1,\"y\"]} b=null c=17");
    end(&talk);
}

static void a_refusal_is_an_error_in_the_words_of_qemu(void **state)
{
    struct talk talk;
    struct ask *generic, *special;

    (void)state;
    begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "getfd", VST_FAKE_ERROR("GenericError", "No file descriptor"),
                    VST_FAKE_STAY);
    vst_fake_qmp_on(talk.fake, "foo", VST_FAKE_ERROR("CommandNotFound", "foo is not there"),
                    VST_FAKE_STAY);
    generic = ask(&talk, "getfd");
    special = ask(&talk, "foo");
    ask(&talk, "stop");
    until(&talk, "stop={}");
    assert_string_equal(talk.log, "getfd=driver foo=driver stop={}");
    assert_int_equal(generic->err.side, VST_SIDE_QEMU);
    assert_string_equal(generic->err.text, "getfd: No file descriptor");
    assert_string_equal(special->err.text, "foo: foo is not there (CommandNotFound)");
    end(&talk);
}

static void events_come_in_order_with_the_replies(void **state)
{
    struct talk talk;

    (void)state;
    begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "stop",
                    VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}")
                        VST_FAKE_EVENT("AFTER", "{}"),
                    VST_FAKE_STAY);
    ask(&talk, "stop");
    until(&talk, "AFTER");
    vst_fake_qmp_say(talk.fake, VST_FAKE_EVENT("LATER", "{}"));
    until(&talk, "LATER");
    assert_string_equal(talk.log, "STOP stop={} AFTER LATER");
    end(&talk);
}

static void an_event_may_come_before_ready(void **state)
{
    struct talk talk;

    (void)state;
    begin(&talk, NULL);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities",
                    VST_FAKE_EVENT("SHUTDOWN", "{}") VST_FAKE_RETURN("{}"), VST_FAKE_STAY);
    until(&talk, "ready(7.2.22)");
    assert_string_equal(talk.log, "SHUTDOWN ready(7.2.22)");
    end(&talk);
}

static void one_byte_at_a_time_is_enough(void **state)
{
    struct talk talk;

    (void)state;
    begin(&talk, NULL);
    vst_fake_qmp_set_pace(talk.fake, 1);
    vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
                    VST_FAKE_STAY);
    ask(&talk, "stop");
    until(&talk, "stop={}");
    assert_string_equal(talk.log, "ready(7.2.22) STOP stop={}");
    end(&talk);
}

static void execute_takes_pairs(void **state)
{
    struct talk talk;
    struct vst_error err = {0};
    struct vst_qmp_reply reply;

    (void)state;
    begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "x", VST_FAKE_RETURN("1"), VST_FAKE_STAY);
    reply = (struct vst_qmp_reply){on_reply, new_ask(&talk, "x")};
    assert_int_equal(vst_qmp_execute(talk.qmp, "x", reply, &err, "s", json_object_new_string("v"),
                                     "i", json_object_new_int64(5), NULL),
                     0);
    until(&talk, "x=1");
    assert_int_equal(
        vst_qmp_execute(talk.qmp, "x", reply, &err, "s", NULL, "i", json_object_new_int64(5), NULL),
        -1);
    assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    settle(&talk);
    assert_int_equal(vst_fake_qmp_count(talk.fake, "x"), 1);
    end(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(greeting_and_capabilities_make_it_ready),
        VST_TEST(commands_wait_for_the_negotiation),
        VST_TEST(a_reply_brings_its_value),
        VST_TEST(a_refusal_is_an_error_in_the_words_of_qemu),
        VST_TEST(events_come_in_order_with_the_replies),
        VST_TEST(an_event_may_come_before_ready),
        VST_TEST(one_byte_at_a_time_is_enough),
        VST_TEST(execute_takes_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the QMP client ends: QEMU goes, QEMU breaks the rules, the owner goes, in every callback.
 */
#include "qmp-talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the end ---- */

static void the_end_completes_what_is_pending_and_is_told_once(void **state)
{
    struct vst_talk talk;
    struct vst_talk_ask *first;
    struct vst_error err = {0};
    struct vst_qmp_reply reply = {0};

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_EVENT("SHUTDOWN", "{}"), VST_FAKE_CLOSE);
    first = vst_talk_ask(&talk, "stop");
    vst_talk_ask(&talk, "cont");
    vst_talk_until(&talk, "closed(driver)");
    assert_string_equal(talk.log, "SHUTDOWN stop=lost cont=lost closed(driver)");
    assert_string_equal(talk.closed.text, "QEMU closed its monitor");
    assert_string_equal(first->err.text, "`stop` was not answered: QEMU closed its monitor");
    assert_int_equal(vst_qmp_send(talk.qmp, "cont", NULL, NULL, 1, reply, &err), -1);
    assert_int_equal(err.code, VST_ERR_LOST);
    assert_string_equal(err.text, "`cont` cannot be sent: QEMU closed its monitor");
    vst_talk_end(&talk);
}

static void a_reset_ends_as_a_close_does(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_RETURN("{}") VST_FAKE_EVENT("LAST", "{}"),
                    VST_FAKE_RESET);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(driver)");
    assert_string_equal(talk.log, "stop={} LAST closed(driver)");
    assert_int_equal(talk.closed.system, ECONNRESET);
    vst_talk_end(&talk);
}

static void the_last_words_of_a_qemu_that_takes_no_more_are_heard(void **state)
{
    enum { EVENTS = 900 };
    static const char event[] = VST_FAKE_EVENT("UNLOGGED", "{}");
    char *many = calloc(EVENTS, sizeof(event));
    struct vst_talk talk;

    (void)state;
    assert_non_null(many);
    for (int i = 0; i < EVENTS; i++)
        memcpy(many + (size_t)i * (sizeof(event) - 1), event, sizeof(event));
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_refuse(talk.fake);
    vst_talk_ask(&talk, "stop");
    vst_talk_settle(&talk);
    assert_string_equal(talk.log, "stop=lost closed(driver)");
    assert_int_equal(talk.closed.system, EPIPE);
    vst_talk_end(&talk);

    vst_talk_begin_ready(&talk);
    vst_fake_qmp_refuse(talk.fake);
    vst_fake_qmp_say(talk.fake, many); /* more than one turn reads */
    vst_fake_qmp_say(talk.fake, VST_FAKE_EVENT("LAST", "{}"));
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(driver)");
    assert_string_equal(talk.log, "LAST stop=lost closed(driver)");
    assert_int_equal(talk.events, EVENTS + 1);
    free(many);
    vst_talk_end(&talk);
}

static char brackets[20001], deep_json[20100]; /* 10 000 levels */

/* What one command gets for an answer, and how the conversation ends then. */
static const struct {
    const char *says;
    enum vst_fake_end end;
    const char *log;
    const char *text;
} breaches[] = {
    {"garbage\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)", "garbage"},
    {"\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)", "too early"},
    {"{\"return\": \"\xff\", \"id\": $ID}\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)",
     "utf-8"},
    {deep_json, VST_FAKE_STAY, "stop=lost closed(protocol)", "nesting"},
    {VST_FAKE_GREETING, VST_FAKE_STAY, "stop=lost closed(protocol)", "a second greeting"},
    {"{\"return\": {}}\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)", "without an id"},
    {"{\"return\": {}, \"id\": 1}\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)",
     "id 1, but due"},
    {"{\"return\": {}, \"id\": $NEXT}\r\n", VST_FAKE_STAY, "stop=lost closed(protocol)",
     "but due is that to `stop`"},
    {"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n",
     VST_FAKE_STAY, "stop=lost closed(protocol)", "not understood: JSON parse error"},
    {VST_FAKE_RETURN("{}") VST_FAKE_RETURN("{}"), VST_FAKE_STAY, "stop={} closed(protocol)",
     "none is due"},
    {VST_FAKE_RETURN("{}") VST_FAKE_ERROR("GenericError", "twice"), VST_FAKE_STAY,
     "stop={} closed(protocol)", "none is due"},
    {"", VST_FAKE_CLOSE, "stop=lost closed(driver)", "QEMU closed its monitor"},
    {"{\"retu", VST_FAKE_CLOSE, "stop=lost closed(driver)", "in the middle of a line"},
    {"{\"retu", VST_FAKE_RESET, "stop=lost closed(driver)", "in the middle of a line"},
    {"", VST_FAKE_RESET, "stop=lost closed(driver)", "QEMU closed its monitor"},
};

static void a_breach_of_the_rules_ends_the_conversation(void **state)
{
    (void)state;
    memset(brackets, '[', 10000);
    memset(brackets + 10000, ']', 10000);
    snprintf(deep_json, sizeof(deep_json), "{\"return\": %s, \"id\": $ID}\r\n", brackets);
    for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
        struct vst_talk talk;

        vst_talk_begin_ready(&talk);
        vst_fake_qmp_on(talk.fake, "stop", breaches[i].says, breaches[i].end);
        vst_talk_ask(&talk, "stop");
        vst_talk_settle(&talk);
        assert_string_equal(talk.log, breaches[i].log);
        if (!strstr(talk.closed.text, breaches[i].text))
            fail_msg("%s: not in: %s", breaches[i].text, talk.closed.text);
        assert_true(breaches[i].end == VST_FAKE_RESET || vst_fake_qmp_left(talk.fake) ||
                    talk.closed.code == VST_ERR_DRIVER);
        vst_talk_end(&talk);
    }
}

static void a_cut_at_every_byte_is_an_end(void **state)
{
    static const char whole[] = "ready(7.2.22) STOP stop={} cont=driver LAST";

    (void)state;
    for (size_t cut = 0;; cut++) {
        struct vst_talk talk;
        bool all;
        char *closed;

        vst_talk_begin(&talk, "");
        vst_fake_qmp_on(talk.fake, "stop", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
                        VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "cont",
                        VST_FAKE_ERROR("GenericError", "no") VST_FAKE_EVENT("LAST", "{}"),
                        VST_FAKE_STAY);
        vst_talk_ask(&talk, "stop");
        vst_talk_ask(&talk, "cont");
        vst_fake_qmp_cut(talk.fake, cut);
        vst_fake_qmp_say(talk.fake, VST_FAKE_GREETING);
        vst_talk_settle(&talk);
        all = !strcmp(talk.log, whole);
        if (!all) {
            closed = strstr(talk.log, "closed(driver)");
            assert_non_null(closed);
            assert_string_equal(closed, "closed(driver)");
            assert_int_equal(talk.closed.code, VST_ERR_DRIVER);
            assert_true(talk.asks[0].err.code == VST_ERR_LOST || strstr(talk.log, "stop={}"));
            assert_non_null(strstr(talk.log, "stop="));
            assert_non_null(strstr(talk.log, "cont="));
        }
        vst_talk_end(&talk);
        if (all)
            return;
    }
}

static void replies_out_of_order_are_a_breach(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_on(talk.fake, "a", "", VST_FAKE_STAY);
    vst_talk_ask(&talk, "a");
    vst_talk_ask(&talk, "b");
    vst_talk_until(&talk, "closed(protocol)");
    assert_string_equal(talk.log, "a=lost b=lost closed(protocol)");
    assert_non_null(strstr(talk.closed.text, "but due is that to `a`"));
    vst_talk_end(&talk);
}

static void a_reply_to_nothing_is_a_breach(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin_ready(&talk);
    vst_fake_qmp_say(talk.fake, "{\"return\": {}, \"id\": 2}\r\n");
    vst_talk_until(&talk, "closed(protocol)");
    vst_talk_end(&talk);
}

static void a_reply_that_comes_before_its_command_has_left_is_a_breach(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities",
                    VST_FAKE_RETURN("{}") "{\"return\": {}, \"id\": $NEXT}\r\n", VST_FAKE_STAY);
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "closed(protocol)");
    assert_string_equal(talk.log, "ready(7.2.22) stop=lost closed(protocol)");
    assert_non_null(strstr(talk.closed.text, "but none is due"));
    vst_talk_end(&talk);
}

static void what_is_no_greeting_ends_it(void **state)
{
    static const char *const greetings[] = {
        "SSH-2.0-OpenSSH\r\n",
        "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n",
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": []}}\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
        struct vst_talk talk;

        vst_talk_begin(&talk, greetings[i]);
        vst_talk_ask(&talk, "stop");
        vst_talk_settle(&talk);
        assert_string_equal(talk.log, "stop=lost closed(protocol)");
        vst_talk_end(&talk);
    }
}

/* QEMU gives a new client what it had for one that died, whose ids may have been any. */
static void what_was_meant_for_another_is_dropped(void **state)
{
    static const char before[] = VST_FAKE_EVENT("STOP", "{}") "{\"return\": {}, \"id\": 7}\r\n";
    static const char after[] = "{\"return\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n";
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, "");
    vst_fake_qmp_say(talk.fake, before);
    vst_fake_qmp_say(talk.fake, VST_FAKE_GREETING);
    vst_fake_qmp_say(talk.fake, after);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities", "", VST_FAKE_STAY);
    vst_talk_settle(&talk);
    vst_fake_qmp_say(talk.fake, after);
    vst_talk_settle(&talk);
    assert_string_equal(talk.log, "");
    vst_fake_qmp_answer(talk.fake, "qmp_capabilities", VST_FAKE_RETURN("{}"));
    vst_talk_ask(&talk, "stop");
    vst_talk_until(&talk, "stop={}");
    assert_string_equal(talk.log, "ready(7.2.22) stop={}");
    vst_talk_end(&talk);
}

static void a_refused_negotiation_ends_it(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_fake_qmp_on(talk.fake, "qmp_capabilities", VST_FAKE_ERROR("GenericError", "no"),
                    VST_FAKE_STAY);
    vst_talk_until(&talk, "closed(driver)");
    assert_string_equal(talk.log, "closed(driver)");
    assert_string_equal(talk.closed.text, "qmp_capabilities: no");
    vst_talk_end(&talk);
}

/* ---- re-entrancy and ownership ---- */

static void free_it(struct vst_talk *talk)
{
    vst_qmp_free(&talk->qmp);
    vst_talk_note(talk, "freed");
}

static void every_callback_may_free(void **state)
{
    static const char *const moments[] = {"ready(7.2.22)", "STOP",   "a={}",   "b=timeout",
                                          "c=driver",      "d=lost", "e=lost", "closed(driver)"};

    (void)state;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        struct vst_talk talk;
        unsigned frees = 0;

        vst_talk_begin(&talk, NULL);
        talk.when = moments[i];
        talk.then = free_it;
        vst_fake_qmp_on(talk.fake, "a", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
                        VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "b", "", VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "c", "", VST_FAKE_STAY);
        vst_talk_ask(&talk, "a");
        vst_talk_ask_within(&talk, "b", 0.03);
        vst_talk_ask(&talk, "c");
        vst_talk_ask(&talk, "d");
        vst_talk_ask(&talk, "e");
        vst_fake_qmp_on(talk.fake, "d", "", VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "e", "", VST_FAKE_STAY);
        /* ready, STOP, a, and the deadline of b, which may be first on a slow machine */
        while (!strstr(talk.log, "a=") || !strstr(talk.log, "b="))
            event_base_loop(talk.base, EVLOOP_ONCE);
        vst_fake_qmp_answer(talk.fake, "b", VST_FAKE_RETURN("{}"));
        vst_fake_qmp_answer(talk.fake, "c", VST_FAKE_ERROR("X", "Y"));
        vst_fake_qmp_close(talk.fake);
        vst_talk_settle(&talk);
        for (const char *at = talk.log; (at = strstr(at, "freed")); at++)
            frees++;
        assert_int_equal(frees, 1);
        for (const char *name = "abcde"; *name; name++) { /* each told exactly once */
            char start[3] = {*name, '=', 0}, *at = strstr(talk.log, start);

            assert_non_null(at);
            assert_null(strstr(at + 1, start));
        }
        if (strcmp(moments[i], "closed(driver)") != 0)
            assert_null(strstr(talk.log, "closed"));
        vst_talk_end(&talk);
    }
}

static void ask_again(struct vst_talk *talk)
{
    vst_talk_ask(talk, "again");
}

static void every_callback_may_send(void **state)
{
    static const char *const moments[] = {"ready(7.2.22)", "STOP", "a={}", "b=driver", "c=timeout"};

    (void)state;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        struct vst_talk talk;

        vst_talk_begin(&talk, NULL);
        talk.when = moments[i];
        talk.then = ask_again;
        vst_fake_qmp_on(talk.fake, "a", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
                        VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "b", VST_FAKE_ERROR("GenericError", "no"), VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "c", "", VST_FAKE_STAY);
        vst_fake_qmp_on(talk.fake, "again", "", VST_FAKE_STAY);
        vst_talk_ask(&talk, "a");
        vst_talk_ask(&talk, "b");
        vst_talk_ask_within(&talk, "c", 0.03);
        while (!vst_fake_qmp_count(talk.fake, "again"))
            event_base_loop(talk.base, EVLOOP_ONCE);
        vst_fake_qmp_close(talk.fake);
        vst_talk_until(&talk, "closed(driver)");
        assert_non_null(strstr(talk.log, "again=lost"));
        vst_talk_end(&talk);
    }
}

static void free_cancels_what_is_pending_from_the_loop(void **state)
{
    struct vst_talk talk;
    struct vst_talk_ask *sender;

    (void)state;
    vst_talk_begin_ready(&talk);
    sender = vst_talk_ask(&talk, "stop");
    vst_talk_ask(&talk, "cont");
    vst_qmp_free(&talk.qmp);
    assert_string_equal(talk.log, "");
    vst_talk_settle(&talk);
    assert_string_equal(talk.log, "stop=cancelled cont=cancelled");
    assert_string_equal(sender->err.text,
                        "`stop` was not answered: the monitor was closed on this side");
    assert_true(vst_fake_qmp_left(talk.fake));
    vst_talk_end(&talk);
}

static void a_client_without_pending_commands_is_freed_at_once(void **state)
{
    struct vst_talk talk;

    (void)state;
    vst_talk_begin(&talk, NULL);
    vst_qmp_free(&talk.qmp);
    vst_fake_qmp_free(&talk.fake);
    event_base_free(talk.base); /* what is left now is a leak, and the sanitizer says so */
}

static void a_forgotten_reply_is_swallowed(void **state)
{
    struct vst_talk talk;
    struct vst_talk_ask *forgotten;

    (void)state;
    vst_talk_begin_ready(&talk);
    forgotten = vst_talk_ask(&talk, "stop");
    vst_talk_ask(&talk, "cont");
    vst_qmp_forget(talk.qmp, forgotten);
    vst_talk_until(&talk, "cont={}");
    assert_string_equal(talk.log, "cont={}");
    assert_int_equal(vst_fake_qmp_count(talk.fake, "stop"), 1);
    vst_qmp_forget(talk.qmp, vst_talk_ask(&talk, "stop"));
    vst_qmp_free(&talk.qmp);
    vst_talk_settle(&talk);
    assert_string_equal(talk.log, "cont={}");
    vst_talk_end(&talk);
}

static void a_descriptor_that_cannot_be_used_stays_with_the_caller(void **state)
{
    struct event_base *base = event_base_new();
    struct vst_error err = {0};
    int bad = 12345;

    (void)state;
    assert_null(vst_qmp_new(base, &bad, &(const struct vst_qmp_cb){0}, NULL, &err));
    assert_int_equal(err.code, VST_ERR_SYSTEM);
    assert_int_equal(bad, 12345);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(the_end_completes_what_is_pending_and_is_told_once),
        VST_TEST(a_reset_ends_as_a_close_does),
        VST_TEST(the_last_words_of_a_qemu_that_takes_no_more_are_heard),
        VST_TEST(a_breach_of_the_rules_ends_the_conversation),
        VST_TEST(a_cut_at_every_byte_is_an_end),
        VST_TEST(replies_out_of_order_are_a_breach),
        VST_TEST(a_reply_to_nothing_is_a_breach),
        VST_TEST(a_reply_that_comes_before_its_command_has_left_is_a_breach),
        VST_TEST(what_is_no_greeting_ends_it),
        VST_TEST(what_was_meant_for_another_is_dropped),
        VST_TEST(a_refused_negotiation_ends_it),
        VST_TEST(every_callback_may_free),
        VST_TEST(every_callback_may_send),
        VST_TEST(free_cancels_what_is_pending_from_the_loop),
        VST_TEST(a_client_without_pending_commands_is_freed_at_once),
        VST_TEST(a_forgotten_reply_is_swallowed),
        VST_TEST(a_descriptor_that_cannot_be_used_stays_with_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client and a server that means harm by what it says: lists without end, frames that nobody
 * asked for, bodies that are too long or too deep. Nothing is believed, and memory has a bound.
 */
#include "villain.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 500, MIB = 1024 * 1024 };

/* ---- lists ---- */

static void say_page(uint32_t id, unsigned from, unsigned count)
{
    struct evbuffer *body = evbuffer_new();

    evbuffer_add_printf(body, "{\"result\":{\"domains\":[");
    for (unsigned i = 0; i < count; i++)
        evbuffer_add_printf(body,
                            "%s{\"name\":\"g%010u\",\"state\":\"running\","
                            "\"uuid\":\"11111111-1111-4111-8111-111111111111\"}",
                            i ? "," : "", from + i);
    evbuffer_add_printf(body, "],\"more\":true}}");
    villain_say(VST_FRAME_REPLY, id, evbuffer_pullup(body, -1), evbuffer_get_length(body));
    evbuffer_free(body);
}

static void next_page(uint32_t id)
{
    say_page(id, villain.calls * PAGE, PAGE);
}

static void same_page(uint32_t id)
{
    say_page(id, 1, 1);
}

static void empty_page(uint32_t id)
{
    say_page(id, 1, 0);
}

static void expect_list_refused(void (*called)(uint32_t id), const char *text)
{
    struct outcome outcome;

    villain_join("");
    villain.called = called;
    if (villain_list(&outcome) != VST_ERR_PROTOCOL || !strstr(outcome.err.text, text))
        fail_msg("%s", outcome.err.text);
    villain_leave();
}

static void list_that_goes_on_and_on_is_refused(void **state)
{
    size_t before = mallinfo2().uordblks;

    (void)state;
    vst_test_seconds(60);
    expect_list_refused(next_page, "never ends");
    assert_true(mallinfo2().uordblks < before + MIB);
    expect_list_refused(empty_page, "never ends");
    expect_list_refused(same_page, "no order");
}

/* ---- frames ---- */

static const char all_credit[] = "\0\0\0\0\x40\0\0\0"; /* nothing read, 2^30 granted */
static char much[VST_FRAME_DATA_MAX];

struct misplaced {
    const char *what;
    enum vst_frame_type type;
    bool of_the_call; /* else of a call that nobody made */
    const char *body;
    size_t length;
};

#define TEXT(what, type, mine, text)                         \
    {                                                        \
        what, VST_FRAME_##type, mine, text, sizeof(text) - 1 \
    }

static const struct misplaced misplaced[] = {
    TEXT("REPLY of no call", REPLY, false, "{\"result\":{}}"),
    TEXT("ERROR of no call", ERROR, false, "{\"code\":\"busy\",\"text\":\"\"}"),
    TEXT("STARTED of no call", STARTED, false, "{}"),
    TEXT("DATA of no call", DATA, false, "x"),
    TEXT("END of no call", END, false, "\0\0\0\0\0\0\0\0"),
    TEXT("STOP of no call", STOP, false, "{\"code\":\"cancelled\",\"text\":\"\"}"),
    {"CREDIT of no call", VST_FRAME_CREDIT, false, all_credit, 8},
    TEXT("TAKEN of no call", TAKEN, false, ""),
    TEXT("CALL of a server", CALL, true, "{\"procedure\":\"list\",\"arguments\":{}}"),
    TEXT("STARTED that is none", STARTED, true, "no JSON"),
    TEXT("REPLY that is no JSON", REPLY, true, "no JSON"),
    TEXT("REPLY without a result", REPLY, true, "{}"),
    TEXT("ERROR that says `ok`", ERROR, true, "{\"code\":\"ok\",\"text\":\"\"}"),
    {"HOLE in what is not sparse", VST_FRAME_HOLE, true, "\0\0\0\0\0\0\x10\0", 8},
    {"credit for a stream that does not send", VST_FRAME_CREDIT, true, all_credit, 8},
    TEXT("TAKEN of what was not sent", TAKEN, true, ""),
    {"DATA beyond credit", VST_FRAME_DATA, true, much, sizeof(much)},
};

static const struct misplaced alone[] = {
    TEXT("HELLO again", HELLO, false, "{\"version\":1}"),
    TEXT("login when it is too late", AUTH_STEP, false, "x"),
    TEXT("AUTH_DONE", AUTH_DONE, false, "{}"),
    TEXT("PONG that nobody asked for", PONG, false, "12345678"),
    TEXT("EVENT that is none", EVENT, false, "no JSON"),
};

static const struct misplaced *next;

static void misplace(uint32_t id)
{
    bool is_alone = next >= alone && next < alone + sizeof(alone) / sizeof(*alone);

    villain_say(next->type,
                is_alone            ? 0
                : next->of_the_call ? id
                                    : id + 70,
                next->body, next->length);
    if (next->type != VST_FRAME_ERROR || !next->of_the_call)
        villain_say_text(VST_FRAME_ERROR, id,
                         "{\"code\":\"busy\",\"text\":\"it has gone on till here\"}");
}

/* While a save is under way, whose application does not read. */
static void expect_refused(const struct misplaced *frame)
{
    struct outcome outcome = {0};
    struct vst_stream *stream;

    villain_begin("?window=64K");
    next = frame;
    villain.called = misplace;
    stream = app_stream(&villain.app);
    app_begin_save(&villain.app, stream, &outcome);
    outcome_await(villain.app.base, &outcome);
    if (outcome.err.code == VST_ERR_OK || strstr(outcome.err.text, "gone on"))
        fail_msg("%s: %s", frame->what, outcome.err.text);
    vst_stream_free(&stream);
    villain_leave();
}

static void frames_out_of_place_end_the_call_and_nothing_worse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(misplaced) / sizeof(*misplaced); i++)
        expect_refused(&misplaced[i]);
    for (size_t i = 0; i < sizeof(alone) / sizeof(*alone); i++)
        expect_refused(&alone[i]);
}

/* ---- sizes ---- */

static const struct vst_frame heads[] = {
    {.length = VST_FRAME_CONTROL_MAX + 1, .type = VST_FRAME_REPLY, .id = 1},
    {.length = VST_FRAME_DATA_MAX + 1, .type = VST_FRAME_DATA, .id = 1},
    {.length = UINT32_MAX, .type = VST_FRAME_REPLY, .id = 1},
    {.length = 1u << 31, .type = VST_FRAME_DATA, .id = 1},
    {.length = VST_FRAME_GREETING_MAX + 1, .type = VST_FRAME_ERROR, .id = 1},
    {.length = 0, .type = VST_FRAME_REPLY, .id = 1},
};

static const struct vst_frame *next_head;

static void say_head(uint32_t id)
{
    struct vst_frame frame = *next_head;
    unsigned char head[VST_FRAME_HEAD];

    frame.id = id;
    vst_frame_put(&frame, head);
    bufferevent_write(villain.peer, head, sizeof(head));
}

static void bodies_that_are_too_long_are_not_waited_for(void **state)
{
    struct outcome outcome;

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        villain_join("");
        next_head = &heads[i];
        villain.called = say_head;
        assert_int_equal(villain_list(&outcome), VST_ERR_PROTOCOL);
        villain_expect_over("a head");
        villain_leave();
    }
}

static void say_depths(uint32_t id)
{
    enum { DEPTH = 1000 * 1000 };
    char *body = malloc(DEPTH);

    memset(body, '[', DEPTH);
    villain_say(VST_FRAME_REPLY, id, body, DEPTH);
    free(body);
}

static void say_an_infinity_of_events(uint32_t id)
{
    for (int i = 0; i < 100 * 1000; i++)
        villain_say_text(VST_FRAME_EVENT, id,
                         "{\"event\":\"started\",\"name\":\"g\","
                         "\"uuid\":\"11111111-1111-4111-8111-111111111111\"}");
    say_page(id, 1, 1);
}

static void answers_that_are_deep_or_buried_are_found_out(void **state)
{
    struct outcome outcome;

    (void)state;
    villain_join("");
    villain.called = say_depths;
    assert_int_equal(villain_list(&outcome), VST_ERR_PROTOCOL);
    villain_leave();
    villain_join("");
    villain.called = say_an_infinity_of_events;
    assert_int_equal(villain_list(&outcome), VST_ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VILLAIN_TEST(list_that_goes_on_and_on_is_refused),
        VILLAIN_TEST(frames_out_of_place_end_the_call_and_nothing_worse),
        VILLAIN_TEST(bodies_that_are_too_long_are_not_waited_for),
        VILLAIN_TEST(answers_that_are_deep_or_buried_are_found_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

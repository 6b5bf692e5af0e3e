/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server and clients that mean harm, before and after they have been let in. Each is shown the
 * door as PROTOCOL.md says, or gets an error of its call alone; nobody else notices, and nothing
 * is left of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hand.h"

enum { WINDOW = 16 * 1024, STREAMS = 8 };

static struct served served;
static struct caller neighbour; /* who notices nothing */

static int begin(void **state)
{
    struct vst_limits limits = VST_LIMITS_DEFAULT;

    (void)state;
    limits.window = WINDOW;
    limits.streams = STREAMS;
    served_start(&served, "test:///?domains=2&memory=4M", VST_ROLE_ADMIN, &limits);
    assert_int_equal(caller_join(&neighbour, &served, "test"), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    assert_int_equal(caller_call(&neighbour, "list", "{}"), VST_ERR_OK);
    assert_int_equal(served_stats(&served).clients, 1);
    assert_int_equal(served_stats(&served).anonymous, 0);
    assert_int_equal(served_stats(&served).calls, 0);
    assert_int_equal(served_stats(&served).held, 0);
    caller_leave(&neighbour);
    served_settle(&served);
    served_stop(&served);
    return 0;
}

/* The last of them may still be told why. */
static void until_nobody_is_in_the_greeting(void)
{
    while (served_stats(&served).anonymous)
        served_run(&served, 1);
}

/* ---- heads ---- */

struct head {
    const char *what;
    struct vst_frame frame;
    unsigned char flags;
    bool bad_check;
};

static const struct head heads[] = {
    {"length zero", {.length = 0, .type = VST_FRAME_CALL, .id = 1}, 0, false},
    {"length one", {.length = 1, .type = VST_FRAME_CALL, .id = 1}, 0, false},
    {"longest and one", {VST_FRAME_CONTROL_MAX + 1, VST_FRAME_CALL, 1, 0, false}, 0, false},
    {"length of DATA zero", {.length = 0, .type = VST_FRAME_DATA, .id = 1}, 0, false},
    {"length of DATA too long", {VST_FRAME_DATA_MAX + 1, VST_FRAME_DATA, 1, 0, false}, 0, false},
    {"length huge", {.length = INT32_MAX, .type = VST_FRAME_CALL, .id = 1}, 0, false},
    {"length negative", {.length = UINT32_MAX, .type = VST_FRAME_CALL, .id = 1}, 0, false},
    {"length most negative", {1u << 31, VST_FRAME_DATA, 1, 0, false}, 0, false},
    {"length of PING short", {.length = 7, .type = VST_FRAME_PING}, 0, false},
    {"type zero", {.length = 8, .type = (enum vst_frame_type)0, .id = 1}, 0, false},
    {"type unknown", {.length = 8, .type = (enum vst_frame_type)200, .id = 1}, 0, false},
    {"flag unknown", {.length = 8, .type = VST_FRAME_PING}, 0x80, false},
    {"no id", {.length = 2, .type = VST_FRAME_CALL, .id = 0}, 0, false},
    {"an id too many", {.length = 8, .type = VST_FRAME_PING, .id = 1}, 0, false},
    {"wrong check", {.length = 8, .type = VST_FRAME_PING}, 0, true},
};

static uint16_t check_of(const unsigned char head[VST_FRAME_HEAD])
{
    uint16_t crc = 0;

    for (int i = 0; i < VST_FRAME_HEAD; i++) {
        if (i == 6 || i == 7)
            continue;
        crc ^= (uint16_t)(head[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

static void send_head(struct hand *hand, const struct head *head)
{
    unsigned char bytes[VST_FRAME_HEAD];
    uint16_t check;

    vst_frame_put(&head->frame, bytes);
    bytes[5] |= head->flags;
    check = check_of(bytes) ^ head->bad_check;
    bytes[6] = (unsigned char)(check >> 8);
    bytes[7] = (unsigned char)check;
    hand_send(hand, bytes, sizeof(bytes));
}

static void heads_that_cannot_be_end_an_open_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
        struct hand hand;

        hand_join(&hand, &served, WINDOW);
        send_head(&hand, &heads[i]);
        if (hand_await_end(&hand) != VST_ERR_PROTOCOL)
            fail_msg("%s: it was not told", heads[i].what);
        hand_leave(&hand);
    }
}

/* One that has not said who it is need not be told. */
static void heads_that_cannot_be_end_the_greeting(void **state)
{
    uint64_t before = served_stats(&served).greetings[VST_GREETING_PROTOCOL];
    size_t count = sizeof(heads) / sizeof(*heads);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        struct hand hand;

        hand_connect(&hand, &served);
        send_head(&hand, &heads[i]);
        hand_await_end(&hand);
        hand_leave(&hand);
    }
    until_nobody_is_in_the_greeting();
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_PROTOCOL], before + count);
}

static void every_frame_but_hello_before_hello_ends_the_greeting(void **state)
{
    static const enum vst_frame_type types[] = {
#define TYPE(name, number, least, most, id) VST_FRAME_##name,
        VST_FRAMES(TYPE)
#undef TYPE
    };
    uint64_t before = served_stats(&served).greetings[VST_GREETING_PROTOCOL];
    unsigned sent = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        for (uint32_t id = 0; id < 2; id++) {
            struct hand hand;

            if (types[i] == VST_FRAME_HELLO)
                continue;
            hand_connect(&hand, &served);
            hand_text(&hand, types[i], id, vst_frame_fits(types[i], 2) ? "{}" : "12345678");
            hand_await_end(&hand);
            hand_leave(&hand);
            sent++;
        }
    until_nobody_is_in_the_greeting();
    assert_int_equal(served_stats(&served).greetings[VST_GREETING_PROTOCOL], before + sent);
}

/* ---- frames out of place ---- */

static const char save[] = "{\"procedure\":\"save\",\"arguments\":{\"name\":\"test1\"}}";
static const char restore[] = "{\"procedure\":\"restore\",\"arguments\":{}}";
static const char list[] = "{\"procedure\":\"list\",\"arguments\":{}}";
static const char full_credit[] = "\0\0\0\0\x40\0\0\0"; /* nothing read, 2^30 granted */
static char much[WINDOW + 1];

struct misplaced {
    const char *what;
    struct {
        enum vst_frame_type type;
        uint32_t id;
        const char *body;
        size_t length;
    } frames[4];
};

#define TEXT(type, id, text)                         \
    {                                                \
        VST_FRAME_##type, id, text, sizeof(text) - 1 \
    }
#define BYTES(type, id, bytes, n)      \
    {                                  \
        VST_FRAME_##type, id, bytes, n \
    }

static const struct misplaced misplaced[] = {
    {"HELLO again", {TEXT(HELLO, 0, "{\"version\":1}")}},
    {"login when nobody asked", {TEXT(AUTH_START, 0, "{\"mechanism\":\"PLAIN\"}")}},
    {"step of a login", {TEXT(AUTH_STEP, 0, "x")}},
    {"AUTH_DONE", {TEXT(AUTH_DONE, 0, "{}")}},
    {"REPLY of a client", {TEXT(REPLY, 1, "{}")}},
    {"STARTED of a client", {TEXT(STARTED, 1, "{}")}},
    {"EVENT of a client", {TEXT(EVENT, 0, "{}")}},
    {"PONG that nobody asked for", {TEXT(PONG, 0, "12345678")}},
    {"DATA of no call", {TEXT(DATA, 7, "x")}},
    {"END of no call", {BYTES(END, 7, "\0\0\0\0\0\0\0\0", 8)}},
    {"STOP of no call", {TEXT(STOP, 7, "{\"code\":\"cancelled\",\"text\":\"\"}")}},
    {"CREDIT of no call", {BYTES(CREDIT, 7, full_credit, 8)}},
    {"TAKEN of no call", {TEXT(TAKEN, 7, "")}},
    {"id used twice", {TEXT(CALL, 5, list), TEXT(CALL, 5, list)}},
    {"id that is less", {TEXT(CALL, 5, list), TEXT(CALL, 4, list)}},
    {"DATA against the direction", {TEXT(CALL, 1, save), TEXT(DATA, 1, "x")}},
    {"HOLE in what is not sparse",
     {TEXT(CALL, 1, restore), BYTES(HOLE, 1, "\0\0\0\0\0\0\x10\0", 8)}},
    {"DATA beyond credit", {TEXT(CALL, 1, restore), BYTES(DATA, 1, much, sizeof(much))}},
    {"DATA after END",
     {TEXT(CALL, 1, restore), BYTES(END, 1, "\0\0\0\0\0\0\0\0", 8), TEXT(DATA, 1, "x")}},
    {"credit overflow", {TEXT(CALL, 1, save), BYTES(CREDIT, 1, full_credit, 8)}},
    {"credit of nothing", {TEXT(CALL, 1, save), BYTES(CREDIT, 1, "\0\0\0\0\0\0\0\0", 8)}},
    {"credit for what was not sent",
     {TEXT(CALL, 1, save), BYTES(CREDIT, 1, "\x10\0\0\0\x10\0\0\0", 8)}},
    {"TAKEN before END", {TEXT(CALL, 1, save), TEXT(TAKEN, 1, "")}},
    {"ERROR for the connection", {TEXT(ERROR, 0, "no JSON at all")}},
};

static void frames_out_of_place_end_the_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(misplaced) / sizeof(*misplaced); i++) {
        const struct misplaced *this = &misplaced[i];
        struct hand hand;
        enum vst_code code;

        hand_join(&hand, &served, WINDOW);
        for (int j = 0; j < 4 && this->frames[j].body; j++)
            hand_frame(&hand, this->frames[j].type, this->frames[j].id, this->frames[j].body,
                       this->frames[j].length);
        code = hand_await_end(&hand);
        if (code != VST_ERR_PROTOCOL && this->frames[0].type != VST_FRAME_ERROR)
            fail_msg("%s: code %d", this->what, (int)code);
        hand_leave(&hand);
        served_run(&served, 1);
    }
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
}

/* ---- too much of what is allowed ---- */

static void storm_of_streams_leaves_nothing(void **state)
{
    enum { STORM = 5000 };
    struct hand hand;

    (void)state;
    vst_test_seconds(60);
    hand_join(&hand, &served, WINDOW);
    for (uint32_t id = 1; id <= STORM; id++) {
        hand_text(&hand, VST_FRAME_CALL, id, id % 2 ? save : restore);
        hand_text(&hand, VST_FRAME_STOP, id, "{\"code\":\"cancelled\",\"text\":\"\"}");
        hand_await(&hand, VST_FRAME_ERROR, id);
        assert_true(served_stats(&served).streams <= STREAMS);
    }
    hand_leave(&hand);
    served_run(&served, 10);
    assert_int_equal(served_domain_state(&served, "test1"), VST_DOMAIN_RUNNING);
}

/* All at once, and the answers are read only at the end. */
static void calls_beyond_the_limit_are_refused_one_by_one(void **state)
{
    enum { CALLS = 500 };
    unsigned errors = 0;
    struct hand hand;

    (void)state;
    hand_join(&hand, &served, WINDOW);
    for (uint32_t id = 1; id <= CALLS; id++)
        hand_text(&hand, VST_FRAME_CALL, id, restore);
    while (errors < CALLS - STREAMS) {
        struct vst_frame frame;
        char *body;

        while (hand_next(&hand, &frame, &body)) {
            errors += frame.type == VST_FRAME_ERROR && strstr(body, "\"busy\"");
            free(body);
        }
        assert_false(hand.ended);
        event_base_loop(served.base, EVLOOP_ONCE);
    }
    assert_int_equal(served_stats(&served).streams, STREAMS);
    assert_int_equal(caller_call(&neighbour, "list", "{}"), VST_ERR_OK);
    hand_leave(&hand);
    served_run(&served, 10);
}

/* Not one is lost, and the neighbour is answered in between. */
static void flood_of_pings_is_answered_as_fast_as_it_is_read(void **state)
{
    enum { BURST = 1000, BURSTS = 200 };
    struct evbuffer *flood = evbuffer_new();
    uint64_t most = 0;
    size_t pongs = 0;
    struct hand hand;

    (void)state;
    vst_test_seconds(60);
    hand_join(&hand, &served, WINDOW);
    for (int i = 0; i < BURST; i++) {
        const struct vst_frame frame = {8, VST_FRAME_PING, 0, vst_frame_sum("12345678", 8), false};
        unsigned char head[VST_FRAME_HEAD];

        vst_frame_put(&frame, head);
        evbuffer_add(flood, head, sizeof(head));
        evbuffer_add(flood, "12345678", 8);
    }
    for (int i = 0; i < BURSTS; i++) {
        struct vst_frame frame;
        char *body;

        hand_send(&hand, evbuffer_pullup(flood, -1), evbuffer_get_length(flood));
        most = served_stats(&served).held > most ? served_stats(&served).held : most;
        if (i % 50 == 0)
            assert_int_equal(caller_call(&neighbour, "list", "{}"), VST_ERR_OK);
        while (hand_next(&hand, &frame, &body)) {
            pongs += frame.type == VST_FRAME_PONG;
            free(body);
        }
    }
    while (pongs++ < BURST * BURSTS)
        hand_await(&hand, VST_FRAME_PONG, 0);
    assert_true(most < 256 * 1024);
    evbuffer_free(flood);
    hand_leave(&hand);
    served_run(&served, 10);
}

/* ---- what is wrong with a call is an error of that call ---- */

static char *deep(const char *open, const char *close, int levels)
{
    char *text = malloc(64 + (strlen(open) + strlen(close)) * (size_t)levels), *end = text;

    end += sprintf(end, "{\"procedure\":\"list\",\"arguments\":");
    for (int i = 0; i < levels; i++)
        end += sprintf(end, "%s", open);
    *end++ = '1';
    for (int i = 0; i < levels; i++)
        end += sprintf(end, "%s", close);
    sprintf(end, "}");
    return text;
}

/* What fits into a frame, and would be a thousand times as much in memory. */
static char *many(const char *value, size_t length)
{
    char *text = malloc(length + 64), *end = text;

    end += sprintf(end, "{\"procedure\":\"list\",\"arguments\":{\"x\":[%s", value);
    while ((size_t)(end - text) < length)
        end += sprintf(end, ",%s", value);
    sprintf(end, "]}}");
    return text;
}

static void bodies_that_are_no_call_are_answered_and_the_connection_goes_on(void **state)
{
    static const char *const bodies[] = {
        "[]",
        "{}",
        "{{",
        "\"\"",
        "{\"procedure\":1,\"arguments\":{}}",
        "{\"procedure\":\"nonsense\",\"arguments\":{}}",
        "{\"procedure\":\"list\"}",
        "{\"procedure\":\"list\",\"procedure\":\"save\",\"arguments\":{}}",
        "{\"procedure\":\"save\",\"arguments\":{\"name\":\"\\u0000\"}}",
        "{\"procedure\":\"save\",\"arguments\":{\"name\":\"\xff\xfe\"}}",
        "{\"procedure\":\"save\",\"arguments\":{\"name\":-1}}",
        "{\"procedure\":\"save\",\"arguments\":{\"name\":\"test1\",\"stall-seconds\":-1}}",
        "{\"procedure\":\"save\",\"arguments\":{\"name\":\"test1\",\"stall-seconds\":1e300}}"};
    char *arrays = deep("[", "]", 10000), *objects = deep("{\"a\":", "}", 10000);
    char *crowd = many("{}", VST_FRAME_CONTROL_MAX - 100);
    uint32_t id = 0;
    struct hand hand;

    (void)state;
    hand_join(&hand, &served, WINDOW);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        hand_text(&hand, VST_FRAME_CALL, ++id, bodies[i]);
        hand_await(&hand, VST_FRAME_ERROR, id);
    }
    hand_text(&hand, VST_FRAME_CALL, ++id, arrays);
    hand_await(&hand, VST_FRAME_ERROR, id);
    hand_text(&hand, VST_FRAME_CALL, ++id, objects);
    hand_await(&hand, VST_FRAME_ERROR, id);
    hand_text(&hand, VST_FRAME_CALL, ++id, crowd);
    hand_await(&hand, VST_FRAME_ERROR, id);
    hand_text(&hand, VST_FRAME_CALL, ++id, list);
    hand_await(&hand, VST_FRAME_REPLY, id);
    hand_leave(&hand);
    served_run(&served, 10);
    free(crowd);
    free(arrays);
    free(objects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(heads_that_cannot_be_end_an_open_connection, begin, end),
        VST_TEST_WITH(heads_that_cannot_be_end_the_greeting, begin, end),
        VST_TEST_WITH(every_frame_but_hello_before_hello_ends_the_greeting, begin, end),
        VST_TEST_WITH(frames_out_of_place_end_the_connection, begin, end),
        VST_TEST_WITH(storm_of_streams_leaves_nothing, begin, end),
        VST_TEST_WITH(calls_beyond_the_limit_are_refused_one_by_one, begin, end),
        VST_TEST_WITH(flood_of_pings_is_answered_as_fast_as_it_is_read, begin, end),
        VST_TEST_WITH(bodies_that_are_no_call_are_answered_and_the_connection_goes_on, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

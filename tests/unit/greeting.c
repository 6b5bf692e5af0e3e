/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Greetings without a login: what both sides know afterwards, in whatever pieces it comes; and what
 * a peer gets that breaks the rules, stops in the middle, or goes away.
 */
#include "greet.h"

#include <string.h>

#include "loop.h"

static struct greet greet;

enum { ROOM = 1 << 17 };

static const char client_hello[] =
    "{\"version\":1,\"software\":\"s\",\"driver\":\"test\",\"window\":65536}";
static const char server_hello[] =
    "{\"version\":1,\"software\":\"s\",\"streams\":3,\"window\":65536}";

static int make(void **state)
{
    (void)state;
    greet_make(&greet, ROOM);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    greet_drop(&greet);
    return 0;
}

/* ---- two of ours ---- */

static void check_both(void)
{
    const struct greet_party *client = &greet.party[GREET_CLIENT];
    const struct greet_party *server = &greet.party[GREET_SERVER];

    assert_int_equal(client->err.code, VST_ERR_OK);
    assert_int_equal(server->err.code, VST_ERR_OK);
    assert_int_equal(client->done, 1);
    assert_int_equal(server->done, 1);
    assert_int_equal(client->peer_window, 200000);
    assert_int_equal(client->streams, 7);
    assert_string_equal(client->software, "tester 2");
    assert_int_equal(server->peer_window, 100000);
    assert_string_equal(server->software, "tester 1");
    assert_string_equal(server->driver, "test");
    assert_string_equal(server->asked, "-");
    assert_string_equal(server->user, "-");
    assert_string_equal(server->mechanism, "-");
}

static void each_knows_the_other_afterwards(void **state)
{
    (void)state;
    greet_run(&greet);
    check_both();
}

static void greeting_freed_in_its_callback(void **state)
{
    (void)state;
    greet.party[GREET_CLIENT].frees = greet.party[GREET_SERVER].frees = true;
    greet_run(&greet);
    check_both();
    assert_null(greet.party[GREET_CLIENT].greeting);
}

static void every_size_of_pieces_greets(void **state)
{
    (void)state;
    for (size_t limit = 1; limit <= 160; limit++) {
        greet_make(&greet, limit);
        greet_run(&greet);
        check_both();
        greet_drop(&greet);
    }
}

/* What follows belongs to others, on both sides. */
static void not_one_byte_is_read_ahead(void **state)
{
    char text[20];

    (void)state;
    greet_begin(&greet, GREET_SERVER);
    greet_send(&greet, GREET_CLIENT, VST_FRAME_HELLO, client_hello);
    greet_send_bytes(&greet, GREET_CLIENT, "and more", 8);
    greet_wait(&greet, GREET_SERVER);
    assert_int_equal(greet.party[GREET_SERVER].err.code, VST_ERR_OK);
    assert_int_equal(vst_test_read_text(greet.party[GREET_SERVER].transport, text, sizeof(text)),
                     VST_IO_OK);
    assert_string_equal(text, "and more");
}

static void unknown_members_are_ignored_and_newer_versions_spoken_to(void **state)
{
    (void)state;
    greet_begin(&greet, GREET_SERVER);
    greet_send(&greet, GREET_CLIENT, VST_FRAME_HELLO,
               "{\"version\":9,\"oldest\":1,\"software\":\"s\",\"driver\":\"test\","
               "\"window\":65536,\"colour\":{\"is\":[\"blue\"]}}");
    greet_wait(&greet, GREET_SERVER);
    assert_int_equal(greet.party[GREET_SERVER].err.code, VST_ERR_OK);
}

/* ---- refusals ---- */

/* The client hears it from the server, who keeps the words for itself, too. */
static void server_that_refuses_says_so_to_the_client(void **state)
{
    (void)state;
    greet.party[GREET_SERVER].refuses = 1;
    greet_run(&greet);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(greet.party[i].err.code, VST_ERR_ACCESS);
        assert_int_equal(greet.party[i].err.side, VST_SIDE_HOST);
        assert_string_equal(greet.party[i].err.text, "no role for you");
        assert_null(greet.party[i].transport);
    }
}

static void server_that_refuses_after_opening_says_so_to_the_client(void **state)
{
    (void)state;
    greet.party[GREET_SERVER].opened_refuses = 1;
    greet_run(&greet);
    assert_string_equal(greet.party[GREET_CLIENT].err.text, "not in here");
    assert_int_equal(greet.party[GREET_SERVER].err.code, VST_ERR_ACCESS);
}

static void client_that_refuses_after_opening_hangs_up(void **state)
{
    (void)state;
    greet.party[GREET_CLIENT].opened_refuses = 1;
    greet_run(&greet);
    assert_int_equal(greet.party[GREET_CLIENT].err.code, VST_ERR_ACCESS);
    assert_int_equal(greet.party[GREET_CLIENT].err.side, VST_SIDE_CLIENT);
    assert_true(vst_error_is_set(&greet.party[GREET_SERVER].err));
}

/* ---- hostile peers ---- */

struct hostile {
    const char *what;
    int victim;
    enum vst_frame_type type;
    const char *body;
    enum vst_code code;
    const char *text; /* somewhere in the error */
};

#define DOZEN "{},{},{},{},{},{},{},{},{},{},{},{},"

static const struct hostile hostiles[] = {
    {"no JSON", GREET_SERVER, VST_FRAME_HELLO, "hello", VST_ERR_PROTOCOL, "HELLO"},
    {"no object", GREET_SERVER, VST_FRAME_HELLO, "[1]", VST_ERR_PROTOCOL, "object"},
    {"no version", GREET_SERVER, VST_FRAME_HELLO, "{\"software\":\"s\",\"window\":65536}",
     VST_ERR_PROTOCOL, "version: missing"},
    {"version 0", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":0,\"software\":\"s\",\"driver\":\"test\",\"window\":65536}", VST_ERR_PROTOCOL,
     "version"},
    {"too new", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":3,\"oldest\":2,\"software\":\"s\",\"driver\":\"test\",\"window\":65536}",
     VST_ERR_INCOMPATIBLE, "speaks version 2"},
    {"no driver", GREET_SERVER, VST_FRAME_HELLO, server_hello, VST_ERR_PROTOCOL, "driver: missing"},
    {"driver with a path", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"driver\":\"../x\",\"window\":65536}", VST_ERR_PROTOCOL,
     "driver"},
    {"control characters", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\\u001b[2J\",\"driver\":\"test\",\"window\":65536}",
     VST_ERR_PROTOCOL, "software"},
    {"window of nothing", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"driver\":\"test\",\"window\":0}", VST_ERR_PROTOCOL,
     "window"},
    {"negative window", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"driver\":\"test\",\"window\":-1}", VST_ERR_PROTOCOL,
     "window"},
    {"window of all memory", GREET_SERVER, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"driver\":\"test\",\"window\":18446744073709551615}",
     VST_ERR_PROTOCOL, "window"},
    {"values by the dozen", GREET_SERVER, VST_FRAME_HELLO,
     "{\"x\":[" DOZEN DOZEN DOZEN DOZEN DOZEN DOZEN "{}]}", VST_ERR_PROTOCOL,
     "more than the 64 values"},
    {"login nobody asked for", GREET_SERVER, VST_FRAME_AUTH_START, "{\"mechanism\":\"PLAIN\"}",
     VST_ERR_PROTOCOL, "AUTH_START has no place here"},
    {"call", GREET_SERVER, VST_FRAME_PING, "12345678", VST_ERR_PROTOCOL, "PING has no place here"},
    {"step", GREET_SERVER, VST_FRAME_AUTH_STEP, "", VST_ERR_PROTOCOL, "AUTH_STEP has no place"},
    {"no streams", GREET_CLIENT, VST_FRAME_HELLO, client_hello, VST_ERR_PROTOCOL,
     "streams: missing"},
    {"welcome before HELLO", GREET_CLIENT, VST_FRAME_AUTH_DONE, "{}", VST_ERR_PROTOCOL,
     "AUTH_DONE has no place here"},
    {"login without means", GREET_CLIENT, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"streams\":3,\"window\":65536,\"mechanisms\":\"PLAIN\"}",
     VST_ERR_AUTH, "give a user and a password"},
    {"odd mechanisms", GREET_CLIENT, VST_FRAME_HELLO,
     "{\"version\":1,\"software\":\"s\",\"streams\":3,\"window\":65536,\"mechanisms\":\"a\\nb\"}",
     VST_ERR_PROTOCOL, "mechanisms"},
    {"error", GREET_CLIENT, VST_FRAME_ERROR, "{\"code\":\"busy\",\"text\":\"full\"}", VST_ERR_BUSY,
     "full"},
    {"error that is none", GREET_CLIENT, VST_FRAME_ERROR, "{\"code\":\"ok\",\"text\":\"fine\"}",
     VST_ERR_PROTOCOL, "ok"},
};

static void try_hostile(const struct hostile *hostile)
{
    struct greet_party *victim = &greet.party[hostile->victim];
    int attacker = !hostile->victim;
    char body[VST_FRAME_GREETING_MAX];

    greet_make(&greet, ROOM);
    greet_begin(&greet, hostile->victim);
    greet_send(&greet, attacker, hostile->type, hostile->body);
    if (hostile->victim == GREET_SERVER) {
        assert_int_equal(greet_take(&greet, attacker, body, sizeof(body)), VST_FRAME_HELLO);
        assert_int_equal(greet_take(&greet, attacker, body, sizeof(body)), VST_FRAME_ERROR);
        assert_non_null(strstr(body, vst_code_name(hostile->code)));
        vst_channel_free(&greet.ends[attacker]);
    }
    greet_wait(&greet, hostile->victim);
    if (victim->err.code != hostile->code || !strstr(victim->err.text, hostile->text))
        fail_msg("%s: %s: %s", hostile->what, vst_code_name(victim->err.code), victim->err.text);
    assert_string_equal(victim->err.phase, "greeting");
    greet_drop(&greet);
}

static void broken_rules_end_the_greeting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++)
        try_hostile(&hostiles[i]);
}

/* Length, type, flags, check, id, sum; the check is looked at last. */
static void heads_that_cannot_be_end_the_greeting(void **state)
{
    static const unsigned char heads[][VST_FRAME_HEAD] = {
        {0, 0, 0, 0, 1},              /* HELLO of nothing */
        {0, 0, 0x40, 1, 1},           /* 16 KiB and one byte */
        {0xff, 0xff, 0xff, 0xff, 1},  /* all that a length can say */
        {0x80, 0, 0, 0, 1},           /* negative as signed */
        {0, 0, 0, 2, 0},              /* type 0 */
        {0, 0, 0, 2, 255},            /* an unknown one */
        {0, 0, 0, 2, 1, 1},           /* flags */
        {0, 0, 0, 2, 1, 0, 0, 1},     /* the check */
        {0, 0, 0, 2, 1, 0, 0, 0, 1},  /* HELLO of a call */
        {0, 0, 0, 2, 18, 0, 0, 0, 1}, /* ERROR of a call */
        {'G', 'E', 'T', ' ', '/', ' ', 'H', 'T', 'T', 'P', '/', '1'},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        for (int victim = 0; victim < 2; victim++) {
            greet_make(&greet, ROOM);
            greet_begin(&greet, victim);
            greet_send_bytes(&greet, !victim, heads[i], sizeof(heads[i]));
            greet_settle(&greet);
            vst_channel_free(&greet.ends[!victim]);
            greet_wait(&greet, victim);
            assert_int_equal(greet.party[victim].err.code, VST_ERR_PROTOCOL);
            greet_drop(&greet);
        }
}

/* Cut at every byte: both sides fail, and nothing is taken for a greeting. */
static void every_cut_is_a_lost_connection(void **state)
{
    unsigned char bytes[VST_FRAME_HEAD + sizeof(client_hello)];
    const size_t length = VST_FRAME_HEAD + sizeof(client_hello) - 1;
    const struct vst_frame frame = {sizeof(client_hello) - 1, VST_FRAME_HELLO, 0, 0, false};

    (void)state;
    vst_frame_put(&frame, bytes);
    memcpy(bytes + VST_FRAME_HEAD, client_hello, sizeof(client_hello));
    for (size_t cut = 0; cut < length; cut++) {
        greet_make(&greet, ROOM);
        greet_begin(&greet, GREET_SERVER);
        if (cut)
            greet_send_bytes(&greet, GREET_CLIENT, bytes, cut);
        vst_channel_finish(greet.ends[GREET_CLIENT]);
        greet_wait(&greet, GREET_SERVER);
        assert_int_equal(greet.party[GREET_SERVER].err.code, VST_ERR_LOST);
        assert_string_equal(greet.party[GREET_SERVER].err.text,
                            "while waiting for HELLO: the connection was closed");
        greet_drop(&greet);
    }
}

static size_t add_frame(unsigned char *to, enum vst_frame_type type, const char *body)
{
    const size_t length = strlen(body);
    const struct vst_frame frame = {
        .length = (uint32_t)length,
        .type = type,
        .sum = vst_frame_sum(body, length),
    };

    vst_frame_put(&frame, to);
    memcpy(to + VST_FRAME_HEAD, body, length);
    return VST_FRAME_HEAD + length;
}

/* All that a peer says in a greeting without a login. */
static size_t whole_word(int attacker, unsigned char *to)
{
    size_t length;

    if (attacker == GREET_CLIENT)
        return add_frame(to, VST_FRAME_HELLO, client_hello);
    length = add_frame(to, VST_FRAME_HELLO, server_hello);
    return length + add_frame(to + length, VST_FRAME_AUTH_DONE, "{}");
}

static enum vst_code greet_with(int attacker, const unsigned char *bytes, size_t length)
{
    enum vst_code code;

    greet_make(&greet, ROOM);
    greet_begin(&greet, !attacker);
    greet_send_bytes(&greet, attacker, bytes, length);
    vst_channel_finish(greet.ends[attacker]);
    greet_settle(&greet);
    vst_channel_free(&greet.ends[attacker]);
    greet_wait(&greet, !attacker);
    code = greet.party[!attacker].err.code;
    greet_drop(&greet);
    return code;
}

static void no_altered_bit_is_believed(void **state)
{
    unsigned char bytes[256];

    (void)state;
    vst_test_seconds(300);
    for (int attacker = 0; attacker < 2; attacker++) {
        size_t length = whole_word(attacker, bytes);

        assert_int_equal(greet_with(attacker, bytes, length), VST_ERR_OK);
        for (size_t bit = 0; bit < 8 * length; bit += vst_test_long() ? 1 : 5) {
            enum vst_code code;

            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            code = greet_with(attacker, bytes, length);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            if (code != VST_ERR_PROTOCOL && code != VST_ERR_LOST)
                fail_msg("bit %zu from %d: %s", bit, attacker, vst_code_name(code));
        }
    }
}

/* ---- peers that stop ---- */

static void peer_that_says_nothing_is_waited_for_and_given_up(void **state)
{
    (void)state;
    for (int victim = 0; victim < 2; victim++) {
        greet_make(&greet, ROOM);
        greet_begin(&greet, victim);
        assert_string_equal(vst_greeting_waits_for(greet.party[victim].greeting),
                            "the transport's hand-shake");
        greet_settle(&greet);
        assert_int_equal(greet.party[victim].done, 0);
        assert_string_equal(vst_greeting_waits_for(greet.party[victim].greeting), "HELLO");
        vst_greeting_free(&greet.party[victim].greeting);
        greet_settle(&greet);
        assert_int_equal(greet.party[victim].done, 0);
        greet_drop(&greet);
    }
}

static void client_waits_to_be_let_in(void **state)
{
    (void)state;
    greet_begin(&greet, GREET_CLIENT);
    greet_send(&greet, GREET_SERVER, VST_FRAME_HELLO, server_hello);
    greet_settle(&greet);
    assert_int_equal(greet.party[GREET_CLIENT].done, 0);
    assert_string_equal(vst_greeting_waits_for(greet.party[GREET_CLIENT].greeting), "AUTH_DONE");
    greet_send(&greet, GREET_SERVER, VST_FRAME_AUTH_DONE, "{}");
    greet_wait(&greet, GREET_CLIENT);
    assert_int_equal(greet.party[GREET_CLIENT].err.code, VST_ERR_OK);
}

/* It holds nothing up but itself, until the caller's deadline. */
static void refused_client_that_does_not_read_is_given_up(void **state)
{
    (void)state;
    greet_make(&greet, 10);
    greet.party[GREET_SERVER].refuses = 1;
    greet_begin(&greet, GREET_SERVER);
    greet_send(&greet, GREET_CLIENT, VST_FRAME_HELLO, client_hello);
    greet_settle(&greet);
    assert_int_equal(greet.party[GREET_SERVER].done, 0);
    assert_string_equal(vst_greeting_waits_for(greet.party[GREET_SERVER].greeting),
                        "the refusal to go out");
    greet_drop(&greet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_knows_the_other_afterwards, make, drop),
        VST_TEST_WITH(greeting_freed_in_its_callback, make, drop),
        VST_TEST(every_size_of_pieces_greets),
        VST_TEST_WITH(not_one_byte_is_read_ahead, make, drop),
        VST_TEST_WITH(unknown_members_are_ignored_and_newer_versions_spoken_to, make, drop),
        VST_TEST_WITH(server_that_refuses_says_so_to_the_client, make, drop),
        VST_TEST_WITH(server_that_refuses_after_opening_says_so_to_the_client, make, drop),
        VST_TEST_WITH(client_that_refuses_after_opening_hangs_up, make, drop),
        VST_TEST(broken_rules_end_the_greeting),
        VST_TEST(heads_that_cannot_be_end_the_greeting),
        VST_TEST(every_cut_is_a_lost_connection),
        VST_TEST(no_altered_bit_is_believed),
        VST_TEST(peer_that_says_nothing_is_waited_for_and_given_up),
        VST_TEST_WITH(client_waits_to_be_let_in, make, drop),
        VST_TEST(refused_client_that_does_not_read_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

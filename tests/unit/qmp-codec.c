/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP's codec: the four kinds, every chunking, every bound, and what is refused.
 */
#include "test.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/qemu/qmp-codec.h"

static const char golden[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"x\"}, \"capabilities\": [\"oob\"]}}\r\n"
    "{\"return\": {\"status\": \"gr\u00fcn\", \"running\": false}, \"id\": 1}\r\n"
    "{\"return\": null, \"id\": 2}\n"
    "{\"id\": 3, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no \\\"x\\\"\"}}\r\n"
    "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 250000}, \"event\": \"STOP\"}\r\n"
    "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"MIGRATION\", "
    "\"data\": {\"status\": \"active\"}}\r\n";

static struct vst_qmp_codec *make_codec(size_t line_max)
{
    struct vst_error err = {0};
    struct vst_qmp_codec *codec = vst_qmp_codec_new("test", line_max, &err);

    assert_non_null(codec);
    return codec;
}

static const char *status_of(struct json_object *body)
{
    return json_object_get_string(json_object_object_get(body, "status"));
}

static void check_golden(unsigned number, const struct vst_qmp_message *message)
{
    static const enum vst_qmp_kind kinds[] = {VST_QMP_GREETING, VST_QMP_RETURN, VST_QMP_RETURN,
                                              VST_QMP_ERROR,    VST_QMP_EVENT,  VST_QMP_EVENT};

    assert_true(number < 6);
    assert_int_equal(message->kind, kinds[number]);
    if (message->kind == VST_QMP_RETURN || message->kind == VST_QMP_ERROR)
        assert_int_equal(message->id, number);
    if (number == 0)
        assert_int_equal(json_object_get_int(json_object_object_get(message->body, "micro")), 22);
    if (number == 1)
        assert_string_equal(status_of(message->body), "gr\u00fcn");
    if (number == 2 || number == 4)
        assert_null(message->body);
    if (number == 3) {
        assert_string_equal(message->name, "CommandNotFound");
        assert_string_equal(message->text, "no \"x\"");
    }
    if (number == 4) {
        assert_string_equal(message->name, "STOP");
        assert_true(message->seconds == 1700000000.25);
    }
    if (number == 5) {
        assert_string_equal(status_of(message->body), "active");
        assert_true(message->seconds == -1);
    }
}

/* Takes what is there; returns the number of messages so far. */
static unsigned take_golden(struct vst_qmp_codec *codec, struct evbuffer *in, unsigned number)
{
    struct vst_qmp_message message;
    struct vst_error err = {0};
    int found;

    while ((found = vst_qmp_codec_step(codec, in, &message, &err)) > 0) {
        check_golden(number++, &message);
        vst_qmp_message_clear(&message);
    }
    assert_int_equal(found, 0);
    return number;
}

static void every_chunking_gives_the_same_messages(void **state)
{
    const size_t length = sizeof(golden) - 1;

    (void)state;
    for (size_t first = 0; first < length; first++) {
        for (size_t piece = 1; piece < 40; piece += 19) {
            struct vst_qmp_codec *codec = make_codec(VST_QMP_LINE_MAX);
            struct evbuffer *in = evbuffer_new();
            unsigned number;

            evbuffer_add(in, golden, first);
            number = take_golden(codec, in, 0);
            for (size_t at = first; at < length; at += piece) {
                evbuffer_add(in, golden + at, at + piece < length ? piece : length - at);
                number = take_golden(codec, in, number);
            }
            assert_int_equal(number, 6);
            assert_int_equal(evbuffer_get_length(in), 0);
            evbuffer_free(in);
            vst_qmp_codec_free(&codec);
        }
    }
}

/* One line, as bytes; the result of the step. */
static int step_bytes(const char *bytes, size_t length, size_t line_max, struct vst_error *ret_err)
{
    struct vst_qmp_codec *codec = make_codec(line_max);
    struct evbuffer *in = evbuffer_new();
    struct vst_qmp_message message;
    int found;

    evbuffer_add(in, bytes, length);
    found = vst_qmp_codec_step(codec, in, &message, ret_err);
    if (found > 0)
        vst_qmp_message_clear(&message);
    evbuffer_free(in);
    vst_qmp_codec_free(&codec);
    return found;
}

static void what_is_not_qmp_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "garbage",
        "{",
        "[]",
        "[1, 2]",
        "null",
        "\"return\"",
        "17",
        "{}",
        "{\"returns\": {}}",
        "{\"return\": {}, \"id\": 1} x",
        "{\"return\": {}, \"id\": 1}{\"return\": {}, \"id\": 2}",
        "{\"return\": {}, \"id\": 1,}",
        "{\"return\": 'x', \"id\": 1}",
        "{\"return\": {}, /* */ \"id\": 1}",
        "{\"return\": {}, \"id\": \"1\"}",
        "{\"return\": {}, \"id\": 0}",
        "{\"return\": {}, \"id\": -1}",
        "{\"return\": {}, \"id\": 1.5}",
        "{\"return\": {}, \"id\": null}",
        "{\"return\": {}, \"error\": {\"class\": \"a\", \"desc\": \"b\"}, \"id\": 1}",
        "{\"error\": \"text\", \"id\": 1}",
        "{\"error\": {\"class\": \"a\"}, \"id\": 1}",
        "{\"error\": {\"class\": \"a\", \"desc\": 1}, \"id\": 1}",
        "{\"event\": \"STOP\"}",
        "{\"event\": 1, \"timestamp\": {\"seconds\": 1, \"microseconds\": 1}}",
        "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1}}",
        "{\"event\": \"STOP\", \"data\": [], \"timestamp\": {\"seconds\": 1, \"microseconds\": 1}}",
        "{\"QMP\": 1}",
        "{\"QMP\": {\"version\": \"7.2\"}}",
        "{\"return\": \"\xff\", \"id\": 1}",
        "{\"return\": \"\xc3\", \"id\": 1}",
        "\x1b[2J\x07",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct vst_error err = {0};
        char line[256];
        int length = snprintf(line, sizeof(line), "%s\r\n", lines[i]);

        if (step_bytes(line, (size_t)length, VST_QMP_LINE_MAX, &err) >= 0)
            fail_msg("taken for QMP: %s", lines[i]);
        assert_int_equal(err.code, VST_ERR_PROTOCOL);
        for (const char *c = err.text; *c; c++)
            assert_in_range(*c, ' ', '~');
    }
}

static void a_zero_byte_is_refused(void **state)
{
    static const char inside[] = "{\"return\": \"a\0b\", \"id\": 1}\n";
    static const char after[] = "{\"return\": {}, \"id\": 1}\0 \n";
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(step_bytes(inside, sizeof(inside) - 1, VST_QMP_LINE_MAX, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    err = (struct vst_error){0};
    assert_int_equal(step_bytes(after, sizeof(after) - 1, VST_QMP_LINE_MAX, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
}

static void the_longest_line_is_taken_and_one_byte_more_is_not(void **state)
{
    static const char line[] = "{\"return\": {}, \"id\": 1}\n";
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(step_bytes(line, sizeof(line) - 1, sizeof(line) - 2, &err), 1);
    assert_int_equal(step_bytes(line, sizeof(line) - 1, sizeof(line) - 3, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
}

static void a_line_is_refused_before_its_end_has_come(void **state)
{
    char *bytes = malloc(1001);
    struct vst_error err = {0};

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', 1001);
    assert_int_equal(step_bytes(bytes, 1000, 1000, &err), 0);
    assert_int_equal(step_bytes(bytes, 1001, 1000, &err), -1);
    free(bytes);
}

/* {"return": [[[...]]], "id": 1} with so many brackets */
static int step_nested(size_t brackets, struct vst_error *ret_err)
{
    struct evbuffer *text = evbuffer_new();
    int found;

    evbuffer_add_printf(text, "{\"return\": ");
    for (size_t i = 0; i < brackets; i++)
        evbuffer_add(text, "[", 1);
    for (size_t i = 0; i < brackets; i++)
        evbuffer_add(text, "]", 1);
    evbuffer_add_printf(text, ", \"id\": 1}\n");
    found = step_bytes((const char *)evbuffer_pullup(text, -1), evbuffer_get_length(text),
                       VST_QMP_LINE_MAX, ret_err);
    evbuffer_free(text);
    return found;
}

static void nesting_is_bounded(void **state)
{
    struct vst_error err = {0};

    (void)state;
    assert_int_equal(step_nested(VST_QMP_DEPTH_MAX - 2, &err), 1);
    assert_int_equal(step_nested(VST_QMP_DEPTH_MAX, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
    err = (struct vst_error){0};
    assert_int_equal(step_nested(10000, &err), -1);
    assert_int_equal(err.code, VST_ERR_PROTOCOL);
}

/* The line for this command, allocated, or NULL. */
static char *encode(const char *command, struct json_object *arguments, struct vst_error *ret_err)
{
    struct vst_qmp_codec *codec = make_codec(VST_QMP_LINE_MAX);
    char *line = NULL;
    size_t length;

    if (vst_qmp_codec_encode(codec, command, arguments, 7, &line, &length, ret_err) == 0)
        assert_int_equal(strlen(line), length);
    json_object_put(arguments);
    vst_qmp_codec_free(&codec);
    return line;
}

static void a_command_is_one_line_of_json(void **state)
{
    struct json_object *arguments = json_object_new_object();
    struct vst_error err = {0};
    char *line;

    (void)state;
    line = encode("stop", NULL, &err);
    assert_string_equal(line, "{\"execute\":\"stop\",\"id\":7}\n");
    free(line);
    json_object_object_add(arguments, "file", json_object_new_string("/a\n\"b\""));
    json_object_object_add(arguments, "most", json_object_new_int64(INT64_MAX));
    line = encode("x", arguments, &err);
    assert_string_equal(line, "{\"execute\":\"x\",\"arguments\":{\"file\":\"/a\\n\\\"b\\\"\","
                              "\"most\":9223372036854775807},\"id\":7}\n");
    free(line);
}

static void a_command_that_cannot_be_json_is_refused(void **state)
{
    static char spaces[VST_QMP_COMMAND_MAX];
    struct json_object *arguments = json_object_new_object();
    struct vst_error err = {0};

    (void)state;
    json_object_object_add(arguments, "path", json_object_new_string("/tmp/\xff"));
    assert_null(encode("x", arguments, &err));
    assert_int_equal(err.code, VST_ERR_INVALID);

    err = (struct vst_error){0};
    memset(spaces, ' ', sizeof(spaces) - 1);
    arguments = json_object_new_object();
    json_object_object_add(arguments, "x", json_object_new_string(spaces));
    assert_null(encode("x", arguments, &err));
    assert_int_equal(err.code, VST_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_chunking_gives_the_same_messages),
        VST_TEST(what_is_not_qmp_is_refused),
        VST_TEST(a_zero_byte_is_refused),
        VST_TEST(the_longest_line_is_taken_and_one_byte_more_is_not),
        VST_TEST(a_line_is_refused_before_its_end_has_come),
        VST_TEST(nesting_is_bounded),
        VST_TEST(a_command_is_one_line_of_json),
        VST_TEST(a_command_that_cannot_be_json_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

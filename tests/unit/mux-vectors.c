/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vectors of the wire protocol: conversations as files, each played with one side of the mux.
 * What the lines mean is said in tests/vectors/wire/make.py.
 */
#include "wire.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 8192, NAMES_MAX = 200 };

static const char *file;
static unsigned line_number;
static struct wire_side *side;
static bool ended;            /* the peer has ended the connection */
static struct evbuffer *came; /* from our side, not yet looked at */

#define complain(...)                                       \
    do {                                                    \
        print_message("# %s.wire:%u\n", file, line_number); \
        fail_msg(__VA_ARGS__);                              \
    } while (0)

/* ---- bytes ---- */

static struct evbuffer *bytes_of(const char *text)
{
    struct evbuffer *bytes = evbuffer_new();
    unsigned value, count;
    int used;

    while (sscanf(text, " %2x%n", &value, &used) == 1) {
        text += used;
        count = 1;
        if (sscanf(text, "*%u%n", &count, &used) == 1)
            text += used;
        while (count--)
            evbuffer_add(bytes, &(unsigned char){(unsigned char)value}, 1);
    }
    return bytes;
}

static void collect(void)
{
    size_t n;

    wire_pass();
    while (vst_channel_read(side->raw, came, 1 << 20, &n) == VST_IO_OK)
        wire_pass();
}

/* ---- lines ---- */

static enum vst_wire wire_named(const char *name)
{
    return strcmp(name, "acked") == 0     ? VST_WIRE_ACKED
           : strcmp(name, "replied") == 0 ? VST_WIRE_REPLIED
                                          : VST_WIRE_EAGER;
}

static void begin(char *words)
{
    side = strncmp(words, "server", 6) == 0 ? &wire.server : &wire.client;
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        if (strncmp(word, "window=", 7) == 0)
            side->opt.window = strtoull(word + 7, NULL, 10);
        else if (strncmp(word, "peer=", 5) == 0)
            side->opt.peer_window = strtoull(word + 5, NULL, 10);
        else if (strncmp(word, "sums=", 5) == 0)
            side->opt.sums = true;
        else if (strncmp(word, "wire=", 5) == 0)
            side->opt.wire = wire_named(word + 5);
    wire_start_raw(side);
}

static void send_bytes(const char *text)
{
    struct evbuffer *bytes = bytes_of(text);

    raw_send(side, evbuffer_pullup(bytes, -1), evbuffer_get_length(bytes));
    evbuffer_free(bytes);
}

/* One frame; of an error only who gets it. */
static void expect(const char *text)
{
    bool any = strstr(text, "...");
    struct evbuffer *wanted = bytes_of(text);
    size_t length = evbuffer_get_length(wanted);
    unsigned char *want = evbuffer_pullup(wanted, -1), *got;
    struct vst_frame frame;

    collect();
    if (evbuffer_get_length(came) < VST_FRAME_HEAD)
        complain("nothing came");
    got = evbuffer_pullup(came, -1);
    assert_int_equal(vst_frame_get(got, &frame, NULL), 0);
    if (any) {
        assert_int_equal(length, 5);
        if (got[4] != want[0] || memcmp(got + 8, want + 1, 4) != 0)
            complain("%s came", vst_frame_name(frame.type));
        length = VST_FRAME_HEAD + frame.length;
    } else if (evbuffer_get_length(came) < length || memcmp(got, want, length) != 0) {
        complain("%s of call %u, %u bytes, came", vst_frame_name(frame.type), frame.id,
                 frame.length);
    }
    evbuffer_drain(came, length);
    evbuffer_free(wanted);
}

static void feed(const char *text)
{
    char *rest;
    struct wire_call *call = &side->calls[strtoul(text, &rest, 10)];
    struct evbuffer *bytes = bytes_of(rest);
    size_t length = evbuffer_get_length(bytes);

    wire_feed(call, length ? evbuffer_pullup(bytes, -1) : NULL, length);
    evbuffer_free(bytes);
}

/* After this nothing is on its way. */
static void end_raw(void)
{
    vst_channel_finish(side->raw);
    ended = true;
    collect();
}

static void act(const char *what)
{
    unsigned id = 0;
    char word[16] = "";

    sscanf(what, "%15s %u", word, &id);
    assert_true(id < WIRE_CALLS);
    if (strcmp(word, "call") == 0)
        wire_call(what + 5);
    else if (strcmp(word, "feed") == 0)
        feed(what + 5);
    else if (strcmp(word, "drain") == 0)
        wire_drain(&side->calls[id]);
    else if (strcmp(word, "drop") == 0)
        wire_let_go(&side->calls[id]);
    else if (strcmp(word, "taken") == 0)
        vst_mux_taken(side->mux, id);
    else if (strcmp(word, "reply") == 0)
        wire_reply(id);
    else if (strcmp(word, "answered") == 0)
        vst_mux_ended(side->mux, id, NULL);
    else if (strcmp(word, "finish") == 0)
        vst_mux_finish(side->mux);
    else if (strcmp(word, "end") == 0)
        end_raw();
    else
        complain("what is \"%s\"?", what);
    collect();
}

static void check_end(const char *code)
{
    if (!ended)
        end_raw();
    if (!side->closed)
        complain("it has not ended");
    if (strcmp(vst_code_name(side->err.code), code) != 0)
        complain("it ended with %s: %s", vst_code_name(side->err.code), side->err.text);
}

static void check_open(void)
{
    collect();
    if (side->closed)
        complain("it has ended: %s", side->err.text);
    if (evbuffer_get_length(came))
        complain("something came that should not");
}

static void play(char *line)
{
    if (strncmp(line, "we ", 3) == 0) {
        begin(line + 3);
    } else if (line[0] == '>') {
        send_bytes(line + 1);
    } else if (strncmp(line, "do ", 3) == 0) {
        wire_pass();
        act(line + 3);
    } else if (line[0] == '<') {
        /* Whoever breaks a rule may have to be told before it has ended, or else it waits. */
        if (strstr(line, "< 12 00000000"))
            end_raw();
        expect(line + 1);
    } else if (strncmp(line, "ends ", 5) == 0) {
        check_end(line + 5);
    } else if (strcmp(line, "open") == 0) {
        check_open();
    } else if (line[0] != '#') {
        complain("what is \"%s\"?", line);
    }
}

static void play_file(const char *name)
{
    char path[512], line[LINE_MAX_BYTES];
    FILE *in;

    file = name;
    line_number = 0;
    ended = false;
    came = evbuffer_new();
    snprintf(path, sizeof(path), "%s/wire/%s.wire", VST_VECTORS, name);
    in = fopen(path, "re");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        line_number++;
        line[strcspn(line, "\n")] = '\0';
        play(line);
    }
    fclose(in);
    evbuffer_free(came);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void every_conversation_is_as_the_protocol_says(void **state)
{
    char *names[NAMES_MAX];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir = opendir(VST_VECTORS "/wire");

    (void)state;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char *dot = strstr(entry->d_name, ".wire");

        assert_true(count < NAMES_MAX);
        if (dot)
            names[count++] = strndup(entry->d_name, (size_t)(dot - entry->d_name));
    }
    closedir(dir);
    qsort(names, count, sizeof(names[0]), compare);
    for (size_t i = 0; i < count; i++) {
        play_file(names[i]);
        free(names[i]);
        wire_again();
    }
    assert_true(count > 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(every_conversation_is_as_the_protocol_says, wire_make, wire_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

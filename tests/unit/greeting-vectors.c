/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vectors of the greeting: conversations as files, each played with one side of it. What the
 * lines mean is said in tests/vectors/greeting/make.py.
 */
#include "greet.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

enum { ROOM = 1 << 17, LINE_BYTES = 8192, VECTORS_LEAST = 20 };

static struct greet greet;
static const char *file;
static unsigned line_number;
static int we;

#define complain(...)                                  \
    do {                                               \
        print_message("# %s:%u\n", file, line_number); \
        fail_msg(__VA_ARGS__);                         \
    } while (0)

static size_t bytes_of(const char *text, unsigned char *into)
{
    unsigned value;
    size_t n = 0;
    int used;

    for (; sscanf(text, " %2x%n", &value, &used) == 1; text += used)
        into[n++] = (unsigned char)value;
    return n;
}

static void begin(const char *words)
{
    we = strncmp(words, "server", 6) == 0 ? GREET_SERVER : GREET_CLIENT;
    greet_make(&greet, ROOM);
    if (strstr(words, "login"))
        greet_login(&greet, greet_database(), "alice", "opensesame");
    greet.party[we].sasl.mechanisms = "SCRAM-SHA-256";
    greet_begin(&greet, we);
}

/* One frame, or its type. */
static void expect(const char *text)
{
    unsigned char wanted[LINE_BYTES] = {0}, came[LINE_BYTES];
    size_t length = bytes_of(text, wanted);
    char *body = (char *)came + VST_FRAME_HEAD;
    struct vst_frame frame = {.type = greet_take(&greet, !we, body, LINE_BYTES - VST_FRAME_HEAD)};

    if (strstr(text, "...")) {
        if (frame.type != wanted[0])
            complain("%s came: %s", vst_frame_name(frame.type), body);
        return;
    }
    frame.length = (uint32_t)strlen(body);
    frame.sum = vst_frame_sum(body, frame.length);
    vst_frame_put(&frame, came);
    if (length != VST_FRAME_HEAD + frame.length || memcmp(came, wanted, length) != 0)
        complain("%s came: %s", vst_frame_name(frame.type), body);
}

/* The peer hangs up when it has been refused; who has been let in stays. */
static void check_end(const char *code)
{
    const struct greet_party *party = &greet.party[we];

    if (strcmp(code, "ok") != 0 && we == GREET_SERVER)
        vst_channel_free(&greet.ends[!we]);
    greet_wait(&greet, we);
    if (strcmp(vst_code_name(party->err.code), code) != 0)
        complain("it ended with %s: %s", vst_code_name(party->err.code), party->err.text);
}

static void play(char *line)
{
    unsigned char bytes[LINE_BYTES];

    if (strncmp(line, "we ", 3) == 0)
        begin(line + 3);
    else if (line[0] == '>')
        greet_send_bytes(&greet, !we, bytes, bytes_of(line + 1, bytes));
    else if (line[0] == '<')
        expect(line + 1);
    else if (strncmp(line, "ends ", 5) == 0)
        check_end(line + 5);
    else if (line[0] != '#')
        complain("what is \"%s\"?", line);
}

static void play_file(const char *name)
{
    char path[1024], line[LINE_BYTES];
    FILE *in;

    file = name;
    line_number = 0;
    snprintf(path, sizeof(path), "%s/greeting/%s", VST_VECTORS, name);
    in = fopen(path, "re");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        line_number++;
        line[strcspn(line, "\n")] = '\0';
        play(line);
    }
    fclose(in);
    greet_drop(&greet);
}

static void every_greeting_is_as_the_protocol_says(void **state)
{
    DIR *dir = opendir(VST_VECTORS "/greeting");
    struct dirent *entry;
    unsigned count = 0;

    (void)state;
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        if (strstr(entry->d_name, ".greeting")) {
            play_file(entry->d_name);
            count++;
        }
    closedir(dir);
    assert_true(count >= VECTORS_LEAST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(every_greeting_is_as_the_protocol_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

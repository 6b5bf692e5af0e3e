/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps a program in a state of its own for as long as a test needs, by its trace: a pipe that
 * holds one line, which is looked at, written to a file, and taken out of the pipe only then. So a
 * program that writes a line at each change of state cannot make another change while a line is
 * held. What else it does goes on, and so do its threads and its QEMU. It knows nothing of what it
 * holds.
 *
 *     gate WORDS LOG
 *
 * Standard input is the pipe, read and write, as the program has it for its trace. Lines of the
 * pipe WORDS: "hold STATE" holds the next line that ends in "-> STATE", "go STATE" ends that,
 * before or after. It ends when nobody has WORDS open any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HELD_MAX = 8, STATE_MAX = 64, ONE_LINE = PIPE_BUF, MANY_LINES = 64 * 1024 };

static int words_fd, log_fd;
static char held[HELD_MAX][STATE_MAX]; /* empty: none */
static char line[PIPE_BUF + 1];        /* that is still in the pipe; empty: none */
static bool narrow;                    /* the pipe has room for one line */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "gate: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- what is held ---- */

static char *find(const char *state)
{
    for (int i = 0; i < HELD_MAX; i++)
        if (strcmp(held[i], state) == 0)
            return held[i];
    return NULL;
}

static bool is_held(void)
{
    char *arrow = strstr(line, "-> ");
    char state[STATE_MAX];

    if (!arrow || sscanf(arrow, "-> %63s", state) != 1)
        return false;
    return find(state) != NULL;
}

static bool holds_anything(void)
{
    for (int i = 0; i < HELD_MAX; i++)
        if (held[i][0])
            return true;
    return false;
}

static void hear(const char *word, const char *state)
{
    bool hold = strcmp(word, "hold") == 0;
    char *slot = find(hold ? "" : state);

    if (slot)
        snprintf(slot, STATE_MAX, "%s", hold ? state : "");
}

/* Words are written whole, a line at a time. */
static bool read_words(void)
{
    char text[PIPE_BUF + 1], word[16], state[STATE_MAX];
    ssize_t n = read(words_fd, text, sizeof(text) - 1);
    char *rest = text, *one;

    if (n <= 0)
        return n < 0 && errno == EINTR;
    text[n] = '\0';
    while ((one = strsep(&rest, "\n")))
        if (sscanf(one, "%15s %63s", word, state) == 2)
            hear(word, state);
    return true;
}

/* ---- the pipe ---- */

/* As wide as it should be. It cannot be made narrow while there is more in it: then later. */
static void fit(void)
{
    bool wanted = holds_anything();

    if (wanted != narrow && fcntl(STDIN_FILENO, F_SETPIPE_SZ, wanted ? ONE_LINE : MANY_LINES) >= 0)
        narrow = wanted;
}

/* A copy of the first line, which goes to the log. */
static void peek(int scratch[2])
{
    ssize_t n = tee(STDIN_FILENO, scratch[1], PIPE_BUF, 0);

    if (n > 0)
        n = read(scratch[0], line, PIPE_BUF);
    if (n <= 0)
        die("the trace");
    line[n] = '\0';
    if (write(log_fd, line, (size_t)n) != n)
        die("the log");
}

static void pass(void)
{
    char gone[PIPE_BUF];

    if (read(STDIN_FILENO, gone, sizeof(gone)) <= 0)
        die("the trace");
    line[0] = '\0';
}

/* Until nobody has words any more. */
static void run(int scratch[2])
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO}, {.fd = words_fd, .events = POLLIN}};

    for (;;) {
        fds[0].events = line[0] ? 0 : POLLIN;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            die("poll");
        if (fds[1].revents && !read_words())
            return;
        fit();
        if (!line[0] && fds[0].revents)
            peek(scratch);
        if (line[0] && !is_held())
            pass();
    }
}

int main(int argc, char **argv)
{
    int scratch[2];

    if (argc != 3)
        return 2;
    words_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    log_fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (words_fd < 0 || log_fd < 0 || pipe2(scratch, O_CLOEXEC) < 0)
        die("opening");
    /* In the mode that keeps what was written apart, so that a read takes one line. */
    if (fcntl(STDIN_FILENO, F_SETFL, O_DIRECT) < 0 || fcntl(scratch[1], F_SETPIPE_SZ, ONE_LINE) < 0)
        die("the pipe");
    fit();
    run(scratch);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A link that misbehaves as told: a relay between sockets, for tests and benches of what goes over
 * a network. It delays, limits, cuts, alters and holds bytes, each direction by itself, and is no
 * model of anything else: no loss, no reordering, since what it carries is TCP's payload.
 *
 *     relay LISTEN TARGET [OPTION...]       both are PORT (of 127.0.0.1) or a path
 *
 *     --delay MS        each way
 *     --rate BYTES      a second, each way
 *     --cut-up N        closes both sides after byte N of the way to the target; --cut-down
 *     --flip-up N       inverts the lowest bit of byte N; --flip-down
 *
 * Prints the port (0 asks for a free one) or path when it listens, then counts of bytes for each
 * connection as it ends. Words on its standard input change it while it runs: "hold up", "hold
 * down", "hold", "go", "cut", "refuse" (new ones), "accept". It ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { UP, DOWN, READ_MAX = 256 * 1024, FLIGHT_MAX = 64 * 1024 * 1024, AHEAD_US = 10000 };

/* Bytes that were read together, and when they may leave. */
struct parcel {
    TAILQ_ENTRY(parcel) link;
    int64_t due_us;
    size_t n;
};

/* One direction of one connection. */
struct line {
    struct pair *pair;
    int dir;
    int from, to;
    struct evbuffer *flight; /* all parcels, in order */
    TAILQ_HEAD(, parcel) parcels;
    uint64_t taken, given;
    int64_t next_us; /* when the rate allows the next byte in */
    bool ended;      /* `from` has */
    bool shut;       /* and `to` knows */
    struct event *readable, *writable, *clock;
};

struct pair {
    LIST_ENTRY(pair) link;
    struct line line[2];
};

static struct event_base *base;
static LIST_HEAD(, pair) pairs = LIST_HEAD_INITIALIZER(pairs);
static const char *target;
static int64_t delay_us;
static uint64_t rate;
static uint64_t cut_at[2], flip_at[2]; /* 1 for the first byte; 0: never */
static bool held[2], refusing;

static void look(struct line *line);

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void end_line(struct line *line)
{
    struct parcel *parcel;

    while ((parcel = TAILQ_FIRST(&line->parcels))) {
        TAILQ_REMOVE(&line->parcels, parcel, link);
        free(parcel);
    }
    evbuffer_free(line->flight);
    event_free(line->readable);
    event_free(line->writable);
    event_free(line->clock);
}

static void end_pair(struct pair *pair)
{
    printf("up %" PRIu64 " down %" PRIu64 "\n", pair->line[UP].given, pair->line[DOWN].given);
    fflush(stdout);
    LIST_REMOVE(pair, link);
    end_line(&pair->line[UP]);
    end_line(&pair->line[DOWN]);
    close(pair->line[UP].from);
    close(pair->line[UP].to);
    free(pair);
}

/* ---- one way ---- */

static void flip(struct line *line, size_t n)
{
    uint64_t at = flip_at[line->dir];
    unsigned char *bytes;

    if (at <= line->taken || at > line->taken + n)
        return;
    bytes = evbuffer_pullup(line->flight, -1);
    bytes[evbuffer_get_length(line->flight) - n + (at - line->taken - 1)] ^= 1;
}

/* evbuffer_read() takes 4 KiB at a time. */
static ssize_t read_some(struct line *line)
{
    struct evbuffer_iovec room;
    ssize_t n;

    if (evbuffer_reserve_space(line->flight, READ_MAX, &room, 1) != 1)
        die("memory");
    n = read(line->from, room.iov_base, READ_MAX);
    room.iov_len = n > 0 ? (size_t)n : 0;
    evbuffer_commit_space(line->flight, &room, 1);
    return n;
}

static void take(struct line *line)
{
    ssize_t n = read_some(line);
    struct parcel *parcel;

    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        line->ended = true;
        return;
    }
    if (n < 0)
        return;
    parcel = calloc(1, sizeof(*parcel));
    if (!parcel)
        die("memory");
    flip(line, (size_t)n);
    line->taken += (uint64_t)n;
    if (line->next_us < now_us())
        line->next_us = now_us();
    if (rate)
        line->next_us += (int64_t)((uint64_t)n * 1000000 / rate);
    *parcel = (struct parcel){.due_us = line->next_us + delay_us, .n = (size_t)n};
    TAILQ_INSERT_TAIL(&line->parcels, parcel, link);
}

/* How many bytes at the front may leave now. */
static size_t ripe(const struct line *line)
{
    int64_t now = now_us();
    const struct parcel *parcel;
    size_t n = 0;

    TAILQ_FOREACH(parcel, &line->parcels, link) {
        if (parcel->due_us > now)
            break;
        n += parcel->n;
    }
    return n;
}

static void forget(struct line *line, size_t n)
{
    line->given += n;
    while (n) {
        struct parcel *parcel = TAILQ_FIRST(&line->parcels);
        size_t part = parcel->n < n ? parcel->n : n;

        parcel->n -= part;
        n -= part;
        if (parcel->n)
            return;
        TAILQ_REMOVE(&line->parcels, parcel, link);
        free(parcel);
    }
}

/* Returns -1 when the connection is to end. */
static int give(struct line *line)
{
    uint64_t cut = cut_at[line->dir];
    size_t n = ripe(line);
    int written;

    if (cut && n > cut - line->given)
        n = (size_t)(cut - line->given);
    written = n ? evbuffer_write_atmost(line->flight, line->to, (ev_ssize_t)n) : 0;
    if (written < 0)
        return errno == EAGAIN ? 0 : -1;
    forget(line, (size_t)written);
    if (cut && line->given == cut)
        return -1;
    if (line->ended && TAILQ_EMPTY(&line->parcels) && !line->shut) {
        line->shut = true;
        shutdown(line->to, SHUT_WR);
    }
    return 0;
}

static void set_clock(struct line *line, int64_t until_us)
{
    int64_t wait = until_us - now_us();
    struct timeval tv = {.tv_sec = wait / 1000000, .tv_usec = wait % 1000000};

    event_add(line->clock, wait > 0 ? &tv : &(struct timeval){0});
}

/* Arms exactly what this direction waits for. */
static void arm(struct line *line)
{
    const struct parcel *first = TAILQ_FIRST(&line->parcels);
    bool room = evbuffer_get_length(line->flight) < FLIGHT_MAX;
    /* The queue in front of the link: without one, a busy machine would leave the link idle. */
    bool early = rate && line->next_us > now_us() + AHEAD_US;

    event_del(line->readable);
    event_del(line->writable);
    event_del(line->clock);
    if (held[line->dir])
        return;
    if (!line->ended && room && !early)
        event_add(line->readable, NULL);
    if (first && first->due_us <= now_us())
        event_add(line->writable, NULL);
    else if (first && (!early || first->due_us < line->next_us - AHEAD_US))
        set_clock(line, first->due_us);
    else if (early && !line->ended)
        set_clock(line, line->next_us - AHEAD_US);
}

static void look(struct line *line)
{
    struct pair *pair = line->pair;

    if (give(line) < 0 || (pair->line[UP].shut && pair->line[DOWN].shut))
        end_pair(pair);
    else
        arm(line);
}

static void on_readable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    take(opaque);
    look(opaque);
}

static void on_other(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    look(opaque);
}

/* ---- connections ---- */

static bool is_port(const char *where)
{
    return where[strspn(where, "0123456789")] == '\0';
}

static socklen_t address_of(const char *where, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret_address;
    struct sockaddr_un *un = (struct sockaddr_un *)ret_address;

    memset(ret_address, 0, sizeof(*ret_address));
    if (is_port(where)) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)atoi(where));
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof(*in);
    }
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof(un->sun_path), "%s", where);
    return sizeof(*un);
}

static int connect_to_target(void)
{
    struct sockaddr_storage address;
    socklen_t length = address_of(target, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void line_init(struct pair *pair, int dir, int from, int to)
{
    struct line *line = &pair->line[dir];

    *line = (struct line){.pair = pair, .dir = dir, .from = from, .to = to};
    TAILQ_INIT(&line->parcels);
    line->flight = evbuffer_new();
    line->readable = event_new(base, from, EV_READ, on_readable, line);
    line->writable = event_new(base, to, EV_WRITE, on_other, line);
    line->clock = event_new(base, -1, 0, on_other, line);
    if (!line->flight || !line->readable || !line->writable || !line->clock)
        die("memory");
}

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                     int length, void *opaque)
{
    int to = refusing ? -1 : connect_to_target();
    struct pair *pair;

    (void)listener, (void)address, (void)length, (void)opaque;
    if (to < 0) {
        close(fd);
        return;
    }
    evutil_make_socket_nonblocking(to);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    pair = calloc(1, sizeof(*pair));
    if (!pair)
        die("memory");
    LIST_INSERT_HEAD(&pairs, pair, link);
    line_init(pair, UP, fd, to);
    line_init(pair, DOWN, to, fd);
    arm(&pair->line[UP]);
    arm(&pair->line[DOWN]);
}

static void set_held(bool up, bool down)
{
    struct pair *pair;

    held[UP] = up;
    held[DOWN] = down;
    LIST_FOREACH(pair, &pairs, link) {
        arm(&pair->line[UP]);
        arm(&pair->line[DOWN]);
    }
}

static void obey(const char *word)
{
    if (strcmp(word, "hold") == 0)
        set_held(true, true);
    else if (strcmp(word, "hold up") == 0)
        set_held(true, held[DOWN]);
    else if (strcmp(word, "hold down") == 0)
        set_held(held[UP], true);
    else if (strcmp(word, "go") == 0)
        set_held(false, false);
    else if (strcmp(word, "refuse") == 0 || strcmp(word, "accept") == 0)
        refusing = word[0] == 'r';
    else if (strcmp(word, "cut") == 0)
        while (!LIST_EMPTY(&pairs))
            end_pair(LIST_FIRST(&pairs));
    else
        fprintf(stderr, "relay: unknown word '%s'\n", word);
}

static void on_word(evutil_socket_t fd, short what, void *opaque)
{
    struct evbuffer *said = opaque;
    char *word;

    (void)what;
    if (evbuffer_read(said, fd, 4096) <= 0) {
        event_base_loopbreak(base);
        return;
    }
    while ((word = evbuffer_readln(said, NULL, EVBUFFER_EOL_LF))) {
        obey(word);
        free(word);
    }
}

/* ---- starting ---- */

static void parse(int argc, char **argv)
{
    static const struct option options[] = {{"delay", required_argument, NULL, 'd'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"cut-up", required_argument, NULL, 'c'},
                                            {"cut-down", required_argument, NULL, 'C'},
                                            {"flip-up", required_argument, NULL, 'f'},
                                            {"flip-down", required_argument, NULL, 'F'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

        switch (option) {
        case 'd':
            delay_us = (int64_t)number * 1000;
            break;
        case 'r':
            rate = number;
            break;
        case 'c':
            cut_at[UP] = number;
            break;
        case 'C':
            cut_at[DOWN] = number;
            break;
        case 'f':
            flip_at[UP] = number;
            break;
        case 'F':
            flip_at[DOWN] = number;
            break;
        default:
            exit(2);
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, "usage: relay LISTEN TARGET [OPTION...]\n");
        exit(2);
    }
}

static struct evconnlistener *listen_at(const char *where)
{
    struct sockaddr_storage address;
    socklen_t length = address_of(where, &address);
    struct evconnlistener *listener = evconnlistener_new_bind(
        base, accepted, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
        128, (struct sockaddr *)&address, (int)length);

    if (!listener)
        die(where);
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &length);
    if (is_port(where))
        printf("%u\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
    else
        printf("%s\n", where);
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    struct evbuffer *said = evbuffer_new();
    struct evconnlistener *listener;
    struct event *words;

    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN); /* who has gone ends his connection, and not the link */
    target = argv[optind + 1];
    base = event_base_new();
    if (!base || !said)
        die("memory");
    listener = listen_at(argv[optind]);
    words = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_word, said);
    if (!words || event_add(words, NULL) < 0)
        die("standard input");
    event_base_dispatch(base);
    while (!LIST_EMPTY(&pairs))
        end_pair(LIST_FIRST(&pairs));
    evconnlistener_free(listener);
    event_free(words);
    evbuffer_free(said);
    event_base_free(base);
    return 0;
}

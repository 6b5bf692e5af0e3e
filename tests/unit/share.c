/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many streams on one connection, counted: each gets its share, one that stalls stalls itself
 * alone, pings overtake, and what is held stays within the bounds of PROTOCOL.md, whether it is the
 * client or the server that reads no more. On the public API, against a server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app.h"
#include "core/stream-private.h"
#include "hand.h"
#include "remote/window.h"

enum {
    STREAMS = 64,
    KIB = 1024,
    MIB = 1024 * KIB,
    SEND_LOW = 64 * KIB,  /* a stream that may send more than that has so much waiting */
    SEND_MAX = 320 * KIB, /* "waiting to be sent, per stream" */
    WRITE_MAX = 512 * KIB,
    SOME_MORE_MS = 300, /* for what would go beyond a bound */
};

static struct served served;
static struct app app;

/* ---- many saves ---- */

struct taker {
    struct vst_domain *domain;
    struct vst_stream *stream;
    struct outcome outcome;
    uint64_t taken;
    bool stalls; /* takes one piece and no more */
};

static struct taker takers[STREAMS];

static enum vst_io take(const void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    struct taker *taker = opaque;

    (void)buf, (void)ret_err;
    if (taker->stalls && taker->taken)
        return VST_IO_AGAIN;
    taker->taken += len;
    *ret_n = len;
    return VST_IO_OK;
}

static void begin_save(struct taker *taker, int number)
{
    struct vst_writer writer = {.write = take, .opaque = taker};
    struct outcome found = {0};
    char name[16];

    snprintf(name, sizeof(name), "test%d", number + 1);
    vst_conn_lookup(app.conn, name, outcome_domain(&found));
    outcome_await(served.base, &found);
    *taker = (struct taker){
        .domain = found.domain, .stream = vst_stream_new(served.base, NULL), .stalls = number == 0};
    vst_stream_set_sink_writer(taker->stream, &writer);
    vst_domain_save(taker->domain, taker->stream, NULL, outcome_done(&taker->outcome));
}

static void end_save(struct taker *taker)
{
    vst_stream_abort(taker->stream, NULL);
    while (!taker->outcome.released)
        event_base_loop(served.base, EVLOOP_ONCE);
    vst_stream_free(&taker->stream);
    vst_domain_free(&taker->domain);
}

static void connect_app(const char *path)
{
    struct outcome opened = {0};
    char uri[128];

    snprintf(uri, sizeof(uri), "test+unix://%s", path);
    vst_conn_open(served.base, uri, NULL, outcome_conn(&opened));
    outcome_await(served.base, &opened);
    assert_non_null(opened.conn);
    app = (struct app){.base = served.base, .conn = opened.conn};
}

static int begin(void **state)
{
    (void)state;
    served_start(&served, "test:///?domains=64&memory=1T", VST_ROLE_ADMIN, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    served_settle(&served);
    served_stop(&served);
    return 0;
}

/* ---- what a connection holds ---- */

static uint64_t most_held;
static bool told;

static void read_stats(const char *json, const struct vst_error *err, void *opaque)
{
    const char *at = json ? strstr(json, "\"most-held\":") : NULL;

    (void)err, (void)opaque;
    assert_non_null(at);
    most_held = strtoull(at + strlen("\"most-held\":"), NULL, 10);
    told = true;
}

static uint64_t most_held_by_client(void)
{
    struct vst_stats_cb cb = {read_stats, NULL, NULL};

    told = false;
    vst_conn_get_stats(app.conn, &cb);
    while (!told)
        event_base_loop(served.base, EVLOOP_ONCE);
    return most_held;
}

/* Of the whole process: what the kernel gave, not what was asked for. Nothing where more is kept to
 * find errors. */
static size_t memory(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    FILE *file = fopen("/proc/self/statm", "re");
    long pages = 0;

    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
#endif
}

/* ---- pings in between ---- */

static struct {
    bool under_way;
    uint64_t began; /* bytes that had been taken */
    uint64_t most;  /* that were taken while one was under way */
    unsigned count;
} pings;

static uint64_t taken_by_all(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < STREAMS; i++)
        sum += takers[i].taken;
    return sum;
}

static void pong(int64_t us, const struct vst_error *err, void *opaque)
{
    uint64_t meanwhile = taken_by_all() - pings.began;

    (void)opaque;
    assert_null(err);
    assert_true(us >= 0);
    pings.under_way = false;
    pings.most = meanwhile > pings.most ? meanwhile : pings.most;
    pings.count++;
}

static void ping(void)
{
    struct vst_ping_cb cb = {pong, NULL, NULL};

    if (pings.under_way)
        return;
    pings.under_way = true;
    pings.began = taken_by_all();
    vst_conn_ping(app.conn, &cb);
}

/* ---- the tests ---- */

static void stalled_stream_stalls_itself_alone(void **state)
{
    enum { EACH = 8 * MIB };
    uint64_t least = UINT64_MAX, most = 0, held = 0;

    (void)state;
    vst_test_seconds(120);
    connect_app(served.path);
    for (int i = 0; i < STREAMS; i++)
        begin_save(&takers[i], i);
    for (int i = 1; i < STREAMS; i++)
        takers[i].taken = 0; /* they have not all begun at once */
    while (taken_by_all() < (uint64_t)STREAMS * EACH) {
        event_base_loop(served.base, EVLOOP_ONCE);
        held = served_stats(&served).held > held ? served_stats(&served).held : held;
        ping();
    }
    for (int i = 1; i < STREAMS; i++) {
        least = takers[i].taken < least ? takers[i].taken : least;
        most = takers[i].taken > most ? takers[i].taken : most;
    }
    print_message(
        "# 63 streams took %.1f to %.1f MiB each, the stalled one %.1f; %u pings, at most "
        "%.2f MiB overtook one\n",
        (double)least / MIB, (double)most / MIB, (double)takers[0].taken / MIB, pings.count,
        (double)pings.most / MIB);
    assert_true(least >= most - most / 4);
    assert_true(takers[0].taken <= VST_STREAM_LIMIT);
    assert_true(pings.count > 10);
    assert_true(pings.most <= 4 * MIB);
    assert_true(held <= STREAMS * SEND_MAX + WRITE_MAX);
    for (int i = 0; i < STREAMS; i++)
        end_save(&takers[i]);
    print_message("# held at most: server %.1f MiB, client %.1f MiB\n", (double)held / MIB,
                  (double)most_held_by_client() / MIB);
    assert_true(most_held <= 256 * MIB);
    vst_conn_close(&app.conn);
}

static void client_that_never_reads_costs_no_more_than_the_bound(void **state)
{
    size_t before = memory(), used;
    uint64_t held;
    struct hand hand;

    (void)state;
    hand_join(&hand, &served, VST_WINDOW_MAX);
    for (uint32_t id = 1; id <= STREAMS; id++) {
        char call[96];

        snprintf(call, sizeof(call), "{\"procedure\":\"save\",\"arguments\":{\"name\":\"test%u\"}}",
                 id);
        hand_text(&hand, VST_FRAME_CALL, id, call);
    }
    while (served_stats(&served).held < STREAMS * SEND_LOW)
        served_run(&served, 10);
    served_run(&served, SOME_MORE_MS);
    held = served_stats(&served).held;
    used = memory() - before;
    print_message("# a client that never reads %d streams: %.1f MiB held, %.1f MiB in all\n",
                  STREAMS, (double)held / MIB, (double)used / MIB);
    assert_true(held <= STREAMS * SEND_MAX + WRITE_MAX);
    assert_true(!memory() || used <= STREAMS * (SEND_MAX + VST_STREAM_LIMIT + 256 * KIB));
    hand_leave(&hand);
}

/* ---- a server that says HELLO, grants all that can be granted, and reads nothing ---- */

static struct {
    char path[108];
    int listener;
    int fd;
} deaf;

static int begin_deaf(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    begin(state);
    snprintf(deaf.path, sizeof(deaf.path), "%s.deaf", served.path);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", deaf.path);
    deaf.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(deaf.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    return listen(deaf.listener, 1);
}

static int end_deaf(void **state)
{
    unlink(deaf.path);
    close(deaf.listener);
    return end(state);
}

static void say(enum vst_frame_type type, const char *body)
{
    uint32_t length = (uint32_t)strlen(body);
    struct vst_frame frame = {length, type, 0, vst_frame_sum(body, length), false};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    assert_int_equal(send(deaf.fd, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(send(deaf.fd, body, length, 0), length);
}

static void connect_to_deaf(void)
{
    struct outcome opened = {0};
    char uri[160];

    snprintf(uri, sizeof(uri), "test+unix://%s", deaf.path);
    vst_conn_open(served.base, uri, NULL, outcome_conn(&opened));
    while ((deaf.fd = accept4(deaf.listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        event_base_loop(served.base, EVLOOP_NONBLOCK);
    say(VST_FRAME_HELLO, "{\"version\":1,\"software\":\"deaf\",\"window\":1073741824,"
                         "\"streams\":64}");
    say(VST_FRAME_AUTH_DONE, "{}");
    outcome_await(served.base, &opened);
    app = (struct app){.base = served.base, .conn = opened.conn};
}

/* Endless. */
static enum vst_io give(void *buf, size_t len, size_t *ret_n, struct vst_error *ret_err,
                        void *opaque)
{
    (void)ret_err;
    memset(buf, 'x', len);
    *(uint64_t *)opaque += len;
    *ret_n = len;
    return VST_IO_OK;
}

static void server_that_never_reads_costs_no_more_than_the_bound(void **state)
{
    struct vst_stream *streams[STREAMS];
    struct outcome outcomes[STREAMS] = {{0}};
    uint64_t given = 0;
    size_t used = memory();

    (void)state;
    connect_to_deaf();
    for (int i = 0; i < STREAMS; i++) {
        struct vst_reader reader = {give, &given, NULL};

        streams[i] = vst_stream_new(served.base, NULL);
        vst_stream_set_source_reader(streams[i], &reader);
        vst_volume_upload(app.conn, "p/volume", streams[i], NULL, outcome_done(&outcomes[i]));
    }
    while (given < STREAMS * VST_STREAM_LIMIT)
        served_run(&served, 10);
    served_run(&served, SOME_MORE_MS);
    used = memory() - used;
    print_message("# a server that never reads %d streams: %.1f MiB given, %.1f MiB in all\n",
                  STREAMS, (double)given / MIB, (double)used / MIB);
    assert_true(given <= STREAMS * (VST_STREAM_LIMIT + SEND_MAX) + WRITE_MAX);
    assert_true(used <= 2 * STREAMS * (VST_STREAM_LIMIT + SEND_MAX));
    close(deaf.fd);
    for (int i = 0; i < STREAMS; i++) {
        while (!outcomes[i].released)
            event_base_loop(served.base, EVLOOP_ONCE);
        assert_int_equal(outcomes[i].err.code, VST_ERR_LOST);
        vst_stream_free(&streams[i]);
    }
    vst_conn_close(&app.conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(client_that_never_reads_costs_no_more_than_the_bound, begin, end),
        VST_TEST_WITH(server_that_never_reads_costs_no_more_than_the_bound, begin_deaf, end_deaf),
        VST_TEST_WITH(stalled_stream_stalls_itself_alone, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

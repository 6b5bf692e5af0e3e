/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream of a migration that is damaged on its way, in either direction: flipped bits, records
 * that are swapped, repeated or left out, and cuts at their boundaries and one byte beside. The
 * test itself is the client that relays between two roots of this process, and lies. What is
 * damaged is refused, the guest runs on, and nothing is left where it was going. The last test eats
 * the return path: then QEMU resumes the guest at the source by itself, and no other must run.
 */
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/migration.h"
#include "core/record-frame.h"
#include "far.h"

enum { PIECE = 65536 };

enum lie { TRUTH, FLIP, SWAP, REPEAT, LEAVE_OUT, CUT, EAT };

/* What is done to one way, and where: at a byte, or to a record and the one after it. */
struct tamper {
    enum lie lie;
    enum vst_direction way;
    size_t at;
};

/* One way of the stream, through us. */
struct way {
    enum vst_direction dir;
    struct vst_stream *from, *to;
    struct evbuffer *in, *held, *out; /* `held`: the first one of two that are swapped */
    size_t passed;                    /* bytes */
    size_t begins[256];               /* of each record, and the end of the last */
    unsigned records;
    bool whole; /* END has passed: what is left of `from` is its end, which means "loaded" */
    bool closed;
};

static struct vst_host host;
static struct vst_conn *far;
static struct tamper tamper;

static struct relay {
    char token[37];
    uint64_t last;
    struct vst_stream *source, *destination;
    struct way up, back;
    bool told, over, struck;
    struct vst_error outcome;
} relay;

static int begin(void **state)
{
    char uri[128];

    (void)state;
    vst_test_seconds(300);
    vst_host_make(&host);
    far_make_uri(&host, uri);
    far = far_connect(host.base, uri);
    assert_non_null(far);
    return 0;
}

static int end(void **state)
{
    (void)state;
    far_disconnect(&host, &far);
    vst_host_clear(&host);
    return 0;
}

/* ---- lies ---- */

static bool is_for(const struct way *way, enum lie lie)
{
    return tamper.lie == lie && tamper.way == way->dir;
}

static void flip(struct way *way, struct evbuffer *bytes)
{
    size_t length = evbuffer_get_length(bytes);

    if (is_for(way, FLIP) && tamper.at / 8 >= way->passed && tamper.at / 8 < way->passed + length) {
        evbuffer_pullup(bytes, -1)[tamper.at / 8 - way->passed] ^= 1 << tamper.at % 8;
        relay.struck = true;
    }
}

/* As if nothing had been after it: the next reader sees a clean end. */
static void cut(struct way *way, struct evbuffer *bytes)
{
    size_t length = evbuffer_get_length(bytes), keep;

    if (!is_for(way, CUT) || tamper.at > way->passed + length)
        return;
    keep = tamper.at > way->passed ? tamper.at - way->passed : 0;
    relay.struck |= keep < length;
    way->closed |= keep < length;
    evbuffer_remove_buffer(bytes, way->held, length); /* which is thrown away */
    evbuffer_remove_buffer(way->held, bytes, keep);
}

/* A whole record, or the preamble, goes on. */
static void pass(struct way *way, struct evbuffer *record)
{
    size_t length = evbuffer_get_length(record);
    unsigned number = way->records++;
    unsigned char *copy = malloc(length);

    if (way->records < sizeof(way->begins) / sizeof(*way->begins))
        way->begins[way->records] = way->passed + length;
    evbuffer_copyout(record, copy, length);
    flip(way, record);
    cut(way, record);
    way->passed += length;
    if (is_for(way, SWAP) && number == tamper.at) {
        relay.struck = true; /* the last one has none to be swapped with: it is left out */
        evbuffer_add_buffer(way->held, record);
        free(copy);
        return;
    }
    if (!(is_for(way, LEAVE_OUT) && number == tamper.at))
        evbuffer_add_buffer(way->out, record);
    if (is_for(way, REPEAT) && number == tamper.at)
        evbuffer_add(way->out, copy, length);
    if (is_for(way, SWAP) && number == tamper.at + 1)
        evbuffer_add_buffer(way->out, way->held);
    relay.struck |= tamper.way == way->dir && tamper.at == number &&
                    (tamper.lie == LEAVE_OUT || tamper.lie == REPEAT);
    evbuffer_drain(record, evbuffer_get_length(record));
    free(copy);
}

/* The length of what is next, or 0 when it is not there yet. */
static size_t next_length(struct way *way, uint32_t *ret_type)
{
    unsigned char head[VST_RECORD_HEAD];
    size_t there = evbuffer_get_length(way->in), length = VST_RECORD_PREAMBLE;

    *ret_type = 0;
    if (way->records) {
        if (evbuffer_copyout(way->in, head, sizeof(head)) < (ssize_t)sizeof(head))
            return 0;
        *ret_type = vst_get_be32(head);
        length = VST_RECORD_HEAD + vst_get_be32(head + 4);
    }
    return there >= length ? length : 0;
}

static void take_records(struct way *way)
{
    struct evbuffer *record = evbuffer_new();
    uint32_t type;
    size_t length;

    while (!way->closed && (length = next_length(way, &type))) {
        evbuffer_remove_buffer(way->in, record, length);
        pass(way, record);
        way->whole |= type == VST_RECORD_END;
    }
    evbuffer_free(record);
}

/* ---- the way of the bytes ---- */

static void step(struct way *way)
{
    enum vst_io io = VST_IO_OK;
    size_t n;

    if (!way->from || !way->to)
        return;
    /* What comes back is taken to its end; at the source's end that would say that all is loaded.
     */
    while (io == VST_IO_OK && !way->closed && !(way->whole && way->dir == VST_UP)) {
        io = vst_stream_read_buffer(way->from, way->in, PIECE, &n);
        if (is_for(way, EAT)) {
            relay.struck |= n > 0;
            evbuffer_drain(way->in, evbuffer_get_length(way->in));
        } else {
            take_records(way);
        }
        way->closed |= io == VST_IO_EOF;
        if (io == VST_IO_FAIL)
            vst_stream_abort(way->to, NULL);
    }
    while (evbuffer_get_length(way->out))
        if (vst_stream_write_buffer(way->to, way->out, &n) != VST_IO_OK)
            return;
    if (way->closed || (way->whole && way->dir == VST_UP))
        vst_stream_finish(way->to);
}

static void moved(struct vst_stream *stream, void *opaque)
{
    (void)stream, (void)opaque;
    step(&relay.up);
    step(&relay.back);
}

static void clear_way(struct way *way)
{
    evbuffer_free(way->in);
    evbuffer_free(way->held);
    evbuffer_free(way->out);
    way->from = way->to = NULL;
}

static void make_way(struct way *way, enum vst_direction dir, struct vst_stream *from,
                     struct vst_stream *to)
{
    *way = (struct way){.dir = dir, .from = from, .to = to};
    way->in = evbuffer_new();
    way->held = evbuffer_new();
    way->out = evbuffer_new();
}

/* Only now may the source's end be read: it says that all is loaded. */
static void destination_over(const struct vst_error *err, void *opaque)
{
    size_t n;

    (void)opaque;
    while (!err && relay.source &&
           vst_stream_read_buffer(relay.source, relay.up.in, PIECE, &n) == VST_IO_OK)
        continue;
    if (err && relay.source)
        vst_stream_abort(relay.source, err->text);
    relay.up.to = relay.back.from = NULL;
    vst_stream_free(&relay.destination);
}

static void source_over(const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err && relay.destination)
        vst_stream_abort(relay.destination, err->text);
    relay.up.from = relay.back.to = NULL;
    vst_stream_free(&relay.source);
}

static void carry(void)
{
    static const struct vst_stream_callbacks cb = {.readable = moved, .writable = moved};
    const struct vst_done far_done = {.fn = destination_over}, near_done = {.fn = source_over};

    relay.source = vst_stream_new(host.base, NULL);
    relay.destination = vst_stream_new(host.base, NULL);
    make_way(&relay.up, VST_UP, relay.source, relay.destination);
    make_way(&relay.back, VST_DOWN, relay.destination, relay.source);
    vst_stream_set_callbacks(relay.source, &cb, NULL);
    vst_stream_set_callbacks(relay.destination, &cb, NULL);
    vst_conn_migrate_stream(far, relay.token, NULL, relay.destination, &far_done);
    vst_conn_relay_stream(host.conn, relay.token, NULL, relay.source, &near_done);
}

/* ---- errands ---- */

static void answered(const struct vst_migrate_message *answer, const struct vst_error *err,
                     void *opaque)
{
    uint64_t *number = opaque;

    vst_conn_relay_answer(host.conn, relay.token, *number, answer, err, NULL);
}

static void ask(const struct vst_errand *errand)
{
    struct vst_migrate_message message = errand->message;
    uint64_t *number = malloc(sizeof(*number));
    struct vst_answer_cb cb = {answered, number, free};

    *number = errand->number;
    snprintf(message.token, sizeof(message.token), "%s", relay.token);
    vst_conn_migrate_message(far, &message, &cb);
}

static void have_errand(const struct vst_errand *errand, const struct vst_error *err, void *opaque);

static void fetch(void)
{
    struct vst_errand_cb cb = {.fn = have_errand};

    vst_conn_relay_fetch(host.conn, relay.token, relay.last, &cb);
}

static void have_errand(const struct vst_errand *errand, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err)
        fail_msg("fetch: %s", err->text);
    relay.last = errand->number;
    if (errand->kind == VST_ERRAND_ASK) {
        ask(errand);
    } else if (errand->kind == VST_ERRAND_CARRY) {
        carry();
    } else if (errand->kind == VST_ERRAND_TOLD) {
        relay.told = true;
        relay.outcome = errand->err;
    }
    relay.over = errand->kind == VST_ERRAND_OVER;
    if (!relay.over)
        fetch();
}

static void begun(const struct vst_errand *errand, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err)
        fail_msg("begin: %s", err->text);
    snprintf(relay.token, sizeof(relay.token), "%s", errand->token);
    fetch();
}

/* A migration with this lie, to its end: whether there was anything to lie about. */
static bool migrate(enum lie lie, enum vst_direction way, size_t at)
{
    static const struct vst_migrate_options opt;
    struct vst_errand_cb cb = {.fn = begun};

    tamper = (struct tamper){lie, way, at};
    relay = (struct relay){.last = 0};
    vst_conn_relay_begin(host.conn, "g", "qemu+tls://there/", &opt, false, &cb);
    while (!relay.over || relay.source || relay.destination)
        event_base_loop(host.base, EVLOOP_ONCE);
    clear_way(&relay.up);
    clear_way(&relay.back);
    return relay.struck;
}

/* ---- what came of it ---- */

static void have_info(const struct vst_domain_info *infos, size_t count,
                      const struct vst_error *err, void *opaque)
{
    int *state = opaque;

    for (size_t i = 0; !err && i < count; i++)
        if (strcmp(infos[i].name, "g") == 0)
            *state = (int)infos[i].state;
}

static int state_at(struct vst_conn *conn)
{
    int state = -1;
    struct vst_info_cb cb = {.fn = have_info, .opaque = &state};

    vst_op_wait(vst_conn_list(conn, &cb), NULL);
    return state;
}

/* It runs where it was, or where it was going, and nowhere else. */
static void expect_one(const char *what, size_t at, bool only_here)
{
    int state = state_at(host.conn), there = state_at(far);
    bool runs_here = state == VST_DOMAIN_RUNNING && there == -1;
    bool runs_there = there == VST_DOMAIN_RUNNING && state == -1;

    if (!relay.told ||
        (only_here ? !runs_here || relay.outcome.code == VST_ERR_OK : !runs_here && !runs_there))
        fail_msg("%s at %zu: %s; here %d, there %d", what, at, relay.outcome.text, state, there);
}

static void start_none(void)
{
    char *definition = vst_host_none("g");
    struct vst_error err = {0};

    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
}

/* One that went through is ended there, and there is another one here. */
static void begin_again(void (*start)(void))
{
    struct vst_conn *here = host.conn;

    if (state_at(far) == -1)
        return;
    host.conn = far;
    vst_host_destroy(&host, "g", NULL);
    host.conn = here;
    start();
}

/* ---- tests ---- */

/* How much goes each way, of a guest that gets through. */
static struct way measure(enum vst_direction dir)
{
    start_none();
    migrate(TRUTH, dir, 0);
    if (relay.outcome.code != VST_ERR_OK)
        fail_msg("undisturbed: %s", relay.outcome.text);
    begin_again(start_none);
    print_message("# %s: %zu bytes, %u records\n", dir == VST_UP ? "up" : "down",
                  dir == VST_UP ? relay.up.passed : relay.back.passed,
                  dir == VST_UP ? relay.up.records : relay.back.records);
    return dir == VST_UP ? relay.up : relay.back;
}

static unsigned struck;

/* What was not there to be damaged this time went through, as it should. */
static void lie(enum lie what, const char *name, enum vst_direction dir, size_t at)
{
    if (migrate(what, dir, at)) {
        expect_one(name, at, dir == VST_UP);
        struck++;
    } else if (relay.outcome.code != VST_ERR_OK) {
        fail_msg("%s at %zu, which nothing had: %s", name, at, relay.outcome.text);
    }
    begin_again(start_none);
}

static void flip_bits(enum vst_direction dir)
{
    struct way whole = measure(dir);
    size_t bits = 8 * whole.passed, tries = getenv("VST_TEST_LONG") ? 300 : 12;

    struck = 0;
    for (size_t i = 0; i < tries; i++)
        lie(FLIP, "a flipped bit", dir, bits / tries * i + i % 8);
    assert_true(struck > tries / 2);
}

/* The first two go before the guest is paused, one soon after the other. What is missing later is
 * only missed by the clock of the switch. */
static void move_records(enum vst_direction dir)
{
    struct way whole = measure(dir);

    struck = 0;
    for (unsigned i = 1; i < whole.records; i++)
        lie(REPEAT, "a repeated record", dir, i);
    lie(LEAVE_OUT, "a missing record", dir, 1);
    lie(SWAP, "swapped records", dir, 1);
    assert_true(struck > 3);
}

static void cut_off(enum vst_direction dir)
{
    struct way whole = measure(dir);

    struck = 0;
    for (unsigned i = 0; i <= whole.records; i++) {
        if (i > 2 && i + 2 < whole.records)
            continue;
        if (i)
            lie(CUT, "a cut before the boundary", dir, whole.begins[i] - 1);
        if (i < whole.records) {
            lie(CUT, "a cut at the boundary", dir, whole.begins[i]);
            lie(CUT, "a cut after the boundary", dir, whole.begins[i] + 1);
        }
    }
    assert_true(struck > 2);
}

static void flipped_bits_are_refused(void **state)
{
    (void)state;
    flip_bits(VST_UP);
}

static void records_out_of_order_are_refused(void **state)
{
    (void)state;
    move_records(VST_UP);
}

static void stream_that_is_cut_is_refused(void **state)
{
    (void)state;
    cut_off(VST_UP);
}

static void damaged_return_path_leaves_one_guest(void **state)
{
    (void)state;
    flip_bits(VST_DOWN);
}

/* The destination has loaded everything by then; the source's QEMU gives up, and resumes. */
static void eaten_return_path_leaves_one_guest(void **state)
{
    char *definition = vst_host_counting(&host, "g", "P");
    struct vst_error err = {0};

    (void)state;
    if (vst_host_start(&host, definition, &err) < 0)
        fail_msg("start: %s", err.text);
    free(definition);
    vst_host_expect_counting(&host, "g", 3);
    assert_true(migrate(EAT, VST_DOWN, 0));
    expect_one("an eaten return path", 0, true);
    vst_host_expect_counting(&host, "g", 5);
    assert_int_equal(vst_host_destroy(&host, "g", NULL), 0);
    vst_host_expect_gapless(&host, "g");
}

#define DAMAGE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DAMAGE_TEST(flipped_bits_are_refused),
        DAMAGE_TEST(records_out_of_order_are_refused),
        DAMAGE_TEST(stream_that_is_cut_is_refused),
        DAMAGE_TEST(damaged_return_path_leaves_one_guest),
        DAMAGE_TEST(eaten_return_path_leaves_one_guest),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

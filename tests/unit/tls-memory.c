/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS when memory runs out: each allocation of the layer and of libevent fails once, from loading
 * the certificates to the end of a session. Then there is an error, or everything has arrived. What
 * GnuTLS allocates for itself is not failed: the arithmetic below it aborts the process then.
 */
#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loop.h"
#include "pki.h"

enum { LEN = 40000, SECONDS_MAX = 5, TIMERS = 64 };

static long until_failure = -1; /* allocations; negative: none fails */

static int fails(void)
{
    if (until_failure < 0 || until_failure-- > 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */
#define WRAP(type, name, parameters, arguments)          \
    type __real_##name parameters;                       \
    type __wrap_##name parameters;                       \
    type __wrap_##name parameters                        \
    {                                                    \
        return fails() ? NULL : __real_##name arguments; \
    }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(char *, strndup, (const char *text, size_t n), (text, n))
/* NOLINTEND(bugprone-reserved-identifier) */

static void *event_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *event_realloc(void *memory, size_t size)
{
    return fails() ? NULL : realloc(memory, size);
}

static struct event_base *base;
static struct event *timers[TIMERS];
static unsigned char data[LEN];

static void nothing(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
}

/* A base whose loop has room for timers: when that runs out libevent may not say so. */
static void make_base(void)
{
    static const struct timeval now = {0, 0};
    struct timeval late = {1000, 0};

    base = event_base_new();
    event_base_init_common_timeout(base, &now);
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = evtimer_new(base, nothing, NULL);
        event_add(timers[i], &late);
    }
    for (int i = 0; i < TIMERS; i++)
        event_del(timers[i]);
}

static void free_base(void)
{
    for (int i = 0; i < TIMERS; i++)
        event_free(timers[i]);
    event_base_free(base);
}

static bool secure(struct vst_channel **ch, enum vst_tls_role role, struct vst_error *err)
{
    bool client = role == VST_TLS_CLIENT;
    struct vst_tls_files files = {(char *)pki_path("ca-cert.pem"),
                                  (char *)pki_path(client ? "alice-cert.pem" : "host-cert.pem"),
                                  (char *)pki_path(client ? "alice-key.pem" : "host-key.pem"),
                                  NULL};
    struct vst_tls_options opt = {.role = role, .host = client ? "host.example" : NULL};
    struct vst_tls_creds *creds = vst_tls_creds_load(role, &files, err);
    struct vst_channel *tls = creds ? vst_channel_tls(*ch, creds, &opt, err) : NULL;

    vst_tls_creds_unref(&creds);
    if (tls)
        *ch = tls;
    return tls != NULL;
}

struct way {
    enum vst_io open, out, in;
};

/* Moves what it can: client to server. */
static void move(struct vst_channel *ends[2], struct evbuffer *from, struct evbuffer *into,
                 struct way *way)
{
    size_t n;

    if (way->open != VST_IO_OK) {
        enum vst_io a = vst_channel_open(ends[0]), b = vst_channel_open(ends[1]);

        way->open = a > b ? a : b;
        return;
    }
    if (evbuffer_get_length(from))
        way->out = vst_channel_write(ends[0], from, LEN, &n);
    else if (way->out != VST_IO_EOF && (way->out = vst_channel_finish(ends[0])) == VST_IO_OK)
        way->out = VST_IO_EOF;
    way->in = vst_channel_read(ends[1], into, 3000, &n);
}

static int transfer(struct vst_channel *ends[2], struct evbuffer *from, struct evbuffer *into,
                    struct vst_error *err)
{
    struct way way = {VST_IO_AGAIN, VST_IO_OK, VST_IO_OK};
    time_t began = time(NULL);

    if (!secure(&ends[0], VST_TLS_CLIENT, err) || !secure(&ends[1], VST_TLS_SERVER, err))
        return -1;
    while (way.out != VST_IO_EOF || way.in != VST_IO_EOF) {
        move(ends, from, into, &way);
        for (int i = 0; i < 2; i++)
            if (ends[i]->dead)
                return vst_error_copy(err, vst_channel_error(ends[i]));
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        assert_true(time(NULL) - began < SECONDS_MAX);
    }
    return 0;
}

/* One session, in which allocation `number` fails; whether there were as many. */
static bool try_failure(long number)
{
    struct evbuffer *from = evbuffer_new(), *into = evbuffer_new();
    struct vst_error err = {0};
    struct vst_channel *ends[2];
    bool failed;
    int result;

    make_base();
    assert_int_equal(vst_channel_pair(base, 1000000, ends, NULL), 0);
    evbuffer_add(from, data, LEN);
    until_failure = number;
    result = transfer(ends, from, into, &err);
    failed = until_failure < 0;
    until_failure = -1;
    if (result == 0) {
        assert_int_equal(evbuffer_get_length(into), LEN);
        assert_memory_equal(evbuffer_pullup(into, -1), data, LEN);
    } else {
        assert_true(failed);
        assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    }
    vst_channel_free(&ends[0]);
    vst_channel_free(&ends[1]);
    evbuffer_free(from);
    evbuffer_free(into);
    free_base();
    return failed;
}

static void each_allocation_may_fail(void **state)
{
    long number = 0;

    (void)state;
    vst_test_seconds(120);
    vst_test_fill(data, LEN, 5);
    while (try_failure(number))
        number++;
    assert_in_range(number, 40, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(each_allocation_may_fail, pki_begin, pki_end),
    };

    event_set_mem_functions(event_malloc, event_realloc, free); /* before libevent has any */
    return cmocka_run_group_tests(tests, NULL, NULL);
}

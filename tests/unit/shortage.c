/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands between the code of the project and the functions that allocate.
 */
#include "shortage.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

enum { TIMERS = 64, PAIR_LIMIT = 1000000 };

static atomic_long until_failure = -1; /* allocations; negative: none fails */
static _Thread_local bool spared;

bool shortage_hits(void)
{
    if (spared || atomic_load(&until_failure) < 0 || atomic_fetch_sub(&until_failure, 1) != 0)
        return false;
    errno = ENOMEM;
    return true;
}

void shortage_begin(long after)
{
    atomic_store(&until_failure, after);
}

bool shortage_end(void)
{
    return atomic_exchange(&until_failure, -1) < 0;
}

void shortage_spare_this_thread(void)
{
    spared = true;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */
SHORTAGE_WRAP(void *, NULL, malloc, (size_t size), (size))
SHORTAGE_WRAP(void *, NULL, calloc, (size_t count, size_t size), (count, size))
SHORTAGE_WRAP(char *, NULL, strdup, (const char *text), (text))
SHORTAGE_WRAP(char *, NULL, strndup, (const char *text, size_t len), (text, len))
SHORTAGE_WRAP(int, EAGAIN, pthread_create,
              (pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *), void *opaque),
              (thread, attr, fn, opaque))
/* NOLINTEND(bugprone-reserved-identifier) */

static void *event_realloc(void *memory, size_t size)
{
    return shortage_hits() ? NULL : realloc(memory, size);
}

void shortage_prepare(void)
{
    event_set_mem_functions(malloc, event_realloc, free);
}

static void nothing(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
}

void shortage_make_room(struct event_base *base)
{
    static const struct timeval now = {0, 0};
    const struct timeval late = {1000, 0};
    struct event *timers[TIMERS];

    event_base_init_common_timeout(base, &now);
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = evtimer_new(base, nothing, NULL);
        event_add(timers[i], &late);
    }
    for (int i = 0; i < TIMERS; i++)
        event_free(timers[i]);
}

/* One transfer, in which allocation `number` fails; whether there were as many. */
static bool try_failure(shortage_transfer transfer, const unsigned char *data, size_t length,
                        long number)
{
    struct event_base *base = event_base_new();
    struct evbuffer *from = evbuffer_new(), *into = evbuffer_new();
    struct vst_error err = {0};
    struct vst_channel *ends[2];
    bool failed;
    int result;

    shortage_make_room(base);
    assert_int_equal(vst_channel_pair(base, PAIR_LIMIT, ends, NULL), 0);
    evbuffer_add(from, data, length);
    shortage_begin(number);
    result = transfer(base, ends, from, into, &err);
    failed = shortage_end();
    if (result == 0) {
        assert_int_equal(evbuffer_get_length(into), length);
        assert_memory_equal(evbuffer_pullup(into, -1), data, length);
    } else {
        assert_true(failed);
        assert_int_equal(err.code, VST_ERR_NO_MEMORY);
    }
    vst_channel_free(&ends[0]);
    vst_channel_free(&ends[1]);
    evbuffer_free(from);
    evbuffer_free(into);
    event_base_free(base);
    return failed;
}

long shortage_sweep(shortage_transfer transfer, size_t length)
{
    unsigned char *data = malloc(length);
    long number = 0;

    vst_test_fill(data, length, 5);
    while (try_failure(transfer, data, length, number))
        number++;
    free(data);
    return number;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long control calls take while something else goes on: one call after another on one
 * connection, each of another kind, a hundredth of a second apart, until standard input ends.
 * Prints their number, and the time of the median, of the 99th in a hundred, and of the slowest. It
 * judges nothing: a busy machine is slow.
 *
 *     calls URI
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "virstream/virstream.h"

enum { CALLS_MAX = 1 << 20, KINDS = 3, REST_US = 10000 };

static struct event_base *base;
static struct vst_conn *conn;
static struct event *rest;  /* pending between two calls */
static struct event *input; /* pending until it has ended */
static int64_t took[CALLS_MAX];
static size_t count;
static int64_t begun_us;

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void over(const struct vst_error *err)
{
    static const struct timeval pause = {0, REST_US};

    if (err) {
        printf("a call failed: %s\n", err->text);
        exit(1);
    }
    took[count++] = now_us() - begun_us;
    if (count == CALLS_MAX || !event_pending(input, EV_READ, NULL))
        event_base_loopbreak(base);
    else
        event_add(rest, &pause);
}

static void pinged(int64_t us, const struct vst_error *err, void *opaque)
{
    (void)us, (void)opaque;
    over(err);
}

static void listed(const struct vst_domain_info *infos, size_t n, const struct vst_error *err,
                   void *opaque)
{
    (void)infos, (void)n, (void)opaque;
    over(err);
}

static void have_migrations(const struct vst_migration_info *infos, size_t n,
                            const struct vst_error *err, void *opaque)
{
    (void)infos, (void)n, (void)opaque;
    over(err);
}

static void call(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what, (void)opaque;
    begun_us = now_us();
    switch (count % KINDS) {
    case 0:
        vst_conn_ping(conn, &(struct vst_ping_cb){.fn = pinged});
        break;
    case 1:
        vst_conn_list_migrations(conn, &(struct vst_migrations_cb){.fn = have_migrations});
        break;
    default:
        vst_conn_list(conn, &(struct vst_info_cb){.fn = listed});
        break;
    }
}

/* A call that is under way is still waited for. */
static void ended(evutil_socket_t fd, short what, void *opaque)
{
    char byte;

    (void)what, (void)opaque;
    if (read(fd, &byte, 1) > 0)
        return;
    event_del(input);
    if (event_pending(rest, EV_TIMEOUT, NULL))
        event_base_loopbreak(base);
}

static void have_conn(struct vst_conn *opened, const struct vst_error *err, void *opaque)
{
    (void)opaque;
    if (err) {
        printf("%s\n", err->text);
        exit(1);
    }
    conn = opened;
}

static int by_size(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;

    return (a > b) - (a < b);
}

static void tell(void)
{
    size_t middle = count / 2, late = count * 99 / 100;

    qsort(took, count, sizeof(*took), by_size);
    if (count)
        printf("%zu calls: median %.1f ms, 99th of 100 %.1f ms, slowest %.1f ms\n", count,
               (double)took[middle] / 1000, (double)took[late] / 1000,
               (double)took[count - 1] / 1000);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    base = event_base_new();
    rest = base ? event_new(base, -1, 0, call, NULL) : NULL;
    input = base ? event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, ended, NULL) : NULL;
    if (!rest || !input || event_add(input, NULL) < 0)
        return 1;
    vst_op_wait(vst_conn_open(base, argv[1], NULL, &(struct vst_conn_cb){.fn = have_conn}), NULL);
    if (!conn)
        return 1;
    call(-1, 0, NULL);
    event_base_dispatch(base);
    tell();
    event_free(rest);
    event_free(input);
    vst_conn_close(&conn);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
    return 0;
}

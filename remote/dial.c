/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dialling, one attempt for each address. The timer both staggers the attempts and takes the first
 * step from the loop.
 */
#include "dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/fd.h"

static const struct timeval stagger = {0, 250 * 1000};
static const struct timeval at_once = {0, 0};

struct attempt {
    struct vst_dial *dial;
    struct vst_address address;
    int fd;              /* -1: not begun, or over */
    int number;          /* errno of its failure; 0: none yet */
    struct event *event; /* NULL: not begun, or over */
};

struct vst_dial {
    struct vst_dial_cb cb;
    struct event_base *base;
    char *label;
    struct event *timer;
    size_t count;
    size_t begun;
    size_t pending;
    struct attempt attempts[];
};

void vst_address_unix(const char *path, struct vst_address *ret_address)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    *ret_address = (struct vst_address){.length = sizeof(to)};
    strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
    memcpy(&ret_address->to, &to, sizeof(to));
}

static void attempt_end(struct attempt *attempt)
{
    if (attempt->event)
        event_free(attempt->event);
    attempt->event = NULL;
    vst_close(&attempt->fd);
}

void vst_dial_free(struct vst_dial **slot)
{
    struct vst_dial *dial = *slot;

    *slot = NULL;
    if (!dial)
        return;
    for (size_t i = 0; i < dial->count; i++)
        attempt_end(&dial->attempts[i]);
    if (dial->timer)
        event_free(dial->timer);
    free(dial->label);
    free(dial);
}

void vst_dial_tell(const struct vst_dial *dial, struct vst_error *err)
{
    for (size_t i = 0; i < dial->begun; i++) {
        const struct attempt *attempt = &dial->attempts[i];
        size_t used = strlen(err->text);
        const char *what = attempt->number ? strerrordesc_np(attempt->number) : "no answer so far";

        snprintf(err->text + used, sizeof(err->text) - used, "%s%s%s%s", i ? "; " : ": ",
                 attempt->address.text, attempt->address.text[0] ? ": " : "", what);
    }
}

/* What one can do about it, when it is the same for all. */
static const char *advice(const struct vst_dial *dial)
{
    int number = dial->attempts[0].number;

    for (size_t i = 1; i < dial->count; i++)
        if (dial->attempts[i].number != number)
            return "";
    if (number == ECONNREFUSED || number == ENOENT)
        return "; is virstreamd running there?";
    if (number == EACCES)
        return "; its mode and group say who may use it";
    return "";
}

static void fail(struct vst_dial *dial)
{
    int number = dial->attempts[0].number;
    struct vst_error err = {0};
    size_t used;

    vst_error_set(&err, number == ENOMEM ? VST_ERR_NO_MEMORY : VST_ERR_CONNECT,
                  "%s cannot be reached", dial->label);
    err.system = number;
    vst_error_where(&err, VST_SIDE_CLIENT, "connect");
    vst_dial_tell(dial, &err);
    used = strlen(err.text);
    snprintf(err.text + used, sizeof(err.text) - used, "%s", advice(dial));
    dial->cb.connected(dial->cb.opaque, -1, NULL, &err);
    vst_dial_free(&dial);
}

static void succeed(struct attempt *attempt)
{
    struct vst_dial *dial = attempt->dial;
    int fd = attempt->fd;

    attempt->fd = -1;
    dial->cb.connected(dial->cb.opaque, fd, &attempt->address, NULL);
    vst_dial_free(&dial);
}

static void hurry(struct vst_dial *dial)
{
    event_add(dial->timer, &at_once);
}

static void drop(struct attempt *attempt, int number)
{
    attempt->number = number;
    attempt_end(attempt);
}

static void answered(evutil_socket_t fd, short what, void *opaque)
{
    struct attempt *attempt = opaque;
    int number = 0;
    socklen_t length = sizeof(number);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length) < 0)
        number = errno;
    if (!number) {
        succeed(attempt);
        return;
    }
    attempt->dial->pending--;
    drop(attempt, number);
    hurry(attempt->dial);
}

/* What is small goes at once, and does not wait behind megabytes in the kernel's queue. */
static void tune(int fd)
{
    const int yes = 1, unsent = 256 * 1024;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

/* 0 or errno. A UNIX socket says EAGAIN when the server's queue is full: there is nothing to wait
 * for then but time. */
static int begin(struct attempt *attempt)
{
    const struct sockaddr *to = (const struct sockaddr *)&attempt->address.to;

    attempt->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (attempt->fd < 0)
        return errno;
    if (to->sa_family != AF_UNIX)
        tune(attempt->fd);
    if (connect(attempt->fd, to, attempt->address.length) < 0 && errno != EINPROGRESS &&
        errno != EINTR)
        return errno;
    attempt->event = event_new(attempt->dial->base, attempt->fd, EV_WRITE, answered, attempt);
    return attempt->event && event_add(attempt->event, NULL) == 0 ? 0 : ENOMEM;
}

static void turn(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_dial *dial = opaque;

    (void)fd, (void)what;
    while (dial->begun < dial->count) {
        struct attempt *attempt = &dial->attempts[dial->begun++];
        int number = begin(attempt);

        if (number == EAGAIN) {
            attempt_end(attempt);
            dial->begun--;
            event_add(dial->timer, &stagger);
            return;
        }
        if (number) {
            drop(attempt, number);
            continue;
        }
        dial->pending++;
        event_add(dial->timer, &stagger);
        return;
    }
    if (!dial->pending)
        fail(dial);
}

struct vst_dial *vst_dial_new(struct event_base *base, const struct vst_address *addresses,
                              size_t count, const char *label, const struct vst_dial_cb *cb,
                              struct vst_error *ret_err)
{
    struct vst_dial *dial = calloc(1, sizeof(*dial) + count * sizeof(dial->attempts[0]));

    if (!dial) {
        vst_error_no_memory(ret_err);
        return NULL;
    }
    dial->cb = *cb;
    dial->base = base;
    dial->count = count;
    for (size_t i = 0; i < count; i++)
        dial->attempts[i] = (struct attempt){.dial = dial, .address = addresses[i], .fd = -1};
    dial->label = strdup(label);
    dial->timer = event_new(base, -1, 0, turn, dial);
    if (!dial->label || !dial->timer) {
        vst_dial_free(&dial);
        vst_error_no_memory(ret_err);
        return NULL;
    }
    hurry(dial);
    return dial;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fake QMP server: rules in, text out. It shares no code with the client that it tests.
 */
#include "fake-qmp.h"

#include <errno.h>
#include <event2/buffer.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RULES_MAX = 128, HEARD_MAX = 4096, FLOOD_PIECE = 1 << 20 };

struct rule {
    const char *command;
    const char *says;
    enum vst_fake_end end;
    bool used;
};

struct heard {
    char *command;
    long long id;
};

struct vst_fake_qmp {
    int fd;        /* -1 when closed */
    int passed_fd; /* from the client */
    bool negotiated;
    bool left;
    enum vst_fake_end end; /* when all is out */
    size_t pace;           /* bytes in a turn */
    size_t cut;            /* bytes until it closes; SIZE_MAX: it does not */
    struct rule rules[RULES_MAX];
    size_t rule_count;
    struct heard heard[HEARD_MAX];
    size_t heard_count;
    void (*watch)(void *opaque, struct vst_fake_qmp *fake, const char *command,
                  struct json_object *arguments);
    void *watch_opaque;
    struct json_tokener *tokener;
    struct evbuffer *out;
    struct event *readable;
    struct event *writable;
    char *flood;
};

#define must(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "fake-qmp: not so: %s\n", #condition), abort()))

/* ---- saying ---- */

static void shut(struct vst_fake_qmp *fake)
{
    event_del(fake->readable);
    event_del(fake->writable);
    if (fake->fd >= 0)
        close(fake->fd);
    fake->fd = -1;
}

/* What is unread when a socket closes makes it a reset for the other end. */
static void discard_input(struct vst_fake_qmp *fake)
{
    char rest[4096];

    while (read(fake->fd, rest, sizeof(rest)) > 0)
        ;
}

/* As far as the pace, the cut and the socket allow. */
static ssize_t write_some(struct vst_fake_qmp *fake)
{
    size_t may = fake->pace < fake->cut ? fake->pace : fake->cut;
    ssize_t n = 0;

    while (n >= 0 && may > 0 && evbuffer_get_length(fake->out) > 0) {
        struct evbuffer_iovec piece;

        evbuffer_peek(fake->out, 1, NULL, &piece, 1);
        if (piece.iov_len > may)
            piece.iov_len = may;
        n = send(fake->fd, piece.iov_base, piece.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            break;
        evbuffer_drain(fake->out, (size_t)n);
        may -= (size_t)n;
        if (fake->cut != SIZE_MAX)
            fake->cut -= (size_t)n;
    }
    return n;
}

/* Closes when all is out, if it is to close. */
static void flush(struct vst_fake_qmp *fake)
{
    bool failed = write_some(fake) < 0 && errno != EAGAIN;

    if (failed)
        fake->left = true;
    if (fake->cut == 0)
        fake->end = VST_FAKE_CLOSE;
    if (failed || fake->cut == 0)
        evbuffer_drain(fake->out, evbuffer_get_length(fake->out));
    if (evbuffer_get_length(fake->out) > 0) {
        event_add(fake->writable, NULL);
        return;
    }
    event_del(fake->writable);
    if (fake->end == VST_FAKE_CLOSE)
        discard_input(fake);
    if (failed || fake->end != VST_FAKE_STAY)
        shut(fake);
}

static void on_writable(evutil_socket_t fd, short what, void *opaque)
{
    (void)fd, (void)what;
    flush(opaque);
}

static void say(struct vst_fake_qmp *fake, const char *text, long long id)
{
    const char *place;

    for (; (place = strchr(text, '$')); text = place) {
        bool next = strncmp(place, "$NEXT", 5) == 0;

        must(next || strncmp(place, "$ID", 3) == 0);
        evbuffer_add(fake->out, text, (size_t)(place - text));
        evbuffer_add_printf(fake->out, "%lld", next ? id + 1 : id);
        place += next ? 5 : 3;
    }
    evbuffer_add(fake->out, text, strlen(text));
    if (fake->fd >= 0)
        flush(fake);
}

void vst_fake_qmp_say(struct vst_fake_qmp *fake, const char *text)
{
    say(fake, text, 0);
}

void vst_fake_qmp_answer(struct vst_fake_qmp *fake, const char *command, const char *text)
{
    size_t last = fake->heard_count;

    while (last > 0 && strcmp(fake->heard[last - 1].command, command) != 0)
        last--;
    if (last > 0)
        say(fake, text, fake->heard[last - 1].id);
}

void vst_fake_qmp_flood(struct vst_fake_qmp *fake, char byte, size_t count)
{
    if (!fake->flood)
        fake->flood = malloc(FLOOD_PIECE);
    must(fake->flood);
    memset(fake->flood, byte, FLOOD_PIECE);
    for (size_t n; count > 0; count -= n) {
        n = count < FLOOD_PIECE ? count : FLOOD_PIECE;
        evbuffer_add_reference(fake->out, fake->flood, n, NULL, NULL);
    }
    if (fake->fd >= 0)
        flush(fake);
}

static void finish(struct vst_fake_qmp *fake, enum vst_fake_end end)
{
    if (end == VST_FAKE_STAY || fake->fd < 0)
        return;
    event_del(fake->readable);
    fake->end = end;
    flush(fake);
}

void vst_fake_qmp_close(struct vst_fake_qmp *fake)
{
    finish(fake, VST_FAKE_CLOSE);
}

/* ---- hearing ---- */

static struct rule *find_rule(struct vst_fake_qmp *fake, const char *command)
{
    struct rule *last = NULL;

    for (size_t i = 0; i < fake->rule_count; i++) {
        struct rule *rule = &fake->rules[i];

        if (strcmp(rule->command, command) != 0)
            continue;
        if (!rule->used)
            return rule;
        last = rule;
    }
    return last;
}

static void answer(struct vst_fake_qmp *fake, const char *command, long long id)
{
    struct rule usual = {.says = VST_FAKE_RETURN("{}")}, *rule = find_rule(fake, command);

    if (!strcmp(command, "qmp_capabilities"))
        fake->negotiated = true;
    else if (!rule)
        rule = find_rule(fake, VST_FAKE_OTHERS);
    if (!rule)
        rule = &usual;
    if (!fake->negotiated)
        usual = (struct rule){.says = VST_FAKE_ERROR("CommandNotFound", "not negotiated yet")};
    rule->used = true;
    say(fake, fake->negotiated ? rule->says : usual.says, id);
    finish(fake, rule->end);
}

static void hear(struct vst_fake_qmp *fake, struct json_object *request)
{
    struct json_object *arguments = json_object_object_get(request, "arguments");
    struct json_object *id = json_object_object_get(request, "id");
    const char *command = json_object_get_string(json_object_object_get(request, "execute"));

    must(command && json_object_is_type(id, json_type_int));
    must(fake->heard_count < HEARD_MAX);
    fake->heard[fake->heard_count] = (struct heard){strdup(command), json_object_get_int64(id)};
    must(fake->heard[fake->heard_count].command);
    fake->heard_count++;
    if (fake->watch)
        fake->watch(fake->watch_opaque, fake, command, arguments);
    answer(fake, command, json_object_get_int64(id));
}

static void keep_passed_fd(struct vst_fake_qmp *fake, struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);

    if (!control)
        return;
    must(control->cmsg_type == SCM_RIGHTS && control->cmsg_len == CMSG_LEN(sizeof(int)));
    if (fake->passed_fd >= 0)
        close(fake->passed_fd);
    memcpy(&fake->passed_fd, CMSG_DATA(control), sizeof(int));
}

/* One byte, as QEMU's monitor reads. */
static ssize_t hear_byte(struct vst_fake_qmp *fake, char *ret_byte)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec one = {ret_byte, 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(fake->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n > 0)
        keep_passed_fd(fake, &message);
    return n;
}

static void on_readable(evutil_socket_t fd, short what, void *opaque)
{
    struct vst_fake_qmp *fake = opaque;
    ssize_t n = 1;
    char byte;

    (void)fd, (void)what;
    while (fake->fd >= 0 && fake->end == VST_FAKE_STAY && (n = hear_byte(fake, &byte)) > 0) {
        struct json_object *request;

        if (byte == '\n')
            continue;
        request = json_tokener_parse_ex(fake->tokener, &byte, 1);
        must(request || json_tokener_get_error(fake->tokener) == json_tokener_continue);
        if (request)
            hear(fake, request);
        json_object_put(request);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        fake->left = true;
        event_del(fake->readable);
    }
}

/* ---- the calls ---- */

void vst_fake_qmp_on(struct vst_fake_qmp *fake, const char *command, const char *says,
                     enum vst_fake_end end)
{
    must(fake->rule_count < RULES_MAX);
    fake->rules[fake->rule_count++] = (struct rule){command, says, end, false};
}

void vst_fake_qmp_watch(struct vst_fake_qmp *fake,
                        void (*fn)(void *opaque, struct vst_fake_qmp *fake, const char *command,
                                   struct json_object *arguments),
                        void *opaque)
{
    fake->watch = fn;
    fake->watch_opaque = opaque;
}

int vst_fake_qmp_take_fd(struct vst_fake_qmp *fake)
{
    int fd = fake->passed_fd;

    fake->passed_fd = -1;
    return fd;
}

void vst_fake_qmp_cut(struct vst_fake_qmp *fake, size_t bytes)
{
    fake->cut = bytes;
    if (fake->fd >= 0)
        flush(fake);
}

void vst_fake_qmp_set_pace(struct vst_fake_qmp *fake, size_t bytes)
{
    fake->pace = bytes;
}

void vst_fake_qmp_set_deaf(struct vst_fake_qmp *fake, bool deaf)
{
    if (deaf)
        event_del(fake->readable);
    else
        event_add(fake->readable, NULL);
}

void vst_fake_qmp_refuse(struct vst_fake_qmp *fake)
{
    event_del(fake->readable);
    shutdown(fake->fd, SHUT_RD);
}

unsigned vst_fake_qmp_count(const struct vst_fake_qmp *fake, const char *command)
{
    unsigned count = 0;

    for (size_t i = 0; i < fake->heard_count; i++)
        count += !command || !strcmp(fake->heard[i].command, command);
    return count;
}

size_t vst_fake_qmp_unsent(const struct vst_fake_qmp *fake)
{
    return evbuffer_get_length(fake->out);
}

bool vst_fake_qmp_left(const struct vst_fake_qmp *fake)
{
    return fake->left;
}

struct vst_fake_qmp *vst_fake_qmp_new(struct event_base *base, const char *greeting, int *ret_fd)
{
    struct vst_fake_qmp *fake = calloc(1, sizeof(*fake));
    int fds[2], result = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);

    must(fake && result == 0);
    evutil_make_socket_nonblocking(fds[0]);
    fake->fd = fds[0];
    fake->passed_fd = -1;
    fake->pace = SIZE_MAX;
    fake->cut = SIZE_MAX;
    fake->tokener = json_tokener_new();
    fake->out = evbuffer_new();
    fake->readable = event_new(base, fds[0], EV_READ | EV_PERSIST, on_readable, fake);
    fake->writable = event_new(base, fds[0], EV_WRITE | EV_PERSIST, on_writable, fake);
    must(fake->tokener && fake->out && fake->readable && fake->writable);
    event_add(fake->readable, NULL);
    say(fake, greeting ? greeting : VST_FAKE_GREETING, 0);
    *ret_fd = fds[1];
    return fake;
}

void vst_fake_qmp_free(struct vst_fake_qmp **fake)
{
    struct vst_fake_qmp *gone = *fake;

    shut(gone);
    if (gone->passed_fd >= 0)
        close(gone->passed_fd);
    event_free(gone->readable);
    event_free(gone->writable);
    evbuffer_free(gone->out);
    json_tokener_free(gone->tokener);
    for (size_t i = 0; i < gone->heard_count; i++)
        free(gone->heard[i].command);
    free(gone->flood);
    free(gone);
    *fake = NULL;
}

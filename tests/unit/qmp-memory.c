/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client when memory runs out: each allocation of a conversation fails once, that of the
 * client, of libevent, and each call of json-c that allocates. (Inside json-c it cannot fail: the
 * parser of json-c 0.16 does not survive that.) The fake server is on a thread of its own, whose
 * memory never runs out, and looks whether it is told anything but what was meant.
 */
#include "test.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/qemu/qmp.h"
#include "fake-qmp.h"
#include "shortage.h"

/* ---- what runs out in json-c ---- */

/* NOLINTBEGIN(bugprone-reserved-identifier): these names are the linker's */

SHORTAGE_WRAP(struct json_tokener *, NULL, json_tokener_new_ex, (int depth), (depth))
SHORTAGE_WRAP(struct json_object *, NULL, json_object_new_object, (void), ())
SHORTAGE_WRAP(struct json_object *, NULL, json_object_new_int64, (int64_t number), (number))
SHORTAGE_WRAP(struct json_object *, NULL, json_object_new_string, (const char *text), (text))

int __wrap_asprintf(char **ret_text, const char *format, ...) __attribute__((format(printf, 2, 3)));

int __wrap_asprintf(char **ret_text, const char *format, ...)
{
    va_list args;
    int length;

    if (shortage_hits())
        return -1;
    va_start(args, format);
    length = vasprintf(ret_text, format, args);
    va_end(args);
    return length;
}

int __real_json_object_object_add(struct json_object *, const char *, struct json_object *);
int __wrap_json_object_object_add(struct json_object *, const char *, struct json_object *);

int __wrap_json_object_object_add(struct json_object *object, const char *name,
                                  struct json_object *value)
{
    return shortage_hits() ? -1 : __real_json_object_object_add(object, name, value);
}

/* It says "success", and gives nothing. */
struct json_object *__real_json_tokener_parse_ex(struct json_tokener *, const char *, int);
struct json_object *__wrap_json_tokener_parse_ex(struct json_tokener *, const char *, int);

struct json_object *__wrap_json_tokener_parse_ex(struct json_tokener *tokener, const char *text,
                                                 int length)
{
    if (!shortage_hits())
        return __real_json_tokener_parse_ex(tokener, text, length);
    json_tokener_reset(tokener);
    return NULL;
}

/* It gives nothing, or leaves the inside of a string out. */
const char *__real_json_object_to_json_string_ext(struct json_object *, int);
const char *__wrap_json_object_to_json_string_ext(struct json_object *, int);

const char *__wrap_json_object_to_json_string_ext(struct json_object *object, int flags)
{
    static __thread char less[256];
    const char *text = __real_json_object_to_json_string_ext(object, flags);
    const char *end = strrchr(text, '"');

    if (shortage_hits())
        return NULL;
    if (!end || !shortage_hits())
        return text;
    snprintf(less, sizeof(less), "%.*s%s", (int)(end - text) - 1, text, end);
    return less;
}

/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- the server's side ---- */

static const char uri[] = "fd:a-name-that-does-not-fit-into-the-first-32-bytes";

struct server {
    struct event_base *base;
    struct vst_fake_qmp *fake;
    pthread_t thread;
    int strange; /* commands that nobody meant */
};

static void look(void *opaque, struct vst_fake_qmp *fake, const char *command,
                 struct json_object *arguments)
{
    struct server *server = opaque;
    int fd = vst_fake_qmp_take_fd(fake);
    const char *text = arguments ? json_object_to_json_string_ext(arguments, 0) : "";

    if (fd >= 0)
        close(fd);
    if (!strcmp(command, "getfd"))
        server->strange += fd < 0 || strcmp(text, "{\"fdname\":\"vs0\"}") != 0;
    else if (!strcmp(command, "migrate"))
        server->strange += strstr(text, uri) == NULL || strstr(text, "\"n\":17}") == NULL;
    else
        server->strange +=
            fd >= 0 || *text ||
            (strcmp(command, "qmp_capabilities") != 0 && strcmp(command, "query-migrate") != 0);
}

static void *serve(void *opaque)
{
    struct server *server = opaque;

    shortage_spare_this_thread();
    while (!vst_fake_qmp_left(server->fake))
        event_base_loop(server->base, EVLOOP_ONCE);
    return NULL;
}

static int start(struct server *server)
{
    int fd;

    *server = (struct server){.base = event_base_new()};
    server->fake = vst_fake_qmp_new(server->base, NULL, &fd);
    vst_fake_qmp_watch(server->fake, look, server);
    vst_fake_qmp_on(server->fake, "migrate",
                    VST_FAKE_EVENT("MIGRATION", "{\"status\": \"setup\"}") VST_FAKE_RETURN("{}"),
                    VST_FAKE_STAY);
    vst_fake_qmp_on(
        server->fake, "query-migrate",
        VST_FAKE_RETURN("{\"status\": \"active\", \"ram\": {\"transferred\": 123456789, "
                        "\"text\": \"longer than the 32 bytes that json-c begins "
                        "with\"}, \"list\": [1, 2.5, true, null]}"),
        VST_FAKE_STAY);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    return fd;
}

static void stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    vst_fake_qmp_free(&server->fake);
    event_base_free(server->base);
}

/* ---- the client's side ---- */

enum { SECONDS_MAX = 5 };

struct client {
    struct event_base *base;
    struct event *guard;
    struct vst_qmp *qmp;
    int accepted;
    int completed;
    int failed;
    int closed;
    int late;
};

static void on_late(evutil_socket_t fd, short what, void *opaque)
{
    struct client *client = opaque;

    (void)fd, (void)what;
    client->late = 1;
}

static void on_reply(void *opaque, struct json_object *value, const struct vst_error *err)
{
    struct client *client = opaque;

    (void)value;
    client->completed++;
    client->failed += err != NULL;
}

static void on_closed(void *opaque, const struct vst_error *err)
{
    struct client *client = opaque;

    client->closed += err->code != VST_ERR_OK ? 1 : 100;
}

static void prepare(struct client *client)
{
    const struct timeval in = {SECONDS_MAX, 0};

    *client = (struct client){.base = event_base_new()};
    shortage_make_room(client->base);
    client->guard = evtimer_new(client->base, on_late, client);
    event_add(client->guard, &in);
}

static void discard(struct client *client)
{
    event_free(client->guard);
    event_base_free(client->base);
}

/* What runs while memory may run out. `passed` is taken. */
static void converse(struct client *client, int *fd, int *passed)
{
    static const struct vst_qmp_cb callbacks = {.closed = on_closed};
    const struct vst_qmp_reply reply = {on_reply, client};
    struct vst_error err = {0};

    client->qmp = vst_qmp_new(client->base, fd, &callbacks, client, &err);
    if (!client->qmp) {
        close(*passed);
        close(*fd);
        return;
    }
    client->accepted += vst_qmp_pass_fd(client->qmp, "vs0", passed, reply, &err) == 0;
    assert_int_equal(*passed, -1);
    client->accepted +=
        vst_qmp_execute(client->qmp, "migrate", reply, &err, "uri", json_object_new_string(uri),
                        "n", json_object_new_int64(17), NULL) == 0;
    client->accepted +=
        vst_qmp_send(client->qmp, "query-migrate", NULL, NULL, 0.5, reply, &err) == 0;
    while (client->completed < client->accepted && !client->closed && !client->late)
        event_base_loop(client->base, EVLOOP_ONCE);
    vst_qmp_free(&client->qmp);
    while (client->completed < client->accepted && !client->late)
        event_base_loop(client->base, EVLOOP_ONCE);
}

/* One conversation, in which allocation `number` fails; whether there were as many. */
static bool try_failure(long number)
{
    struct server server;
    struct client client;
    int fd = start(&server), passed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bool failed;

    prepare(&client);
    shortage_begin(number);
    converse(&client, &fd, &passed);
    failed = shortage_end();
    stop(&server);
    assert_int_equal(server.strange, 0);
    assert_int_equal(client.late, 0);
    assert_int_equal(client.completed, client.accepted);
    assert_in_range(client.closed, 0, 1);
    if (!failed) {
        assert_int_equal(client.completed, 3);
        assert_int_equal(client.failed, 0);
    }
    discard(&client);
    return failed;
}

static void each_allocation_may_fail(void **state)
{
    long number = 0;

    (void)state;
    vst_test_seconds(60);
    while (try_failure(number))
        number++;
    assert_in_range(number, 40, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST(each_allocation_may_fail),
    };

    shortage_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

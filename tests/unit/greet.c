/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parties.
 */
#include "greet.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop.h"

/*
 * The DIGEST-MD5 of Debian 12 loses the cipher that it gets from libcrypto, some KiB for each
 * login; stacks end there. Nothing of ours calls libcrypto.
 */
const char *__lsan_default_suppressions(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__lsan_default_suppressions(void)
{
    return "leak:libcrypto.so";
}

/* ---- parties ---- */

static void keep(char *into, size_t room, const char *text)
{
    snprintf(into, room, "%s", text ? text : "-");
}

static void on_done(void *opaque, const struct vst_greeting_result *result,
                    const struct vst_error *err)
{
    struct greet_party *party = opaque;

    party->done++;
    assert_int_equal(result == NULL, err != NULL);
    if (err) {
        party->err = *err;
    } else {
        party->transport = result->transport;
        party->peer_window = result->peer_window;
        party->streams = result->streams;
        keep(party->software, sizeof(party->software), result->software);
        keep(party->driver, sizeof(party->driver), result->driver);
        keep(party->user, sizeof(party->user), result->user);
        keep(party->mechanism, sizeof(party->mechanism), result->mechanism);
    }
    if (party->frees)
        vst_greeting_free(&party->greeting);
}

static int on_opened(void *opaque, struct vst_channel *transport, struct vst_error *ret_err)
{
    struct greet_party *party = opaque;

    assert_non_null(transport);
    if (party->opened_refuses)
        return vst_error_set(ret_err, VST_ERR_ACCESS, "not in here");
    return 0;
}

static int on_admit(void *opaque, const char *driver, const char *user, struct vst_error *ret_err)
{
    struct greet_party *party = opaque;

    keep(party->asked, sizeof(party->asked), user);
    assert_non_null(driver);
    if (party->refuses)
        return vst_error_set(ret_err, VST_ERR_ACCESS, "no role for you");
    return 0;
}

void greet_make_on(struct greet *greet, struct event_base *base, struct vst_channel *ends[2])
{
    memset(greet, 0, sizeof(*greet));
    greet->base = base;
    greet->ends[0] = ends[0];
    greet->ends[1] = ends[1];
    greet->party[GREET_CLIENT].opt = (struct vst_greeting_options){
        .role = VST_SASL_CLIENT,
        .software = "tester 1",
        .driver = "test",
        .window = 100000,
    };
    greet->party[GREET_SERVER].opt = (struct vst_greeting_options){
        .role = VST_SASL_SERVER,
        .software = "tester 2",
        .window = 200000,
        .streams = 7,
        .admit = on_admit,
    };
}

void greet_make(struct greet *greet, size_t limit)
{
    struct event_base *base = event_base_new();
    struct vst_channel *ends[2];

    assert_int_equal(vst_channel_pair(base, limit, ends, NULL), 0);
    greet_make_on(greet, base, ends);
}

void greet_drop(struct greet *greet)
{
    for (int i = 0; i < 2; i++) {
        vst_greeting_free(&greet->party[i].greeting);
        vst_channel_free(&greet->party[i].transport);
        vst_channel_free(&greet->ends[i]);
    }
    event_base_free(greet->base);
}

bool greet_try_begin(struct greet *greet, int who)
{
    struct greet_party *party = &greet->party[who];
    const struct vst_greeting_cb cb = {on_done, party};

    party->greeting = vst_greeting_new(greet->ends[who], &party->opt, on_opened, &cb, &party->err);
    if (party->greeting)
        greet->ends[who] = NULL;
    return party->greeting;
}

void greet_begin(struct greet *greet, int who)
{
    assert_true(greet_try_begin(greet, who));
}

void greet_wait(struct greet *greet, int who)
{
    while (!greet->party[who].done)
        event_base_loop(greet->base, EVLOOP_ONCE);
}

void greet_run(struct greet *greet)
{
    greet_begin(greet, GREET_CLIENT);
    greet_begin(greet, GREET_SERVER);
    greet_wait(greet, GREET_CLIENT);
    greet_wait(greet, GREET_SERVER);
}

void greet_settle(struct greet *greet)
{
    const struct timeval quiet = {0, 20 * 1000};

    event_base_loopexit(greet->base, &quiet);
    event_base_dispatch(greet->base);
}

void greet_login(struct greet *greet, const char *database, const char *user, const char *password)
{
    struct greet_party *client = &greet->party[GREET_CLIENT];
    struct greet_party *server = &greet->party[GREET_SERVER];

    server->sasl = (struct vst_sasl_options){.database = database, .secret = true};
    client->sasl = (struct vst_sasl_options){
        .host = "localhost", .user = user, .password = password, .secret = true};
    client->opt.sasl = &client->sasl;
    server->opt.sasl = &server->sasl;
}

/* ---- the test as the other side ---- */

void greet_send_bytes(struct greet *greet, int from, const void *bytes, size_t length)
{
    assert_int_equal(vst_test_send(greet->ends[from], bytes, length), VST_IO_OK);
}

void greet_send(struct greet *greet, int from, enum vst_frame_type type, const char *body)
{
    const struct vst_frame frame = {.length = (uint32_t)strlen(body), .type = type};
    unsigned char head[VST_FRAME_HEAD];

    vst_frame_put(&frame, head);
    greet_send_bytes(greet, from, head, sizeof(head));
    if (body[0])
        greet_send_bytes(greet, from, body, strlen(body));
}

static void take_bytes(struct vst_channel *ch, void *into, size_t length)
{
    struct evbuffer *buf = evbuffer_new();
    size_t n;

    while (evbuffer_get_length(buf) < length) {
        enum vst_io io = vst_channel_read(ch, buf, length - evbuffer_get_length(buf), &n);

        assert_true(io == VST_IO_OK || io == VST_IO_AGAIN);
        if (io == VST_IO_AGAIN)
            vst_test_wait(ch, VST_READ);
    }
    evbuffer_remove(buf, into, length);
    evbuffer_free(buf);
}

enum vst_frame_type greet_take(struct greet *greet, int at, char *ret_body, size_t room)
{
    unsigned char head[VST_FRAME_HEAD];
    struct vst_frame frame;

    take_bytes(greet->ends[at], head, sizeof(head));
    assert_int_equal(vst_frame_get(head, &frame, NULL), 0);
    assert_true(frame.length < room);
    take_bytes(greet->ends[at], ret_body, frame.length);
    ret_body[frame.length] = '\0';
    return frame.type;
}

/* ---- users ---- */

static char directory[] = "/tmp/virstream-sasl-XXXXXX";
static char database[sizeof(directory) + 10];

static pid_t owner;

/* Not by a child of the test. */
static void remove_database(void)
{
    if (getpid() != owner)
        return;
    unlink(database);
    rmdir(directory);
}

/* saslpasswd2 takes the password from its input with -p. */
static void make_user(const char *user, const char *password)
{
    const char *const argv[] = {"saslpasswd2", "-p", "-c", "-f", database, user, NULL};
    posix_spawn_file_actions_t actions;
    int pipe_fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(pipe_fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[0], STDIN_FILENO);
    posix_spawn_file_actions_addclose(&actions, pipe_fds[1]);
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    assert_int_equal(posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[0]);
    assert_int_equal(write(pipe_fds[1], password, strlen(password)), strlen(password));
    close(pipe_fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

const char *greet_database(void)
{
    if (database[0])
        return database;
    assert_non_null(mkdtemp(directory));
    snprintf(database, sizeof(database), "%s/sasldb2", directory);
    owner = getpid();
    atexit(remove_database);
    make_user("alice", "opensesame");
    return database;
}

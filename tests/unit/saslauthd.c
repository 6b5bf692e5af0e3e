/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A saslauthd that hangs: the real one, told to ask an IMAP server that never says a word. Who asks
 * it waits; nobody else does, neither logins that need no service nor the disk, and giving up
 * takes no time.
 */
#include "greet.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/worker.h"
#include "loop.h"

enum { ROOM = 1 << 17, STUCK = 20, OTHERS = 20 };

static struct {
    char dir[40];
    char mux[60];
    int imap;
    pid_t pid;
} service;

/* ---- the service ---- */

/* A port on which somebody listens, and that is all. */
static uint16_t listen_in_silence(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);

    service.imap = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(service.imap, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(service.imap, 100), 0);
    assert_int_equal(getsockname(service.imap, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static bool answers(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", service.mux);
    result = connect(fd, (struct sockaddr *)&address, sizeof(address));
    close(fd);
    return result == 0;
}

/* In a process group of its own, because it has children. */
static void start_service(void)
{
    char where[40];
    const char *const argv[] = {"/usr/sbin/saslauthd", "-d", "-a", "rimap", "-O", where, "-m",
                                service.dir,           "-n", "2",  NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    snprintf(where, sizeof(where), "127.0.0.1/%u", listen_in_silence());
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    assert_int_equal(
        posix_spawn(&service.pid, argv[0], &actions, &attr, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    while (!answers())
        usleep(5000);
}

static void remove_files(void)
{
    static const char *const names[] = {
        "mux", "mux.accept", "saslauthd.pid", "saslauthd.pid.lock", "cache.flock", "cache.mmap"};
    char path[100];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", service.dir, names[i]);
        unlink(path);
    }
    rmdir(service.dir);
}

static int make(void **state)
{
    (void)state;
    strcpy(service.dir, "/tmp/virstream-auth-XXXXXX");
    if (!mkdtemp(service.dir))
        return -1;
    snprintf(service.mux, sizeof(service.mux), "%s/mux", service.dir);
    start_service();
    return 0;
}

/* When it has gone, so has what hung on it. */
static int drop(void **state)
{
    (void)state;
    kill(-service.pid, SIGKILL);
    waitpid(service.pid, NULL, 0);
    close(service.imap);
    vst_test_threads_end();
    remove_files();
    return 0;
}

/* ---- parties ---- */

static void begin_login(struct greet *greet, struct event_base *base, const char *mechanism)
{
    struct vst_channel *ends[2];

    assert_int_equal(vst_channel_pair(base, ROOM, ends, NULL), 0);
    greet_make_on(greet, base, ends);
    greet_login(greet, greet_database(), "alice", "opensesame");
    greet->party[GREET_SERVER].sasl.saslauthd = service.mux;
    greet->party[GREET_SERVER].sasl.mechanisms = "PLAIN SCRAM-SHA-256";
    greet->party[GREET_CLIENT].sasl.mechanisms = mechanism;
    greet_begin(greet, GREET_CLIENT);
    greet_begin(greet, GREET_SERVER);
}

static void end_login(struct greet *greet)
{
    for (int i = 0; i < 2; i++) {
        vst_greeting_free(&greet->party[i].greeting);
        vst_channel_free(&greet->party[i].transport);
    }
}

static double now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void run_for(struct event_base *base, int ms)
{
    const struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
}

static void read_a_file(struct event_base *base)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct vst_channel *file = vst_channel_file(base, &fd, NULL);
    struct evbuffer *into = evbuffer_new();

    assert_int_equal(vst_test_open(file), VST_IO_OK);
    assert_int_equal(vst_test_drain(file, into, 65536), VST_IO_EOF);
    evbuffer_free(into);
    vst_channel_free(&file);
}

/* ---- tests ---- */

static void saslauthd_that_hangs_delays_nobody_else(void **state)
{
    static struct greet stuck[STUCK], other;
    struct event_base *base = event_base_new();
    double begin, slowest = 0;

    (void)state;
    for (int i = 0; i < STUCK; i++)
        begin_login(&stuck[i], base, "PLAIN");
    run_for(base, 300);
    for (int i = 0; i < OTHERS; i++) {
        begin = now();
        begin_login(&other, base, "SCRAM-SHA-256");
        greet_wait(&other, GREET_CLIENT);
        greet_wait(&other, GREET_SERVER);
        assert_int_equal(other.party[GREET_CLIENT].err.code, VST_ERR_OK);
        end_login(&other);
        slowest = now() - begin > slowest ? now() - begin : slowest;
    }
    print_message("# the slowest of %d other logins: %.1f ms\n", OTHERS, slowest * 1e3);
    read_a_file(base);
    for (int i = 0; i < STUCK; i++) {
        assert_int_equal(stuck[i].party[GREET_SERVER].done, 0);
        assert_string_equal(vst_greeting_waits_for(stuck[i].party[GREET_SERVER].greeting),
                            "a step of SASL");
    }
    /* Neither the others nor this have waited for what never comes. */
    for (int i = 0; i < STUCK; i++)
        end_login(&stuck[i]);
    event_base_free(base);
}

static void saslauthd_that_dies_refuses(void **state)
{
    struct event_base *base = event_base_new();
    struct greet greet;

    (void)state;
    begin_login(&greet, base, "PLAIN");
    run_for(base, 100);
    assert_int_equal(greet.party[GREET_SERVER].done, 0);
    kill(-service.pid, SIGKILL);
    greet_wait(&greet, GREET_CLIENT);
    greet_wait(&greet, GREET_SERVER);
    assert_int_equal(greet.party[GREET_CLIENT].err.code, VST_ERR_AUTH);
    assert_int_equal(greet.party[GREET_SERVER].err.code, VST_ERR_AUTH);
    end_login(&greet);
    event_base_free(base);
}

/* ---- one that answers ---- */

struct answering {
    const char *answer; /* what is written, with its length before it, if any */
    size_t length;
    enum vst_code code;
    const char *text;
};

static int fake_service(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(service.dir, "/tmp/virstream-auth-XXXXXX");
    assert_non_null(mkdtemp(service.dir));
    snprintf(service.mux, sizeof(service.mux), "%s/mux", service.dir);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", service.mux);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

static void on_question(evutil_socket_t listener, short what, void *opaque)
{
    static const char expected[] = "\0\5alice\0\12opensesame\0\11virstream\0";
    const struct answering *answering = opaque;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    char question[100];

    (void)what;
    assert_int_equal(recv(fd, question, sizeof(expected), MSG_WAITALL), sizeof(expected));
    assert_memory_equal(question, expected, sizeof(expected));
    assert_int_equal(write(fd, answering->answer, answering->length), answering->length);
    close(fd);
}

static void ask_fake(struct answering *answering)
{
    struct event_base *base = event_base_new();
    int fd = fake_service();
    struct event *ev = event_new(base, fd, EV_READ | EV_PERSIST, on_question, answering);
    struct greet greet;

    event_add(ev, NULL);
    begin_login(&greet, base, "PLAIN");
    greet_wait(&greet, GREET_SERVER);
    assert_int_equal(greet.party[GREET_SERVER].err.code, answering->code);
    if (answering->text && !strstr(greet.party[GREET_SERVER].err.text, answering->text))
        fail_msg("%s", greet.party[GREET_SERVER].err.text);
    end_login(&greet);
    event_free(ev);
    event_base_free(base);
    close(fd);
    remove_files();
}

static void saslauthd_that_answers_decides(void **state)
{
    struct answering cases[] = {
        {"\0\2OK", 4, VST_ERR_OK, NULL},
        {"\0\6OK yes", 8, VST_ERR_OK, NULL},
        {"\0\2NO", 4, VST_ERR_AUTH, "does not take"},
        {"\0\4OKAY", 6, VST_ERR_AUTH, "does not take"},
        {"\0\0", 2, VST_ERR_AUTH, "does not take"},
        {"\0\3OK", 4, VST_ERR_AUTH, "read: Connection reset"},
        {"\0", 1, VST_ERR_AUTH, "read: Connection reset"},
        {"", 0, VST_ERR_AUTH, "read: Connection reset"},
        {"\377\377OK", 4, VST_ERR_AUTH, "65535 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ask_fake(&cases[i]);
}

static void saslauthd_that_is_not_there_refuses(void **state)
{
    struct event_base *base = event_base_new();
    struct greet greet;

    (void)state;
    strcpy(service.mux, "/nonexistent/mux");
    begin_login(&greet, base, "PLAIN");
    greet_wait(&greet, GREET_SERVER);
    greet_wait(&greet, GREET_CLIENT);
    assert_string_equal(greet.party[GREET_SERVER].err.text,
                        "saslauthd at /nonexistent/mux: connect: No such file or directory");
    assert_null(strstr(greet.party[GREET_CLIENT].err.text, "mux"));
    end_login(&greet);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(saslauthd_that_hangs_delays_nobody_else, make, drop),
        VST_TEST_WITH(saslauthd_that_dies_refuses, make, drop),
        VST_TEST(saslauthd_that_answers_decides),
        VST_TEST(saslauthd_that_is_not_there_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

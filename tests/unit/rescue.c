/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A source's QEMU that is brought back from a migration, in each state of that: what it says is up
 * to this test, which is its monitor, and its process is asleep and knows nothing. With every edge
 * of every machine traced.
 */
#include "app.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/fd.h"
#include "drivers/qemu/rescue.h"
#include "drivers/qemu/root.h"
#include "stand-in.h"

static struct {
    char path[64];
    struct app app;
    int pidfd;
    int listening;
    int monitor;
    int stream;        /* that QEMU was passed last; -1: none */
    char heard[65536]; /* from the driver, all of it */
    size_t heard_length;
    size_t answered; /* so far */
    char state[32];  /* of the rescue, by the trace */
    struct vst_guest_wait wait;
    struct vst_guest *guest;
    struct vst_rescue *rescue;
    bool over;
    struct vst_error err; /* of the outcome */
} t;

static void hear_edge(unsigned category, const char *line, void *opaque)
{
    const char *to = strstr(line, " -> ");

    (void)category, (void)opaque;
    if (strncmp(line, "rescue g1: ", 11) == 0 && to)
        snprintf(t.state, sizeof(t.state), "%.*s", (int)strcspn(to + 4, " "), to + 4);
}

/* ---- QEMU ---- */

static void say(const char *text)
{
    assert_int_equal(send(t.monitor, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* As read(), and takes a descriptor that comes with it. */
static ssize_t read_monitor(char *into, size_t room)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec vec = {into, room};
    struct msghdr message = {.msg_iov = &vec,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(t.monitor, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *with = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (with && with->cmsg_type == SCM_RIGHTS) {
        vst_close(&t.stream);
        memcpy(&t.stream, CMSG_DATA(with), sizeof(t.stream));
    }
    return n;
}

static void step(void)
{
    ssize_t n = -1;

    event_base_loop(t.app.base, EVLOOP_NONBLOCK);
    usleep(1000);
    if (t.monitor < 0 && t.listening >= 0)
        t.monitor = accept4(t.listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    else if (t.monitor >= 0)
        n = read_monitor(t.heard + t.heard_length, sizeof(t.heard) - t.heard_length - 1);
    if (n > 0)
        t.heard_length += (size_t)n;
}

/* Answers the next command, if it has come: this one with that, any other with nothing much. */
static bool answer_next(const char *command, const char *value)
{
    const char *next = t.heard + t.answered, *end = strchr(next, '\n'), *id, *found;
    char text[256];

    if (!end)
        return false;
    id = strstr(next, "\"id\":");
    assert_non_null(id);
    found = strstr(next, command);
    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %lld}\r\n",
             found && found < end ? value : "{}", atoll(id + 5));
    t.answered = (size_t)(end + 1 - t.heard);
    say(text);
    return true;
}

/* Until the next command is this one, which is not answered. */
static void await_command(const char *command)
{
    for (;;) {
        const char *next = t.heard + t.answered, *end = strchr(next, '\n');
        const char *found = strstr(next, command);

        if (end && found && found < end)
            return;
        if (end)
            answer_next("", "{}");
        else
            step();
    }
}

static void answer(const char *command, const char *value)
{
    await_command(command);
    assert_true(answer_next(command, value));
}

static void await_state(const char *state)
{
    while (strcmp(t.state, state) != 0)
        step();
}

static void await_outcome(void)
{
    while (!t.over)
        step();
}

static void have_guest(void *opaque, struct vst_guest *guest, const struct vst_error *err)
{
    (void)opaque;
    assert_null(err);
    t.guest = guest;
}

static void over(void *opaque, const struct vst_error *err)
{
    (void)opaque;
    assert_false(t.over);
    t.over = true;
    if (err)
        t.err = *err;
    vst_rescue_free(&t.rescue);
}

/* ---- begin and end ---- */

static void greet(void)
{
    while (t.monitor < 0)
        step();
    say("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
        "\"package\": \"\"}, \"capabilities\": []}}\r\n");
    answer("qmp_capabilities", "{}");
    answer("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    while (!t.guest)
        step();
}

static int begin(void **state)
{
    static const struct vst_trace trace = {VST_TRACE_STATE, hear_edge, NULL};
    char uri[96];
    int stream = -1;

    (void)state;
    vst_test_seconds(120);
    memset(&t, 0, sizeof(t));
    t.monitor = t.stream = -1;
    strcpy(t.path, "/tmp/vst-rescue-XXXXXX");
    assert_non_null(mkdtemp(t.path));
    vst_trace_set(&trace);
    stand_in_make(t.path,
                  "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\","
                  "\"memory-mib\":16,\"vcpus\":1}",
                  &t.pidfd, &t.listening);
    snprintf(uri, sizeof(uri), "qemu:///?root=%s", t.path);
    app_start(&t.app, uri);
    t.wait = (struct vst_guest_wait){.fn = have_guest};
    vst_guest_get(t.app.conn->impl, "g1", &t.wait);
    greet();
    t.rescue = vst_rescue_start(t.guest, t.app.base, &stream, true, over, NULL, NULL);
    assert_non_null(t.rescue);
    return 0;
}

static int end(void **state)
{
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;

    (void)state;
    vst_rescue_free(&t.rescue);
    app_stop(&t.app);
    vst_trace_set(NULL);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    close(t.pidfd);
    vst_close(&t.listening);
    vst_close(&t.monitor);
    vst_close(&t.stream);
    vst_root_open(t.path, &root, NULL);
    if (vst_place_open(root, "g1", &place, NULL) == 0)
        vst_place_remove(&place);
    vst_root_free(&root);
    return rmdir(t.path);
}

/* ---- tests ---- */

static void killed_in(const char *state)
{
    await_state(state);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    await_outcome();
    assert_string_equal(t.state, "RESCUE_OVER");
    assert_int_equal(t.err.code, VST_ERR_DRIVER);
    assert_non_null(strstr(t.err.text, "qemu g1: ended without a word"));
}

#define STATUS(name) "{\"status\": \"" name "\"}"

static void killed_when_it_is_looked_at(void **state)
{
    (void)state;
    await_command("query-migrate");
    killed_in(""); /* RESCUE_LOOKING, which is where it begins */
}

static void killed_when_it_gets_a_stream(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("postcopy-paused"));
    killed_in("RESCUE_PASSING");
}

static void killed_when_it_asks(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("postcopy-paused"));
    answer("getfd", "{}");
    killed_in("RESCUE_PLAYING");
}

static void killed_when_it_is_cancelled(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("postcopy-active"));
    killed_in("RESCUE_CANCELLING");
}

static void killed_when_it_is_mended(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("completed"));
    killed_in("RESCUE_MENDING");
}

static void expect_cancelled(void)
{
    answer("query-migrate", STATUS("postcopy-active"));
    answer("migrate_cancel", "{}");
    answer("query-migrate", STATUS("cancelling"));
    answer("query-migrate", STATUS("cancelled"));
    await_state("RESCUE_MENDING");
    answer("query-migrate", STATUS("cancelled"));
    answer("query-named-block-nodes", "[]");
    answer("\"cont\"", "{}");
    await_outcome();
    assert_int_equal(t.err.code, VST_ERR_OK);
}

static void rescued_from_post_copy_the_guest_runs(void **state)
{
    (void)state;
    expect_cancelled();
}

/* What QEMU says on its stream, a byte at a time. */
static void say_to_nobody(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(send(t.stream, bytes + i, 1, MSG_NOSIGNAL), 1);
        step();
    }
}

static void expect_acknowledged(void)
{
    static const char ack[] = "\0\6\0\4\0\0\0\1"; /* MIG_RP_MSG_RESUME_ACK, and its value */
    char heard[sizeof(ack)];
    ssize_t n;

    while ((n = recv(t.stream, heard, sizeof(heard), MSG_DONTWAIT)) < 0)
        step();
    assert_int_equal(n, sizeof(ack) - 1);
    assert_memory_equal(heard, ack, sizeof(ack) - 1);
}

/* MIG_CMD_RECV_BITMAP, of two blocks, and MIG_CMD_POSTCOPY_RESUME. */
static void source_that_asks_nobody_has_its_answers_and_the_guest_runs(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("postcopy-paused"));
    answer("getfd", "{}");
    answer("fd:rescue", "{}");
    await_state("RESCUE_PLAYING");
    say_to_nobody("\x8\0\xa\0\4\3ram", 9);
    expect_acknowledged();
    say_to_nobody("\x8\0\xa\0\5\4vram", 10);
    expect_acknowledged();
    say_to_nobody("\x8\0\x9\0\0", 5);
    await_state("RESCUE_CANCELLING");
    assert_int_equal(recv(t.stream, &(char){0}, 1, MSG_DONTWAIT), -1); /* it has heard enough */
    expect_cancelled();
}

/* It obeys, and nothing comes of it: that is told, and not asked for ever. */
static void cancelling_that_does_not_end_is_told(void **state)
{
    (void)state;
    answer("query-migrate", STATUS("postcopy-active"));
    answer("migrate_cancel", "{}");
    while (!t.over)
        if (!answer_next("query-migrate", STATUS("cancelling")))
            step();
    assert_int_equal(t.err.code, VST_ERR_TIMEOUT);
    assert_non_null(strstr(t.err.text, "qemu g1: its migration does not end"));
    assert_non_null(strstr(t.err.text, "(cancelling)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_when_it_is_looked_at, begin, end),
        cmocka_unit_test_setup_teardown(killed_when_it_gets_a_stream, begin, end),
        cmocka_unit_test_setup_teardown(killed_when_it_asks, begin, end),
        cmocka_unit_test_setup_teardown(killed_when_it_is_cancelled, begin, end),
        cmocka_unit_test_setup_teardown(killed_when_it_is_mended, begin, end),
        cmocka_unit_test_setup_teardown(rescued_from_post_copy_the_guest_runs, begin, end),
        cmocka_unit_test_setup_teardown(source_that_asks_nobody_has_its_answers_and_the_guest_runs,
                                        begin, end),
        cmocka_unit_test_setup_teardown(cancelling_that_does_not_end_is_told, begin, end),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

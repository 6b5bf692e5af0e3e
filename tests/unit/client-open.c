/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a connection: what is asked, what is told step by step, and what is said when it does not
 * come about.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "app.h"
#include "served.h"

static struct served served;

static int make(void **state)
{
    (void)state;
    served_start(&served, "test:///", VST_ROLE_ADMIN, NULL);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    served_stop(&served);
    return 0;
}

/* What the options' callbacks have seen. */
struct seen {
    struct vst_question *question;
    unsigned questions;
    const char *answer; /* given at once */
    bool later;         /* or not at once */
    char steps[200];
};

static void asked(struct vst_question *question, void *opaque)
{
    struct seen *seen = opaque;

    seen->questions++;
    assert_string_equal(vst_question_get_user(question), "bob");
    assert_non_null(strstr(vst_question_get_uri(question), "bob"));
    if (seen->later)
        seen->question = question;
    else
        vst_question_answer(&question, seen->answer);
}

static void step(const struct vst_conn_step *what, void *opaque)
{
    struct seen *seen = opaque;
    size_t used = strlen(seen->steps);

    snprintf(seen->steps + used, sizeof(seen->steps) - used, "%s%s", used ? " " : "", what->name);
}

static struct vst_op *begin(const char *uri, struct seen *seen, struct outcome *outcome)
{
    struct vst_conn_options options = {.ask_password = asked, .step = step, .opaque = seen};

    return vst_conn_open(served.base, uri, &options, outcome_conn(outcome));
}

static const char *unix_uri(const char *parameters)
{
    static char uri[sizeof(served.path) + 128];

    assert_true(snprintf(uri, sizeof(uri), "test+unix://%s%s", served.path, parameters) <
                (int)sizeof(uri));
    return uri;
}

static void refuse(const char *uri, enum vst_code code, const char *text)
{
    struct outcome outcome = {0};
    struct seen seen = {0};

    begin(uri, &seen, &outcome);
    outcome_await(served.base, &outcome);
    if (outcome.err.code != code || !strstr(outcome.err.text, text))
        fail_msg("%s: %s", vst_code_name(outcome.err.code), outcome.err.text);
}

static void steps_are_told(void **state)
{
    struct outcome outcome = {0};
    struct seen seen = {0};

    (void)state;
    begin(unix_uri(""), &seen, &outcome);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_string_equal(seen.steps, "connect greeting");
    assert_int_equal(seen.questions, 0);
    vst_conn_close(&outcome.conn);
}

/* The server wants no login: so whatever the answer is, it lets us in. */
static void password_is_asked_for_when_there_is_a_user(void **state)
{
    struct outcome outcome = {0}, other = {0};
    struct seen seen = {.answer = "secret"}, none = {0};

    (void)state;
    begin(unix_uri("?user=bob"), &seen, &outcome);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_int_equal(seen.questions, 1);
    vst_conn_close(&outcome.conn);
    begin(unix_uri("?user=bob"), &none, &other);
    outcome_await(served.base, &other);
    assert_int_equal(other.err.code, VST_ERR_OK);
    vst_conn_close(&other.conn);
}

static void answer_may_come_later_than_the_deadline(void **state)
{
    struct outcome outcome = {0};
    struct seen seen = {.later = true};

    (void)state;
    begin(unix_uri("?user=bob&timeout=1"), &seen, &outcome);
    served_run(&served, 1200);
    assert_int_equal(outcome.calls, 0);
    assert_non_null(seen.question);
    vst_question_answer(&seen.question, "secret");
    assert_null(seen.question);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    vst_conn_close(&outcome.conn);
}

static void answer_may_come_after_giving_up(void **state)
{
    struct outcome outcome = {0};
    struct seen seen = {.later = true};
    struct vst_op *op = begin(unix_uri("?user=bob"), &seen, &outcome);

    (void)state;
    served_run(&served, 20);
    vst_op_cancel(op);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    vst_question_answer(&seen.question, "too late");
    served_run(&served, 20);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void password_comes_from_a_file(void **state)
{
    char path[128], parameters[200], text[1200];
    struct outcome outcome = {0};
    struct seen seen = {0};

    (void)state;
    snprintf(path, sizeof(path), "%s/password", served.dir);
    snprintf(parameters, sizeof(parameters), "?user=bob&password-file=%s", path);
    refuse(unix_uri(parameters), VST_ERR_NOT_FOUND, path);
    write_file(path, "\nsecret\n");
    refuse(unix_uri(parameters), VST_ERR_INVALID, "empty");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* into which nobody writes */
    refuse(unix_uri(parameters), VST_ERR_INVALID, "not a regular file, but a FIFO");
    unlink(path);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    write_file(path, text);
    refuse(unix_uri(parameters), VST_ERR_INVALID, "more than 1024 bytes");
    write_file(path, "secret\r\nand more");
    begin(unix_uri(parameters), &seen, &outcome);
    outcome_await(served.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_int_equal(seen.questions, 0);
    vst_conn_close(&outcome.conn);
    unlink(path);
}

static void what_cannot_be_reached_is_named(void **state)
{
    (void)state;
    refuse("test+unix:///nowhere/socket", VST_ERR_CONNECT, "/nowhere/socket cannot be reached");
    refuse("test+tcp://127.0.0.1:1/", VST_ERR_CONNECT, "127.0.0.1: Connection refused");
    refuse("test+tcp://[::1]:1/", VST_ERR_CONNECT, "::1");
    refuse("test+tcp://no.such.invalid/?timeout=5", VST_ERR_CONNECT, "no.such.invalid");
    refuse("test+udp://host/", VST_ERR_INVALID, "`udp`");
}

static void driver_that_is_not_served_is_named(void **state)
{
    char uri[200];

    (void)state;
    snprintf(uri, sizeof(uri), "qemu+unix://%s", served.path);
    refuse(uri, VST_ERR_UNSUPPORTED, "`qemu`");
}

/* A socket that is there, and nobody who says anything: what is told is what it waited for. */
static void silent_server_is_given_up_at_the_deadline(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char uri[200];

    (void)state;
    snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/silent", served.dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    snprintf(uri, sizeof(uri), "test+unix://%s?timeout=1", address.sun_path);
    refuse(uri, VST_ERR_CONNECT, "not connected after 1 seconds, while waiting for HELLO");
    close(fd);
    unlink(address.sun_path);
}

static void role_none_is_refused_at_the_door(void **state)
{
    (void)state;
    served_set_role(&served, VST_ROLE_NONE);
    refuse(unix_uri(""), VST_ERR_ACCESS, "unix:");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(steps_are_told, make, drop),
        VST_TEST_WITH(password_is_asked_for_when_there_is_a_user, make, drop),
        VST_TEST_WITH(answer_may_come_later_than_the_deadline, make, drop),
        VST_TEST_WITH(answer_may_come_after_giving_up, make, drop),
        VST_TEST_WITH(password_comes_from_a_file, make, drop),
        VST_TEST_WITH(what_cannot_be_reached_is_named, make, drop),
        VST_TEST_WITH(driver_that_is_not_served_is_named, make, drop),
        VST_TEST_WITH(silent_server_is_given_up_at_the_deadline, make, drop),
        VST_TEST_WITH(role_none_is_refused_at_the_door, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

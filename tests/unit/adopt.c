/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qemu driver and a guest that it finds: the process is asleep and knows nothing, and its
 * monitor is this test, which answers when it likes. What is in its place may be damaged.
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
#include "drivers/qemu/root.h"
#include "stand-in.h"

static struct {
    char path[64];
    struct app app;
    int pidfd;
    int listening;
    int monitor;
    char heard[8192]; /* from the driver, all of it */
    size_t heard_length;
} t;

static const char definition[] = "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\","
                                 "\"memory-mib\":16,\"vcpus\":1}";

static int make(void **state)
{
    char uri[96];

    (void)state;
    memset(&t, 0, sizeof(t));
    t.monitor = -1;
    strcpy(t.path, "/tmp/vst-adopt-XXXXXX");
    assert_non_null(mkdtemp(t.path));
    stand_in_make(t.path, definition, &t.pidfd, &t.listening);
    snprintf(uri, sizeof(uri), "qemu:///?root=%s", t.path);
    app_start(&t.app, uri);
    return 0;
}

static int drop(void **state)
{
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;

    (void)state;
    app_stop(&t.app);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    close(t.pidfd);
    vst_close(&t.listening);
    if (t.monitor >= 0)
        close(t.monitor);
    vst_root_open(t.path, &root, NULL);
    if (vst_place_open(root, "g1", &place, NULL) == 0)
        vst_place_remove(&place);
    vst_root_free(&root);
    return rmdir(t.path);
}

/* Runs the loop until the driver has said `text`. */
static void hear(const char *text)
{
    while (!strstr(t.heard, text)) {
        ssize_t n = -1;

        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
        if (t.monitor < 0)
            t.monitor = accept4(t.listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        else
            n = read(t.monitor, t.heard + t.heard_length, sizeof(t.heard) - t.heard_length - 1);
        if (n > 0)
            t.heard_length += (size_t)n;
    }
}

static void say(const char *text)
{
    assert_int_equal(write(t.monitor, text, strlen(text)), strlen(text));
}

/* The reply to the command whose text was heard last. */
static void answer(const char *command, const char *value)
{
    const char *at = t.heard, *last = NULL, *id;
    char text[512];

    while ((at = strstr(at, command)))
        last = at++;
    assert_non_null(last);
    id = strstr(last, "\"id\":");
    assert_non_null(id);
    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %lld}\r\n", value, atoll(id + 5));
    say(text);
}

static void greet(void)
{
    while (t.monitor < 0) {
        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
        t.monitor = accept4(t.listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    say("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
        "\"package\": \"\"}, \"capabilities\": []}}\r\n");
    hear("qmp_capabilities");
    answer("qmp_capabilities", "{}");
    hear("query-status");
}

static struct vst_domain *look_up(void)
{
    struct outcome outcome = {0};

    vst_conn_lookup(t.app.conn, "g1", outcome_domain(&outcome));
    outcome_await(t.app.base, &outcome);
    assert_non_null(outcome.domain);
    return outcome.domain;
}

static struct vst_error destroy(struct vst_domain *domain)
{
    struct outcome outcome = {0};

    vst_domain_destroy(domain, outcome_done(&outcome));
    outcome_await(t.app.base, &outcome);
    return outcome.err;
}

static bool is_alive(void)
{
    return pidfd_send_signal(t.pidfd, 0, NULL, 0) == 0;
}

static void wait_for_the_end(void)
{
    struct pollfd end = {.fd = t.pidfd, .events = POLLIN};

    assert_int_equal(poll(&end, 1, -1), 1);
}

static char *path_of(const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/g1/%s", t.path, file);
    return path;
}

static void overwrite(const char *file, const char *text)
{
    FILE *to = fopen(path_of(file), "we");

    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static bool has_place(void)
{
    return access(path_of(""), F_OK) == 0;
}

static void connection_closes_while_the_monitor_is_asked(void **state)
{
    struct vst_domain *domain = look_up();
    struct outcome outcome = {0};

    (void)state;
    vst_domain_get_info(domain, outcome_infos(&outcome));
    greet();
    vst_conn_close(&t.app.conn);
    event_base_dispatch(t.app.base);
    assert_int_equal(outcome.err.code, VST_ERR_CANCELLED);
    vst_domain_free(&domain);
}

static void two_screenshots_have_two_sets(void **state)
{
    struct vst_domain *domain = look_up();
    struct vst_stream *streams[2];
    struct outcome outcomes[2] = {{0}};
    struct vst_op *ops[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        streams[i] = vst_stream_new(t.app.base, NULL);
        ops[i] = vst_domain_screenshot(domain, streams[i], outcome_done(&outcomes[i]));
    }
    greet();
    answer("query-status", "{\"status\": \"running\", \"running\": true}");
    hear("\"fdset-id\":1000");
    hear("\"fdset-id\":1001");
    assert_null(strstr(t.heard, "remove-fd"));
    vst_op_cancel(ops[0]);
    vst_op_cancel(ops[1]);
    for (int i = 0; i < 2; i++) {
        while (!outcomes[i].released)
            event_base_loop(t.app.base, EVLOOP_ONCE);
        assert_int_equal(outcomes[i].err.code, VST_ERR_CANCELLED);
        vst_stream_free(&streams[i]);
    }
    hear("remove-fd");
    vst_domain_free(&domain);
}

/* ---- one that may be the only copy ---- */

static void guest_that_migrates_is_not_destroyed_while_its_monitor_is_silent(void **state)
{
    struct vst_domain *domain = look_up();

    (void)state;
    overwrite("job", "{\"job\":\"out\",\"running\":true}");
    assert_int_equal(destroy(domain).code, VST_ERR_IN_DOUBT);
    assert_true(is_alive());
    assert_true(has_place());
    vst_domain_free(&domain);
}

/* The job comes when the monitor is waited for already, and before it is given up. */
static void guest_that_begins_to_migrate_is_not_destroyed_for_its_silence(void **state)
{
    struct vst_domain *domain = look_up();
    struct outcome outcome = {0};

    (void)state;
    vst_domain_destroy(domain, outcome_done(&outcome));
    event_base_loop(t.app.base, EVLOOP_NONBLOCK);
    overwrite("job", "{\"job\":\"in\",\"running\":true}");
    while (!outcome.released)
        event_base_loop(t.app.base, EVLOOP_ONCE);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_true(is_alive());
    assert_true(has_place());
    vst_domain_free(&domain);
}

static void what_is_left_of_a_guest_that_migrates_stays(void **state)
{
    struct vst_domain *domain = look_up();
    struct outcome outcome = {0};

    (void)state;
    overwrite("job", "{\"job\":\"out\",\"running\":true}");
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    wait_for_the_end();
    outcome.err = destroy(domain);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_non_null(strstr(outcome.err.text, "\"virstream migrations\" looks into the journal"));
    outcome = (struct outcome){0};
    vst_domain_start(t.app.conn, definition, NULL, outcome_domain(&outcome));
    outcome_await(t.app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
    assert_true(has_place());
    vst_domain_free(&domain);
}

static void guest_that_another_holds_is_told_by_its_job(void **state)
{
    static const struct {
        const char *job;
        enum vst_domain_state state;
    } rows[] = {
        {"{\"job\":\"save\",\"running\":true}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"keep\",\"running\":true}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"away\",\"running\":true}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"live\",\"running\":true}", VST_DOMAIN_RUNNING},
        {"{\"job\":\"live\",\"running\":false}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"restore\",\"running\":true}", VST_DOMAIN_RUNNING},
        {"{\"job\":\"restore\",\"running\":false}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"out\",\"running\":true}", VST_DOMAIN_RUNNING},
        {"{\"job\":\"out\",\"running\":false}", VST_DOMAIN_PAUSED},
        {"{\"job\":\"in\",\"running\":true}", VST_DOMAIN_STARTING},
    };
    struct vst_domain *domain = look_up();
    struct vst_place *place = NULL;
    struct vst_root *root = NULL;

    (void)state;
    assert_int_equal(vst_root_open(t.path, &root, NULL), 0);
    assert_int_equal(vst_place_open(root, "g1", &place, NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct outcome outcome = {0};

        overwrite("job", rows[i].job);
        vst_domain_get_info(domain, outcome_infos(&outcome));
        outcome_await(t.app.base, &outcome);
        if (outcome.info.state != rows[i].state)
            fail_msg("%s: %s", rows[i].job, vst_domain_state_name(outcome.info.state));
    }
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    wait_for_the_end();
    {
        struct outcome outcome = {0};

        vst_domain_get_info(domain, outcome_infos(&outcome));
        outcome_await(t.app.base, &outcome);
        assert_int_equal(outcome.info.state, VST_DOMAIN_CRASHED); /* nothing arrives any more */
    }
    vst_place_close(&place);
    vst_root_free(&root);
    vst_domain_free(&domain);
}

static void guest_whose_job_cannot_be_read_is_not_destroyed(void **state)
{
    struct vst_domain *domain = look_up();

    (void)state;
    overwrite("job", "{\"job\":");
    assert_int_equal(destroy(domain).code, VST_ERR_INVALID);
    assert_true(is_alive());
    assert_true(has_place());
    vst_domain_free(&domain);
}

/* ---- a damaged place ---- */

static void expect_destroyed(void)
{
    struct vst_domain *domain = look_up();
    struct vst_error err = destroy(domain);

    if (vst_error_is_set(&err))
        fail_msg("destroy: %s", err.text);
    wait_for_the_end();
    assert_false(has_place());
    vst_domain_free(&domain);
}

static void expect_listed(const char *reason)
{
    struct outcome outcome = {0};

    vst_conn_list(t.app.conn, outcome_infos(&outcome));
    outcome_await(t.app.base, &outcome);
    assert_int_equal(outcome.count, 1);
    assert_string_equal(outcome.info.name, "g1");
    assert_int_equal(outcome.info.state, VST_DOMAIN_RUNNING);
    assert_non_null(strstr(outcome.info.reason, reason));
}

static void guest_with_a_damaged_definition_is_listed_and_can_be_destroyed(void **state)
{
    (void)state;
    overwrite("definition.json", "{\"name\":");
    expect_listed("definition");
    expect_destroyed();
}

static void guest_without_a_definition_is_listed_and_can_be_destroyed(void **state)
{
    (void)state;
    assert_int_equal(unlink(path_of("definition.json")), 0);
    expect_listed("has lost its definition");
    expect_destroyed();
}

static void guest_without_a_definition_that_migrates_is_not_destroyed(void **state)
{
    struct vst_domain *domain;

    (void)state;
    assert_int_equal(unlink(path_of("definition.json")), 0);
    overwrite("job", "{\"job\":\"lack\",\"running\":true}");
    domain = look_up();
    assert_int_equal(destroy(domain).code, VST_ERR_IN_DOUBT);
    assert_true(is_alive());
    assert_true(has_place());
    vst_domain_free(&domain);
}

/* It is there as long as its monitor is; but who it is nobody knows well enough to kill him. */
static void guest_without_identity_is_no_crash(void **state)
{
    struct vst_domain *domain = look_up();

    (void)state;
    assert_int_equal(unlink(path_of("identity")), 0);
    expect_listed("has lost the identity of its QEMU");
    assert_int_equal(destroy(domain).code, VST_ERR_STATE);
    assert_true(is_alive());
    assert_true(has_place());
    vst_close(&t.listening);
    assert_int_equal(destroy(domain).code, VST_ERR_OK);
    assert_false(has_place());
    vst_domain_free(&domain);
}

static void guest_without_a_log_is_as_any_other(void **state)
{
    struct vst_domain *domain = look_up();
    struct outcome outcome = {0};

    (void)state;
    assert_int_equal(unlink(path_of("log")), 0);
    vst_domain_get_info(domain, outcome_infos(&outcome));
    greet();
    answer("query-status", "{\"status\": \"running\", \"running\": true}");
    t.heard_length = 0;
    memset(t.heard, 0, sizeof(t.heard));
    hear("query-status");
    answer("query-status", "{\"status\": \"running\", \"running\": true}");
    outcome_await(t.app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_OK);
    assert_int_equal(outcome.info.state, VST_DOMAIN_RUNNING);
    assert_string_equal(outcome.info.reason, "");
    vst_domain_free(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(connection_closes_while_the_monitor_is_asked, make, drop),
        VST_TEST_WITH(two_screenshots_have_two_sets, make, drop),
        VST_TEST_WITH(guest_that_migrates_is_not_destroyed_while_its_monitor_is_silent, make, drop),
        VST_TEST_WITH(guest_that_begins_to_migrate_is_not_destroyed_for_its_silence, make, drop),
        VST_TEST_WITH(what_is_left_of_a_guest_that_migrates_stays, make, drop),
        VST_TEST_WITH(guest_that_another_holds_is_told_by_its_job, make, drop),
        VST_TEST_WITH(guest_whose_job_cannot_be_read_is_not_destroyed, make, drop),
        VST_TEST_WITH(guest_with_a_damaged_definition_is_listed_and_can_be_destroyed, make, drop),
        VST_TEST_WITH(guest_without_a_definition_is_listed_and_can_be_destroyed, make, drop),
        VST_TEST_WITH(guest_without_a_definition_that_migrates_is_not_destroyed, make, drop),
        VST_TEST_WITH(guest_without_identity_is_no_crash, make, drop),
        VST_TEST_WITH(guest_without_a_log_is_as_any_other, make, drop),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

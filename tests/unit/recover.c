/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a journal does, after a restart, to a QEMU that it finds: only what is of the same guest and
 * the same token is touched, and such a QEMU need not answer to be ended. Journal and place are
 * made here; the process is asleep and knows nothing, and its monitor is this test.
 */
#include "app.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fd.h"
#include "core/journal-codec.h"
#include "drivers/qemu/root.h"

#define UUID "8ad1f1a4-9dc1-4c5f-9b0f-2f7f0c3a1d11"
#define OTHER_UUID "8ad1f1a4-9dc1-4c5f-9b0f-2f7f0c3a1d22"
#define TOKEN "11111111-1111-1111-1111-111111111111"
#define OTHER_TOKEN "22222222-2222-2222-2222-222222222222"

static struct {
    char path[64];
    struct app app;
    int pidfd;
    int listening;
    int monitor;
    char heard[8192];
    size_t heard_length;
} t;

/* ---- a place ---- */

static char *path_of(const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/g1/%s", t.path, file);
    return path;
}

static void make_guest(const char *uuid)
{
    char *words[] = {(char[]){"sleep"}, (char[]){"60"}, NULL};
    struct vst_spawn how = {.program = "/bin/sleep", .words = words};
    struct vst_definition *def;
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;
    struct vst_process_id id;
    char text[256];

    snprintf(text, sizeof(text),
             "{\"name\":\"g1\",\"uuid\":\"%s\",\"machine\":\"none\",\"accel\":\"tcg\","
             "\"memory-mib\":16,\"vcpus\":1}",
             uuid);
    def = vst_definition_parse(text, strlen(text), NULL);
    assert_non_null(def);
    assert_int_equal(vst_root_open(t.path, &root, NULL), 0);
    assert_int_equal(vst_place_create(root, def, &place, NULL), 0);
    t.listening = vst_place_listen(place, "monitor", NULL);
    how.log_fd = vst_place_new_log(place, NULL);
    how.id_fd = vst_place_new_id(place, NULL);
    assert_int_equal(vst_spawn(&how, &id, &t.pidfd, NULL), 0);
    close(how.log_fd);
    close(how.id_fd);
    vst_place_clear_job(place);
    vst_place_close(&place);
    vst_root_free(&root);
    vst_definition_free(&def);
}

/* As a migration of that token leaves it; or of none, by an older version. */
static void set_job(const char *kind, const char *token)
{
    FILE *to = fopen(path_of("job"), "we");

    assert_non_null(to);
    fprintf(to, "{\"job\":\"%s\",\"running\":true", kind);
    if (token)
        fprintf(to, ",\"token\":\"%s\"", token);
    fprintf(to, "}\n");
    fclose(to);
}

static bool is_alive(void)
{
    struct pollfd end = {.fd = t.pidfd, .events = POLLIN};

    return poll(&end, 1, 0) == 0;
}

static bool has_place(void)
{
    return access(path_of(""), F_OK) == 0;
}

/* ---- a journal ---- */

/* Of the guest g1 with UUID. */
struct line {
    enum vst_handover_role role;
    enum vst_handover_record last;
    char token; /* what it consists of */
    bool keep;
};

static void make_journal(const struct line *lines, size_t count)
{
    unsigned char record[VST_JOURNAL_RECORD], host[VST_HANDOVER_ID] = "this host";
    char path[128];
    FILE *to;

    snprintf(path, sizeof(path), "%s/.state", t.path);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/.state/journal", t.path);
    to = fopen(path, "we");
    assert_non_null(to);
    vst_journal_encode_host(host, 0, record);
    assert_int_equal(fwrite(record, sizeof(record), 1, to), 1);
    for (size_t i = 0; i < count; i++) {
        struct vst_journal_entry entry = {.role = lines[i].role,
                                          .last = lines[i].last,
                                          .keep = lines[i].keep,
                                          .runs = true,
                                          .guest = "g1",
                                          .uuid = UUID};

        memset(entry.token, lines[i].token, sizeof(entry.token));
        memset(entry.peer, 0x77, sizeof(entry.peer));
        if (lines[i].role == VST_HANDOVER_SOURCE)
            snprintf(entry.uri, sizeof(entry.uri), "qemu+tcp://127.0.0.1:1/");
        vst_journal_encode(&entry, i + 1, record);
        assert_int_equal(fwrite(record, sizeof(record), 1, to), 1);
    }
    fclose(to);
}

static void make_entry(enum vst_handover_role role, enum vst_handover_record last, bool keep)
{
    make_journal(&(struct line){role, last, 0x11, keep}, 1);
}

/* ---- a restart ---- */

struct found {
    bool came;
    size_t count;
    struct vst_migration_info info; /* the last one */
};

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    struct found *found = opaque;

    if (err)
        fail_msg("migrations: %s", err->text);
    found->came = true;
    found->count = count;
    if (count)
        found->info = infos[count - 1];
}

static struct found look(void)
{
    struct found found = {0};
    struct vst_migrations_cb cb = {.fn = have_migrations, .opaque = &found};

    vst_op_wait(vst_conn_list_migrations(t.app.conn, &cb), NULL);
    assert_true(found.came);
    return found;
}

/* The journal is opened, and all goes on. */
static struct found restart(void)
{
    char uri[96];

    snprintf(uri, sizeof(uri), "qemu:///?root=%s", t.path);
    app_start(&t.app, uri);
    return look();
}

static void wait_for_the_end(void)
{
    while (is_alive() || has_place()) {
        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

/* Long enough for whoever would kill it: each state has a clock, and none is slower at first. */
static void wait_for_phase(const char *phase)
{
    struct found found = look();

    for (int i = 0; strcmp(found.info.phase, phase) != 0 && i < 300; i++) {
        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
        usleep(10000);
        found = look();
    }
    assert_string_equal(found.info.phase, phase);
}

static struct vst_domain *look_up(void)
{
    struct outcome outcome = {0};

    vst_conn_lookup(t.app.conn, "g1", outcome_domain(&outcome));
    outcome_await(t.app.base, &outcome);
    assert_non_null(outcome.domain);
    return outcome.domain;
}

/* ---- the monitor ---- */

static void say(const char *text)
{
    assert_int_equal(write(t.monitor, text, strlen(text)), strlen(text));
}

/* Runs the loop until the driver asks for `command`, and answers. */
static void expect(const char *command, const char *value)
{
    const char *at, *rest;
    char text[256];

    while (!(at = strstr(t.heard, command)) || !strchr(at, '\n')) {
        ssize_t n = read(t.monitor, t.heard + t.heard_length, sizeof(t.heard) - t.heard_length - 1);

        t.heard_length += n > 0 ? (size_t)n : 0;
        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    at = strstr(at, "\"id\":");
    assert_non_null(at);
    snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %lld}\r\n", value, atoll(at + 5));
    rest = strchr(at, '\n') + 1; /* what came after it is still to be answered */
    t.heard_length = strlen(rest);
    memmove(t.heard, rest, t.heard_length + 1);
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
    expect("qmp_capabilities", "{}");
}

/* ---- each test ---- */

static int make(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.monitor = -1;
    strcpy(t.path, "/tmp/vst-recover-XXXXXX");
    assert_non_null(mkdtemp(t.path));
    make_guest(UUID);
    return 0;
}

static int make_stranger(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.monitor = -1;
    strcpy(t.path, "/tmp/vst-recover-XXXXXX");
    assert_non_null(mkdtemp(t.path));
    make_guest(OTHER_UUID);
    return 0;
}

static int drop(void **state)
{
    static const char *const files[] = {"journal", "journal.new", "lock", ""};
    struct vst_root *root = NULL;
    struct vst_place *place = NULL;
    char path[128];

    (void)state;
    app_stop(&t.app);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    close(t.pidfd);
    vst_close(&t.listening);
    vst_close(&t.monitor);
    unlink(path_of("job"));
    vst_root_open(t.path, &root, NULL);
    if (vst_place_open(root, "g1", &place, NULL) == 0)
        vst_place_remove(&place);
    vst_root_free(&root);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/.state/%s", t.path, files[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    return rmdir(t.path);
}

/* ---- what is ended ---- */

static void copy_that_was_given_up_is_ended_though_it_is_deaf(void **state)
{
    (void)state;
    set_job("in", TOKEN);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    restart(); /* its monitor is connected, and never greets */
    wait_for_the_end();
}

static void copy_that_was_given_up_is_ended_though_nobody_can_adopt_it(void **state)
{
    (void)state;
    set_job("in", TOKEN);
    assert_int_equal(unlink(path_of("definition.json")), 0);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    restart();
    wait_for_the_end();
}

static void copy_of_an_older_version_that_was_given_up_is_ended(void **state)
{
    (void)state;
    set_job("in", NULL);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    restart();
    wait_for_the_end();
}

/* ---- what is not ---- */

static void guest_that_came_later_outlives_a_token_that_was_given_up(void **state)
{
    (void)state;
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    restart();
    wait_for_phase("clean-up");
    assert_true(is_alive() && has_place());
}

static void copy_of_another_token_outlives_one_that_was_given_up(void **state)
{
    (void)state;
    set_job("in", OTHER_TOKEN);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, false);
    restart();
    wait_for_phase("clean-up");
    assert_true(is_alive() && has_place());
}

/* The one that is loaded comes later in the journal. */
static void copy_of_an_older_version_that_may_be_anothers_is_not_ended(void **state)
{
    static const struct line lines[] = {
        {VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_ABORTED, 0x11, false},
        {VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_LOADED, 0x22, false}};

    (void)state;
    set_job("in", NULL);
    make_journal(lines, 2);
    restart();
    greet();
    expect("query-status", "{\"status\": \"inmigrate\", \"running\": false}");
    expect("query-migrate", "{\"status\": \"completed\"}");
    assert_true(is_alive() && has_place());
}

static void source_that_is_handed_over_does_not_end_a_stranger(void **state)
{
    (void)state;
    make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, false);
    restart();
    wait_for_phase("clean-up");
    assert_true(is_alive() && has_place());
}

/* ---- who is the guest ---- */

static void stranger_that_runs_is_not_taken_for_the_guest(void **state)
{
    struct found found;

    (void)state;
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    found = restart();
    assert_int_equal(found.count, 1);
    assert_true(found.info.in_doubt);
    assert_true(is_alive() && has_place());
}

static void copy_of_another_token_is_not_taken_for_the_guest(void **state)
{
    struct found found;

    (void)state;
    set_job("in", OTHER_TOKEN);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    found = restart();
    assert_true(found.info.in_doubt);
    assert_true(is_alive() && has_place());
}

/* It ran, and only the last record is missing. */
static void guest_that_came_is_known_again_without_a_job(void **state)
{
    (void)state;
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    restart();
    greet();
    expect("query-status", "{\"status\": \"running\", \"running\": true}");
    expect("query-migrate", "{\"status\": \"completed\"}");
    wait_for_phase("clean-up");
}

static void nobody_takes_the_name_of_a_guest_that_is_lost(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    set_job("in", TOKEN);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    while (is_alive())
        usleep(1000);
    make_entry(VST_HANDOVER_DESTINATION, VST_HANDOVER_RECORD_COMMITTED, false);
    restart();
    vst_domain_start(t.app.conn,
                     "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":16,"
                     "\"vcpus\":1}",
                     NULL, outcome_domain(&outcome));
    outcome_await(t.app.base, &outcome);
    assert_int_equal(outcome.err.code, VST_ERR_IN_DOUBT);
}

/* ---- a copy that is to stay ---- */

static void expect_away(void)
{
    char text[128] = "";
    FILE *from = fopen(path_of("job"), "re");

    assert_non_null(from);
    assert_non_null(fgets(text, sizeof(text), from));
    fclose(from);
    assert_non_null(strstr(text, "\"away\""));
}

static void sources_copy_that_is_kept_stays_after_a_restart(void **state)
{
    (void)state;
    set_job("out", TOKEN);
    make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, true);
    restart();
    greet();
    expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    wait_for_phase("clean-up");
    assert_true(is_alive() && has_place());
    expect_away();
}

static void sources_copy_that_was_kept_stays_after_another_restart(void **state)
{
    (void)state;
    set_job("away", NULL);
    make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_COMMITTED, true);
    restart();
    wait_for_phase("clean-up");
    assert_true(is_alive() && has_place());
    expect_away();
}

static void hear_reason(struct vst_domain *domain, const char *reason)
{
    struct outcome info = {0};

    vst_domain_get_info(domain, outcome_infos(&info));
    expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    outcome_await(t.app.base, &info);
    assert_int_equal(info.info.state, VST_DOMAIN_PAUSED);
    assert_non_null(strstr(info.info.reason, reason));
}

static void expect_refusal(struct outcome *outcome, int code, const char *text)
{
    outcome_await(t.app.base, outcome);
    assert_int_equal(outcome->err.code, code);
    assert_non_null(strstr(outcome->err.text, text));
}

static void destroy(struct vst_domain *domain)
{
    struct outcome destroyed = {0};

    vst_close(&t.listening); /* it is adopted by now, or dead */
    vst_domain_destroy(domain, outcome_done(&destroyed));
    expect("quit", "{}");
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    outcome_await(t.app.base, &destroyed);
    assert_int_equal(destroyed.err.code, VST_ERR_OK);
    assert_false(is_alive() || has_place());
}

/* Nor has the journal to be read for that. */
static void copy_that_was_kept_never_runs_whoever_takes_hold_of_it(void **state)
{
    struct outcome outcome[3] = {0};
    struct vst_domain *domain;
    char uri[96];

    (void)state;
    set_job("away", TOKEN);
    snprintf(uri, sizeof(uri), "qemu:///?root=%s", t.path);
    app_start(&t.app, uri);
    domain = look_up();
    vst_domain_resume(domain, outcome_done(&outcome[0]));
    greet();
    expect("query-status", "{\"status\": \"postmigrate\", \"running\": false}");
    expect_refusal(&outcome[0], VST_ERR_STATE, "has migrated");
    vst_domain_shutdown(domain, outcome_done(&outcome[1]));
    expect_refusal(&outcome[1], VST_ERR_STATE, "never runs again");
    vst_domain_migrate(domain, "qemu+tcp://127.0.0.1:1/", NULL, outcome_done(&outcome[2]));
    expect_refusal(&outcome[2], VST_ERR_STATE, "never runs again");
    hear_reason(domain, "it has migrated; this copy was kept, and never runs again");
    expect_away();
    destroy(domain);
    vst_domain_free(&domain);
}

/* ---- another journal ---- */

static void copy_that_the_journal_does_not_know_is_left_to_people(void **state)
{
    struct outcome info = {0}, destroyed = {0};
    struct vst_domain *domain;

    (void)state;
    set_job("in", TOKEN);
    make_journal(NULL, 0);
    assert_int_equal(restart().count, 0);
    assert_true(is_alive() && has_place());
    domain = look_up();
    vst_domain_get_info(domain, outcome_infos(&info));
    greet();
    expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    expect("query-status", "{\"status\": \"paused\", \"running\": false}");
    outcome_await(t.app.base, &info);
    assert_non_null(strstr(info.info.reason, "the journal of this host knows nothing of that"));
    vst_close(&t.listening);
    vst_domain_destroy(domain, outcome_done(&destroyed));
    outcome_await(t.app.base, &destroyed);
    assert_int_equal(destroyed.err.code, VST_ERR_OK);
    assert_false(is_alive() || has_place());
    vst_domain_free(&domain);
}

static void remains_that_the_journal_does_not_know_are_removed(void **state)
{
    (void)state;
    set_job("in", TOKEN);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    while (is_alive())
        usleep(1000);
    make_journal(NULL, 0);
    assert_int_equal(restart().count, 0);
    assert_false(has_place());
}

/* It may have been handed over: it is a stray, as which it is listed. */
static struct vst_domain *find_stray(const char *status)
{
    struct outcome resumed = {0};
    struct vst_domain *domain;
    struct found found;
    char answer[64];

    set_job("out", TOKEN);
    make_journal(NULL, 0);
    found = restart();
    assert_int_equal(found.count, 1);
    assert_true(found.info.in_doubt);
    assert_string_equal(found.info.token, TOKEN);
    snprintf(answer, sizeof(answer), "{\"status\": \"%s\", \"running\": false}", status);
    greet();
    expect("query-status", answer);
    domain = look_up();
    vst_domain_resume(domain, outcome_done(&resumed));
    expect_refusal(&resumed, VST_ERR_IN_DOUBT, "may run there");
    return domain;
}

static void resolve(enum vst_migration_order order, struct outcome *outcome)
{
    vst_conn_order_migration(t.app.conn, TOKEN, order, NULL, outcome_done(outcome));
}

static void paused_guest_of_an_unknown_migration_is_not_resumed(void **state)
{
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("postmigrate");
    hear_reason(domain, "the journal of this host does not know");
    destroy(domain);
    assert_int_equal(look().count, 0);
    vst_domain_free(&domain);
}

static void stray_that_people_say_runs_here_goes_on(void **state)
{
    struct outcome resolved = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("postmigrate");
    resolve(VST_MIGRATION_RUNS_ON_SOURCE, &resolved);
    expect("query-migrate", "{\"status\": \"completed\"}");
    expect("query-block-jobs", "[{\"type\": \"mirror\", \"device\": \"copy-0123abcd-0\"}, "
                               "{\"type\": \"mirror\", \"device\": \"copy-0123abcd-x\"}, "
                               "{\"type\": \"commit\", \"device\": \"copy-0123abcd-1\"}]");
    expect("yank", "{}");
    expect("block-job-cancel", "{}");
    expect("query-named-block-nodes", "[{\"drv\": \"nbd\", \"node-name\": \"copy-0123abcd-0\"}, "
                                      "{\"drv\": \"nbd\", \"node-name\": \"copy-0123abc-0\"}, "
                                      "{\"drv\": \"raw\", \"node-name\": \"copy-0123abcd-1\"}]");
    expect("yank", "{}");
    expect("blockdev-del", "{}");
    expect("query-block-jobs", "[]"); /* until none is left */
    expect("query-named-block-nodes", "[]");
    expect("migrate-set-capabilities", "{}");
    expect("cont", "{}");
    outcome_await(t.app.base, &resolved);
    assert_int_equal(resolved.err.code, VST_ERR_OK);
    assert_int_equal(access(path_of("job"), F_OK), -1);
    assert_int_equal(look().count, 0);
    vst_domain_free(&domain);
}

static void stray_that_people_say_runs_elsewhere_is_ended(void **state)
{
    struct outcome resolved = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("paused");
    resolve(VST_MIGRATION_RUNS_ON_DESTINATION, &resolved);
    expect("quit", "{}");
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    outcome_await(t.app.base, &resolved);
    assert_int_equal(resolved.err.code, VST_ERR_OK);
    assert_false(is_alive() || has_place());
    vst_domain_free(&domain);
}

static void stray_cannot_be_cancelled(void **state)
{
    struct outcome cancelled = {0};
    struct vst_domain *domain;

    (void)state;
    domain = find_stray("paused");
    resolve(VST_MIGRATION_CANCEL, &cancelled);
    expect_refusal(&cancelled, VST_ERR_STATE, "no more than that");
    assert_int_equal(look().count, 1);
    vst_domain_free(&domain);
}

/* What is left of it is still the word that it may run elsewhere. */
static void nobody_takes_the_name_of_a_stray_that_is_dead(void **state)
{
    struct outcome outcome = {0};

    (void)state;
    set_job("out", TOKEN);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    while (is_alive())
        usleep(1000);
    make_journal(NULL, 0);
    assert_int_equal(restart().count, 1);
    vst_domain_start(t.app.conn,
                     "{\"name\":\"g1\",\"machine\":\"none\",\"accel\":\"tcg\",\"memory-mib\":16,"
                     "\"vcpus\":1}",
                     NULL, outcome_domain(&outcome));
    expect_refusal(&outcome, VST_ERR_IN_DOUBT, "may run there");
    assert_true(has_place());
}

/* Before it is handed over a guest is nobody else's. Nobody has to ask for that to be seen. */
static void guest_that_runs_is_no_stray(void **state)
{
    (void)state;
    set_job("out", TOKEN);
    make_journal(NULL, 0);
    restart();
    greet();
    expect("query-status", "{\"status\": \"running\", \"running\": true}");
    expect("query-migrate", "{\"status\": \"cancelled\"}");
    expect("query-block-jobs", "[]");
    expect("query-named-block-nodes", "[]");
    expect("migrate-set-capabilities", "{}");
    while (look().count)
        event_base_loop(t.app.base, EVLOOP_NONBLOCK);
    assert_int_equal(access(path_of("job"), F_OK), -1);
    assert_true(is_alive() && has_place());
}

/* It died here before it was handed over, and that is known. */
static void guest_that_has_died_of_a_known_migration_is_no_stray(void **state)
{
    (void)state;
    set_job("out", TOKEN);
    pidfd_send_signal(t.pidfd, SIGKILL, NULL, 0);
    while (is_alive())
        usleep(1000);
    make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_SWITCHING, false);
    assert_false(restart().info.in_doubt);
    assert_int_equal(look().count, 1);
}

/* Only the word was left. */
static void guest_that_has_returned_is_no_stray(void **state)
{
    (void)state;
    set_job("out", TOKEN);
    make_entry(VST_HANDOVER_SOURCE, VST_HANDOVER_RECORD_RETURNED, false);
    assert_false(restart().info.in_doubt);
    assert_int_equal(look().count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(copy_that_was_given_up_is_ended_though_it_is_deaf, make, drop),
        VST_TEST_WITH(copy_that_was_given_up_is_ended_though_nobody_can_adopt_it, make, drop),
        VST_TEST_WITH(copy_of_an_older_version_that_was_given_up_is_ended, make, drop),
        VST_TEST_WITH(guest_that_came_later_outlives_a_token_that_was_given_up, make, drop),
        VST_TEST_WITH(copy_of_another_token_outlives_one_that_was_given_up, make, drop),
        VST_TEST_WITH(copy_of_an_older_version_that_may_be_anothers_is_not_ended, make, drop),
        VST_TEST_WITH(source_that_is_handed_over_does_not_end_a_stranger, make_stranger, drop),
        VST_TEST_WITH(stranger_that_runs_is_not_taken_for_the_guest, make_stranger, drop),
        VST_TEST_WITH(copy_of_another_token_is_not_taken_for_the_guest, make, drop),
        VST_TEST_WITH(guest_that_came_is_known_again_without_a_job, make, drop),
        VST_TEST_WITH(nobody_takes_the_name_of_a_guest_that_is_lost, make, drop),
        VST_TEST_WITH(sources_copy_that_is_kept_stays_after_a_restart, make, drop),
        VST_TEST_WITH(sources_copy_that_was_kept_stays_after_another_restart, make, drop),
        VST_TEST_WITH(copy_that_was_kept_never_runs_whoever_takes_hold_of_it, make, drop),
        VST_TEST_WITH(copy_that_the_journal_does_not_know_is_left_to_people, make, drop),
        VST_TEST_WITH(remains_that_the_journal_does_not_know_are_removed, make, drop),
        VST_TEST_WITH(paused_guest_of_an_unknown_migration_is_not_resumed, make, drop),
        VST_TEST_WITH(stray_that_people_say_runs_here_goes_on, make, drop),
        VST_TEST_WITH(stray_that_people_say_runs_elsewhere_is_ended, make, drop),
        VST_TEST_WITH(stray_cannot_be_cancelled, make, drop),
        VST_TEST_WITH(nobody_takes_the_name_of_a_stray_that_is_dead, make, drop),
        VST_TEST_WITH(guest_that_runs_is_no_stray, make, drop),
        VST_TEST_WITH(guest_that_has_died_of_a_known_migration_is_no_stray, make, drop),
        VST_TEST_WITH(guest_that_has_returned_is_no_stray, make, drop),
    };

    if (!vst_test_can_spawn())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill -9 at every step of a migration: of the source's QEMU, of the destination's, and of the
 * process that has both ends, after which two new connections go on by their journals. The steps
 * are the edges that the two hand-over machines take, by the library's trace: the n-th edge is
 * where the n-th run is struck, until a run has no n-th edge. The guest counts into one log from
 * both sides, so a gap, a repeat or two that run show in it. Every edge with VST_TEST_LONG, else
 * some of them. And once all of that: of a guest that was loaded there, and is nowhere else any
 * more. Also a monitor there that is lost, while its QEMU lives.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/connection.h"
#include "core/migration.h"
#include "far.h"
#include "loop.h"

enum { SETTLE_TURNS = 200, SETTLE_MS = 50, STEP = 5, MOST_FDS = 1024 };

struct strike {
    struct vst_host *host;
    unsigned at, seen;
    const char *state; /* at this one, not at a number; or NULL */
    bool struck;
    char where[64];
    size_t ours;   /* the source's QEMU, by its number among those that were started */
    size_t before; /* how many there were when the migration began */
    void (*hit)(struct strike *strike);
};

static struct vst_host host;
static char there[128]; /* URI */
static struct vst_conn *far;

static void see(void *opaque, const char *machine, const char *to)
{
    struct strike *strike = opaque;

    if ((strcmp(machine, "source") != 0 && strcmp(machine, "destination") != 0) || strike->struck)
        return;
    if (strike->state ? strcmp(to, strike->state) != 0 : strike->seen++ != strike->at)
        return;
    strike->struck = true;
    snprintf(strike->where, sizeof(strike->where), "%s", to);
    strike->hit(strike);
}

static void kill_source_qemu(struct strike *strike)
{
    kill(strike->host->started->processes[strike->ours].pid, SIGKILL);
}

/* Before it is there, what asks QEMU for its version; or nothing. */
static void kill_destination_qemu(struct strike *strike)
{
    const struct vst_host_started *started = strike->host->started;

    if (started->count > strike->before)
        kill(started->processes[started->count - 1].pid, SIGKILL);
}

static void kill_us(struct strike *strike)
{
    (void)strike;
    raise(SIGKILL);
}

static void kill_source_qemu_and_us(struct strike *strike)
{
    kill_source_qemu(strike);
    kill_us(strike);
}

/* A socket to the monitor of a guest there: it was connected through the descriptor of its place.
 */
static bool is_monitor_there(int fd)
{
    struct sockaddr_un address = {0};
    socklen_t length = sizeof(address) - 1;
    char path[sizeof(address.sun_path)], place[128] = "", *end;

    if (getpeername(fd, (struct sockaddr *)&address, &length) < 0 || address.sun_family != AF_UNIX)
        return false;
    snprintf(path, sizeof(path), "%s", address.sun_path);
    end = strrchr(path, '/');
    if (!end || strcmp(end, "/monitor") != 0)
        return false;
    *end = '\0';
    return readlink(path, place, sizeof(place) - 1) > 0 && strstr(place, "/there/");
}

/* QEMU goes on, and takes another connection. */
static void break_destination_monitor(struct strike *strike)
{
    (void)strike;
    for (int fd = 3; fd < MOST_FDS; fd++)
        if (is_monitor_there(fd))
            shutdown(fd, SHUT_RDWR);
}

/* ---- the two hosts ---- */

static int begin(void **state)
{
    (void)state;
    vst_test_seconds(getenv("VST_TEST_LONG") ? 600 : 100);
    vst_host_make(&host);
    far_make_uri(&host, there);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return 0;
}

static int end(void **state)
{
    (void)state;
    far_disconnect(&host, &far);
    vst_host_clear(&host);
    return 0;
}

/* ---- until all is over ---- */

struct outlook {
    unsigned open; /* migrations that are not over */
    bool in_doubt;
    char token[37];
    char reason[256];
};

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    struct outlook *outlook = opaque;

    if (err && err->code != VST_ERR_BUSY)
        fail_msg("migrations: %s", err->text);
    outlook->open += err != NULL; /* the way to it has not been closed yet */
    for (size_t i = 0; i < count; i++) {
        if (infos[i].over)
            continue;
        outlook->open++;
        outlook->in_doubt |= infos[i].in_doubt;
        snprintf(outlook->token, sizeof(outlook->token), "%s", infos[i].token);
        snprintf(outlook->reason, sizeof(outlook->reason), "%s: %s",
                 vst_migration_phase_name(infos[i].phase), infos[i].reason);
    }
}

static struct outlook look_at(struct vst_conn *conn)
{
    struct outlook outlook = {0};
    struct vst_migrations_cb cb = {.fn = have_migrations, .opaque = &outlook};

    vst_op_wait(vst_conn_list_migrations(conn, &cb), NULL);
    return outlook;
}

/* A QEMU that was lost when it had been told to run is the one doubt that people end. */
static bool is_lost(const struct outlook *outlook)
{
    return strstr(outlook->reason, "told to run") != NULL;
}

static bool settle_one(struct vst_conn *conn, const char *where)
{
    struct outlook outlook = look_at(conn);
    bool resolved = false;

    for (int i = 0; outlook.open && i < SETTLE_TURNS; i++) {
        if (is_lost(&outlook) && !resolved) {
            vst_op_wait(vst_conn_order_migration(conn, outlook.token, VST_MIGRATION_RUNS_ON_SOURCE,
                                                 NULL, NULL),
                        NULL);
            resolved = true;
        }
        vst_host_run(&host, SETTLE_MS);
        outlook = look_at(conn);
    }
    if (outlook.open)
        fail_msg("%s: no end: %s", where, outlook.reason);
    return resolved;
}

/* The source first: it has a connection of its own there, and with it that journal, until it is
 * through. True if people had to be asked. */
static bool settle(const char *where)
{
    bool resolved = settle_one(host.conn, where);

    resolved |= settle_one(far, where);
    far_disconnect(&host, &far);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return resolved;
}

/* ---- one run ---- */

static void over(const struct vst_error *err, void *opaque)
{
    (void)err;
    *(bool *)opaque = true;
}

/* Whether it was struck on its way. */
static bool migrate(struct strike *strike)
{
    struct vst_domain *domain = far_look_up(strike->host->conn, "g");
    struct vst_done done = {.fn = over, .opaque = &(bool){false}};
    bool *ended = done.opaque;

    assert_non_null(domain);
    strike->before = strike->host->started->count;
    strike->ours = strike->before - 1;
    strike->host->edge = see;
    strike->host->opaque = strike;
    vst_domain_migrate(domain, there, NULL, &done);
    while (!*ended)
        event_base_loop(strike->host->base, EVLOOP_ONCE);
    vst_host_run(strike->host, 20);
    strike->host->edge = NULL;
    vst_domain_free(&domain);
    return strike->struck;
}

static void clear_up(void)
{
    far_destroy(host.conn, "g");
    far_destroy(far, "g");
}

static bool is_among(const char *word, const char *const *words)
{
    while (*words && strcmp(*words, word) != 0)
        words++;
    return *words;
}

static unsigned stride(void)
{
    return getenv("VST_TEST_LONG") ? 1 : STEP;
}

/* ---- one QEMU is killed ---- */

/* From here on the destination's copy is the guest. */
static const char *const handed_over[] = {
    "SOURCE_HANDING",         "SOURCE_COMMITTING",
    "SOURCE_CLOSING",         "SOURCE_QUITTING",
    "DESTINATION_COMMITTING", "DESTINATION_TAKING",
    "DESTINATION_RESUMING",   "DESTINATION_STARTED",
    "DESTINATION_RUNNING",    NULL,
};

static void source_qemu_killed_and_the_copy_runs_when_it_is_whole(void **state)
{
    unsigned at = 0;
    bool struck;

    (void)state;
    do {
        struct strike strike = {.host = &host, .at = at, .hit = kill_source_qemu};

        vst_host_start_counting(&host, "g", "P", 2);
        struck = migrate(&strike);
        settle(strike.where);
        assert_false(struck && far_runs(host.conn, "g"));
        if (is_among(strike.where, handed_over) && !far_runs(far, "g"))
            fail_msg("%s: no guest runs", strike.where);
        print_message("# %s: %s\n", struck ? strike.where : "not killed",
                      far_runs(far, "g") ? "runs there" : "is gone");
        if (far_runs(far, "g"))
            vst_host_expect_counting(&host, "g", 2);
        vst_host_expect_gapless(&host, "g");
        clear_up();
        at += stride();
    } while (struck);
}

/* From here on it has run there, or nobody knows. */
static const char *const has_run[] = {
    "DESTINATION_RESUMING",
    "DESTINATION_STARTED",
    "DESTINATION_RUNNING",
    "DESTINATION_ENDING",
    "DESTINATION_DONE",
    "SOURCE_CLOSING",
    "SOURCE_QUITTING",
    "SOURCE_FINISHING",
    "SOURCE_ENDING",
    "SOURCE_DONE",
    NULL,
};

static void destination_qemu_killed_and_the_source_goes_on(void **state)
{
    unsigned at = 0;
    bool struck, asked;

    (void)state;
    do {
        struct strike strike = {.host = &host, .at = at, .hit = kill_destination_qemu};

        vst_host_start_counting(&host, "g", "P", 2);
        struck = migrate(&strike);
        asked = settle(strike.where);
        assert_false(struck && far_runs(far, "g") && far_runs(host.conn, "g"));
        if (struck && !is_among(strike.where, has_run) && !far_runs(host.conn, "g") &&
            !far_runs(far, "g"))
            fail_msg("%s: no guest runs", strike.where);
        print_message("# %s: %s\n", struck ? strike.where : "not killed",
                      asked                      ? "people were asked"
                      : far_runs(host.conn, "g") ? "runs here"
                      : far_runs(far, "g")       ? "runs there"
                                                 : "is gone");
        vst_host_expect_gapless(&host, "g");
        clear_up();
        at += stride();
    } while (struck);
}

/* ---- a monitor is lost ---- */

static void copy_whose_monitor_is_lost_is_taken_hold_of_again(const char *state)
{
    struct strike strike = {.host = &host, .state = state, .hit = break_destination_monitor};

    vst_host_start_counting(&host, "g", "P", 2);
    assert_true(migrate(&strike));
    assert_false(settle(state));
    if (!far_runs(far, "g") || far_runs(host.conn, "g"))
        fail_msg("%s: runs here: %d, runs there: %d", state, far_runs(host.conn, "g"),
                 far_runs(far, "g"));
    vst_host_expect_counting(&host, "g", 2);
    vst_host_expect_gapless(&host, "g");
    clear_up();
}

static void monitor_lost_when_the_copy_is_whole_and_the_guest_moves(void **state)
{
    (void)state;
    copy_whose_monitor_is_lost_is_taken_hold_of_again("DESTINATION_LOADED");
}

static void monitor_lost_when_the_guest_is_told_to_run_and_it_moves(void **state)
{
    (void)state;
    copy_whose_monitor_is_lost_is_taken_hold_of_again("DESTINATION_RESUMING");
}

/* ---- the process of both ends is killed ---- */

static bool in_child(struct strike *strike)
{
    int status;
    pid_t pid;

    far_disconnect(&host, &far);
    vst_host_disconnect(&host);
    vst_test_threads_end();
    pid = vst_test_fork();
    if (pid == 0) {
        vst_host_connect(&host);
        migrate(strike);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    vst_host_connect(&host);
    far = far_connect(host.base, there);
    assert_non_null(far);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The journals say how it goes on. */
static void both_ends_killed_and_one_guest_runs(void **state)
{
    unsigned at = 0, here = 0, gone = 0;
    bool killed;

    (void)state;
    do {
        struct strike strike = {.host = &host, .at = at, .hit = kill_us};
        char where[32];

        vst_host_start_counting(&host, "g", "P", 2);
        killed = in_child(&strike);
        snprintf(where, sizeof(where), "edge %u", at);
        settle(where);
        if (far_runs(host.conn, "g") == far_runs(far, "g"))
            fail_msg("%s: runs here: %d, runs there: %d", where, far_runs(host.conn, "g"),
                     far_runs(far, "g"));
        here += far_runs(host.conn, "g");
        gone += far_runs(far, "g");
        vst_host_expect_counting(&host, "g", 2);
        vst_host_expect_gapless(&host, "g");
        clear_up();
        at += stride();
    } while (killed);
    print_message("# %u edges: ran here %u times, there %u times\n", at - stride(), here, gone);
    assert_true(here && gone);
}

/* ---- the last copy ---- */

enum { PATIENCE = 1, LONG_MS = 7 * PATIENCE * 1000 };

static struct outlook wait_for_doubt(void)
{
    struct outlook outlook = look_at(far);

    for (int i = 0; !outlook.in_doubt && i < SETTLE_TURNS; i++) {
        vst_host_run(&host, SETTLE_MS);
        outlook = look_at(far);
    }
    return outlook;
}

/* All has come: there is nothing that another one could bring. */
static enum vst_code send_stream(const char *token)
{
    struct vst_stream *stream = vst_stream_new(host.base, NULL);
    struct vst_error err = {0};

    assert_int_equal(vst_stream_finish(stream), 0);
    vst_op_wait(vst_conn_migrate_stream(far, token, NULL, stream, NULL), &err);
    vst_stream_free(&stream);
    return err.code;
}

/* The source's host does not come back: nobody asks its journal. */
static void copy_that_is_whole_outlives_its_source_and_both_processes(void **state)
{
    struct strike strike = {
        .host = &host, .state = "DESTINATION_LOADED", .hit = kill_source_qemu_and_us};
    struct outlook outlook;

    (void)state;
    vst_host_start_counting(&host, "g", "P", 2);
    assert_true(in_child(&strike));
    vst_conn_set_patience(far, PATIENCE);
    outlook = wait_for_doubt();
    assert_non_null(strstr(outlook.reason, "a whole copy of the guest is kept here, paused"));
    assert_non_null(strstr(outlook.reason, outlook.token));
    assert_int_equal(send_stream(outlook.token), VST_ERR_STATE);
    vst_host_run(&host, LONG_MS);
    outlook = look_at(far);
    assert_true(outlook.in_doubt);
    assert_false(far_runs(far, "g"));
    assert_int_equal(
        vst_op_wait(vst_conn_order_migration(far, outlook.token, VST_MIGRATION_RUNS_ON_DESTINATION,
                                             NULL, NULL),
                    NULL),
        0);
    for (int i = 0; !far_runs(far, "g") && i < SETTLE_TURNS; i++)
        vst_host_run(&host, SETTLE_MS);
    assert_true(far_runs(far, "g"));
    vst_host_expect_counting(&host, "g", 2);
    vst_host_expect_gapless(&host, "g");
    far_disconnect(&host, &far); /* which has the journal that the source's connection wants */
    far = far_connect(host.base, there);
    assert_non_null(far);
    settle(strike.state); /* and if it comes back after all, it learns that the guest is there */
    assert_true(far_runs(far, "g") && !far_runs(host.conn, "g"));
    clear_up();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VST_TEST_WITH(source_qemu_killed_and_the_copy_runs_when_it_is_whole, begin, end),
        VST_TEST_WITH(destination_qemu_killed_and_the_source_goes_on, begin, end),
        VST_TEST_WITH(monitor_lost_when_the_copy_is_whole_and_the_guest_moves, begin, end),
        VST_TEST_WITH(monitor_lost_when_the_guest_is_told_to_run_and_it_moves, begin, end),
        VST_TEST_WITH(both_ends_killed_and_one_guest_runs, begin, end),
        VST_TEST_WITH(copy_that_is_whole_outlives_its_source_and_both_processes, begin, end),
    };

    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

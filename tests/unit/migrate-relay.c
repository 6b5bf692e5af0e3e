/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration through a client, between two hosts that do not reach each other: both are served from
 * this process, on a UNIX socket each, and the client is a process of its own, which is killed at
 * every step. The steps are the edges that the two hand-over machines take, as in migrate-kill.c.
 * Whatever becomes of the client, one guest runs in the end; and where it is in doubt, or something
 * is left to be said, another client ends that. Every edge with VST_TEST_LONG, else some of them.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/migration.h"
#include "far.h"
#include "remote/server.h"

enum { SETTLE_TURNS = 400, SETTLE_MS = 50, STEP = 4, ON_ITS_OWN = 6 };

/* One of the two hosts. */
struct side {
    char path[128];
    struct vst_conn *conn;
    struct vst_server *server;
};

static struct vst_host host;
static struct side here, there;

/* ---- the two hosts ---- */

static int listen_on(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void serve(struct side *side, const char *name, struct vst_conn *conn)
{
    struct vst_policy policy = {.limits = VST_LIMITS_DEFAULT, .access = vst_access_new(NULL)};
    struct vst_conn *given = conn;
    int fd;

    assert_non_null(conn);
    assert_int_equal(vst_access_add(policy.access, VST_ROLE_TRANSFER, "unix:*", NULL), 0);
    snprintf(side->path, sizeof(side->path), "%s/%s.socket", host.dir, name);
    side->conn = conn;
    side->server = vst_server_new(host.base, NULL, &policy, NULL);
    assert_non_null(side->server);
    assert_int_equal(vst_server_serve(side->server, &given, NULL), 0);
    fd = listen_on(side->path);
    assert_int_equal(vst_server_listen(side->server, VST_LISTEN_UNIX, &fd, name, NULL), 0);
}

static int begin(void **state)
{
    char uri[128];

    (void)state;
    vst_test_seconds(getenv("VST_TEST_LONG") ? 900 : 240);
    vst_host_make(&host);
    far_make_uri(&host, uri);
    serve(&here, "here", host.conn);
    serve(&there, "there", far_connect(host.base, uri));
    return 0;
}

static int end(void **state)
{
    (void)state;
    vst_server_free(&here.server);
    vst_server_free(&there.server);
    host.conn = NULL; /* the server's */
    vst_host_run(&host, 50);
    vst_host_clear(&host);
    return 0;
}

/* ---- guests ---- */

static bool runs(const struct side *side)
{
    return far_runs(side->conn, "g");
}

static bool exists(const struct side *side)
{
    struct vst_domain_info info;

    return far_look(side->conn, "g", &info);
}

/* One of them runs, the other one has nothing, and it counts as if nothing had been. */
static void expect_one(const char *where, bool is_here)
{
    if (runs(&here) != is_here || runs(&there) == is_here || exists(is_here ? &there : &here))
        fail_msg("%s: here: %d %d, there: %d %d", where, exists(&here), runs(&here), exists(&there),
                 runs(&there));
    vst_host_expect_counting(&host, "g", 2);
    far_destroy(is_here ? here.conn : there.conn, "g");
    vst_host_expect_gapless(&host, "g");
}

/* ---- a client ---- */

/* In a process of its own: relays a migration that it begins, or the one of the token. */
static enum vst_code relay_between(const char *source, const char *destination, const char *token,
                                   const struct vst_migrate_options *opt)
{
    struct event_base *base = event_base_new();
    struct vst_conn *from = far_connect(base, source), *to = far_connect(base, destination);
    struct vst_domain *domain = NULL;
    struct vst_error err = {0};
    struct vst_op *op;

    if (!from || !to || (!token && !(domain = far_look_up(from, "g"))))
        return VST_ERR_CONNECT;
    op = token ? vst_conn_relay_migration(from, token, to, NULL)
               : vst_domain_migrate_through(domain, to, opt, NULL);
    vst_op_wait(op, &err);
    if (err.code != VST_ERR_OK)
        printf("# the client: %s\n", err.text);
    return err.code;
}

/* This program once more: nothing but that may be done beside the threads of this one. */
static pid_t start_client(const char *token, const char *how)
{
    char source[160], destination[160];
    char name[] = "relay";
    char *arguments[] = {name, source, destination, (char *)how, (char *)token, NULL};
    pid_t client;

    snprintf(source, sizeof(source), "qemu+unix://%s", here.path);
    snprintf(destination, sizeof(destination), "qemu+unix://%s", there.path);
    client = vst_test_fork();
    if (client)
        return client;
    execv("/proc/self/exe", arguments);
    _exit(VST_ERR_SYSTEM);
}

static _Noreturn void be_client(char **arguments)
{
    const struct vst_migrate_options busy = {.downtime_ms = 2000, .zstd_level = 1};
    bool is_busy = strcmp(arguments[3], "busy") == 0;

    int code = (int)relay_between(arguments[1], arguments[2], arguments[4], is_busy ? &busy : NULL);

    fflush(stdout);
    _exit(code); /* as it stands: its connections are lost, and are to be */
}

/* The code it ended with; -1: it was killed. */
static int await_client(pid_t client)
{
    int status;

    while (waitpid(client, &status, WNOHANG) == 0)
        vst_host_run(&host, 5);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- until all is over ---- */

struct outlook {
    unsigned open; /* migrations that are not over */
    char token[37];
    char reason[300];
};

static void have_migrations(const struct vst_migration_info *infos, size_t count,
                            const struct vst_error *err, void *opaque)
{
    struct outlook *outlook = opaque;

    if (err)
        fail_msg("migrations: %s", err->text);
    for (size_t i = 0; i < count; i++) {
        if (infos[i].over)
            continue;
        outlook->open++;
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

/* For a moment by themselves; then other clients relay until nothing is left to be said. Whether
 * that was needed: the source may not know yet that the first one is gone, and then goes on. */
static bool settle(const char *where)
{
    struct outlook source, destination;
    bool relayed = false;

    for (int i = 0; i < SETTLE_TURNS; i++) {
        source = look_at(here.conn);
        destination = look_at(there.conn);
        if (!source.open && !destination.open)
            return relayed;
        if (i >= ON_ITS_OWN && source.open) {
            relayed = true;
            await_client(start_client(source.token, "plain"));
        }
        vst_host_run(&host, SETTLE_MS);
    }
    fail_msg("%s: no end: here %s, there %s", where, source.reason, destination.reason);
    return relayed;
}

/* ---- what is struck, and when ---- */

struct strike {
    const char *wanted; /* the state; NULL: the edge with the number `at` */
    unsigned at, seen;
    bool struck;
    char where[64];
    pid_t client;
    int signal;
};

static void see(void *opaque, const char *machine, const char *to)
{
    struct strike *strike = opaque;

    if ((strcmp(machine, "source") != 0 && strcmp(machine, "destination") != 0) || strike->struck ||
        (strike->wanted ? strcmp(to, strike->wanted) != 0 : strike->seen++ != strike->at))
        return;
    strike->struck = true;
    snprintf(strike->where, sizeof(strike->where), "%s", to);
    kill(strike->client, strike->signal);
}

/* The code it ended with. */
static int strike_client(struct strike *strike)
{
    int code;

    host.edge = see;
    host.opaque = strike;
    strike->client = start_client(NULL, "plain");
    code = await_client(strike->client);
    host.edge = NULL;
    return code;
}

/* ---- tests ---- */

static void guest_goes_through_the_client(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "P", 2);
    assert_int_equal(await_client(start_client(NULL, "plain")), VST_ERR_OK);
    assert_int_equal(look_at(here.conn).open + look_at(there.conn).open, 0);
    expect_one("", false);
}

static void guest_that_dirties_its_memory_goes_through_the_client(void **state)
{
    (void)state;
    vst_host_start_counting(&host, "g", "D", 2);
    assert_int_equal(await_client(start_client(NULL, "busy")), VST_ERR_OK);
    expect_one("", false);
}

/* From here on the source does not take the guest back by itself. */
static bool is_handed_over(const char *where)
{
    static const char *const states[] = {
        "SOURCE_HANDING",       "SOURCE_COMMITTING",      "SOURCE_CLOSING",
        "SOURCE_QUITTING",      "SOURCE_FINISHING",       "SOURCE_ENDING",
        "SOURCE_DONE",          "DESTINATION_COMMITTING", "DESTINATION_TAKING",
        "DESTINATION_RESUMING", "DESTINATION_STARTED",    "DESTINATION_RUNNING",
        "DESTINATION_ENDING",   "DESTINATION_DONE",       NULL,
    };

    for (size_t i = 0; states[i]; i++)
        if (strcmp(states[i], where) == 0)
            return true;
    return false;
}

static void client_killed_at_each_step_leaves_one_guest(void **state)
{
    unsigned at = 0, stride = getenv("VST_TEST_LONG") ? 1 : STEP;
    bool struck, relayed, gone;

    (void)state;
    do {
        struct strike strike = {.at = at, .signal = SIGKILL};

        vst_host_start_counting(&host, "g", "P", 2);
        strike_client(&strike);
        struck = strike.struck;
        relayed = settle(strike.where);
        gone = runs(&there);
        print_message("# %s: runs %s%s\n", struck ? strike.where : "not killed",
                      gone ? "there" : "here", relayed ? ", relayed again" : "");
        if (!relayed || !struck || is_handed_over(strike.where))
            assert_int_equal(gone, !struck || is_handed_over(strike.where));
        expect_one(strike.where, !gone);
        at += stride;
    } while (struck);
}

static enum vst_code wait_as(struct vst_op *op)
{
    struct vst_error err = {0};

    here.conn->caller = NULL;
    return vst_op_wait(op, &err) == 0 ? VST_ERR_OK : err.code;
}

/* He is let in with the same role, and knows the token. */
static void assert_refused_to_others(const char *token)
{
    static const struct vst_caller eve = {.name = "unix:4711"};
    const struct vst_migrate_message answer = {.event = VST_HANDOVER_ABORTED};
    struct vst_stream *stream = vst_stream_new(host.base, NULL);

    here.conn->caller = &eve;
    assert_int_equal(wait_as(vst_conn_relay_fetch(here.conn, token, 0, NULL)), VST_ERR_ACCESS);
    here.conn->caller = &eve;
    assert_int_equal(wait_as(vst_conn_relay_answer(here.conn, token, 1, &answer, NULL, NULL)),
                     VST_ERR_ACCESS);
    here.conn->caller = &eve;
    assert_int_equal(wait_as(vst_conn_relay_stream(here.conn, token, NULL, stream, NULL)),
                     VST_ERR_ACCESS);
    vst_stream_free(&stream);
}

static void doubt_lasts_until_somebody_relays_again(void **state)
{
    struct strike strike = {.wanted = "SOURCE_HANDING", .signal = SIGKILL};
    struct outlook outlook;
    unsigned counted;

    (void)state;
    vst_host_start_counting(&host, "g", "P", 2);
    strike_client(&strike);
    assert_true(strike.struck);
    counted = vst_host_counted(&host, "g");
    vst_host_run(&host, 1000);
    assert_false(runs(&here) || runs(&there));
    assert_int_equal(vst_host_counted(&host, "g"), counted);
    outlook = look_at(here.conn);
    assert_int_equal(outlook.open, 1);
    assert_refused_to_others(outlook.token);
    assert_int_equal(await_client(start_client(outlook.token, "plain")), VST_ERR_OK);
    expect_one("", false);
}

#define RELAY_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RELAY_TEST(guest_goes_through_the_client),
        RELAY_TEST(guest_that_dirties_its_memory_goes_through_the_client),
        RELAY_TEST(client_killed_at_each_step_leaves_one_guest),
        RELAY_TEST(doubt_lasts_until_somebody_relays_again),
    };

    if (argc >= 4)
        be_client(argv);
    if (!vst_host_has_qemu())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
